//! The Ethereum TrieTests, found through `LATTICE_VECTORS`.

use std::path::PathBuf;

use alloy_primitives::{B256, Bytes, hex, keccak256};
use lattice_state::trie::Trie;
use serde_json::Value;

/// A file of the TrieTests; `None`, said plainly, when the vectors are not installed.
fn cases(name: &str) -> Option<serde_json::Map<String, Value>> {
    let root = std::env::var_os("LATTICE_VECTORS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")), PathBuf::from);
    let path = root.join("evm/TrieTests").join(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let required = std::env::var("CI").is_ok_and(|ci| ci == "true")
                || std::env::var_os("LATTICE_VECTORS_REQUIRED").is_some();
            assert!(!required, "{} is required here: {error}", path.display());
            eprintln!("SKIPPED: {} is absent; set LATTICE_VECTORS to run it", path.display());
            return None;
        }
    };
    match serde_json::from_str(&text).unwrap() {
        Value::Object(cases) => Some(cases),
        other => panic!("{name} is not an object of cases: {other}"),
    }
}

/// Strings that begin with 0x are hex, others are text.
fn bytes(text: &str) -> Vec<u8> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).unwrap(),
        None => text.as_bytes().to_vec(),
    }
}

type Changes = Vec<(Vec<u8>, Option<Bytes>)>;

fn changes(input: &Value, secure: bool) -> Changes {
    let key = |text: &str| {
        let key = bytes(text);
        if secure { keccak256(key).to_vec() } else { key }
    };
    let value = |value: &Value| value.as_str().map(|text| Bytes::from(bytes(text)));
    match input {
        Value::Object(map) => map.iter().map(|(name, item)| (key(name), value(item))).collect(),
        Value::Array(list) => list.iter().map(|pair| (key(pair[0].as_str().unwrap()), value(&pair[1]))).collect(),
        other => panic!("unexpected input {other}"),
    }
}

fn root_one_by_one(changes: &Changes) -> B256 {
    let mut trie = Trie::new();
    for (key, value) in changes {
        match value {
            Some(value) => trie.insert(key, value.clone()),
            None => trie.remove(key),
        }
        // Fills the caches between changes, so that a stale one would show.
        trie.root();
    }
    trie.root()
}

fn root_in_one_batch(changes: &Changes) -> B256 {
    let mut trie = Trie::new();
    trie.update(changes.clone());
    trie.root()
}

/// Calls `visit` with every order of `items` (Heap's algorithm).
fn permutations<T>(items: &mut Vec<T>, fixed: usize, visit: &mut impl FnMut(&Vec<T>)) {
    if fixed + 1 >= items.len() {
        return visit(items);
    }
    for index in fixed..items.len() {
        items.swap(fixed, index);
        permutations(items, fixed + 1, visit);
        items.swap(fixed, index);
    }
}

fn check(name: &str, secure: bool, any_order: bool) {
    let Some(cases) = cases(name) else { return };
    assert!(!cases.is_empty(), "{name} has no cases");
    for (case, body) in &cases {
        let expected: B256 = body["root"].as_str().unwrap().parse().unwrap();
        let mut changes = changes(&body["in"], secure);
        assert_eq!(root_in_one_batch(&changes), expected, "{name} {case} in one batch");
        if any_order {
            permutations(&mut changes, 0, &mut |changes| {
                assert_eq!(root_one_by_one(changes), expected, "{name} {case} in the order {changes:?}");
            });
        } else {
            assert_eq!(root_one_by_one(&changes), expected, "{name} {case} one by one");
        }
    }
}

#[test]
fn trietest() {
    check("trietest.json", false, false);
}

#[test]
fn trieanyorder_secure() {
    check("trieanyorder_secureTrie.json", true, true);
}

#[test]
fn hex_encoded_secure() {
    check("hex_encoded_securetrie_test.json", true, true);
}

#[test]
fn next_and_previous() {
    let Some(cases) = cases("trietestnextprev.json") else {
        return;
    };
    for (case, body) in &cases {
        let mut trie = Trie::new();
        trie.update(body["in"].as_array().unwrap().iter().map(|key| (key.as_str().unwrap(), Some(Bytes::from("x")))));
        for row in body["tests"].as_array().unwrap() {
            let [at, previous, next] = [0, 1, 2].map(|index| row[index].as_str().unwrap().as_bytes());
            let keys = || trie.iter().map(|(key, _)| key);
            assert_eq!(keys().take_while(|key| *key < at).last().unwrap_or_default(), previous, "{case} {row}");
            assert_eq!(keys().find(|key| *key > at).unwrap_or_default(), next, "{case} {row}");
        }
    }
}
