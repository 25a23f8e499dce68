//! A chain with its validator's key: what every thread that owns a chain does, however it tells the time.

use super::{
    checks::Keys,
    clock::{now_ms, slot_at},
    shared::Shared,
    signer::{Signer, SignerError},
};
use lattice_chain::{Chain, ChainError, Effects, Input, SubmitReply};
use lattice_types::{CheckedAttestation, CheckedBlock, CheckedVote, Evidence, RecoveredTx};
use std::{collections::VecDeque, sync::Arc};

/// Why a thread that owns a chain has to end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The chain's.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The signer's.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// See the module.
pub struct Validator {
    pub chain: Chain,
    signer: Arc<Signer>,
    /// Where new heads are shown; none for a chain that nobody reads.
    shared: Option<Arc<Shared>>,
    /// What others' blocks and votes most likely verify with.
    pub keys: Arc<Keys>,
    /// The newest checkpoint at which a vote was considered.
    voted: u64,
}

impl Validator {
    pub fn new(chain: Chain, signer: Arc<Signer>, shared: Option<Arc<Shared>>) -> Result<Self, ChainError> {
        let keys = Arc::new(Keys::new(chain.keyring()?));
        Ok(Self { chain, signer, shared, keys, voted: 0 })
    }

    /// Unix time in milliseconds at which the next checkpoint comes.
    pub fn next_checkpoint_ms(&self) -> u64 {
        let spec = self.chain.spec();
        (self.voted + 1) * spec.checkpoint_slots * spec.slot_ms + spec.genesis_time_s * 1000
    }

    /// Casts and counts the vote of a checkpoint whose time has come.
    pub fn vote(&mut self) -> Result<Option<CheckedVote>, Fault> {
        let (spec, now) = (self.chain.spec().clone(), now_ms());
        let index = slot_at(&spec, now) / spec.checkpoint_slots;
        if index <= self.voted {
            return Ok(None);
        }
        self.voted = index;
        let Some(vote) = self.chain.vote(now, self.signer.index())? else { return Ok(None) };
        match self.signer.vote(vote, spec.chain_id) {
            Ok(vote) => {
                self.chain.handle(now, Input::Vote(vote))?;
                Ok(Some(vote))
            }
            Err(SignerError::Refused(refused)) => {
                tracing::warn!("no vote at checkpoint {index}: {refused}");
                Ok(None)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Makes a block of a slot, when the slot is won and nothing of it was signed before, and inserts it.
    pub fn seal(&mut self, slot: u64) -> Result<Option<CheckedBlock>, Fault> {
        let (spec, proposer) = (self.chain.spec().clone(), self.signer.index());
        if slot < self.signer.next_slot() {
            return Ok(None);
        }
        let Some(seal) = self.chain.seal_key(slot, proposer)? else { return Ok(None) };
        let vrf = self.signer.vrf(&seal.epoch_seed, slot, spec.chain_id);
        if !self.chain.wins(slot, proposer, &vrf)? {
            return Ok(None);
        }
        let effects = self.chain.handle(now_ms(), Input::Slot { slot, proposer, vrf })?;
        let Some(template) = effects.seal else { return Ok(None) };
        let block = self.signer.seal(*template, spec.chain_id)?;
        self.insert(block.clone())?;
        Ok(Some(block))
    }

    /// The first slot for which this validator could make a block now.
    pub fn next_slot(&self) -> Result<u64, Fault> {
        let now = slot_at(self.chain.spec(), now_ms());
        Ok(self.chain.next_slot()?.max(now).max(self.signer.next_slot()))
    }

    /// Inserts a block and the orphans that waited for it; the evidence that came of it.
    pub fn insert(&mut self, block: CheckedBlock) -> Result<Vec<Evidence>, ChainError> {
        let mut blocks = VecDeque::from([block]);
        let mut found = Vec::new();
        while let Some(block) = blocks.pop_front() {
            let effects = self.chain.handle(now_ms(), Input::Block(block))?;
            let Effects { added, disqualified, adopted, evidence, conflict, .. } = effects;
            blocks.extend(adopted);
            found.extend(evidence);
            for (hash, reason) in disqualified {
                tracing::warn!("block {hash} is disqualified: {reason}");
            }
            if let Some(conflict) = conflict {
                tracing::error!("{conflict}");
            }
            if let Some(head) = added.last() {
                tracing::info!(
                    number = head.header.number,
                    transactions = head.transactions.len(),
                    gas = head.header.gas_used,
                    "new head {}",
                    head.hash()
                );
                self.keys.show(self.chain.keyring()?);
                if let Some(shared) = &self.shared {
                    shared.publish(self.chain.view()?, &added);
                }
            }
        }
        Ok(found)
    }

    /// Counts a validator's word on a pending model.
    pub fn attest(&mut self, attestation: CheckedAttestation) -> Result<(), ChainError> {
        match self.chain.handle(now_ms(), Input::Attestation(attestation)) {
            Err(ChainError::Attestation(refused)) => tracing::debug!("{refused}"),
            other => drop(other?),
        }
        Ok(())
    }

    /// Asks for admission of a transaction and answers; whether it was admitted.
    pub fn submit(&mut self, tx: Box<RecoveredTx>, reply: SubmitReply) -> Result<bool, ChainError> {
        match self.chain.handle(now_ms(), Input::Transaction(tx)) {
            Ok(effects) => {
                reply(Ok(effects.admitted.expect("a transaction is admitted or refused")));
                Ok(true)
            }
            Err(ChainError::Refused(refusal)) => {
                reply(Err(refusal));
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }
}
