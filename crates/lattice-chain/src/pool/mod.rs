//! The mempool: recovered transactions that wait for a block.
//!
//! Transactions wait in lanes (`lane`): ordinary ones, models and their updates, training, inference. Each lane is bounded
//! in transactions and bytes, in total and a sender; when one is full, the cheapest last transaction of a sender goes
//! (`queue`). A block takes by nonce within a sender, in fair shares among lanes, and by model within a lane (`ready`).
//! A transaction supersedes another of the same sender and nonce only.
//! Everything that the EVM would refuse whatever comes before it (fees a sender cannot
//! pay, gas below the intrinsic cost, old nonces) is refused at admission with geth's words, on which tools match.

mod admission;
mod index;
mod lane;
mod queue;
mod ready;

pub use admission::AdmissionError;
pub use index::PoolIndex;
pub use lane::Lane;
pub use ready::{Draw, Ready};

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256};
use lane::LIMITS;
use lattice_state::State;
use lattice_types::{ChainSpec, RecoveredTx};
use queue::{Occupancy, Queue, Waiting};
use std::{collections::BTreeMap, sync::Arc};

/// How far ahead of the account's nonce a transaction may be.
pub const NONCE_GAP_MAX: u64 = 8_192;
/// A replacement must raise both fees by this many percent.
pub const REPLACEMENT_PERCENT: u128 = 10;

/// Transactions that wait for a block.
#[derive(Debug)]
pub struct Pool {
    senders: BTreeMap<Address, Queue>,
    /// What each lane holds.
    held: Occupancy,
    index: Arc<PoolIndex>,
}

impl Pool {
    pub fn new() -> Self {
        Self { senders: BTreeMap::new(), held: Occupancy::default(), index: Arc::default() }
    }

    /// What others may read of the pool without waiting for the chain's thread.
    pub const fn index(&self) -> &Arc<PoolIndex> {
        &self.index
    }

    /// Admits a transaction against the state of the head.
    pub fn admit(&mut self, tx: RecoveredTx, state: &State, spec: &ChainSpec) -> Result<B256, AdmissionError> {
        let hash = *tx.inner().hash();
        if self.index.contains(&hash) {
            return Err(AdmissionError::AlreadyKnown);
        }
        let sender = tx.signer();
        let account = state.account(&sender).unwrap_or_default();
        admission::check(&tx, &account, spec)?;
        if account.code_hash != alloy_primitives::KECCAK256_EMPTY {
            admission::check_sender_code(&account.code_hash, state)?;
        }
        self.put(tx, account.nonce)?;
        Ok(hash)
    }

    /// Queues a transaction that the EVM would take from an account with this nonce.
    fn put(&mut self, tx: RecoveredTx, account_nonce: u64) -> Result<(), AdmissionError> {
        let (sender, nonce) = (tx.signer(), tx.nonce());
        let waiting = Waiting::new(tx);
        self.make_room(&waiting, account_nonce)?;
        let queue = self.senders.entry(sender).or_default();
        if let Some(old) = self.held.remove(queue, nonce) {
            self.index.remove(&old.tx);
        }
        let tx = waiting.tx.clone();
        self.held.insert(queue, waiting);
        queue.settle_next(account_nonce);
        self.held.note_tail(sender, queue);
        self.index.insert(tx, queue.next());
        Ok(())
    }

    /// Checks that a transaction may take the place of the one with its nonce, and that its lane has room for it; what
    /// is worth less goes. Nothing changes when it is refused.
    fn make_room(&mut self, waiting: &Waiting, account_nonce: u64) -> Result<(), AdmissionError> {
        let (nonce, lane) = (waiting.tx.nonce(), waiting.place.lane);
        let queue = self.senders.get(&waiting.tx.signer());
        let old = queue.and_then(|queue| queue.get(nonce));
        if let Some(old) = old {
            admission::check_replacement(&old.tx, &waiting.tx)?;
        }
        let max = LIMITS[lane as usize].sender_transactions_max;
        let stays = old.is_some_and(|old| old.place.lane == lane);
        if !stays && queue.is_some_and(|queue| queue.count(lane) >= max) {
            return Err(AdmissionError::SenderFull { lane: lane.name(), max });
        }
        let next = queue.map_or(account_nonce, |queue| queue.next().max(account_nonce));
        for victim in self.held.make_room(waiting, old, nonce <= next)? {
            self.evict_last(victim);
        }
        Ok(())
    }

    /// Drops a sender's last transaction.
    fn evict_last(&mut self, sender: Address) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        if let Some(evicted) = queue.last().and_then(|nonce| self.held.remove(queue, nonce)) {
            self.index.remove(&evicted.tx);
        }
        self.note(sender);
    }

    /// Brings what is known of a sender's queue up to date after transactions left it.
    fn note(&mut self, sender: Address) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        self.held.note_tail(sender, queue);
        if queue.is_empty() {
            self.senders.remove(&sender);
            self.index.set_next_nonce(sender, None);
        } else {
            self.index.set_next_nonce(sender, Some(queue.next()));
        }
    }

    /// Whether a transaction could go into a block now: the next nonce of its sender, and a fee cap that pays
    /// `base_fee`.
    pub fn has_ready(&self, state: &State, base_fee: u64) -> bool {
        self.senders.iter().any(|(sender, queue)| {
            let nonce = state.account(sender).map_or(0, |account| account.nonce);
            queue.get(nonce).is_some_and(|waiting| waiting.tx.max_fee_per_gas() >= u128::from(base_fee))
        })
    }

    /// Executable transactions in the order in which a block takes them: see `ready`.
    pub fn ready<'a>(&'a self, state: &State, draw: Draw<'a>) -> Ready<'a> {
        let mut ready = Ready::new(&self.senders, draw);
        for (sender, queue) in &self.senders {
            let nonce = state.account(sender).map_or(0, |account| account.nonce);
            if let Some(waiting) = queue.get(nonce) {
                ready.push(waiting);
            }
        }
        ready
    }

    /// Drops the given transactions, which a template found to be unfit.
    pub fn drop_unfit(&mut self, unfit: &[Arc<RecoveredTx>], state: &State) {
        for tx in unfit {
            let sender = tx.signer();
            if let Some(queue) = self.senders.get_mut(&sender)
                && let Some(dropped) = self.held.remove(queue, tx.nonce())
            {
                self.index.remove(&dropped.tx);
            }
            self.settle(&sender, state);
        }
    }

    /// Follows the head: drops what was executed for the given senders.
    pub fn advance(&mut self, senders: impl IntoIterator<Item = Address>, state: &State) {
        for sender in senders {
            self.settle(&sender, state);
        }
    }

    /// Brings one sender's queue and its entry in the index up to the state.
    fn settle(&mut self, sender: &Address, state: &State) {
        let Some(queue) = self.senders.get_mut(sender) else { return };
        let nonce = state.account(sender).map_or(0, |account| account.nonce);
        for old in self.held.remove_below(queue, nonce) {
            self.index.remove(&old.tx);
        }
        queue.restart();
        queue.settle_next(nonce);
        self.note(*sender);
    }
}

#[cfg(test)]
mod tests;
