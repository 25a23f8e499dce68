//! Ancestry in O(log n): an interval tree with future covering sets.
//!
//! The selected parents form a tree. Every block holds an interval inside its tree parent's, so "a is on the chain
//! below b" is a comparison of intervals. The rest of the DAG is covered by a small set for each block: the blocks that
//! merged it, ordered by interval; a is in the past of b when one of those is on the chain of b (the method of Kaspa).
//!
//! Where Kaspa keeps room by reallocating whole subtrees around a moving root, here the interval ends are an ordered list
//! with labels. Where a place is full, the empty space of the sibling that the chain left is usually a few ends away, and
//! those few are moved. Where it is not, the place is relabelled within the smallest surroundings that are sparse enough
//! (Bender, Cole, Demaine, Farach-Colton, Zito: "Two simplified algorithms for maintaining order in a list", 2002),
//! O(log n) labels an insertion amortised. Relabelling never changes the order, so covering sets stay sorted.
//!
//! Nodes of recent blocks are in memory, older ones are read from the store when they are asked for. The neighbours of a
//! new end are those of recent blocks and of their chain, so relabelling does not wander into the deep past either.

mod nodes;

pub(crate) use nodes::{Node, Nodes};

use lattice_storage::StorageFault;

use crate::older::Held;

/// Room that a new interval leaves on each side, when there is plenty: for later siblings. The labels last for 2^34
/// blocks that keep so much.
const SLACK_MAX: u64 = 1 << 28;
/// Below this many labels of slack a new interval takes a quarter instead of a 1,024th.
const SLACK_MIN: u64 = 1 << 16;
/// How many ends on each side of a full place are searched for empty space, at least and at most.
const NEAR_MIN: u64 = 4;
const NEAR_MAX: u64 = 256;
/// How many labels an end near empty space must have around.
const NEAR_LABELS: u64 = 1 << 40;
/// Surroundings smaller than 2^16 labels are not worth relabelling alone.
const ROOM_BITS_MIN: u32 = 16;

/// The interval of a block: labels of its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Label where the block begins.
    pub start: u64,
    /// Label where the block and everything on chains through it ends.
    pub end: u64,
}

impl Interval {
    /// Whether `other` lies within this interval.
    #[inline]
    pub const fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// An end of an interval: 2i is the start of block i, 2i + 1 its end.
type End = u64;

pub(crate) const NONE: End = End::MAX;

/// Ancestry of a growing DAG. Blocks are named by insertion index; block 0 is the root.
#[derive(Debug, Clone)]
pub struct Reachability {
    pub(crate) nodes: Nodes,
    /// Blocks before this one may have been removed, and then they are in everybody's past.
    bottom: u64,
}

impl Default for Reachability {
    fn default() -> Self {
        Self::new()
    }
}

impl Reachability {
    /// A tree of the root alone, which stays in memory as it grows.
    pub fn new() -> Self {
        Self { nodes: Nodes::of_root(), bottom: 0 }
    }

    /// A tree over nodes that exist.
    pub(crate) fn over(nodes: Nodes, bottom: u64) -> Self {
        Self { nodes, bottom }
    }

    /// Number of blocks that were ever added.
    pub fn len(&self) -> u64 {
        self.nodes.next()
    }

    /// Never: the root is always there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The interval of a block.
    #[inline]
    pub fn interval(&self, block: u64) -> Result<Interval, StorageFault> {
        Ok(self.nodes.node(block)?.interval)
    }

    /// Adds the next block under its tree parent. `mergeset` is what is in its past but neither in the parent's past nor
    /// the parent itself. Blocks whose record changed, the new one included, are appended to `changed`, some maybe twice.
    pub fn add(
        &mut self,
        parent: u64,
        mergeset: impl IntoIterator<Item = u64>,
        changed: &mut Vec<u64>,
    ) -> Result<u64, StorageFault> {
        let block = self.nodes.next();
        let (start, end) = (2 * block, 2 * block + 1);
        let parent_end = 2 * parent + 1;
        let before = self.previous(parent_end)?;
        if self.label(parent_end)? - self.label(before)? < 3 {
            self.make_room_after(before, changed)?;
        }
        let (low, high) = (self.label(before)?, self.label(parent_end)?);
        let slack = slack(high - low);
        let interval = Interval { start: low + slack, end: high - slack };
        self.nodes.push(Node { interval, next: [end, parent_end], previous: [before, start], covering: Vec::new() });
        *self.nodes.node_mut(before / 2)?.next_of(before) = start;
        *self.nodes.node_mut(parent)?.previous_of(parent_end) = end;
        changed.extend([block, parent, before / 2]);
        for merged in mergeset {
            self.cover(merged, block)?;
            // Those in the window follow from the mergesets.
            if !self.nodes.is_resident(merged) {
                changed.push(merged);
            }
        }
        Ok(block)
    }

    /// Takes a block out. What is left keeps its order; the block must not be in the covering set of one that stays, see
    /// [`Reachability::uncover`].
    pub(crate) fn remove(&mut self, block: u64, changed: &mut Vec<u64>) -> Result<(), StorageFault> {
        for end in [2 * block, 2 * block + 1] {
            let (previous, next) = (self.previous(end)?, self.next(end)?);
            if previous != NONE {
                *self.nodes.node_mut(previous / 2)?.next_of(previous) = next;
                changed.push(previous / 2);
            }
            if next != NONE {
                *self.nodes.node_mut(next / 2)?.previous_of(next) = previous;
                changed.push(next / 2);
            }
        }
        self.nodes.remove(block);
        Ok(())
    }

    /// Takes a block out of the covering set of one that it merged, if that one is there.
    pub(crate) fn uncover(&mut self, merged: u64, by: u64, changed: &mut Vec<u64>) -> Result<(), StorageFault> {
        if self.nodes.find(merged)?.is_some() {
            self.nodes.node_mut(merged)?.covering.retain(|&other| other != by);
            changed.push(merged);
        }
        Ok(())
    }

    /// From now on, blocks before this one that are not found count as removed.
    pub(crate) fn set_bottom(&mut self, bottom: u64) {
        self.bottom = bottom;
    }

    /// Whether `a` is `b` or on the chain of tree parents of `b`.
    #[inline]
    pub fn is_chain_ancestor(&self, a: u64, b: u64) -> Result<bool, StorageFault> {
        Ok(self.nodes.node(a)?.interval.contains(&self.nodes.node(b)?.interval))
    }

    /// Whether `a` is in the past of `b`; a block is not in its own past. A removed block is in every past.
    pub fn is_ancestor(&self, a: u64, b: u64) -> Result<bool, StorageFault> {
        if a == b {
            return Ok(false);
        }
        let older = match self.nodes.find(a)? {
            Some(node) => node,
            None if a < self.bottom => return Ok(true),
            None => return Err(nodes::missing(a)),
        };
        let interval = self.interval(b)?;
        if older.interval.contains(&interval) {
            return Ok(true);
        }
        let at = self.place_in(&older.covering, interval.start)?;
        Ok(at > 0 && self.interval(older.covering[at - 1])?.contains(&interval))
    }

    /// How many of a covering set start at or before this label.
    #[inline]
    fn place_in(&self, covering: &[u64], start: u64) -> Result<usize, StorageFault> {
        let (mut low, mut high) = (0, covering.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.interval(covering[middle])?.start <= start {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Notes that `by` merged a block.
    pub(crate) fn cover(&mut self, merged: u64, by: u64) -> Result<(), StorageFault> {
        let start = self.interval(by)?.start;
        let at = self.place_in(&self.nodes.node(merged)?.covering, start)?;
        self.nodes.node_mut(merged)?.covering.insert(at, by);
        Ok(())
    }

    #[inline]
    fn label(&self, end: End) -> Result<u64, StorageFault> {
        Ok(self.nodes.node(end / 2)?.label(end))
    }

    #[inline]
    fn next(&self, end: End) -> Result<End, StorageFault> {
        Ok(self.nodes.node(end / 2)?.next[(end % 2) as usize])
    }

    #[inline]
    fn previous(&self, end: End) -> Result<End, StorageFault> {
        Ok(self.nodes.node(end / 2)?.previous[(end % 2) as usize])
    }

    /// Whether the list around a block is whole: labels ascend, and neighbours know each other.
    pub(crate) fn check_links(&self, block: u64) -> Result<(), StorageFault> {
        let node: Held<'_, Node> = self.nodes.node(block)?;
        for end in [2 * block, 2 * block + 1] {
            let next = node.next[(end % 2) as usize];
            if next != NONE && (self.previous(next)? != end || self.label(next)? <= node.label(end)) {
                let reason = format!("the labels of blocks number {block} and {} are out of order", next / 2);
                return Err(StorageFault::corrupt(lattice_storage::Table::Reachability, reason));
            }
        }
        Ok(())
    }

    /// Relabels the surroundings of an end so that there is room after it.
    fn make_room_after(&mut self, after: End, changed: &mut Vec<u64>) -> Result<(), StorageFault> {
        let range = match self.empty_space_near(after)? {
            Some(range) => range,
            None => self.sparse_surroundings(after)?,
        };
        self.relabel(&range, after, changed)
    }

    /// The fewest ends around one, as many on each side, with plenty of labels among them. Those that stay behind keep
    /// no more than any other, and all else goes to the place that is being filled.
    fn empty_space_near(&self, after: End) -> Result<Option<Range>, StorageFault> {
        let (mut first, mut last, mut count) = (after, after, 1);
        for steps in 1..=NEAR_MAX {
            let (previous, next) = (self.previous(first)?, self.next(last)?);
            if previous != NONE {
                (first, count) = (previous, count + 1);
            }
            if next != NONE {
                (last, count) = (next, count + 1);
            }
            if steps < NEAR_MIN || !steps.is_power_of_two() {
                continue;
            }
            let low = self.label(first)?;
            let span = self.label(last)? - low;
            if span / NEAR_LABELS >= count {
                return Ok(Some(Range {
                    first,
                    last,
                    count,
                    low,
                    room: u128::from(span) + 1,
                    step_max: SLACK_MAX.into(),
                }));
            }
        }
        Ok(None)
    }

    /// Ranges of 2^i labels around an end are tried, each twice the last, until one holds at most 2^(0.45 i) ends: this
    /// threshold falls with size, which gives the amortised bound. From there the range still doubles as long as that
    /// takes in few more ends: empty space next to a grown place is taken over as a whole.
    fn sparse_surroundings(&self, after: End) -> Result<Range, StorageFault> {
        let centre = self.label(after)?;
        let (mut first, mut last, mut count) = (after, after, 1u64);
        let mut found: Option<(u64, Range)> = None;
        for bits in ROOM_BITS_MIN..=64 {
            let mask = u64::MAX >> (64 - bits);
            let (low, high) = (centre & !mask, centre | mask);
            let count_max = found.as_ref().map_or(u64::MAX, |(sparse_count, _)| 2 * sparse_count);
            while count <= count_max {
                let previous = self.previous(first)?;
                if previous == NONE || self.label(previous)? < low {
                    break;
                }
                first = previous;
                count += 1;
            }
            while count <= count_max {
                let next = self.next(last)?;
                if next == NONE || self.label(next)? > high {
                    break;
                }
                last = next;
                count += 1;
            }
            let room = 1 << bits;
            let range = Range { first, last, count, low, room, step_max: u128::MAX };
            match &mut found {
                Some((_, best)) if count <= count_max => *best = range,
                Some(_) => break,
                None if count <= 1 << (bits * 9 / 20) || bits == 64 => found = Some((count, range)),
                None => {}
            }
        }
        let (_, range) = found.expect("the range of all labels is always taken");
        Ok(range)
    }

    /// Spreads the ends of a range: at most half of the free labels evenly, the others where the range is being filled,
    /// because that is where the next blocks will come.
    fn relabel(&mut self, range: &Range, hot: End, changed: &mut Vec<u64>) -> Result<(), StorageFault> {
        let count = u128::from(range.count);
        let free = range.room - count;
        let step = 1 + (free / 2 / count).min(range.step_max);
        let hot_room = range.room - count * step;
        let mut used = 0u128;
        let mut end = range.first;
        loop {
            used += step;
            // used is at most count * step + hot_room, which is the room, so the label stays inside of it.
            let node = self.nodes.node_mut(end / 2)?;
            *node.label_mut(end) = range.low + (used - 1) as u64;
            changed.push(end / 2);
            if end == range.last {
                return Ok(());
            }
            if end == hot {
                used += hot_room;
            }
            end = node.next[(end % 2) as usize];
        }
    }
}

/// Ends `first..=last` of the list, which are those with labels in `low..low + room`.
struct Range {
    first: End,
    last: End,
    count: u64,
    low: u64,
    room: u128,
    /// Labels that an end which is not being filled keeps, at most.
    step_max: u128,
}

/// Labels to leave on each side of a new interval in a gap. Most of the gap goes to the new block, as its chain may
/// grow long; the rest is for siblings. At least 1, less than half of the gap.
fn slack(gap: u64) -> u64 {
    (gap >> 10).clamp(SLACK_MIN, SLACK_MAX).min(gap / 4).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// All invariants of the list and the intervals.
    fn check(tree: &Reachability, parents: &[u64]) {
        let mut end = 0;
        let mut open = Vec::new();
        let mut seen = 0;
        let mut last = None;
        loop {
            assert!(last < Some(tree.label(end).unwrap()), "labels ascend along the list");
            last = Some(tree.label(end).unwrap());
            if end % 2 == 0 {
                assert_eq!(open.last().copied(), (end > 0).then(|| parents[end as usize / 2]));
                open.push(end / 2);
            } else {
                assert_eq!(open.pop(), Some(end / 2));
            }
            seen += 1;
            match tree.next(end).unwrap() {
                NONE => break,
                next => {
                    assert_eq!(tree.previous(next).unwrap(), end);
                    end = next;
                }
            }
        }
        assert!(open.is_empty());
        assert_eq!(seen, 2 * tree.len());
    }

    fn grow(len: u64, parent_of: impl Fn(u64) -> u64) -> (Reachability, usize) {
        let mut tree = Reachability::new();
        let (mut parents, mut changes) = (vec![0], Vec::new());
        let mut total = 0;
        for block in 1..len {
            parents.push(parent_of(block));
            tree.add(parents[block as usize], [], &mut changes).unwrap();
            changes.sort_unstable();
            changes.dedup();
            total += changes.len();
            changes.clear();
        }
        check(&tree, &parents);
        for block in (1..len).step_by(97) {
            assert!(tree.is_ancestor(parents[block as usize], block).unwrap() && tree.is_ancestor(0, block).unwrap());
            assert!(
                !tree.is_ancestor(block, parents[block as usize]).unwrap() && !tree.is_ancestor(block, block).unwrap()
            );
        }
        (tree, total / (len as usize - 1))
    }

    #[test]
    fn a_long_chain_needs_no_relabelling() {
        // The new block, and its parent as a neighbour in the list.
        assert_eq!(grow(200_000, |block| block - 1).1, 2);
    }

    /// Shapes that starve intervals: each must cost a bounded number of labels a block.
    #[test]
    fn hostile_trees_cost_few_labels_a_block() {
        type Shape = fn(u64) -> u64;
        let shapes: [(&str, Shape); 6] = [
            ("a fan of children under the root", |_| 0),
            ("a chain that always goes on in the second child", |block| (block - 1) / 2 * 2),
            ("two chains in turn", |block| block.saturating_sub(2)),
            ("sixteen chains in turn", |block| block.saturating_sub(16)),
            ("a chain in the first of fifty children", |block| {
                if block % 50 == 1 { block.saturating_sub(50) } else { (block - 1) / 50 * 50 + 1 }
            }),
            ("a child for each block in turn", |block| block / 2),
        ];
        for (name, shape) in shapes {
            let (_, cost) = grow(60_000, shape);
            println!("{name}: {cost} intervals written a block");
            assert!(cost <= 40, "{name}: {cost}");
        }
    }

    #[test]
    fn a_chain_through_the_last_of_many_children() {
        // Each level has eight children and goes on in the last: every step enters the narrowest interval.
        let (_, cost) = grow(60_000, |block| (block - 1) / 8 * 8);
        println!("{cost} intervals written a block");
        assert!(cost <= 40, "{cost}");
    }
}
