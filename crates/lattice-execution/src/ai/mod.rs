//! The AI rules: models, their registration and activation, and inference.
//!
//! AI state is the storage of the system accounts, written only through revm's journal: a revert undoes it, a static
//! call refuses it, and the accounts' storage roots are the roots that DAG headers carry. Every door (precompile, AI
//! transaction, ordinary transaction to a system account) ends in the one function `engine::run`.
//! The layout is specified in `docs/spec/ai-state.md`, the doors in `docs/spec/ai-precompiles.md`.

pub(crate) mod abi;
pub(crate) mod call;
pub mod container;
mod doors;
mod engine;
pub(crate) mod gas;
mod host;
mod lane;
pub mod opcodes;
mod precompiles;
pub mod proofs;
mod records;
pub mod requests;

pub use abi::revert_reason;
pub use gas::{RUN_GAS_PER_BYTE, adapter_work, load as load_gas, model_run_gas};
pub use host::{AiHost, InferenceEngine};
pub use lane::{AiLane, LanePrice};
pub use precompiles::LatticePrecompiles;
pub use records::{
    accounts::{AccountRecord, StakeRecord, UNSTAKE_BLOCKS},
    adapters::{AdapterKind, AdapterRecord},
    bonded::{
        ANSWER_CHALLENGE_BLOCKS, BondedRecord, CHALLENGE_INPUT_BYTES_MAX, CHALLENGE_WORK_MAX, RequestStatus,
        TracedAnswer,
    },
    jobs::{JobDispute, JobStatus, TRAINING_CHALLENGE_BLOCKS, TrainingRecord},
    models::{
        FOR_GOOD, ModelLine, ModelMetrics, ModelRecord, ModelStatus, ModelTerms, PENDING_BLOCKS, REGISTRATIONS_KEPT,
        ReadinessNeed, inference_record, inference_slot, model_count, model_slot, model_versions, models,
        registration_count, registrations,
    },
    reputation::{BURNED_PART, WEI_PER_POINT},
    versions::{ModelPermission, VERSIONS_KEPT},
};

pub(crate) use doors::{call_input, new_artifacts, refuse_value, require_plain_call};
pub(crate) use host::StakeRules;
pub(crate) use lane::{close as close_lane, open as open_lane};
pub(crate) use opcodes::ai_instructions;
pub(crate) use records::{
    Word,
    readiness::{begin_epoch, certify},
    slot,
};
pub(crate) use requests::expire;
