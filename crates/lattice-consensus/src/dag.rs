//! The DAG: blocks, their colourings and ancestry. Recent ones are held in memory, all are written through to the caller's
//! batch.

mod blocks;
mod choose;
mod depth;
mod open;
mod prune;
mod validate;

use std::collections::BTreeMap;

use alloy_primitives::B256;
use lattice_storage::{Batch, StorageFault, Table};

use crate::{
    BlockFacts, CheckError, DagParams, GhostdagData, MissingParents, TieRule,
    ghostdag::Colouring,
    older::Held,
    reachability::Reachability,
    recent::{Past, RecentPasts},
    record::{self, indexed_key},
};

pub(crate) use blocks::Block;
use blocks::Blocks;
pub use choose::ChainPath;
pub use open::Residency;
use prune::Pruning;
pub use prune::{InvalidPruningProof, Pruned, check_pruning_proof};
pub use validate::Prepared;

/// The place of a block in fork choice and among the candidates for selected parent: the greatest key wins. Mergesets are
/// ordered without the AI class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    /// Blue work of the block.
    pub blue_work: u128,
    /// Breaks ties of blue work; 0 where the tie rule knows none.
    ai_class: u8,
    /// Breaks ties of both, as the tie rule says.
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
/// A working set in memory over a store: [`Dag::insert`] stages the records of a block, and of all blocks that it
/// changed, in the caller's batch. [`Dag::open`] holds a bounded number of recent blocks and reads older ones when they
/// are asked for, so every answer may be a fault of the store. [`Dag::new`] alone keeps everything, and has none.
#[derive(Debug, Clone)]
pub struct Dag {
    params: DagParams,
    residency: Residency,
    genesis: B256,
    blocks: Blocks,
    reachability: Reachability,
    recent: RecentPasts,
    /// Blocks that nobody has as a parent.
    tips: BTreeMap<u64, B256>,
    pruning: Pruning,
}

/// The past of one block: bits first, the tree for what is far away.
#[derive(Clone, Copy)]
pub(crate) struct PastOf<'a> {
    block: u64,
    recent: Past<'a>,
    reachability: &'a Reachability,
}

impl PastOf<'_> {
    #[inline]
    pub(crate) fn contains(&self, ancestor: u64) -> Result<bool, StorageFault> {
        match self.recent.contains(ancestor) {
            Some(answer) => Ok(answer),
            None => self.reachability.is_ancestor(ancestor, self.block),
        }
    }
}

impl Dag {
    /// A DAG of the genesis block alone (its parents and claims are not looked at), staged in `batch`. All that comes
    /// stays in memory: this is for tools, and for laying out a store that [`Dag::open`] then opens.
    pub fn new(genesis: &BlockFacts, params: DagParams, batch: &mut Batch) -> Self {
        let block = Block {
            hash: genesis.hash,
            vrf_hash: genesis.vrf_hash,
            slot: genesis.slot,
            ai_class: genesis.ai_class,
            work: genesis.work,
            parents: Box::default(),
            colouring: Colouring::default(),
            height: 0,
            jump: 0,
            merge_root: 0,
            newest_pruning_point: genesis.newest_pruning_point,
        };
        let mut dag = Self {
            params,
            residency: Residency::ALL,
            genesis: genesis.hash,
            blocks: Blocks::new(),
            reachability: Reachability::new(),
            recent: RecentPasts::new(),
            tips: BTreeMap::new(),
            pruning: Pruning::none(genesis.hash),
        };
        let staged = dag.blocks.record_of(0, &block);
        let record = staged.ok().flatten().expect("genesis names no block");
        batch.put(Table::Relations, genesis.hash.to_vec(), 0u64.to_be_bytes());
        batch.put(Table::Ghostdag, 0u64.to_be_bytes(), record.encode());
        batch.put(Table::Meta, record::GENESIS, genesis.hash.to_vec());
        batch.put(Table::Meta, record::WINDOW, 0u64.to_be_bytes());
        dag.push(block);
        dag.stage_nodes(&mut vec![0], batch).expect("the root is in memory");
        dag
    }

    /// Inserts a checked block and stages its records. The batch must be written before the next insertion or pruning:
    /// after a fault, here or when it is written, this value is ahead of the store and must be opened anew. A block that
    /// is already there is left alone.
    pub fn insert(&mut self, prepared: Prepared, batch: &mut Batch) -> Result<(), StorageFault> {
        let mut block = prepared.0;
        if self.blocks.find(&block.hash)?.is_some() {
            return Ok(());
        }
        self.settle();
        let mut changed = Vec::new();
        self.evict(&mut changed, batch);
        let parent = block.colouring.selected_parent().expect("a prepared block has parents");
        (block.height, block.jump) = self.link(parent)?;
        let index = self.blocks.next();
        let record = self.blocks.record_of(index, &block)?;
        let record = record.ok_or_else(|| StorageFault::corrupt(Table::Ghostdag, "a parent has no record"))?;
        batch.put(Table::Relations, block.hash.to_vec(), index.to_be_bytes());
        batch.put(Table::Ghostdag, index.to_be_bytes(), record.encode());
        self.reachability.add(parent, block.colouring.mergeset(), &mut changed)?;
        for &parent in &block.parents {
            if self.tips.remove(&parent).is_some() && parent < self.blocks.first() {
                batch.delete(Table::Meta, indexed_key(record::TIP, parent));
            }
        }
        self.push(block);
        self.stage_nodes(&mut changed, batch)
    }

    fn push(&mut self, block: Block) {
        self.recent.push(&block.parents);
        self.tips.insert(self.blocks.next(), block.hash);
        self.blocks.push(block);
    }

    /// What the last batch changed is on disk by now.
    fn settle(&mut self) {
        self.blocks.settle();
        self.reachability.nodes.settle();
    }

    /// Takes the oldest blocks out of memory when there are too many, some at a time.
    fn evict(&mut self, changed: &mut Vec<u64>, batch: &mut Batch) {
        let first = self.blocks.first();
        let resident = self.blocks.next() - first;
        if !self.blocks.is_stored() || resident <= self.residency.blocks.saturating_add(self.residency.step()) {
            return;
        }
        let keep_from = self.blocks.next() - self.residency.blocks;
        for index in first..keep_from {
            self.blocks.evict();
            self.reachability.nodes.evict();
            changed.push(index);
        }
        for (&tip, hash) in self.tips.range(first..keep_from) {
            batch.put(Table::Meta, indexed_key(record::TIP, tip), hash.to_vec());
        }
        batch.put(Table::Meta, record::WINDOW, keep_from.to_be_bytes());
    }

    /// Stages the nodes that changed and are still there.
    fn stage_nodes(&self, changed: &mut Vec<u64>, batch: &mut Batch) -> Result<(), StorageFault> {
        changed.sort_unstable();
        changed.dedup();
        let nodes = &self.reachability.nodes;
        for &block in changed.iter() {
            if let Some(node) = nodes.find(block)? {
                let record = node.encode(!nodes.is_resident(block));
                batch.put(Table::Reachability, block.to_be_bytes(), record);
            }
        }
        Ok(())
    }

    /// The parameters.
    pub const fn params(&self) -> &DagParams {
        &self.params
    }

    /// Number of blocks that were ever inserted, genesis and pruned ones included.
    pub fn len(&self) -> u64 {
        self.blocks.next()
    }

    /// Never: genesis was there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The genesis block, pruned or not.
    pub fn genesis(&self) -> B256 {
        self.genesis
    }

    /// Whether the block is in the DAG.
    pub fn contains(&self, hash: &B256) -> Result<bool, StorageFault> {
        Ok(self.blocks.find(hash)?.is_some())
    }

    /// What the header of a block said.
    pub fn facts(&self, hash: &B256) -> Result<Option<BlockFacts>, StorageFault> {
        let Some(index) = self.blocks.find(hash)? else { return Ok(None) };
        let record = self.blocks.record(index)?;
        Ok(Some(BlockFacts {
            hash: record.hash,
            parents: record.parent_hashes(),
            slot: record.slot,
            vrf_hash: record.vrf_hash,
            ai_class: record.ai_class,
            work: record.work,
            blue_score: record.blue_score,
            blue_work: record.blue_work,
            newest_pruning_point: record.newest_pruning_point,
        }))
    }

    /// Slot of a block.
    pub fn slot(&self, hash: &B256) -> Result<Option<u64>, StorageFault> {
        Ok(self.get(hash)?.map(|block| block.slot))
    }

    /// Parents of a block, in the order of its header. Some may be pruned.
    pub fn parents(&self, hash: &B256) -> Result<Option<Vec<B256>>, StorageFault> {
        let Some(index) = self.blocks.find(hash)? else { return Ok(None) };
        Ok(Some(self.blocks.record(index)?.parent_hashes()))
    }

    /// Blue score of a block.
    pub fn blue_score(&self, hash: &B256) -> Result<Option<u64>, StorageFault> {
        Ok(self.get(hash)?.map(|block| block.colouring.blue_score))
    }

    /// Key of a block in fork choice.
    pub fn key(&self, hash: &B256) -> Result<Option<BlockKey>, StorageFault> {
        Ok(self.get(hash)?.map(|block| self.key_of(&block)))
    }

    /// Selected parent of a block; none for genesis and unknown blocks.
    pub fn selected_parent(&self, hash: &B256) -> Result<Option<B256>, StorageFault> {
        let Some(index) = self.blocks.find(hash)? else { return Ok(None) };
        let Some(parent) = self.block(index)?.colouring.selected_parent() else { return Ok(None) };
        if let Some(parent) = self.blocks.get(parent)? {
            return Ok(Some(parent.hash));
        }
        Ok(self.blocks.record(index)?.blues.first().map(|parent| parent.hash))
    }

    /// GHOSTDAG data of a block.
    pub fn ghostdag(&self, hash: &B256) -> Result<Option<GhostdagData>, StorageFault> {
        let Some(index) = self.blocks.find(hash)? else { return Ok(None) };
        Ok(Some(self.blocks.record(index)?.data()))
    }

    /// Sizes of the blue anticones, as this block sees them, of the blues for which it changed them, by hash. Those of
    /// pruned blocks are left out.
    pub fn blues_anticone_sizes(&self, hash: &B256) -> Result<Option<Vec<(B256, u16)>>, StorageFault> {
        let Some(block) = self.get(hash)? else { return Ok(None) };
        let mut out = Vec::new();
        for &(blue, size) in &block.colouring.anticone_sizes {
            if let Some(blue) = self.blocks.get(blue)? {
                out.push((blue.hash, size));
            }
        }
        out.sort_unstable();
        Ok(Some(out))
    }

    /// GHOSTDAG data of a block that would have these parents, limits aside. Errors: missing parents and faults.
    pub fn virtual_data(&self, parents: &[B256]) -> Result<GhostdagData, CheckError> {
        let parents = self.resolve(parents)?;
        let colouring = if parents.is_empty() { Colouring::default() } else { self.colour_all(&parents)? };
        Ok(self.data(&colouring)?)
    }

    /// The mergeset in the order of consensus (blue work, then the tie rule, whatever the AI classes are), the selected
    /// parent not included: the order in which a chain block executes what it merges. Takes the data of [`Dag::ghostdag`] or [`Dag::virtual_data`]; blocks that
    /// are not in this DAG are left out.
    pub fn consensus_order_of_mergeset(&self, data: &GhostdagData) -> Result<Vec<Merged>, StorageFault> {
        let blues = data.mergeset_blues.iter().skip(1).map(|hash| (hash, true));
        let reds = data.mergeset_reds.iter().map(|hash| (hash, false));
        let mut order = Vec::new();
        for (hash, is_blue) in blues.chain(reds) {
            if let Some(block) = self.get(hash)? {
                order.push((block, is_blue));
            }
        }
        order.sort_unstable_by(|(a, _), (b, _)| self.order_in_mergeset(a, b));
        Ok(order.into_iter().map(|(block, is_blue)| Merged { hash: block.hash, is_blue }).collect())
    }

    /// Blocks that nobody has as a parent, in insertion order.
    pub fn tips(&self) -> Vec<B256> {
        self.tips.values().copied().collect()
    }

    /// Whether `a` is in the past of `b`. A block is not in its own past; unknown and pruned blocks are in no past and
    /// have none.
    pub fn is_ancestor(&self, a: &B256, b: &B256) -> Result<bool, StorageFault> {
        match (self.blocks.find(a)?, self.blocks.find(b)?) {
            (Some(a), Some(b)) => self.past_of(b).contains(a),
            _ => Ok(false),
        }
    }

    /// Whether `a` is `b` or on the selected chain below it; false for unknown and pruned blocks.
    pub fn is_chain_ancestor(&self, a: &B256, b: &B256) -> Result<bool, StorageFault> {
        match (self.blocks.find(a)?, self.blocks.find(b)?) {
            (Some(a), Some(b)) => self.reachability.is_chain_ancestor(a, b),
            _ => Ok(false),
        }
    }

    #[inline]
    pub(crate) fn block(&self, index: u64) -> Result<Held<'_, Block>, StorageFault> {
        self.blocks.block(index)
    }

    #[inline]
    pub(crate) fn past_of(&self, block: u64) -> PastOf<'_> {
        PastOf { block, recent: self.recent.past_of(block), reachability: &self.reachability }
    }

    /// Key of a block in fork choice, and among the candidates for selected parent.
    #[inline]
    pub(crate) fn key_of(&self, block: &Block) -> BlockKey {
        let ai_class = match self.params.tie_rule {
            TieRule::GreaterHash => 0,
            TieRule::LowerVrfHash => block.ai_class,
        };
        BlockKey { blue_work: block.colouring.blue_work, ai_class, tie: self.tie_of(block) }
    }

    #[inline]
    pub(crate) fn key_at(&self, index: u64) -> Result<BlockKey, StorageFault> {
        let block = self.block(index)?;
        Ok(self.key_of(&block))
    }

    /// What breaks a tie of blue work, and of AI class where that counts: greater wins.
    #[inline]
    pub(crate) fn tie_of(&self, block: &Block) -> [B256; 2] {
        match self.params.tie_rule {
            TieRule::GreaterHash => [block.hash, B256::ZERO],
            TieRule::LowerVrfHash => [!block.vrf_hash, block.hash],
        }
    }

    fn get(&self, hash: &B256) -> Result<Option<Held<'_, Block>>, StorageFault> {
        self.blocks.find(hash)?.map(|index| self.block(index)).transpose()
    }

    /// A colouring by hash; all that it names is there.
    fn data(&self, colouring: &Colouring) -> Result<GhostdagData, StorageFault> {
        let selected_parent = match colouring.selected_parent() {
            Some(parent) => self.block(parent)?.hash,
            None => B256::ZERO,
        };
        Ok(GhostdagData {
            blue_score: colouring.blue_score,
            blue_work: colouring.blue_work,
            selected_parent,
            mergeset_blues: self.hashes(&colouring.blues)?,
            mergeset_reds: self.hashes(&colouring.reds)?,
        })
    }

    fn hashes(&self, blocks: &[u64]) -> Result<Vec<B256>, StorageFault> {
        blocks.iter().map(|&block| Ok(self.block(block)?.hash)).collect()
    }

    fn resolve(&self, hashes: &[B256]) -> Result<Vec<u64>, CheckError> {
        let (mut known, mut missing) = (Vec::with_capacity(hashes.len()), Vec::new());
        for hash in hashes {
            match self.blocks.find(hash)? {
                Some(index) => known.push(index),
                None => missing.push(*hash),
            }
        }
        if missing.is_empty() { Ok(known) } else { Err(MissingParents { parents: missing }.into()) }
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
            ai_class: 0,
            work: 1,
            blue_score: 0,
            blue_work: 0,
            newest_pruning_point: B256::ZERO,
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
            let reds: usize =
                (0..with_rows.len()).map(|block| with_rows.block(block).unwrap().colouring.reds.len()).sum();
            assert!(k > 4 || reds > 100, "k {k}: {reds} reds");
        }
    }
}
