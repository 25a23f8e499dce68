//! More than a third of the validators run two nodes each, one in either half of a split network: each half finalises its own
//! chain. Nothing can prevent that; it must cost a third of the stake, and no honest one.

use crate::plan::{Action, Plan, Role};

/// Splits the honest nodes and doubles the guilty ones.
pub fn arrange(plan: &mut Plan) {
    let honest_nodes = plan.nodes();
    // As few as give either half two thirds.
    let is_enough = |guilty: &usize| 3 * ((honest_nodes - guilty) / 2 + guilty) >= 2 * honest_nodes;
    let guilty = (1..honest_nodes).find(is_enough).unwrap_or(honest_nodes);
    let guilty = plan.some_nodes(guilty);
    let mut camps = vec![0; honest_nodes];
    let honest = (0..honest_nodes).filter(|node| !guilty.contains(node));
    honest.skip(1).step_by(2).for_each(|node| camps[node] = 1);
    for &node in &guilty {
        plan.roles[node] = Role::Twin;
        plan.roles.push(Role::Twin);
        plan.validators.push(node as u32);
        plan.clocks_ms.push(0);
        camps.push(1);
    }
    plan.camps = camps.clone();
    plan.at(plan.disturbed_ms.0, Action::Cut(camps));
    plan.must_stay_live = false;
}
