//! The thread that owns the chain: feeds it inputs, seals its templates, publishes what it did.
//!
//! The development chain seals as soon as something waits. Messages that gathered while the last block was made are
//! admitted first, so blocks grow with the load by themselves.

use super::shared::Shared;
use lattice_chain::{Chain, ChainError, Effects, Input, SubmitReply};
use lattice_types::{
    CheckedBlock, ReadinessCertificate, RecoveredTx,
    bls::{Domain, SecretKey, vrf_content},
};
use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, TryRecvError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Messages taken before a block is made: about what fits into one.
const MESSAGES_PER_BLOCK: usize = 3_000;
/// The development chain's only validator.
const PROPOSER: u32 = 0;

/// What the chain's thread is asked.
pub enum Message {
    /// Admit a transaction and answer.
    Submit(Box<RecoveredTx>, SubmitReply),
    /// Let the next block carry a certificate.
    Readiness(ReadinessCertificate),
    /// End the thread.
    Stop,
}

/// Owns the chain until it is told to stop, every sender is gone, or a fault happens.
pub fn run(chain: Chain, shared: &Shared, key: &SecretKey, inbox: &Receiver<Message>) {
    let mut thread = ChainThread { chain, shared, key };
    if let Err(error) = thread.work(inbox) {
        shared.set_fault(error.to_string());
    }
}

struct ChainThread<'a> {
    chain: Chain,
    shared: &'a Shared,
    key: &'a SecretKey,
}

impl ChainThread<'_> {
    fn work(&mut self, inbox: &Receiver<Message>) -> Result<(), ChainError> {
        loop {
            // A full block leaves transactions behind; only without any is there time to wait.
            let first = if self.chain.has_work()? { inbox.try_recv() } else { inbox.recv().map_err(Into::into) };
            let mut next = first;
            for taken in 1.. {
                match next {
                    Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Err(TryRecvError::Empty) => break,
                    Ok(Message::Submit(tx, reply)) => self.submit(tx, reply)?,
                    Ok(Message::Readiness(certificate)) => {
                        drop(self.chain.handle(now_ms(), Input::Readiness(certificate))?)
                    }
                }
                if taken == MESSAGES_PER_BLOCK {
                    break;
                }
                next = inbox.try_recv();
            }
            self.seal()?;
        }
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
    fn seal(&mut self) -> Result<(), ChainError> {
        if !self.chain.has_work()? {
            return Ok(());
        }
        let slot = self.chain.next_slot()?.max(self.slot_now());
        let spec = self.chain.spec().clone();
        let vrf = self.key.sign(Domain::Vrf, spec.chain_id, &vrf_content(&spec.epoch_seed, slot));
        let effects = self.chain.handle(now_ms(), Input::Slot { slot, proposer: PROPOSER, vrf })?;
        if let Some(template) = effects.seal {
            self.insert(template.seal(self.key, spec.chain_id))?;
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

    fn slot_now(&self) -> u64 {
        let spec = self.chain.spec();
        now_ms().saturating_sub(spec.genesis_time_s * 1000) / spec.slot_ms
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
