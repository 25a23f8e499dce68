//! Safety: what is final is one chain, and stays.

use crate::{message::NodeId, world::World};
use alloy_primitives::B256;
use lattice_types::Checkpoint;

pub(super) const ONE_CHAIN: &str = "no two conflicting finalised checkpoints";

impl World {
    /// Looks at what an honest node has finalised after it took a block.
    pub(crate) fn check_finality(&mut self, node: NodeId) {
        if !self.is_honest(node as u32) {
            return;
        }
        let Some(chain) = self.nodes[node].chain.as_ref() else { return };
        let (finalised, sink) = (chain.finality().finalised(), chain.head().dag_hash);
        if self.nodes[node].trusted == Some(finalised) && !chain.dag().contains(&finalised.hash).unwrap_or(true) {
            return;
        }
        if !chain.dag().is_chain_ancestor(&finalised.hash, &sink).unwrap_or(false) {
            let detail = format!("node {node}: {finalised} is not on the chain of its sink {sink}");
            return self.violate("what is finalised never leaves the selected chain", detail);
        }
        let before = self.nodes[node].finalised;
        if finalised == before {
            return;
        }
        if finalised.index <= before.index {
            let detail = format!("node {node}: from {before} to {finalised}");
            return self.violate("finality only goes forward", detail);
        }
        self.nodes[node].finalised = finalised;
        self.compare_checkpoints(node, finalised);
        self.compare_heights(node, finalised.hash);
    }

    /// Every two finalised checkpoints of one camp lie on one selected chain.
    fn compare_checkpoints(&mut self, node: NodeId, finalised: Checkpoint) {
        let Checkpoint { index, hash } = finalised;
        let camp = self.plan.camps[node];
        let known = &self.checks.finalised;
        if known.iter().any(|(&(other, at), &(known, _))| other != camp && at == index && known != hash) {
            self.checks.is_forked = true;
        }
        let known = &self.checks.finalised;
        let lower = known.range((camp, 0)..(camp, index)).next_back().map(|(_, &(other, by))| (other, hash, node, by));
        let higher =
            known.range((camp, index + 1)..(camp, u64::MAX)).next().map(|(_, &(other, by))| (hash, other, by, by));
        let same = known.get(&(camp, index)).copied();
        if let Some((other, by)) = same
            && other != hash
        {
            let detail = format!("checkpoint {index} is {hash} at node {node} and {other} at node {by}");
            return self.violate(ONE_CHAIN, detail);
        }
        for (below, above, judge, by) in [lower, higher].into_iter().flatten() {
            // Only a node that knows the upper block can say whether the lower one is on its chain.
            let Some(chain) = self.nodes[judge].chain.as_ref() else { continue };
            if !chain.dag().is_chain_ancestor(&below, &above).unwrap_or(false) {
                let detail = format!("{below} is not on the chain of {above} (nodes {node} and {by})");
                return self.violate(ONE_CHAIN, detail);
            }
        }
        self.checks.finalised.entry((camp, index)).or_insert((hash, node));
    }

    /// All honest nodes have one EVM hash and one state root at each finalised height.
    fn compare_heights(&mut self, id: NodeId, finalised: B256) {
        let node = &self.nodes[id];
        let Some(&top) = node.height_of.get(&finalised) else {
            let detail = format!("node {id}: {finalised} has no EVM block on the selected chain");
            return self.violate("what is finalised is executed", detail);
        };
        let heights = node.compared + 1..=top;
        let links: Vec<_> = heights.filter_map(|height| Some((height, *node.canonical.get(&height)?))).collect();
        self.nodes[id].compared = top;
        for (height, link) in links {
            let known = *self.checks.chain.entry((self.plan.camps[id], height)).or_insert(link);
            if known != link {
                let detail = format!("height {height}: node {id} has {link:?}, others have {known:?}");
                return self.violate("one EVM hash at each finalised height", detail);
            }
            self.measure(id, &link.dag);
        }
    }

    /// Samples the time that the blocks of a chain block's mergeset took to be final.
    fn measure(&mut self, id: NodeId, chain_block: &B256) {
        let Some(chain) = self.nodes[id].chain.as_ref() else { return };
        let Ok(Some(data)) = chain.dag().ghostdag(chain_block) else { return };
        let blues = data.mergeset_blues.iter().skip(1).chain([chain_block]);
        self.metrics.blues.0 += data.mergeset_blues.len() as u64;
        self.metrics.blues.1 += (data.mergeset_blues.len() + data.mergeset_reds.len()) as u64;
        let mut samples = Vec::new();
        for hash in blues.chain(&data.mergeset_reds) {
            let Some(block) = self.verifier.known(hash) else { continue };
            let header = &block.block().header;
            if self.is_honest(header.proposer) {
                let begun = header.slot * self.plan.spec.slot_ms;
                samples.push(u32::try_from(self.now.saturating_sub(begun)).unwrap_or(u32::MAX));
            }
        }
        self.metrics.finality_ms.extend(samples);
    }
}
