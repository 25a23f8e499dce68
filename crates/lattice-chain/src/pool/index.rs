//! What others read of the pool, without waiting for the chain's thread.

use super::lane::Lane;
use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256};
use lattice_types::RecoveredTx;
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Lookups into the pool by transaction hash and by sender.
#[derive(Debug, Default)]
pub struct PoolIndex {
    content: RwLock<Content>,
}

#[derive(Debug, Default)]
struct Content {
    by_hash: HashMap<B256, Arc<RecoveredTx>>,
    next_nonce: HashMap<Address, u64>,
    /// Transactions in each lane.
    lanes: [usize; 4],
}

impl PoolIndex {
    /// The nonce after the sender's run of waiting transactions; `None` when none of them waits.
    pub fn pending_nonce(&self, sender: &Address) -> Option<u64> {
        self.read().next_nonce.get(sender).copied()
    }

    /// A transaction that waits.
    pub fn transaction(&self, hash: &B256) -> Option<Arc<RecoveredTx>> {
        self.read().by_hash.get(hash).cloned()
    }

    /// How many transactions wait: those whose nonce has its turn before the sender's first gap, and the rest.
    pub fn counts(&self) -> (usize, usize) {
        let content = self.read();
        let pending = content
            .by_hash
            .values()
            .filter(|tx| content.next_nonce.get(&tx.signer()).is_some_and(|next| tx.nonce() < *next))
            .count();
        (pending, content.by_hash.len() - pending)
    }

    /// How many transactions wait in each lane, in the order of [`Lane::ALL`].
    pub fn lanes(&self) -> [usize; 4] {
        self.read().lanes
    }

    pub(super) fn contains(&self, hash: &B256) -> bool {
        self.read().by_hash.contains_key(hash)
    }

    pub(super) fn insert(&self, tx: Arc<RecoveredTx>, next_nonce: u64) {
        let mut content = self.write();
        content.next_nonce.insert(tx.signer(), next_nonce);
        let lane = Lane::of(tx.inner());
        if content.by_hash.insert(*tx.inner().hash(), tx).is_none() {
            content.lanes[lane as usize] += 1;
        }
    }

    pub(super) fn remove(&self, tx: &RecoveredTx) {
        let mut content = self.write();
        if content.by_hash.remove(tx.inner().hash()).is_some() {
            content.lanes[Lane::of(tx.inner()) as usize] -= 1;
        }
    }

    pub(super) fn set_next_nonce(&self, sender: Address, nonce: Option<u64>) {
        let mut content = self.write();
        match nonce {
            Some(nonce) => content.next_nonce.insert(sender, nonce),
            None => content.next_nonce.remove(&sender),
        };
    }

    // A panic while holding the lock leaves the maps whole: every change is one insert or remove.
    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}
