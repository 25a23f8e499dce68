//! Facts of blocks that many answers need and that cost work to derive.

use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::B256;
use alloy_rlp::Encodable;
use lattice_chain::{StorageFault, View};
use lattice_types::EvmBlock;
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// Blocks remembered.
const BLOCKS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Derived facts of one EVM block.
#[derive(Debug)]
pub(crate) struct BlockFacts {
    /// The block's hash.
    pub hash: B256,
    /// Index in the block of each transaction's first log.
    pub log_starts: Vec<u64>,
    size: OnceLock<u64>,
}

impl BlockFacts {
    fn new(block: &EvmBlock) -> Self {
        let mut logs = 0;
        let start = |receipt: &lattice_types::TxReceipt| {
            let start = logs;
            logs += receipt.logs.len() as u64;
            start
        };
        Self { hash: block.hash(), log_starts: block.receipts.iter().map(start).collect(), size: OnceLock::new() }
    }

    /// Bytes of the block's RLP as an Ethereum block: header, transactions, no uncles, withdrawals.
    pub(crate) fn size(&self, view: &View, block: &EvmBlock) -> Result<u64, StorageFault> {
        if let Some(size) = self.size.get() {
            return Ok(*size);
        }
        let mut transactions = 0;
        for tx in view.envelopes(block)? {
            transactions += tx.network_len();
        }
        let list = |payload: usize| payload + alloy_rlp::length_of_length(payload);
        let payload = block.header.length() + list(transactions) + list(0);
        // Blocks before Shanghai have no withdrawals, which only chains of Ethereum have.
        let withdrawals = block.header.withdrawals_root.map_or(0, |_| block.withdrawals.length());
        let payload = payload + withdrawals;
        Ok(*self.size.get_or_init(|| list(payload) as u64))
    }
}

/// The facts of the blocks asked for last.
#[derive(Debug)]
pub(crate) struct FactsCache {
    blocks: Mutex<LruCache<B256, Arc<BlockFacts>>>,
    /// The tip suggested on top of a block.
    tip: Mutex<Option<(B256, u128)>>,
}

impl Default for FactsCache {
    fn default() -> Self {
        Self { blocks: Mutex::new(LruCache::new(BLOCKS)), tip: Mutex::default() }
    }
}

// A panic while a lock is held leaves whole entries behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FactsCache {
    /// The facts of a block.
    pub(crate) fn of(&self, block: &EvmBlock) -> Arc<BlockFacts> {
        if let Some(facts) = lock(&self.blocks).get(&block.dag_hash) {
            return facts.clone();
        }
        let facts = Arc::new(BlockFacts::new(block));
        lock(&self.blocks).put(block.dag_hash, facts.clone());
        facts
    }

    /// The tip suggested on top of `head`, worked out once.
    pub(crate) fn tip<E>(&self, head: B256, work_out: impl FnOnce() -> Result<u128, E>) -> Result<u128, E> {
        if let Some((at, tip)) = *lock(&self.tip)
            && at == head
        {
            return Ok(tip);
        }
        let tip = work_out()?;
        *lock(&self.tip) = Some((head, tip));
        Ok(tip)
    }
}
