//! Producers keep their blocks for up to twelve seconds, build on them in secret and publish them at once.

use crate::plan::{Plan, Role};

/// Corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::Withholder);
}
