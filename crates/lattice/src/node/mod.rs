//! The node: threads around the chain.
//!
//! One named thread owns the [`Chain`] (`chain_thread`). A second one verifies artifacts of pending models and attests
//! readiness (`attester`), a third brings the store to the disk every second (`syncer`). RPC runs on tokio and reaches the
//! first two through [`Shared`], which is the node's `Backend`: reads take the newest view, writes go into the chain
//! thread's queue. What other producers say is checked by a pool of threads on its way into that queue (`checks`).

mod attester;
mod chain_thread;
pub mod checks;
mod clock;
mod producers;
mod shared;
mod signer;
mod syncer;
mod validator;

use self::{
    attester::Wake,
    chain_thread::Message,
    checks::CheckPool,
    producers::Producer,
    shared::Shared,
    signer::{Signer, SignerError},
    validator::{Fault, Validator},
};
use lattice_chain::{Chain, ChainError, ChainOptions, ModelStore};
use lattice_rpc::ServerHandle;
use lattice_storage::{ArtifactStore, Engine, Kv};
use lattice_types::{
    ChainSpec, Checkpoint, limits,
    spec::{dev_validator_key, local_validator_key},
};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

/// How often the store is synced unless told otherwise.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(1_000);

/// How to run a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port of HTTP and WebSocket; 0 takes a free one.
    pub port: u16,
    /// Where chain and artifacts live; created when absent.
    pub datadir: PathBuf,
    /// Keep the state of every block.
    pub archive: bool,
    /// A checkpoint that the operator trusts.
    pub trusted: Option<Checkpoint>,
    /// The engine of the store.
    pub engine: Engine,
    /// How often everything written so far is brought to the disk; `None` does so at a clean stop only.
    pub sync_interval: Option<Duration>,
    /// More than one producer: how many, and the longest delay between two of them.
    pub network: Option<LocalNetwork>,
}

/// Several producers in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalNetwork {
    /// Producers, all with the same stake.
    pub producers: u32,
    /// A message takes between half of it and all of it.
    pub delay: Duration,
}

/// Why a node cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be created.
    #[error("cannot create the data directory {path}: {reason}")]
    Datadir {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Storage(#[from] lattice_storage::StorageFault),
    /// The chain cannot be opened, or met a fault.
    #[error(transparent)]
    Chain(#[from] lattice_chain::ChainError),
    /// The signer cannot be opened.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// RPC cannot listen.
    #[error(transparent)]
    Rpc(#[from] lattice_rpc::RpcFault),
    /// A thread or the runtime cannot be started.
    #[error("cannot start {what}: {reason}")]
    Start {
        /// Which.
        what: &'static str,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The chain's thread ended on a fault.
    #[error("the node stopped on a fault: {0}")]
    Stopped(String),
}

/// A running node. Dropping it without [`Node::stop`] leaves the threads to the process' end.
pub struct Node {
    addr: SocketAddr,
    archive_from: Option<u64>,
    shared: Arc<Shared>,
    server: ServerHandle,
    runtime: tokio::runtime::Runtime,
    /// One for each producer; the first one's chain is what RPC shows.
    chains: Vec<RunningChain>,
    attester: JoinHandle<()>,
    syncer: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    stores: Vec<Arc<dyn Kv>>,
}

impl Node {
    /// Starts a development node: opens the store, the chain and RPC. When this returns, RPC answers.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn start(options: &NodeOptions) -> Result<Self, NodeError> {
        let datadir = &options.datadir;
        std::fs::create_dir_all(datadir).map_err(|reason| NodeError::Datadir { path: datadir.clone(), reason })?;
        let kv: Arc<dyn Kv> = options.engine.open(datadir.join("db"))?;
        let mut stores = vec![kv.clone()];
        let artifacts = Arc::new(ArtifactStore::open(datadir.join("artifacts"), limits::ARTIFACT_BYTES_MAX)?);
        let models = Arc::new(ModelStore::new(artifacts.clone()));
        let spec = options.network.map_or_else(ChainSpec::dev, |network| ChainSpec::local(network.producers));
        if let Some(trusted) = options.trusted {
            Chain::check_trusted_age(&spec, trusted, clock::now_ms()).map_err(ChainError::from)?;
        }
        let chain_options = ChainOptions { archive: options.archive, trusted: options.trusted };
        let chain = Chain::open_with(spec.clone(), kv.clone(), models.clone(), chain_options)?;
        let archive_from = chain.archive_from();
        let (queue, inbox) = mpsc::channel();
        let shared = Arc::new(Shared::new(&chain, queue.clone(), artifacts)?);

        // The validators of a development chain are on one machine: their marks need not wait for the disk.
        let key = |index| if options.network.is_some() { local_validator_key(index) } else { dev_validator_key() };
        let signer = Arc::new(Signer::open(key(0), 0, datadir, false)?);
        let mut signers = vec![signer.clone()];
        let mut validators = vec![(Validator::new(chain, signer, Some(shared.clone()))?, queue, inbox)];
        for index in 1..options.network.map_or(1, |network| network.producers) {
            let folder = datadir.join(format!("producer-{index}"));
            std::fs::create_dir_all(&folder).map_err(|reason| NodeError::Datadir { path: folder.clone(), reason })?;
            let signer = Arc::new(Signer::open(key(index), index, &folder, false)?);
            let kv: Arc<dyn Kv> = options.engine.open(folder.join("db"))?;
            stores.push(kv.clone());
            let chain = Chain::open(spec.clone(), kv, models.clone())?;
            let (queue, inbox) = mpsc::channel();
            signers.push(signer.clone());
            validators.push((Validator::new(chain, signer, None)?, queue, inbox));
        }

        let (wake, woken) = mpsc::channel();
        shared.wake_attester_with(wake);
        // Weak: what is shared holds the artifacts.
        let watcher = Arc::downgrade(&shared);
        models.artifacts().watch_arrivals(Box::new(move |cid| {
            if let Some(shared) = watcher.upgrade() {
                shared.wake_attester(Wake::Arrived(cid));
            }
        }));
        let attester = spawn("attester", {
            let shared = shared.clone();
            move || attester::run(&shared, &models, &signers, &woken)
        })?;
        let chains = start_chains(validators, options.network, &shared)?;

        let syncer = options.sync_interval.map(|interval| start_syncer(interval, &stores, &shared)).transpose()?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("rpc")
            .build()
            .map_err(|reason| NodeError::Start { what: "the RPC runtime", reason })?;
        let listen = SocketAddr::new(options.host, options.port);
        let server = runtime.block_on(lattice_rpc::serve(shared.clone(), listen))?;
        Ok(Self { addr: server.address(), archive_from, shared, server, runtime, chains, attester, syncer, stores })
    }

    /// The address that RPC listens on.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Number of the oldest block whose state is kept for good; `None` when the node is no archive.
    pub const fn archive_from(&self) -> Option<u64> {
        self.archive_from
    }

    /// Waits for SIGTERM, SIGINT or a fault.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] when the chain's thread met a fault.
    pub fn wait(&self) -> Result<(), NodeError> {
        let faulted = self.shared.faulted();
        self.runtime.block_on(async {
            tokio::select! {
                signal = stop_signal() => signal.map_err(|reason| NodeError::Start { what: "the signal handler", reason }),
                reason = faulted => Err(NodeError::Stopped(reason)),
            }
        })
    }

    /// Stops cleanly: RPC first, then the threads, then everything goes to the disk.
    ///
    /// # Errors
    /// When the store cannot be synced.
    pub fn stop(self) -> Result<(), NodeError> {
        self.runtime.block_on(self.server.stop());
        for (queue, _) in &self.chains {
            let _ended = queue.send(Message::Stop);
        }
        self.shared.stop_attester();
        // A thread that panicked has told so already.
        for (_, chain) in self.chains {
            let _chain = chain.join();
        }
        let _attester = self.attester.join();
        if let Some((running, syncer)) = self.syncer {
            drop(running);
            let _syncer = syncer.join();
        }
        self.runtime.shutdown_background();
        Ok(self.stores.iter().try_for_each(Kv::sync)?)
    }
}

fn spawn(what: &'static str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NodeError> {
    std::thread::Builder::new().name(what.into()).spawn(body).map_err(|reason| NodeError::Start { what, reason })
}

/// A validator with its inbox, and the sender that others reach it by.
type Inbox = (Validator, mpsc::Sender<Message>, mpsc::Receiver<Message>);

/// A chain's thread and the queue by which it is told to stop.
type RunningChain = (mpsc::Sender<Message>, JoinHandle<()>);

/// Starts a thread for each chain.
fn start_chains(
    validators: Vec<Inbox>,
    network: Option<LocalNetwork>,
    shared: &Arc<Shared>,
) -> Result<Vec<RunningChain>, NodeError> {
    let peers: Vec<_> = validators.iter().map(|(_, queue, _)| queue.clone()).collect();
    let failed = |reason| NodeError::Start { what: "the threads that check", reason };
    let pool = match network {
        None => None,
        Some(network) => Some((network, CheckPool::new().map_err(failed)?)),
    };
    let mut started = Vec::with_capacity(validators.len());
    for (index, (mut validator, queue, inbox)) in validators.into_iter().enumerate() {
        let shared = shared.clone();
        let run: Box<dyn FnOnce() -> Result<(), Fault> + Send> = match &pool {
            None => Box::new(move || chain_thread::run(&mut validator, &inbox)),
            Some((network, pool)) => {
                let producer = Producer::new(validator, index, peers.clone(), network.delay, pool.clone());
                let producer = producer.map_err(failed)?;
                Box::new(move || producer.run(&inbox))
            }
        };
        let chain = spawn("chain", move || {
            if let Err(fault) = run() {
                shared.set_fault(fault.to_string());
            }
        })?;
        started.push((queue, chain));
    }
    Ok(started)
}

/// Starts the syncer's thread, which ends when the sender is dropped.
fn start_syncer(
    interval: Duration,
    stores: &[Arc<dyn Kv>],
    shared: &Arc<Shared>,
) -> Result<(mpsc::Sender<()>, JoinHandle<()>), NodeError> {
    let (running, stopped) = mpsc::channel();
    let (stores, shared) = (stores.to_vec(), shared.clone());
    let syncer = spawn("syncer", move || {
        if let Err(fault) = syncer::run(&stores, interval, &stopped) {
            shared.set_fault(fault.to_string());
        }
    })?;
    Ok((running, syncer))
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Runs a node until SIGTERM, SIGINT or a fault; `ready` is called once RPC answers.
///
/// # Errors
/// See [`NodeError`].
pub fn run(options: &NodeOptions, ready: impl FnOnce(&Node)) -> Result<(), NodeError> {
    let node = Node::start(options)?;
    ready(&node);
    let ended = node.wait();
    node.stop()?;
    ended
}
