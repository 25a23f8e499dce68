//! Floor 3: ordered transactions and a state in; receipts, a state diff and an Ethereum block out.
//!
//! The EVM is revm under the Osaka rules ([`evm`] holds its whole assembly). [`BlockExecutor`] runs one EVM block: the
//! system calls of EIP-4788 and EIP-2935, slashings, models that begin to run, then every occurrence of a transaction in
//! the order that the chain gives, then withdrawals (EIP-4895) that pay the producers. [`simulate`] answers `eth_call`
//! and its relatives from the same machine. The rules of models and inferences live in [`ai`], those of validators and
//! their stake in [`staking`].
//!
//! This room knows no DAG, peer or mempool: whoever calls says which transactions come in which order and who carried
//! them. It runs no model itself either: an [`InferenceEngine`] does.

pub mod ai;
pub mod asm;
mod block;
mod context;
mod error;
pub mod ethereum;
pub mod evm;
mod genesis;
mod header;
mod overlay;
mod rewards;
pub mod simulate;
pub mod staking;
pub mod trace;
mod tx;

pub use ai::{
    AiLane, FOR_GOOD, InferenceEngine, LanePrice, ModelRecord, ModelStatus, ReadinessNeed, inference_record,
    model_count, model_versions, models, registration_count, registrations,
};
pub use block::BlockExecutor;
pub use context::{BlockContext, Executed, Occurrence, Outcome, Payee, Readiness, Slashing, artifact_list_cid};
pub use error::{ExecutionError, InferenceError};
pub use genesis::genesis;
pub use header::{base_fee_next, inference_root, model_root, training_root};
pub use overlay::{Overlay, OverlayFault};
pub use simulate::{CallOutcome, CallRequest, CallStatus, GasEstimate, SimulationContext, SimulationError};
pub use tx::{gas_limit_max, intrinsic_gas};
