//! Nodes forget what is old, crash and start again in the middle of it; one keeps everything, and from it a late one gets
//! what it lacks.

use crate::plan::{Action, Plan};

/// Blue score below which is pruned.
const PRUNING_DEPTH: u64 = 80;
/// A little more than k.
const MERGE_DEPTH: u64 = 40;
/// Latest time at which a node joins, ms: what it then lacks fits among the orphans.
const JOIN_MS_MAX: u64 = 35_000;
const DOWN_MS: u64 = 3_000;
/// Slots and delays are short, so that there are many chain blocks: what may be pruned has 256 of them above it.
const SLOT_MS: u64 = 100;

/// A chain that forgets early.
pub fn arrange(plan: &mut Plan) {
    let (from, to) = plan.disturbed_ms;
    plan.spec.merge_depth = MERGE_DEPTH;
    plan.spec.pruning_depth = PRUNING_DEPTH;
    plan.spec.state_window = 8;
    plan.spec.slot_ms = SLOT_MS;
    plan.delay_ms = (plan.delay_ms.0 / 10 + 1, plan.delay_ms.1 / 10 + 1);
    let chosen = plan.some_nodes(plan.nodes());
    let (archive, late) = (chosen[0], chosen[1]);
    plan.archives.push(archive);
    plan.absent.push(late);
    let join = (from + (to - from) / 2).min(JOIN_MS_MAX);
    plan.at(join, Action::Start(late));
    // With few nodes nothing is final while another one is down too.
    let mut at = join + DOWN_MS;
    while at + 2 * DOWN_MS < to {
        let node = chosen[2 + plan.rng.below(plan.nodes() as u64 - 2) as usize];
        plan.at(at, Action::Crash(node));
        plan.at(at + DOWN_MS, Action::Start(node));
        at += 2 * DOWN_MS;
    }
}
