//! Validators vote for two targets at each checkpoint and tell each half another one.

use crate::plan::{Plan, Role};

/// Corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::DoubleVoter);
}
