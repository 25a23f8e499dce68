//! What a node does with what it hears.

use crate::{
    message::{Message, NodeId},
    world::{Event, World},
};
use alloy_primitives::B256;
use lattice_chain::{ChainError, Effects, Input};
use lattice_types::CheckedBlock;
use std::{
    collections::{BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};

/// Blocks of the past that go along with a requested one when the asker seems to lack many.
const ANCESTORS: usize = 64;
/// How often a node asks for a block before it forgets about it.
const TRIES_MAX: u32 = 60;
/// Blocks that a node asks for at a time.
const REQUEST_MAX: usize = 24;

impl World {
    pub(crate) fn receive(&mut self, from: NodeId, to: NodeId, message: Message) {
        if !self.nodes[to].is_up() {
            return;
        }
        match &message {
            Message::Block(block) => {
                if self.take_block(to, Some(from), block) {
                    self.relay(to, from, &message);
                }
                return;
            }
            Message::Tips(tips) => self.hear_of(to, from, tips),
            Message::Request(wanted, ancestors) => self.answer(to, from, wanted, *ancestors),
            _ if message.id().is_some_and(|id| self.nodes[to].seen.contains(&id)) => {}
            Message::Vote(vote) => self.input(to, Input::Vote(**vote)),
            Message::Evidence(evidence) => {
                if self.verifier.evidence(evidence, self.plan.spec.chain_id) {
                    self.input(to, Input::Evidence((**evidence).clone()));
                }
            }
            Message::Attestation(attestation) => self.input(to, Input::Attestation((**attestation).into())),
            Message::Transaction(tx) => self.input(to, Input::Transaction(Box::new((**tx).clone()))),
        }
        self.relay(to, from, &message);
    }

    /// Hands an input to a node that is up. What is refused is refused; a fault kills it.
    pub(crate) fn input(&mut self, node: NodeId, input: Input) {
        let clock = self.clock(node);
        let Some(chain) = self.nodes[node].chain.as_mut() else { return };
        match chain.handle(clock, input) {
            Ok(effects) => drop(self.absorb(node, effects)),
            Err(ChainError::Fault(reason)) => self.fault(node, &reason),
            Err(_) => self.metrics.refused += 1,
        }
    }

    /// A fault that was ordered kills the node until it starts again; any other is a bug.
    pub(crate) fn fault(&mut self, node: NodeId, reason: &str) {
        if !reason.contains("injected fault") {
            self.violate("no faults but those that were ordered", format!("node {node}: {reason}"));
        }
        self.metrics.faults += 1;
        self.die(node);
    }

    /// Hands a block, and the orphans that waited for it, to a node. Whether it is worth passing on.
    pub(crate) fn take_block(&mut self, node: NodeId, from: Option<NodeId>, block: &Arc<CheckedBlock>) -> bool {
        let mut waiting = VecDeque::from([(**block).clone()]);
        let mut is_good = true;
        while let Some(block) = waiting.pop_front() {
            let (clock, hash) = (self.clock(node), block.hash());
            let Some(chain) = self.nodes[node].chain.as_mut() else { return false };
            if chain.dag().contains(&hash).unwrap_or(false) {
                continue;
            }
            let proposer = block.block().header.proposer;
            let slot = block.block().header.slot;
            match chain.handle(clock, Input::Block(block.clone())) {
                Ok(effects) => {
                    self.nodes[node].wanted.remove(&hash);
                    waiting.extend(self.absorb(node, effects));
                    self.check_finality(node);
                }
                Err(ChainError::MissingParents(mut missing)) => {
                    // What is wanted already was asked for, and will be again.
                    let wanted = &mut self.nodes[node].wanted;
                    missing.retain(|parent| !wanted.contains_key(parent));
                    wanted.extend(missing.iter().map(|parent| (*parent, 0)));
                    if let Some(from) = from
                        && !missing.is_empty()
                    {
                        self.ask(node, from, missing);
                    }
                }
                Err(ChainError::FutureSlot { wait_ms, .. }) => {
                    let message = Message::Block(Arc::new(block));
                    self.after(wait_ms, Event::Deliver { from: from.unwrap_or(node), to: node, message });
                }
                Err(ChainError::Fault(reason)) => {
                    self.fault(node, &reason);
                    return false;
                }
                Err(error) => {
                    self.metrics.refused += 1;
                    is_good = false;
                    if self.is_honest(proposer) && self.is_honest(node as u32) {
                        let detail = format!("node {node} refuses block {hash} of {proposer}, slot {slot}: {error}");
                        self.violate("no honest block is refused", detail);
                    }
                }
            }
        }
        is_good
    }

    /// What follows from an input; the orphans that lack nothing any more are handed back.
    pub(crate) fn absorb(&mut self, node: NodeId, effects: Effects) -> Vec<CheckedBlock> {
        for block in &effects.removed {
            self.nodes[node].unlink(block);
        }
        for block in &effects.added {
            self.nodes[node].link(block);
        }
        if effects.removed.len() as u64 > self.metrics.longest_reorg {
            self.metrics.longest_reorg = effects.removed.len() as u64;
        }
        let is_honest = self.is_honest(node as u32);
        if let Some(conflict) = effects.conflict
            && is_honest
        {
            self.conflict(node, &conflict.to_string());
        }
        for (hash, reason) in &effects.disqualified {
            self.metrics.disqualified += u64::from(is_honest);
            let maker = self.verifier.known(hash).map(|block| block.block().header.proposer);
            if let Some(maker) = maker
                && is_honest
                && self.is_honest(maker)
            {
                let detail = format!("node {node} disqualifies block {hash} of {maker}: {reason}");
                self.violate("no honest block is disqualified", detail);
            }
        }
        for evidence in effects.evidence {
            self.check_accused(node, &evidence);
            self.publish(node, &Message::Evidence(Arc::new(evidence)), |_| true);
        }
        effects.adopted
    }

    /// A node hears of tips and asks for those that it lacks.
    fn hear_of(&mut self, node: NodeId, from: NodeId, tips: &[B256]) {
        let Some(chain) = self.nodes[node].chain.as_ref() else { return };
        let missing: Vec<B256> =
            tips.iter().filter(|tip| !chain.dag().contains(tip).unwrap_or(true)).copied().collect();
        if missing.is_empty() {
            return;
        }
        for tip in &missing {
            self.nodes[node].wanted.entry(*tip).or_insert(0);
        }
        self.ask(node, from, missing);
    }

    /// Asks for blocks; for much of their past too when many are lacking.
    fn ask(&mut self, node: NodeId, peer: NodeId, blocks: Vec<B256>) {
        let ancestors = if self.nodes[node].wanted.len() > 3 { ANCESTORS } else { 2 };
        self.send(node, peer, Message::Request(Arc::new(blocks), ancestors));
    }

    /// Sends requested blocks, oldest first, with some of their past.
    fn answer(&mut self, node: NodeId, asker: NodeId, wanted: &[B256], ancestors: usize) {
        let Some(chain) = self.nodes[node].chain.as_ref() else { return };
        let slot = |hash: &B256| chain.dag().slot(hash).ok().flatten().filter(|slot| *slot > 0);
        let asked = wanted.iter().take(REQUEST_MAX).filter_map(|hash| Some((slot(hash)?, *hash)));
        let mut found: BTreeSet<(u64, B256)> = asked.collect();
        let room = found.len() + ancestors;
        let mut open: BinaryHeap<(u64, B256)> = found.iter().copied().collect();
        while let Some((_, hash)) = open.pop()
            && found.len() < room
        {
            for parent in chain.dag().parents(&hash).ok().flatten().unwrap_or_default() {
                if let Some(slot) = slot(&parent)
                    && found.insert((slot, parent))
                {
                    open.push((slot, parent));
                }
            }
        }
        for (_, hash) in found {
            if let Some(block) = self.verifier.known(&hash) {
                self.send(node, asker, Message::Block(block));
            }
        }
    }

    /// Asks somebody for what is still lacking, and tells somebody its tips.
    pub(crate) fn look_for_missing(&mut self, node: NodeId) {
        let Some(chain) = self.nodes[node].chain.as_ref() else { return };
        let tips = chain.dag().tips();
        let mut wanted = std::mem::take(&mut self.nodes[node].wanted);
        let chain = self.nodes[node].chain.as_ref().expect("it is up");
        wanted.retain(|hash, tries| {
            *tries += 1;
            *tries <= TRIES_MAX && !chain.dag().contains(hash).unwrap_or(true)
        });
        // What was just heard of is probably on its way.
        let due: Vec<B256> = wanted.iter().filter(|(_, tries)| **tries > 1).map(|(hash, _)| *hash).collect();
        self.nodes[node].wanted = wanted;
        let peers = self.nodes.len() as u64;
        for chunk in due.chunks(REQUEST_MAX).take(2) {
            let peer = self.rng.below(peers) as usize;
            if peer != node {
                self.ask(node, peer, chunk.to_vec());
            }
        }
        let peer = self.rng.below(peers) as usize;
        if peer != node {
            self.send(node, peer, Message::Tips(Arc::new(tips)));
        }
    }
}
