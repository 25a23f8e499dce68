//! What a validator makes: blocks and votes, by the rules or against them.

use crate::{
    load::{self, ADVERSARY_ACCOUNT},
    message::{Message, NodeId},
    plan::Role,
    world::{Event, World},
};
use alloy_primitives::{B256, keccak256};
use lattice_chain::{ChainError, Input, Template};
use lattice_types::{CheckedBlock, CheckedVote, DagBlock, Evidence, Offence, SealKey, Vote, bls};
use std::{collections::BTreeSet, sync::Arc};

/// How long a withholder keeps a block, ms.
const WITHHOLD_MS: (u64, u64) = (3_000, 12_000);
/// Time between two bursts of a stuffer, slots.
const BURST_SLOTS: u64 = 32;
/// How far the sink of a node that lacks blocks may lie behind for it to produce, slots.
const BEHIND_SLOTS: u64 = 40;
/// How much later a balancer tells its other half, ms.
const BALANCE_LATE_MS: u64 = 1_500;

/// Half to which an adversary shows a node something.
const fn half(node: NodeId) -> usize {
    node % 2
}

impl World {
    /// A slot has begun: a node that wins it makes a block.
    pub(crate) fn produce(&mut self, node: NodeId) {
        let role = self.role(node);
        if role == Role::Silent {
            return;
        }
        let Some((slot, vrf)) = self.won(node) else { return };
        match role {
            Role::Stuffer => self.stuff(node, slot, vrf),
            Role::Equivocator => self.equivocate(node, slot, vrf),
            _ => {
                let Some(template) = self.template(node, slot, vrf) else { return };
                let Some(block) = self.nodes[node].signer.seal(template) else { return };
                self.tell(node, role, block);
            }
        }
    }

    /// The slot that has begun by a node's clock, with its VRF, when the node wins it.
    fn won(&mut self, id: NodeId) -> Option<(u64, bls::Signature)> {
        let clock = self.clock(id);
        let node = &mut self.nodes[id];
        let index = node.index();
        let chain = node.chain.as_mut()?;
        let slot = chain.slot_at(clock);
        let sink = chain.head().dag_hash;
        let newest = chain.dag().slot(&sink).ok()??;
        // Who is still fetching an old past would build where nobody else is.
        if !node.wanted.is_empty() && slot > newest + BEHIND_SLOTS {
            return None;
        }
        // A faster clock has already filled the slot that has only begun here.
        if newest >= slot {
            return None;
        }
        let attempt = chain.seal_key(slot, index).and_then(|seal| {
            let Some(seal) = seal else { return Ok(None) };
            let vrf = node.signer.vrf(&seal.epoch_seed, slot);
            Ok(chain.wins(slot, index, &vrf)?.then_some((slot, vrf)))
        });
        self.or_fault(id, attempt)?
    }

    /// The value, or the node's end when its store failed.
    fn or_fault<T>(&mut self, node: NodeId, result: Result<T, ChainError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(ChainError::Fault(reason)) => {
                self.fault(node, &reason);
                None
            }
            Err(error) => {
                self.violate("an honest question has an answer", format!("node {node}: {error}"));
                None
            }
        }
    }

    fn template(&mut self, node: NodeId, slot: u64, vrf: bls::Signature) -> Option<Template> {
        let clock = self.clock(node);
        let proposer = self.nodes[node].index();
        let chain = self.nodes[node].chain.as_mut()?;
        let result = chain.handle(clock, Input::Slot { slot, proposer, vrf });
        self.or_fault(node, result)?.seal.map(|template| *template)
    }

    /// Checks a new block as peers would, gives it to its maker, and tells it in the manner of the role.
    fn tell(&mut self, node: NodeId, role: Role, block: CheckedBlock) {
        let block = if role == Role::RootLiar { self.lie(node, block.block()) } else { (**block.block()).clone() };
        let Some(block) = self.checked(node, &block) else { return };
        let message = Message::Block(block.clone());
        self.take_block(node, None, &block);
        match role {
            Role::Withholder => {
                self.nodes[node].hidden.push(block);
                if self.nodes[node].hidden.len() == 1 {
                    let ms = self.rng.between(WITHHOLD_MS.0, WITHHOLD_MS.1);
                    self.after(ms, Event::Release { node });
                }
            }
            Role::Balancer => {
                let first = (self.now / 6_000) as usize % 2;
                self.publish(node, &message, |peer| half(peer) == first);
                for peer in (0..self.nodes.len()).filter(|&peer| peer != node && half(peer) != first) {
                    let message = message.clone();
                    self.after(BALANCE_LATE_MS, Event::Deliver { from: node, to: peer, message });
                }
            }
            _ => self.publish(node, &message, |_| true),
        }
    }

    /// The checks in isolation, as every peer makes them.
    fn checked(&mut self, node: NodeId, block: &DagBlock) -> Option<Arc<CheckedBlock>> {
        let proposer = self.nodes[node].index();
        let chain = self.nodes[node].chain.as_mut()?;
        let seal: Option<SealKey> = chain.seal_key(block.header.slot, proposer).ok().flatten();
        match self.verifier.block(block, &self.plan.spec, seal.as_ref()) {
            Ok(checked) => Some(checked),
            Err(error) => {
                self.violate("no honest block is refused", format!("block of node {node} in isolation: {error}"));
                None
            }
        }
    }

    /// The same block with one commitment that is not true, signed.
    fn lie(&mut self, node: NodeId, block: &DagBlock) -> DagBlock {
        let mut block = block.clone();
        let wrong = keccak256(self.rng.next().to_be_bytes());
        match self.rng.below(4) {
            0 => block.header.evm_hash = wrong,
            1 => block.header.model_root = wrong,
            2 => block.header.training_root = wrong,
            _ => block.header.ai_class = 3 - block.header.ai_class,
        }
        block.header.sign(self.nodes[node].signer.key(), self.plan.spec.chain_id);
        self.checks.lies += 1;
        block
    }

    /// Two blocks for one slot, each shown to one half.
    fn equivocate(&mut self, node: NodeId, slot: u64, vrf: bls::Signature) {
        let Some(first) = self.template(node, slot, vrf) else { return };
        let Some(nonce) = self.nonce(node, ADVERSARY_ACCOUNT) else { return };
        let wei = 1 + self.rng.below(1_000_000);
        let tx = load::transfer(&self.plan.spec, ADVERSARY_ACCOUNT, nonce, load::receiver(0), wei);
        self.input(node, Input::Transaction(Box::new((*tx).clone())));
        let Some(second) = self.template(node, slot, vrf) else { return };
        let signer = &self.nodes[node].signer;
        let copies = [signer.seal_anyway(first), signer.seal_anyway(second)];
        if copies[0].hash() == copies[1].hash() {
            return self.tell(node, Role::Honest, copies[0].clone());
        }
        self.checks.commit(node, Offence::Equivocation, self.now);
        for (side, copy) in copies.iter().enumerate() {
            let Some(block) = self.checked(node, copy.block()) else { continue };
            self.take_block(node, None, &block);
            self.publish(node, &Message::Block(block), |peer| half(peer) == side);
        }
    }

    /// Keeps a win; from time to time all kept wins become blocks upon one old block.
    fn stuff(&mut self, node: NodeId, slot: u64, vrf: bls::Signature) {
        self.nodes[node].wins.push((slot, vrf));
        if slot.saturating_sub(self.nodes[node].wins[0].0) < BURST_SLOTS {
            return;
        }
        let wins = std::mem::take(&mut self.nodes[node].wins);
        let Some(base) = self.base_before(node, wins[0].0) else { return };
        for (slot, vrf) in wins {
            let Some(template) = self.template(node, slot, vrf) else { continue };
            let mut block = (**template.seal(self.nodes[node].signer.key(), self.plan.spec.chain_id).block()).clone();
            let Some(chain) = self.nodes[node].chain.as_ref() else { return };
            let Ok(data) = chain.dag().virtual_data(&[base]) else { return };
            let Ok(Some(pruning_point)) = chain.dag().pruning_point_above(&base) else { return };
            block.header.parents = vec![base];
            block.header.blue_score = data.blue_score;
            block.header.blue_work = data.blue_work;
            block.header.newest_pruning_point = pruning_point;
            block.body = Default::default();
            block.header.body_root = block.body.root();
            block.header.sign(self.nodes[node].signer.key(), self.plan.spec.chain_id);
            self.checks.lies += 1;
            if let Some(block) = self.checked(node, &block) {
                self.take_block(node, None, &block);
                self.publish(node, &Message::Block(block), |_| true);
            }
        }
    }

    fn base_before(&self, node: NodeId, slot: u64) -> Option<B256> {
        let chain = self.nodes[node].chain.as_ref()?;
        chain.dag().chain_block_at_slot(&chain.head().dag_hash, slot - 1).ok()?
    }

    /// A withholder lets its blocks go.
    pub(crate) fn release(&mut self, node: NodeId) {
        for block in std::mem::take(&mut self.nodes[node].hidden) {
            self.publish(node, &Message::Block(block), |_| true);
        }
    }

    /// A checkpoint's time has come: a node votes.
    pub(crate) fn cast_vote(&mut self, node: NodeId) {
        let role = self.role(node);
        if role == Role::Silent {
            return;
        }
        let clock = self.clock(node);
        let index = self.nodes[node].index();
        let Some(chain) = self.nodes[node].chain.as_mut() else { return };
        let result = chain.vote(clock, index);
        let Some(Some(vote)) = self.or_fault(node, result) else { return };
        match role {
            Role::DoubleVoter => self.vote_twice(node, vote),
            Role::SurroundVoter => self.surround(node, vote),
            _ => {
                if let Some(vote) = self.nodes[node].signer.vote(vote) {
                    self.hold_against_twin(node, &vote);
                    self.tell_vote(node, vote, |_| true);
                }
            }
        }
        self.nodes[node].cast.push(vote);
    }

    fn tell_vote(&mut self, node: NodeId, vote: CheckedVote, to: impl Fn(NodeId) -> bool) {
        self.input(node, Input::Vote(vote));
        self.publish(node, &Message::Vote(Arc::new(vote)), to);
    }

    /// A vote for the target and one for its selected parent.
    fn vote_twice(&mut self, node: NodeId, vote: Vote) {
        let first = self.nodes[node].signer.vote_anyway(vote);
        let Some(other) = self.vote_for_parent(node, vote) else {
            return self.tell_vote(node, first, |_| true);
        };
        let second = self.nodes[node].signer.vote_anyway(other);
        self.checks.commit(node, Offence::Double, self.now);
        self.tell_vote(node, first, |peer| half(peer) == 0);
        self.tell_vote(node, second, |peer| half(peer) == 1);
    }

    fn vote_for_parent(&self, node: NodeId, vote: Vote) -> Option<Vote> {
        let chain = self.nodes[node].chain.as_ref()?;
        let parent = chain.dag().selected_parent(&vote.target.hash).ok()??;
        if !chain.dag().is_chain_ancestor(&vote.source.hash, &parent).ok()? {
            return None;
        }
        let header = &chain.block(&parent).ok()??.block().header.clone();
        let mut other = vote;
        other.target.hash = parent;
        other.target_blue_score = header.blue_score;
        other.target_evm_hash = header.evm_hash;
        Some(other)
    }

    /// The vote from an older source, so that its link spans that of an earlier vote; first the vote that it should be.
    fn surround(&mut self, node: NodeId, vote: Vote) {
        let cast = &self.nodes[node].cast;
        let spanned = |old: &&Vote| {
            cast.iter().any(|inner| old.source.index < inner.source.index && inner.target.index < vote.target.index)
        };
        match cast.iter().rev().find(spanned).copied() {
            Some(old) => {
                let spanning = self.nodes[node].signer.vote_anyway(Vote { source: old.source, ..vote });
                self.checks.commit(node, Offence::Surround, self.now);
                self.tell_vote(node, spanning, |_| true);
            }
            None => {
                let vote = self.nodes[node].signer.vote_anyway(vote);
                self.tell_vote(node, vote, |_| true);
            }
        }
    }

    /// Votes of the two nodes of one validator that break a rule together are evidence for who hears both.
    fn hold_against_twin(&mut self, node: NodeId, vote: &CheckedVote) {
        if self.nodes[node].role != Role::Twin {
            return;
        }
        let validator = self.nodes[node].validator;
        let twin = self.nodes.iter().find(|other| other.validator == validator && other.id != node);
        let ours = vote.vote();
        let offence = |theirs: &Vote| theirs.conflict(&ours.vote);
        let Some(theirs) = twin.and_then(|twin| twin.cast.iter().find(|theirs| offence(theirs).is_some())) else {
            return;
        };
        let theirs = CheckedVote::sign(*theirs, validator, self.nodes[node].signer.key(), self.plan.spec.chain_id);
        let pair = [ours, theirs.vote()].map(|signed| (signed.vote, signed.signature));
        let evidence = Evidence::of_votes(*vote.public_key(), pair[0], pair[1]);
        if let Ok(offence) = evidence.offence() {
            self.checks.commit(validator as NodeId, offence, self.now);
            self.withheld_evidence.push(evidence);
        }
    }

    /// Who heard both halves tells everybody, one piece a validator: one is enough.
    pub(crate) fn tell_evidence(&mut self) {
        let mut told = BTreeSet::new();
        for evidence in std::mem::take(&mut self.withheld_evidence) {
            if told.insert(*evidence.offender())
                && let Some(node) = self.any_honest()
            {
                self.input(node, Input::Evidence(evidence.clone()));
                self.publish(node, &Message::Evidence(Arc::new(evidence)), |_| true);
            }
        }
    }
}
