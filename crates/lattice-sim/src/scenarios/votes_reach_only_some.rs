//! Half of the nodes get no votes, so that some see certificates at once and the others only in blocks, which some
//! producers hold back.

use crate::plan::{Action, Plan, Role};

/// Deafens half of the nodes and corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::Withholder);
    let half = plan.nodes() / 2;
    let deaf = plan.groups(half).into_iter().map(|group| group == 0).collect();
    plan.at(plan.disturbed_ms.0, Action::Deafen(deaf));
}
