//! What the node's threads and doors share: the newest view, the chain's queue, the watchers of heads.

use super::{attester::Wake, chain_thread::Message};
use lattice_chain::{
    AdmissionError, ArtifactStore, Backend, Chain, ChainError, HeadWatcher, PoolIndex, SubmitReply, View,
};
use lattice_types::{EvmBlock, RecoveredTx};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use tokio::sync::watch;

/// The node's backend.
pub struct Shared {
    view: RwLock<Arc<View>>,
    queue: mpsc::Sender<Message>,
    pool: Arc<PoolIndex>,
    artifacts: Arc<ArtifactStore>,
    watchers: Mutex<Vec<HeadWatcher>>,
    attester: Mutex<Option<mpsc::Sender<Wake>>>,
    fault: watch::Sender<Option<String>>,
}

// A panic while one of these locks is held leaves a whole value behind: each guards one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(chain: &Chain, queue: mpsc::Sender<Message>, artifacts: Arc<ArtifactStore>) -> Result<Self, ChainError> {
        Ok(Self {
            view: RwLock::new(Arc::new(chain.view()?)),
            queue,
            pool: chain.pool_index().clone(),
            artifacts,
            watchers: Mutex::default(),
            attester: Mutex::default(),
            fault: watch::Sender::new(None),
        })
    }

    /// Shows a new view and tells the watchers of the blocks that led to it.
    pub fn publish(&self, view: View, added: &[Arc<EvmBlock>]) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        for watcher in lock(&self.watchers).iter() {
            added.iter().for_each(watcher);
        }
        self.wake_attester(Wake::Head);
    }

    /// Queues a message to the chain's thread. Once that has ended, messages are dropped: the node is stopping.
    pub fn send(&self, message: Message) {
        let _stopping = self.queue.send(message);
    }

    /// Gives the channel that wakes the attester.
    pub fn wake_attester_with(&self, wake: mpsc::Sender<Wake>) {
        *lock(&self.attester) = Some(wake);
    }

    /// Tells the attester what there is to look at.
    pub fn wake_attester(&self, wake: Wake) {
        if let Some(attester) = lock(&self.attester).as_ref() {
            let _stopping = attester.send(wake);
        }
    }

    /// Closes the attester's channel, which ends its thread.
    pub fn stop_attester(&self) {
        lock(&self.attester).take();
    }

    /// Notes a fault, which stops the node.
    pub fn set_fault(&self, reason: String) {
        tracing::error!("{reason}");
        self.fault.send_replace(Some(reason));
    }

    /// Resolves with the reason once a fault is noted.
    pub fn faulted(&self) -> impl Future<Output = String> + use<> {
        let mut fault = self.fault.subscribe();
        async move {
            loop {
                if let Some(reason) = fault.borrow_and_update().clone() {
                    return reason;
                }
                if fault.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}

impl Backend for Shared {
    fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn submit(&self, tx: RecoveredTx, reply: SubmitReply) {
        if let Err(mpsc::SendError(Message::Submit(_, reply))) = self.queue.send(Message::Submit(Box::new(tx), reply)) {
            reply(Err(AdmissionError::Stopping));
        }
    }

    fn pool(&self) -> &PoolIndex {
        &self.pool
    }

    fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    fn client_version(&self) -> String {
        format!("Lattice/v{}/{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS)
    }

    fn heads(&self, watcher: HeadWatcher) {
        lock(&self.watchers).push(watcher);
    }
}
