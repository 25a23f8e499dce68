//! Nodes die and start again from their disks, fewer than a third at a time.

use crate::plan::{Action, Plan};

/// Kills random nodes for some seconds each.
pub fn arrange(plan: &mut Plan) {
    let (from, to) = plan.disturbed_ms;
    let down_ms = 6_000;
    let mut at = from;
    while at + down_ms < to {
        let mut nodes: Vec<usize> = (0..plan.nodes()).collect();
        plan.rng.shuffle(&mut nodes);
        for &node in nodes.iter().take(plan.faulty_max()) {
            let begin = at + plan.rng.below(2_000);
            let end = begin + plan.rng.between(500, down_ms - 2_000);
            plan.at(begin, Action::Crash(node));
            plan.at(end, Action::Start(node));
        }
        at += down_ms;
    }
}
