//! Choice: the best tip, the parents of a new block, the path between two chain blocks.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, BinaryHeap},
};

use alloy_primitives::B256;
use lattice_storage::StorageFault;

use crate::{Dag, dag::BlockKey};

/// How the selected chain changes from one block to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainPath {
    /// Chain blocks that leave, newest first.
    pub removed: Vec<B256>,
    /// Chain blocks that come, oldest first.
    pub added: Vec<B256>,
}

/// A block waiting to be looked at, ordered by key.
#[derive(PartialEq, Eq)]
struct Candidate {
    key: BlockKey,
    block: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then(self.block.cmp(&other.block))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Blocks by falling key, each once. An ancestor always comes after its descendants, because its blue work is lower.
struct Frontier<'a> {
    dag: &'a Dag,
    heap: BinaryHeap<Candidate>,
    seen: BTreeSet<u32>,
}

impl<'a> Frontier<'a> {
    fn of_tips(dag: &'a Dag) -> Self {
        let mut frontier = Self { dag, heap: BinaryHeap::new(), seen: BTreeSet::new() };
        frontier.push(dag.tips.iter().copied());
        frontier
    }

    fn push(&mut self, blocks: impl IntoIterator<Item = u32>) {
        for block in blocks {
            if self.seen.insert(block) {
                self.heap.push(Candidate { key: self.dag.key_at(block), block });
            }
        }
    }

    fn push_parents(&mut self, block: u32) {
        let dag = self.dag;
        self.push(dag.block(block).parents.iter().copied());
    }

    fn pop(&mut self) -> Option<u32> {
        self.heap.pop().map(|candidate| candidate.block)
    }
}

impl Dag {
    /// The usable block with the greatest key: the sink. Below a tip that is not usable its parents are candidates.
    /// Genesis is the answer when nothing else is usable.
    pub fn best(&self, usable: impl Fn(&B256) -> Result<bool, StorageFault>) -> Result<B256, StorageFault> {
        let mut frontier = Frontier::of_tips(self);
        while let Some(block) = frontier.pop() {
            if usable(&self.block(block).hash)? {
                return Ok(self.block(block).hash);
            }
            frontier.push_parents(block);
        }
        Ok(self.genesis())
    }

    /// [`Dag::best`] under finality: among the usable blocks whose selected chain holds the justified checkpoint, the one
    /// with the greatest key. None when there is none, not even the checkpoint itself.
    pub fn best_justified(
        &self,
        justified: &B256,
        usable: impl Fn(&B256) -> Result<bool, StorageFault>,
    ) -> Result<Option<B256>, StorageFault> {
        let Some(&justified) = self.indices.get(justified) else { return Ok(None) };
        let mut frontier = Frontier::of_tips(self);
        while let Some(block) = frontier.pop() {
            // Keys fall from here on, and descendants have greater keys than the checkpoint.
            if self.compare(block, justified).is_lt() {
                return Ok(None);
            }
            let hash = self.block(block).hash;
            if self.reachability.is_chain_ancestor(justified, block) && usable(&hash)? {
                return Ok(Some(hash));
            }
            frontier.push_parents(block);
        }
        Ok(None)
    }

    /// Parents for a new block whose selected parent shall be `sink`: the sink and what it can merge, strictly
    /// ascending by hash, at most `parents_max`, with a mergeset within the limit and the merge depth.
    ///
    /// Only blocks with a lower key than the sink's qualify, else the sink would not be selected. Below a tip that has a
    /// greater key, is not usable (say its slot is not in the past of the new block's) or would merge too much, its
    /// parents are candidates. With more candidates than places, the greatest key and the oldest slot are taken in
    /// turn, so that no tip starves.
    ///
    /// # Panics
    /// When the sink is not known.
    pub fn select_parents(
        &self,
        sink: &B256,
        usable: impl Fn(&B256) -> Result<bool, StorageFault>,
        parents_max: usize,
    ) -> Result<Vec<B256>, StorageFault> {
        let sink = *self.indices.get(sink).expect("the sink is a block of this DAG");
        let mut chosen = vec![sink];
        let mut merged = BTreeSet::new();
        for candidate in self.fair_order(self.mergeable(sink, &usable)?, parents_max) {
            if chosen.len() >= parents_max {
                break;
            }
            if let Some(more) = self.newly_merged(candidate, sink, &merged) {
                merged.extend(more);
                chosen.push(candidate);
            }
        }
        self.retain_within_merge_depth(sink, &mut chosen);
        let mut parents = self.hashes(&chosen);
        parents.sort_unstable();
        Ok(parents)
    }

    /// Blocks that a child of the sink may have as further parents, by falling key, none an ancestor of another.
    fn mergeable(
        &self,
        sink: u32,
        usable: &impl Fn(&B256) -> Result<bool, StorageFault>,
    ) -> Result<Vec<u32>, StorageFault> {
        let sink_past = self.past_of(sink);
        // The child's merge-depth root is this block or a newer one, so what lacks it is out of reach with all its past.
        let score = (self.block(sink).colouring.blue_score + 1).saturating_sub(self.params.merge_depth);
        let root = self.chain_block_below(sink, score);
        let mut found: Vec<u32> = Vec::new();
        let mut frontier = Frontier::of_tips(self);
        while let Some(block) = frontier.pop() {
            if block == sink || sink_past.contains(block) || !self.past_of(block).contains(root) {
                continue;
            }
            if self.compare(block, sink).is_gt() || !usable(&self.block(block).hash)? {
                frontier.push_parents(block);
            } else if self.newly_merged(block, sink, &BTreeSet::new()).is_none() {
                // Alone it merges too much: begin with its past.
                frontier.push_parents(block);
            } else if !found.iter().any(|&other| self.past_of(other).contains(block)) {
                found.push(block);
            }
        }
        Ok(found)
    }

    /// With more candidates (by falling key) than places: greatest key and oldest slot in turn.
    fn fair_order(&self, candidates: Vec<u32>, parents_max: usize) -> Vec<u32> {
        if candidates.len() < parents_max {
            return candidates;
        }
        let mut oldest = candidates.clone();
        // The sort is stable: among equal slots the greater key stays first.
        oldest.sort_by_key(|&block| self.block(block).slot);
        let mut taken = BTreeSet::new();
        let pairs = candidates.into_iter().zip(oldest);
        pairs.flat_map(|(heaviest, oldest)| [heaviest, oldest]).filter(|&block| taken.insert(block)).collect()
    }

    /// What a child of the sink merges through `candidate` beyond `merged`; none when that is over the limit.
    fn newly_merged(&self, candidate: u32, sink: u32, merged: &BTreeSet<u32>) -> Option<BTreeSet<u32>> {
        let sink_past = self.past_of(sink);
        let mut more = BTreeSet::from([candidate]);
        let mut open = vec![candidate];
        while let Some(block) = open.pop() {
            if merged.len() + more.len() > self.params.mergeset_max {
                return None;
            }
            for &parent in &self.block(block).parents {
                let is_new = parent != sink && !merged.contains(&parent) && !sink_past.contains(parent);
                if is_new && more.insert(parent) {
                    open.push(parent);
                }
            }
        }
        Some(more)
    }

    /// The selected chain from a block down to genesis, the block included. Empty when it is not known.
    pub fn selected_chain(&self, from: &B256) -> impl Iterator<Item = Result<B256, StorageFault>> + '_ {
        self.chain_from(self.indices.get(from).copied()).map(|block| Ok(self.block(block).hash))
    }

    /// What leaves and what comes when the selected chain moves from one block to another.
    ///
    /// # Panics
    /// When one of them is not known.
    pub fn chain_path(&self, from: &B256, to: &B256) -> Result<ChainPath, StorageFault> {
        let index = |hash| *self.indices.get(hash).expect("both ends are blocks of this DAG");
        let (from, to) = (index(from), index(to));
        let not_on_chain_of = |tip: u32| move |block: &u32| !self.reachability.is_chain_ancestor(*block, tip);
        let removed: Vec<u32> = self.chain_from(Some(from)).take_while(not_on_chain_of(to)).collect();
        let mut added: Vec<u32> = self.chain_from(Some(to)).take_while(not_on_chain_of(from)).collect();
        added.reverse();
        Ok(ChainPath { removed: self.hashes(&removed), added: self.hashes(&added) })
    }

    fn chain_from(&self, from: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(from, |&block| self.block(block).colouring.selected_parent())
    }

    fn key_at(&self, block: u32) -> BlockKey {
        let block = self.block(block);
        BlockKey { blue_work: block.colouring.blue_work, tie: self.key_of(block) }
    }
}
