//! What nodes forget, they forget alike: one list of pruning points, of which each node has a beginning.

use crate::world::World;

impl World {
    pub(crate) fn check_pruning(&mut self) {
        for node in self.honest_up() {
            let Some(chain) = self.nodes[node].chain.as_ref() else { continue };
            let points = chain.dag().pruning_points();
            let known = &mut self.checks.pruning_points;
            if points.len() > known.len() {
                known.extend_from_slice(&points[known.len()..]);
            }
            if points != known[..points.len()] {
                let detail = format!("node {node} has {points:?}, others have {known:?}");
                return self.violate("one list of pruning points", detail);
            }
        }
    }
}
