//! Who broke a rule is slashed in the end, and nobody else ever is.

use crate::{message::NodeId, world::World};
use lattice_execution::staking;
use lattice_types::{Evidence, bls};
use std::collections::BTreeSet;

impl World {
    /// Which validators are slashed on a node's head.
    pub(crate) fn slashed_at(&self, node: NodeId) -> BTreeSet<NodeId> {
        let Some(chain) = self.nodes[node].chain.as_ref() else { return BTreeSet::new() };
        let Ok(view) = chain.view() else { return BTreeSet::new() };
        let state = view.head_state();
        let is_slashed = |index: &NodeId| staking::validator(state, *index as u32).is_some_and(|record| record.slashed);
        (0..self.nodes.len()).filter(is_slashed).collect()
    }

    pub(crate) fn check_honest_stakes(&mut self) {
        let Some(node) = self.any_honest() else { return };
        let slashed = self.slashed_at(node);
        if let Some(victim) = slashed.into_iter().find(|index| self.is_honest(*index as u32)) {
            self.violate("no honest validator is slashed", format!("validator {victim} is, at node {node}"));
        }
    }

    /// A node has found evidence.
    pub(crate) fn check_accused(&mut self, node: NodeId, evidence: &Evidence) {
        let index = self.index_of(evidence.offender());
        match index {
            Some(index) if self.is_honest(index as u32) => {
                let detail = format!("node {node} accuses validator {index}: {:?}", evidence.offence());
                self.violate("no honest validator is accused", detail);
            }
            Some(_) => {}
            None => self.violate("evidence names a validator", format!("node {node}: {}", evidence.offender())),
        }
        if !self.verifier.evidence(evidence, self.plan.spec.chain_id) {
            self.violate("evidence convicts", format!("node {node}: {evidence:?}"));
        }
    }

    fn index_of(&self, key: &bls::PublicKey) -> Option<NodeId> {
        self.plan.spec.validators.iter().position(|validator| validator.public_key == *key)
    }

    /// Every offence has been slashed at every honest node.
    pub(crate) fn check_convictions(&mut self) {
        for node in self.honest_up() {
            let slashed = self.slashed_at(node);
            let crimes = &self.checks.crimes;
            if let Some(crime) = crimes.iter().find(|crime| !slashed.contains(&crime.offender)).copied() {
                let detail = format!("{crime:?} is not slashed at node {node}, which has slashed {slashed:?}");
                return self.violate("every offence is slashed in the end", detail);
            }
        }
    }
}
