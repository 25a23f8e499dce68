//! What a run is: who takes part, over what network, and what happens when.

use crate::{rng::Rng, signer::secret_key};
use alloy_primitives::{Address, keccak256};
use lattice_storage::FaultKind;
use lattice_types::{ChainSpec, Validator};
use serde::Serialize;

/// How a node behaves while the disturbance lasts; before and after it all are honest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Role {
    /// Follows the rules.
    Honest,
    /// Signs two blocks for each slot that it wins and shows one to each half.
    Equivocator,
    /// Votes for two targets at each checkpoint, each told to one half.
    DoubleVoter,
    /// Votes so that the link of a later vote spans that of an earlier one.
    SurroundVoter,
    /// Keeps its blocks to itself for a while and builds on them.
    Withholder,
    /// Commits to wrong roots, a wrong EVM hash or a wrong AI class.
    RootLiar,
    /// Makes many blocks side by side upon an old one and lets them go at once.
    Stuffer,
    /// Tells one half at once and the other late, in turns.
    Balancer,
    /// Neither produces nor votes.
    Silent,
    /// Two nodes with one key, each honest in its own half of the network: together they vote twice and make two blocks a
    /// slot. One of the two has the validator's place; the other one is silent but for the disturbance.
    Twin,
}

/// A checkpoint that an operator trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The newest that an honest node has finalised.
    True,
    /// The same index with another block.
    False,
}

/// What the staking account does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StakeMove {
    /// Adds LAT to a validator.
    Add(u32, u64),
    /// Takes LAT out of a validator.
    Take(u32, u64),
    /// Registers the key of a validator that is not in the registry yet, with LAT.
    Register(u32, u64),
}

/// Something that happens at a time.
#[derive(Debug, Clone)]
pub enum Action {
    /// Nodes hear only those of their own group.
    Cut(Vec<u8>),
    /// Messages are lost, millionths.
    Lose(u32),
    /// Two halves hear each other late.
    Halve(Vec<u8>),
    /// These nodes get no votes.
    Deafen(Vec<bool>),
    /// The network is whole again.
    Heal,
    /// A node dies.
    Crash(usize),
    /// A node that is down starts from its disk.
    Start(usize),
    /// A node that is down starts and follows only chains with a trusted checkpoint.
    StartTrusting(usize, Trust),
    /// A node that is up starts anew with a false checkpoint, and must refuse to.
    Contradict(usize),
    /// Somebody's stake moves.
    Stake(StakeMove),
    /// These nodes have lost the model's artifact, and attest no more.
    LoseArtifact(Vec<bool>),
    /// A node's disk fails at this write from now on, in this way; then the node dies and starts again.
    BreakDisk(usize, FaultKind, u64),
}

/// A run, before it runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Length, ms of virtual time.
    pub duration_ms: u64,
    /// Shortest and longest delay of a message, ms.
    pub delay_ms: (u64, u64),
    /// The chain.
    pub spec: ChainSpec,
    /// A role a node.
    pub roles: Vec<Role>,
    /// How far each node's clock is ahead, ms.
    pub clocks_ms: Vec<i64>,
    /// What happens when (ms), in any order.
    pub timeline: Vec<(u64, Action)>,
    /// When the disturbance begins and ends, ms. After it everything is well, and everybody honest.
    pub disturbed_ms: (u64, u64),
    /// Whether finality must go on during the disturbance.
    pub must_stay_live: bool,
    /// The validator of each node.
    pub validators: Vec<u32>,
    /// Nodes of different camps may finalise different chains: then a third of the stake must pay for it.
    pub camps: Vec<u8>,
    /// Nodes that are down at first.
    pub absent: Vec<usize>,
    /// Nodes that forget nothing.
    pub archives: Vec<usize>,
    /// Whether a model is registered, attested and run.
    pub has_model: bool,
    /// Chance of the scenario's own choices.
    pub rng: Rng,
}

/// Fewest nodes with which a third of them, rounded down, is somebody.
pub const NODES_MIN: usize = 4;
/// Shortest run: time to start, to be disturbed and to recover.
pub const DURATION_MS_MIN: u64 = 45_000;

impl Plan {
    /// A run in which nothing goes wrong.
    ///
    /// The chain is the default network's, but for epochs of a minute, so that sets and seeds change in short runs.
    pub fn calm(seed: u64, nodes: usize, duration_ms: u64, delay_max_ms: u64) -> Self {
        let validator = |index: u32| Validator {
            public_key: secret_key(index).public_key(),
            stake: 2_000,
            reward: reward_of(index),
        };
        let mut spec = ChainSpec::network((0..nodes as u32).map(validator).collect());
        spec.epoch_slots = 240;
        // Who wins which slot is chance too: without this all runs draw the same slots.
        spec.epoch_seed = keccak256([b"lattice-sim".as_slice(), &seed.to_be_bytes()].concat());
        spec.name = "lattice-sim".into();
        let start = 10_000;
        let quiet = (duration_ms / 4).clamp(25_000, 60_000);
        Self {
            seed,
            duration_ms,
            delay_ms: ((delay_max_ms / 10).max(1), delay_max_ms.max(1)),
            spec,
            roles: vec![Role::Honest; nodes],
            clocks_ms: vec![0; nodes],
            timeline: Vec::new(),
            disturbed_ms: (start, duration_ms.saturating_sub(quiet).max(start + 1)),
            must_stay_live: true,
            validators: (0..nodes as u32).collect(),
            camps: vec![0; nodes],
            absent: Vec::new(),
            archives: Vec::new(),
            has_model: false,
            rng: Rng::of_purpose(seed, 2),
        }
    }

    /// Number of nodes.
    pub const fn nodes(&self) -> usize {
        self.roles.len()
    }

    /// As many nodes as may break the rules: fewer than a third.
    pub const fn faulty_max(&self) -> usize {
        (self.nodes() - 1) / 3
    }

    /// Gives a role to as many nodes as may be faulty, chosen by the seed; which they are.
    pub fn corrupt(&mut self, role: Role) -> Vec<usize> {
        let all = self.some_nodes(self.faulty_max());
        for &node in &all {
            self.roles[node] = role;
        }
        all
    }

    /// As many nodes, chosen by the seed.
    pub fn some_nodes(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.nodes()).collect();
        self.rng.shuffle(&mut all);
        all.truncate(count);
        all
    }

    /// The nodes in two groups of random members, the first of `first` nodes.
    pub fn groups(&mut self, first: usize) -> Vec<u8> {
        let mut groups: Vec<u8> = (0..self.nodes()).map(|node| u8::from(node >= first)).collect();
        self.rng.shuffle(&mut groups);
        groups
    }

    /// Something happens at a time.
    pub fn at(&mut self, ms: u64, action: Action) {
        self.timeline.push((ms, action));
    }
}

/// Where a validator's rewards go.
pub fn reward_of(index: u32) -> Address {
    Address::from_slice(&keccak256([b"lattice-sim reward".as_slice(), &index.to_be_bytes()].concat())[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_seed_draws_other_slots() {
        let drawn = |seed| Plan::calm(seed, 4, DURATION_MS_MIN, 100).spec.epoch_seed;
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
