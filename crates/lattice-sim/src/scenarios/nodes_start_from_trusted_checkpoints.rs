//! One node joins late with a checkpoint that its operator trusts, another one with a false checkpoint, and a third is told to
//! trust one that contradicts what it has finalised.

use crate::plan::{Action, Plan, Role, Trust};

/// Latest time at which a node joins, ms: what it then lacks fits among the orphans.
const JOIN_MS_MAX: u64 = 90_000;

/// Three nodes at most, of four at least: who is misled takes no part, as a silent one.
pub fn arrange(plan: &mut Plan) {
    let (from, to) = plan.disturbed_ms;
    let chosen = plan.some_nodes(3);
    let (late, misled, told) = (chosen[0], chosen[1], chosen[2]);
    let join = (from + (to - from) / 2).min(JOIN_MS_MAX);
    plan.absent.push(late);
    plan.at(join, Action::StartTrusting(late, Trust::True));
    // A quorum must be there before they join: of seven nodes or more, two may be absent.
    if plan.nodes() >= 7 {
        plan.roles[misled] = Role::Silent;
        plan.absent.push(misled);
        plan.at(join, Action::StartTrusting(misled, Trust::False));
        plan.at(to - 1, Action::Crash(misled));
    }
    plan.at(to, Action::Contradict(told));
}
