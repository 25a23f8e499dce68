//! Accountable safety as a property: two branches, voters who see different certificates in different orders. While less
//! than a third misbehaves no two conflicting checkpoints are finalised; whenever two are, a third has signed conflicting
//! votes.

use std::{collections::BTreeMap, convert::Infallible};

use alloy_primitives::B256;
use lattice_consensus::finality::{Checkpoint, Finality, Vote, Watermark};

use crate::random::Rng;

/// Blocks of two branches that fork after checkpoint `fork`: one block a checkpoint index.
#[derive(Clone, Copy)]
struct Tree {
    fork: u64,
}

impl Tree {
    fn block(self, branch: u8, index: u64) -> Checkpoint {
        let mut hash = B256::left_padding_from(&index.to_be_bytes());
        hash[0] = if index <= self.fork { 0 } else { branch };
        Checkpoint { index, hash }
    }

    fn is_ancestor(a: &B256, b: &B256) -> bool {
        let index = |hash: &B256| u64::from_be_bytes(hash[24..].try_into().unwrap());
        index(a) <= index(b) && (a[0] == b[0] || a[0] == 0)
    }
}

struct Run {
    rng: Rng,
    tree: Tree,
    validators: usize,
    /// Validators below this index sign whatever they are asked to.
    dishonest: usize,
    marks: Vec<Watermark>,
    /// What each half of the network has seen.
    views: [Finality; 2],
    signed: BTreeMap<Vote, Vec<usize>>,
    finalised: Vec<Checkpoint>,
}

impl Run {
    fn new(seed: u64, dishonest: usize) -> Self {
        let mut rng = Rng::new(seed);
        let tree = Tree { fork: rng.below(3) as u64 };
        let view = Finality::genesis(tree.block(0, 0).hash);
        let (signed, finalised) = (BTreeMap::new(), Vec::new());
        let marks = vec![Watermark::default(); 7];
        Self { rng, tree, validators: 7, dishonest, marks, views: [view.clone(), view], signed, finalised }
    }

    fn vote(&mut self, validator: usize, branch: u8, view: usize, index: u64) {
        let target = self.tree.block(branch, index);
        let on_chain = |block: &B256| Ok::<_, Infallible>(Tree::is_ancestor(block, &target.hash));
        let Some(source) = self.views[view].source_for(index, on_chain).unwrap() else { return };
        let vote = Vote { source, target, target_blue_score: index, target_evm_hash: target.hash };
        if validator >= self.dishonest {
            let Ok(mark) = self.marks[validator].admit_vote(&vote) else { return };
            self.marks[validator] = mark;
        }
        let signers = self.signed.entry(vote).or_default();
        if !signers.contains(&validator) {
            signers.push(validator);
        }
    }

    fn go(&mut self) {
        // Either all have heard the same and agree mostly, or the halves of the network stay with a branch each.
        let is_split = self.rng.below(2) == 0;
        for step in 0..70 {
            let validator = self.rng.below(self.validators);
            let late = self.rng.below(5) == 0;
            let index = 1 + if late { self.rng.below(9) as u64 } else { step / 8 };
            let strays = self.rng.below(8) == 0;
            let half = if strays { self.rng.below(2) } else { validator % 2 };
            let branch = if is_split || strays { half as u8 + 1 } else { 1 };
            self.vote(validator, branch, half, index);
            for dishonest in 0..self.dishonest {
                for view in 0..2 {
                    let branch = 1 + self.rng.below(2) as u8;
                    self.vote(dishonest, branch, view, index);
                }
            }
            self.deliver();
        }
        // In the end everybody hears of everything.
        for view in 0..2 {
            for vote in self.certified() {
                self.views[view].apply(&vote);
                self.note(view);
            }
        }
    }

    fn certified(&self) -> Vec<Vote> {
        let quorum = |signers: &Vec<usize>| 3 * signers.len() >= 2 * self.validators;
        self.signed.iter().filter(|(_, signers)| quorum(signers)).map(|(vote, _)| *vote).collect()
    }

    fn deliver(&mut self) {
        for vote in self.certified() {
            let view = self.rng.below(3);
            if view < 2 {
                self.views[view].apply(&vote);
                self.note(view);
            }
        }
    }

    fn note(&mut self, view: usize) {
        let finalised = self.views[view].finalised();
        if !self.finalised.contains(&finalised) {
            self.finalised.push(finalised);
        }
    }

    fn has_conflict(&self) -> bool {
        let related =
            |a: &Checkpoint, b: &Checkpoint| Tree::is_ancestor(&a.hash, &b.hash) || Tree::is_ancestor(&b.hash, &a.hash);
        self.finalised.iter().any(|a| self.finalised.iter().any(|b| !related(a, b)))
    }

    /// Validators with a pair of votes that convicts them.
    fn offenders(&self) -> usize {
        let votes_of = |validator: usize| {
            self.signed.iter().filter(move |(_, signers)| signers.contains(&validator)).map(|(vote, _)| vote)
        };
        (0..self.validators)
            .filter(|&validator| votes_of(validator).any(|a| votes_of(validator).any(|b| a.conflict(b).is_some())))
            .count()
    }
}

#[test]
fn less_than_a_third_cannot_finalise_two_branches() {
    let mut progress = 0;
    for seed in 0..3_000 {
        let mut run = Run::new(seed, seed as usize % 3);
        run.go();
        assert!(!run.has_conflict(), "seed {seed}: {:?}", run.finalised);
        assert!(run.offenders() <= run.dishonest, "seed {seed}: an honest voter can be slashed");
        progress += run.finalised.iter().filter(|checkpoint| checkpoint.index > 0).count();
    }
    assert!(progress > 500, "the runs must finalise something: {progress}");
}

#[test]
fn conflicting_finality_convicts_a_third() {
    let mut conflicts = 0;
    for seed in 0..1_500 {
        let mut run = Run::new(seed, 3 + seed as usize % 5);
        run.go();
        if run.has_conflict() {
            conflicts += 1;
            let offenders = run.offenders();
            assert!(3 * offenders >= run.validators, "seed {seed}: only {offenders} can be slashed");
        }
    }
    assert!(conflicts > 100, "the runs must break finality: {conflicts}");
}
