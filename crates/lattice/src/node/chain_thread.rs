//! The thread that owns the development chain: feeds it inputs and seals its templates.
//!
//! It seals as soon as something waits. Messages that gathered while the last block was made are
//! admitted first, so blocks grow with the load by themselves.

use super::{
    clock::now_ms,
    producers::Delivery,
    validator::{Fault, Validator},
};
use lattice_chain::SubmitReply;
use lattice_types::{CheckedAttestation, RecoveredTx};
use std::{
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
    Attestation(CheckedAttestation),
    /// What another producer of this process says.
    Peer(Delivery),
    /// Something that another producer said was checked.
    Checked,
    /// End the thread.
    Stop,
}

/// Owns the chain until it is told to stop or every sender is gone.
pub fn run(validator: &mut Validator, inbox: &Receiver<Message>) -> Result<(), Fault> {
    loop {
        // A full block leaves transactions behind; only without any is there time to wait.
        let mut next = if validator.chain.has_work(now_ms())? {
            inbox.try_recv()
        } else {
            let wait = validator.next_checkpoint_ms().saturating_sub(now_ms()).max(1);
            inbox.recv_timeout(Duration::from_millis(wait)).map_err(|error| match error {
                RecvTimeoutError::Timeout => TryRecvError::Empty,
                RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            })
        };
        for taken in 1.. {
            match next {
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => break,
                Ok(Message::Submit(tx, reply)) => drop(validator.submit(tx, reply)?),
                Ok(Message::Attestation(attestation)) => validator.attest(attestation)?,
                // The development chain has one producer.
                Ok(Message::Peer(_) | Message::Checked) => {}
            }
            if taken == MESSAGES_PER_BLOCK {
                break;
            }
            next = inbox.try_recv();
        }
        validator.vote()?;
        if validator.chain.has_work(now_ms())? {
            validator.seal(validator.next_slot()?)?;
        }
    }
}
