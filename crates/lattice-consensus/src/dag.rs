//! The DAG: blocks, their colourings and ancestry, held in memory and written through to the caller's batch.

mod choose;
mod depth;
mod open;
mod validate;

use std::collections::BTreeSet;

use alloy_primitives::B256;
use lattice_storage::{Batch, StorageFault, Table};
use rustc_hash::FxHashMap;

use crate::{
    BlockFacts, CheckError, DagParams, GhostdagData, MissingParents, TieRule,
    ghostdag::Colouring,
    reachability::Reachability,
    recent::{Past, RecentPasts},
    record::{self, GhostdagRecord, Relations},
};

pub use choose::ChainPath;
pub(crate) use depth::Jumps;
pub use validate::Prepared;

/// One block. Other blocks are named by index: the place in insertion order, in which every block comes after its past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub hash: B256,
    pub vrf_hash: B256,
    pub slot: u64,
    pub work: u128,
    pub parents: Box<[u32]>,
    pub colouring: Colouring,
}

/// The place of a block in the order of fork choice and mergesets: the greatest key wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    /// Blue work of the block.
    pub blue_work: u128,
    /// Breaks ties of blue work, as the tie rule says.
    tie: [B256; 2],
}

/// A block that another one merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// Its hash.
    pub hash: B256,
    /// Whether it is blue to the block that merges it.
    pub is_blue: bool,
}

/// The block DAG: what is known, how it is coloured, what is in whose past.
///
/// A working set in memory over the store: [`Dag::insert`] stages the records of a block, and of all blocks that it
/// changed, in the caller's batch; [`Dag::open`] builds the same state from the records.
#[derive(Debug, Clone)]
pub struct Dag {
    params: DagParams,
    indices: FxHashMap<B256, u32>,
    blocks: Vec<Block>,
    reachability: Reachability,
    recent: RecentPasts,
    jumps: Jumps,
    /// Blocks that nobody has as a parent.
    tips: BTreeSet<u32>,
}

/// The past of one block: bits first, the tree for what is far away.
#[derive(Clone, Copy)]
pub(crate) struct PastOf<'a> {
    block: u32,
    recent: Past<'a>,
    reachability: &'a Reachability,
}

impl PastOf<'_> {
    #[inline]
    pub(crate) fn contains(&self, ancestor: u32) -> bool {
        self.recent.contains(ancestor).unwrap_or_else(|| self.reachability.is_ancestor(ancestor, self.block))
    }
}

impl Dag {
    /// A DAG of the genesis block alone (its parents and claims are not looked at), staged in `batch`.
    pub fn new(genesis: &BlockFacts, params: DagParams, batch: &mut Batch) -> Self {
        let block = Block {
            hash: genesis.hash,
            vrf_hash: genesis.vrf_hash,
            slot: genesis.slot,
            work: genesis.work,
            parents: Box::default(),
            colouring: Colouring::default(),
        };
        let mut dag = Self {
            params,
            indices: FxHashMap::default(),
            blocks: Vec::new(),
            reachability: Reachability::new(),
            recent: RecentPasts::new(),
            jumps: Jumps::default(),
            tips: BTreeSet::new(),
        };
        dag.push(block);
        dag.stage(0, &[0], batch);
        dag
    }

    /// Inserts a checked block and stages its records. The batch must be written before the next insertion: after a fault,
    /// here or when it is written, this value is ahead of the store and must be opened anew. A block that is already
    /// there is left alone.
    pub fn insert(&mut self, prepared: Prepared, batch: &mut Batch) -> Result<(), StorageFault> {
        let block = prepared.0;
        if self.indices.contains_key(&block.hash) {
            return Ok(());
        }
        let parent = block.colouring.selected_parent().expect("a prepared block has parents");
        let mut changed = Vec::new();
        let index = self.reachability.add(parent, block.colouring.mergeset(), &mut changed);
        self.push(block);
        changed.sort_unstable();
        changed.dedup();
        self.stage(index, &changed, batch);
        Ok(())
    }

    fn push(&mut self, block: Block) {
        let index = self.blocks.len() as u32;
        self.recent.push(&block.parents);
        self.jumps.push(block.colouring.selected_parent());
        for parent in &block.parents {
            self.tips.remove(parent);
        }
        self.tips.insert(index);
        self.indices.insert(block.hash, index);
        self.blocks.push(block);
    }

    /// Stages the records of a new block, and the intervals of all blocks of `changed`.
    fn stage(&self, index: u32, changed: &[u32], batch: &mut Batch) {
        let block = self.block(index);
        let relations = Relations {
            index: u64::from(index),
            slot: block.slot,
            vrf_hash: block.vrf_hash,
            work: block.work,
            parents: self.hashes(&block.parents),
        };
        batch.put(Table::Relations, block.hash.to_vec(), relations.encode());
        let colouring = &block.colouring;
        let ghostdag = GhostdagRecord {
            blue_score: colouring.blue_score,
            blue_work: colouring.blue_work,
            blues: self.hashes(&colouring.blues),
            reds: self.hashes(&colouring.reds),
            anticone_sizes: colouring.anticone_sizes.iter().map(|&(blue, size)| (index - blue, size)).collect(),
        };
        batch.put(Table::Ghostdag, block.hash.to_vec(), ghostdag.encode());
        for &block in changed {
            let interval = record::encode_interval(self.reachability.interval(block));
            batch.put(Table::Reachability, self.block(block).hash.to_vec(), interval);
        }
    }

    /// The parameters.
    pub const fn params(&self) -> &DagParams {
        &self.params
    }

    /// Number of blocks, genesis included.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Never: genesis is always there.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The genesis block.
    pub fn genesis(&self) -> B256 {
        self.blocks[0].hash
    }

    /// Whether the block is in the DAG.
    pub fn contains(&self, hash: &B256) -> Result<bool, StorageFault> {
        Ok(self.indices.contains_key(hash))
    }

    /// What the header of a block said.
    pub fn facts(&self, hash: &B256) -> Result<Option<BlockFacts>, StorageFault> {
        let Some(block) = self.get(hash) else { return Ok(None) };
        Ok(Some(BlockFacts {
            hash: block.hash,
            parents: self.hashes(&block.parents),
            slot: block.slot,
            vrf_hash: block.vrf_hash,
            work: block.work,
            blue_score: block.colouring.blue_score,
            blue_work: block.colouring.blue_work,
        }))
    }

    /// Slot of a block.
    pub fn slot(&self, hash: &B256) -> Result<Option<u64>, StorageFault> {
        Ok(self.get(hash).map(|block| block.slot))
    }

    /// Parents of a block.
    pub fn parents(&self, hash: &B256) -> Result<Option<Vec<B256>>, StorageFault> {
        Ok(self.get(hash).map(|block| self.hashes(&block.parents)))
    }

    /// Blue score of a block.
    pub fn blue_score(&self, hash: &B256) -> Result<Option<u64>, StorageFault> {
        Ok(self.get(hash).map(|block| block.colouring.blue_score))
    }

    /// Key of a block in fork choice.
    pub fn key(&self, hash: &B256) -> Result<Option<BlockKey>, StorageFault> {
        let Some(block) = self.get(hash) else { return Ok(None) };
        Ok(Some(BlockKey { blue_work: block.colouring.blue_work, tie: self.key_of(block) }))
    }

    /// Selected parent of a block; none for genesis and unknown blocks.
    pub fn selected_parent(&self, hash: &B256) -> Result<Option<B256>, StorageFault> {
        let parent = self.get(hash).and_then(|block| block.colouring.selected_parent());
        Ok(parent.map(|parent| self.block(parent).hash))
    }

    /// GHOSTDAG data of a block.
    pub fn ghostdag(&self, hash: &B256) -> Result<Option<GhostdagData>, StorageFault> {
        Ok(self.get(hash).map(|block| self.data(&block.colouring)))
    }

    /// Sizes of the blue anticones, as this block sees them, of the blues for which it changed them, by hash.
    pub fn blues_anticone_sizes(&self, hash: &B256) -> Result<Option<Vec<(B256, u16)>>, StorageFault> {
        let Some(block) = self.get(hash) else { return Ok(None) };
        let sizes = block.colouring.anticone_sizes.iter();
        let mut out: Vec<_> = sizes.map(|&(blue, size)| (self.block(blue).hash, size)).collect();
        out.sort_unstable();
        Ok(Some(out))
    }

    /// GHOSTDAG data of a block that would have these parents, limits aside. Errors: missing parents and faults.
    pub fn virtual_data(&self, parents: &[B256]) -> Result<GhostdagData, CheckError> {
        let parents = self.resolve(parents)?;
        if parents.is_empty() {
            return Ok(self.data(&Colouring::default()));
        }
        let colouring = self.colour(&parents, usize::MAX).expect("no mergeset is larger than usize::MAX");
        Ok(self.data(&colouring))
    }

    /// The mergeset in the order of consensus, by rising key, the selected parent not included: the order in which a
    /// chain block executes what it merges. Takes the data of [`Dag::ghostdag`] or [`Dag::virtual_data`]; blocks that
    /// are not in this DAG are left out.
    pub fn consensus_order_of_mergeset(&self, data: &GhostdagData) -> Result<Vec<Merged>, StorageFault> {
        let blues = data.mergeset_blues.iter().skip(1).map(|hash| (hash, true));
        let reds = data.mergeset_reds.iter().map(|hash| (hash, false));
        let mut order: Vec<_> =
            blues.chain(reds).filter_map(|(hash, is_blue)| Some((*self.indices.get(hash)?, is_blue))).collect();
        order.sort_unstable_by(|&(a, _), &(b, _)| self.compare(a, b));
        Ok(order.into_iter().map(|(block, is_blue)| Merged { hash: self.block(block).hash, is_blue }).collect())
    }

    /// Blocks that nobody has as a parent, in insertion order.
    pub fn tips(&self) -> Vec<B256> {
        self.tips.iter().map(|&tip| self.block(tip).hash).collect()
    }

    /// Whether `a` is in the past of `b`. A block is not in its own past; unknown blocks are in no past and have none.
    pub fn is_ancestor(&self, a: &B256, b: &B256) -> Result<bool, StorageFault> {
        match (self.indices.get(a), self.indices.get(b)) {
            (Some(&a), Some(&b)) => Ok(self.past_of(b).contains(a)),
            _ => Ok(false),
        }
    }

    /// Whether `a` is `b` or on the selected chain below it.
    pub fn is_chain_ancestor(&self, a: &B256, b: &B256) -> Result<bool, StorageFault> {
        match (self.indices.get(a), self.indices.get(b)) {
            (Some(&a), Some(&b)) => Ok(self.reachability.is_chain_ancestor(a, b)),
            _ => Ok(false),
        }
    }

    pub(crate) fn block(&self, index: u32) -> &Block {
        &self.blocks[index as usize]
    }

    #[inline]
    pub(crate) fn past_of(&self, block: u32) -> PastOf<'_> {
        PastOf { block, recent: self.recent.past_of(block), reachability: &self.reachability }
    }

    /// What breaks a tie of blue work: greater wins.
    #[inline]
    pub(crate) fn key_of(&self, block: &Block) -> [B256; 2] {
        match self.params.tie_rule {
            TieRule::GreaterHash => [block.hash, B256::ZERO],
            TieRule::LowerVrfHash => [!block.vrf_hash, block.hash],
        }
    }

    fn get(&self, hash: &B256) -> Option<&Block> {
        self.indices.get(hash).map(|&index| self.block(index))
    }

    fn hashes(&self, blocks: &[u32]) -> Vec<B256> {
        blocks.iter().map(|&block| self.block(block).hash).collect()
    }

    fn resolve(&self, hashes: &[B256]) -> Result<Vec<u32>, MissingParents> {
        let known: Vec<u32> = hashes.iter().filter_map(|hash| self.indices.get(hash).copied()).collect();
        if known.len() < hashes.len() {
            let parents = hashes.iter().filter(|hash| !self.indices.contains_key(*hash)).copied().collect();
            return Err(MissingParents { parents });
        }
        Ok(known)
    }

    fn data(&self, colouring: &Colouring) -> GhostdagData {
        GhostdagData {
            blue_score: colouring.blue_score,
            blue_work: colouring.blue_work,
            selected_parent: colouring.selected_parent().map_or(B256::ZERO, |parent| self.block(parent).hash),
            mergeset_blues: self.hashes(&colouring.blues),
            mergeset_reds: self.hashes(&colouring.reds),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn facts(index: u32, parents: &[u32]) -> BlockFacts {
        let hash = |index: u32| B256::left_padding_from(&index.to_be_bytes());
        BlockFacts {
            hash: hash(index),
            parents: parents.iter().map(|&parent| hash(parent)).collect(),
            slot: 0,
            vrf_hash: B256::ZERO,
            work: 1,
            blue_score: 0,
            blue_work: 0,
        }
    }

    /// Bit rows are only a shortcut: a DAG that must ask the tree each time comes to the same colours. Some parents
    /// are so old that no row reaches them.
    #[test]
    fn colours_do_not_depend_on_the_bit_rows() {
        for k in [1, 4, 18] {
            let params = DagParams::unlimited(k, TieRule::GreaterHash);
            let mut with_rows = Dag::new(&facts(0, &[]), params, &mut Batch::new());
            let mut without = with_rows.clone();
            let mut state = u64::from(k) + 1;
            let mut below = |bound: u32| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u32 % bound
            };
            for index in 1..5_000u32 {
                let reach = if below(60) == 0 { index } else { index.min(9) };
                let mut parents: Vec<u32> = (0..1 + below(4)).map(|_| index - 1 - below(index.min(9))).collect();
                parents.push(index - 1 - below(reach));
                parents.sort_unstable();
                parents.dedup();
                let mut batches = [Batch::new(), Batch::new()];
                for (dag, batch) in [&mut with_rows, &mut without].into_iter().zip(&mut batches) {
                    let prepared = dag.check_nothing(&facts(index, &parents)).unwrap();
                    dag.insert(prepared, batch).unwrap();
                }
                without.recent.forget();
                let [first, second] = batches.map(Batch::into_ops);
                assert_eq!(first, second, "k {k}, block {index} with parents {parents:?}");
            }
            let reds: usize = with_rows.blocks.iter().map(|block| block.colouring.reds.len()).sum();
            assert!(k > 4 || reds > 100, "k {k}: {reds} reds");
        }
    }
}
