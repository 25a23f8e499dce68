//! Choice: the best tip, the parents of a new block, the path between two chain blocks.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, BinaryHeap},
};

use alloy_primitives::B256;
use lattice_storage::StorageFault;

use crate::{
    Dag,
    dag::{Block, BlockKey},
};

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
    block: u64,
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
    seen: BTreeSet<u64>,
}

impl<'a> Frontier<'a> {
    fn of_tips(dag: &'a Dag) -> Result<Self, StorageFault> {
        let mut frontier = Self { dag, heap: BinaryHeap::new(), seen: BTreeSet::new() };
        frontier.push(dag.tips.keys().copied())?;
        Ok(frontier)
    }

    /// Pruned blocks are passed over.
    fn push(&mut self, blocks: impl IntoIterator<Item = u64>) -> Result<(), StorageFault> {
        for index in blocks {
            if !self.seen.contains(&index)
                && let Some(block) = self.dag.blocks.get(index)?
            {
                self.seen.insert(index);
                self.heap.push(Candidate { key: self.dag.key_of(&block), block: index });
            }
        }
        Ok(())
    }

    fn push_parents(&mut self, block: u64) -> Result<(), StorageFault> {
        let block = self.dag.block(block)?;
        self.push(block.parents.iter().copied())
    }

    fn pop(&mut self) -> Option<u64> {
        self.heap.pop().map(|candidate| candidate.block)
    }
}

impl Dag {
    /// The usable block with the greatest key: the sink. Below a tip that is not usable its parents are candidates.
    /// Genesis is the answer when nothing else is usable.
    pub fn best(&self, usable: impl Fn(&B256) -> Result<bool, StorageFault>) -> Result<B256, StorageFault> {
        let mut frontier = Frontier::of_tips(self)?;
        while let Some(block) = frontier.pop() {
            let hash = self.block(block)?.hash;
            if usable(&hash)? {
                return Ok(hash);
            }
            frontier.push_parents(block)?;
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
        let Some(justified) = self.blocks.find(justified)? else { return Ok(None) };
        let checkpoint = self.key_at(justified)?;
        let mut frontier = Frontier::of_tips(self)?;
        while let Some(block) = frontier.pop() {
            // Keys fall from here on, and descendants have greater keys than the checkpoint.
            let candidate = self.block(block)?;
            if self.key_of(&candidate) < checkpoint {
                return Ok(None);
            }
            if self.reachability.is_chain_ancestor(justified, block)? && usable(&candidate.hash)? {
                return Ok(Some(candidate.hash));
            }
            frontier.push_parents(block)?;
        }
        Ok(None)
    }

    /// Parents for a new block whose selected parent shall be `sink`: the sink and what it can merge, strictly
    /// ascending by hash, at most `parents_max`, with a mergeset within the limit and the merge depth.
    ///
    /// Only blocks with a lower key than the sink's qualify, else the sink would not be selected. Below a tip that has a
    /// greater key, is not usable (say its slot is not in the past of the new block's) or would merge too much, its
    /// parents are candidates. With more candidates than places, the highest AI class (then the greatest key) and the
    /// oldest slot are taken in turn: half of the places go to AI work, and no tip starves. `ai_class` says which class
    /// counts for a block; it is asked in that case alone.
    ///
    /// # Panics
    /// When the sink is not known.
    pub fn select_parents(
        &self,
        sink: &B256,
        usable: impl Fn(&B256) -> Result<bool, StorageFault>,
        ai_class: impl Fn(&B256) -> Result<u8, StorageFault>,
        parents_max: usize,
    ) -> Result<Vec<B256>, StorageFault> {
        let sink = self.blocks.find(sink)?.expect("the sink is a block of this DAG");
        let mut chosen = vec![sink];
        let mut merged = BTreeSet::new();
        for candidate in self.fair_order(self.mergeable(sink, &usable)?, &ai_class, parents_max)? {
            if chosen.len() >= parents_max {
                break;
            }
            if let Some(more) = self.newly_merged(candidate, sink, &merged)? {
                merged.extend(more);
                chosen.push(candidate);
            }
        }
        self.retain_within_merge_depth(sink, &mut chosen)?;
        let mut parents = self.hashes(&chosen)?;
        parents.sort_unstable();
        Ok(parents)
    }

    /// Blocks that a child of the sink may have as further parents, by falling key, none an ancestor of another.
    fn mergeable(
        &self,
        sink: u64,
        usable: &impl Fn(&B256) -> Result<bool, StorageFault>,
    ) -> Result<Vec<u64>, StorageFault> {
        let sink_past = self.past_of(sink);
        let sink_block = self.block(sink)?;
        let sink_key = self.key_of(&sink_block);
        // The child's merge-depth root is this block or a newer one, so what lacks it is out of reach with all its past.
        let score = (sink_block.colouring.blue_score + 1).saturating_sub(self.params.merge_depth);
        let root = self.chain_block_below(sink, score, sink_block.merge_root)?;
        let mut found: Vec<u64> = Vec::new();
        let mut frontier = Frontier::of_tips(self)?;
        while let Some(index) = frontier.pop() {
            if index == sink || sink_past.contains(index)? || !self.past_of(index).contains(root)? {
                continue;
            }
            let block = self.block(index)?;
            // What has a greater key, is not usable, or merges too much alone: begin with its past.
            if self.key_of(&block) > sink_key
                || !usable(&block.hash)?
                || self.newly_merged(index, sink, &BTreeSet::new())?.is_none()
            {
                frontier.push_parents(index)?;
            } else if !self.is_in_past_of_any(index, &found)? {
                found.push(index);
            }
        }
        Ok(found)
    }

    /// Whether a block is in the past of one of the others.
    pub(crate) fn is_in_past_of_any(&self, block: u64, others: &[u64]) -> Result<bool, StorageFault> {
        for &other in others {
            if self.past_of(other).contains(block)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// With more candidates (by falling key) than places: highest AI class and oldest slot in turn.
    fn fair_order(
        &self,
        candidates: Vec<u64>,
        ai_class: &impl Fn(&B256) -> Result<u8, StorageFault>,
        parents_max: usize,
    ) -> Result<Vec<u64>, StorageFault> {
        if candidates.len() < parents_max {
            return Ok(candidates);
        }
        let (mut highest, mut oldest) = (Vec::new(), Vec::new());
        for index in candidates {
            let block = self.block(index)?;
            highest.push((ai_class(&block.hash)?, index));
            oldest.push((block.slot, index));
        }
        // The sorts are stable: among equals the greater key stays first.
        highest.sort_by_key(|&(class, _)| std::cmp::Reverse(class));
        oldest.sort_by_key(|&(slot, _)| slot);
        let mut taken = BTreeSet::new();
        let pairs = highest.into_iter().zip(oldest);
        Ok(pairs.flat_map(|((_, a), (_, b))| [a, b]).filter(|&block| taken.insert(block)).collect())
    }

    /// What a child of the sink merges through `candidate` beyond `merged`; none when that is over the limit.
    fn newly_merged(
        &self,
        candidate: u64,
        sink: u64,
        merged: &BTreeSet<u64>,
    ) -> Result<Option<BTreeSet<u64>>, StorageFault> {
        let sink_past = self.past_of(sink);
        let mut more = BTreeSet::from([candidate]);
        let mut open = vec![candidate];
        while let Some(block) = open.pop() {
            if merged.len() + more.len() > self.params.mergeset_max {
                return Ok(None);
            }
            for &parent in &self.block(block)?.parents {
                let is_new = parent != sink && !merged.contains(&parent) && !sink_past.contains(parent)?;
                if is_new && more.insert(parent) {
                    open.push(parent);
                }
            }
        }
        Ok(Some(more))
    }

    /// The selected chain from a block, itself included, down to genesis, or to the oldest chain block that pruning has
    /// left. Empty when the block is not known. A fault ends it.
    pub fn selected_chain(&self, from: &B256) -> impl Iterator<Item = Result<B256, StorageFault>> + '_ {
        let mut next = self.blocks.find(from);
        std::iter::from_fn(move || match std::mem::replace(&mut next, Ok(None)) {
            Ok(None) => None,
            Err(fault) => Some(Err(fault)),
            Ok(Some(index)) => match self.block(index) {
                Err(fault) => Some(Err(fault)),
                Ok(block) => {
                    next = self.parent_on_chain(&block);
                    Some(Ok(block.hash))
                }
            },
        })
    }

    /// The selected parent of a block, unless that is pruned.
    pub(crate) fn parent_on_chain(&self, block: &Block) -> Result<Option<u64>, StorageFault> {
        match block.colouring.selected_parent() {
            Some(parent) if self.blocks.get(parent)?.is_some() => Ok(Some(parent)),
            _ => Ok(None),
        }
    }

    /// What leaves and what comes when the selected chain moves from one block to another.
    ///
    /// # Panics
    /// When one of them is not known.
    pub fn chain_path(&self, from: &B256, to: &B256) -> Result<ChainPath, StorageFault> {
        let from = self.blocks.find(from)?.expect("both ends are blocks of this DAG");
        let to = self.blocks.find(to)?.expect("both ends are blocks of this DAG");
        let removed = self.chain_down_to(from, to)?;
        let mut added = self.chain_down_to(to, from)?;
        added.reverse();
        Ok(ChainPath { removed, added })
    }

    /// The selected chain of `from` down to what is on that of `other`, which is left out.
    fn chain_down_to(&self, from: u64, other: u64) -> Result<Vec<B256>, StorageFault> {
        let mut chain = Vec::new();
        let mut next = Some(from);
        while let Some(index) = next
            && !self.reachability.is_chain_ancestor(index, other)?
        {
            let block = self.block(index)?;
            chain.push(block.hash);
            next = self.parent_on_chain(&block)?;
        }
        Ok(chain)
    }
}
