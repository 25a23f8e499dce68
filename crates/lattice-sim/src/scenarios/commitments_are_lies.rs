//! Producers commit to a wrong EVM hash, a wrong storage root or an AI class that they have not paid for.

use crate::plan::{Plan, Role};

/// Corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::RootLiar);
}
