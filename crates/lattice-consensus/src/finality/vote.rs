//! Votes, and what two of them prove.

use std::fmt;

use alloy_primitives::B256;

/// A block of the selected chain at a checkpoint time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checkpoint {
    /// Which checkpoint time.
    pub index: u64,
    /// DAG hash of the block.
    pub hash: B256,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {} ({})", self.index, self.hash)
    }
}

/// When checkpoints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointParams {
    /// Slots from one checkpoint to the next.
    pub interval_slots: u64,
    /// The voted block is at least this many slots older than the checkpoint, so that all have settled on it.
    pub lag_slots: u64,
}

impl CheckpointParams {
    /// The newest checkpoint whose time has come at this slot.
    pub const fn index_at(&self, slot: u64) -> u64 {
        slot / self.interval_slots
    }

    /// The last slot that the block of a checkpoint may have; none while the chain is too young for it.
    pub const fn slot_max(&self, index: u64) -> Option<u64> {
        index.saturating_mul(self.interval_slots).checked_sub(self.lag_slots)
    }
}

/// A validator's vote for a link. All who see the same chain say the same, so that their signatures aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// A justified checkpoint.
    pub source: Checkpoint,
    /// The checkpoint voted for, a descendant on the selected chain (or the same block, at a later index).
    pub target: Checkpoint,
    /// Blue score of the target.
    pub target_blue_score: u64,
    /// Hash of the target's EVM block: nobody votes for what he has not executed.
    pub target_evm_hash: B256,
}

/// A broken voting rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Two different votes with one target index.
    Double,
    /// The link of one vote spans the other's.
    Surround,
}

impl Vote {
    /// Bytes of [`Vote::encode`].
    pub const ENCODED_LEN: usize = 8 + 32 + 8 + 32 + 8 + 32;

    /// The bytes that are signed, under the domain of votes and the chain id: all fields in order, integers big-endian.
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[..8].copy_from_slice(&self.source.index.to_be_bytes());
        out[8..40].copy_from_slice(self.source.hash.as_slice());
        out[40..48].copy_from_slice(&self.target.index.to_be_bytes());
        out[48..80].copy_from_slice(self.target.hash.as_slice());
        out[80..88].copy_from_slice(&self.target_blue_score.to_be_bytes());
        out[88..].copy_from_slice(self.target_evm_hash.as_slice());
        out
    }

    /// The rule that one signer of both votes has broken; none when both may be signed.
    pub fn conflict(&self, other: &Self) -> Option<Offence> {
        if self == other {
            return None;
        }
        if self.target.index == other.target.index {
            return Some(Offence::Double);
        }
        (self.spans(other) || other.spans(self)).then_some(Offence::Surround)
    }

    const fn spans(&self, inner: &Self) -> bool {
        self.source.index < inner.source.index && inner.target.index < self.target.index
    }
}

/// Two votes of one signer that break a rule, with its signatures (of type `S`, opaque here).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteEvidence<S> {
    /// Registry index of the signer.
    pub signer: u32,
    /// The two votes, strictly ascending: one pair has one form.
    pub votes: [Vote; 2],
    /// The signature of each.
    pub signatures: [S; 2],
}

/// Why two votes are no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVoteEvidence {
    /// The same vote twice, or not in ascending order.
    #[error("the votes of an evidence are two different ones in ascending order")]
    Order,
    /// Both may be signed.
    #[error(
        "the votes of an evidence break no rule: they are neither for one target index nor does one span the other"
    )]
    NoConflict,
}

impl<S> VoteEvidence<S> {
    /// Puts two votes of a signer in order.
    pub fn of(signer: u32, a: (Vote, S), b: (Vote, S)) -> Self {
        let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        Self { signer, votes: [first.0, second.0], signatures: [first.1, second.1] }
    }

    /// The broken rule. The signatures are the chain's to check.
    pub fn check(&self) -> Result<Offence, InvalidVoteEvidence> {
        let [first, second] = &self.votes;
        if first >= second {
            return Err(InvalidVoteEvidence::Order);
        }
        first.conflict(second).ok_or(InvalidVoteEvidence::NoConflict)
    }
}
