//! Fewer than a third of the nodes are cut off, again and again others: the rest finalises, and they catch up.

use crate::plan::{Action, Plan};

/// Length of a cut and of the pause after it in a run that has the time, ms.
const CUT_MS: u64 = 15_000;

/// Cuts off a minority at a time.
pub fn arrange(plan: &mut Plan) {
    let (from, to) = plan.disturbed_ms;
    let minority = plan.faulty_max();
    let cut_ms = CUT_MS.min((to - from) / 2);
    let mut at = from;
    while at + cut_ms <= to {
        let groups = plan.groups(minority);
        plan.at(at, Action::Cut(groups));
        plan.at(at + cut_ms, Action::Heal);
        at += 2 * cut_ms;
    }
    plan.must_stay_live = false;
}
