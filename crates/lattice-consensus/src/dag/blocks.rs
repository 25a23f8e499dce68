//! The blocks: recent ones in memory, older ones in the store.

use std::collections::VecDeque;

use alloy_primitives::B256;
use lattice_storage::{StorageFault, Table};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    ghostdag::Colouring,
    older::{Held, Older},
    record::{BlockRecord, Named, load_index},
};

/// One block. Other blocks are named by index: the place in insertion order, in which every block comes after its past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub hash: B256,
    pub vrf_hash: B256,
    pub slot: u64,
    pub ai_class: u8,
    pub work: u128,
    pub parents: Box<[u64]>,
    pub colouring: Colouring,
    /// Distance from genesis along the selected chain.
    pub height: u64,
    /// One chain block far down, see [`super::depth`].
    pub jump: u64,
    /// The merge-depth root; genesis when it was not asked for.
    pub merge_root: u64,
    /// The newest pruning point on the selected chain, the block itself excluded.
    pub newest_pruning_point: B256,
}

/// All blocks.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    /// Index of the first block of `resident`.
    first: u64,
    resident: VecDeque<Block>,
    /// Indices of the resident ones.
    indices: FxHashMap<B256, u64>,
    older: Option<Older<Block>>,
    /// What the batch of the moment removes.
    removed: FxHashSet<u64>,
}

impl Blocks {
    /// No block yet; all that come stay in memory.
    pub(super) fn new() -> Self {
        let (resident, indices, removed) = Default::default();
        Self { first: 0, resident, indices, older: None, removed }
    }

    /// The next block is number `first`; those before are in the store.
    pub(super) fn over(first: u64, older: Older<Block>) -> Self {
        Self { first, older: Some(older), ..Self::new() }
    }

    pub(super) fn is_stored(&self) -> bool {
        self.older.is_some()
    }

    /// Index of the next block.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.first + self.resident.len() as u64
    }

    /// Index of the oldest block in memory.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn push(&mut self, block: Block) {
        self.indices.insert(block.hash, self.next());
        self.resident.push_back(block);
    }

    /// Takes the oldest block out of memory; its record has long been written.
    pub(super) fn evict(&mut self) {
        if let Some(block) = self.resident.pop_front() {
            self.indices.remove(&block.hash);
            self.first += 1;
        }
    }

    /// The index of a block; none when it is not known, or removed.
    pub(super) fn find(&self, hash: &B256) -> Result<Option<u64>, StorageFault> {
        if let Some(&index) = self.indices.get(hash) {
            return Ok(Some(index));
        }
        let Some(older) = &self.older else { return Ok(None) };
        match load_index(older.kv(), hash)? {
            Some(index) if index >= self.first => {
                let reason = format!("{hash} has the insertion index {index}, which is another block's");
                Err(StorageFault::corrupt(Table::Relations, reason))
            }
            found => Ok(found.filter(|index| !self.removed.contains(index))),
        }
    }

    /// A block that must be there.
    #[inline]
    pub(super) fn block(&self, index: u64) -> Result<Held<'_, Block>, StorageFault> {
        match self.resident(index) {
            Some(block) => Ok(Held::Resident(block)),
            None => self.older_block(index)?.ok_or_else(|| missing(index)),
        }
    }

    /// A block; none when it was removed.
    #[inline]
    pub(super) fn get(&self, index: u64) -> Result<Option<Held<'_, Block>>, StorageFault> {
        match self.resident(index) {
            Some(block) => Ok(Some(Held::Resident(block))),
            None => self.older_block(index),
        }
    }

    #[inline]
    fn resident(&self, index: u64) -> Option<&Block> {
        self.resident.get(index.wrapping_sub(self.first) as usize)
    }

    #[cold]
    fn older_block(&self, index: u64) -> Result<Option<Held<'_, Block>>, StorageFault> {
        match &self.older {
            Some(older) if index < self.first && !self.removed.contains(&index) => {
                Ok(older.load(index)?.map(Held::Loaded))
            }
            _ => Ok(None),
        }
    }

    /// The record of a block: with the hashes of all that it names, removed ones too.
    pub(super) fn record(&self, index: u64) -> Result<BlockRecord, StorageFault> {
        if let Some(resident) = self.resident(index)
            && let Some(record) = self.record_of(index, resident)?
        {
            return Ok(record);
        }
        let older = self.older.as_ref().ok_or_else(|| missing(index))?;
        let bytes = older.kv().get(Table::Ghostdag, &index.to_be_bytes())?.ok_or_else(|| missing(index))?;
        BlockRecord::decode(index, &bytes).ok_or_else(|| crate::older::undecodable::<Block>(index))
    }

    /// The record of a block of which all that it names is still there.
    pub(super) fn record_of(&self, index: u64, block: &Block) -> Result<Option<BlockRecord>, StorageFault> {
        let named = |list: &[u64]| -> Result<Option<Vec<Named>>, StorageFault> {
            let mut out = Vec::with_capacity(list.len());
            for &index in list {
                let Some(other) = self.get(index)? else { return Ok(None) };
                out.push(Named { index, hash: other.hash });
            }
            Ok(Some(out))
        };
        let colouring = &block.colouring;
        let lists = (named(&block.parents)?, named(&colouring.blues)?, named(&colouring.reds)?);
        let (Some(parents), Some(blues), Some(reds)) = lists else { return Ok(None) };
        Ok(Some(BlockRecord {
            index,
            hash: block.hash,
            slot: block.slot,
            vrf_hash: block.vrf_hash,
            ai_class: block.ai_class,
            work: block.work,
            blue_score: colouring.blue_score,
            blue_work: colouring.blue_work,
            height: block.height,
            jump: block.jump,
            merge_root: block.merge_root,
            newest_pruning_point: block.newest_pruning_point,
            parents,
            blues,
            reds,
            anticone_sizes: colouring.anticone_sizes.to_vec(),
        }))
    }

    /// Removes a block that is not resident.
    pub(super) fn remove(&mut self, index: u64) {
        self.removed.insert(index);
        if let Some(older) = &self.older {
            older.forget(index);
        }
    }

    /// The batch that removed blocks is written.
    pub(super) fn settle(&mut self) {
        self.removed.clear();
    }
}

fn missing(index: u64) -> StorageFault {
    StorageFault::corrupt(Table::Ghostdag, format!("block number {index} has no record"))
}
