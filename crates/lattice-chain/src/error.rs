//! What can go wrong in the chain: the three kinds of the house (invalid, missing, fault) and refused transactions.

use crate::{
    committee::{AttestationRefused, EvidenceRefused, InvalidStanding, TrustRefused, VoteRefused},
    pool::AdmissionError,
};
use alloy_primitives::B256;
use lattice_consensus::InvalidHeader;
use lattice_execution::{ExecutionError, SimulationError};
use lattice_state::StateFault;
use lattice_storage::{StorageFault, artifact::ArtifactError};
use lattice_types::{InvalidBlock, InvalidEvidence, bls::InvalidBls};

/// Why an input was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The transaction is refused.
    #[error(transparent)]
    Refused(#[from] AdmissionError),
    /// The block breaks a rule in the context of its past.
    #[error("invalid block: {0}")]
    InvalidBlock(#[from] InvalidHeader),
    /// The block breaks a rule of eligibility or finality.
    #[error("invalid block: {0}")]
    InvalidStanding(Box<InvalidStanding>),
    /// The vote is refused.
    #[error("vote refused: {0}")]
    Vote(#[from] VoteRefused),
    /// The trusted checkpoint is refused.
    #[error(transparent)]
    Trust(#[from] TrustRefused),
    /// The evidence is refused.
    #[error("evidence refused: {0}")]
    Evidence(#[from] EvidenceRefused),
    /// The attestation is refused.
    #[error("attestation refused: {0}")]
    Attestation(#[from] AttestationRefused),
    /// The block's slot lies in the future: hand it in again when its time has come.
    #[error("the block's slot {slot} begins in {wait_ms} ms")]
    FutureSlot {
        /// The block's slot.
        slot: u64,
        /// How long until it begins.
        wait_ms: u64,
    },
    /// Parents are unknown; the block waits among the orphans.
    #[error("{} parents of the block are unknown: fetch them", .0.len())]
    MissingParents(Vec<B256>),
    /// An active model's artifact is not held by this node: fetch it from any attester, then go on.
    #[error("the artifact of active model {0} is missing: fetch it before executing further")]
    MissingArtifact(B256),
    /// Disk or program failure: the node must stop.
    #[error("fault: {0}")]
    Fault(String),
}

/// Why something is refused before the chain sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckRefused {
    /// The block is refused for good.
    #[error("invalid block: {0}")]
    Block(#[from] InvalidBlock),
    /// The evidence convicts nobody.
    #[error(transparent)]
    Evidence(#[from] InvalidEvidence),
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] InvalidBls),
    /// As far as this node can tell, nobody is asked for the vote: there is no key to verify it with.
    #[error("validator {0} is in no stake set that this node knows for the checkpoint of its vote")]
    UnknownSigner(u32),
}

impl From<InvalidStanding> for ChainError {
    fn from(refusal: InvalidStanding) -> Self {
        Self::InvalidStanding(Box::new(refusal))
    }
}

impl From<StorageFault> for ChainError {
    fn from(fault: StorageFault) -> Self {
        Self::Fault(fault.to_string())
    }
}

impl From<StateFault> for ChainError {
    fn from(fault: StateFault) -> Self {
        Self::Fault(fault.to_string())
    }
}

impl From<ExecutionError> for ChainError {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::MissingArtifact(model) => Self::MissingArtifact(model),
            other => Self::Fault(other.to_string()),
        }
    }
}

/// Why a model cannot be loaded, checked or run here.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Nobody registered it.
    #[error("model {0} is not registered")]
    Unknown(B256),
    /// Its artifact is not held here, or not whole.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The artifact is not what the registration says.
    #[error("the artifact of model {model} does not match its registration: {reason}")]
    Mismatch {
        /// The model.
        model: B256,
        /// What differs.
        reason: String,
    },
    /// The input does not fit the model.
    #[error("model {model} refuses the input: {reason}")]
    Run {
        /// The model.
        model: B256,
        /// Why.
        reason: String,
    },
    /// This machine cannot run models; other nodes can, so it says nothing about the input.
    #[error("model {model} cannot run here: {reason}")]
    Machine {
        /// The model.
        model: B256,
        /// What is wrong with this machine.
        reason: String,
    },
    /// Disk failure.
    #[error(transparent)]
    Storage(#[from] StorageFault),
}

/// Why a read of the chain gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The selected chain has no such block.
    #[error("block {0} does not exist")]
    UnknownBlock(u64),
    /// The block lies below the pruning point. The first words are those of other Ethereum clients.
    #[error(
        "pruned history unavailable: this node keeps blocks, transactions and receipts from block {kept_from} on and has \
         pruned block {number}; ask an archive node, or start this one with --archive to keep all from then on"
    )]
    BlockPruned {
        /// The block asked for.
        number: u64,
        /// The oldest block that is kept.
        kept_from: u64,
    },
    /// The block's state lies before the window.
    #[error(
        "historical state of block {number} is not available: this node keeps the states of the newest {window} blocks \
         (from block {kept_from} on); ask an archive node, or start this one with --archive to keep all from then on"
    )]
    StatePruned {
        /// The block asked for.
        number: u64,
        /// States kept before the newest.
        window: u64,
        /// The oldest block whose state is kept.
        kept_from: u64,
    },
    /// The block's state lies before the archive begins.
    #[error(
        "historical state of block {number} is not available: this archive begins at block {kept_from}, when the node \
         was first started with --archive; a node that is one from its first start has all"
    )]
    StateNotArchived {
        /// The block asked for.
        number: u64,
        /// The oldest block whose state is kept.
        kept_from: u64,
    },
    /// The call gives no outcome.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The stored state is damaged.
    #[error(transparent)]
    State(#[from] StateFault),
    /// Disk failure.
    #[error(transparent)]
    Storage(#[from] StorageFault),
}
