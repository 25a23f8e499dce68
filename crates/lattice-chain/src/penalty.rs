//! What a peer deserves for what it brought, by the reason for which it was not taken.

use crate::{
    committee::{AttestationRefused, EvidenceRefused, InvalidStanding, VoteRefused},
    error::{ChainError, CheckRefused},
};
use lattice_consensus::{InvalidHeader, finality::InvalidVote};

/// A class of misbehaviour. What fails checks in isolation ([`CheckRefused`]) is [`Penalty::Fatal`]: everybody makes them
/// before passing on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Penalty {
    /// Honest peers do this too: they know more, or less, or have pruned less.
    None,
    /// Hardly an honest peer does this, unless its clock or its head is far from ours.
    Minor,
    /// No honest peer sends this: it breaks a rule that follows from the past of the thing alone.
    Fatal,
}

impl ChainError {
    /// What a peer deserves that brought what gave this error.
    pub fn penalty(&self) -> Penalty {
        match self {
            Self::InvalidBlock(InvalidHeader::BesidePruningPoint { .. }) => Penalty::None,
            Self::InvalidBlock(_) => Penalty::Fatal,
            Self::InvalidStanding(refusal) => match **refusal {
                InvalidStanding::UnknownSet(_) => Penalty::None,
                _ => Penalty::Fatal,
            },
            Self::FutureSlot { .. } => Penalty::Minor,
            Self::Vote(refusal) => match refusal {
                VoteRefused::UnknownTarget(_) | VoteRefused::Invalid(InvalidVote::OutOfWindow { .. }) => Penalty::None,
                VoteRefused::Invalid(_) | VoteRefused::Key { .. } => Penalty::Fatal,
            },
            Self::Evidence(refusal) => match refusal {
                EvidenceRefused::Slashed(_) | EvidenceRefused::Duplicate(_) => Penalty::None,
                EvidenceRefused::Unregistered(_) => Penalty::Minor,
            },
            Self::Attestation(refusal) => match refusal {
                AttestationRefused::NotNeeded { .. } | AttestationRefused::Epoch { .. } | AttestationRefused::Full => {
                    Penalty::None
                }
                AttestationRefused::UnknownValidator(_) => Penalty::Minor,
                AttestationRefused::Signature(_) => Penalty::Fatal,
            },
            Self::Refused(_) | Self::Trust(_) | Self::MissingParents(_) | Self::MissingArtifact(_) | Self::Fault(_) => {
                Penalty::None
            }
        }
    }
}

impl CheckRefused {
    /// What a peer deserves that brought what gave this error.
    pub const fn penalty(&self) -> Penalty {
        match self {
            Self::Block(_) | Self::Evidence(_) | Self::Signature(_) => Penalty::Fatal,
            Self::UnknownSigner(_) => Penalty::None,
        }
    }
}
