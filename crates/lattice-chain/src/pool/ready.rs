//! The order in which a block takes from the pool.
//!
//! *Among lanes*: the lane that has the smallest share of the block so far is next, where a share is the largest of its
//! parts of gas, bytes and AI gas (dominant resource fairness, Ghodsi et al., NSDI 2011). So a lane with enough work gets
//! a quarter of the block, nothing in one lane starves another, and what a lane does not need goes to the others.
//!
//! *Within a lane*: groups, so that a block runs one model for many inputs. The group with the best head is taken while
//! its tips are at least half of what another group offers, and for [`GROUP_TURN`] transactions at most before the others
//! have their turn. *Within a group*: the best tip first.
//!
//! *Within a sender* the nonce decides and nothing else: only its next transaction ever competes.

use super::{
    lane::{Lane, Place},
    queue::{Queue, Waiting},
};
use alloy_consensus::Transaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, keccak256};
use lattice_types::{ChainSpec, RecoveredTx, limits};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

/// Transactions of one group before other groups of the lane have their turn.
pub const GROUP_TURN: u64 = 64;

/// What a whole block counts as in shares.
const WHOLE: u128 = 1 << 32;

/// Producers of parallel slots draw from this many classes of senders, so that their blocks repeat little.
const SENDER_CLASSES: u8 = 4;

/// What the order depends on beside the pool's content.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// The chain's parameters.
    pub spec: &'a ChainSpec,
    /// Base fee of the block, wei.
    pub base_fee: u64,
    /// Slot of the block: senders of its class come first, when others produce blocks too.
    pub slot: u64,
}

impl Draw<'_> {
    /// Whether a sender is of the class that this slot draws first.
    fn prefers(&self, sender: &Address) -> bool {
        self.spec.validators.len() > 1
            && u64::from(keccak256(sender)[31] % SENDER_CLASSES) == self.slot % u64::from(SENDER_CLASSES)
    }

    /// The part of a block that a transaction takes: the largest of its parts of gas, bytes and AI gas.
    pub(super) fn share(&self, tx: &RecoveredTx) -> u128 {
        let part = |used: u64, whole: u64| u128::from(used) * WHOLE / u128::from(whole.max(1));
        let ai_gas = tx.inner().ai_gas_limit().unwrap_or(0);
        part(tx.gas_limit(), self.spec.gas_limit)
            .max(part(tx.inner().encode_2718_len() as u64, limits::BLOCK_TX_BYTES_MAX as u64))
            .max(part(ai_gas, self.spec.ai_gas_limit))
    }
}

/// How good a transaction is among others of its group. Greater is better.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
struct Merit {
    /// Earlier steps of a training job go first, whatever they pay.
    step: Reverse<u64>,
    preferred: bool,
    tip: u128,
    /// Equal tips: the sender's address decides, so that a template is a function of the pool's content.
    sender: Reverse<Address>,
}

struct Head<'a> {
    merit: Merit,
    waiting: &'a Waiting,
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.merit == other.merit
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
        // One head a sender, so no two are equal.
        self.merit.cmp(&other.merit)
    }
}

/// The order of groups in a lane: fewer turns had, then the better head.
type Rank = (Reverse<u64>, bool, u128, Reverse<Address>, B256);

#[derive(Default)]
struct Group<'a> {
    heads: BinaryHeap<Head<'a>>,
    taken: u64,
}

impl Group<'_> {
    fn rank(&self, group: B256) -> Option<Rank> {
        let merit = self.heads.peek()?.merit;
        Some((Reverse(self.taken / GROUP_TURN), merit.preferred, merit.tip, merit.sender, group))
    }
}

/// The executable transactions of one lane.
#[derive(Default)]
struct LaneHeads<'a> {
    groups: BTreeMap<B256, Group<'a>>,
    ranks: BTreeSet<Rank>,
    current: Option<B256>,
    /// Part of the block that the lane has, in parts of [`WHOLE`].
    share: u128,
}

impl<'a> LaneHeads<'a> {
    fn push(&mut self, head: Head<'a>) {
        let id = head.waiting.place.group;
        self.change(id, |group| group.heads.push(head));
    }

    /// Changes a group and keeps the ranks in step.
    fn change<T>(&mut self, id: B256, act: impl FnOnce(&mut Group<'a>) -> T) -> T {
        let group = self.groups.entry(id).or_default();
        let before = group.rank(id);
        let result = act(group);
        let after = group.rank(id);
        if before != after {
            if let Some(rank) = before {
                self.ranks.remove(&rank);
            }
            self.ranks.extend(after);
        }
        result
    }

    /// The group to take from: the current one while its turn lasts and its tip bears comparison.
    fn choose(&self) -> Option<B256> {
        let best = self.ranks.last()?;
        let current = self.current.and_then(|id| self.groups.get(&id)?.rank(id));
        match current {
            Some(current) if current.0 == best.0 && current.1 == best.1 && current.2 >= best.2 / 2 => Some(current.4),
            _ => Some(best.4),
        }
    }

    fn pop(&mut self) -> Option<Head<'a>> {
        let id = self.choose()?;
        self.current = Some(id);
        self.change(id, |group| group.heads.pop())
    }
}

/// Hands out executable transactions in the order of this room.
pub struct Ready<'a> {
    senders: &'a BTreeMap<Address, Queue>,
    lanes: [LaneHeads<'a>; 4],
    draw: Draw<'a>,
}

impl<'a> Ready<'a> {
    pub(super) fn new(senders: &'a BTreeMap<Address, Queue>, draw: Draw<'a>) -> Self {
        Self { senders, lanes: Default::default(), draw }
    }

    pub(super) fn push(&mut self, waiting: &'a Waiting) {
        let Some(tip) = waiting.tx.effective_tip_per_gas(self.draw.base_fee) else { return };
        let sender = waiting.tx.signer();
        let Place { lane, step, .. } = waiting.place;
        let preferred = self.draw.prefers(&sender);
        let merit = Merit { step: Reverse(step), preferred, tip, sender: Reverse(sender) };
        self.lanes[lane as usize].push(Head { merit, waiting });
    }

    /// The next transaction. Its sender's next one follows only after [`Ready::accept`].
    pub fn pop(&mut self) -> Option<&'a Arc<RecoveredTx>> {
        let waits = |lane: &Lane| !self.lanes[*lane as usize].ranks.is_empty();
        let next = Lane::ALL.into_iter().filter(waits).min_by_key(|lane| self.lanes[*lane as usize].share)?;
        self.lanes[next as usize].pop().map(|head| &head.waiting.tx)
    }

    /// Says that `tx` went into the block, so that it counts for its lane and its sender's next transaction may follow.
    pub fn accept(&mut self, tx: &RecoveredTx) {
        let senders = self.senders;
        let Some(queue) = senders.get(&tx.signer()) else { return };
        if let Some(accepted) = queue.get(tx.nonce()) {
            let lane = &mut self.lanes[accepted.place.lane as usize];
            lane.share += self.draw.share(tx);
            lane.change(accepted.place.group, |group| group.taken += 1);
        }
        if let Some(next) = queue.get(tx.nonce() + 1) {
            self.push(next);
        }
    }
}
