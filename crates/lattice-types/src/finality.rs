//! Words of finality as they travel and lie in blocks: checkpoints, votes, certificates. Their rules are the business of
//! `lattice-consensus`; `docs/spec/consensus.md` states them.

use crate::bls::{self, CheckedKey, Claim, Domain, InvalidBls};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use std::fmt;

/// A block of the selected chain at a checkpoint time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, RlpEncodable, RlpDecodable)]
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

/// A validator's vote for a link. All who see the same chain say the same, so that their signatures aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, RlpEncodable, RlpDecodable)]
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

/// What two signed messages of one validator prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Two different votes with one target index.
    Double,
    /// The link of one vote spans the other's.
    Surround,
    /// Two headers of one slot.
    Equivocation,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Double => "double vote",
            Self::Surround => "surround vote",
            Self::Equivocation => "equivocation",
        })
    }
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

    /// One validator's signature of it.
    pub fn sign(&self, key: &bls::SecretKey, chain_id: u64) -> bls::Signature {
        key.sign(Domain::Vote, chain_id, &self.encode())
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

/// A vote as it is gossiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct SignedVote {
    /// The vote.
    pub vote: Vote,
    /// Who cast it, by place in the validator registry.
    pub signer: u32,
    /// The signer's signature.
    pub signature: bls::Signature,
}

/// A signed vote whose signature was verified with this key; whether the key is the signer's is the chain's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedVote {
    vote: SignedVote,
    public_key: bls::PublicKey,
}

impl SignedVote {
    /// What it claims of a key.
    pub fn claim(&self, key: &CheckedKey, chain_id: u64) -> Claim {
        Claim::new(key, Domain::Vote, chain_id, &self.vote.encode(), &self.signature)
    }

    /// The vote after this claim was found to hold.
    pub const fn verified_with(self, key: &CheckedKey) -> CheckedVote {
        CheckedVote { vote: self, public_key: *key.bytes() }
    }
}

impl CheckedVote {
    /// Verifies the signature; costly, so it happens before the chain's thread.
    ///
    /// # Errors
    /// When the signature does not verify with this key.
    pub fn check(vote: SignedVote, public_key: bls::PublicKey, chain_id: u64) -> Result<Self, InvalidBls> {
        let key = CheckedKey::new(&public_key)?;
        vote.claim(&key, chain_id).verify()?;
        Ok(vote.verified_with(&key))
    }

    /// Signs a vote: what a node has signed itself needs no second look.
    pub fn sign(vote: Vote, signer: u32, key: &bls::SecretKey, chain_id: u64) -> Self {
        let signature = vote.sign(key, chain_id);
        Self { vote: SignedVote { vote, signer, signature }, public_key: key.public_key() }
    }

    /// The vote.
    pub const fn vote(&self) -> &SignedVote {
        &self.vote
    }

    /// The key that verified it.
    pub const fn public_key(&self) -> &bls::PublicKey {
        &self.public_key
    }
}

/// A set of members of a stake set: bit i (from the lowest of the first byte) is the member at position i.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Bitmap(Bytes);

impl Bitmap {
    /// From bytes as they come in a block; length and padding are looked at where the set is known.
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

/// A vote with who cast it, as blocks carry it.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Certificate {
    /// The vote.
    pub vote: Vote,
    /// Who cast it, by position in the stake set of the epoch of the target's slot.
    pub signers: Bitmap,
    /// Aggregate of their signatures.
    pub signature: bls::Signature,
}
