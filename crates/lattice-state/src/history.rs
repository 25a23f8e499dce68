//! The archive: states of chain blocks below the base.
//!
//! When the base moves from one chain block to a later one, an archive writes for each block in between what leads
//! *back* from its state to its parent's. Tries are persistent, so applying such rows to the base's version gives a whole
//! [`State`] of the past, proofs included.
//!
//! [`Table::History`]: level (1 byte) ++ height (8 bytes, big-endian) -> [`StateDiff`] without codes. A row of level `l`
//! at height `h` leads from the state at `h` to the state at `h - 32^l`. Rows above level 0 are sums of 32 rows of the
//! level below and exist at multiples of `32^l` where a sum saves reading: so a read `d` blocks deep takes about
//! `32 * log32(d)` rows, and in them each account and slot about once, however often it changed in between. The height of a
//! chain block is its number of ancestors among chain blocks. Codes are never removed, so rows need none.
//!
//! [`Table::Meta`] has, under `history`, the height from which on states are kept (8 bytes, big-endian). Its presence
//! makes the store an archive, whatever the node is told later: a gap could never be filled again.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use lattice_storage::{Batch, KvRead, StorageFault, Table};

use crate::base::{self, damaged};
use crate::diff::{AccountDiff, StateDiff};
use crate::error::StateFault;
use crate::layers;
use crate::state::State;
use crate::versions::Versions;

/// Rows that one row of the next level sums up.
const FANOUT: u64 = 32;
/// Highest level: one of its rows spans 32,768 blocks.
const LEVEL_MAX: u8 = 3;
/// A sum with more entries (accounts and slots) is not written: the rows below it serve as well.
const SUM_ENTRIES_MAX: usize = 1 << 18;
/// A sum with at most this many entries is written even if it saves no bytes: it saves looking up 32 rows.
const SUM_ENTRIES_SMALL: usize = 1 << 10;
/// Versions of the past kept in memory.
const VERSIONS_MAX: usize = 16;
/// Entries gathered before they are applied to the trie, so that a long way back needs no long memory.
const APPLY_ENTRIES: usize = 1 << 17;

/// Key in [`Table::Meta`] of the oldest kept height.
const START_KEY: &[u8] = b"history";

/// Versions of the past by height: there is one history only below the base.
pub(crate) type PastVersions = Versions<u64>;

pub(crate) fn versions() -> Arc<PastVersions> {
    Arc::new(Versions::new(VERSIONS_MAX))
}

/// The height from which on a store keeps states; `None` when it is no archive.
///
/// # Errors
/// When the store fails or is damaged.
pub fn archive_from(kv: &dyn KvRead) -> Result<Option<u64>, StorageFault> {
    let Some(bytes) = kv.get(Table::Meta, START_KEY)? else {
        return Ok(None);
    };
    let height = bytes.as_slice().try_into().map(u64::from_be_bytes);
    height.map(Some).map_err(|_| damaged(Table::Meta, START_KEY, "it is not a height"))
}

/// Makes the store an archive from `height` on.
pub(crate) fn stage_start(height: u64, batch: &mut Batch) {
    batch.put(Table::Meta, START_KEY, height.to_be_bytes());
}

/// Stages the rows of the blocks that one move of the base passes.
pub(crate) struct Writer<'a> {
    kv: &'a dyn KvRead,
    /// Oldest height with a state.
    start: u64,
    /// Rows of this move, which are not in the store yet.
    staged: BTreeMap<(u8, u64), StateDiff>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(kv: &'a dyn KvRead, start: u64) -> Self {
        Self { kv, start, staged: BTreeMap::new() }
    }

    /// Records the block at `height`, which `diff` led to from the state `before`; `since_base` is what lies between
    /// the base in the store and `before`.
    pub(crate) fn record(
        &mut self,
        height: u64,
        before: &State,
        since_base: &StateDiff,
        diff: &StateDiff,
    ) -> Result<(), StorageFault> {
        let undo = undo(self.kv, before, since_base, diff)?;
        self.staged.insert((0, height), undo);
        for level in 1..=LEVEL_MAX {
            let span = FANOUT.pow(u32::from(level));
            if !height.is_multiple_of(span) || height < self.start + span {
                break;
            }
            let Some(sum) = self.sum(level, height)? else { break };
            self.staged.insert((level, height), sum);
        }
        Ok(())
    }

    pub(crate) fn stage(self, batch: &mut Batch) {
        for ((level, height), diff) in self.staged {
            let mut bytes = Vec::new();
            diff.encode_without_codes(&mut bytes);
            batch.put(Table::History, key(level, height), bytes);
        }
    }

    /// The sum of the 32 rows below, newest first; `None` when it is not worth writing.
    fn sum(&self, level: u8, height: u64) -> Result<Option<StateDiff>, StorageFault> {
        let span = FANOUT.pow(u32::from(level) - 1);
        let mut sum = StateDiff::default();
        let mut entries = 0;
        for index in 0..FANOUT {
            let at = height - index * span;
            let row = match self.staged.get(&(level - 1, at)) {
                Some(row) => row.clone(),
                None => match row(self.kv, level - 1, at)? {
                    Some(row) => row,
                    None => return Ok(None),
                },
            };
            entries += row.entries();
            sum.extend(row);
            if entries > SUM_ENTRIES_MAX && sum.entries() > SUM_ENTRIES_MAX {
                return Ok(None);
            }
        }
        let found = sum.entries();
        Ok((found <= SUM_ENTRIES_SMALL || found * 2 <= entries).then_some(sum))
    }
}

/// What leads back from the state after `diff` to the state `before` it.
fn undo(kv: &dyn KvRead, before: &State, since_base: &StateDiff, diff: &StateDiff) -> Result<StateDiff, StorageFault> {
    let mut undo = StateDiff::default();
    for (address, change) in &diff.accounts {
        let account = before.account(address);
        let mut back = AccountDiff { account, ..AccountDiff::default() };
        if account.is_some() {
            if change.drops_storage() {
                // The trie knows hashes of slots only, so what was dropped is found by its plain rows.
                back.storage_cleared = true;
                back.storage = storage(kv, address, since_base)?;
            } else {
                let slots = change.storage.keys();
                back.storage = slots.map(|slot| (*slot, before.storage(address, *slot))).collect();
            }
        }
        undo.accounts.insert(*address, back);
    }
    Ok(undo)
}

/// All slots of an account in the state that `since_base` leads to from the base in the store.
fn storage(kv: &dyn KvRead, address: &Address, since_base: &StateDiff) -> Result<BTreeMap<U256, U256>, StorageFault> {
    let later = since_base.accounts.get(address);
    let mut slots =
        if later.is_some_and(AccountDiff::drops_storage) { BTreeMap::new() } else { base::storage(kv, address)? };
    slots.extend(later.into_iter().flat_map(|later| &later.storage));
    slots.retain(|_, value| !value.is_zero());
    Ok(slots)
}

fn key(level: u8, height: u64) -> Vec<u8> {
    [&[level][..], &height.to_be_bytes()].concat()
}

fn row(kv: &dyn KvRead, level: u8, height: u64) -> Result<Option<StateDiff>, StorageFault> {
    let key = key(level, height);
    let Some(bytes) = kv.get(Table::History, &key)? else {
        return Ok(None);
    };
    let diff = StateDiff::decode(&bytes).map_err(|error| damaged(Table::History, &key, &error.to_string()))?;
    Ok(Some(diff))
}

/// Reads all states that an archive keeps, at one moment. Cheap to clone.
#[derive(Clone)]
pub struct History {
    pub(crate) base: B256,
    pub(crate) base_height: u64,
    pub(crate) base_state: State,
    /// Oldest height with a state.
    pub(crate) start: u64,
    pub(crate) past: Arc<PastVersions>,
    pub(crate) rebuilt: Arc<Versions<B256>>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("start", &self.start).field("base", &self.base_height).finish_non_exhaustive()
    }
}

impl History {
    /// Height of the oldest chain block whose state is kept.
    pub const fn oldest(&self) -> u64 {
        self.start
    }

    /// The state after `block`, a chain block at `height`; `None` when it is not kept. `kv` is the store at the moment of
    /// this history: a snapshot taken with it.
    ///
    /// Below the base, the cost is what changed between that block and the next later version at hand (the base, or
    /// one asked for recently): see the module for how that grows. Above it, where layers wait on disk for the base to
    /// move, it is what changed since the nearest earlier one. The first root or proof of the answer hashes as much again.
    ///
    /// # Errors
    /// When the store fails or a row is missing.
    pub fn state(&self, kv: &dyn KvRead, height: u64, block: B256) -> Result<Option<State>, StateFault> {
        if height > self.base_height {
            return self.layer(kv, block);
        }
        if height < self.start {
            return Ok(None);
        }
        self.past_state(kv, height).map(Some)
    }

    /// The state of a layer that the node has on disk only.
    fn layer(&self, kv: &dyn KvRead, block: B256) -> Result<Option<State>, StateFault> {
        let mut path = Vec::new();
        let mut next = block;
        let ground = loop {
            if next == self.base {
                break self.base_state.clone();
            }
            if let Some(state) = self.rebuilt.state(&next) {
                break state;
            }
            let Some(parent) = layers::parent(kv, &next)? else { return Ok(None) };
            path.push(next);
            next = parent;
        };
        let state = layers::replay(kv, ground, &path)?;
        self.rebuilt.keep(block, state.clone());
        Ok(Some(state))
    }

    fn past_state(&self, kv: &dyn KvRead, height: u64) -> Result<State, StateFault> {
        let (mut at, mut state) = match self.past.first_between(height, self.base_height) {
            Some(found) => found,
            None => (self.base_height, self.base_state.clone()),
        };
        let (mut sum, mut entries) = (StateDiff::default(), 0);
        while at > height {
            let (row, next) = longest_row(kv, at, height)?;
            entries += row.entries();
            sum.extend(row);
            at = next;
            let rests = is_resting_place(at, height);
            if rests || entries >= APPLY_ENTRIES {
                state = state.apply(&std::mem::take(&mut sum));
                entries = 0;
            }
            if rests {
                self.past.keep(at, state.clone());
            }
        }
        Ok(state)
    }
}

/// Whether a read of `height` keeps the version at `at`, too. Who reads one block after another goes forward as often as
/// back, but rows lead back only: so one place above is kept for each level, from which the next reads are near.
fn is_resting_place(at: u64, height: u64) -> bool {
    let near = |level| {
        let span = FANOUT.pow(u32::from(level));
        at.is_multiple_of(span) && at - height < span
    };
    (0..=LEVEL_MAX).any(near)
}

/// The row that leads from the state at `at` furthest back without passing `height`, and where it leads.
fn longest_row(kv: &dyn KvRead, at: u64, height: u64) -> Result<(StateDiff, u64), StateFault> {
    for level in (0..=LEVEL_MAX).rev() {
        let span = FANOUT.pow(u32::from(level));
        if at.is_multiple_of(span)
            && at - height >= span
            && let Some(row) = row(kv, level, at)?
        {
            return Ok((row, at - span));
        }
    }
    Err(StorageFault::corrupt(Table::History, format!("the row of height {at} is missing")).into())
}
