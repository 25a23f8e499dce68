//! Readiness of models: attestations of an epoch are gathered until as much stake has given its own as the model needs.

use crate::{
    chain::{Chain, Effects},
    error::ChainError,
    models::readiness_need,
};
use alloy_primitives::B256;
use lattice_consensus::eligibility::EpochState;
use lattice_execution::{Readiness, ReadinessNeed};
use lattice_state::State;
use lattice_storage::Batch;
use lattice_types::{
    Attestation, Bitmap, CheckedAttestation, DagBody, ReadinessCertificate,
    bls::{self, CheckedKey, InvalidBls, Signature},
    limits,
};
use std::collections::BTreeMap;

/// Models whose attestations are kept at the same time.
const MODELS_MAX: usize = 1_024;

/// Why an attestation is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttestationRefused {
    /// The model does not wait for any.
    #[error("model {model} waits for no attestation of epoch {epoch}")]
    NotNeeded {
        /// The model.
        model: B256,
        /// Of the attestation.
        epoch: u64,
    },
    /// It is of an epoch that no next block can have.
    #[error("the attestation is of epoch {found}, it is epoch {now} now")]
    Epoch {
        /// In the attestation.
        found: u64,
        /// By our clock.
        now: u64,
    },
    /// The signer is no member.
    #[error("validator {0} is not in the stake set of the epoch")]
    UnknownValidator(u32),
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] InvalidBls),
    /// Too many models wait.
    #[error("attestations of {MODELS_MAX} models wait already")]
    Full,
}

/// Attestations by epoch and model, then by signer.
#[derive(Debug, Default)]
pub struct Attestations {
    given: ByModel,
}

type ByModel = BTreeMap<(u64, B256), BTreeMap<u32, Signature>>;

impl Attestations {
    fn forget_before(&mut self, epoch: u64) {
        self.given = self.given.split_off(&(epoch, B256::ZERO));
    }
}

/// The readiness certificates of a body that count in a chain block of this epoch: those of the same epoch.
pub(crate) fn readiness_of(body: &DagBody, epoch: u64) -> impl Iterator<Item = Readiness> + '_ {
    let of_epoch = body.readiness.iter().filter(move |certificate| certificate.epoch == epoch);
    of_epoch.map(|certificate| Readiness { model_id: certificate.model_id, is_two_thirds: certificate.is_two_thirds })
}

impl Chain {
    /// Takes a validator's word on a model.
    pub(crate) fn take_attestation(
        &mut self,
        now_ms: u64,
        checked: &CheckedAttestation,
    ) -> Result<Effects, ChainError> {
        let Attestation { model_id, epoch, signer, signature } = checked.attestation;
        let state = self.head_state()?;
        if readiness_need(&state, &model_id, epoch) == ReadinessNeed::None {
            return Err(AttestationRefused::NotNeeded { model: model_id, epoch }.into());
        }
        let epochs = self.committee.params().epochs;
        let standing = self.committee.standing(&self.fork.sink)?;
        let now = epochs.epoch_of(self.slot_at(now_ms)).max(standing.epoch.epoch);
        // Clocks may differ by a little.
        if epoch.abs_diff(now) > 1 || epoch < standing.epoch.epoch {
            return Err(AttestationRefused::Epoch { found: epoch, now }.into());
        }
        let judged = standing.epoch.at(&epochs, epoch.saturating_mul(epochs.epoch_slots));
        let mut batch = Batch::new();
        let set = self.set_at(&judged.set, &mut batch)?;
        self.commit(batch)?;
        let key = set.as_ref().and_then(|set| set.key(signer));
        let key = key.ok_or(AttestationRefused::UnknownValidator(signer))?;
        let known = checked.verdict.filter(|(with, _)| with == key).map(|(_, verdict)| verdict);
        known
            .unwrap_or_else(|| checked.attestation.claim(&CheckedKey::new(key)?, self.spec.chain_id).verify())
            .map_err(AttestationRefused::from)?;
        let attestations = &mut self.committee.attestations;
        attestations.forget_before(standing.epoch.epoch);
        let is_full = |given: &ByModel| given.len() >= MODELS_MAX && !given.contains_key(&(epoch, model_id));
        if is_full(&attestations.given) {
            // Those that have their certificate make room.
            attestations.given.retain(|(epoch, id), _| readiness_need(&state, id, *epoch) != ReadinessNeed::None);
            if is_full(&attestations.given) {
                return Err(AttestationRefused::Full.into());
            }
        }
        attestations.given.entry((epoch, model_id)).or_default().insert(signer, signature);
        Ok(Effects::default())
    }

    /// The readiness certificates that a block of this epoch on this state should carry.
    pub(crate) fn readiness_for(
        &self,
        judged: &EpochState,
        state: &State,
    ) -> Result<Vec<ReadinessCertificate>, ChainError> {
        let given = &self.committee.attestations.given;
        if given.is_empty() {
            return Ok(Vec::new());
        }
        let Some(set) = self.committee.known_set(&judged.set.block)? else { return Ok(Vec::new()) };
        let of_epoch = given.range((judged.epoch, B256::ZERO)..(judged.epoch + 1, B256::ZERO));
        let mut certificates = Vec::new();
        for ((epoch, model_id), by_signer) in of_epoch {
            let members = set.set().members();
            let signers: Vec<_> = by_signer
                .iter()
                .filter_map(|(&signer, signature)| Some((set.set().position(signer)?, *signature)))
                .collect();
            let signed = signers.iter().map(|&(position, _)| members[position].stake).sum();
            let is_two_thirds = match readiness_need(state, model_id, *epoch) {
                ReadinessNeed::TwoThirds if set.set().is_quorum(signed) => true,
                ReadinessNeed::Half if set.set().is_half(signed) => false,
                _ => continue,
            };
            let (positions, signatures): (Vec<_>, Vec<_>) = signers.into_iter().unzip();
            let signature = bls::aggregate(&signatures)
                .map_err(|error| ChainError::Fault(format!("verified attestations do not aggregate: {error}")))?;
            let signers = Bitmap::of(members.len(), positions);
            certificates.push(ReadinessCertificate {
                model_id: *model_id,
                epoch: *epoch,
                is_two_thirds,
                signers,
                signature,
            });
            if certificates.len() == limits::READINESS_PER_BLOCK_MAX {
                break;
            }
        }
        Ok(certificates)
    }
}
