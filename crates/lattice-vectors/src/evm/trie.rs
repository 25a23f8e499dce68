//! TrieTests through the trie that holds the state.
//!
//! A file does not say whether its keys are hashed ("secure"): the one reading under which all its roots are right is
//! taken, and a file for which there is none has failed.

use crate::{
    json,
    report::{Report, Verdict},
};
use alloy_primitives::{B256, Bytes, hex, keccak256};
use lattice_state::trie::Trie;
use serde_json::Value;
use std::fmt::Display;

/// All orders of a map are tried up to this many entries, and rotations beyond.
const PERMUTED_MAX: usize = 5;

type Changes = Vec<(Vec<u8>, Option<Bytes>)>;

/// Strings that begin with 0x are hex, others are text.
fn plain(text: &str) -> Result<Vec<u8>, json::Fault> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).map_err(|error| format!("{text}: {error}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// The changes of a case, and whether their order is free.
fn changes(input: &Value) -> Result<(Changes, bool), json::Fault> {
    let change = |key: &str, value: &Value| {
        let value = value.as_str().filter(|text| !text.is_empty()).map(plain).transpose()?;
        Ok::<_, json::Fault>((plain(key)?, value.filter(|bytes| !bytes.is_empty()).map(Bytes::from)))
    };
    match input {
        Value::Object(map) => Ok((map.iter().map(|(key, value)| change(key, value)).collect::<Result<_, _>>()?, true)),
        Value::Array(list) => {
            let pairs = list.iter().map(|pair| change(json::text(&pair[0]), &pair[1]));
            Ok((pairs.collect::<Result<_, _>>()?, false))
        }
        other => Err(format!("neither a list nor a map: {other}")),
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

/// Calls `visit` with every order of `items`.
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

fn case(test: &Value, is_secure: bool) -> Result<Verdict, json::Fault> {
    let expected = json::hash(&test["root"])?;
    let (mut changes, any_order) = changes(&test["in"])?;
    if is_secure {
        changes.iter_mut().for_each(|(key, _)| *key = keccak256(&*key).to_vec());
    }
    let batch = root_in_one_batch(&changes);
    let mut wrong = (batch != expected).then(|| format!("root {batch} in one batch, expected {expected}"));
    let mut check = |changes: &Changes| {
        let root = root_one_by_one(changes);
        if root != expected && wrong.is_none() {
            wrong = Some(format!("root {root} one by one, expected {expected}"));
        }
    };
    if !any_order {
        check(&changes);
    } else if changes.len() <= PERMUTED_MAX {
        permutations(&mut changes, 0, &mut check);
    } else {
        for _ in 0..changes.len().min(8) {
            check(&changes);
            changes.rotate_left(1);
        }
    }
    Ok(wrong.map_or(Verdict::Passed, Verdict::Failed))
}

/// All trie tests of one file.
pub(super) fn run(report: &mut Report, file: &impl Display, tests: &[(&String, &Value)]) {
    if tests.is_empty() {
        return;
    }
    let under = |is_secure: bool| -> Vec<Verdict> {
        tests.iter().map(|(_, test)| super::verdict(case(test, is_secure))).collect()
    };
    let passed = |verdicts: &[Verdict]| verdicts.iter().filter(|verdict| **verdict == Verdict::Passed).count();
    let mut verdicts = under(false);
    if passed(&verdicts) < tests.len() {
        let secure = under(true);
        if passed(&secure) > passed(&verdicts) {
            verdicts = secure;
        }
    }
    for ((name, _), verdict) in tests.iter().zip(verdicts) {
        report.note("trie", format!("{file} {name}"), verdict);
    }
}

/// A test of the keys before and after a key; each row is a case.
pub(super) fn neighbours(report: &mut Report, case: &str, test: &Value) {
    let keys = test["in"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut trie = Trie::new();
    trie.update(keys.iter().map(|key| (json::text(key), Some(Bytes::from("x")))));
    for (index, row) in test["tests"].as_array().into_iter().flatten().enumerate() {
        let [at, previous, next] = [0, 1, 2].map(|place| json::text(&row[place]).as_bytes());
        let keys = || trie.iter().map(|(key, _)| key);
        let before = keys().take_while(|key| *key < at).last().unwrap_or_default();
        let after = keys().find(|key| *key > at).unwrap_or_default();
        let verdict = if (before, after) == (previous, next) {
            Verdict::Passed
        } else {
            Verdict::Failed(format!("{row}: before {before:?}, after {after:?}"))
        };
        report.note("trie", format!("{case} {index}"), verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failures(tests: Value) -> usize {
        let tests = tests.as_object().cloned().unwrap();
        let mut report = Report::default();
        run(&mut report, &"file", &tests.iter().collect::<Vec<_>>());
        assert_eq!(report.passed() as usize + report.failures().len(), tests.len());
        report.failures().len()
    }

    #[test]
    fn hashed_and_plain_keys_are_told_apart_by_file() {
        let secure = json!({"in": {"doe": "reindeer", "dog": "puppy", "dogglesworth": "cat"},
            "root": "0xd4cd937e4a4368d7931a9cf51686b7e10abb3dce38a39000fd7902a092b64585"});
        let plain = json!({"in": [["doe", "reindeer"], ["dog", "puppy"], ["dogglesworth", "cat"]],
            "root": "0x8aad789dff2f538bca5d8ea56e8abe10f4c7ba3a5dea95fea4cd6e7c3a1168d3"});
        assert_eq!(failures(json!({"a": secure})), 0);
        assert_eq!(failures(json!({"b": plain})), 0);
        assert_eq!(failures(json!({"a": secure, "b": plain})), 1);
    }
}
