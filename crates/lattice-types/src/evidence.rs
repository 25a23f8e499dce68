//! Evidence: two signed messages of one validator of which it could honestly have signed only one.
//!
//! Evidence stands by itself: it names the offender by its public key, so that anybody can check it without a chain.
//! Who is registered under this key, and whether he was slashed before, is looked up when it executes.

use crate::{
    block::DagHeader,
    bls::{self, Domain, InvalidBls},
    finality::{Offence, Vote},
    limits,
};
use alloy_primitives::B256;
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};

/// Two votes of one validator that break a rule.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct VoteEvidence {
    /// Key of the signer.
    pub public_key: bls::PublicKey,
    /// The vote that comes first in their order: one pair has one form.
    pub first: Vote,
    /// The other vote.
    pub second: Vote,
    /// Signature of the first.
    pub first_signature: bls::Signature,
    /// Signature of the second.
    pub second_signature: bls::Signature,
}

/// Two headers of one validator for one slot.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct HeaderEvidence {
    /// Key of the producer.
    pub public_key: bls::PublicKey,
    /// The header with the lower hash: one pair has one form.
    pub first: DagHeader,
    /// The other header.
    pub second: DagHeader,
}

/// Evidence of any offence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A double or a surround vote.
    Votes(Box<VoteEvidence>),
    /// An equivocation.
    Headers(Box<HeaderEvidence>),
}

/// Why evidence convicts nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvidence {
    /// The same message twice, or not in ascending order.
    #[error("the messages of an evidence are two different ones in ascending order")]
    Order,
    /// Both votes may be signed.
    #[error(
        "the votes of an evidence break no rule: they are neither for one target index nor does one span the other"
    )]
    NoConflict,
    /// The headers are of different slots or producers.
    #[error("the headers of an evidence have one proposer and one slot")]
    OtherSlot,
    /// A header names more parents than any chain allows: its signer may make it as large as it likes.
    #[error("a header of an evidence names {got} parents, at most {} are allowed", limits::EVIDENCE_PARENTS_MAX)]
    TooManyParents {
        /// Parents named.
        got: usize,
    },
    /// A signature does not verify.
    #[error("evidence: {0}")]
    Signature(#[from] InvalidBls),
}

impl Evidence {
    /// Of two votes of the signer with this key, in any order.
    pub fn of_votes(public_key: bls::PublicKey, a: (Vote, bls::Signature), b: (Vote, bls::Signature)) -> Self {
        let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        Self::Votes(Box::new(VoteEvidence {
            public_key,
            first: first.0,
            second: second.0,
            first_signature: first.1,
            second_signature: second.1,
        }))
    }

    /// Of two headers of the producer with this key, in any order.
    pub fn of_headers(public_key: bls::PublicKey, a: DagHeader, b: DagHeader) -> Self {
        let (first, second) = if a.hash() <= b.hash() { (a, b) } else { (b, a) };
        Self::Headers(Box::new(HeaderEvidence { public_key, first, second }))
    }

    /// Key of the offender.
    pub const fn offender(&self) -> &bls::PublicKey {
        match self {
            Self::Votes(evidence) => &evidence.public_key,
            Self::Headers(evidence) => &evidence.public_key,
        }
    }

    /// Hash of the canonical encoding.
    pub fn hash(&self) -> B256 {
        alloy_primitives::keccak256(alloy_rlp::encode(self))
    }

    /// The offence that it proves, without a look at the signatures. Cheap.
    ///
    /// # Errors
    /// See [`InvalidEvidence`].
    pub fn offence(&self) -> Result<Offence, InvalidEvidence> {
        match self {
            Self::Votes(pair) if pair.first >= pair.second => Err(InvalidEvidence::Order),
            Self::Votes(pair) => pair.first.conflict(&pair.second).ok_or(InvalidEvidence::NoConflict),
            Self::Headers(pair) if pair.first.hash() >= pair.second.hash() => Err(InvalidEvidence::Order),
            Self::Headers(pair) => {
                let of = |header: &DagHeader| (header.proposer, header.slot);
                // The signature is part of the hash, but BLS signatures are unique: what is signed differs too.
                if of(&pair.first) == of(&pair.second) {
                    Ok(Offence::Equivocation)
                } else {
                    Err(InvalidEvidence::OtherSlot)
                }
            }
        }
    }

    /// The whole check: form, rule and both signatures.
    ///
    /// # Errors
    /// See [`InvalidEvidence`].
    pub fn check(&self, chain_id: u64) -> Result<Offence, InvalidEvidence> {
        let offence = self.offence()?;
        let key = self.offender();
        match self {
            Self::Votes(pair) => {
                for (vote, signature) in [(&pair.first, &pair.first_signature), (&pair.second, &pair.second_signature)]
                {
                    bls::verify(key, Domain::Vote, chain_id, &vote.encode(), signature)?;
                }
            }
            Self::Headers(pair) => {
                for header in [&pair.first, &pair.second] {
                    let got = header.parents.len();
                    if got > limits::EVIDENCE_PARENTS_MAX {
                        return Err(InvalidEvidence::TooManyParents { got });
                    }
                    let signed = header.signing_hash();
                    bls::verify(key, Domain::Block, chain_id, signed.as_slice(), &header.signature)?;
                }
            }
        }
        Ok(offence)
    }

    /// 1 for votes, 2 for headers: offences of one kind cost the same.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Votes(_) => 1,
            Self::Headers(_) => 2,
        }
    }

    fn payload_length(&self) -> usize {
        1 + match self {
            Self::Votes(evidence) => evidence.length(),
            Self::Headers(evidence) => evidence.length(),
        }
    }
}

/// `[kind, evidence]`, kind 1 for votes and 2 for headers.
impl Encodable for Evidence {
    fn encode(&self, out: &mut dyn BufMut) {
        alloy_rlp::Header { list: true, payload_length: self.payload_length() }.encode(out);
        self.kind().encode(out);
        match self {
            Self::Votes(evidence) => evidence.encode(out),
            Self::Headers(evidence) => evidence.encode(out),
        }
    }

    fn length(&self) -> usize {
        let payload_length = self.payload_length();
        payload_length + alloy_rlp::length_of_length(payload_length)
    }
}

impl Decodable for Evidence {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let mut payload = alloy_rlp::Header::decode_bytes(buf, true)?;
        let evidence = match u8::decode(&mut payload)? {
            1 => Self::Votes(Box::new(Decodable::decode(&mut payload)?)),
            2 => Self::Headers(Box::new(Decodable::decode(&mut payload)?)),
            _ => return Err(alloy_rlp::Error::Custom("unknown kind of evidence")),
        };
        if payload.is_empty() { Ok(evidence) } else { Err(alloy_rlp::Error::UnexpectedLength) }
    }
}
