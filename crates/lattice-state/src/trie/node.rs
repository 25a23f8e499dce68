//! Trie nodes, their RLP and their cached references.
//!
//! Two kinds suffice: a branch carries the whole nibble prefix that leads to it, so the extension node of the yellow
//! paper exists in the encoding only (when the prefix is longer than the depth at which the branch hangs). Leaves
//! carry their whole key. Nothing is re-cut when nodes are split or merged, and both kinds have the same size.

use std::sync::{Arc, OnceLock};

use alloy_primitives::{B256, keccak256};
use rayon::prelude::*;

use super::TrieValue;
use super::key::{Key, PathBuffer};

/// A child, or nothing.
pub(crate) type Link<V> = Option<Arc<Node<V>>>;

/// Children of one branch, by nibble.
pub(crate) type Slots<V> = [Link<V>; 16];

/// From this many changed branch children on, a branch hashes its children on several threads.
const PARALLEL_DIRTY_MIN: usize = 4;

/// Branches whose prefix is at most this long may hash in parallel: 256 tasks feed any machine.
const PARALLEL_DEPTH_MAX: usize = 1;

/// Room for the header of an RLP list in front of its payload.
const HEADER_MAX: usize = 9;

/// How a parent names a node: the keccak of its RLP, or the RLP itself when shorter than 32 bytes.
/// The cache comes first so that reading a sibling's reference touches the line its counter is on.
#[repr(C)]
pub(crate) struct Node<V> {
    reference: OnceLock<Reference>,
    pub(crate) kind: Kind<V>,
}

/// What a node holds.
#[derive(Clone)]
pub(crate) enum Kind<V> {
    Leaf { key: Key, value: V },
    Branch(Branch<V>),
}

/// Two to sixteen subtrees, or at least one and a value; children are dense, `mask` says which nibbles they have.
#[derive(Clone)]
pub(crate) struct Branch<V> {
    pub(crate) prefix: Key,
    mask: u16,
    children: Box<[Arc<Node<V>>]>,
    /// The value of the key that ends here. Never present under keys of one length.
    pub(crate) value: Option<Box<V>>,
}

/// See [`Node::reference`]: 32 bytes are a hash, fewer are an embedded node.
#[derive(Clone, Copy)]
pub(crate) struct Reference {
    bytes: [u8; 32],
    len: u8,
}

impl Reference {
    fn of(rlp: &[u8]) -> Self {
        let mut bytes = [0; 32];
        if rlp.len() < 32 {
            bytes[..rlp.len()].copy_from_slice(rlp);
            Self { bytes, len: rlp.len() as u8 }
        } else {
            Self { bytes: keccak256(rlp).0, len: 32 }
        }
    }

    /// The hash of the node as a root: an embedded node is hashed too.
    pub(crate) fn root(&self) -> B256 {
        if self.len == 32 { B256::new(self.bytes) } else { keccak256(&self.bytes[..usize::from(self.len)]) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if self.len == 32 {
            out.push(0xa0);
        }
        out.extend_from_slice(&self.bytes[..usize::from(self.len)]);
    }
}

/// A copy is a new node: it may hang at another depth, so it starts without a reference.
impl<V: Clone> Clone for Node<V> {
    fn clone(&self) -> Self {
        Self { reference: OnceLock::new(), kind: self.kind.clone() }
    }
}

impl<V: TrieValue> Node<V> {
    pub(crate) fn leaf(key: Key, value: V) -> Arc<Self> {
        Self::new(Kind::Leaf { key, value })
    }

    pub(crate) fn new(kind: Kind<V>) -> Arc<Self> {
        Arc::new(Self { reference: OnceLock::new(), kind })
    }

    /// The content, moved out when nobody else holds the node, else copied (children are shared, not copied).
    pub(crate) fn into_kind(node: Arc<Self>) -> Kind<V> {
        match Arc::try_unwrap(node) {
            Ok(node) => node.kind,
            Err(shared) => shared.kind.clone(),
        }
    }

    /// The same content for another depth: the cached reference covers the path from the old one.
    pub(crate) fn moved(node: Arc<Self>) -> Arc<Self> {
        Self::new(Self::into_kind(node))
    }

    /// The reference of this node hanging at `depth` nibbles; computed once. `scratch` is used as a stack.
    pub(crate) fn reference(&self, depth: usize, scratch: &mut Vec<u8>) -> &Reference {
        if let Some(reference) = self.reference.get() {
            return reference;
        }
        let base = scratch.len();
        let start = self.encode(depth, scratch);
        let reference = Reference::of(&scratch[start..]);
        scratch.truncate(base);
        // The cell must not be held while children are hashed: a worker that waits for its children may pick up
        // another version's task that asks for this very node. So two threads may compute it; both find the same.
        self.reference.get_or_init(|| reference)
    }

    /// Appends the RLP of the node (of its extension, when it has one) and returns where it starts.
    fn encode(&self, depth: usize, scratch: &mut Vec<u8>) -> usize {
        match &self.kind {
            Kind::Leaf { key, value } => encode_leaf(key, value, depth, scratch),
            Kind::Branch(branch) => {
                let start = branch.encode(scratch);
                if branch.prefix.len() == depth {
                    return start;
                }
                let reference = Reference::of(&scratch[start..]);
                encode_extension(&branch.prefix, depth, &reference, scratch)
            }
        }
    }

    /// The RLP of the nodes that stand for this one: an extension when there is one, and the leaf or branch.
    pub(crate) fn rlp(&self, depth: usize, scratch: &mut Vec<u8>) -> (Option<Vec<u8>>, Vec<u8>) {
        scratch.clear();
        match &self.kind {
            Kind::Leaf { key, value } => {
                let start = encode_leaf(key, value, depth, scratch);
                (None, scratch[start..].to_vec())
            }
            Kind::Branch(branch) => {
                let start = branch.encode(scratch);
                let node = scratch[start..].to_vec();
                if branch.prefix.len() == depth {
                    return (None, node);
                }
                let start = encode_extension(&branch.prefix, depth, &Reference::of(&node), scratch);
                (Some(scratch[start..].to_vec()), node)
            }
        }
    }
}

impl<V: TrieValue> Branch<V> {
    /// A branch without children, to be filled through its slots.
    pub(crate) fn empty(prefix: Key) -> Self {
        Self { prefix, mask: 0, children: Box::default(), value: None }
    }

    /// A branch with one child so far: a step of a split, never a finished node.
    pub(crate) fn with_child(prefix: Key, nibble: usize, child: Arc<Node<V>>) -> Self {
        Self { prefix, mask: 1 << nibble, children: Box::new([child]), value: None }
    }

    pub(crate) fn child(&self, nibble: usize) -> Option<&Arc<Node<V>>> {
        let bit = 1 << nibble;
        if self.mask & bit == 0 {
            return None;
        }
        Some(&self.children[(self.mask & (bit - 1)).count_ones() as usize])
    }

    pub(crate) fn children(&self) -> &[Arc<Node<V>>] {
        &self.children
    }

    pub(crate) fn into_slots(self) -> (Slots<V>, Option<Box<V>>) {
        let mut slots = Slots::default();
        let mut children = self.children.into_iter();
        for (nibble, slot) in slots.iter_mut().enumerate() {
            if self.mask & (1 << nibble) != 0 {
                *slot = children.next();
            }
        }
        (slots, self.value)
    }

    /// The node that slots and a value make: nothing, a leaf, the only subtree, or a branch.
    pub(crate) fn collapse(prefix: Key, slots: Slots<V>, value: Option<Box<V>>) -> Link<V> {
        let mut mask = 0_u16;
        for (nibble, slot) in slots.iter().enumerate() {
            mask |= u16::from(slot.is_some()) << nibble;
        }
        let count = mask.count_ones() as usize;
        match (count, value) {
            (0, None) => None,
            (0, Some(value)) => Some(Node::leaf(prefix, *value)),
            (1, None) => slots.into_iter().flatten().next().map(Node::moved),
            (_, value) => {
                let mut children = Vec::with_capacity(count);
                children.extend(slots.into_iter().flatten());
                let children = children.into_boxed_slice();
                Some(Node::new(Kind::Branch(Self { prefix, mask, children, value })))
            }
        }
    }

    /// Hashes changed children on several threads when they are many.
    fn hash_children_in_parallel(&self) {
        let dirty = |child: &&Arc<Node<V>>| child.reference.get().is_none() && matches!(child.kind, Kind::Branch(_));
        if self.children.iter().filter(dirty).count() < PARALLEL_DIRTY_MIN {
            return;
        }
        let depth = self.prefix.len() + 1;
        self.children.par_iter().for_each_init(Vec::new, |scratch, child| {
            child.reference(depth, scratch);
        });
    }

    /// Appends the RLP of the branch itself, without extension, and returns where it starts.
    fn encode(&self, scratch: &mut Vec<u8>) -> usize {
        if self.prefix.len() <= PARALLEL_DEPTH_MAX {
            self.hash_children_in_parallel();
        }
        let base = scratch.len();
        scratch.extend_from_slice(&[0; HEADER_MAX]);
        let depth = self.prefix.len() + 1;
        let mut children = self.children.iter();
        for nibble in 0..16 {
            match self.mask & (1 << nibble) {
                0 => scratch.push(0x80),
                _ => {
                    let child = children.next().expect("the mask counts the children");
                    child.reference(depth, scratch).encode(scratch);
                }
            }
        }
        match &self.value {
            None => scratch.push(0x80),
            Some(value) => {
                let start = scratch.len();
                scratch.extend_from_slice(&[0; HEADER_MAX]);
                value.encode(scratch);
                let mut header = PathBuffer::new();
                string_header(&scratch[start + HEADER_MAX..], &mut header);
                // Values in branches are rare: moving the header and value down is the plain way.
                let len = header.as_slice().len();
                scratch[start..start + len].copy_from_slice(header.as_slice());
                scratch.copy_within(start + HEADER_MAX.., start + len);
                scratch.truncate(scratch.len() - (HEADER_MAX - len));
            }
        }
        let mut header = PathBuffer::new();
        list_header(scratch.len() - base - HEADER_MAX, &mut header);
        prepend(header.as_slice(), base + HEADER_MAX, scratch)
    }
}

fn encode_leaf<V: TrieValue>(key: &Key, value: &V, depth: usize, scratch: &mut Vec<u8>) -> usize {
    const ROOM: usize = 64;
    let start = scratch.len() + ROOM;
    scratch.extend_from_slice(&[0; ROOM]);
    value.encode(scratch);
    let mut path = PathBuffer::new();
    key.encode_path(depth, true, &mut path);
    string_header(&scratch[start..], &mut path);
    let mut header = PathBuffer::new();
    list_header(path.as_slice().len() + scratch.len() - start, &mut header);
    header.extend(path.as_slice());
    prepend(header.as_slice(), start, scratch)
}

fn encode_extension(prefix: &Key, depth: usize, child: &Reference, scratch: &mut Vec<u8>) -> usize {
    let mut path = PathBuffer::new();
    prefix.encode_path(depth, false, &mut path);
    let child_len = usize::from(child.len) + usize::from(child.len == 32);
    let mut header = PathBuffer::new();
    list_header(path.as_slice().len() + child_len, &mut header);
    let start = scratch.len();
    scratch.extend_from_slice(header.as_slice());
    scratch.extend_from_slice(path.as_slice());
    child.encode(scratch);
    start
}

/// Writes `bytes` right before `position` and returns where they start.
fn prepend(bytes: &[u8], position: usize, scratch: &mut [u8]) -> usize {
    let start = position - bytes.len();
    scratch[start..position].copy_from_slice(bytes);
    start
}

fn list_header(len: usize, out: &mut PathBuffer) {
    header(0xc0, len, out);
}

/// The header of `value` as an RLP string; a single byte below 0x80 has none.
fn string_header(value: &[u8], out: &mut PathBuffer) {
    if !matches!(value, [0..=0x7f]) {
        header(0x80, value.len(), out);
    }
}

fn header(offset: u8, len: usize, out: &mut PathBuffer) {
    if len < 56 {
        out.push(offset + len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let significant = &bytes[(len.leading_zeros() / 8) as usize..];
        out.push(offset + 55 + significant.len() as u8);
        out.extend(significant);
    }
}
