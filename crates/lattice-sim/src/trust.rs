//! Starts from checkpoints that an operator trusts, true ones and false ones.

use crate::{message::NodeId, plan::Trust, world::World};
use alloy_primitives::{B256, keccak256};
use lattice_chain::{ChainError, TrustRefused};
use lattice_types::Checkpoint;

impl World {
    /// A node that is down starts with a checkpoint that was asked of an honest node.
    pub(crate) fn start_trusting(&mut self, node: NodeId, trust: Trust) {
        let Some(honest) = self.any_honest() else { return };
        let finalised = self.nodes[honest].finalised;
        let checkpoint = match trust {
            Trust::True => finalised,
            Trust::False => self.false_checkpoint(honest),
        };
        self.nodes[node].trusted = Some(checkpoint);
        self.start(node, None);
    }

    /// A node that is up is stopped and started with a checkpoint that contradicts what it has finalised: it must refuse, and
    /// go on without.
    pub(crate) fn contradict(&mut self, node: NodeId) {
        if !self.nodes[node].is_up() || self.nodes[node].finalised.index == 0 {
            return;
        }
        let checkpoint = self.false_checkpoint(node);
        self.nodes[node].crash();
        let trusted = self.nodes[node].trusted.replace(checkpoint);
        match self.nodes[node].start(&self.plan.spec, None) {
            Err(ChainError::Trust(TrustRefused::Contradicts { .. })) => self.checks.refused_trust += 1,
            Err(error) => self.violate(REFUSED, format!("node {node}, {checkpoint}: another error: {error}")),
            Ok(()) => self.violate(REFUSED, format!("node {node} starts with {checkpoint}")),
        }
        self.nodes[node].crash();
        self.nodes[node].trusted = trusted;
        self.start(node, None);
    }

    /// A checkpoint with the index of the node's newest finalised one and a block beside its chain; never that of the genesis,
    /// which every store knows.
    fn false_checkpoint(&self, node: NodeId) -> Checkpoint {
        let Checkpoint { index, hash } = self.nodes[node].finalised;
        Checkpoint { index: index.max(1), hash: self.beside(node, &hash).unwrap_or_else(|| keccak256(hash)) }
    }

    /// The newest block in the past of a chain block that is on no selected chain of it.
    fn beside(&self, node: NodeId, chain_block: &B256) -> Option<B256> {
        let dag = self.nodes[node].chain.as_ref()?.dag();
        let data = dag.selected_chain(chain_block).filter_map(|hash| dag.ghostdag(&hash.ok()?).ok()?);
        let mut merged = data.flat_map(|data| data.mergeset_blues.into_iter().skip(1).chain(data.mergeset_reds));
        merged.next()
    }

    /// Whoever trusts a checkpoint follows only chains that hold it. Before it has come, nothing else is final and no vote cast.
    pub(crate) fn check_trust(&mut self) {
        for node in 0..self.nodes.len() {
            let (Some(trusted), Some(chain)) = (self.nodes[node].trusted, &self.nodes[node].chain) else { continue };
            let sink = chain.head().dag_hash;
            let has_come = chain.dag().contains(&trusted.hash).unwrap_or(true);
            let follows = match has_come {
                true => chain.dag().is_chain_ancestor(&trusted.hash, &sink).unwrap_or(false),
                false => chain.finality().finalised() == trusted && self.nodes[node].cast.is_empty(),
            };
            if !follows {
                let detail = format!("node {node} trusts {trusted}, and its sink is {sink}");
                return self.violate("a node follows only chains with the checkpoint that it trusts", detail);
            }
        }
    }
}

/// What must hold of [`World::contradict`].
pub const REFUSED: &str = "a checkpoint that contradicts what is final is refused";
