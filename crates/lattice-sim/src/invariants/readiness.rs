//! A model runs in an epoch exactly when enough stake held it in the one before: two thirds to begin, half to go on.

use crate::world::World;
use lattice_chain::ModelStatus;
use std::collections::BTreeSet;

impl World {
    pub(crate) fn check_readiness(&mut self) {
        let Some(node) = self.any_honest() else { return };
        let Some(view) = self.nodes[node].chain.as_ref().and_then(|chain| chain.view().ok()) else { return };
        let Some(model) = &self.model else { return };
        let Some(epoch) = self.head_slot(node).map(|slot| self.plan.spec.epoch_of(slot)) else { return };
        let record = view.model(&model.id());
        let runs = record.is_some_and(|record| record.status == ModelStatus::Active && !record.is_suspended(epoch));
        let must = self.must_run(epoch);
        if runs != must {
            let detail = format!("node {node}, epoch {epoch}: it runs: {runs}, but it should: {must}; {model:?}");
            return self.violate("a model runs exactly while enough stake holds it", detail);
        }
        self.checks.model_ran.insert(epoch, runs);
    }

    /// From who attested alone.
    fn must_run(&self, epoch: u64) -> bool {
        let Some(model) = &self.model else { return false };
        let stake = |index: u32| self.plan.spec.validators.get(index as usize).map_or(0, |found| found.stake);
        let total: u64 = self.plan.spec.validators.iter().map(|validator| validator.stake).sum();
        let none = BTreeSet::new();
        (0..epoch).fold(false, |runs, at| {
            let held: u64 = model.attested.get(&at).unwrap_or(&none).iter().map(|&index| stake(index)).sum();
            if runs { held * 2 >= total } else { held * 3 >= total * 2 }
        })
    }
}
