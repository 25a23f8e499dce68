//! Depth on the selected chain: the merge-depth rule, the pruning point, and the jumps that find them.
//!
//! A block may merge only what has the block's *merge-depth root* in its past: the newest block of its own selected chain
//! that lies `merge_depth` of blue score below it. So what is older than the root is settled for all that comes, and no
//! old side chain is ever drawn into the order behind it. One exception, as in Kaspa: what a merged blue block with the
//! root on its own selected chain has in its past. That block merged it when it was young enough, and its honest
//! successors must not become unmergeable for it.

use alloy_primitives::B256;
use lattice_storage::StorageFault;

use crate::{CheckError, Dag, InvalidHeader, dag::Block, ghostdag::Colouring};

/// The length of the jump of a chain block at this height: the least weight in the skew-binary form of the height
/// (weights 2^i - 1). 0 for genesis.
fn jump_length(height: u64) -> u64 {
    let (mut rest, mut weight) = (height, 0);
    while rest > 0 {
        // The greatest weight that fits.
        weight = u64::MAX >> (rest.saturating_add(1).leading_zeros() + 1);
        rest -= weight;
    }
    weight
}

impl Dag {
    /// Height and jump of a child of `parent`.
    ///
    /// Jumps are those of Myers ("An applicative random-access stack", 1983): their lengths follow the skew-binary form of
    /// the height, so that any ancestor is found in O(log n) steps, and a block's jump never changes.
    pub(crate) fn link(&self, parent: u64) -> Result<(u64, u64), StorageFault> {
        let below = self.block(parent)?;
        let first = jump_length(below.height);
        let second = jump_length(below.height - first);
        let jump = match (first == second).then(|| self.blocks.get(below.jump)).transpose()?.flatten() {
            Some(jump) => jump.jump,
            // Below a pruned jump there is nothing to find.
            None if first == second => below.jump,
            None => parent,
        };
        Ok((below.height + 1, jump))
    }

    /// The newest block of the selected chain of `from`, itself included, whose blue score is at most `score_max`; the
    /// oldest kept when all others are pruned. `old` is a block that is old enough at any rate, or not newer than one on
    /// this chain that is.
    pub(crate) fn chain_block_below(&self, from: u64, score_max: u64, old: u64) -> Result<u64, StorageFault> {
        self.newest_chain_block(from, old, |block| block.colouring.blue_score <= score_max)
    }

    /// The newest block of the selected chain of `from`, itself included, that is old: so must be everything below an old
    /// block, and chain blocks up to the one given. The oldest kept block when none is.
    pub(crate) fn newest_chain_block(
        &self,
        from: u64,
        old: u64,
        is_old: impl Fn(&Block) -> bool,
    ) -> Result<u64, StorageFault> {
        Ok(self.chain_edge(from, old, is_old)?.1)
    }

    /// The oldest block of the selected chain of `from` that is not old; `from` itself when it is old.
    pub(crate) fn oldest_chain_block(
        &self,
        from: u64,
        old: u64,
        is_old: impl Fn(&Block) -> bool,
    ) -> Result<u64, StorageFault> {
        Ok(self.chain_edge(from, old, is_old)?.0)
    }

    /// Both: the blocks above and below the edge.
    fn chain_edge(&self, from: u64, old: u64, is_old: impl Fn(&Block) -> bool) -> Result<(u64, u64), StorageFault> {
        let (mut above, mut at) = (from, (from, self.block(from)?));
        while at.0 > old && !is_old(&at.1) {
            above = at.0;
            let (jump, parent) = (at.1.jump, at.1.colouring.selected_parent());
            // A jump of one step is the selected parent.
            let target = if jump > old && Some(jump) != parent {
                self.blocks.get(jump)?.filter(|block| !is_old(block)).map(|block| (jump, block))
            } else {
                None
            };
            at = match (target, parent) {
                (Some(above), _) => above,
                (None, Some(parent)) => match self.blocks.get(parent)? {
                    Some(block) => (parent, block),
                    None => break,
                },
                (None, None) => break,
            };
        }
        Ok((above, at.0))
    }

    /// The newest block on the selected chain of a block that lies at least `depth` of blue score below it. When there is
    /// none, the oldest block of the chain: genesis, or what pruning has left. None when the block is not known.
    ///
    /// With the finality depth this is the finality point of a sink, and so on. O(log n).
    pub fn chain_block_at_depth(&self, block: &B256, depth: u64) -> Result<Option<B256>, StorageFault> {
        let Some(block) = self.blocks.find(block)? else { return Ok(None) };
        let score = self.block(block)?.colouring.blue_score.saturating_sub(depth);
        Ok(Some(self.block(self.chain_block_below(block, score, 0)?)?.hash))
    }

    /// The newest block on the selected chain of a block, itself included, with at most this slot: the block of a checkpoint
    /// ([`crate::finality::CheckpointParams::slot_max`]). When all are later, the oldest block of the chain, as with
    /// [`Dag::chain_block_at_depth`]. None when the block is not known. O(log n).
    pub fn chain_block_at_slot(&self, block: &B256, slot_max: u64) -> Result<Option<B256>, StorageFault> {
        let Some(block) = self.blocks.find(block)? else { return Ok(None) };
        let found = self.newest_chain_block(block, 0, |block| block.slot <= slot_max)?;
        Ok(Some(self.block(found)?.hash))
    }

    /// The merge-depth root of a block coloured like this; none for genesis.
    fn merge_depth_root(&self, colouring: &Colouring) -> Result<Option<u64>, StorageFault> {
        let Some(parent) = colouring.selected_parent() else { return Ok(None) };
        let score = colouring.blue_score.saturating_sub(self.params.merge_depth);
        // Scores rise along a chain, and so do roots.
        self.chain_block_below(parent, score, self.block(parent)?.merge_root).map(Some)
    }

    /// The first merged block that the merge-depth rule forbids, or none; with the root.
    pub(crate) fn below_merge_depth(&self, colouring: &Colouring) -> Result<(Option<u64>, u64), StorageFault> {
        let Some(root) = self.merge_depth_root(colouring)? else { return Ok((None, 0)) };
        let mut kosher: Option<Vec<u64>> = None;
        for merged in colouring.mergeset() {
            if self.past_of(merged).contains(root)? {
                continue;
            }
            if kosher.is_none() {
                kosher = Some(self.kosher_blues(colouring, root)?);
            }
            if !self.is_in_past_of_any(merged, kosher.as_deref().unwrap_or_default())? {
                return Ok((Some(merged), root));
            }
        }
        Ok((None, root))
    }

    /// Merged blues with the root on their selected chain.
    fn kosher_blues(&self, colouring: &Colouring, root: u64) -> Result<Vec<u64>, StorageFault> {
        let blues = colouring.blues.iter().skip(1).copied();
        let mut kosher = Vec::new();
        for blue in blues {
            if self.reachability.is_chain_ancestor(root, blue)? {
                kosher.push(blue);
            }
        }
        Ok(kosher)
    }

    /// [`Dag::below_merge_depth`] as the error of a header; the root when all is well.
    pub(crate) fn check_merge_depth(&self, colouring: &Colouring) -> Result<u64, CheckError> {
        match self.below_merge_depth(colouring)? {
            (None, root) => Ok(root),
            (Some(merged), root) => Err(InvalidHeader::BelowMergeDepth {
                merged: self.block(merged)?.hash,
                root: self.block(root)?.hash,
                depth: self.params.merge_depth,
            }
            .into()),
        }
    }

    /// Takes out of the parents chosen for a child of `sink` those that bring something below its merge depth.
    pub(crate) fn retain_within_merge_depth(&self, sink: u64, parents: &mut Vec<u64>) -> Result<(), StorageFault> {
        // A block that goes may lower the score, hence the root, and take a kosher blue with it: look again after each
        // one. The sink alone merges nothing, so this ends.
        while parents.len() > 1 {
            let colouring = self.colour_all(parents)?;
            let (Some(merged), _) = self.below_merge_depth(&colouring)? else { return Ok(()) };
            let mut kept = Vec::with_capacity(parents.len());
            for &parent in parents.iter() {
                if parent == sink || !(parent == merged || self.past_of(parent).contains(merged)?) {
                    kept.push(parent);
                }
            }
            *parents = kept;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition by pairs: two jumps of one length join to one of twice that and one.
    #[test]
    fn lengths_follow_the_pairs() {
        let mut lengths = vec![0u64];
        for height in 1..100_000u64 {
            let below = height - 1;
            let first = lengths[below as usize];
            let second = lengths[(below - first) as usize];
            lengths.push(if first == second { 1 + first + second } else { 1 });
            assert_eq!(jump_length(height), lengths[height as usize], "height {height}");
        }
    }
}
