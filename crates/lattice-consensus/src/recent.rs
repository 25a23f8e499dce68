//! The pasts of recent blocks as bit rows: the fast answer to "is a in the past of b?".
//!
//! Nearly all questions that GHOSTDAG asks concern blocks inserted close to each other. A row holds, for one block,
//! which of the 1,024 blocks inserted before it are in its past; a new row is the parents' rows shifted and joined.
//! What is further away is asked of the interval tree ([`crate::reachability`]); both give the same answer.

const WORDS: usize = 16;
/// Blocks before a block that its row knows.
pub(crate) const REACH: u64 = WORDS as u64 * 64;
/// Rows kept; more than `REACH`, so that a new row finds those of all parents in reach.
pub(crate) const ROWS: u64 = 2 * REACH;

/// Bit d of a row: the block inserted d + 1 places before is in the past.
type Row = [u64; WORDS];

#[derive(Debug, Clone)]
pub(crate) struct RecentPasts {
    /// Ring, once it has grown to its size: the row of block i is at i modulo [`ROWS`].
    rows: Vec<Row>,
    /// Blocks from this index on have a row, but maybe one that lacks what lies before the first row.
    built: u64,
    /// Blocks from this index on have a whole row.
    first: u64,
    /// Index of the next block.
    next: u64,
}

impl RecentPasts {
    /// For a DAG whose first block has index 0.
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), built: 0, first: 0, next: 0 }
    }

    /// For a DAG of which the blocks from `start` on will be pushed again.
    pub(crate) fn resume(start: u64) -> Self {
        // Rows of the first `REACH` blocks lack what lies before the start; they serve only to build later ones.
        let first = if start == 0 { 0 } else { start + REACH };
        let rows = if start == 0 { Vec::new() } else { vec![[0; WORDS]; ROWS as usize] };
        Self { rows, built: start, first, next: start }
    }

    /// Index of the next block.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Adds the row of the next block.
    pub(crate) fn push(&mut self, parents: &[u64]) {
        let index = self.next;
        let mut row = [0; WORDS];
        for &parent in parents {
            let distance = index - parent;
            if distance > REACH {
                continue;
            }
            let bit = distance - 1;
            row[(bit / 64) as usize] |= 1 << (bit % 64);
            if parent >= self.built {
                join_shifted(&mut row, &self.rows[(parent % ROWS) as usize], distance);
            }
        }
        match self.rows.get_mut((index % ROWS) as usize) {
            Some(oldest) => *oldest = row,
            None => self.rows.push(row),
        }
        self.next += 1;
        self.built = self.built.max(self.next.saturating_sub(ROWS));
        self.first = self.first.max(self.built);
    }

    /// Forgets all rows, so that the tree must answer.
    #[cfg(test)]
    pub(crate) fn forget(&mut self) {
        (self.built, self.first) = (self.next, self.next + REACH);
    }

    /// What is known of the past of one block.
    #[inline]
    pub(crate) fn past_of(&self, index: u64) -> Past<'_> {
        let known = index >= self.first;
        Past { index, row: known.then(|| &self.rows[(index % ROWS) as usize]) }
    }
}

/// The past of one block, as far as its row reaches.
#[derive(Clone, Copy)]
pub(crate) struct Past<'a> {
    index: u64,
    row: Option<&'a Row>,
}

impl Past<'_> {
    /// Whether a block is in the past, when the row knows.
    #[inline]
    pub(crate) fn contains(&self, block: u64) -> Option<bool> {
        if block >= self.index {
            return Some(false); // Blocks are inserted after their past.
        }
        let bit = self.index - block - 1;
        let row = self.row?;
        (bit < REACH).then(|| row[(bit / 64) as usize] >> (bit % 64) & 1 == 1)
    }
}

/// `row |= other << distance`
#[inline]
fn join_shifted(row: &mut Row, other: &Row, distance: u64) {
    let (words, bits) = ((distance / 64) as usize, distance % 64);
    if words >= WORDS {
        return;
    }
    if bits == 0 {
        for i in words..WORDS {
            row[i] |= other[i - words];
        }
        return;
    }
    row[words] |= other[0] << bits;
    for i in words + 1..WORDS {
        row[i] |= other[i - words] << bits | other[i - words - 1] >> (64 - bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parents of block i in a DAG long enough to leave the rows: two or three earlier blocks at mixed distances.
    fn parents(i: u64) -> Vec<u64> {
        let mix =
            |salt: u64| (i.wrapping_mul(0x9e37_79b1).wrapping_add(salt.wrapping_mul(0x85eb_ca6b)) % (1 << 32)) >> 8;
        let mut out = Vec::new();
        for (salt, spread) in [(1, 3), (2, 70), (3, 1500)] {
            let distance = 1 + mix(salt) % spread;
            if distance <= i && (salt < 3 || mix(4) % 5 == 0) {
                out.push(i - distance);
            }
        }
        if out.is_empty() && i > 0 {
            out.push(i - 1);
        }
        out
    }

    #[test]
    fn rows_agree_with_a_search_and_a_restored_ring_with_the_old_one() {
        let len = 3 * ROWS + 17;
        let lists: Vec<_> = (0..len).map(parents).collect();
        let mut pasts: Vec<Vec<bool>> = Vec::new();
        let mut recent = RecentPasts::new();
        for (i, list) in lists.iter().enumerate() {
            let mut past = vec![false; i];
            for &parent in list {
                past[parent as usize] = true;
                for (j, &seen) in pasts[parent as usize].iter().enumerate() {
                    past[j] |= seen;
                }
            }
            pasts.push(past);
            recent.push(list);
        }
        let mut restored = RecentPasts::resume(len - ROWS);
        for list in &lists[(len - ROWS) as usize..] {
            restored.push(list);
        }
        let mut known = 0;
        for b in 0..len {
            for a in 0..len {
                let expected = a < b && pasts[b as usize][a as usize];
                for answer in [&recent, &restored].map(|r| r.past_of(b).contains(a)).into_iter().flatten() {
                    known += u64::from(a < b);
                    assert_eq!(answer, expected, "{a} in the past of {b}");
                }
            }
        }
        assert_eq!(known, REACH * (ROWS + ROWS - REACH), "every row answers within its reach");
    }
}
