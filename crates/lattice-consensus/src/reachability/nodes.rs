//! The nodes of the interval tree: recent ones in memory, older ones in the store.

use std::collections::VecDeque;

use lattice_storage::{StorageFault, Table};
use rustc_hash::FxHashMap;

use super::{End, Interval, NONE};
use crate::{
    older::{Held, Older, Record},
    record::Input,
};

/// A block in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub interval: Interval,
    /// What follows the start and the end in the list of interval ends.
    pub next: [End; 2],
    /// What comes before them.
    pub previous: [End; 2],
    /// The blocks that merged this one, in order of their intervals.
    pub covering: Vec<u64>,
}

impl Node {
    #[inline]
    pub(super) fn label(&self, end: End) -> u64 {
        if end.is_multiple_of(2) { self.interval.start } else { self.interval.end }
    }

    pub(super) fn label_mut(&mut self, end: End) -> &mut u64 {
        if end.is_multiple_of(2) { &mut self.interval.start } else { &mut self.interval.end }
    }

    pub(super) fn next_of(&mut self, end: End) -> &mut End {
        &mut self.next[(end % 2) as usize]
    }

    pub(super) fn previous_of(&mut self, end: End) -> &mut End {
        &mut self.previous[(end % 2) as usize]
    }

    /// The record, with the covering set or without.
    pub(crate) fn encode(&self, with_covering: bool) -> Vec<u8> {
        let covering = if with_covering { self.covering.as_slice() } else { &[] };
        let ends = [self.previous[0], self.next[0], self.previous[1], self.next[1]];
        let mut out = Vec::with_capacity(48 + 8 * covering.len());
        for number in [self.interval.start, self.interval.end].iter().chain(&ends).chain(covering) {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out
    }
}

impl Record for Node {
    const TABLE: Table = Table::Reachability;

    fn decode(_: u64, bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let interval = Interval { start: input.u64()?, end: input.u64()? };
        let [before_start, after_start, before_end, after_end] =
            [input.u64()?, input.u64()?, input.u64()?, input.u64()?];
        let mut covering = Vec::with_capacity(bytes.len() / 8 - 6);
        while !input.is_empty() {
            covering.push(input.u64()?);
        }
        let (next, previous) = ([after_start, after_end], [before_start, before_end]);
        (interval.start < interval.end).then_some(Self { interval, next, previous, covering })
    }
}

/// All nodes.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    /// Index of the first node of `resident`.
    first: u64,
    resident: VecDeque<Node>,
    /// Older nodes that the batch of the moment changes (none: removes), so that the store does not show them as they are.
    changing: FxHashMap<u64, Option<Node>>,
    older: Option<Older<Node>>,
}

impl Nodes {
    pub(super) fn of_root() -> Self {
        let interval = Interval { start: 0, end: u64::MAX };
        let root = Node { interval, next: [1, NONE], previous: [NONE, 0], covering: Vec::new() };
        Self { first: 0, resident: [root].into(), changing: FxHashMap::default(), older: None }
    }

    /// The nodes from `first` on, and a store with those before.
    pub(crate) fn over(first: u64, resident: VecDeque<Node>, older: Older<Node>) -> Self {
        Self { first, resident, changing: FxHashMap::default(), older: Some(older) }
    }

    /// Index of the next node.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.first + self.resident.len() as u64
    }

    #[inline]
    pub(crate) fn is_resident(&self, block: u64) -> bool {
        block >= self.first
    }

    pub(super) fn push(&mut self, node: Node) {
        self.resident.push_back(node);
    }

    #[inline]
    fn resident(&self, block: u64) -> Option<&Node> {
        self.resident.get(block.wrapping_sub(self.first) as usize)
    }

    /// A node that must be there.
    #[inline]
    pub(crate) fn node(&self, block: u64) -> Result<Held<'_, Node>, StorageFault> {
        match self.resident(block) {
            Some(node) => Ok(Held::Resident(node)),
            None => self.find(block)?.ok_or_else(|| missing(block)),
        }
    }

    /// A node; none when it was removed.
    #[inline]
    pub(crate) fn find(&self, block: u64) -> Result<Option<Held<'_, Node>>, StorageFault> {
        match self.resident(block) {
            Some(node) => Ok(Some(Held::Resident(node))),
            None => self.find_older(block),
        }
    }

    #[cold]
    fn find_older(&self, block: u64) -> Result<Option<Held<'_, Node>>, StorageFault> {
        if let Some(changing) = self.changing.get(&block) {
            return Ok(changing.as_ref().map(Held::Resident));
        }
        match &self.older {
            Some(older) if block < self.first => Ok(older.load(block)?.map(Held::Loaded)),
            _ => Ok(None),
        }
    }

    /// A node that must be there, to change it.
    pub(super) fn node_mut(&mut self, block: u64) -> Result<&mut Node, StorageFault> {
        if block >= self.first {
            return self.resident.get_mut((block - self.first) as usize).ok_or_else(|| missing(block));
        }
        if !self.changing.contains_key(&block) {
            let node = (*self.find_older(block)?.ok_or_else(|| missing(block))?).clone();
            self.changing.insert(block, Some(node));
        }
        self.changing.get_mut(&block).and_then(Option::as_mut).ok_or_else(|| missing(block))
    }

    /// Removes a node that is not resident.
    pub(super) fn remove(&mut self, block: u64) {
        self.changing.insert(block, None);
    }

    /// Takes the oldest resident node out of the window. It is complete now.
    pub(crate) fn evict(&mut self) {
        if let Some(node) = self.resident.pop_front() {
            self.changing.insert(self.first, Some(node));
            self.first += 1;
        }
    }

    /// The batch with the changes is written: the store shows them.
    pub(crate) fn settle(&mut self) {
        let Some(older) = &self.older else { return };
        // Taken, not drained: a map that has once held many keeps their room.
        for (block, node) in std::mem::take(&mut self.changing) {
            match node {
                Some(node) => older.keep(block, node),
                None => older.forget(block),
            }
        }
    }
}

pub(crate) fn missing(block: u64) -> StorageFault {
    StorageFault::corrupt(Table::Reachability, format!("block number {block} has no record"))
}
