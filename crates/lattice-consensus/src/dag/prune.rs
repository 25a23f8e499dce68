//! Pruning: what no later block can need leaves the store.
//!
//! The *pruning points* of a selected chain are, for each i from 1, its oldest block with a blue score of at least i
//! times the pruning interval; the pruning point of a sink is the newest one that lies the pruning depth below it. From
//! when it is set, only blocks with the point on their selected chain are taken in: others would be forks a pruning depth
//! long. So all that they merge is outside of the point's past, and what may be asked of the past is bounded:
//!
//! - merge-depth roots, at most the merge depth of blue score below the point;
//! - chain blocks that a candidate beside the point is held against, at most k + 1 of them below that, with their blues.
//!
//! The *bottom* is the chain block that lies so far below the point. Its past is removed, chain block by chain block, each
//! with what it merged; the bottom stays, and everything outside of its past: the point's anticone too, which blocks
//! above the point have merged. Side branches without the point in their past that nobody has merged are removed from
//! their tips down, since nobody can merge them any more.

use alloy_primitives::B256;
use lattice_storage::{Batch, KvRead, StorageFault, Table};
use lattice_types::DagHeader;

use super::open::{number, read_indexed};
use crate::{
    BlockFacts, CheckError, Dag, DagParams, InvalidHeader,
    dag::Block,
    ghostdag::Colouring,
    record::{self, indexed_key},
};

/// Chain blocks whose mergesets one step removes at most: a few times what an input adds, so that no input pays for many.
const CHAIN_STEP: u64 = 4;
/// Blocks of dead branches that one step removes at most.
const DEAD_STEP: usize = 64;

/// Where pruning stands.
#[derive(Debug, Clone)]
pub(super) struct Pruning {
    /// The pruning point; genesis at first.
    point: u64,
    /// The oldest chain block that is kept.
    bottom: u64,
    /// All pruning points, genesis first.
    points: Vec<(u64, B256)>,
}

/// What one step of pruning removed from the DAG.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Blocks of which nothing needs to be kept.
    pub blocks: Vec<B256>,
    /// Past pruning points: their headers stay, all else may go.
    pub points: Vec<B256>,
}

/// Why headers do not prove the pruning points of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPruningProof {
    /// The first header is another chain's genesis, or there is none.
    #[error("the proof begins with {found:?}, not with the genesis {genesis}")]
    OtherGenesis {
        /// Hash of the first header.
        found: Option<B256>,
        /// Hash of the genesis.
        genesis: B256,
    },
    /// A header does not name the one before it: one of them is forged, or some between them are left out.
    #[error("header number {at} names the pruning point {named}, the one before it is {before}")]
    BrokenLink {
        /// Its place, genesis being 0; that of the head is the number of pruning points.
        at: usize,
        /// What it names.
        named: B256,
        /// Hash of the header before.
        before: B256,
    },
    /// Slot, blue work or the interval of blue score does not rise.
    #[error("header number {at} does not follow the one before it: slot, blue work and interval of blue score rise")]
    NotRising {
        /// Its place, genesis being 0.
        at: usize,
    },
}

/// Whether headers, genesis first, are the pruning points of the chain of a block that is trusted (because it is final): all of
/// them, since its header names the newest, and each names the one before. Who holds the head's hash need not trust whoever
/// brings the headers.
///
/// # Errors
/// The first header that does not belong there.
pub fn check_pruning_proof(
    genesis: &B256,
    points: &[DagHeader],
    head: &DagHeader,
    params: &DagParams,
) -> Result<(), InvalidPruningProof> {
    let first = points.first().map(DagHeader::hash);
    if first != Some(*genesis) {
        return Err(InvalidPruningProof::OtherGenesis { found: first, genesis: *genesis });
    }
    let interval = |point: &DagHeader| point.blue_score / params.pruning_interval();
    for (at, (before, point)) in points.iter().zip(points.iter().skip(1).chain([head])).enumerate() {
        let (at, named, hash) = (at + 1, point.newest_pruning_point, before.hash());
        // While the genesis is the only pruning point it may be the head itself.
        if named != hash && !(at == points.len() && point.hash() == *genesis) {
            return Err(InvalidPruningProof::BrokenLink { at, named, before: hash });
        }
        let rises =
            before.slot < point.slot && before.blue_work < point.blue_work && interval(before) < interval(point);
        if at < points.len() && !rises {
            return Err(InvalidPruningProof::NotRising { at });
        }
    }
    Ok(())
}

impl Pruning {
    pub(super) fn none(genesis: B256) -> Self {
        Self { point: 0, bottom: 0, points: vec![(0, genesis)] }
    }

    pub(super) fn read(kv: &dyn KvRead, genesis: B256) -> Result<Self, StorageFault> {
        let mut pruning = Self::none(genesis);
        if let Some(row) = kv.get(Table::Meta, record::PRUNING)? {
            let (point, bottom) = row.split_at_checked(8).unwrap_or_default();
            (pruning.point, pruning.bottom) = (number(point)?, number(bottom)?);
        }
        pruning.points.extend(read_indexed(kv, record::PAST_POINT)?);
        if pruning.points.last().map(|&(index, _)| index) != Some(pruning.point) {
            return Err(StorageFault::corrupt(
                Table::Meta,
                "the pruning point is not the newest of the pruning points",
            ));
        }
        Ok(pruning)
    }

    pub(super) fn bottom(&self) -> u64 {
        self.bottom
    }

    fn is_point(&self, index: u64) -> bool {
        self.points.binary_search_by_key(&index, |&(index, _)| index).is_ok()
    }
}

impl Dag {
    /// The pruning point; genesis before there is one.
    pub fn pruning_point(&self) -> B256 {
        self.pruning.points.last().map_or(self.genesis, |&(_, hash)| hash)
    }

    /// All pruning points, oldest first: genesis, past ones, the present one. Headers of these survive pruning.
    pub fn pruning_points(&self) -> Vec<B256> {
        self.pruning.points.iter().map(|&(_, hash)| hash).collect()
    }

    /// What a block with this selected parent must name: the newest pruning point on its selected chain. None when the
    /// parent is not known.
    pub fn pruning_point_above(&self, selected_parent: &B256) -> Result<Option<B256>, StorageFault> {
        self.blocks.find(selected_parent)?.map(|parent| self.newest_pruning_point(parent)).transpose()
    }

    /// The newest pruning point of a selected chain that ends with this block, which counts.
    pub(super) fn newest_pruning_point(&self, chain_block: u64) -> Result<B256, StorageFault> {
        let block = self.block(chain_block)?;
        let interval = |block: &Block| block.colouring.blue_score / self.params.pruning_interval();
        match block.colouring.selected_parent() {
            // A parent that is gone is that of a block below the pruning point, on which nobody builds.
            Some(parent) => match self.blocks.get(parent)? {
                Some(parent) if interval(&parent) < interval(&block) => Ok(block.hash),
                _ => Ok(block.newest_pruning_point),
            },
            None => Ok(block.hash),
        }
    }

    /// The oldest chain block that is kept, and its height: genesis until something is removed.
    pub fn bottom(&self) -> Result<(B256, u64), StorageFault> {
        let bottom = self.block(self.pruning.bottom)?;
        Ok((bottom.hash, bottom.height))
    }

    /// One bounded step of pruning below `sink`: moves the pruning point when it can move, and stages the removal of some
    /// blocks that are not needed any more. Call it once an input, in the batch of the insertion or one of its own; it
    /// keeps up with insertion by a wide margin. A DAG that is held in memory alone is not pruned.
    ///
    /// Does nothing while the sink's selected chain lacks the pruning point.
    pub fn prune(&mut self, sink: &B256, batch: &mut Batch) -> Result<Pruned, StorageFault> {
        let mut pruned = Pruned::default();
        if !self.blocks.is_stored() || self.params.pruning_depth == u64::MAX {
            return Ok(pruned);
        }
        let Some(sink) = self.blocks.find(sink)? else { return Ok(pruned) };
        if !self.reachability.is_chain_ancestor(self.pruning.point, sink)? {
            return Ok(pruned);
        }
        let before = (self.pruning.point, self.pruning.bottom);
        self.advance_point(sink, batch)?;
        let mut changed = Vec::new();
        if self.pruning.point > 0 {
            self.remove_dead_branches(sink, &mut changed, &mut pruned, batch)?;
            self.advance_bottom(&mut changed, &mut pruned, batch)?;
        }
        if before != (self.pruning.point, self.pruning.bottom) {
            let row = [self.pruning.point.to_be_bytes(), self.pruning.bottom.to_be_bytes()].concat();
            batch.put(Table::Meta, record::PRUNING, row);
        }
        self.stage_nodes(&mut changed, batch)?;
        Ok(pruned)
    }

    /// Moves the pruning point to the next one when that lies deep enough below the sink.
    fn advance_point(&mut self, sink: u64, batch: &mut Batch) -> Result<(), StorageFault> {
        let Some(score_max) = self.block(sink)?.colouring.blue_score.checked_sub(self.params.pruning_depth) else {
            return Ok(());
        };
        let (point, interval) = (self.pruning.point, self.params.pruning_interval());
        let next_score = (self.block(point)?.colouring.blue_score / interval + 1).saturating_mul(interval);
        if next_score > score_max {
            return Ok(());
        }
        let next = self.oldest_chain_block(sink, point, |block| block.colouring.blue_score < next_score)?;
        let block = self.block(next)?;
        if next == point || block.colouring.blue_score > score_max {
            return Ok(());
        }
        batch.put(Table::Meta, indexed_key(record::PAST_POINT, next), block.hash.to_vec());
        let hash = block.hash;
        drop(block);
        self.pruning.points.push((next, hash));
        self.pruning.point = next;
        Ok(())
    }

    /// Removes what nobody has merged and nobody can merge, from the tips down.
    fn remove_dead_branches(
        &mut self,
        sink: u64,
        changed: &mut Vec<u64>,
        pruned: &mut Pruned,
        batch: &mut Batch,
    ) -> Result<(), StorageFault> {
        let point = self.pruning.point;
        let mut open: Vec<u64> = self.tips.range(..self.blocks.first()).map(|(&tip, _)| tip).collect();
        let mut removed = 0;
        while let Some(tip) = open.pop() {
            if tip == sink || tip == point || self.past_of(tip).contains(point)? {
                continue;
            }
            if removed == DEAD_STEP {
                return Ok(());
            }
            removed += 1;
            let parents = self.block(tip)?.parents.clone();
            for merged in self.block(tip)?.colouring.mergeset().collect::<Vec<_>>() {
                self.reachability.uncover(merged, tip, changed)?;
            }
            self.remove(tip, changed, pruned, batch)?;
            let tips: Vec<u64> = self.tips.keys().copied().collect();
            for &parent in &parents {
                let Some(hash) = self.blocks.get(parent)?.map(|block| block.hash) else { continue };
                let is_needed = parent == sink || self.past_of(sink).contains(parent)?;
                if is_needed || self.tips.contains_key(&parent) || self.is_in_past_of_any(parent, &tips)? {
                    continue;
                }
                self.tips.insert(parent, hash);
                batch.put(Table::Meta, indexed_key(record::TIP, parent), hash.to_vec());
                open.push(parent);
            }
        }
        Ok(())
    }

    /// Moves the bottom up the chain, and removes what comes to lie in its past.
    fn advance_bottom(
        &mut self,
        changed: &mut Vec<u64>,
        pruned: &mut Pruned,
        batch: &mut Batch,
    ) -> Result<(), StorageFault> {
        let (point, bottom) = (self.pruning.point, self.pruning.bottom);
        let score = self.block(point)?.colouring.blue_score.saturating_sub(self.params.merge_depth);
        let deepest_root = self.block(self.chain_block_below(point, score, bottom)?)?.height;
        let from = self.block(bottom)?.height;
        let to = deepest_root.saturating_sub(u64::from(self.params.k) + 1).min(from + CHAIN_STEP);
        if to <= from {
            return Ok(());
        }
        let mut chain = Vec::new();
        let mut next = self.newest_chain_block(point, bottom, |block| block.height <= to)?;
        while next != bottom {
            chain.push(next);
            let parent = self.block(next)?.colouring.selected_parent();
            next = parent.ok_or_else(|| StorageFault::corrupt(Table::Ghostdag, "the bottom is not on the chain"))?;
        }
        for &chain_block in chain.iter().rev() {
            // Recent blocks are in memory without gaps.
            if chain_block >= self.blocks.first() {
                break;
            }
            let block = self.block(chain_block)?;
            let mut merged: Vec<u64> = block.colouring.selected_parent().into_iter().collect();
            merged.extend(block.colouring.mergeset());
            drop(block);
            merged.sort_unstable();
            for block in merged {
                self.remove(block, changed, pruned, batch)?;
            }
            self.pruning.bottom = chain_block;
            self.reachability.set_bottom(chain_block);
        }
        Ok(())
    }

    /// Removes one block that is not resident.
    fn remove(
        &mut self,
        index: u64,
        changed: &mut Vec<u64>,
        pruned: &mut Pruned,
        batch: &mut Batch,
    ) -> Result<(), StorageFault> {
        let hash = self.block(index)?.hash;
        self.reachability.remove(index, changed)?;
        self.blocks.remove(index);
        batch.delete(Table::Relations, hash.to_vec());
        batch.delete(Table::Ghostdag, index.to_be_bytes());
        batch.delete(Table::Reachability, index.to_be_bytes());
        if self.tips.remove(&index).is_some() {
            batch.delete(Table::Meta, indexed_key(record::TIP, index));
        }
        let kept = if self.pruning.is_point(index) { &mut pruned.points } else { &mut pruned.blocks };
        kept.push(hash);
        Ok(())
    }

    /// What a block with unknown parents is: one that may wait for them, or one that comes too late.
    pub(super) fn pruned_or<T>(&self, error: CheckError, facts: &BlockFacts) -> Result<T, CheckError> {
        let (point, blue_score) = (self.block(self.pruning.point)?, facts.blue_score);
        let point_score = point.colouring.blue_score;
        match error {
            CheckError::Missing(_) if self.pruning.point > 0 && blue_score <= point_score => {
                Err(InvalidHeader::BelowPruningPoint { blue_score, point: point.hash, point_score }.into())
            }
            other => Err(other),
        }
    }

    /// The selected chain of a new block must hold the pruning point.
    pub(super) fn check_pruning(&self, colouring: &Colouring) -> Result<(), CheckError> {
        let point = self.pruning.point;
        match colouring.selected_parent() {
            Some(parent) if point > 0 && !self.reachability.is_chain_ancestor(point, parent)? => {
                let selected_parent = self.block(parent)?.hash;
                Err(InvalidHeader::BesidePruningPoint { selected_parent, point: self.pruning_point() }.into())
            }
            _ => Ok(()),
        }
    }
}
