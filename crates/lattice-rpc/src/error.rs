//! What goes wrong: errors of calls as JSON-RPC objects, and faults that keep the server from starting.
//!
//! Codes are JSON-RPC 2.0's, and geth's where Ethereum tools look for them: 3 for a revert (with the revert data), -32000
//! for a refused transaction or a block that is not there, 4444 for one that was pruned.

use alloy_primitives::{Bytes, hex};
use lattice_chain::{AdmissionError, ExecutionError, ModelError, SimulationError, StorageFault, ViewError};
use serde::Serialize;
use std::{borrow::Cow, net::SocketAddr};

/// The bytes are no JSON.
pub const PARSE: i32 = -32700;
/// The JSON is no request.
pub const INVALID_REQUEST: i32 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// A parameter is missing, too many or wrong.
pub const INVALID_PARAMS: i32 = -32602;
/// This node's fault.
pub const INTERNAL: i32 = -32603;
/// Refused, or not there.
pub const SERVER: i32 = -32000;
/// It took too long.
pub const TIMEOUT: i32 = -32002;
/// The answer would exceed a limit.
pub const LIMIT: i32 = -32005;
/// The block lies before what this node keeps: geth's code, after EIP-4444.
pub const PRUNED: i32 = 4444;
/// The EVM reverted; `data` is what it returned.
pub const REVERT: i32 = 3;

/// A JSON-RPC error object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RpcError {
    /// See the codes of this module.
    pub code: i32,
    /// Cause, and what to do.
    pub message: String,
    /// Revert data in hex, when the EVM reverted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(SERVER, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(LIMIT, message)
    }

    pub(crate) fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(INTERNAL, format!("internal error: {message}"))
    }

    /// The error of a reverted call; `reason` is what the data says when it is a Solidity error.
    pub(crate) fn reverted(output: &Bytes, reason: Option<&str>) -> Self {
        let message = reason.map_or("execution reverted".into(), |reason| format!("execution reverted: {reason}"));
        Self { code: REVERT, message, data: Some(hex::encode_prefixed(output)) }
    }
}

impl From<StorageFault> for RpcError {
    fn from(fault: StorageFault) -> Self {
        Self::internal(fault)
    }
}

impl From<AdmissionError> for RpcError {
    fn from(error: AdmissionError) -> Self {
        Self::server(error.to_string())
    }
}

impl From<ModelError> for RpcError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Storage(fault) => fault.into(),
            other => Self::server(other.to_string()),
        }
    }
}

impl From<ViewError> for RpcError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Simulation(SimulationError::Reverted { output, reason }) => {
                Self::reverted(&output, reason.as_deref())
            }
            ViewError::Simulation(SimulationError::Execution(ExecutionError::Fault(fault))) => Self::internal(fault),
            ViewError::Storage(fault) => fault.into(),
            pruned @ ViewError::BlockPruned { .. } => Self::new(PRUNED, pruned.to_string()),
            ViewError::State(fault) => Self::internal(fault),
            other => Self::server(other.to_string()),
        }
    }
}

/// A text of at most `max` characters, for what clients wrote themselves.
pub(crate) fn clip(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum RpcFault {
    /// Another process listens there.
    #[error(
        "port {} is in use on {}: stop the other process or choose another port (--port)",
        .0.port(),
        .0.ip()
    )]
    PortInUse(SocketAddr),
    /// The system gives no runtime.
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pruned_block_has_the_code_that_clients_know() {
        let error = RpcError::from(ViewError::BlockPruned { number: 7, kept_from: 100 });
        assert_eq!(error.code, PRUNED);
        assert!(error.message.starts_with("pruned history unavailable: "), "{}", error.message);
        assert!(error.message.contains("from block 100 on") && error.message.contains("pruned block 7"));
    }
}
