//! Where an attack takes place: one DAG of everything that was ever made, and who sees what of it since when.
//!
//! The colours of a block depend on its past alone, so one DAG serves all views: a view is a rule of visibility that is
//! closed under pasts, and choosing from a view is choosing among what it sees.

use crate::rng::Rng;
use alloy_primitives::{B256, U256};
use lattice_consensus::{BlockFacts, BlockKey, Dag, DagParams, TieRule, eligibility::Lottery};
use lattice_storage::{Batch, Kv, MemoryKv, StorageFault};
use std::{collections::BTreeSet, sync::Arc};

/// Validators of equal stake: shares are in hundredths.
pub const VALIDATORS: u32 = 100;
/// The active-slot coefficient of the default network.
const ACTIVE_SLOT_PPM: u32 = 632_000;
/// Never seen by anybody but its maker.
pub const NEVER: u64 = u64::MAX;

/// Who made a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// Follows the rules.
    Honest,
    /// Does what serves it.
    Adversary,
}

/// What favours the adversary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Favour {
    /// The adversary's blocks are of the highest AI class and the honest ones of the lowest: ties between candidates for
    /// selected parent go to it, and half of the surplus parents are its own.
    pub class: bool,
    /// The adversary's VRF outputs are the lower ones: all other ties go to it, too. Else they are decided by lot.
    pub vrf: bool,
    /// The adversary's blocks weigh 17 and the honest ones 16; else all weigh the same.
    pub work: bool,
}

/// A block that was made: by whom, and since which slot each of two groups sees it.
#[derive(Debug, Clone, Copy)]
struct Made {
    party: Party,
    seen: [u64; 2],
}

/// What a new block is, but for its parents.
#[derive(Debug, Clone, Copy)]
pub struct Draft {
    /// Who makes it.
    pub party: Party,
    /// Its slot.
    pub slot: u64,
    /// The slot's VRF: copies of one win share it.
    pub vrf_hash: B256,
    /// Since which slot each group sees it.
    pub seen: [u64; 2],
}

/// Memory does not fail, and every block that is asked for is one of the arena's.
const NO_FAULT: &str = "a store in memory has no faults";

/// The DAG with its makers.
pub struct Arena {
    dag: Dag,
    kv: Arc<MemoryKv>,
    made: Vec<Made>,
    favour: Favour,
    threshold: u64,
    /// Who wins. A stream of its own, so that a seed's wins are the same whatever the attack makes of them.
    lottery: Rng,
    /// Hashes and VRF outputs.
    hashes: Rng,
}

/// Place of a block in the order in which blocks were made: its hash ends with it.
fn index_of(hash: &B256) -> usize {
    let tail: [u8; 4] = hash.0[28..].try_into().expect("four bytes");
    u32::from_be_bytes(tail) as usize
}

impl Arena {
    /// An arena with a genesis, on the default network's parameters.
    pub fn new(favour: Favour, seed: u64) -> Self {
        let params = DagParams {
            k: 37,
            parents_max: 24,
            mergeset_max: 180,
            merge_depth: 2_400,
            pruning_depth: u64::MAX,
            tie_rule: TieRule::LowerVrfHash,
        };
        let genesis = BlockFacts {
            hash: B256::ZERO,
            parents: Vec::new(),
            slot: 0,
            vrf_hash: B256::ZERO,
            ai_class: 0,
            work: 1,
            blue_score: 0,
            blue_work: 0,
            newest_pruning_point: B256::ZERO,
        };
        let kv = Arc::new(MemoryKv::new());
        let mut batch = Batch::new();
        Dag::new(&genesis, params, &mut batch);
        kv.write(batch).expect(NO_FAULT);
        let dag = Dag::open(kv.clone(), params).expect(NO_FAULT).expect("the genesis was written");
        let lottery = Lottery::new(ACTIVE_SLOT_PPM).expect("a chance");
        let threshold: U256 = lottery.threshold(1, VALIDATORS.into()) >> 192;
        Self {
            dag,
            kv,
            made: vec![Made { party: Party::Honest, seen: [0, 0] }],
            favour,
            threshold: threshold.to(),
            lottery: Rng::of_purpose(seed, 1),
            hashes: Rng::of_purpose(seed, 2),
        }
    }

    /// How many of this many validators win a slot.
    pub fn wins(&mut self, validators: u32) -> u32 {
        self.wins_boosted(validators, 0)
    }

    /// [`Arena::wins`] of who wins this many millionths more often than its share says.
    pub fn wins_boosted(&mut self, validators: u32, boost_ppm: u32) -> u32 {
        let threshold = u128::from(self.threshold) * (1_000_000 + u128::from(boost_ppm)) / 1_000_000;
        (0..validators).map(|_| u32::from(u128::from(self.lottery.next()) < threshold)).sum()
    }

    /// How many of this many draws win, by the gaps between wins: for many draws.
    pub fn wins_of_draws(&mut self, draws: u64) -> u64 {
        let miss = (-self.chance()).ln_1p();
        let mut gap = || ((self.lottery.next() as f64 + 1.0) / 2f64.powi(64)).ln() / miss;
        let (mut at, mut wins) = (gap().floor(), 0);
        while at < draws as f64 {
            wins += 1;
            at += 1.0 + gap().floor();
        }
        wins
    }

    /// The chance that one validator wins a slot.
    pub fn chance(&self) -> f64 {
        self.threshold as f64 / 2f64.powi(64)
    }

    /// A VRF output: of the adversary's it is the lower one, hence the winner, where ties are given to it.
    pub fn vrf_hash(&mut self, party: Party) -> B256 {
        let mut hash = self.random_hash();
        if self.favour.vrf {
            hash.0[0] = if party == Party::Adversary { 0 } else { 0xff };
        }
        hash
    }

    fn random_hash(&mut self) -> B256 {
        B256::from(U256::from_limbs(std::array::from_fn(|_| self.hashes.next())))
    }

    /// AI class of a party's blocks.
    pub fn ai_class(&self, party: Party) -> u8 {
        if self.favour.class && party == Party::Adversary { 3 } else { 0 }
    }

    const fn work(&self, party: Party) -> u128 {
        match (self.favour.work, party) {
            (false, _) => 1,
            (true, Party::Honest) => 16,
            (true, Party::Adversary) => 17,
        }
    }

    /// The parents that a block may have at most.
    pub const fn parents_max(&self) -> usize {
        self.dag.params().parents_max
    }

    /// Whether a block with these parents would merge no more than is allowed.
    pub fn fits(&self, parents: &[B256]) -> bool {
        let data = self.dag.virtual_data(parents).expect("parents are blocks of this arena");
        // The selected parent is the first of the blues and is not merged.
        data.mergeset_blues.len() + data.mergeset_reds.len() <= self.dag.params().mergeset_max + 1
    }

    /// Slot of a block.
    pub fn slot(&self, hash: &B256) -> u64 {
        self.dag.slot(hash).expect(NO_FAULT).expect("a block of this arena")
    }

    /// Blue score of a block.
    pub fn blue_score(&self, hash: &B256) -> u64 {
        self.dag.blue_score(hash).expect(NO_FAULT).expect("a block of this arena")
    }

    /// Parents of a block.
    pub fn parents(&self, hash: &B256) -> Vec<B256> {
        self.dag.parents(hash).expect(NO_FAULT).expect("a block of this arena")
    }

    /// Whether `a` is in the past of `b`.
    pub fn is_ancestor(&self, a: &B256, b: &B256) -> bool {
        self.dag.is_ancestor(a, b).expect(NO_FAULT)
    }

    /// Whether `a` is `b` or on its selected chain.
    pub fn is_chain_ancestor(&self, a: &B256, b: &B256) -> bool {
        self.dag.is_chain_ancestor(a, b).expect(NO_FAULT)
    }

    /// The newest block on the selected chain of a block with at most this slot.
    pub fn chain_block_at_slot(&self, hash: &B256, slot_max: u64) -> B256 {
        self.dag.chain_block_at_slot(hash, slot_max).expect(NO_FAULT).expect("a block of this arena")
    }

    /// The selected chain from a block down to the genesis.
    pub fn selected_chain(&self, from: &B256) -> impl Iterator<Item = B256> + '_ {
        self.dag.selected_chain(from).map(|hash| hash.expect(NO_FAULT))
    }

    /// The blues of the selected chain of a block, itself included.
    pub fn blues(&self, sink: &B256) -> BTreeSet<B256> {
        let data = self.selected_chain(sink).map(|hash| self.dag.ghostdag(&hash).expect(NO_FAULT));
        data.flatten().flat_map(|data| data.mergeset_blues).chain([*sink]).collect()
    }

    /// Who made a block.
    pub fn party(&self, hash: &B256) -> Party {
        self.made[index_of(hash)].party
    }

    /// Whether a group sees the block at a slot.
    pub fn is_seen(&self, group: usize, slot: u64, hash: &B256) -> bool {
        self.made[index_of(hash)].seen[group] <= slot
    }

    /// The sink of a group at a slot.
    pub fn sink(&self, group: usize, slot: u64) -> B256 {
        self.dag.best(|hash| Ok(self.is_seen(group, slot, hash))).expect(NO_FAULT)
    }

    /// Key of a block.
    pub fn key(&self, hash: &B256) -> BlockKey {
        self.dag.key(hash).expect(NO_FAULT).expect("a block of this arena")
    }

    /// Makes a block as the rules want it, on the best that a view sees.
    pub fn make(&mut self, draft: Draft, sees: impl Fn(&Self, &B256) -> bool) -> B256 {
        let usable = |hash: &B256| Ok::<_, StorageFault>(self.slot(hash) < draft.slot && sees(self, hash));
        let sink = self.dag.best(usable).expect(NO_FAULT);
        let class = |hash: &B256| Ok(self.ai_class(self.party(hash)));
        let parents = self.dag.select_parents(&sink, usable, class, self.parents_max()).expect(NO_FAULT);
        self.add(draft, parents)
    }

    /// Makes a block on the best that a group sees in the draft's slot.
    pub fn make_in(&mut self, group: usize, draft: Draft) -> B256 {
        self.make(draft, |arena, hash| arena.is_seen(group, draft.slot, hash))
    }

    /// Makes a block with these parents, which must be in ascending order.
    ///
    /// # Panics
    /// In debug builds, when the block breaks a rule of the DAG: an attack that is refused is no attack.
    pub fn add(&mut self, draft: Draft, parents: Vec<B256>) -> B256 {
        let mut hash = self.random_hash();
        hash.0[28..].copy_from_slice(&(self.made.len() as u32).to_be_bytes());
        // Nobody can use a block before its past.
        let seen = |group: usize| {
            let parents = parents.iter().map(|parent| self.made[index_of(parent)].seen[group]);
            parents.fold(draft.seen[group], u64::max)
        };
        let made = Made { party: draft.party, seen: [seen(0), seen(1)] };
        let mut facts = BlockFacts {
            hash,
            parents,
            slot: draft.slot,
            vrf_hash: draft.vrf_hash,
            ai_class: self.ai_class(draft.party),
            work: self.work(draft.party),
            blue_score: 0,
            blue_work: 0,
            newest_pruning_point: B256::ZERO,
        };
        let prepared = self.dag.check_nothing(&facts).expect("parents are blocks of this arena");
        (facts.blue_score, facts.blue_work) = (prepared.blue_score(), prepared.blue_work());
        facts.newest_pruning_point = prepared.newest_pruning_point();
        debug_assert_eq!(self.dag.check(&facts).map(|_| ()).map_err(|error| error.to_string()), Ok(()));
        let mut batch = Batch::new();
        self.dag.insert(prepared, &mut batch).expect(NO_FAULT);
        self.kv.write(batch).expect(NO_FAULT);
        self.made.push(made);
        hash
    }

    /// Shows a block to both groups from a slot on. Its past must be shown first.
    pub fn show(&mut self, hash: &B256, slot: u64) {
        let seen = &mut self.made[index_of(hash)].seen;
        *seen = seen.map(|since| since.min(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_see_their_own_best_and_ties_go_where_they_should() {
        let mut arena = Arena::new(Favour { class: true, vrf: false, work: false }, 1);
        let draft = |arena: &mut Arena, party, slot, seen| Draft { party, slot, vrf_hash: arena.vrf_hash(party), seen };
        let honest = draft(&mut arena, Party::Honest, 1, [2, 5]);
        let honest = arena.make_in(0, honest);
        let adverse = draft(&mut arena, Party::Adversary, 1, [4, 2]);
        let adverse = arena.make_in(1, adverse);
        assert_eq!((arena.sink(0, 1), arena.sink(0, 2), arena.sink(1, 2)), (B256::ZERO, honest, adverse));
        assert_eq!(arena.sink(0, 4), adverse, "equal work: the tie goes to its class");
        let child = draft(&mut arena, Party::Honest, 5, [6, 6]);
        let child = arena.make_in(0, child);
        assert_eq!(arena.parents(&child).len(), 2);
        assert_eq!(arena.selected_chain(&child).nth(1), Some(adverse));
    }
}
