//! Disks fail in the middle of a write: the batch is lost, or it is whole although the write was reported as failed. The
//! node dies of it and starts again.

use crate::plan::{Action, Plan};
use lattice_storage::FaultKind;

/// Breaks random disks at a random write.
pub fn arrange(plan: &mut Plan) {
    let (from, to) = plan.disturbed_ms;
    let mut at = from;
    while at + 8_000 < to {
        for _ in 0..plan.faulty_max() {
            let node = plan.rng.below(plan.nodes() as u64) as usize;
            let kind = if plan.rng.chance(500_000) { FaultKind::Refuse } else { FaultKind::RefuseAfter };
            let begin = at + plan.rng.below(4_000);
            let write = plan.rng.between(1, 30);
            plan.at(begin, Action::BreakDisk(node, kind, write));
        }
        at += 8_000;
    }
    plan.must_stay_live = false;
}
