//! Ancestry in O(log n): an interval tree with future covering sets.
//!
//! The selected parents form a tree. Every block holds an interval inside its tree parent's, so "a is on the chain
//! below b" is a comparison of intervals. The rest of the DAG is covered by a small set for each block: the blocks that
//! merged it, ordered by interval; a is in the past of b when one of those is on the chain of b (the method of Kaspa).
//!
//! Where Kaspa keeps room by reallocating whole subtrees around a moving root, here the interval ends are an ordered list
//! with labels (Bender, Cole, Demaine, Farach-Colton, Zito: "Two simplified algorithms for maintaining order in a list",
//! 2002): a full place is relabelled within the smallest surroundings that are sparse enough, O(log n) labels an
//! insertion amortised whatever an adversary builds. Relabelling never changes the order, so covering sets stay sorted.

/// Room that a new interval leaves on each side, when there is plenty: for later siblings.
const SLACK_MAX: u64 = 1 << 32;
/// Below this many labels of slack a new interval takes a quarter instead of a 1,024th.
const SLACK_MIN: u64 = 1 << 16;
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

/// Why stored intervals do not make a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two interval ends have the label {0}")]
pub struct EqualLabels(pub u64);

/// Ancestry of a growing DAG. Blocks are named by insertion index; block 0 is the root.
#[derive(Debug, Clone)]
pub struct Reachability {
    intervals: Vec<Interval>,
    /// The ordered list of interval ends; end 2i is the start of block i, 2i + 1 its end.
    next: Vec<u32>,
    previous: Vec<u32>,
    /// For each block those that merged it, in order of their intervals.
    future_covering: Vec<Vec<u32>>,
}

const NONE: u32 = u32::MAX;

impl Default for Reachability {
    fn default() -> Self {
        Self::new()
    }
}

impl Reachability {
    /// A tree of the root alone.
    pub fn new() -> Self {
        Self {
            intervals: vec![Interval { start: 0, end: u64::MAX }],
            next: vec![1, NONE],
            previous: vec![NONE, 0],
            future_covering: vec![Vec::new()],
        }
    }

    /// Restores a tree from the intervals of all blocks and their mergesets (selected parent not included), both by
    /// index. Covering sets follow from these.
    pub fn restore<M: IntoIterator<Item = u32>>(
        intervals: Vec<Interval>,
        mergeset: impl Fn(u32) -> M,
    ) -> Result<Self, EqualLabels> {
        let len = intervals.len();
        let mut out = Self {
            intervals,
            next: vec![NONE; 2 * len],
            previous: vec![NONE; 2 * len],
            future_covering: vec![Vec::new(); len],
        };
        let mut ends: Vec<u32> = (0..2 * len as u32).collect();
        ends.sort_unstable_by_key(|&end| out.label(end));
        for pair in ends.windows(2) {
            if out.label(pair[0]) == out.label(pair[1]) {
                return Err(EqualLabels(out.label(pair[0])));
            }
            out.next[pair[0] as usize] = pair[1];
            out.previous[pair[1] as usize] = pair[0];
        }
        for block in 0..len as u32 {
            for merged in mergeset(block) {
                out.cover(merged, block);
            }
        }
        Ok(out)
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.intervals.len()
    }

    /// Never: the root is always there.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The interval of a block.
    #[inline]
    pub fn interval(&self, block: u32) -> Interval {
        self.intervals[block as usize]
    }

    /// Adds the next block under its tree parent. `mergeset` is what is in its past but neither in the parent's past nor
    /// the parent itself. Blocks whose interval changed, the new one included, are appended to `changed`, some maybe
    /// twice.
    pub fn add(&mut self, parent: u32, mergeset: impl IntoIterator<Item = u32>, changed: &mut Vec<u32>) -> u32 {
        let block = self.intervals.len() as u32;
        let (start, end) = (2 * block, 2 * block + 1);
        let parent_end = 2 * parent + 1;
        let before = self.previous[parent_end as usize];
        if self.label(parent_end) - self.label(before) < 3 {
            self.make_room_after(before, changed);
        }
        let (low, high) = (self.label(before), self.label(parent_end));
        let slack = slack(high - low);
        self.intervals.push(Interval { start: low + slack, end: high - slack });
        self.next.extend([end, parent_end]);
        self.previous.extend([before, start]);
        self.next[before as usize] = start;
        self.previous[parent_end as usize] = end;
        self.future_covering.push(Vec::new());
        changed.push(block);
        for merged in mergeset {
            self.cover(merged, block);
        }
        block
    }

    /// Whether `a` is `b` or on the chain of tree parents of `b`.
    #[inline]
    pub fn is_chain_ancestor(&self, a: u32, b: u32) -> bool {
        self.interval(a).contains(&self.interval(b))
    }

    /// Whether `a` is in the past of `b`; a block is not in its own past.
    pub fn is_ancestor(&self, a: u32, b: u32) -> bool {
        if a == b {
            return false;
        }
        if self.is_chain_ancestor(a, b) {
            return true;
        }
        let covering = &self.future_covering[a as usize];
        let at = self.place_in(covering, b);
        at > 0 && self.is_chain_ancestor(covering[at - 1], b)
    }

    /// How many of a covering set start at or before the interval of `block`.
    #[inline]
    fn place_in(&self, covering: &[u32], block: u32) -> usize {
        let start = self.interval(block).start;
        covering.partition_point(|&other| self.interval(other).start <= start)
    }

    fn cover(&mut self, merged: u32, by: u32) {
        let at = self.place_in(&self.future_covering[merged as usize], by);
        debug_assert!(
            at == 0 || !self.is_chain_ancestor(self.future_covering[merged as usize][at - 1], by),
            "what a chain ancestor merged is in its past, so it is not merged again"
        );
        self.future_covering[merged as usize].insert(at, by);
    }

    #[inline]
    fn label(&self, end: u32) -> u64 {
        let interval = &self.intervals[(end / 2) as usize];
        if end.is_multiple_of(2) { interval.start } else { interval.end }
    }

    fn set_label(&mut self, end: u32, label: u64) {
        let interval = &mut self.intervals[(end / 2) as usize];
        *(if end.is_multiple_of(2) { &mut interval.start } else { &mut interval.end }) = label;
    }

    /// Relabels the surroundings of an end so that there is room after it.
    ///
    /// Ranges of 2^i labels around it are tried, each twice the last, until one holds at most 2^(0.45 i) ends: this
    /// threshold falls with size, which gives the amortised bound. From there the range still doubles as long as that
    /// takes in few more ends: empty space next to a grown place is taken over as a whole.
    fn make_room_after(&mut self, after: u32, changed: &mut Vec<u32>) {
        let centre = self.label(after);
        let (mut first, mut last, mut count) = (after, after, 1u64);
        let mut found: Option<(u64, Range)> = None;
        for bits in ROOM_BITS_MIN..=64 {
            let mask = u64::MAX >> (64 - bits);
            let (low, high) = (centre & !mask, centre | mask);
            let count_max = found.as_ref().map_or(u64::MAX, |(sparse_count, _)| 2 * sparse_count);
            while count <= count_max && self.previous[first as usize] != NONE {
                let previous = self.previous[first as usize];
                if self.label(previous) < low {
                    break;
                }
                first = previous;
                count += 1;
            }
            while count <= count_max && self.next[last as usize] != NONE {
                let next = self.next[last as usize];
                if self.label(next) > high {
                    break;
                }
                last = next;
                count += 1;
            }
            let range = Range { first, last, count, low, bits };
            match &mut found {
                Some((_, best)) if count <= count_max => *best = range,
                Some(_) => break,
                None if count <= 1 << (bits * 9 / 20) || bits == 64 => found = Some((count, range)),
                None => {}
            }
        }
        let (_, range) = found.expect("the range of all labels is always taken");
        self.relabel(&range, after, changed);
    }

    /// Spreads the ends of a range: half of the free labels evenly, the other half where the range is being filled,
    /// because that is where the next blocks will come.
    fn relabel(&mut self, range: &Range, hot: u32, changed: &mut Vec<u32>) {
        let free = (1u128 << range.bits) - u128::from(range.count);
        let step = 1 + free / 2 / u128::from(range.count + 1);
        let mut used = 0u128;
        let mut end = range.first;
        loop {
            used += step;
            // used is at most count * step + free / 2 <= 2^bits, so the label stays inside of the range.
            self.set_label(end, range.low + (used - 1) as u64);
            changed.push(end / 2);
            if end == range.last {
                break;
            }
            if end == hot {
                used += free / 2;
            }
            end = self.next[end as usize];
        }
    }
}

/// Ends `first..=last` of the list, which are those with labels in `low..low + 2^bits`.
struct Range {
    first: u32,
    last: u32,
    count: u64,
    low: u64,
    bits: u32,
}

/// Labels to leave on each side of a new interval in a gap. Most of the gap goes to the new block, as its chain may
/// grow long; the rest is for siblings. At least 1, less than half of the gap.
fn slack(gap: u64) -> u64 {
    (gap >> 10).clamp(SLACK_MIN, SLACK_MAX).min(gap / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All invariants of the list and the intervals.
    fn check(tree: &Reachability, parents: &[u32]) {
        let mut end = 0;
        let mut open = Vec::new();
        let mut seen = 0;
        let mut last = None;
        loop {
            assert!(last < Some(tree.label(end)), "labels ascend along the list");
            last = Some(tree.label(end));
            if end % 2 == 0 {
                assert_eq!(open.last().copied(), (end > 0).then(|| parents[end as usize / 2]));
                open.push(end / 2);
            } else {
                assert_eq!(open.pop(), Some(end / 2));
            }
            seen += 1;
            match tree.next[end as usize] {
                NONE => break,
                next => {
                    assert_eq!(tree.previous[next as usize], end);
                    end = next;
                }
            }
        }
        assert!(open.is_empty());
        assert_eq!(seen, 2 * tree.len());
    }

    fn grow(len: u32, parent_of: impl Fn(u32) -> u32) -> (Reachability, usize) {
        let mut tree = Reachability::new();
        let (mut parents, mut changes) = (vec![0], Vec::new());
        let mut total = 0;
        for block in 1..len {
            parents.push(parent_of(block));
            tree.add(parents[block as usize], [], &mut changes);
            total += changes.len();
            changes.clear();
        }
        check(&tree, &parents);
        for block in (1..len).step_by(97) {
            assert!(tree.is_ancestor(parents[block as usize], block) && tree.is_ancestor(0, block));
            assert!(!tree.is_ancestor(block, parents[block as usize]) && !tree.is_ancestor(block, block));
        }
        (tree, total / (len as usize - 1))
    }

    #[test]
    fn a_long_chain_needs_no_relabelling() {
        assert_eq!(grow(200_000, |block| block - 1).1, 1);
    }

    /// Shapes that starve intervals: each must cost a bounded number of labels a block.
    #[test]
    fn hostile_trees_cost_few_labels_a_block() {
        type Shape = fn(u32) -> u32;
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
