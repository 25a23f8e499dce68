//! Two halves are apart for so long that the lighter one's blocks can no longer be merged: they are lost for good, and its
//! nodes must follow the other half all the same.

use crate::plan::{Action, Plan};

/// Splits for the whole disturbance, on a chain with a small merge depth.
pub fn arrange(plan: &mut Plan) {
    let (from, _) = plan.disturbed_ms;
    // A little more than k: each half makes about two blocks a second.
    plan.spec.merge_depth = 40;
    let half = plan.nodes() / 2;
    let groups = plan.groups(half);
    plan.at(from, Action::Cut(groups));
    plan.must_stay_live = false;
}
