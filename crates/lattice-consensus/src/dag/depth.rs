//! Depth on the selected chain: the merge-depth rule, the pruning point, and the jumps that find them.
//!
//! A block may merge only what has the block's *merge-depth root* in its past: the newest block of its own selected chain
//! that lies `merge_depth` of blue score below it. So what is older than the root is settled for all that comes, and no
//! old side chain is ever drawn into the order behind it. One exception, as in Kaspa: what a merged blue block with the
//! root on its own selected chain has in its past. That block merged it when it was young enough, and its honest
//! successors must not become unmergeable for it.

use alloy_primitives::B256;
use lattice_storage::StorageFault;

use crate::{Dag, InvalidHeader, dag::Block, ghostdag::Colouring};

/// A chain block's place: distance from genesis and one ancestor far down.
///
/// Jumps are those of Myers ("An applicative random-access stack", 1983): their lengths follow the skew-binary form of
/// the height, so that any ancestor is found in O(log n) steps, and a block's jump never changes.
#[derive(Debug, Clone, Copy)]
struct Link {
    height: u32,
    jump: u32,
}

/// The jumps of all blocks along their selected chains.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jumps(Vec<Link>);

impl Jumps {
    /// Adds the next block. Genesis, which has no selected parent, jumps to itself.
    pub(crate) fn push(&mut self, selected_parent: Option<u32>) {
        let Some(parent) = selected_parent else {
            self.0.push(Link { height: 0, jump: 0 });
            return;
        };
        let at = |block: u32| self.0[block as usize];
        let (below, jump) = (at(parent), at(at(parent).jump));
        let is_pair = below.height - jump.height == jump.height - at(jump.jump).height;
        let link = Link { height: below.height + 1, jump: if is_pair { jump.jump } else { parent } };
        self.0.push(link);
    }

    fn jump(&self, block: u32) -> u32 {
        self.0[block as usize].jump
    }
}

impl Dag {
    /// The newest block of the selected chain of `from`, itself included, whose blue score is at most `score_max`.
    /// Genesis has blue score 0, so there always is one.
    pub(crate) fn chain_block_below(&self, from: u32, score_max: u64) -> u32 {
        self.newest_chain_block(from, |block| block.colouring.blue_score <= score_max)
    }

    /// The newest block of the selected chain of `from`, itself included, that is old: genesis must be, and so must be
    /// everything below an old block.
    fn newest_chain_block(&self, from: u32, is_old: impl Fn(&Block) -> bool) -> u32 {
        let is_above = |block: u32| !is_old(self.block(block));
        let mut at = from;
        while is_above(at) {
            let jump = self.jumps.jump(at);
            at =
                if is_above(jump) { jump } else { self.block(at).colouring.selected_parent().expect("genesis is old") };
        }
        at
    }

    /// The newest block on the selected chain of a block that lies at least `depth` of blue score below it; genesis when
    /// the chain is shorter, none when the block is not known.
    ///
    /// With the pruning depth this is the pruning point of a sink, with the finality depth its finality point, and so on.
    /// O(log n).
    pub fn chain_block_at_depth(&self, block: &B256, depth: u64) -> Result<Option<B256>, StorageFault> {
        let Some(&block) = self.indices.get(block) else { return Ok(None) };
        let score = self.block(block).colouring.blue_score.saturating_sub(depth);
        Ok(Some(self.block(self.chain_block_below(block, score)).hash))
    }

    /// The newest block on the selected chain of a block, itself included, with at most this slot: the block of a checkpoint
    /// ([`crate::finality::CheckpointParams::slot_max`]). None when the block is not known. O(log n).
    pub fn chain_block_at_slot(&self, block: &B256, slot_max: u64) -> Result<Option<B256>, StorageFault> {
        let Some(&block) = self.indices.get(block) else { return Ok(None) };
        let genesis_slot = self.block(0).slot;
        let found = self.newest_chain_block(block, |block| block.slot <= slot_max.max(genesis_slot));
        Ok(Some(self.block(found).hash))
    }

    /// The merge-depth root of a block coloured like this; none for genesis.
    fn merge_depth_root(&self, colouring: &Colouring) -> Option<u32> {
        let score = colouring.blue_score.saturating_sub(self.params.merge_depth);
        Some(self.chain_block_below(colouring.selected_parent()?, score))
    }

    /// The first merged block that the merge-depth rule forbids, with the root.
    pub(crate) fn below_merge_depth(&self, colouring: &Colouring) -> Option<(u32, u32)> {
        let root = self.merge_depth_root(colouring)?;
        let mut kosher: Option<Vec<u32>> = None;
        for merged in colouring.mergeset().filter(|&merged| !self.past_of(merged).contains(root)) {
            let blues = colouring.blues.iter().skip(1).copied();
            let kosher = kosher
                .get_or_insert_with(|| blues.filter(|&blue| self.reachability.is_chain_ancestor(root, blue)).collect());
            if !kosher.iter().any(|&blue| self.past_of(blue).contains(merged)) {
                return Some((merged, root));
            }
        }
        None
    }

    /// [`Dag::below_merge_depth`] as the error of a header.
    pub(crate) fn check_merge_depth(&self, colouring: &Colouring) -> Result<(), InvalidHeader> {
        match self.below_merge_depth(colouring) {
            None => Ok(()),
            Some((merged, root)) => Err(InvalidHeader::BelowMergeDepth {
                merged: self.block(merged).hash,
                root: self.block(root).hash,
                depth: self.params.merge_depth,
            }),
        }
    }

    /// Takes out of the parents chosen for a child of `sink` those that bring something below its merge depth.
    pub(crate) fn retain_within_merge_depth(&self, sink: u32, parents: &mut Vec<u32>) {
        // A block that goes may lower the score, hence the root, and take a kosher blue with it: look again after each
        // one. The sink alone merges nothing, so this ends.
        while parents.len() > 1 {
            let colouring = self.colour(parents, usize::MAX).expect("no mergeset is larger than usize::MAX");
            let Some((merged, _)) = self.below_merge_depth(&colouring) else { return };
            parents.retain(|&parent| parent == sink || !(parent == merged || self.past_of(parent).contains(merged)));
        }
    }
}
