//! Artifact readiness: the validators' word that they hold, verified and loaded a model's artifact.
//!
//! Off-chain weights must never fork or stall the chain, so a model is callable only after signers of two thirds of
//! the stake said this in a certificate that some block carries, and as long as half of it says so anew each epoch.

use crate::{bls, finality::Bitmap};
use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// A certificate of readiness for one model.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ReadinessCertificate {
    /// The model.
    pub model_id: B256,
    /// The epoch in which the signers said so.
    pub epoch: u64,
    /// Whether two thirds of the stake stand behind it, as a model needs that does not run yet, and not only half.
    pub is_two_thirds: bool,
    /// Who said so, by position in the stake set of that epoch.
    pub signers: Bitmap,
    /// Aggregate of their signatures.
    pub signature: bls::Signature,
}

/// The bytes that are signed, under the domain of readiness and the chain id: `model id || epoch`.
pub fn content(model_id: &B256, epoch: u64) -> [u8; 40] {
    let mut out = [0; 40];
    out[..32].copy_from_slice(model_id.as_slice());
    out[32..].copy_from_slice(&epoch.to_be_bytes());
    out
}

/// One validator's word on a model, as it is gossiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Attestation {
    /// The model.
    pub model_id: B256,
    /// The epoch in which it was given.
    pub epoch: u64,
    /// Who gave it, by place in the validator registry.
    pub signer: u32,
    /// The signer's signature.
    pub signature: bls::Signature,
}

impl Attestation {
    /// What it claims of a key.
    pub fn claim(&self, key: &bls::CheckedKey, chain_id: u64) -> bls::Claim {
        let content = content(&self.model_id, self.epoch);
        bls::Claim::new(key, bls::Domain::Readiness, chain_id, &content, &self.signature)
    }

    /// Signs one.
    pub fn sign(model_id: B256, epoch: u64, signer: u32, key: &bls::SecretKey, chain_id: u64) -> Self {
        let signature = key.sign(bls::Domain::Readiness, chain_id, &content(&model_id, epoch));
        Self { model_id, epoch, signer, signature }
    }
}

/// An attestation with what is known of its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedAttestation {
    /// The attestation.
    pub attestation: Attestation,
    /// The key that it was verified with, and what came of it; `None` when nobody looked yet. Whether the key is the signer's
    /// is the chain's to say.
    pub verdict: Option<(bls::PublicKey, Result<(), bls::InvalidBls>)>,
}

impl CheckedAttestation {
    /// Signs one: what a node has signed itself needs no second look.
    pub fn sign(model_id: B256, epoch: u64, signer: u32, key: &bls::SecretKey, chain_id: u64) -> Self {
        let attestation = Attestation::sign(model_id, epoch, signer, key, chain_id);
        Self { attestation, verdict: Some((key.public_key(), Ok(()))) }
    }
}

impl From<Attestation> for CheckedAttestation {
    fn from(attestation: Attestation) -> Self {
        Self { attestation, verdict: None }
    }
}
