//! Why a header does not enter the DAG.

use alloy_primitives::B256;
use lattice_storage::StorageFault;

/// A header breaks a rule: whoever made it is wrong, and no later block can mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// Only the genesis block has no parents.
    #[error("block has no parents")]
    NoParents,
    /// More parents than the chain allows.
    #[error("block has {found} parents, at most {max} are allowed")]
    TooManyParents {
        /// Parents of the block.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Parents out of order or twice.
    #[error("parents are not strictly ascending: {second} comes after {first}")]
    ParentsNotAscending {
        /// The earlier one in the header.
        first: B256,
        /// The one after it, which is not greater.
        second: B256,
    },
    /// A parent in the past of another parent adds nothing.
    #[error("parent {ancestor} is an ancestor of parent {descendant}")]
    ParentIsAncestor {
        /// The redundant parent.
        ancestor: B256,
        /// The parent that has it in its past.
        descendant: B256,
    },
    /// Slots rise along every path.
    #[error("slot {slot} is not after slot {parent_slot} of parent {parent}")]
    SlotNotAfterParent {
        /// Slot of the block.
        slot: u64,
        /// The parent.
        parent: B256,
        /// Slot of the parent.
        parent_slot: u64,
    },
    /// The block merges more than anyone must execute.
    #[error("block merges more than {max} blocks")]
    MergesetTooLarge {
        /// The limit.
        max: usize,
    },
    /// The block merges what was settled long before it.
    #[error(
        "block merges {merged}, which does not have the merge-depth root {root} ({depth} of blue score back) in its past"
    )]
    BelowMergeDepth {
        /// The merged block.
        merged: B256,
        /// The merge-depth root of the block.
        root: B256,
        /// The merge depth, in blue score.
        depth: u64,
    },
    /// The block would go on from what this node has pruned: a fork a pruning depth long.
    #[error("the selected chain of the block's parent {selected_parent} does not hold the pruning point {point}")]
    BesidePruningPoint {
        /// Selected parent of the block.
        selected_parent: B256,
        /// The pruning point of this node.
        point: B256,
    },
    /// The block names parents that this node does not know, and claims too low a blue score to have the pruning point in
    /// its past: they were pruned, or never were.
    #[error(
        "the block's blue score {blue_score} is not above that of the pruning point {point}, which is {point_score}, and its \
         parents are not kept: it comes too late"
    )]
    BelowPruningPoint {
        /// In the header.
        blue_score: u64,
        /// The pruning point of this node.
        point: B256,
        /// Its blue score.
        point_score: u64,
    },
    /// The claimed blue score is not the one that GHOSTDAG gives.
    #[error("header claims blue score {claimed}, GHOSTDAG gives {computed}")]
    WrongBlueScore {
        /// In the header.
        claimed: u64,
        /// Recomputed.
        computed: u64,
    },
    /// The claimed blue work is not the one that GHOSTDAG gives.
    #[error("header claims blue work {claimed}, GHOSTDAG gives {computed}")]
    WrongBlueWork {
        /// In the header.
        claimed: u128,
        /// Recomputed.
        computed: u128,
    },
    /// The claimed pruning point is not the newest one on the block's selected chain.
    #[error("header claims the pruning point {claimed}, its selected chain gives {computed}")]
    WrongPruningPoint {
        /// In the header.
        claimed: B256,
        /// Recomputed.
        computed: B256,
    },
}

/// Blocks that must come first: fetch them and try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} parent(s) are not known, the first is {}", parents.len(), parents[0])]
pub struct MissingParents {
    /// The unknown parents; never empty.
    pub parents: Vec<B256>,
}

/// What a check of a header may end with.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The block is in the DAG already: nothing to do.
    #[error("block {0} is already known")]
    Known(B256),
    /// Somebody broke a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidHeader),
    /// Ancestors are missing.
    #[error(transparent)]
    Missing(#[from] MissingParents),
    /// Our own store failed: nothing is known about the header.
    #[error(transparent)]
    Fault(#[from] StorageFault),
}
