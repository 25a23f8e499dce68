//! Certificates: a vote with the signers who cast it, as blocks carry it.

use alloy_primitives::Bytes;

use crate::{
    eligibility::StakeSet,
    finality::{CheckpointParams, Vote},
};

/// A set of members of a stake set: bit i (from the lowest of the first byte) is the member at position i.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap(Bytes);

impl Bitmap {
    /// From bytes as they come in a block; [`Certificate::check`] looks at length and padding.
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bitmap of these positions in a set of `len` members. Positions beyond it are left out.
    pub fn of(len: usize, positions: impl IntoIterator<Item = usize>) -> Self {
        let mut bytes = vec![0; len.div_ceil(8)];
        for position in positions.into_iter().filter(|&position| position < len) {
            bytes[position / 8] |= 1 << (position % 8);
        }
        Self(bytes.into())
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Positions of the members, ascending.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let bytes = self.0.iter().enumerate();
        bytes.flat_map(|(at, byte)| (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| 8 * at + bit))
    }
}

/// A vote and who cast it. The aggregate signature travels beside it and is checked by the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The vote.
    pub vote: Vote,
    /// Who cast it, by position in the stake set of the epoch of the target's slot.
    pub signers: Bitmap,
}

/// What the past of the block that carries a certificate says of the target. The chain looks it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetFacts {
    /// Slot of the target.
    pub slot: u64,
    /// Blue score of the target.
    pub blue_score: u64,
    /// Whether the source is the target or on the selected chain below it.
    pub descends_from_source: bool,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// The bitmap is not as long as the stake set.
    #[error("the bitmap of a certificate has {found} bytes, a stake set of {members} members needs {expected}")]
    BitmapLength {
        /// Bytes of the bitmap.
        found: usize,
        /// Bytes that it must have.
        expected: usize,
        /// Members of the set.
        members: usize,
    },
    /// Bits behind the last member are set.
    #[error("the bitmap of a certificate names position {0}, which the stake set does not have")]
    BitmapPadding(usize),
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
    /// The vote states another blue score than the target has.
    #[error("a vote states blue score {claimed} for its target, which has {computed}")]
    WrongBlueScore {
        /// In the vote.
        claimed: u64,
        /// Of the block.
        computed: u64,
    },
}

impl Certificate {
    /// All rules but the aggregate signature. `set` is the stake set of the epoch of the target's slot; `target` is none
    /// when the target is not in the past of the carrying block.
    pub fn check(
        &self,
        params: &CheckpointParams,
        set: &StakeSet,
        target: Option<&TargetFacts>,
    ) -> Result<(), InvalidCertificate> {
        let vote = &self.vote;
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
        if !target.descends_from_source {
            return Err(InvalidCertificate::NotOnChain);
        }
        let signed = self.signed(set)?;
        if !set.is_quorum(signed) {
            return Err(InvalidCertificate::Stake { signed, total: set.total() });
        }
        Ok(())
    }

    /// Stake of the signers.
    fn signed(&self, set: &StakeSet) -> Result<u128, InvalidCertificate> {
        let members = set.members();
        let (found, expected) = (self.signers.as_bytes().len(), members.len().div_ceil(8));
        if found != expected {
            return Err(InvalidCertificate::BitmapLength { found, expected, members: members.len() });
        }
        let mut signed = 0;
        for position in self.signers.positions() {
            signed += members.get(position).ok_or(InvalidCertificate::BitmapPadding(position))?.stake;
        }
        Ok(signed)
    }
}
