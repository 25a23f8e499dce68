//! The thread that owns the chain: feeds it inputs, seals its templates, publishes what it did.
//!
//! The development chain seals as soon as something waits. Messages that gathered while the last block was made are
//! admitted first, so blocks grow with the load by themselves.

use super::{
    clock::{now_ms, slot_at},
    shared::Shared,
    signer::{Signer, SignerError},
};
use lattice_chain::{Chain, ChainError, Effects, Input, SubmitReply};
use lattice_types::{Attestation, CheckedBlock, RecoveredTx};
use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    time::Duration,
};

/// Messages taken before a block is made: about what fits into one.
const MESSAGES_PER_BLOCK: usize = 3_000;
/// What the chain's thread is asked.
pub enum Message {
    /// Admit a transaction and answer.
    Submit(Box<RecoveredTx>, SubmitReply),
    /// Count a validator's word on a pending model.
    Attestation(Attestation),
    /// End the thread.
    Stop,
}

/// Why the thread has to end.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Owns the chain until it is told to stop, every sender is gone, or a fault happens.
pub fn run(chain: Chain, shared: &Shared, signer: &Signer, inbox: &Receiver<Message>) {
    let mut thread = ChainThread { chain, shared, signer, voted: 0 };
    if let Err(fault) = thread.work(inbox) {
        shared.set_fault(fault.to_string());
    }
}

struct ChainThread<'a> {
    chain: Chain,
    shared: &'a Shared,
    signer: &'a Signer,
    /// The newest checkpoint at which a vote was considered.
    voted: u64,
}

impl ChainThread<'_> {
    fn work(&mut self, inbox: &Receiver<Message>) -> Result<(), Fault> {
        loop {
            // A full block leaves transactions behind; only without any is there time to wait.
            let mut next = if self.chain.has_work(now_ms())? {
                inbox.try_recv()
            } else {
                inbox.recv_timeout(self.until_checkpoint()).map_err(|error| match error {
                    RecvTimeoutError::Timeout => TryRecvError::Empty,
                    RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                })
            };
            for taken in 1.. {
                match next {
                    Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Err(TryRecvError::Empty) => break,
                    Ok(Message::Submit(tx, reply)) => self.submit(tx, reply)?,
                    Ok(Message::Attestation(attestation)) => self.attest(attestation)?,
                }
                if taken == MESSAGES_PER_BLOCK {
                    break;
                }
                next = inbox.try_recv();
            }
            self.vote()?;
            self.seal()?;
        }
    }

    /// Time to the next checkpoint.
    fn until_checkpoint(&self) -> Duration {
        let spec = self.chain.spec();
        let begins = (self.voted + 1) * spec.checkpoint_slots * spec.slot_ms + spec.genesis_time_s * 1000;
        Duration::from_millis(begins.saturating_sub(now_ms()).max(1))
    }

    /// Casts the vote of a checkpoint whose time has come.
    fn vote(&mut self) -> Result<(), Fault> {
        let (spec, now) = (self.chain.spec().clone(), now_ms());
        let index = slot_at(&spec, now) / spec.checkpoint_slots;
        if index <= self.voted {
            return Ok(());
        }
        self.voted = index;
        let Some(vote) = self.chain.vote(now, self.signer.index())? else { return Ok(()) };
        match self.signer.vote(vote, spec.chain_id) {
            Ok(vote) => drop(self.chain.handle(now, Input::Vote(vote))?),
            Err(SignerError::Refused(refused)) => tracing::warn!("no vote at checkpoint {index}: {refused}"),
            Err(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    fn attest(&mut self, attestation: Attestation) -> Result<(), Fault> {
        match self.chain.handle(now_ms(), Input::Attestation(attestation)) {
            Err(ChainError::Attestation(refused)) => tracing::debug!("{refused}"),
            other => drop(other?),
        }
        Ok(())
    }

    fn submit(&mut self, tx: Box<RecoveredTx>, reply: SubmitReply) -> Result<(), ChainError> {
        match self.chain.handle(now_ms(), Input::Transaction(tx)) {
            Ok(effects) => reply(Ok(effects.admitted.expect("a transaction is admitted or refused"))),
            Err(ChainError::Refused(refusal)) => reply(Err(refusal)),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Makes one block when something waits for it.
    fn seal(&mut self) -> Result<(), Fault> {
        let now = now_ms();
        if !self.chain.has_work(now)? {
            return Ok(());
        }
        let (spec, proposer) = (self.chain.spec().clone(), self.signer.index());
        let slot = self.chain.next_slot()?.max(slot_at(&spec, now));
        let Some(seal) = self.chain.seal_key(slot, proposer)? else { return Ok(()) };
        let vrf = self.signer.vrf(&seal.epoch_seed, slot, spec.chain_id);
        if !self.chain.wins(slot, proposer, &vrf)? {
            return Ok(());
        }
        let effects = self.chain.handle(now, Input::Slot { slot, proposer, vrf })?;
        if let Some(template) = effects.seal {
            self.insert(self.signer.seal(*template, spec.chain_id)?)?;
        }
        Ok(())
    }

    /// Inserts a block and the orphans that waited for it.
    fn insert(&mut self, block: CheckedBlock) -> Result<(), ChainError> {
        let mut blocks = VecDeque::from([block]);
        while let Some(block) = blocks.pop_front() {
            let Effects { added, disqualified, adopted, .. } = self.chain.handle(now_ms(), Input::Block(block))?;
            blocks.extend(adopted);
            for (hash, reason) in disqualified {
                tracing::warn!("block {hash} is disqualified: {reason}");
            }
            if let Some(head) = added.last() {
                tracing::info!(
                    number = head.header.number,
                    transactions = head.transactions.len(),
                    gas = head.header.gas_used,
                    "new head {}",
                    head.hash()
                );
                self.shared.publish(self.chain.view()?, &added);
            }
        }
        Ok(())
    }
}
