//! One sender's transactions by nonce, and what each lane holds of all senders.

use super::{
    AdmissionError,
    lane::{LIMITS, Lane, Place},
};
use alloy_consensus::Transaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::Address;
use lattice_types::RecoveredTx;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A transaction that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub tx: Arc<RecoveredTx>,
    pub place: Place,
    /// Encoded bytes.
    pub bytes: usize,
}

impl Waiting {
    pub fn new(tx: RecoveredTx) -> Self {
        let (place, bytes) = (Place::of(tx.inner()), tx.inner().encode_2718_len());
        Self { tx: Arc::new(tx), place, bytes }
    }

    /// What it pays its producer at best, wei a gas: what full lanes keep or give up transactions by.
    pub fn price(&self) -> u128 {
        let cap = self.tx.max_fee_per_gas();
        self.tx.max_priority_fee_per_gas().map_or(cap, |tip| tip.min(cap))
    }
}

/// The transactions of one sender.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<u64, Waiting>,
    /// How many of them are in each lane.
    counts: [usize; 4],
    /// The nonce after the run of consecutive transactions that begins at the account's nonce.
    next: u64,
    tail: Option<(Lane, Tail)>,
}

/// The last transaction of a sender in its lane: only the last may go, so that no gap opens before the others. The
/// least goes first: one behind a gap, then the cheapest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tail {
    executable: bool,
    price: u128,
    sender: Address,
    bytes: usize,
}

impl Queue {
    pub fn get(&self, nonce: u64) -> Option<&Waiting> {
        self.waiting.get(&nonce)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub const fn next(&self) -> u64 {
        self.next
    }

    pub const fn count(&self, lane: Lane) -> usize {
        self.counts[lane as usize]
    }

    /// Nonce of the last transaction.
    pub fn last(&self) -> Option<u64> {
        self.waiting.last_key_value().map(|(nonce, _)| *nonce)
    }

    /// Brings `next` up to the account's nonce. A run only grows at its end, so it is not walked from its beginning
    /// every time.
    pub fn settle_next(&mut self, account_nonce: u64) {
        let mut next = self.next.max(account_nonce);
        for &nonce in self.waiting.range(next..).map(|(nonce, _)| nonce) {
            if nonce != next {
                break;
            }
            next += 1;
        }
        self.next = next;
    }

    fn insert(&mut self, waiting: Waiting) {
        self.counts[waiting.place.lane as usize] += 1;
        self.waiting.insert(waiting.tx.nonce(), waiting);
    }

    fn remove(&mut self, nonce: u64) -> Option<Waiting> {
        let removed = self.waiting.remove(&nonce)?;
        self.counts[removed.place.lane as usize] -= 1;
        // The run ends at the gap at the latest. After a reorganisation it may begin earlier: see `restart`.
        self.next = self.next.min(nonce);
        Some(removed)
    }

    /// Forgets where the run ends: the account's nonce may have gone back.
    pub const fn restart(&mut self) {
        self.next = 0;
    }

    fn tail(&self, sender: Address) -> Option<(Lane, Tail)> {
        let (nonce, last) = self.waiting.last_key_value()?;
        let tail = Tail { executable: *nonce < self.next, price: last.price(), sender, bytes: last.bytes };
        Some((last.place.lane, tail))
    }
}

#[derive(Debug, Default)]
struct Held {
    transactions: usize,
    bytes: usize,
    tails: BTreeSet<Tail>,
}

/// What each lane holds.
#[derive(Debug, Default)]
pub struct Occupancy {
    lanes: [Held; 4],
}

impl Occupancy {
    /// Puts a transaction into its sender's queue. Nothing waits there under its nonce.
    pub fn insert(&mut self, queue: &mut Queue, waiting: Waiting) {
        let held = &mut self.lanes[waiting.place.lane as usize];
        held.transactions += 1;
        held.bytes += waiting.bytes;
        queue.insert(waiting);
    }

    /// Takes a transaction out of its sender's queue.
    pub fn remove(&mut self, queue: &mut Queue, nonce: u64) -> Option<Waiting> {
        let removed = queue.remove(nonce)?;
        let held = &mut self.lanes[removed.place.lane as usize];
        held.transactions -= 1;
        held.bytes -= removed.bytes;
        Some(removed)
    }

    /// Takes out all transactions below a nonce.
    pub fn remove_below(&mut self, queue: &mut Queue, nonce: u64) -> Vec<Waiting> {
        let old: Vec<u64> = queue.waiting.range(..nonce).map(|(nonce, _)| *nonce).collect();
        old.into_iter().filter_map(|nonce| self.remove(queue, nonce)).collect()
    }

    /// Notes which of a sender's transactions is its last, after its queue changed.
    pub fn note_tail(&mut self, sender: Address, queue: &mut Queue) {
        let tail = queue.tail(sender);
        if queue.tail == tail {
            return;
        }
        if let Some((lane, old)) = queue.tail {
            self.lanes[lane as usize].tails.remove(&old);
        }
        if let Some((lane, new)) = tail {
            self.lanes[lane as usize].tails.insert(new);
        }
        queue.tail = tail;
    }

    /// Whose last transactions have to go so that `waiting` finds room in its lane. `replaced` is what it takes the place
    /// of; `executable` whether nothing is missing before it.
    pub fn make_room(
        &self,
        waiting: &Waiting,
        replaced: Option<&Waiting>,
        executable: bool,
    ) -> Result<Vec<Address>, AdmissionError> {
        let lane = waiting.place.lane;
        let (held, limits) = (&self.lanes[lane as usize], LIMITS[lane as usize]);
        let freed = replaced.filter(|old| old.place.lane == lane);
        let transactions = held.transactions + 1 - usize::from(freed.is_some());
        let bytes = held.bytes + waiting.bytes - freed.map_or(0, |old| old.bytes);
        let mut excess = transactions.saturating_sub(limits.transactions_max);
        let mut excess_bytes = bytes.saturating_sub(limits.bytes_max);
        let mut victims = Vec::new();
        for tail in held.tails.iter().filter(|tail| tail.sender != waiting.tx.signer()) {
            if excess == 0 && excess_bytes == 0 {
                break;
            }
            if (tail.executable, tail.price) >= (executable, waiting.price()) {
                return Err(AdmissionError::Underpriced { lane: lane.name(), min: tail.price });
            }
            victims.push(tail.sender);
            excess = excess.saturating_sub(1);
            excess_bytes = excess_bytes.saturating_sub(tail.bytes);
        }
        if excess > 0 || excess_bytes > 0 {
            return Err(AdmissionError::PoolFull { lane: lane.name(), max: limits.transactions_max });
        }
        Ok(victims)
    }
}

#[cfg(test)]
impl Occupancy {
    /// Transactions, bytes and last transactions of a lane, to compare with a count of everything.
    pub fn of(&self, lane: Lane) -> (usize, usize, usize) {
        let held = &self.lanes[lane as usize];
        (held.transactions, held.bytes, held.tails.len())
    }
}
