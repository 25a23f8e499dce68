//! Finality goes on, unless the scenario keeps the nodes apart, and resumes soon after that ends.

use crate::world::World;

/// How far the newest finalised checkpoint may lie behind, ms. The mean is below 9 s.
const BEHIND_MAX_MS: u64 = 30_000;
/// How long a node may take to catch up after it has started or a disturbance has ended, ms.
const RECOVERY_MS: u64 = 15_000;

impl World {
    pub(crate) fn check_liveness(&mut self) {
        let (from, to) = self.plan.disturbed_ms;
        let excused = !self.plan.must_stay_live && self.now >= from && self.now < to + RECOVERY_MS;
        // Who has finalised another chain does not come back by itself.
        if excused || self.checks.is_forked {
            return;
        }
        let interval = self.plan.spec.checkpoint_slots * self.plan.spec.slot_ms;
        for node in self.honest_up() {
            let began = self.checks.started_ms[node];
            let is_new = self.now < began + RECOVERY_MS.max(BEHIND_MAX_MS);
            let behind = self.now.saturating_sub(self.nodes[node].finalised.index * interval);
            if !is_new && behind > BEHIND_MAX_MS {
                let finalised = self.nodes[node].finalised;
                let detail = format!("node {node} has finalised {finalised}, {behind} ms behind");
                return self.violate("finality goes on", detail);
            }
        }
    }
}
