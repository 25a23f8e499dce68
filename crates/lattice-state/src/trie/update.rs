//! Batch update: sorted changes descend together, and each touched node is copied once.
//!
//! One algorithm serves inserts, removals and bulk building; nodes that no other version holds are reused.

use std::sync::Arc;

use rayon::prelude::*;

use super::TrieValue;
use super::key::Key;
use super::node::{Branch, Kind, Link, Node};

/// From this many changes on, a branch works on its children on several threads.
const PARALLEL_CHANGES_MIN: usize = 512;

/// One change: a new value for a key, or its removal.
pub(crate) struct Change<V> {
    pub(crate) key: Key,
    pub(crate) value: Option<V>,
}

impl<V> Change<V> {
    /// A value for a key of at most 32 bytes.
    pub(crate) fn put(key: &[u8], value: V) -> Self {
        Self { key: Key::new(key), value: Some(value) }
    }
}

/// Applies `changes`, which are sorted by key without duplicates and all lie below `node`. Their values are taken.
pub(crate) fn update<V: TrieValue>(node: Link<V>, changes: &mut [Change<V>]) -> Link<V> {
    let [first, .., last] = &*changes else {
        return match changes {
            [only] => update_one(node, only),
            _ => node,
        };
    };
    let Some(node) = node else {
        return build(changes);
    };
    match &node.kind {
        Kind::Leaf { .. } => update_leaf(node, changes),
        Kind::Branch(branch) => {
            let shared = branch.prefix.common_len(&first.key).min(branch.prefix.common_len(&last.key));
            if shared == branch.prefix.len() {
                update_branch(node, changes)
            } else {
                update_branch(split(node, shared), changes)
            }
        }
    }
}

/// [`update`] for a single change: no grouping, and a removal that hits nothing leaves the node as it is.
fn update_one<V: TrieValue>(node: Link<V>, change: &mut Change<V>) -> Link<V> {
    let Some(node) = node else {
        return change.value.take().map(|value| Node::leaf(change.key, value));
    };
    match &node.kind {
        Kind::Leaf { key, .. } if *key == change.key => change.value.take().map(|value| Node::leaf(change.key, value)),
        Kind::Leaf { .. } if change.value.is_none() => Some(node),
        Kind::Leaf { .. } => update_leaf(node, std::slice::from_mut(change)),
        Kind::Branch(branch) => {
            let shared = branch.prefix.common_len(&change.key);
            if shared == branch.prefix.len() {
                update_branch(node, std::slice::from_mut(change))
            } else if change.value.is_none() {
                Some(node)
            } else {
                update_branch(split(node, shared), std::slice::from_mut(change))
            }
        }
    }
}

/// A subtree of nothing but `changes`. Removals among them vanish: a branch left with one child collapses.
fn build<V: TrieValue>(changes: &mut [Change<V>]) -> Link<V> {
    match changes {
        [] => None,
        [only] => only.value.take().map(|value| Node::leaf(only.key, value)),
        [first, .., last] => {
            let prefix = first.key.prefix(first.key.common_len(&last.key));
            fill(Branch::empty(prefix), changes)
        }
    }
}

/// Changes that reach a leaf: the leaf joins them, unless one of them replaces it.
fn update_leaf<V: TrieValue>(node: Arc<Node<V>>, changes: &mut [Change<V>]) -> Link<V> {
    let Kind::Leaf { key, value } = Node::into_kind(node) else {
        unreachable!("called on leaves only");
    };
    let Err(position) = changes.binary_search_by(|change| change.key.cmp(&key)) else {
        return build(changes);
    };
    let mut merged: Vec<_> =
        changes.iter_mut().map(|change| Change { key: change.key, value: change.value.take() }).collect();
    merged.insert(position, Change { key, value: Some(value) });
    build(&mut merged)
}

/// A branch at the first `len` nibbles of the prefix of `node`, with `node` as its only child so far.
fn split<V: TrieValue>(node: Arc<Node<V>>, len: usize) -> Arc<Node<V>> {
    let Kind::Branch(branch) = &node.kind else {
        unreachable!("only branches have a prefix to split");
    };
    let prefix = branch.prefix.prefix(len);
    let nibble = branch.prefix.at(len);
    Node::new(Kind::Branch(Branch::with_child(prefix, nibble, Node::moved(node))))
}

fn update_branch<V: TrieValue>(node: Arc<Node<V>>, changes: &mut [Change<V>]) -> Link<V> {
    let Kind::Branch(branch) = Node::into_kind(node) else {
        unreachable!("called on branches only");
    };
    fill(branch, changes)
}

/// Deals the changes out to the children of `branch`, below whose prefix they all lie.
fn fill<V: TrieValue>(branch: Branch<V>, mut changes: &mut [Change<V>]) -> Link<V> {
    let prefix = branch.prefix;
    let depth = prefix.len();
    let (mut slots, mut value) = branch.into_slots();
    if changes[0].key.len() == depth {
        let (own, rest) = changes.split_at_mut(1);
        value = own[0].value.take().map(Box::new);
        changes = rest;
    }
    if changes.len() < PARALLEL_CHANGES_MIN {
        while let Some(first) = changes.first() {
            let nibble = first.key.at(depth);
            let (group, rest) = split_group(changes, depth, nibble);
            slots[nibble] = update(slots[nibble].take(), group);
            changes = rest;
        }
    } else {
        let groups: [&mut [Change<V>]; 16] = std::array::from_fn(|nibble| {
            let (group, rest) = split_group(std::mem::take(&mut changes), depth, nibble);
            changes = rest;
            group
        });
        slots.par_iter_mut().zip(groups).for_each(|(slot, group)| *slot = update(slot.take(), group));
    }
    Branch::collapse(prefix, slots, value)
}

/// The leading changes whose nibble at `depth` is at most `nibble`, and the rest.
fn split_group<V>(changes: &mut [Change<V>], depth: usize, nibble: usize) -> (&mut [Change<V>], &mut [Change<V>]) {
    let len = changes.partition_point(|change| change.key.at(depth) <= nibble);
    changes.split_at_mut(len)
}
