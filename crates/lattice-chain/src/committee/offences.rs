//! Evidence that waits for a block.

use crate::{
    chain::{Chain, Effects},
    error::ChainError,
};
use lattice_consensus::finality::DuplicateEvidence;
use lattice_execution::staking;
use lattice_state::State;
use lattice_types::{CheckedBlock, Evidence, bls, limits};

/// Why evidence is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceRefused {
    /// Nobody is registered under the key.
    #[error("no validator is registered with key {0}")]
    Unregistered(bls::PublicKey),
    /// It was slashed already.
    #[error("validator {0} is slashed already")]
    Slashed(u32),
    /// There is some against the same validator.
    #[error(transparent)]
    Duplicate(#[from] DuplicateEvidence),
}

impl Chain {
    /// Takes evidence that somebody else found and that was checked ([`Evidence::check`]).
    pub(crate) fn take_evidence(&mut self, evidence: Evidence) -> Result<Effects, ChainError> {
        let mut effects = Effects::default();
        self.admit_evidence(evidence, &mut effects)?;
        Ok(effects)
    }

    /// Takes evidence that this node has found itself. What is known already is no error.
    pub(crate) fn suspect(&mut self, evidence: Evidence, effects: &mut Effects) -> Result<(), ChainError> {
        match self.admit_evidence(evidence, effects) {
            Err(ChainError::Evidence(_)) => Ok(()),
            other => other,
        }
    }

    /// Looks whether the producer of a new block has made another one for its slot.
    pub(crate) fn look_for_copies(
        &mut self,
        block: &CheckedBlock,
        public_key: bls::PublicKey,
        effects: &mut Effects,
    ) -> Result<(), ChainError> {
        let header = &block.block().header;
        let copies = self.fork.blocks.copies(header)?;
        let Some(copy) = copies.into_iter().find(|copy| *copy != block.hash()) else { return Ok(()) };
        let other = self.fork.dag_block(&copy)?.block().header.clone();
        self.suspect(Evidence::of_headers(public_key, header.clone(), other), effects)
    }

    fn admit_evidence(&mut self, evidence: Evidence, effects: &mut Effects) -> Result<(), ChainError> {
        punishable(&self.head_state()?, &evidence)?;
        self.committee.evidence.add(evidence.clone()).map_err(EvidenceRefused::from)?;
        effects.evidence.push(evidence);
        Ok(())
    }

    /// Evidence that a block on this state should carry.
    pub(crate) fn evidence_for(&self, state: &State) -> Vec<Evidence> {
        let waiting = self.committee.evidence.iter().filter(|evidence| punishable(state, evidence).is_ok());
        waiting.take(limits::EVIDENCE_PER_BLOCK_MAX).cloned().collect()
    }

    /// Forgets evidence against those who were slashed on the selected chain.
    pub(crate) fn settle_evidence(&mut self, state: &State) {
        let slashed = |evidence: &&Evidence| matches!(punishable(state, evidence), Err(EvidenceRefused::Slashed(_)));
        let done: Vec<_> =
            self.committee.evidence.iter().filter(slashed).map(|evidence| *evidence.offender()).collect();
        for offender in done {
            self.committee.evidence.remove(&offender);
        }
    }
}

/// Whether executing this evidence on a state would slash somebody.
fn punishable(state: &State, evidence: &Evidence) -> Result<(), EvidenceRefused> {
    let key = evidence.offender();
    let index = staking::index_of(state, key).ok_or(EvidenceRefused::Unregistered(*key))?;
    match staking::validator(state, index) {
        Some(validator) if validator.slashed => Err(EvidenceRefused::Slashed(index)),
        Some(_) => Ok(()),
        None => Err(EvidenceRefused::Unregistered(*key)),
    }
}
