//! Content identifiers (IPLD CID specification): CIDv1, codec raw or dag-pb, hash sha2-256, text in base32 lower case.
//!
//! Consensus accepts exactly this form, so a CID is always 36 bytes and has one spelling.

use crate::limits::CHUNK_BYTES_MAX;
use alloy_primitives::hex;
use alloy_rlp::{BufMut, Decodable, Encodable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

const VERSION: u8 = 0x01;
const CODEC_RAW: u8 = 0x55;
const CODEC_DAG_PB: u8 = 0x70;
const HASH_SHA2_256: u8 = 0x12;
const HASH_LEN: u8 = 32;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// First bytes of an artifact's manifest: name and version of the form.
pub const MANIFEST_MAGIC: &[u8; 8] = b"LATMAN\x00\x01";

/// Length of a CID's bytes: version, codec, hash code, hash length, hash.
pub const CID_LEN: usize = 36;

/// A content identifier in the only form that consensus accepts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid([u8; CID_LEN]);

/// Why bytes or text are not a CID of the accepted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCid {
    /// Wrong number of bytes.
    #[error("a CID has {CID_LEN} bytes, got {0}")]
    Length(usize),
    /// The version, codec or hash function is not one we accept.
    #[error("unsupported CID prefix 0x{0}: only CIDv1 with codec raw (0x55) or dag-pb (0x70) and sha2-256 is accepted")]
    Prefix(String),
    /// The text is not multibase base32 lower case.
    #[error("a CID is written in base32 lower case and begins with 'b', got {0:?}")]
    Text(String),
}

impl Cid {
    /// The CID of these bytes as one raw block.
    pub fn raw(bytes: &[u8]) -> Self {
        Self::from_digest(CODEC_RAW, Sha256::digest(bytes).into())
    }

    /// The CID of these bytes as an artifact: the raw CID of its manifest, which is [`MANIFEST_MAGIC`], the length as u64
    /// big-endian, and the raw CID of each chunk of [`CHUNK_BYTES_MAX`] bytes.
    pub fn artifact(bytes: &[u8]) -> Self {
        let mut manifest = [&MANIFEST_MAGIC[..], &(bytes.len() as u64).to_be_bytes()].concat();
        bytes.chunks(CHUNK_BYTES_MAX).for_each(|chunk| manifest.extend_from_slice(&Self::raw(chunk).0));
        Self::raw(&manifest)
    }

    fn from_digest(codec: u8, digest: [u8; 32]) -> Self {
        let mut out = [0; CID_LEN];
        out[..4].copy_from_slice(&[VERSION, codec, HASH_SHA2_256, HASH_LEN]);
        out[4..].copy_from_slice(&digest);
        Self(out)
    }

    /// The 36 bytes: version, codec, hash code, hash length, hash.
    pub const fn to_bytes(&self) -> [u8; CID_LEN] {
        self.0
    }

    /// The sha2-256 digest.
    pub fn digest(&self) -> &[u8] {
        &self.0[4..]
    }

    /// Whether the CID names one raw block (not a dag-pb node).
    pub const fn is_raw(&self) -> bool {
        self.0[1] == CODEC_RAW
    }

    /// Reads the byte form; refuses every other version, codec and hash.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidCid> {
        let out: [u8; CID_LEN] = bytes.try_into().map_err(|_| InvalidCid::Length(bytes.len()))?;
        let codec_ok = out[1] == CODEC_RAW || out[1] == CODEC_DAG_PB;
        if out[0] != VERSION || !codec_ok || out[2] != HASH_SHA2_256 || out[3] != HASH_LEN {
            return Err(InvalidCid::Prefix(hex::encode(&out[..4])));
        }
        Ok(Self(out))
    }

    /// Reads the text form (`bafk…`, `bafy…`).
    pub fn parse(text: &str) -> Result<Self, InvalidCid> {
        let invalid = || InvalidCid::Text(text.chars().take(80).collect());
        let digits = text.strip_prefix('b').ok_or_else(invalid)?;
        let (mut bytes, mut acc, mut bits) = (Vec::with_capacity(CID_LEN), 0u32, 0u32);
        for c in digits.bytes() {
            let digit = BASE32.iter().position(|&d| d == c).ok_or_else(invalid)?;
            acc = (acc << 5) | digit as u32;
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push((acc >> bits) as u8);
                acc &= (1 << bits) - 1;
            }
            if bytes.len() > CID_LEN {
                return Err(InvalidCid::Length(bytes.len()));
            }
        }
        // Left-over bits must be padding zeros of less than one digit, so that each CID has one spelling.
        if bits >= 5 || acc != 0 {
            return Err(invalid());
        }
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(59);
        text.push('b');
        let (mut acc, mut bits) = (0u32, 0u32);
        for byte in self.0 {
            acc = (acc << 8) | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                text.push(BASE32[((acc >> bits) & 31) as usize] as char);
            }
            acc &= (1 << bits) - 1;
        }
        if bits > 0 {
            text.push(BASE32[((acc << (5 - bits)) & 31) as usize] as char);
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cid {
    type Err = InvalidCid;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}

impl Encodable for Cid {
    fn encode(&self, out: &mut dyn BufMut) {
        self.0.as_slice().encode(out);
    }

    fn length(&self) -> usize {
        CID_LEN + 1
    }
}

impl Decodable for Cid {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let bytes = alloy_rlp::Header::decode_bytes(buf, false)?;
        Self::from_bytes(bytes).map_err(|_| alloy_rlp::Error::Custom("malformed CID"))
    }
}

impl Serialize for Cid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A CID that may be absent: RLP's empty string stands for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MaybeCid(pub Option<Cid>);

impl Encodable for MaybeCid {
    fn encode(&self, out: &mut dyn BufMut) {
        match &self.0 {
            Some(cid) => cid.encode(out),
            None => out.put_u8(alloy_rlp::EMPTY_STRING_CODE),
        }
    }

    fn length(&self) -> usize {
        self.0.as_ref().map_or(1, Encodable::length)
    }
}

impl Decodable for MaybeCid {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        if buf.first() == Some(&alloy_rlp::EMPTY_STRING_CODE) {
            *buf = &buf[1..];
            return Ok(Self(None));
        }
        Cid::decode(buf).map(|cid| Self(Some(cid)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_known_cid_of_the_ipfs_world() {
        // CIDv1 raw sha2-256 of "hello world", computed with Python's hashlib and base64.
        let cid = Cid::raw(b"hello world");
        assert_eq!(cid.to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
        assert_eq!(Cid::parse(&cid.to_string()).unwrap(), cid);
        assert_eq!(Cid::from_bytes(&cid.to_bytes()).unwrap(), cid);
    }

    #[test]
    fn other_forms_are_refused() {
        assert!(matches!(Cid::parse("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"), Err(InvalidCid::Text(_))));
        assert!(matches!(Cid::parse("bafk"), Err(InvalidCid::Length(_) | InvalidCid::Text(_))));
        let text = Cid::raw(b"x").to_string();
        assert!(Cid::parse(&text.to_uppercase()).is_err());
        assert!(Cid::parse(&format!("{text}a")).is_err());
        let mut bytes = Cid::raw(b"x").to_bytes();
        bytes[1] = 0x71; // dag-cbor
        assert!(matches!(Cid::from_bytes(&bytes), Err(InvalidCid::Prefix(_))));
        assert!(matches!(Cid::from_bytes(&bytes[1..]), Err(InvalidCid::Length(35))));
    }

    #[test]
    fn a_second_spelling_of_the_last_digit_is_refused() {
        let text = Cid::raw(b"x").to_string();
        let (head, last) = text.split_at(text.len() - 1);
        let digit = BASE32.iter().position(|&d| d == last.as_bytes()[0]).unwrap();
        let other = BASE32[digit ^ 1] as char; // flips a padding bit
        assert!(Cid::parse(&format!("{head}{other}")).is_err());
    }
}
