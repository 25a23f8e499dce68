//! When a certificate holds.

use alloy_primitives::B256;
use lattice_types::Certificate;

use crate::{
    eligibility::{InvalidBitmap, StakeSet},
    finality::CheckpointParams,
};

/// What the past of the block that carries a certificate says of the target. The chain looks it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetFacts {
    /// Slot of the target.
    pub slot: u64,
    /// Blue score of the target.
    pub blue_score: u64,
    /// Hash of the EVM block that the target's header commits to.
    pub evm_hash: B256,
    /// Whether the source is the target or on the selected chain below it.
    pub descends_from_source: bool,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// The bitmap does not fit the stake set.
    #[error("the signers of a certificate: {0}")]
    Bitmap(#[from] InvalidBitmap),
    /// Too little stake.
    #[error("a certificate needs two thirds of the stake, its signers hold {signed} of {total}")]
    Stake {
        /// Stake of the signers.
        signed: u128,
        /// Stake of the set.
        total: u128,
    },
    /// A link leads forward.
    #[error("a vote leads from checkpoint {source_index} to {target_index}, which is not later")]
    NotForward {
        /// Index of the source.
        source_index: u64,
        /// Index of the target.
        target_index: u64,
    },
    /// A newer checkpoint is final already.
    #[error("a certificate justifies checkpoint {index}, but checkpoint {finalised} is final at the selected parent")]
    Overtaken {
        /// Index of the target.
        index: u64,
        /// Index of the newest checkpoint finalised in the past of the selected parent.
        finalised: u64,
    },
    /// The target is not in the past of the block that carries the certificate.
    #[error("the target of a certificate is not in the past of the block that carries it")]
    TargetNotInPast,
    /// The target is not a descendant of the source on its selected chain.
    #[error("the source of a certificate is not on the selected chain of its target")]
    NotOnChain,
    /// The target is younger than a block of its checkpoint may be.
    #[error("the target of checkpoint {index} has slot {slot}, at most {max:?} is allowed")]
    TargetTooYoung {
        /// Index of the checkpoint.
        index: u64,
        /// Slot of the target.
        slot: u64,
        /// Latest slot, if the checkpoint can have a block at all.
        max: Option<u64>,
    },
    /// The vote states another EVM block than the target's header.
    #[error("a vote states EVM block {claimed} for its target, whose header commits to {found}")]
    WrongEvmHash {
        /// In the vote.
        claimed: B256,
        /// In the header.
        found: B256,
    },
    /// The vote states another blue score than the target has.
    #[error("a vote states blue score {claimed} for its target, which has {computed}")]
    WrongBlueScore {
        /// In the vote.
        claimed: u64,
        /// Of the block.
        computed: u64,
    },
}

/// All rules of a certificate but the aggregate signature. `set` is the stake set of the epoch of the target's slot;
/// `target` is none when the target is not in the past of the carrying block.
///
/// # Errors
/// See [`InvalidCertificate`].
pub fn check_certificate(
    certificate: &Certificate,
    params: &CheckpointParams,
    set: &StakeSet,
    target: Option<&TargetFacts>,
) -> Result<(), InvalidCertificate> {
    let vote = &certificate.vote;
    if vote.source.index >= vote.target.index {
        let (source_index, target_index) = (vote.source.index, vote.target.index);
        return Err(InvalidCertificate::NotForward { source_index, target_index });
    }
    let target = target.ok_or(InvalidCertificate::TargetNotInPast)?;
    let max = params.slot_max(vote.target.index);
    if max.is_none_or(|max| target.slot > max) {
        return Err(InvalidCertificate::TargetTooYoung { index: vote.target.index, slot: target.slot, max });
    }
    if vote.target_blue_score != target.blue_score {
        let (claimed, computed) = (vote.target_blue_score, target.blue_score);
        return Err(InvalidCertificate::WrongBlueScore { claimed, computed });
    }
    if vote.target_evm_hash != target.evm_hash {
        let (claimed, found) = (vote.target_evm_hash, target.evm_hash);
        return Err(InvalidCertificate::WrongEvmHash { claimed, found });
    }
    if !target.descends_from_source {
        return Err(InvalidCertificate::NotOnChain);
    }
    let signed = set.signed(&certificate.signers)?;
    if !set.is_quorum(signed) {
        return Err(InvalidCertificate::Stake { signed, total: set.total() });
    }
    Ok(())
}
