//! Artifact readiness: the validators' word that they hold, verified and loaded a model's artifact.
//!
//! Off-chain weights must never fork or stall the chain, so a model is callable only after signers of two thirds of
//! the stake said this in a certificate that some block carries.

use crate::{bls, spec::ChainSpec};
use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// A certificate of readiness for one model.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ReadinessCertificate {
    /// The model.
    pub model_id: B256,
    /// Indices into the validator registry, strictly ascending.
    pub signers: Vec<u32>,
    /// Aggregate of their signatures over the model id.
    pub signature: bls::Signature,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReadiness {
    /// The signers are not strictly ascending indices of the registry.
    #[error("the signers of a readiness certificate must be strictly ascending registry indices")]
    Signers,
    /// Not enough stake.
    #[error("a readiness certificate needs two thirds of the stake, its signers hold {signed} of {total}")]
    Stake {
        /// Stake of the signers.
        signed: u128,
        /// Stake of all validators.
        total: u128,
    },
    /// The aggregate does not verify.
    #[error("readiness certificate: {0}")]
    Signature(#[from] bls::InvalidBls),
}

/// One validator's signature of readiness, to be aggregated.
pub fn sign(key: &bls::SecretKey, chain_id: u64, model_id: &B256) -> bls::Signature {
    key.sign(bls::Domain::Readiness, chain_id, model_id.as_slice())
}

impl ReadinessCertificate {
    /// Checks signers, stake (at least two thirds) and the aggregate signature.
    pub fn check(&self, spec: &ChainSpec) -> Result<(), InvalidReadiness> {
        if !self.signers.is_sorted_by(|a, b| a < b) {
            return Err(InvalidReadiness::Signers);
        }
        let mut keys = Vec::with_capacity(self.signers.len());
        let mut signed = 0u128;
        for &index in &self.signers {
            let validator = spec.validators.get(index as usize).ok_or(InvalidReadiness::Signers)?;
            keys.push(validator.public_key);
            signed += u128::from(validator.stake);
        }
        let total = spec.stake_total();
        if signed * 3 < total * 2 {
            return Err(InvalidReadiness::Stake { signed, total });
        }
        Ok(bls::verify_aggregate(
            &keys,
            bls::Domain::Readiness,
            spec.chain_id,
            self.model_id.as_slice(),
            &self.signature,
        )?)
    }
}
