//! What can stop an execution. A broken rule is none of it: an invalid transaction is skipped, a failing one reverts.

use alloy_primitives::B256;

/// The executor has to stop: the block can be neither accepted nor refused by this node now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// An active model's artifact is not here. Never guessed: fetch it and execute the block again.
    #[error(
        "the artifact of active model {0} is missing on this node: fetch it from a validator that attested it, then execute again"
    )]
    MissingArtifact(B256),
    /// A proof that a transaction names is not here. Never guessed: fetch it and execute the block again.
    #[error("the proof {0} is missing on this node: fetch it from a node that has the block, then execute again")]
    MissingProof(B256),
    /// Our store, our engine or our bug.
    #[error("execution fault: {0}")]
    Fault(String),
}

/// Why an engine gives no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    /// This node lacks the artifact of the model.
    #[error("the artifact of model {0} is missing on this node")]
    Missing(B256),
    /// The model cannot run on this input, and every node finds the same: the call reverts with the reason.
    #[error("{0}")]
    Refused(String),
    /// Something broke on this node only.
    #[error("inference fault: {0}")]
    Fault(String),
}
