//! The colouring of one block: which of the blocks that it merges are blue.
//!
//! GHOSTDAG (Sompolinsky, Wyborski, Zohar: "PHANTOM GHOSTDAG: a scalable generalization of Nakamoto consensus", 2021,
//! algorithm 1) in the online form that Kaspa runs: a block inherits the blues of its selected parent, then the blocks of
//! its mergeset are tried in order of blue work. A candidate becomes blue when the blues stay a k-cluster, that is when
//! 1. it has at most k blues in its anticone, and
//! 2. no blue has it as the (k+1)-th blue in its own anticone.
//!
//! Under stake there is a third: no blue is a *copy* of it, a block of the same slot with the same VRF output. Copies cost
//! nothing to make; if they counted, whoever wins one slot could make k+1 blocks of work of it, and a tenth of the stake
//! would outweigh all others (`docs/decisions/0007-copies-are-red.md`).
//!
//! The blues that can lie in a candidate's anticone are those of the chain down to the first chain block in its past.
//! They are gathered once for all candidates (the *window*), each with the current size of its blue anticone.

use std::cmp::Ordering;

use alloy_primitives::B256;
use lattice_storage::StorageFault;

use crate::{
    TieRule,
    dag::{Block, Dag},
    older::Held,
};

/// What GHOSTDAG says of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GhostdagData {
    /// Blues in the past of the block.
    pub blue_score: u64,
    /// Work of the blues in the past of the block.
    pub blue_work: u128,
    /// The heaviest parent; zero for genesis.
    pub selected_parent: B256,
    /// Blues that the block merges: the selected parent, then in the order of consensus. Empty for genesis.
    pub mergeset_blues: Vec<B256>,
    /// Blocks that it merges and that are not blue, in the order of consensus.
    pub mergeset_reds: Vec<B256>,
}

/// The same by index, with what later colourings need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Colouring {
    pub blue_score: u64,
    pub blue_work: u128,
    /// Selected parent first; empty for genesis.
    pub blues: Box<[u64]>,
    pub reds: Box<[u64]>,
    /// Size of the blue anticone, as this block sees it, of each blue for which this block changed it.
    pub anticone_sizes: Box<[(u64, u16)]>,
}

impl Colouring {
    pub(crate) fn selected_parent(&self) -> Option<u64> {
        self.blues.first().copied()
    }

    /// All merged blocks, the selected parent not included, blues first.
    pub(crate) fn mergeset(&self) -> impl Iterator<Item = u64> + '_ {
        self.blues.iter().skip(1).chain(self.reds.iter()).copied()
    }
}

/// Why a block has no colouring.
#[derive(Debug)]
pub(crate) enum NoColouring {
    /// The mergeset is larger than was allowed.
    TooLarge,
    Fault(StorageFault),
}

impl From<StorageFault> for NoColouring {
    fn from(fault: StorageFault) -> Self {
        Self::Fault(fault)
    }
}

impl Dag {
    /// Colours a block with these parents (at least one), whatever it merges.
    pub(crate) fn colour_all(&self, parents: &[u64]) -> Result<Colouring, StorageFault> {
        self.colour(parents, usize::MAX).map_err(|error| match error {
            NoColouring::Fault(fault) => fault,
            NoColouring::TooLarge => unreachable!("no mergeset is larger than usize::MAX"),
        })
    }

    /// Colours a block with these parents (at least one). Stops when it would merge more than `mergeset_max` blocks.
    pub(crate) fn colour(&self, parents: &[u64], mergeset_max: usize) -> Result<Colouring, NoColouring> {
        let selected_parent = self.greatest(parents)?;
        let mut mergeset = self.mergeset(parents, selected_parent, mergeset_max)?;
        mergeset.sort_unstable_by(|(_, a), (_, b)| self.order_in_mergeset(a, b));

        let mut window = Window::new(self, selected_parent);
        let mut reds = Vec::new();
        for (candidate, block) in &mergeset {
            if !window.try_blue(*candidate, block)? {
                reds.push(*candidate);
            }
        }
        let Window { own, own_work, inherited, .. } = window;
        let parent = self.block(selected_parent)?;
        let changed = inherited.iter().filter(|blue| blue.changed).chain(&own);
        Ok(Colouring {
            blue_score: parent.colouring.blue_score + own.len() as u64,
            blue_work: parent.colouring.blue_work + parent.work + own_work,
            anticone_sizes: changed.map(|blue| (blue.block, blue.anticone)).collect(),
            blues: own.iter().map(|blue| blue.block).collect(),
            reds: reds.into(),
        })
    }

    /// The parent with the greatest key.
    fn greatest(&self, parents: &[u64]) -> Result<u64, StorageFault> {
        let (&first, others) = parents.split_first().expect("callers refuse blocks without parents");
        let mut greatest = (self.key_at(first)?, first);
        for &parent in others {
            greatest = greatest.max((self.key_at(parent)?, parent));
        }
        Ok(greatest.1)
    }

    /// What is in the past of the parents, but neither the selected parent nor in its past. Unordered.
    fn mergeset<'a>(
        &'a self,
        parents: &[u64],
        selected_parent: u64,
        max: usize,
    ) -> Result<Vec<(u64, Held<'a, Block>)>, NoColouring> {
        let past = self.past_of(selected_parent);
        let mut seen = Seen::new(parents.iter().copied().max().unwrap_or_default());
        let mut open = Vec::with_capacity(64);
        let mut found = Vec::with_capacity(64);
        let visit = |block: u64, open: &mut Vec<u64>, seen: &mut Seen| -> Result<(), StorageFault> {
            if block != selected_parent && !past.contains(block)? && seen.insert(block) {
                open.push(block);
            }
            Ok(())
        };
        for &parent in parents {
            visit(parent, &mut open, &mut seen)?;
        }
        while let Some(index) = open.pop() {
            if found.len() >= max {
                return Err(NoColouring::TooLarge);
            }
            let block = self.block(index)?;
            for &parent in &block.parents {
                visit(parent, &mut open, &mut seen)?;
            }
            found.push((index, block));
        }
        Ok(found)
    }

    /// Whether the two are blocks of one win: of one slot, with one VRF output, hence of one producer. Slots rise along every
    /// path, so copies are always in each other's anticone. Blocks of vectors have no VRF.
    #[inline]
    fn is_copy(&self, blue: u64, of: &Block) -> Result<bool, StorageFault> {
        if self.params().tie_rule != TieRule::LowerVrfHash {
            return Ok(false);
        }
        let blue = self.block(blue)?;
        Ok(blue.slot == of.slot && blue.vrf_hash == of.vrf_hash)
    }

    /// Order of consensus within a mergeset: blue work, then the tie rule. AI classes have no say.
    #[inline]
    pub(crate) fn order_in_mergeset(&self, a: &Block, b: &Block) -> Ordering {
        a.colouring.blue_work.cmp(&b.colouring.blue_work).then_with(|| self.tie_of(a).cmp(&self.tie_of(b)))
    }
}

/// A blue block, with the size of its blue anticone as the block being coloured sees it.
struct Blue {
    block: u64,
    anticone: u16,
    changed: bool,
}

/// The blues that candidates are held against.
struct Window<'a> {
    dag: &'a Dag,
    k: u16,
    /// Blues that the new block merges, the selected parent first.
    own: Vec<Blue>,
    /// Their work, but for the selected parent's.
    own_work: u128,
    /// Blues that chain blocks merged, newest chain block first.
    inherited: Vec<Blue>,
    /// The chain from the selected parent downwards as far as it is gathered: (block, end of its blues in `inherited`).
    chain: Vec<(u64, usize)>,
    /// Newest known anticone size of blues further down, by distance from the selected parent.
    sizes: Vec<u16>,
    /// Places of the blues in the current candidate's anticone: own ones and inherited ones.
    anticone: (Vec<u32>, Vec<u32>),
}

const SIZE_UNKNOWN: u16 = u16::MAX;

impl<'a> Window<'a> {
    fn new(dag: &'a Dag, selected_parent: u64) -> Self {
        Self {
            dag,
            k: dag.params().k,
            own: vec![Blue { block: selected_parent, anticone: 0, changed: true }],
            own_work: 0,
            inherited: Vec::with_capacity(256),
            chain: Vec::with_capacity(32),
            sizes: vec![SIZE_UNKNOWN; dag.len().min(1024) as usize],
            anticone: Default::default(),
        }
    }

    /// Adds the candidate to the blues when they stay a k-cluster with it and hold no copy of it.
    fn try_blue(&mut self, candidate: u64, block: &Block) -> Result<bool, StorageFault> {
        // The selected parent has all merged blues in its anticone, so with k of them there is no place (condition 2).
        if self.own.len() > usize::from(self.k) {
            return Ok(false);
        }
        let past = self.dag.past_of(candidate);
        let k = usize::from(self.k);
        let (own_anticone, anticone) = &mut self.anticone;
        own_anticone.clear();
        anticone.clear();
        for (place, blue) in self.own.iter().enumerate() {
            if past.contains(blue.block)? {
                continue;
            }
            own_anticone.push(place as u32);
            if own_anticone.len() > k || blue.anticone == self.k || self.dag.is_copy(blue.block, block)? {
                return Ok(false);
            }
        }
        let mut at = 0;
        for depth in 0.. {
            if depth == self.chain.len() {
                extend(self.dag, &self.own, &mut self.chain, &mut self.inherited, &mut self.sizes)?;
            }
            let (chain_block, end) = self.chain[depth];
            // Everything further down is in the past of this chain block, hence of the candidate.
            if past.contains(chain_block)? {
                break;
            }
            for (place, blue) in self.inherited[..end].iter().enumerate().skip(at) {
                if past.contains(blue.block)? {
                    continue;
                }
                anticone.push(place as u32);
                if own_anticone.len() + anticone.len() > k || blue.anticone == self.k {
                    return Ok(false);
                }
                if self.dag.is_copy(blue.block, block)? {
                    return Ok(false);
                }
            }
            at = end;
        }
        let size = (own_anticone.len() + anticone.len()) as u16;
        for &place in own_anticone.iter() {
            self.own[place as usize].anticone += 1;
        }
        for &place in anticone.iter() {
            let blue = &mut self.inherited[place as usize];
            blue.anticone += 1;
            blue.changed = true;
        }
        self.own.push(Blue { block: candidate, anticone: size, changed: true });
        self.own_work += block.work;
        Ok(true)
    }
}

/// Gathers the blues of the next chain block down. Never called below genesis, which is in everyone's past.
fn extend(
    dag: &Dag,
    own: &[Blue],
    chain: &mut Vec<(u64, usize)>,
    inherited: &mut Vec<Blue>,
    sizes: &mut Vec<u16>,
) -> Result<(), StorageFault> {
    let chain_block = match chain.last() {
        None => own[0].block,
        Some(&(above, _)) => {
            dag.block(above)?.colouring.selected_parent().expect("genesis is in the past of every candidate")
        }
    };
    let block = dag.block(chain_block)?;
    let colouring = &block.colouring;
    // No blue of the chain is newer than its top.
    let newest = own[0].block;
    for &(blue, size) in &colouring.anticone_sizes {
        let distance = (newest - blue) as usize;
        if distance >= sizes.len() {
            sizes.resize(2 * distance, SIZE_UNKNOWN);
        }
        // Chain blocks come newest first, so the first size met is the latest one.
        if sizes[distance] == SIZE_UNKNOWN {
            sizes[distance] = size;
        }
    }
    inherited.extend(colouring.blues.iter().map(|&block| Blue {
        block,
        anticone: sizes[(newest - block) as usize],
        changed: false,
    }));
    chain.push((chain_block, inherited.len()));
    Ok(())
}

/// A set of block indices that are mostly recent.
struct Seen {
    newest: u64,
    /// By distance from the newest block.
    bits: Vec<u64>,
}

impl Seen {
    fn new(newest: u64) -> Self {
        Self { newest, bits: vec![0; 16] }
    }

    /// Whether the block was not in the set yet.
    fn insert(&mut self, block: u64) -> bool {
        let distance = (self.newest - block) as usize;
        let (word, bit) = (distance / 64, distance % 64);
        if word >= self.bits.len() {
            self.bits.resize(2 * word, 0);
        }
        let is_new = self.bits[word] >> bit & 1 == 0;
        self.bits[word] |= 1 << bit;
        is_new
    }
}
