//! The mempool: recovered transactions that wait for a block, ordered by nonce within a sender and by tip among
//! senders, and the readiness certificates that wait with them.
//!
//! Bounded in total and a sender. Everything that the EVM would refuse whatever comes before it (fees a sender cannot
//! pay, gas below the intrinsic cost, old nonces) is refused at admission with geth's words, on which tools match.

mod admission;
mod index;

pub use admission::AdmissionError;
pub use index::PoolIndex;

use crate::models;
use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256};
use lattice_state::State;
use lattice_types::{ChainSpec, ReadinessCertificate, RecoveredTx};
use std::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

/// Transactions in the pool.
pub const TRANSACTIONS_MAX: usize = 65_536;
/// Transactions of one sender.
pub const SENDER_TRANSACTIONS_MAX: usize = 8_192;
/// How far ahead of the account's nonce a transaction may be.
pub const NONCE_GAP_MAX: u64 = SENDER_TRANSACTIONS_MAX as u64;
/// A replacement must raise both fees by this many percent.
pub const REPLACEMENT_PERCENT: u128 = 10;

type Queue = BTreeMap<u64, Arc<RecoveredTx>>;

/// Transactions and certificates that wait for a block.
#[derive(Debug)]
pub struct Pool {
    senders: BTreeMap<Address, Queue>,
    /// Certificates by model.
    certificates: BTreeMap<B256, ReadinessCertificate>,
    index: Arc<PoolIndex>,
}

impl Pool {
    pub fn new() -> Self {
        Self { senders: BTreeMap::new(), certificates: BTreeMap::new(), index: Arc::default() }
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
        let queue = self.senders.entry(sender).or_default();
        let nonce = tx.nonce();
        if let Some(old) = queue.get(&nonce) {
            admission::check_replacement(old, &tx)?;
            self.index.remove(old);
        } else if queue.len() >= SENDER_TRANSACTIONS_MAX {
            return Err(AdmissionError::SenderFull { max: SENDER_TRANSACTIONS_MAX });
        } else if self.index.len() >= TRANSACTIONS_MAX {
            if queue.is_empty() {
                self.senders.remove(&sender);
            }
            return Err(AdmissionError::PoolFull { max: TRANSACTIONS_MAX });
        }
        let tx = Arc::new(tx);
        queue.insert(nonce, tx.clone());
        self.index.insert(tx, next_nonce(queue, account.nonce));
        Ok(hash)
    }

    /// Whether a transaction could go into a block now: the next nonce of its sender, and a fee cap that pays
    /// `base_fee`.
    pub fn has_ready(&self, state: &State, base_fee: u64) -> bool {
        self.senders.iter().any(|(sender, queue)| {
            let nonce = state.account(sender).map_or(0, |account| account.nonce);
            queue.get(&nonce).is_some_and(|tx| tx.max_fee_per_gas() >= u128::from(base_fee))
        })
    }

    /// Executable transactions, greatest tip first among senders, in nonce order within one.
    pub fn ready<'a>(&'a self, state: &State, base_fee: u64) -> Ready<'a> {
        let mut ready = Ready { senders: &self.senders, heads: BinaryHeap::new(), base_fee };
        for (sender, queue) in &self.senders {
            let nonce = state.account(sender).map_or(0, |account| account.nonce);
            if let Some(tx) = queue.get(&nonce) {
                ready.push(tx);
            }
        }
        ready
    }

    /// Drops the given transactions, which a template found to be unfit.
    pub fn drop_unfit(&mut self, unfit: &[Arc<RecoveredTx>], state: &State) {
        for tx in unfit {
            let sender = tx.signer();
            if let Some(queue) = self.senders.get_mut(&sender) {
                queue.remove(&tx.nonce());
                self.index.remove(tx);
            }
            self.settle(&sender, state);
        }
    }

    /// Follows the head: drops what was executed for the given senders.
    pub fn advance(&mut self, senders: impl IntoIterator<Item = Address>, state: &State) {
        for sender in senders {
            self.settle(&sender, state);
        }
        self.certificates.retain(|model, _| models::is_pending(state, model));
    }

    /// Brings one sender's queue and its entry in the index up to the state.
    fn settle(&mut self, sender: &Address, state: &State) {
        let Some(queue) = self.senders.get_mut(sender) else { return };
        let nonce = state.account(sender).map_or(0, |account| account.nonce);
        let keep = queue.split_off(&nonce);
        for tx in std::mem::replace(queue, keep).into_values() {
            self.index.remove(&tx);
        }
        if queue.is_empty() {
            self.senders.remove(sender);
            self.index.set_next_nonce(*sender, None);
        } else {
            let next = next_nonce(queue, nonce);
            self.index.set_next_nonce(*sender, Some(next));
        }
    }

    /// Keeps a certificate for the next block.
    pub fn add_certificate(&mut self, certificate: ReadinessCertificate) {
        self.certificates.insert(certificate.model_id, certificate);
    }

    /// Certificates that wait, by model.
    pub fn certificates(&self) -> impl Iterator<Item = &ReadinessCertificate> {
        self.certificates.values()
    }
}

/// The nonce after the run of consecutive transactions that begins at the account's nonce.
fn next_nonce(queue: &Queue, nonce: u64) -> u64 {
    let mut next = nonce;
    for &queued in queue.range(nonce..).map(|(queued, _)| queued) {
        if queued != next {
            break;
        }
        next += 1;
    }
    next
}

struct Head<'a> {
    tip: u128,
    tx: &'a Arc<RecoveredTx>,
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Equal tips: the sender's address decides, so that a template is a function of the pool's content.
        self.tip.cmp(&other.tip).then_with(|| other.tx.signer().cmp(&self.tx.signer()))
    }
}

/// Iterator over executable transactions.
pub struct Ready<'a> {
    senders: &'a BTreeMap<Address, Queue>,
    heads: BinaryHeap<Head<'a>>,
    base_fee: u64,
}

impl<'a> Ready<'a> {
    fn push(&mut self, tx: &'a Arc<RecoveredTx>) {
        if let Some(tip) = tx.effective_tip_per_gas(self.base_fee) {
            self.heads.push(Head { tip, tx });
        }
    }

    /// The best transaction that is left. Its sender's next one follows only after [`Ready::accept`].
    pub fn pop(&mut self) -> Option<&'a Arc<RecoveredTx>> {
        self.heads.pop().map(|head| head.tx)
    }

    /// Says that `tx` went into the block, so that its sender's next transaction may follow.
    pub fn accept(&mut self, tx: &RecoveredTx) {
        let senders = self.senders;
        if let Some(next) = senders.get(&tx.signer()).and_then(|queue| queue.get(&(tx.nonce() + 1))) {
            self.push(next);
        }
    }
}
