//! GHOSTDAG as the paper states it, slowly and independently of the crate: whole pasts, whole blue sets, and the
//! definition of a k-cluster.

/// Pasts of all blocks of a DAG, as bit sets.
pub struct Pasts {
    words: usize,
    bits: Vec<u64>,
}

impl Pasts {
    /// `parents[b]` are the parents of block b, all smaller than b.
    pub fn of(parents: &[Vec<usize>]) -> Self {
        let words = parents.len().div_ceil(64);
        let mut bits = vec![0; words * parents.len()];
        for (block, parents) in parents.iter().enumerate() {
            let (earlier, row) = bits.split_at_mut(block * words);
            for &parent in parents {
                row[parent / 64] |= 1 << (parent % 64);
                for (word, past) in row.iter_mut().zip(&earlier[parent * words..(parent + 1) * words]) {
                    *word |= past;
                }
            }
        }
        Self { words, bits }
    }

    pub fn contains(&self, block: usize, ancestor: usize) -> bool {
        self.bits[block * self.words + ancestor / 64] >> (ancestor % 64) & 1 == 1
    }
}

/// What the oracle says of one block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    pub selected_parent: Option<usize>,
    /// All blues in the past.
    pub blue_set: u64,
    pub blue_work: u128,
    /// Selected parent first, then in order of the key.
    pub mergeset_blues: Vec<usize>,
    pub mergeset_reds: Vec<usize>,
}

/// What blocks say of themselves.
pub struct Labels {
    /// Sort keys of blocks beneath blue work: greater wins.
    pub ties: Vec<[u8; 64]>,
    /// Comes before the tie between candidates for selected parent: greater wins.
    pub ai_class: Vec<u8>,
    pub work: Vec<u128>,
    /// Whose win of a slot each block uses: blocks with the same one are copies.
    pub wins: Vec<u64>,
}

/// A DAG of at most 64 blocks: sets are machine words.
pub struct Oracle {
    pub k: usize,
    pub past: Vec<u64>,
    labels: Labels,
    pub judged: Vec<Judged>,
}

pub fn members(set: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |block| set >> block & 1 == 1)
}

impl Oracle {
    pub fn of(k: usize, parents: &[Vec<usize>], labels: Labels) -> Self {
        assert!(parents.len() <= 64);
        let mut oracle = Self { k, past: Vec::new(), labels, judged: Vec::new() };
        for parents in parents {
            let judged = oracle.judge(parents);
            oracle.past.push(parents.iter().fold(0, |past, &parent| past | 1 << parent | oracle.past[parent]));
            oracle.judged.push(judged);
        }
        oracle
    }

    fn key(&self, block: usize) -> (u128, [u8; 64]) {
        (self.judged[block].blue_work, self.labels.ties[block])
    }

    /// |anticone(block) ∩ set|
    pub fn anticone_within(&self, block: usize, set: u64) -> usize {
        members(set)
            .filter(|&other| other != block && self.past[block] >> other & 1 == 0 && self.past[other] >> block & 1 == 0)
            .count()
    }

    /// Definition 1 of the paper: every member has at most k members in its anticone.
    pub fn is_k_cluster(&self, set: u64) -> bool {
        members(set).all(|block| self.anticone_within(block, set) <= self.k)
    }

    /// Algorithm 1 of the paper for the past of a block with these parents; the order in which candidates are tried is
    /// Kaspa's: by blue work, then by tie.
    pub fn judge(&self, parents: &[usize]) -> Judged {
        let Some(selected) = parents.iter().copied().max_by_key(|&parent| {
            let (work, tie) = self.key(parent);
            (work, self.labels.ai_class[parent], tie)
        }) else {
            return Judged::default();
        };
        let past = parents.iter().fold(0u64, |past, &parent| past | 1 << parent | self.past[parent]);
        let mut merged: Vec<usize> = members(past & !self.past[selected] & !(1 << selected)).collect();
        merged.sort_by_key(|&block| self.key(block));
        let mut judged = Judged {
            selected_parent: Some(selected),
            blue_set: self.judged[selected].blue_set | 1 << selected,
            mergeset_blues: vec![selected],
            ..Judged::default()
        };
        for candidate in merged {
            let is_copy = members(judged.blue_set).any(|blue| self.labels.wins[blue] == self.labels.wins[candidate]);
            if !is_copy && self.is_k_cluster(judged.blue_set | 1 << candidate) {
                judged.blue_set |= 1 << candidate;
                judged.mergeset_blues.push(candidate);
            } else {
                judged.mergeset_reds.push(candidate);
            }
        }
        judged.blue_work = members(judged.blue_set).map(|blue| self.labels.work[blue]).sum();
        judged
    }
}
