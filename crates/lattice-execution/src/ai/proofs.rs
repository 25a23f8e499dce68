//! What verifies proofs: the interface that the proof system fills, and the stand-in until one is enabled.

use alloy_primitives::{Address, B256};

/// What a proof is about. All of it is absorbed by the proof before its first commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofStatement {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The request that the proof answers.
    pub request_id: B256,
    /// The model.
    pub model_id: B256,
    /// keccak256 of the raw input tensors.
    pub input_hash: B256,
    /// keccak256 of the raw output tensors.
    pub output_hash: B256,
    /// Who asked.
    pub requester: Address,
    /// Who is to be paid.
    pub payee: Address,
}

/// A proof by name: its bytes travel beside the transactions of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofRef {
    /// keccak256 of the proof's bytes.
    pub hash: B256,
    /// How many bytes.
    pub bytes: u64,
}

/// What verification costs, from the registered key and never from the proof.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProofShape {
    /// Queries of the low-degree test.
    pub queries: u64,
    /// Columns opened by each query.
    pub columns: u64,
    /// Sum of the binary logarithms of the tables' heights.
    pub log_heights: u64,
    /// The longest proof of this shape, bytes.
    pub bytes_max: u64,
}

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// This node lacks the proof's bytes.
    #[error("the proof {0} is missing on this node")]
    Missing(B256),
    /// Something broke on this node only.
    #[error("proof fault: {0}")]
    Fault(String),
}

/// Verifies proofs. Both functions are pure and equal on every node; only [`ProofError`] may depend on the node.
pub trait ProofSystem: Send + Sync {
    /// The shape of the model's registered proof key; `None` when it has none.
    fn shape(&self, model_id: &B256) -> Option<ProofShape>;

    /// Whether the proof proves the statement.
    ///
    /// # Errors
    /// See [`ProofError`].
    fn verify(&self, statement: &ProofStatement, proof: &ProofRef) -> Result<bool, ProofError>;
}

/// No proof system: no model has a key, so nothing is ever accepted.
#[derive(Debug, Clone, Copy)]
pub struct NoProofs;

impl ProofSystem for NoProofs {
    fn shape(&self, _: &B256) -> Option<ProofShape> {
        None
    }

    fn verify(&self, _: &ProofStatement, _: &ProofRef) -> Result<bool, ProofError> {
        Ok(false)
    }
}
