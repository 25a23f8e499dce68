//! Entries in key order.

use super::TrieValue;
use super::node::{Kind, Node};

/// Iterator over `(key, value)` in the order of keys; a key comes before those it is a prefix of.
pub struct Iter<'a, V> {
    /// Subtrees still to visit, the next one last.
    pending: Vec<&'a Node<V>>,
}

impl<'a, V> Iter<'a, V> {
    pub(super) fn new(root: Option<&'a Node<V>>) -> Self {
        Self { pending: root.into_iter().collect() }
    }
}

impl<'a, V: TrieValue> Iterator for Iter<'a, V> {
    type Item = (&'a [u8], &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match &self.pending.pop()?.kind {
                Kind::Leaf { key, value } => return Some((key.bytes(), value)),
                Kind::Branch(branch) => {
                    self.pending.extend(branch.children().iter().rev().map(|child| &**child));
                    if let Some(value) = &branch.value {
                        return Some((branch.prefix.bytes(), value));
                    }
                }
            }
        }
    }
}
