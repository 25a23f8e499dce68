//! Two halves hear nothing of each other, come together, and are split again in another way. Neither half may finalise
//! anything alone.

use crate::plan::{Action, Plan};

/// Splits twice, with a pause between.
pub fn arrange(plan: &mut Plan) {
    let (from, to) = plan.disturbed_ms;
    let third = (to - from) / 3;
    let half = plan.nodes() / 2;
    let (first, second) = (plan.groups(half), plan.groups(half));
    plan.at(from, Action::Cut(first));
    plan.at(from + third, Action::Heal);
    plan.at(from + 2 * third, Action::Cut(second));
    plan.must_stay_live = false;
}
