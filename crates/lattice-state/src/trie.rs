//! A persistent Merkle Patricia Trie (Ethereum yellow paper, appendix D).
//!
//! A trie is a handle on immutable shared nodes: a clone is a version and costs one counter; a change copies the
//! path it touches and leaves every other version as it was. References (hashes) are cached in the nodes, so a root
//! costs what changed since the last one.

mod iter;
mod key;
mod node;
mod proof;
mod update;

use std::fmt;

use alloy_primitives::{B256, b256};
use rayon::prelude::*;

pub use iter::Iter;
pub use key::KEY_BYTES_MAX;

use key::Key;
use node::{Kind, Link};
pub(crate) use update::Change;
use update::update;

/// The root of a trie without entries: keccak of the RLP of the empty string.
pub const EMPTY_ROOT: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// From this many changes on, sorting uses several threads.
const PARALLEL_SORT_MIN: usize = 4_096;

/// What a trie stores under a key.
pub trait TrieValue: Clone + Send + Sync {
    /// Appends the bytes that the trie commits to, without the string header that the node adds. Never empty: an
    /// empty value means absence in a trie.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Plain bytes, as in a trie of transactions or receipts.
impl TrieValue for alloy_primitives::Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// A version of a trie from byte keys of at most [`KEY_BYTES_MAX`] bytes to values.
///
/// Methods that take a key panic when it is longer.
pub struct Trie<V> {
    root: Link<V>,
}

impl<V> Clone for Trie<V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone() }
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<V: TrieValue> fmt::Debug for Trie<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trie").field("root", &self.root()).finish()
    }
}

impl<V: TrieValue> Trie<V> {
    /// A trie without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        let key = Key::new(key);
        let mut node = self.root.as_ref()?;
        loop {
            match &node.kind {
                Kind::Leaf { key: found, value } => return (*found == key).then_some(value),
                Kind::Branch(branch) => {
                    let depth = branch.prefix.len();
                    if key.len() <= depth {
                        return branch.value.as_deref().filter(|_| branch.prefix == key);
                    }
                    // Prefixes are not compared on the way: the leaf compares the whole key.
                    node = branch.child(key.at(depth))?;
                }
            }
        }
    }

    /// Sets the value under `key`.
    pub fn insert(&mut self, key: &[u8], value: V) {
        self.change(key, Some(value));
    }

    /// Removes the entry under `key`, if any.
    pub fn remove(&mut self, key: &[u8]) {
        self.change(key, None);
    }

    fn change(&mut self, key: &[u8], value: Option<V>) {
        self.root = update(self.root.take(), &mut [Change { key: Key::new(key), value }]);
    }

    /// Applies many changes at once (`None` removes), much faster than one at a time: each touched node is copied
    /// once, and large batches use several threads. Order does not matter, except that the last change of a key wins.
    pub fn update<K: AsRef<[u8]>>(&mut self, changes: impl IntoIterator<Item = (K, Option<V>)>) {
        let changes = changes.into_iter().map(|(key, value)| Change { key: Key::new(key.as_ref()), value });
        let mut changes: Vec<_> = changes.collect();
        if changes.len() < PARALLEL_SORT_MIN {
            changes.sort_by_key(|change| change.key);
        } else {
            changes.par_sort_by_key(|change| change.key);
        }
        changes.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        self.root = update(self.root.take(), &mut changes);
    }

    /// A trie of entries with distinct keys, in any order, on several threads.
    pub(crate) fn build(mut entries: Vec<Change<V>>) -> Self {
        entries.par_sort_unstable_by_key(|entry| entry.key);
        debug_assert!(entries.is_sorted_by(|a, b| a.key < b.key), "keys of a bulk build are distinct");
        Self { root: update(None, &mut entries) }
    }

    /// The root hash. Cached: only nodes that changed since they were last hashed cost anything.
    pub fn root(&self) -> B256 {
        match &self.root {
            None => EMPTY_ROOT,
            Some(node) => node.reference(0, &mut Vec::new()).root(),
        }
    }

    /// Entries in key order.
    pub fn iter(&self) -> Iter<'_, V> {
        Iter::new(self.root.as_deref())
    }
}

impl<'a, V: TrieValue> IntoIterator for &'a Trie<V> {
    type Item = (&'a [u8], &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}
