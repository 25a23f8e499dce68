//! A model is attested anew each epoch; then half of the nodes and one more lose its artifact, it is suspended, and when they have
//! it again it returns.

use crate::plan::{Action, Plan};

/// Epochs of eight seconds.
const EPOCH_SLOTS: u64 = 32;

/// Takes the artifact away for a whole epoch, every four epochs.
pub fn arrange(plan: &mut Plan) {
    plan.has_model = true;
    plan.spec.epoch_slots = EPOCH_SLOTS;
    let epoch_ms = EPOCH_SLOTS * plan.spec.slot_ms;
    let lost = plan.nodes() / 2 + 1;
    let mut at = 2 * epoch_ms;
    while at + 3 * epoch_ms <= plan.duration_ms {
        let without = plan.groups(lost).into_iter().map(|group| group == 0).collect();
        plan.at(at, Action::LoseArtifact(without));
        plan.at(at + epoch_ms, Action::LoseArtifact(vec![false; plan.nodes()]));
        at += 4 * epoch_ms;
    }
}
