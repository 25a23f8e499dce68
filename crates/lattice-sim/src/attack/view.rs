//! What one side sees: the tips, and what is still on its way.

use super::arena::Arena;
use alloy_primitives::B256;
use std::collections::BTreeMap;

/// The tips of what one side sees. Cheaper than asking the whole DAG when much of it is hidden for long.
#[derive(Debug, Clone)]
pub struct View {
    tips: Vec<B256>,
    /// Parents for a block on these tips, once somebody has asked.
    chosen: Option<Vec<B256>>,
    /// By the slot from which they are seen.
    coming: BTreeMap<u64, Vec<B256>>,
}

impl View {
    /// A side that sees the genesis.
    pub fn new() -> Self {
        Self { tips: vec![B256::ZERO], chosen: None, coming: BTreeMap::new() }
    }

    /// A block that will be seen from a slot on.
    pub fn expect(&mut self, slot: u64, hash: B256) {
        self.coming.entry(slot).or_default().push(hash);
    }

    /// Lets the time come in which everything up to this slot is seen. Blocks that `is_refused` are left out.
    pub fn advance(&mut self, arena: &Arena, slot: u64, is_refused: impl Fn(&B256) -> bool) {
        let later = self.coming.split_off(&(slot + 1));
        for hash in std::mem::replace(&mut self.coming, later).into_values().flatten() {
            if is_refused(&hash) {
                continue;
            }
            let parents = arena.parents(&hash);
            self.tips.retain(|tip| !parents.contains(tip));
            // What arrives late may lie below what is seen already.
            if !self.tips.iter().any(|tip| arena.is_ancestor(&hash, tip)) {
                self.tips.push(hash);
                self.chosen = None;
            }
        }
    }

    /// The best tip.
    pub fn sink(&self, arena: &Arena) -> B256 {
        self.tips.iter().copied().max_by_key(|tip| arena.key(tip)).expect("there is always a tip")
    }

    /// Parents for a block on everything that is seen: the best tip, and of the others as many as a block may name and
    /// merge; when there are more, the highest AI class and the oldest slot in turn. Ascending by hash.
    pub fn parents(&mut self, arena: &Arena) -> Vec<B256> {
        self.chosen.get_or_insert_with(|| choose(arena, self.tips.clone())).clone()
    }
}

fn choose(arena: &Arena, mut tips: Vec<B256>) -> Vec<B256> {
    tips.sort_by_cached_key(|tip| std::cmp::Reverse(arena.key(tip)));
    if tips.len() > arena.parents_max() {
        let mut highest = tips.split_off(1);
        let mut oldest = highest.clone();
        highest.sort_by_key(|tip| std::cmp::Reverse(arena.ai_class(arena.party(tip))));
        oldest.sort_by_key(|tip| arena.slot(tip));
        for tip in highest.into_iter().zip(oldest).flat_map(|(class, age)| [class, age]) {
            if tips.len() < arena.parents_max() && !tips.contains(&tip) {
                tips.push(tip);
            }
        }
    }
    while tips.len() > 1 && !arena.fits(&tips) {
        tips.pop();
    }
    tips.sort_unstable();
    tips
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}
