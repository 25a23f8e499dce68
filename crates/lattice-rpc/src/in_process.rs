//! The methods without a socket: a message in, its answer out. Test benches read a chain through it.

use crate::{api::Api, error::RpcFault};
use lattice_chain::Backend;
use std::sync::Arc;

/// All methods over a backend, on a runtime of its own.
pub struct InProcess {
    api: Arc<Api>,
    runtime: tokio::runtime::Runtime,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl InProcess {
    /// The methods over a backend.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn new(backend: Arc<dyn Backend>) -> Result<Self, RpcFault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(RpcFault::Runtime)?;
        Ok(Self { api: Api::new(backend), runtime })
    }

    /// Answers a JSON-RPC message in bytes; `None` when nothing is to be answered. Must not be called from within a
    /// runtime.
    pub fn answer(&self, message: &[u8]) -> Option<String> {
        self.runtime.block_on(self.api.answer(message))
    }

    /// Whether there is a method of this name.
    pub fn has_method(&self, name: &str) -> bool {
        self.api.entry(name).is_some()
    }
}
