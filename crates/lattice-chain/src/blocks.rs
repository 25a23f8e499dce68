//! Reading blocks from the store, and staging what one input writes.
//!
//! Layout: `Headers`: DAG hash -> header; `Bodies`: DAG hash -> `[body, senders]`; `Executed`: DAG hash -> [`EvmBlock`];
//! `Wins`: slot (8 bytes BE) ++ proposer (4 bytes BE) ++ DAG hash -> nothing; `Status`: DAG hash -> one byte; `Canonical`: `n` + number (8 bytes BE) -> DAG hash, `h` + EVM hash -> DAG hash;
//! `TxIndex`: transaction hash -> DAG hash ++ index (4 bytes BE). The last two hold the selected chain only.

use alloy_primitives::{Address, B256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use lattice_storage::{Batch, KvRead, StorageFault, Table};
use lattice_types::{CheckedBlock, DagBlock, DagBody, DagHeader, EvmBlock};
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

const BLOCKS_CACHED: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// Whether a chain candidate's commitments held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockStatus {
    /// It never was a chain candidate, or waits to become one.
    NotExecuted,
    /// It was executed on its selected parent, and its commitments hold.
    Valid,
    /// A commitment was wrong, or its selected parent is disqualified: it can be merged but never selected.
    Disqualified,
}

/// Decoded blocks shared by all readers; both kinds are immutable under their DAG hash.
#[derive(Debug)]
pub struct BlockCache {
    executed: Mutex<LruCache<B256, Arc<EvmBlock>>>,
    dag: Mutex<LruCache<B256, Arc<CheckedBlock>>>,
}

impl BlockCache {
    pub fn new() -> Self {
        Self { executed: Mutex::new(LruCache::new(BLOCKS_CACHED)), dag: Mutex::new(LruCache::new(BLOCKS_CACHED)) }
    }

    pub fn put_executed(&self, block: Arc<EvmBlock>) {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner).put(block.dag_hash, block);
    }

    pub fn put_dag(&self, block: Arc<CheckedBlock>) {
        self.dag.lock().unwrap_or_else(PoisonError::into_inner).put(block.hash(), block);
    }

    /// Drops what is kept of a pruned block.
    pub fn forget(&self, hash: &B256) {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner).pop(hash);
        self.dag.lock().unwrap_or_else(PoisonError::into_inner).pop(hash);
    }

    fn executed(&self, hash: &B256) -> Option<Arc<EvmBlock>> {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    fn dag(&self, hash: &B256) -> Option<Arc<CheckedBlock>> {
        self.dag.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }
}

/// A body with the senders of its transactions, which are recovered once, ever.
#[derive(RlpEncodable, RlpDecodable)]
struct StoredBody {
    body: DagBody,
    senders: Vec<Address>,
}

fn decode<T: Decodable>(table: Table, bytes: &[u8]) -> Result<T, StorageFault> {
    alloy_rlp::decode_exact(bytes).map_err(|error| StorageFault::corrupt(table, error.to_string()))
}

/// Reads of blocks over a store or a snapshot of it.
#[derive(Clone)]
pub struct BlockReader {
    kv: Arc<dyn KvRead>,
    cache: Arc<BlockCache>,
}

impl BlockReader {
    pub fn new(kv: Arc<dyn KvRead>, cache: Arc<BlockCache>) -> Self {
        Self { kv, cache }
    }

    pub const fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    pub fn header(&self, hash: &B256) -> Result<Option<DagHeader>, StorageFault> {
        if let Some(block) = self.cache.dag(hash) {
            return Ok(Some(block.block().header.clone()));
        }
        let bytes = self.kv.get(Table::Headers, hash.as_slice())?;
        bytes.map(|bytes| decode(Table::Headers, &bytes)).transpose()
    }

    pub fn dag_block(&self, hash: &B256) -> Result<Option<Arc<CheckedBlock>>, StorageFault> {
        if let Some(block) = self.cache.dag(hash) {
            return Ok(Some(block));
        }
        let (Some(header), Some(body)) =
            (self.kv.get(Table::Headers, hash.as_slice())?, self.kv.get(Table::Bodies, hash.as_slice())?)
        else {
            return Ok(None);
        };
        let header: DagHeader = decode(Table::Headers, &header)?;
        let StoredBody { body, senders } = decode(Table::Bodies, &body)?;
        let block = Arc::new(CheckedBlock::trusted(DagBlock { header, body }, senders));
        self.cache.put_dag(block.clone());
        Ok(Some(block))
    }

    pub fn executed(&self, hash: &B256) -> Result<Option<Arc<EvmBlock>>, StorageFault> {
        if let Some(block) = self.cache.executed(hash) {
            return Ok(Some(block));
        }
        let Some(bytes) = self.kv.get(Table::Executed, hash.as_slice())? else { return Ok(None) };
        let block: Arc<EvmBlock> = Arc::new(decode(Table::Executed, &bytes)?);
        self.cache.put_executed(block.clone());
        Ok(Some(block))
    }

    pub fn status(&self, hash: &B256) -> Result<BlockStatus, StorageFault> {
        match self.kv.get(Table::Status, hash.as_slice())?.as_deref() {
            None => Ok(BlockStatus::NotExecuted),
            Some([1]) => Ok(BlockStatus::Valid),
            Some([2]) => Ok(BlockStatus::Disqualified),
            Some(other) => Err(StorageFault::corrupt(Table::Status, format!("unknown status {other:?}"))),
        }
    }

    /// Stored blocks of the same slot and proposer as this header, its own included.
    pub fn copies(&self, header: &DagHeader) -> Result<Vec<B256>, StorageFault> {
        let prefix = win_key(header);
        let mut found = Vec::new();
        self.kv.scan(Table::Wins, &prefix, None, &mut |key, _| match key.strip_prefix(&prefix) {
            Some(hash) => {
                found.extend(B256::try_from(hash));
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        })?;
        Ok(found)
    }

    pub fn canonical_by_number(&self, number: u64) -> Result<Option<B256>, StorageFault> {
        self.hash_at(&number_key(number))
    }

    pub fn canonical_by_hash(&self, evm_hash: &B256) -> Result<Option<B256>, StorageFault> {
        self.hash_at(&hash_key(evm_hash))
    }

    fn hash_at(&self, key: &[u8]) -> Result<Option<B256>, StorageFault> {
        let Some(bytes) = self.kv.get(Table::Canonical, key)? else { return Ok(None) };
        let hash = B256::try_from(bytes.as_slice());
        hash.map(Some).map_err(|_| StorageFault::corrupt(Table::Canonical, "a value is not a hash"))
    }

    pub fn transaction(&self, hash: &B256) -> Result<Option<(B256, usize)>, StorageFault> {
        let Some(bytes) = self.kv.get(Table::TxIndex, hash.as_slice())? else { return Ok(None) };
        let corrupt = || StorageFault::corrupt(Table::TxIndex, "a value is not hash and index");
        let (block, index) = bytes.split_at_checked(32).ok_or_else(corrupt)?;
        let index = u32::from_be_bytes(index.try_into().map_err(|_| corrupt())?);
        Ok(Some((B256::from_slice(block), index as usize)))
    }
}

/// Slot and proposer of a header.
fn win_key(header: &DagHeader) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&header.slot.to_be_bytes());
    key[8..].copy_from_slice(&header.proposer.to_be_bytes());
    key
}

fn number_key(number: u64) -> [u8; 9] {
    let mut key = [b'n'; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn hash_key(evm_hash: &B256) -> [u8; 33] {
    let mut key = [b'h'; 33];
    key[1..].copy_from_slice(evm_hash.as_slice());
    key
}

/// Stages a DAG block.
pub fn put_block(batch: &mut Batch, block: &CheckedBlock) {
    let hash = block.hash();
    let body = StoredBody { body: block.block().body.clone(), senders: block.senders().to_vec() };
    let header = &block.block().header;
    batch.put(Table::Headers, hash.as_slice(), alloy_rlp::encode(header));
    batch.put(Table::Wins, [&win_key(header)[..], hash.as_slice()].concat(), []);
    batch.put(Table::Bodies, hash.as_slice(), alloy_rlp::encode(body));
}

/// Stages the removal of a pruned block's body, win and verdict. The genesis has an empty body, which stays.
pub fn delete_block(batch: &mut Batch, hash: &B256, header: &DagHeader) {
    if !header.parents.is_empty() {
        batch.delete(Table::Bodies, hash.as_slice());
    }
    batch.delete(Table::Wins, [&win_key(header)[..], hash.as_slice()].concat());
    put_status(batch, hash, BlockStatus::NotExecuted);
}

/// Stages a verdict.
pub fn put_status(batch: &mut Batch, hash: &B256, status: BlockStatus) {
    let byte = match status {
        BlockStatus::NotExecuted => return batch.delete(Table::Status, hash.as_slice()),
        BlockStatus::Valid => 1,
        BlockStatus::Disqualified => 2,
    };
    batch.put(Table::Status, hash.as_slice(), [byte]);
}

/// Stages an executed chain block.
pub fn put_executed(batch: &mut Batch, block: &EvmBlock) {
    batch.put(Table::Executed, block.dag_hash.as_slice(), alloy_rlp::encode(block));
}

/// Stages the indexes of a block that joins the selected chain.
pub fn index_canonical(batch: &mut Batch, block: &EvmBlock) {
    batch.put(Table::Canonical, number_key(block.header.number), block.dag_hash.as_slice());
    batch.put(Table::Canonical, hash_key(&block.hash()), block.dag_hash.as_slice());
    for (index, tx) in block.transactions.iter().enumerate() {
        let mut place = block.dag_hash.to_vec();
        place.extend_from_slice(&(index as u32).to_be_bytes());
        batch.put(Table::TxIndex, tx.hash.as_slice(), place);
    }
}

/// Stages the removal of the indexes of a block that leaves the selected chain.
pub fn unindex_canonical(batch: &mut Batch, block: &EvmBlock) {
    batch.delete(Table::Canonical, number_key(block.header.number));
    batch.delete(Table::Canonical, hash_key(&block.hash()));
    for tx in &block.transactions {
        batch.delete(Table::TxIndex, tx.hash.as_slice());
    }
}
