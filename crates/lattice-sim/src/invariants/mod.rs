//! What must hold in every run, whatever the scenario does to it.
//!
//! After each block that an honest node takes: finality only goes forward, never leaves the selected chain and never
//! contradicts that of another honest node (of its camp, where a scenario has too many guilty ones); what is finalised has one EVM hash and one state root a height; no honest
//! block is refused or disqualified, and nobody accuses an honest validator. Once a virtual second: finality goes on. Every
//! five: no honest validator is slashed, and what is pruned is pruned alike. Once a second, too: whoever trusts a checkpoint
//! follows only it; stake sets change within the churn; a model runs while enough stake holds it. Every ten: not a wei is lost or made. At the end: all of them, and every offence that
//! was committed has been slashed at every honest node; on either side of a fork that is a third of the stake; the stake set is
//! what the registry says.

mod accountability;
mod finality;
mod justice;
mod liveness;
mod members;
mod pruning;
mod readiness;
mod supply;

use crate::{
    message::NodeId,
    node::{Link, Node},
    world::World,
};
use alloy_primitives::{B256, U256};
use lattice_types::Offence;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A broken invariant, with what is needed to see it again.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// What should have held.
    pub invariant: &'static str,
    /// How it did not.
    pub detail: String,
    /// Virtual time, ms.
    pub at_ms: u64,
    /// Number of the event.
    pub event: u64,
}

/// An offence that an adversary committed, as a violation prints it.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code)]
pub struct Crime {
    /// Who.
    pub offender: NodeId,
    /// What.
    pub offence: Offence,
    /// When, ms.
    pub at_ms: u64,
}

/// What the invariants remember.
#[derive(Debug)]
pub struct Checks {
    /// Broken ones. The run ends with the first.
    pub violations: Vec<Violation>,
    /// Offences committed.
    pub crimes: Vec<Crime>,
    /// Blocks with commitments that are not true.
    pub lies: u64,
    /// Checkpoints finalised at honest nodes, by camp and index, with the first node that did.
    finalised: BTreeMap<(u8, u64), (B256, NodeId)>,
    /// The finalised chain of each camp by height.
    chain: BTreeMap<(u8, u64), Link>,
    /// Whether two camps have finalised different chains.
    pub is_forked: bool,
    /// Starts that were refused because of what they should have trusted.
    pub refused_trust: u64,
    /// Stake sets by epoch, as far as they were looked at.
    pub members: BTreeMap<u64, BTreeSet<u32>>,
    /// Who must be a member in the end, and who must not.
    pub membership: BTreeMap<u32, bool>,
    /// Whether the model ran, by epoch.
    pub model_ran: BTreeMap<u64, bool>,
    /// The longest list of pruning points.
    pub pruning_points: Vec<B256>,
    /// When each node was last started, ms.
    started_ms: Vec<u64>,
    /// Height at which each camp's supply was last counted, and what it was.
    supply: BTreeMap<u8, (u64, U256)>,
}

impl Checks {
    /// Before anything has happened.
    pub fn new(nodes: &[Node]) -> Self {
        let genesis = nodes.first().and_then(|node| node.canonical.get(&0)).copied();
        Self {
            violations: Vec::new(),
            crimes: Vec::new(),
            lies: 0,
            finalised: BTreeMap::new(),
            chain: genesis.into_iter().map(|link| ((0, 0), link)).collect(),
            is_forked: false,
            refused_trust: 0,
            members: BTreeMap::new(),
            membership: BTreeMap::new(),
            model_ran: BTreeMap::new(),
            pruning_points: Vec::new(),
            started_ms: vec![0; nodes.len()],
            supply: BTreeMap::new(),
        }
    }

    /// Whether an invariant is broken.
    pub const fn is_broken(&self) -> bool {
        !self.violations.is_empty()
    }

    /// An adversary commits an offence.
    pub fn commit(&mut self, offender: NodeId, offence: Offence, at_ms: u64) {
        self.crimes.push(Crime { offender, offence, at_ms });
    }

    /// A node has started.
    pub fn started(&mut self, node: NodeId, at_ms: u64) {
        self.started_ms[node] = at_ms;
    }

    /// The newest checkpoint that an honest node has finalised.
    pub fn newest_finalised(&self) -> u64 {
        self.finalised.keys().map(|(_, index)| *index).max().unwrap_or(0)
    }
}

impl World {
    pub(crate) fn violate(&mut self, invariant: &'static str, detail: String) {
        let (at_ms, event) = (self.now, self.step);
        self.checks.violations.push(Violation { invariant, detail, at_ms, event });
    }

    /// The costly checks, once a virtual second.
    pub(crate) fn sample(&mut self) {
        let second = self.now / 1_000;
        self.check_liveness();
        self.check_trust();
        self.check_members();
        self.check_readiness();
        if second.is_multiple_of(5) {
            self.check_honest_stakes();
            self.check_pruning();
        }
        if second.is_multiple_of(10)
            && let Some(node) = self.any_honest()
        {
            self.check_supply(node);
        }
    }

    /// What must be true in the end.
    pub(crate) fn check_the_end(&mut self) {
        self.check_liveness();
        self.check_honest_stakes();
        self.check_convictions();
        self.check_accountability();
        self.check_trust();
        self.check_membership();
        self.check_pruning();
        for node in self.honest_up() {
            self.check_finality(node);
        }
        if let Some(node) = self.any_honest() {
            self.check_supply(node);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        plan::{DURATION_MS_MIN, Plan},
        scenarios,
    };
    use lattice_types::Checkpoint;

    /// Which invariant breaks when this is done to a world in which all is well.
    fn broken_by(world: &mut World, tamper: impl FnOnce(&mut World)) -> Vec<&'static str> {
        tamper(world);
        std::mem::take(&mut world.checks.violations).into_iter().map(|violation| violation.invariant).collect()
    }

    fn look_again(world: &mut World) {
        world.nodes[0].compared = 0;
        world.nodes[0].finalised = Checkpoint { index: 0, hash: B256::ZERO };
        world.check_finality(0);
    }

    #[test]
    fn each_invariant_notices_what_breaks_it() {
        let mut plan = Plan::calm(5, 4, DURATION_MS_MIN, 200);
        plan.spec.epoch_slots = 60;
        let mut world = World::new(plan).unwrap();
        world.run();
        assert!(!world.checks.is_broken(), "{:?}", world.checks.violations);
        assert!(world.checks.newest_finalised() > 5);
        assert_eq!(broken_by(&mut world, look_again), [""; 0]);

        let (checkpoints, chain) = (world.checks.finalised.clone(), world.checks.chain.clone());
        let other = |world: &mut World| {
            let newest = world.checks.finalised.last_entry().unwrap().into_mut();
            newest.0 = B256::repeat_byte(1);
            look_again(world);
        };
        assert_eq!(broken_by(&mut world, other)[0], "no two conflicting finalised checkpoints");
        world.checks.finalised = checkpoints;

        let root = |world: &mut World| {
            world.checks.chain.get_mut(&(0, 3)).unwrap().root = B256::ZERO;
            look_again(world);
        };
        assert_eq!(broken_by(&mut world, root), ["one EVM hash at each finalised height"]);
        world.checks.chain = chain;

        let stall = |world: &mut World| {
            world.nodes[1].finalised.index = 1;
            world.check_liveness();
        };
        assert_eq!(broken_by(&mut world, stall), ["finality goes on"]);

        let wei = |world: &mut World| {
            let genesis = supply::at_genesis(&world.plan.spec);
            world.checks.supply.insert(0, (0, genesis + U256::from(1)));
            world.check_supply(0);
        };
        assert_eq!(broken_by(&mut world, wei), ["not a wei is lost or made"]);

        let crime = |world: &mut World| {
            world.checks.commit(2, Offence::Double, 1);
            world.check_convictions();
        };
        assert_eq!(broken_by(&mut world, crime), ["every offence is slashed in the end"]);
        world.checks.crimes.clear();

        let fork = |world: &mut World| {
            world.checks.is_forked = true;
            world.check_accountability();
        };
        assert_eq!(broken_by(&mut world, fork), ["two finalised chains cost a third of the stake"]);
        let conflict = |world: &mut World| world.conflict(0, "another checkpoint");
        assert_eq!(broken_by(&mut world, conflict), ["no two conflicting finalised checkpoints"]);

        let trust = |world: &mut World| {
            world.nodes[1].trusted = Some(Checkpoint { index: 1, hash: B256::repeat_byte(1) });
            world.check_trust();
        };
        let follows = "a node follows only chains with the checkpoint that it trusts";
        assert_eq!(broken_by(&mut world, trust), [follows]);
        world.nodes[1].trusted = None;

        let points = |world: &mut World| {
            world.checks.pruning_points[0] = B256::repeat_byte(1);
            world.check_pruning();
        };
        assert_eq!(broken_by(&mut world, points), ["one list of pruning points"]);

        let set = |world: &mut World| {
            world.checks.members.last_entry().unwrap().into_mut().insert(9);
            world.check_members();
        };
        assert_eq!(broken_by(&mut world, set), ["one stake set an epoch"]);
        let churn = |world: &mut World| {
            let (newest, _) = world.checks.members.pop_last().unwrap();
            world.checks.members.insert(newest - 1, BTreeSet::from([5, 6, 7]));
            world.check_members();
        };
        assert_eq!(broken_by(&mut world, churn), ["no more join or leave than the churn allows"]);
        let registry = |world: &mut World| {
            world.checks.membership.insert(2, false);
            world.check_membership();
        };
        assert_eq!(broken_by(&mut world, registry), ["the stake set follows the registry"]);
    }

    #[test]
    fn a_model_that_runs_without_its_stake_is_noticed() {
        let mut plan = Plan::calm(5, 4, DURATION_MS_MIN, 200);
        (scenarios::by_name("a_model_is_suspended_and_returns").unwrap().arrange)(&mut plan);
        plan.duration_ms = 14_000;
        let mut world = World::new(plan).unwrap();
        world.run();
        assert!(!world.checks.is_broken(), "{:?}", world.checks.violations);
        let forget = |world: &mut World| {
            world.model.as_mut().unwrap().attested.clear();
            world.check_readiness();
        };
        assert_eq!(broken_by(&mut world, forget), ["a model runs exactly while enough stake holds it"]);
    }

    #[test]
    fn a_node_that_trusts_what_contradicts_its_finality_is_noticed() {
        let mut world = World::new(Plan::calm(5, 4, DURATION_MS_MIN, 200)).unwrap();
        world.plan.duration_ms = 20_000;
        world.run();
        world.contradict(1);
        assert_eq!((world.checks.refused_trust, world.checks.is_broken()), (1, false));
        // With nothing final on its disk it has no reason to refuse.
        world.nodes[1].lose_disk();
        assert_eq!(broken_by(&mut world, |world| world.contradict(1))[0], crate::trust::REFUSED);
    }
}
