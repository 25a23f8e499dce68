//! Clocks differ by up to half a second, and one by two seconds: its blocks must wait until their slots have begun, and its
//! votes come at the wrong time.

use crate::plan::Plan;

/// Sets clocks at random.
pub fn arrange(plan: &mut Plan) {
    for node in 0..plan.nodes() {
        plan.clocks_ms[node] = plan.rng.between(0, 500) as i64 - 250;
    }
    let fast = plan.rng.below(plan.nodes() as u64) as usize;
    plan.clocks_ms[fast] = 2_000;
}
