//! Validators vote from an old source, so that one vote spans another.

use crate::plan::{Plan, Role};

/// Corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::SurroundVoter);
}
