//! When too many are guilty, two chains may be finalised: then at least a third of the stake loses for it.

use super::finality::ONE_CHAIN;
use crate::{message::NodeId, world::World};

impl World {
    /// A node has seen another checkpoint finalised than its own.
    pub(crate) fn conflict(&mut self, node: NodeId, detail: &str) {
        if self.plan.camps.iter().all(|camp| *camp == self.plan.camps[node]) {
            return self.violate(ONE_CHAIN, format!("node {node}: {detail}"));
        }
        self.checks.is_forked = true;
    }

    /// On either side of a fork, a third of the stake is slashed.
    pub(crate) fn check_accountability(&mut self) {
        if !self.checks.is_forked {
            return;
        }
        let stakes: Vec<u64> = self.plan.spec.validators.iter().map(|validator| validator.stake).collect();
        let total: u64 = stakes.iter().sum();
        for node in self.honest_up() {
            let slashed: u64 = self.slashed_at(node).iter().filter_map(|&index| stakes.get(index)).sum();
            if slashed * 3 < total {
                let detail = format!("at node {node} only {slashed} LAT of {total} are slashed");
                return self.violate("two finalised chains cost a third of the stake", detail);
            }
        }
    }
}
