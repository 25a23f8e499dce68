//! All limits that do not belong to one chain. What a chain may choose for itself stands in [`crate::spec`].

/// Encoded bytes of one transaction, at admission and in a block.
pub const TX_BYTES_MAX: usize = 128 * 1024;
/// Encoded bytes of all transactions of one DAG block.
pub const BLOCK_TX_BYTES_MAX: usize = 512 * 1024;
/// Encoded bytes of one DAG block: transactions, header and certificates.
pub const BLOCK_BYTES_MAX: usize = BLOCK_TX_BYTES_MAX + 64 * 1024;
/// Readiness certificates in one DAG block.
pub const READINESS_PER_BLOCK_MAX: usize = 16;
/// Certificates of finality in one DAG block. One a checkpoint is the rule; the others catch up after a stall.
pub const CERTIFICATES_PER_BLOCK_MAX: usize = 16;
/// Pieces of evidence in one DAG block.
pub const EVIDENCE_PER_BLOCK_MAX: usize = 8;
/// Parents of a header in evidence: more than a chain allows its blocks.
pub const EVIDENCE_PARENTS_MAX: usize = 32;
/// Bytes of a model's name on chain; longer text belongs into the artifact.
pub const MODEL_NAME_BYTES_MAX: usize = 32;
/// Bytes of one artifact: a frozen graph with its weights.
pub const ARTIFACT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of one chunk of an artifact: the raw leaves of IPFS' 1 MiB profile.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Gas limit of one transaction (EIP-7825).
pub const TX_GAS_LIMIT_MAX: u64 = 1 << 24;
