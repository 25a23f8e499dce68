//! Floor 4: the node's mind.
//!
//! [`Chain::handle`] takes one [`Input`] at a time and answers with [`Effects`]. It is synchronous, has one owner and
//! sees time, randomness, disk and peers only as inputs, so the simulator drives the very code that a node runs. One
//! input writes at most one atomic batch, and does so before its effects are told; opening the store is the only way
//! to recover.
//!
//! Rooms: [`chain`](Chain) dispatches; `intake` inserts blocks, `orphans` keeps those that lack parents; `advance` moves the sink: executes,
//! disqualifies, reorganises; `committee` knows who may produce and vote and what is final; `template` builds our own blocks; `pool` keeps transactions; `blocks` reads and stages
//! what is stored; `models` loads verified models; `prune` forgets what nobody needs; [`View`] is what everybody else reads.

mod advance;
mod backend;
mod blocks;
mod chain;
mod committee;
mod error;
mod intake;
mod linear;
mod models;
mod orphans;
mod penalty;
mod pool;
mod prune;
mod template;
mod view;

pub use backend::{Backend, HeadWatcher, SubmitReply};
pub use chain::{Chain, ChainOptions, Effects, Input};
pub use committee::{
    AttestationRefused, EvidenceRefused, InvalidStanding, Keyring, TrustRefused, Unchecked, VoteRefused,
};
pub use error::{ChainError, CheckRefused, ModelError, ViewError};
pub use lattice_execution::{
    AiLane, CallOutcome, CallRequest, CallStatus, ExecutionError, FOR_GOOD, GasEstimate, ModelRecord, ModelStatus,
    ReadinessNeed, SimulationError, base_fee_next,
    simulate::{AccountOverride, BlockOverrides, Overrides, StorageOverride},
    trace::{Trace, TraceOptions, TraceStep},
};
/// Records of the AI rules, to be read from [`View::head_state`].
pub mod records {
    pub use lattice_execution::ai::{
        AccountRecord, AdapterKind, AdapterRecord, BondedRecord, JobStatus, ModelPermission, ModelRecord,
        RequestStatus, TrainingRecord,
    };
}
pub use lattice_inference::{ValueInfo, executor_version, is_accelerated};
pub use lattice_state::{AccountProof, State, archive_from};
pub use lattice_storage::{ArtifactStore, StorageFault, artifact::ArtifactError};
pub use linear::{EthereumFacts, LinearBlock};
pub use models::{ModelSignature, ModelStore};
pub use penalty::Penalty;
pub use pool::{AdmissionError, Lane, PoolIndex};
pub use template::Template;
pub use view::{BlockStatus, DagFacts, FinalityFacts, View};
