//! What must hold in every run, whatever the scenario does to it.
//!
//! After each block that an honest node takes: finality only goes forward, never leaves the selected chain and never
//! contradicts that of another honest node; what is finalised has one EVM hash and one state root a height; no honest
//! block is refused or disqualified, and nobody accuses an honest validator. Once a virtual second: finality goes on. Every
//! five: no honest validator is slashed. Every ten: not a wei is lost or made. At the end: all of them, and every offence that
//! was committed has been slashed at every honest node.

mod finality;
mod justice;
mod liveness;
mod supply;

use crate::{
    message::NodeId,
    node::{Link, Node},
    plan::Plan,
    world::World,
};
use alloy_primitives::{B256, U256};
use lattice_types::Offence;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// Checkpoints finalised at honest nodes, by index, with the first node that did.
    finalised: BTreeMap<u64, (B256, NodeId)>,
    /// The finalised chain by height.
    chain: BTreeMap<u64, Link>,
    /// When each node was last started, ms.
    started_ms: Vec<u64>,
    /// Height at which the supply was last counted, and what it was.
    supply: (u64, U256),
}

impl Checks {
    /// Before anything has happened.
    pub fn new(plan: &Plan, nodes: &[Node]) -> Self {
        let genesis = nodes.first().and_then(|node| node.canonical.get(&0)).copied();
        Self {
            violations: Vec::new(),
            crimes: Vec::new(),
            lies: 0,
            finalised: BTreeMap::new(),
            chain: genesis.into_iter().map(|link| (0, link)).collect(),
            started_ms: vec![0; nodes.len()],
            supply: (0, supply::at_genesis(&plan.spec)),
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
        self.finalised.last_key_value().map_or(0, |(index, _)| *index)
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
        if second.is_multiple_of(5) {
            self.check_honest_stakes();
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
    use crate::plan::DURATION_MS_MIN;
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
        let mut world = World::new(Plan::calm(5, 4, DURATION_MS_MIN, 200)).unwrap();
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
            world.checks.chain.get_mut(&3).unwrap().root = B256::ZERO;
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
            world.checks.supply = (0, genesis + U256::from(1));
            world.check_supply(0);
        };
        assert_eq!(broken_by(&mut world, wei), ["not a wei is lost or made"]);

        let crime = |world: &mut World| {
            world.checks.commit(2, Offence::Double, 1);
            world.check_convictions();
        };
        assert_eq!(broken_by(&mut world, crime), ["every offence is slashed in the end"]);
    }
}
