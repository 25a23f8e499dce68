//! Evidence that waits for a block.

use crate::{
    chain::{Chain, Effects},
    error::ChainError,
};
use lattice_consensus::finality::DuplicateEvidence;
use lattice_execution::staking;
use lattice_state::State;
use lattice_types::{CheckedBlock, Evidence, bls, limits, spec::Staking};

/// Why evidence is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceRefused {
    /// Nobody is registered under the key.
    #[error("no validator is registered with key {0}")]
    Unregistered(bls::PublicKey),
    /// It was slashed already, for this or for worse.
    #[error("validator {0} is slashed already, for an offence that costs as much")]
    Slashed(u32),
    /// There is some of its kind against the same validator.
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
        self.punishable(&self.head_state()?, &evidence)?;
        self.committee.evidence.add(evidence.clone()).map_err(EvidenceRefused::from)?;
        effects.evidence.push(evidence);
        Ok(())
    }

    /// Evidence that a block on this state should carry.
    pub(crate) fn evidence_for(&self, state: &State) -> Vec<Evidence> {
        let waiting = self.committee.evidence.iter().filter(|evidence| self.punishable(state, evidence).is_ok());
        waiting.take(limits::EVIDENCE_PER_BLOCK_MAX).cloned().collect()
    }

    /// Forgets evidence against those who were slashed on the selected chain.
    pub(crate) fn settle_evidence(&mut self, state: &State) {
        let rules = &self.spec.staking;
        let is_open =
            |evidence: &Evidence| !matches!(punishable(rules, state, evidence), Err(EvidenceRefused::Slashed(_)));
        self.committee.evidence.retain(is_open);
    }

    fn punishable(&self, state: &State, evidence: &Evidence) -> Result<(), EvidenceRefused> {
        punishable(&self.spec.staking, state, evidence)
    }
}

/// Whether executing this evidence on a state would slash somebody.
fn punishable(rules: &Staking, state: &State, evidence: &Evidence) -> Result<(), EvidenceRefused> {
    let key = evidence.offender();
    let index = staking::index_of(state, key).ok_or(EvidenceRefused::Unregistered(*key))?;
    // Evidence that was checked proves an offence.
    let ppm = evidence.offence().map_or(0, |offence| rules.slash_ppm(offence));
    match staking::validator(state, index) {
        Some(validator) if validator.slashed && ppm <= validator.slashed_ppm => Err(EvidenceRefused::Slashed(index)),
        Some(_) => Ok(()),
        None => Err(EvidenceRefused::Unregistered(*key)),
    }
}
