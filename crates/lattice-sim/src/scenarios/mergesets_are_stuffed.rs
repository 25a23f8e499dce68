//! Producers save up their wins and let many blocks upon one old block go at once.

use crate::plan::{Plan, Role};

/// Corrupts as many as may be.
pub fn arrange(plan: &mut Plan) {
    plan.corrupt(Role::Stuffer);
}
