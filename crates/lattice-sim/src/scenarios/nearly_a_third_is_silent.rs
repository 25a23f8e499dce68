//! As many validators as may be neither produce nor vote: the others must finalise without them.

use crate::plan::{Plan, Role};

/// Silences as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::Silent);
}
