//! The door through which RPC, MCP and others reach the node: reads by [`View`], writes by a queue.

use crate::{
    pool::{AdmissionError, PoolIndex},
    view::View,
};
use alloy_primitives::B256;
use lattice_storage::ArtifactStore;
use lattice_types::{EvmBlock, RecoveredTx};
use std::sync::Arc;

/// Called with the verdict over a submitted transaction.
pub type SubmitReply = Box<dyn FnOnce(Result<B256, AdmissionError>) + Send>;

/// Called on every new head, on the chain's thread: it must not block.
pub type HeadWatcher = Box<dyn Fn(&Arc<EvmBlock>) + Send + Sync>;

/// What the shell offers to the doors of the node.
pub trait Backend: Send + Sync + 'static {
    /// The newest view. Never waits for the chain's thread.
    fn view(&self) -> Arc<View>;

    /// Queues a transaction for admission; `reply` is called once, on the chain's thread.
    fn submit(&self, tx: RecoveredTx, reply: SubmitReply);

    /// The transactions that wait.
    fn pool(&self) -> &PoolIndex;

    /// The artifacts on this machine.
    fn artifacts(&self) -> &ArtifactStore;

    /// Name and version, as web3_clientVersion gives it.
    fn client_version(&self) -> String;

    /// Registers a watcher of new heads.
    fn heads(&self, watcher: HeadWatcher);
}
