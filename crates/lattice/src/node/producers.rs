//! `lattice dev --producers N`: N equal validators in one process, each with its own chain, store and key, who hear of
//! each other late. So DAGs get wide and blocks are merged, red ones too, on one machine.
//!
//! Every producer is a thread that owns its chain. They talk through channels; each message arrives after a delay of its
//! own, between half of the given one and all of it, and then goes through the same checks as a peer's. Producer 0 is the
//! node's: RPC reads its chain and transactions come in there.

use super::{
    chain_thread::Message,
    checks::{CheckPool, Checks},
    clock::{now_ms, slot_at},
    validator::{Fault, Validator},
};
use alloy_primitives::B256;
use lattice_chain::{ChainError, CheckRefused, Input, Unchecked};
use lattice_types::{CheckedBlock, Evidence, RecoveredTx};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::Duration,
};

/// Messages taken before the clock is looked at again.
const MESSAGES_PER_TURN: usize = 1_000;

/// What producers say to each other.
#[derive(Debug, Clone)]
pub enum Word {
    /// A transaction for the pool.
    Transaction(Box<RecoveredTx>),
    /// A block, a vote, an attestation or evidence.
    Said(Box<Unchecked>),
    /// Blocks that the sender lacks.
    Want(Vec<B256>),
}

impl Word {
    fn block(block: &CheckedBlock) -> Self {
        Self::from(Unchecked::Block(alloy_rlp::encode(&**block.block()).into()))
    }
}

impl From<Unchecked> for Word {
    fn from(said: Unchecked) -> Self {
        Self::Said(Box::new(said))
    }
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
    checks: Checks<usize>,
    /// What was checked, with who said it.
    checked: Receiver<(usize, Result<Input, CheckRefused>)>,
}

impl Producer {
    /// Producer `index` of those with these inboxes.
    ///
    /// # Errors
    /// When the thread that checks cannot be started.
    pub fn new(
        validator: Validator,
        index: usize,
        peers: Vec<Sender<Message>>,
        delay: Duration,
        pool: CheckPool,
    ) -> io::Result<Self> {
        let delay_ms = delay.as_millis() as u64;
        let random = 0x9e37_79b9_7f4a_7c15 ^ index as u64;
        let (sender, checked) = mpsc::sync_channel(pool.batch());
        let inbox = peers[index].clone();
        let deliver = move |from, outcome| sender.send((from, outcome)).is_ok() && inbox.send(Message::Checked).is_ok();
        let checks = Checks::start(pool, validator.keys.clone(), deliver)?;
        Ok(Self { validator, index, peers, delay_ms, random, on_the_way: BinaryHeap::new(), checks, checked })
    }

    /// Produces, votes and listens until it is told to stop.
    pub fn run(mut self, inbox: &Receiver<Message>) -> Result<(), Fault> {
        let mut slot = self.slot_now();
        // What a store holds that others lack: the tips, from which they ask their way down.
        for tip in self.validator.chain.dag().tips() {
            if let Some(block) = self.validator.chain.block(&tip)?.filter(|block| block.block().header.slot > 0) {
                self.tell_all(&Word::block(&block));
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
                        self.tell_all(&Word::from(Unchecked::Attestation(attestation.attestation)));
                    }
                    Ok(Message::Peer(delivery)) => self.on_the_way.push(Reverse(delivery)),
                    Ok(Message::Checked) => {
                        if let Ok((from, outcome)) = self.checked.try_recv() {
                            self.take(from, outcome)?;
                        }
                    }
                }
                next = inbox.recv_timeout(Duration::ZERO);
            }
            while self.on_the_way.peek().is_some_and(|Reverse(next)| next.due_ms <= now_ms()) {
                if let Some(Reverse(delivery)) = self.on_the_way.pop() {
                    self.hear(delivery)?;
                }
            }
            if let Some(vote) = self.validator.vote()? {
                self.tell_all(&Word::from(Unchecked::Vote(*vote.vote())));
            }
            let now = self.slot_now();
            if now > slot {
                slot = now;
                if let Some(block) = self.validator.seal(slot)? {
                    self.tell_all(&Word::block(&block));
                }
            }
        }
    }

    fn slot_now(&self) -> u64 {
        slot_at(self.validator.chain.spec(), now_ms())
    }

    fn hear(&mut self, Delivery { from, word, .. }: Delivery) -> Result<(), Fault> {
        match word {
            Word::Said(said) => {
                // What is lost will be asked for again: later blocks lack it.
                if !self.checks.offer(from, *said) {
                    tracing::warn!("producer {}: too much to check, a message is dropped", self.index);
                }
            }
            Word::Want(hashes) => {
                for hash in hashes {
                    if let Some(block) = self.validator.chain.block(&hash)? {
                        self.tell(from, Word::block(&block));
                    }
                }
            }
            Word::Transaction(tx) => self.take(from, Ok(Input::Transaction(tx)))?,
        }
        Ok(())
    }

    /// Tells the chain what was checked.
    fn take(&mut self, from: usize, checked: Result<Input, CheckRefused>) -> Result<(), Fault> {
        let input = match checked {
            Ok(Input::Block(block)) => return self.take_block(from, block),
            Ok(input) => input,
            Err(refused) => {
                tracing::warn!("producer {}: {refused}", self.index);
                return Ok(());
            }
        };
        match self.validator.chain.handle(now_ms(), input) {
            Ok(effects) => self.tell_evidence(effects.evidence),
            Err(error @ (ChainError::Fault(_) | ChainError::MissingArtifact(_))) => return Err(error.into()),
            Err(refused) => tracing::debug!("producer {}: {refused}", self.index),
        }
        Ok(())
    }

    fn take_block(&mut self, from: usize, block: CheckedBlock) -> Result<(), Fault> {
        match self.validator.insert(block.clone()) {
            Ok(evidence) => self.tell_evidence(evidence),
            Err(ChainError::MissingParents(parents)) => self.tell(from, Word::Want(parents)),
            // Clocks of one process are the same, but a slot may begin between two looks at it.
            Err(ChainError::FutureSlot { wait_ms, .. }) => {
                let due_ms = now_ms() + wait_ms;
                self.on_the_way.push(Reverse(Delivery { due_ms, from, word: Word::block(&block) }));
            }
            Err(error @ (ChainError::Fault(_) | ChainError::MissingArtifact(_))) => return Err(error.into()),
            Err(refused) => tracing::warn!("producer {}: block {}: {refused}", self.index, block.hash()),
        }
        Ok(())
    }

    fn tell_evidence(&mut self, evidence: Vec<Evidence>) {
        for evidence in evidence {
            self.tell_all(&Word::from(Unchecked::Evidence(evidence)));
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
