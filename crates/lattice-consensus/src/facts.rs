//! What a header tells the DAG, and the parameters by which the DAG judges it.

use alloy_primitives::B256;

/// The part of a header that consensus reads: numbers only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockFacts {
    /// The block's hash.
    pub hash: B256,
    /// Hashes of the parents, strictly ascending.
    pub parents: Vec<B256>,
    /// Slot number, greater than every parent's.
    pub slot: u64,
    /// Hash of the VRF output, the tie-break under stake.
    pub vrf_hash: B256,
    /// AI class, 0 to 3. It has a say in ties between candidates for selected parent, and in nothing else.
    pub ai_class: u8,
    /// What the block adds to the blue work of those that merge it as blue.
    pub work: u128,
    /// The blue score that the header claims.
    pub blue_score: u64,
    /// The blue work that the header claims.
    pub blue_work: u128,
    /// The newest pruning point on the block's selected chain, itself excluded, that the header claims.
    pub newest_pruning_point: B256,
}

/// How blocks of equal blue work are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TieRule {
    /// The greater hash is the greater key: Kaspa's rule, for its test vectors. Under stake a producer could grind
    /// the hash at no cost.
    GreaterHash,
    /// The lower hash of the VRF output is the greater key, then the greater hash: Lattice's rule. A VRF output is
    /// unique, so there is nothing to grind. Between candidates for selected parent, and in fork choice, the greater AI
    /// class comes before both.
    LowerVrfHash,
}

/// Consensus parameters of the DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DagParams {
    /// How many blues a blue block may have in its anticone.
    pub k: u16,
    /// Parents a block may have.
    pub parents_max: usize,
    /// Blocks a block may merge, blue and red, the selected parent not counted.
    pub mergeset_max: usize,
    /// Blue score below a block at which its merge-depth root lies; more than k.
    pub merge_depth: u64,
    /// Blue score below a sink at which its pruning point lies at least; `u64::MAX` never prunes.
    pub pruning_depth: u64,
    /// How ties of blue work are broken.
    pub tie_rule: TieRule,
}

impl DagParams {
    /// GHOSTDAG alone, without limits: for tools and vectors.
    pub const fn unlimited(k: u16, tie_rule: TieRule) -> Self {
        Self {
            k,
            parents_max: usize::MAX,
            mergeset_max: usize::MAX,
            merge_depth: u64::MAX,
            pruning_depth: u64::MAX,
            tie_rule,
        }
    }

    /// Blue score between pruning points: a 24th of the pruning depth, so that few are kept and little waits to be pruned.
    pub const fn pruning_interval(&self) -> u64 {
        if self.pruning_depth < 24 { 1 } else { self.pruning_depth / 24 }
    }
}
