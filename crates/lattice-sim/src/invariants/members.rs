//! Who is in the stake sets: as many come and go an epoch as the churn allows, and in the end those whose stake says so.

use super::Checks;
use crate::{plan::StakeMove, world::World};
use lattice_types::ChainSpec;
use std::collections::BTreeSet;

impl Checks {
    /// A move that makes a validator a member, or ends that, sooner or later.
    pub fn expect_member(&mut self, step: StakeMove, spec: &ChainSpec) {
        let stake = |index: u32| spec.validators.get(index as usize).map_or(0, |validator| validator.stake);
        match step {
            StakeMove::Register(index, _) => drop(self.membership.insert(index, true)),
            StakeMove::Take(index, lat) if lat == stake(index) => drop(self.membership.insert(index, false)),
            StakeMove::Take(..) | StakeMove::Add(..) => {}
        }
    }
}

impl World {
    /// The stake set by which an honest node judges now.
    pub(crate) fn check_members(&mut self) {
        let Some(node) = self.any_honest() else { return };
        let Some(keys) = self.nodes[node].chain.as_ref().and_then(|chain| chain.keyring().ok()) else { return };
        let Some(slot) = self.head_slot(node) else { return };
        let epoch = self.plan.spec.epoch_of(slot);
        let validators = self.plan.validators.iter().copied();
        let members: BTreeSet<u32> = validators.filter(|index| keys.seal_key(slot, *index).is_some()).collect();
        let before = self.checks.members.range(..epoch).next_back().map(|(at, members)| (*at, members.clone()));
        let known = self.checks.members.entry(epoch).or_insert_with(|| members.clone()).clone();
        if known != members {
            let detail = format!("epoch {epoch}: node {node} has {members:?}, others have {known:?}");
            return self.violate("one stake set an epoch", detail);
        }
        let Some((at, before)) = before else { return };
        let churn = (before.len() / self.plan.spec.staking.churn_divisor.max(1)).max(1) * (epoch - at) as usize;
        let slashed = self.slashed_at(node);
        let left = before.difference(&members).filter(|index| !slashed.contains(&(**index as usize))).count();
        let joined = members.difference(&before).count();
        if left > churn || joined > churn {
            let detail = format!("epoch {epoch}: {members:?} after {before:?} in epoch {at}");
            self.violate("no more join or leave than the churn allows", detail);
        }
    }

    /// In the end all that was to change has changed.
    pub(crate) fn check_membership(&mut self) {
        let Some((epoch, members)) = self.checks.members.last_key_value() else { return };
        let wrong = self.checks.membership.iter().find(|(index, is_member)| members.contains(index) != **is_member);
        if let Some((index, is_member)) = wrong {
            let detail = format!("validator {index} should be a member: {is_member}; epoch {epoch} has {members:?}");
            self.violate("the stake set follows the registry", detail);
        }
    }
}
