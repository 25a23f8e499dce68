//! Every kind of adversary, losses, crashes, clocks that are off, and a split.

use crate::plan::{Action, Plan, Role};

/// The roles that adversaries draw from.
const ROLES: [Role; 7] = [
    Role::Equivocator,
    Role::DoubleVoter,
    Role::SurroundVoter,
    Role::Withholder,
    Role::RootLiar,
    Role::Stuffer,
    Role::Balancer,
];

/// Draws from all the others.
pub fn arrange(plan: &mut Plan) {
    let (from, to) = plan.disturbed_ms;
    let adversaries = plan.corrupt(Role::Withholder);
    for &node in &adversaries {
        plan.roles[node] = ROLES[plan.rng.below(ROLES.len() as u64) as usize];
    }
    for node in 0..plan.nodes() {
        plan.clocks_ms[node] = plan.rng.between(0, 400) as i64 - 200;
    }
    plan.at(from, Action::Lose(50_000));
    let half = plan.nodes() / 2;
    let groups = plan.groups(half);
    plan.at(from + (to - from) / 2, Action::Cut(groups));
    for _ in 0..plan.nodes() {
        let node = plan.rng.below(plan.nodes() as u64) as usize;
        let begin = plan.rng.between(from, to);
        plan.at(begin, Action::Crash(node));
        let end = begin + plan.rng.between(500, 5_000);
        plan.at(end, Action::Start(node));
    }
    plan.must_stay_live = false;
}
