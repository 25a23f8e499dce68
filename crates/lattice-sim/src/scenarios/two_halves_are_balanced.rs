//! Two halves hear each other only after the longest delay, and adversaries tell one half early and the other late, in
//! turns, to keep them on different branches.

use crate::plan::{Action, Plan, Role};

/// Slows the middle and corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::Balancer);
    let halves = (0..plan.nodes()).map(|node| (node % 2) as u8).collect();
    plan.at(plan.disturbed_ms.0, Action::Halve(halves));
}
