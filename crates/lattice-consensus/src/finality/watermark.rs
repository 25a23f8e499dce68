//! The signer's watermark: what it must never sign again. Rules in the manner of EIP-3076, in their minimal form.
//!
//! A signer asks [`Watermark::admit_vote`] or [`Watermark::admit_block`], writes the answer durably, and only then signs.
//! A crash between the two costs one vote at most. A node that lost the file must not sign before its votes are out of
//! date: there is no rule by which it could know what it has signed.

use alloy_primitives::{B256, keccak256};

use crate::finality::Vote;

/// The highest things a key has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermark {
    /// Highest source index of any vote.
    source: u64,
    /// Highest target index of any vote, and the hash of that vote.
    target: u64,
    vote: B256,
    /// Highest slot of any block, and the signing hash of that block.
    slot: u64,
    block: B256,
}

/// Why something must not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A vote for this target index or a later one was signed.
    #[error("target {target} is not after target {signed}, which was signed: it would be a double or surrounded vote")]
    Target {
        /// Asked for.
        target: u64,
        /// Signed.
        signed: u64,
    },
    /// A vote with a later source was signed.
    #[error("source {source_index} is before source {signed}, which was signed: it would be a surrounding vote")]
    Source {
        /// Asked for.
        source_index: u64,
        /// Signed.
        signed: u64,
    },
    /// A link must lead forward.
    #[error("a vote from checkpoint {source_index} to {target} does not lead forward")]
    NotForward {
        /// Index of the source.
        source_index: u64,
        /// Index of the target.
        target: u64,
    },
    /// A block of this slot or a later one was signed.
    #[error("slot {slot} is not after slot {signed}, for which a block was signed: it could be an equivocation")]
    Slot {
        /// Asked for.
        slot: u64,
        /// Signed.
        signed: u64,
    },
}

impl Watermark {
    /// Bytes of [`Watermark::encode`].
    pub const ENCODED_LEN: usize = 3 * 8 + 2 * 32 + 4;

    /// The first slot for which a new block may be signed.
    pub const fn next_slot(&self) -> u64 {
        self.slot + 1
    }

    /// The watermark to write before signing this vote. The vote that was signed last may be signed again.
    pub fn admit_vote(&self, vote: &Vote) -> Result<Self, Refused> {
        let (source, target) = (vote.source.index, vote.target.index);
        if source >= target {
            return Err(Refused::NotForward { source_index: source, target });
        }
        let hash = keccak256(vote.encode());
        if target == self.target && hash == self.vote {
            return Ok(*self);
        }
        if target <= self.target {
            return Err(Refused::Target { target, signed: self.target });
        }
        if source < self.source {
            return Err(Refused::Source { source_index: source, signed: self.source });
        }
        Ok(Self { source, target, vote: hash, ..*self })
    }

    /// The watermark to write before signing the block with this signing hash. The block that was signed last may be
    /// signed again.
    pub fn admit_block(&self, slot: u64, signing_hash: B256) -> Result<Self, Refused> {
        if slot == self.slot && signing_hash == self.block {
            return Ok(*self);
        }
        if slot <= self.slot {
            return Err(Refused::Slot { slot, signed: self.slot });
        }
        Ok(Self { slot, block: signing_hash, ..*self })
    }

    /// Fixed form with a checksum: half-written bytes do not decode.
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[..8].copy_from_slice(&self.source.to_be_bytes());
        out[8..16].copy_from_slice(&self.target.to_be_bytes());
        out[16..48].copy_from_slice(self.vote.as_slice());
        out[48..56].copy_from_slice(&self.slot.to_be_bytes());
        out[56..88].copy_from_slice(self.block.as_slice());
        let sum = keccak256(&out[..88]);
        out[88..].copy_from_slice(&sum[..4]);
        out
    }

    /// Reads [`Watermark::encode`]. None when length or checksum is wrong: then nothing may be signed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::ENCODED_LEN] = bytes.try_into().ok()?;
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let hash = |at: usize| Some(B256::from_slice(bytes.get(at..at + 32)?));
        let found =
            Self { source: number(0)?, target: number(8)?, vote: hash(16)?, slot: number(48)?, block: hash(56)? };
        (found.encode() == *bytes).then_some(found)
    }
}
