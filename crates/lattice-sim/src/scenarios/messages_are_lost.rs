//! One message in ten is lost: nodes must find and fetch what they lack.

use crate::plan::{Action, Plan};

/// Loses messages.
pub fn arrange(plan: &mut Plan) {
    plan.at(plan.disturbed_ms.0, Action::Lose(100_000));
}
