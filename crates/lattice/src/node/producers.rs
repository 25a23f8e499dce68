//! `lattice dev --producers N`: N equal validators in one process, each with its own chain, store and key, who hear of
//! each other late. So DAGs get wide and blocks are merged, red ones too, on one machine.
//!
//! Every producer is a thread that owns its chain. They talk through channels; each message arrives after a delay of its
//! own, between half of the given one and all of it. Producer 0 is the node's: RPC reads its chain and transactions
//! come in there.

use super::{
    chain_thread::Message,
    clock::{now_ms, slot_at},
    validator::{Fault, Validator},
};
use alloy_primitives::B256;
use lattice_chain::{ChainError, Input};
use lattice_types::{Attestation, CheckedBlock, CheckedVote, Evidence, RecoveredTx};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::Duration,
};

/// Messages taken before the clock is looked at again.
const MESSAGES_PER_TURN: usize = 1_000;

/// What producers say to each other.
#[derive(Debug, Clone)]
pub enum Word {
    /// A transaction for the pool.
    Transaction(Box<RecoveredTx>),
    /// A block.
    Block(CheckedBlock),
    /// A vote.
    Vote(CheckedVote),
    /// A validator's word on a pending model.
    Attestation(Attestation),
    /// Evidence of an offence.
    Evidence(Evidence),
    /// Blocks that the sender lacks.
    Want(Vec<B256>),
}

/// A word on its way.
#[derive(Debug)]
pub struct Delivery {
    due_ms: u64,
    from: usize,
    word: Word,
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.due_ms == other.due_ms
    }
}

impl Eq for Delivery {}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due_ms.cmp(&other.due_ms)
    }
}

/// One producer among the others.
pub struct Producer {
    validator: Validator,
    index: usize,
    /// The inboxes of all producers, this one's included.
    peers: Vec<Sender<Message>>,
    delay_ms: u64,
    /// Decides delays; nothing else depends on it.
    random: u64,
    on_the_way: BinaryHeap<Reverse<Delivery>>,
}

impl Producer {
    /// Producer `index` of those with these inboxes.
    pub const fn new(validator: Validator, index: usize, peers: Vec<Sender<Message>>, delay: Duration) -> Self {
        let delay_ms = delay.as_millis() as u64;
        let random = 0x9e37_79b9_7f4a_7c15 ^ index as u64;
        Self { validator, index, peers, delay_ms, random, on_the_way: BinaryHeap::new() }
    }

    /// Produces, votes and listens until it is told to stop.
    pub fn run(mut self, inbox: &Receiver<Message>) -> Result<(), Fault> {
        let mut slot = self.slot_now();
        // What a store holds that others lack: the tips, from which they ask their way down.
        for tip in self.validator.chain.dag().tips() {
            if let Some(block) = self.validator.chain.block(&tip)?.filter(|block| block.block().header.slot > 0) {
                self.tell_all(&Word::Block((*block).clone()));
            }
        }
        loop {
            let spec = self.validator.chain.spec().clone();
            let slot_begins = (slot + 1) * spec.slot_ms + spec.genesis_time_s * 1000;
            let due = self.on_the_way.peek().map_or(u64::MAX, |Reverse(next)| next.due_ms);
            let wait = due.min(slot_begins).saturating_sub(now_ms());
            let mut next = inbox.recv_timeout(Duration::from_millis(wait));
            for _ in 0..MESSAGES_PER_TURN {
                match next {
                    Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => break,
                    Ok(Message::Submit(tx, reply)) => {
                        let word = Word::Transaction(tx.clone());
                        if self.validator.submit(tx, reply)? {
                            self.tell_all(&word);
                        }
                    }
                    Ok(Message::Attestation(attestation)) => {
                        self.validator.attest(attestation)?;
                        self.tell_all(&Word::Attestation(attestation));
                    }
                    Ok(Message::Peer(delivery)) => self.on_the_way.push(Reverse(delivery)),
                }
                next = inbox.recv_timeout(Duration::ZERO);
            }
            while self.on_the_way.peek().is_some_and(|Reverse(next)| next.due_ms <= now_ms()) {
                if let Some(Reverse(delivery)) = self.on_the_way.pop() {
                    self.hear(delivery)?;
                }
            }
            if let Some(vote) = self.validator.vote()? {
                self.tell_all(&Word::Vote(vote));
            }
            let now = self.slot_now();
            if now > slot {
                slot = now;
                if let Some(block) = self.validator.seal(slot)? {
                    self.tell_all(&Word::Block(block));
                }
            }
        }
    }

    fn slot_now(&self) -> u64 {
        slot_at(self.validator.chain.spec(), now_ms())
    }

    fn hear(&mut self, Delivery { from, word, .. }: Delivery) -> Result<(), Fault> {
        let now = now_ms();
        let heard = match word {
            Word::Block(block) => return self.hear_block(from, block),
            Word::Want(hashes) => {
                for hash in hashes {
                    if let Some(block) = self.validator.chain.block(&hash)? {
                        self.tell(from, Word::Block((*block).clone()));
                    }
                }
                return Ok(());
            }
            Word::Transaction(tx) => self.validator.chain.handle(now, Input::Transaction(tx)),
            Word::Vote(vote) => self.validator.chain.handle(now, Input::Vote(vote)),
            Word::Attestation(attestation) => self.validator.chain.handle(now, Input::Attestation(attestation)),
            Word::Evidence(evidence) => self.validator.chain.handle(now, Input::Evidence(evidence)),
        };
        match heard {
            Ok(effects) => self.tell_evidence(effects.evidence),
            Err(error @ (ChainError::Fault(_) | ChainError::MissingArtifact(_))) => return Err(error.into()),
            Err(refused) => tracing::debug!("producer {}: {refused}", self.index),
        }
        Ok(())
    }

    fn hear_block(&mut self, from: usize, block: CheckedBlock) -> Result<(), Fault> {
        match self.validator.insert(block.clone()) {
            Ok(evidence) => self.tell_evidence(evidence),
            Err(ChainError::MissingParents(parents)) => self.tell(from, Word::Want(parents)),
            // Clocks of one process are the same, but a slot may begin between two looks at it.
            Err(ChainError::FutureSlot { wait_ms, .. }) => {
                let due_ms = now_ms() + wait_ms;
                self.on_the_way.push(Reverse(Delivery { due_ms, from, word: Word::Block(block) }));
            }
            Err(error @ (ChainError::Fault(_) | ChainError::MissingArtifact(_))) => return Err(error.into()),
            Err(refused) => tracing::warn!("producer {}: block {}: {refused}", self.index, block.hash()),
        }
        Ok(())
    }

    fn tell_evidence(&mut self, evidence: Vec<Evidence>) {
        for evidence in evidence {
            self.tell_all(&Word::Evidence(evidence));
        }
    }

    fn tell_all(&mut self, word: &Word) {
        for peer in (0..self.peers.len()).filter(|&peer| peer != self.index).collect::<Vec<_>>() {
            self.tell(peer, word.clone());
        }
    }

    fn tell(&mut self, peer: usize, word: Word) {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let half = self.delay_ms / 2;
        let due_ms = now_ms() + half + (mixed ^ (mixed >> 31)) % (self.delay_ms - half + 1);
        let delivery = Delivery { due_ms, from: self.index, word };
        // Whoever is gone already hears nothing more: the node is stopping.
        let _stopping = self.peers[peer].send(Message::Peer(delivery));
    }
}
