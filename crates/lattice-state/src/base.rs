//! The flat base: the state after one chain block as plain rows, unhashed, in [`Table::State`].
//!
//! `address` (20 bytes) -> RLP `[nonce, balance, code_hash]`; `address ++ slot` (slot: 32 bytes, big-endian) -> the
//! value, big-endian without leading zeros. [`Table::Meta`] has, under `base`, the chain block's hash (32 bytes) and its
//! height (8 bytes, big-endian: the number of its ancestors among chain blocks). No trie node is stored: tries are
//! rebuilt from the rows when the node starts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use alloy_rlp::Decodable;
use lattice_storage::{Batch, KvRead, StorageFault, Table};
use rayon::prelude::*;

use crate::account::{Account, AccountLeaf, SlotValue, StorageTrie};
use crate::diff::StateDiff;
use crate::state::slot_key;
use crate::trie::{Change, Trie};

/// Key in [`Table::Meta`] of the base's chain block hash.
const BASE_KEY: &[u8] = b"base";

/// Rows read before the accounts among them are hashed together.
const CHUNK_ROWS: usize = 1 << 16;

/// The chain block whose state the flat rows hold, and its height; `None` in a new store.
pub(crate) fn block(kv: &dyn KvRead) -> Result<Option<(B256, u64)>, StorageFault> {
    let Some(bytes) = kv.get(Table::Meta, BASE_KEY)? else {
        return Ok(None);
    };
    let parts = bytes.split_first_chunk::<32>();
    match parts.and_then(|(hash, height)| Some((B256::new(*hash), u64::from_be_bytes(height.try_into().ok()?)))) {
        Some(block) => Ok(Some(block)),
        None => Err(damaged(Table::Meta, BASE_KEY, "it is not a block hash and a height")),
    }
}

/// Moves the rows from the state before `diff` to the state of `block`, at `height`, after it.
///
/// Dropped storage is looked up in `kv`, so rows of an earlier call must have been committed.
pub(crate) fn write(
    (block, height): (B256, u64),
    diff: &StateDiff,
    kv: &dyn KvRead,
    batch: &mut Batch,
) -> Result<(), StorageFault> {
    for (address, change) in &diff.accounts {
        if change.drops_storage() {
            delete_storage(address, kv, batch)?;
        }
        let Some(account) = &change.account else {
            batch.delete(Table::State, address.as_slice());
            continue;
        };
        batch.put(Table::State, address.as_slice(), alloy_rlp::encode(account));
        for (slot, value) in &change.storage {
            let key = [address.as_slice(), &slot.to_be_bytes::<32>()].concat();
            if value.is_zero() {
                batch.delete(Table::State, key);
            } else {
                batch.put(Table::State, key, value.to_be_bytes_trimmed_vec());
            }
        }
    }
    batch.put(Table::Meta, BASE_KEY, [block.as_slice(), &height.to_be_bytes()].concat());
    Ok(())
}

fn delete_storage(address: &Address, kv: &dyn KvRead, batch: &mut Batch) -> Result<(), StorageFault> {
    kv.scan(Table::State, address.as_slice(), None, &mut |key, _| {
        if !key.starts_with(address.as_slice()) {
            return ControlFlow::Break(());
        }
        if key.len() > Address::len_bytes() {
            batch.delete(Table::State, key);
        }
        ControlFlow::Continue(())
    })
}

/// All slots of an account.
pub(crate) fn storage(kv: &dyn KvRead, address: &Address) -> Result<BTreeMap<U256, U256>, StorageFault> {
    let mut slots = BTreeMap::new();
    let mut fault = None;
    kv.scan(Table::State, address.as_slice(), None, &mut |key, value| {
        let Some(slot) = key.strip_prefix(address.as_slice()) else {
            return ControlFlow::Break(());
        };
        if slot.is_empty() {
            return ControlFlow::Continue(());
        }
        match slot_value(value) {
            Some(value) if slot.len() == 32 => {
                slots.insert(U256::from_be_slice(slot), value);
                ControlFlow::Continue(())
            }
            _ => {
                fault = Some(damaged(Table::State, key, "it is not a slot with its value"));
                ControlFlow::Break(())
            }
        }
    })?;
    fault.map_or(Ok(slots), Err)
}

/// Rebuilds the state trie from all rows.
pub(crate) fn read(kv: &dyn KvRead) -> Result<Trie<AccountLeaf>, StorageFault> {
    let mut reader = Reader::default();
    let mut fault = None;
    kv.scan(Table::State, &[], None, &mut |key, value| match reader.row(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(found) => {
            fault = Some(found);
            ControlFlow::Break(())
        }
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    reader.hash_chunk();
    Ok(Trie::build(reader.leaves))
}

/// Gathers rows into accounts and hashes them chunk by chunk, so that rows never sit in memory all at once.
#[derive(Default)]
struct Reader {
    chunk: Vec<AccountRows>,
    rows: usize,
    leaves: Vec<Change<AccountLeaf>>,
}

struct AccountRows {
    address: Address,
    account: Account,
    storage: Vec<(U256, U256)>,
}

impl Reader {
    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageFault> {
        let broken = |reason: &str| damaged(Table::State, key, reason);
        match key.split_at_checked(Address::len_bytes()) {
            Some((address, [])) => {
                if self.rows >= CHUNK_ROWS {
                    self.hash_chunk();
                }
                let account = account(value).map_err(|error| broken(&error.to_string()))?;
                let address = Address::from_slice(address);
                self.chunk.push(AccountRows { address, account, storage: Vec::new() });
            }
            Some((address, slot)) if slot.len() == 32 => {
                // Keys ascend, so the account's own row came before those of its slots.
                let owner = self.chunk.last_mut().filter(|rows| rows.address == address);
                let owner = owner.ok_or_else(|| broken("its account is missing"))?;
                let value = slot_value(value).ok_or_else(|| broken("the value is not canonical"))?;
                owner.storage.push((U256::from_be_slice(slot), value));
            }
            _ => return Err(broken("the key has a wrong length")),
        }
        self.rows += 1;
        Ok(())
    }

    fn hash_chunk(&mut self) {
        self.rows = 0;
        self.leaves.par_extend(self.chunk.par_drain(..).map(|rows| {
            let slots = rows.storage.into_par_iter().with_min_len(256);
            let slots = slots.map(|(slot, value)| Change::put(slot_key(slot).as_slice(), SlotValue(value)));
            let storage = StorageTrie::build(slots.collect());
            Change::put(keccak256(rows.address).as_slice(), AccountLeaf::new(rows.account, storage))
        }));
    }
}

fn account(mut bytes: &[u8]) -> Result<Account, alloy_rlp::Error> {
    let account = Account::decode(&mut bytes)?;
    if bytes.is_empty() { Ok(account) } else { Err(alloy_rlp::Error::UnexpectedLength) }
}

fn slot_value(bytes: &[u8]) -> Option<U256> {
    match bytes {
        [] | [0, ..] => None,
        _ => U256::try_from_be_slice(bytes),
    }
}

pub(crate) fn damaged(table: Table, key: &[u8], reason: &str) -> StorageFault {
    StorageFault::corrupt(table, format!("the record under 0x{}: {reason}", hex::encode(key)))
}
