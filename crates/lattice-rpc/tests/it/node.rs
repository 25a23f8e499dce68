//! A node for tests: a chain in memory on its own thread, sealing as soon as transactions wait.

use crate::client::Client;
use alloy_primitives::{B256, Bytes, U256};
use lattice_chain::{
    ArtifactStore, Backend, Chain, ChainError, HeadWatcher, Input, ModelStore, PoolIndex, SubmitReply, View,
};
use lattice_rpc::ServerHandle;
use lattice_storage::MemoryKv;
use lattice_types::{
    Attestation, ChainSpec, RecoveredTx, bls,
    bls::Domain,
    limits,
    spec::{DEV_ACCOUNTS, dev_validator_key},
    tx::{TxEnvelope, TxSigner},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, RwLock, mpsc},
    thread::JoinHandle,
};

enum Message {
    Submit(Box<RecoveredTx>, SubmitReply),
    Attestation(Attestation),
    /// Whether blocks are sealed; on, waiting transactions are sealed at once.
    Seal(bool, mpsc::Sender<()>),
    Stop,
}

struct Shared {
    view: RwLock<Arc<View>>,
    queue: Mutex<mpsc::Sender<Message>>,
    pool: Arc<PoolIndex>,
    artifacts: Arc<ArtifactStore>,
    watchers: Mutex<Vec<HeadWatcher>>,
}

impl Backend for Shared {
    fn view(&self) -> Arc<View> {
        self.view.read().unwrap().clone()
    }

    fn submit(&self, tx: RecoveredTx, reply: SubmitReply) {
        self.queue.lock().unwrap().send(Message::Submit(Box::new(tx), reply)).unwrap();
    }

    fn pool(&self) -> &PoolIndex {
        &self.pool
    }

    fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    fn client_version(&self) -> String {
        "Lattice/test".into()
    }

    fn heads(&self, watcher: HeadWatcher) {
        self.watchers.lock().unwrap().push(watcher);
    }
}

/// A running node; it stops when dropped.
pub struct Node {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
    server: Option<ServerHandle>,
    chain: Option<JoinHandle<()>>,
    _artifacts: tempfile::TempDir,
}

impl Node {
    pub fn start() -> Self {
        Self::with_spec(ChainSpec::dev())
    }

    pub fn with_spec(spec: ChainSpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Arc::new(ArtifactStore::open(dir.path(), limits::ARTIFACT_BYTES_MAX).unwrap());
        let models = Arc::new(ModelStore::new(artifacts.clone()));
        let chain = Chain::open(spec, Arc::new(MemoryKv::new()), models).unwrap();
        let (queue, messages) = mpsc::channel();
        let shared = Arc::new(Shared {
            view: RwLock::new(Arc::new(chain.view().unwrap())),
            queue: Mutex::new(queue),
            pool: chain.pool_index().clone(),
            artifacts,
            watchers: Mutex::default(),
        });
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || run_chain(chain, &shared, &messages))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = runtime.block_on(lattice_rpc::serve(shared.clone(), any_port)).unwrap();
        Self { shared, runtime, server: Some(server), chain: Some(thread), _artifacts: dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    pub fn backend(&self) -> Arc<dyn Backend> {
        self.shared.clone()
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Holds sealing back, or lets it go on.
    pub fn seal(&self, on: bool) {
        let (done, wait) = mpsc::channel();
        self.shared.queue.lock().unwrap().send(Message::Seal(on, done)).unwrap();
        wait.recv().unwrap();
    }

    /// Attests that the validator holds a model.
    pub fn attest(&self, model_id: B256) {
        let chain_id = lattice_types::spec::DEV_CHAIN_ID;
        let attestation = Attestation::sign(model_id, 0, 0, &dev_validator_key(), chain_id);
        self.shared.queue.lock().unwrap().send(Message::Attestation(attestation)).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
        self.shared.queue.lock().unwrap().send(Message::Stop).unwrap();
        let ended = self.chain.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

fn run_chain(mut chain: Chain, shared: &Shared, messages: &mpsc::Receiver<Message>) {
    let mut sealing = true;
    while let Ok(message) = messages.recv() {
        let mut next = Some(message);
        let mut waiting = None;
        while let Some(message) = next {
            match message {
                Message::Submit(tx, reply) => match chain.handle(0, Input::Transaction(tx)) {
                    Ok(effects) => reply(Ok(effects.admitted.unwrap())),
                    Err(ChainError::Refused(error)) => reply(Err(error)),
                    Err(error) => panic!("{error}"),
                },
                Message::Attestation(attestation) => {
                    drop(chain.handle(0, Input::Attestation(attestation.into())).unwrap())
                }
                Message::Seal(on, done) => {
                    sealing = on;
                    waiting = Some(done);
                }
                Message::Stop => return,
            }
            next = messages.try_recv().ok();
        }
        while sealing && chain.has_work(0).unwrap() {
            seal(&mut chain, shared);
        }
        if let Some(done) = waiting {
            done.send(()).unwrap();
        }
    }
}

fn seal(chain: &mut Chain, shared: &Shared) {
    let spec = chain.spec().clone();
    let key = dev_validator_key();
    let slot = chain.next_slot().unwrap();
    let vrf = key.sign(Domain::Vrf, spec.chain_id, &bls::vrf_content(&spec.epoch_seed, slot));
    let template = chain.handle(0, Input::Slot { slot, proposer: 0, vrf }).unwrap().seal.unwrap();
    let now_ms = spec.genesis_time_s * 1000 + slot * spec.slot_ms;
    let effects = chain.handle(now_ms, Input::Block(template.seal(&key, spec.chain_id))).unwrap();
    *shared.view.write().unwrap() = Arc::new(chain.view().unwrap());
    for head in &effects.added {
        for watcher in shared.watchers.lock().unwrap().iter() {
            watcher(head);
        }
    }
}

/// Signs as one of the development accounts.
pub fn signer(account: usize) -> TxSigner {
    TxSigner::new(DEV_ACCOUNTS[account].1).unwrap()
}

/// An EIP-1559 transaction of a development account.
pub struct Draft {
    pub account: usize,
    pub nonce: u64,
    pub to: alloy_primitives::TxKind,
    pub value: U256,
    pub gas: u64,
    pub input: Bytes,
    pub chain_id: u64,
    pub tip: u128,
}

impl Draft {
    pub fn transfer(account: usize, nonce: u64) -> Self {
        let to = alloy_primitives::Address::repeat_byte(0x77);
        Self { to: to.into(), value: U256::from(1), gas: 21_000, ..Self::create(account, nonce, Bytes::new()) }
    }

    pub fn create(account: usize, nonce: u64, code: Bytes) -> Self {
        Self {
            account,
            nonce,
            to: alloy_primitives::TxKind::Create,
            value: U256::ZERO,
            gas: 1_000_000,
            input: code,
            chain_id: lattice_types::spec::DEV_CHAIN_ID,
            tip: 1_000_000_000,
        }
    }

    pub fn call(account: usize, nonce: u64, to: alloy_primitives::Address, input: Bytes) -> Self {
        Self { to: to.into(), ..Self::create(account, nonce, input) }
    }

    pub fn sign(self) -> TxEnvelope {
        let tx = alloy_consensus::TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas,
            max_fee_per_gas: 100_000_000_000,
            max_priority_fee_per_gas: self.tip,
            to: self.to,
            value: self.value,
            access_list: Default::default(),
            input: self.input,
        };
        signer(self.account).sign(tx).into()
    }
}

/// The bytes that eth_sendRawTransaction takes.
pub fn raw(tx: &TxEnvelope) -> Bytes {
    alloy_eips::eip2718::Encodable2718::encoded_2718(tx).into()
}
