//! Producers sign two blocks for each slot that they win and show one to each half of the network.

use crate::plan::{Plan, Role};

/// Corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::Equivocator);
}
