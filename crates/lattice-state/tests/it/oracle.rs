//! Naive oracles: the trie root as the yellow paper defines it, and the state as plain maps.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Header;
use alloy_trie::TrieAccount;
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use lattice_state::{Account, AccountDiff, StateDiff};
use proptest::prelude::*;

pub(crate) type Entries = BTreeMap<Vec<u8>, Bytes>;

/// Root by the definition (yellow paper, appendix D): no sharing, no cache, one level of nibbles at a time.
pub(crate) fn root(entries: &Entries) -> B256 {
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| {
            let nibbles = key.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
            (nibbles, value.to_vec())
        })
        .collect();
    keccak256(node(&entries, 0))
}

type Pairs = [(Vec<u8>, Vec<u8>)];

/// The structural composition function c(J, i).
fn node(pairs: &Pairs, depth: usize) -> Vec<u8> {
    let [first, rest @ ..] = pairs else {
        return vec![0x80];
    };
    if rest.is_empty() {
        return list(&[string(&hex_prefix(&first.0[depth..], true)), string(&first.1)]);
    }
    let shared = (depth..)
        .take_while(|&at| at < first.0.len() && rest.iter().all(|(key, _)| key.get(at) == first.0.get(at)))
        .count();
    if shared > 0 {
        let path = hex_prefix(&first.0[depth..depth + shared], false);
        return list(&[string(&path), reference(pairs, depth + shared)]);
    }
    let mut items: Vec<_> = (0..16)
        .map(|nibble| {
            let below: Vec<_> = pairs.iter().filter(|(key, _)| key.get(depth) == Some(&nibble)).cloned().collect();
            reference(&below, depth + 1)
        })
        .collect();
    let own = pairs.iter().find(|(key, _)| key.len() == depth);
    items.push(string(own.map_or(&[], |(_, value)| value)));
    list(&items)
}

/// The node capping function n(J, i).
fn reference(pairs: &Pairs, depth: usize) -> Vec<u8> {
    let rlp = node(pairs, depth);
    if rlp.len() < 32 { rlp } else { string(keccak256(rlp).as_slice()) }
}

fn hex_prefix(nibbles: &[u8], leaf: bool) -> Vec<u8> {
    let flag = if leaf { 2 } else { 0 };
    let mut padded = if nibbles.len() % 2 == 1 { vec![flag + 1] } else { vec![flag, 0] };
    padded.extend(nibbles);
    padded.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    Header { list: true, payload_length: items.iter().map(Vec::len).sum() }.encode(&mut out);
    out.extend(items.concat());
    out
}

/// The state as plain maps.
pub(crate) type Model = BTreeMap<Address, (Account, BTreeMap<U256, U256>)>;

/// What a diff means, in plain words.
pub(crate) fn apply(model: &mut Model, diff: &StateDiff) {
    for (address, change) in &diff.accounts {
        let Some(account) = change.account else {
            model.remove(address);
            continue;
        };
        let entry = model.entry(*address).or_insert((account, BTreeMap::new()));
        entry.0 = account;
        if change.storage_cleared {
            entry.1.clear();
        }
        for (slot, value) in &change.storage {
            if value.is_zero() {
                entry.1.remove(slot);
            } else {
                entry.1.insert(*slot, *value);
            }
        }
    }
}

/// The state root of a model by alloy-trie's bulk builder.
pub(crate) fn state_root(model: &Model) -> B256 {
    state_root_unhashed(model.iter().map(|(address, (account, storage))| {
        let storage_root = storage_root_unhashed(storage.iter().map(|(slot, value)| (B256::from(*slot), *value)));
        let Account { nonce, balance, code_hash } = *account;
        (*address, TrieAccount { nonce, balance, storage_root, code_hash })
    }))
}

/// Diffs over few addresses and slots, so that they meet again and again.
pub(crate) fn diffs() -> impl Strategy<Value = StateDiff> {
    let accounts = prop::collection::btree_map(addresses(), account_diffs(), 0..12);
    let codes = prop::collection::vec(any::<u8>().prop_map(code), 0..3);
    (accounts, codes).prop_map(|(accounts, codes)| {
        let codes = codes.into_iter().map(|code| (keccak256(&code), code)).collect();
        StateDiff { accounts, codes }
    })
}

/// A code that carries its seed.
pub(crate) fn code(seed: u8) -> Bytes {
    vec![0x60, seed, 0x00].into()
}

pub(crate) fn addresses() -> impl Strategy<Value = Address> {
    (0..24_u8).prop_map(Address::with_last_byte)
}

fn account_diffs() -> impl Strategy<Value = AccountDiff> {
    let account = (0..5_u64, words(), prop::option::of(any::<u8>())).prop_map(|(nonce, balance, seed)| Account {
        nonce,
        balance,
        code_hash: seed.map_or(Account::EMPTY.code_hash, |seed| keccak256(code(seed))),
    });
    let storage = prop::collection::btree_map((0..20_u64).prop_map(U256::from), words(), 0..8);
    (prop::option::weighted(0.8, account), prop::bool::weighted(0.2), storage).prop_map(
        |(account, storage_cleared, storage)| match account {
            Some(_) => AccountDiff { account, storage_cleared, storage },
            None => AccountDiff::default(),
        },
    )
}

/// Small, zero and large words.
pub(crate) fn words() -> impl Strategy<Value = U256> {
    prop_oneof![Just(U256::ZERO), (0..300_u64).prop_map(U256::from), any::<[u8; 32]>().prop_map(U256::from_be_bytes),]
}
