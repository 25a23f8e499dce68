//! The trie against the naive one, under keys that share much and keys of mixed length.

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::{Nibbles, proof::verify_proof};
use lattice_state::trie::{EMPTY_ROOT, Trie};
use proptest::prelude::*;

use crate::oracle::{self, Entries};

type Batch = Vec<(Vec<u8>, Option<Bytes>)>;

/// Keys of any length over three byte values: prefixes of one another, values in branches.
fn short_keys() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0x00, 0x01, 0x10, 0xff]), 0..4)
}

/// Keys of 32 bytes that part early or late: long extensions and embedded nodes.
fn long_keys() -> impl Strategy<Value = Vec<u8>> {
    (0..2_u8, 0..4_u8, prop::sample::select(vec![0x00, 0x01, 0x0f, 0x10, 0xf0])).prop_map(|(first, middle, last)| {
        let mut key = [0_u8; 32];
        key[0] = first << 4;
        key[15] = middle;
        key[31] = last;
        key.to_vec()
    })
}

fn values() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..3),
        prop::collection::vec(any::<u8>(), 28..36),
        prop::collection::vec(any::<u8>(), 50..60),
        prop::collection::vec(any::<u8>(), 250..260),
    ]
    .prop_map(Bytes::from)
}

fn batches(keys: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<Batch>> {
    let change = (keys, prop::option::weighted(0.6, values()));
    prop::collection::vec(prop::collection::vec(change, 0..12), 1..8)
}

fn change(entries: &mut Entries, batch: &Batch) {
    for (key, value) in batch {
        match value {
            Some(value) => entries.insert(key.clone(), value.clone()),
            None => entries.remove(key),
        };
    }
}

fn check_same(trie: &Trie<Bytes>, entries: &Entries) {
    assert_eq!(trie.root(), oracle::root(entries));
    assert_eq!(trie.is_empty(), entries.is_empty());
    assert!(trie.iter().eq(entries.iter().map(|(key, value)| (key.as_slice(), value))), "iteration differs");
    for (key, value) in entries {
        assert_eq!(trie.get(key), Some(value));
    }
}

fn check_history(history: Vec<Batch>) {
    let mut trie = Trie::new();
    let mut entries = Entries::new();
    let mut versions = Vec::new();
    for batch in history {
        let mut one_by_one = trie.clone();
        for (key, value) in &batch {
            match value {
                Some(value) => one_by_one.insert(key, value.clone()),
                None => one_by_one.remove(key),
            }
        }
        trie.update(batch.clone());
        change(&mut entries, &batch);
        check_same(&trie, &entries);
        check_same(&one_by_one, &entries);
        for (key, value) in &batch {
            if value.is_none() && !entries.contains_key(key) {
                assert_eq!(trie.get(key), None);
            }
        }
        versions.push((trie.clone(), entries.clone()));
    }
    for (trie, entries) in &versions {
        check_same(trie, entries);
    }
    trie.update(entries.keys().map(|key| (key, None)));
    assert!(trie.is_empty());
    assert_eq!(trie.root(), EMPTY_ROOT);
    for (trie, entries) in &versions {
        check_same(trie, entries);
    }
}

fn check_proof(trie: &Trie<Bytes>, key: &[u8], value: Option<&Bytes>) {
    let proof = trie.proof(key);
    let verified = verify_proof(trie.root(), Nibbles::unpack(key), value.map(|value| value.to_vec()), &proof);
    verified.unwrap_or_else(|error| panic!("{error}, key {key:02x?}, proof {proof:?}"));
    if !proof.is_empty() {
        assert_eq!(keccak256(&proof[0]), trie.root());
        assert!(proof[1..].iter().all(|node| node.len() >= 32), "an embedded node is listed");
    }
}

proptest! {
    #[test]
    fn keys_of_mixed_length_match_the_oracle(history in batches(short_keys())) {
        check_history(history);
    }

    #[test]
    fn long_keys_match_the_oracle(history in batches(long_keys())) {
        check_history(history);
    }

    #[test]
    fn removal_equals_never_inserted(
        kept in batches(long_keys()),
        gone in prop::collection::btree_set(long_keys(), 1..10),
    ) {
        let mut entries = Entries::new();
        kept.iter().for_each(|batch| change(&mut entries, batch));
        entries.retain(|key, _| !gone.contains(key));
        let mut never = Trie::new();
        never.update(entries.iter().map(|(key, value)| (key, Some(value.clone()))));
        let mut removed = never.clone();
        removed.update(gone.iter().map(|key| (key, Some(Bytes::from("here for a while")))));
        prop_assert_ne!(removed.root(), never.root());
        removed.update(gone.iter().map(|key| (key, None)));
        prop_assert_eq!(removed.root(), never.root());
    }

    #[test]
    fn proofs_of_presence_and_absence_verify(
        history in batches(long_keys()),
        asked in prop::collection::vec(long_keys(), 8),
    ) {
        let mut trie = Trie::new();
        let mut entries = Entries::new();
        for batch in history {
            trie.update(batch.clone());
            change(&mut entries, &batch);
        }
        for key in entries.keys().chain(&asked) {
            check_proof(&trie, key, entries.get(key));
        }
    }
}

/// Many entries take the parallel roads of update and hashing.
#[test]
fn thousands_of_hashed_keys_match_the_oracle() {
    let entry = |index: u64| (keccak256(index.to_be_bytes()), Bytes::from(index.to_string().into_bytes()));
    let mut entries: Entries = (0..6_000).map(entry).map(|(key, value)| (key.to_vec(), value)).collect();
    let mut trie = Trie::new();
    trie.update((0..6_000).map(entry).map(|(key, value)| (key, Some(value))));
    check_same(&trie, &entries);
    let before = trie.clone();
    let root_before = before.root();
    let mut batch = Vec::new();
    for index in (0..9_000_u64).step_by(3) {
        let key = entry(index).0;
        let value = (index % 2 == 0).then(|| Bytes::from("changed"));
        match &value {
            Some(value) => entries.insert(key.to_vec(), value.clone()),
            None => entries.remove(key.as_slice()),
        };
        batch.push((key, value));
    }
    trie.update(batch);
    check_same(&trie, &entries);
    assert_eq!(before.root(), root_before);
    for index in [0, 1, 2, 3, 4, 8_999, 9_000, 12_345] {
        let key = entry(index).0;
        check_proof(&trie, key.as_slice(), entries.get(key.as_slice()));
    }
}

/// Versions that share unhashed nodes are hashed on several threads at the same time.
#[test]
fn concurrent_roots_agree() {
    use rayon::prelude::*;
    let mut trie = Trie::new();
    trie.update((0..3_000_u64).map(|index| (keccak256(index.to_be_bytes()), Some(Bytes::from("value")))));
    let versions: Vec<_> = (0..32_u64)
        .map(|index| {
            let mut version = trie.clone();
            version.insert(keccak256(index.to_be_bytes()).as_slice(), Bytes::from(index.to_be_bytes().to_vec()));
            version
        })
        .collect();
    let parallel: Vec<B256> = versions.par_iter().map(Trie::root).collect();
    for (version, root) in versions.iter().zip(parallel) {
        let entries: Entries = version.iter().map(|(key, value)| (key.to_vec(), value.clone())).collect();
        assert_eq!(root, oracle::root(&entries));
    }
}

#[test]
#[should_panic(expected = "at most 32 bytes")]
fn a_longer_key_is_refused() {
    Trie::new().insert(&[0; 33], Bytes::from("value"));
}
