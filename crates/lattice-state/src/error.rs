//! The two kinds of wrong in this room: bytes that are no diff, and a store that cannot be used.

use alloy_primitives::B256;
use lattice_storage::StorageFault;

/// Bytes that are not the canonical encoding of a state diff.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDiff {
    /// Not RLP, or not of the right shape.
    #[error("the state diff is not canonical RLP: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// More bytes than the items need.
    #[error("the state diff has {count} bytes after its last item")]
    TrailingBytes {
        /// Number of bytes too many.
        count: usize,
    },
    /// A list has duplicates or is out of order.
    #[error("a list in the state diff does not ascend strictly")]
    NotAscending,
    /// A code under a hash that is not its own.
    #[error("the state diff holds a code under {hash}, which is not its keccak")]
    CodeHash {
        /// The claimed hash.
        hash: B256,
    },
}

/// Our store or our bug: the node stops.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageFault),
    /// The store holds no state yet.
    #[error("the store holds no state: initialise it with the genesis state first")]
    Uninitialised,
    /// A layer names a parent that is neither the base nor a layer.
    #[error("the state layer of block {block} hangs on {parent}, which has no state here")]
    UnknownParent {
        /// The chain block of the layer.
        block: B256,
        /// Its selected parent.
        parent: B256,
    },
    /// A block without a layer was named.
    #[error("block {block} has no state layer here")]
    UnknownBlock {
        /// The named block.
        block: B256,
    },
    /// Flattening twice within one batch: the second pass would read what the first has not yet written.
    #[error(
        "the state was flattened to {base}, but the store does not have it: commit the batch before flattening again"
    )]
    Uncommitted {
        /// The base in memory.
        base: B256,
    },
}
