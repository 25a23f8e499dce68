//! Validator keys: BLS12-381, minimal-pubkey-size (public key 48 bytes in G1, signature 96 bytes in G2), IETF
//! draft-irtf-cfrg-bls-signature with proof of possession.
//!
//! BLS signatures are unique, so a signature over `LAT-VRF || chain id || epoch seed || slot` is a verifiable random
//! function: nobody can choose among several outputs. Every kind of message begins with its own domain tag.

mod claim;

pub use claim::{Claim, verify_each};

use alloy_primitives::{B256, FixedBytes, keccak256};
use blst::{blst_p1_affine, min_pk as raw};

const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// A compressed public key (48 bytes).
pub type PublicKey = FixedBytes<48>;
/// A compressed signature (96 bytes).
pub type Signature = FixedBytes<96>;

/// What a signature is over. The tag keeps one kind from being replayed as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// The VRF of a slot.
    Vrf,
    /// A DAG block header.
    Block,
    /// Readiness of a model's artifact.
    Readiness,
    /// A vote for finality.
    Vote,
    /// Possession of a key that is being registered: the content is the registering account.
    Possession,
}

impl Domain {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Vrf => b"LAT-VRF",
            Self::Block => b"LAT-BLOCK",
            Self::Readiness => b"LAT-READY",
            Self::Vote => b"LAT-VOTE",
            Self::Possession => b"LAT-POSSESSION",
        }
    }

    fn message(self, chain_id: u64, content: &[u8]) -> Vec<u8> {
        [self.tag(), &chain_id.to_be_bytes(), content].concat()
    }
}

/// Why a key or a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBls {
    /// The bytes are not a point of the right subgroup.
    #[error("the bytes are not a valid BLS12-381 {0}")]
    Encoding(&'static str),
    /// The signature does not verify.
    #[error("the BLS signature does not verify")]
    Signature,
}

/// A validator's secret key. It is wiped from memory when dropped, and is never printed.
pub struct SecretKey {
    secret: raw::SecretKey,
    /// Derived once: it is asked for at every block and vote, and a multiplication on the curve is not free.
    public: PublicKey,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({})", self.public)
    }
}

impl SecretKey {
    /// Derives a key from 32 bytes of key material (EIP-2333's HKDF).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = raw::SecretKey::key_gen(seed, b"lattice").expect("32 bytes of key material are enough");
        let public = PublicKey::from(secret.sk_to_pk().compress());
        Self { secret, public }
    }

    /// The public key.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `content` under the domain's tag and the chain id.
    pub fn sign(&self, domain: Domain, chain_id: u64, content: &[u8]) -> Signature {
        Signature::from(self.secret.sign(&domain.message(chain_id, content), DST, &[]).compress())
    }
}

fn signature(bytes: &Signature) -> Result<raw::Signature, InvalidBls> {
    raw::Signature::sig_validate(bytes.as_slice(), true).map_err(|_| InvalidBls::Encoding("signature"))
}

/// Verifies one signature, including the subgroup checks of key and signature.
///
/// # Errors
/// [`InvalidBls`].
pub fn verify(
    key: &PublicKey,
    domain: Domain,
    chain_id: u64,
    content: &[u8],
    sig: &Signature,
) -> Result<(), InvalidBls> {
    Claim::new(&CheckedKey::new(key)?, domain, chain_id, content, sig).verify()
}

/// A public key whose bytes were found good: it need not be decompressed and checked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedKey {
    bytes: PublicKey,
    point: raw::PublicKey,
}

impl CheckedKey {
    /// Decompresses a key and checks its subgroup.
    ///
    /// # Errors
    /// [`InvalidBls::Encoding`].
    pub fn new(key: &PublicKey) -> Result<Self, InvalidBls> {
        let point = raw::PublicKey::key_validate(key.as_slice()).map_err(|_| InvalidBls::Encoding("public key"))?;
        Ok(Self { bytes: *key, point })
    }

    /// The key's bytes.
    pub const fn bytes(&self) -> &PublicKey {
        &self.bytes
    }

    /// The sum of keys; none of no keys, and when it is the point at infinity.
    fn sum(keys: &[Self]) -> Option<Self> {
        let points: Vec<_> = keys.iter().map(|key| &key.point).collect();
        let point = raw::AggregatePublicKey::aggregate(&points, false).ok()?.to_public_key();
        let bytes = PublicKey::from(point.compress());
        // Bit 6 of the first byte marks infinity.
        (bytes[0] & 0x40 == 0).then_some(Self { bytes, point })
    }

    fn point(&self) -> blst_p1_affine {
        self.point.into()
    }
}

/// Aggregates signatures over the same message.
pub fn aggregate(signatures: &[Signature]) -> Result<Signature, InvalidBls> {
    let parsed = signatures.iter().map(signature).collect::<Result<Vec<_>, _>>()?;
    let refs: Vec<_> = parsed.iter().collect();
    let sum = raw::AggregateSignature::aggregate(&refs, false).map_err(|_| InvalidBls::Encoding("signature"))?;
    Ok(Signature::from(sum.to_signature().compress()))
}

/// The content that a slot's VRF signs: `epoch_seed || slot`.
pub fn vrf_content(epoch_seed: &B256, slot: u64) -> [u8; 40] {
    let mut out = [0; 40];
    out[..32].copy_from_slice(epoch_seed.as_slice());
    out[32..].copy_from_slice(&slot.to_be_bytes());
    out
}

/// H(y): the uniform value that eligibility and ties are decided by.
pub fn vrf_hash(vrf: &Signature) -> B256 {
    keccak256([b"LAT-VRF-OUT".as_slice(), vrf.as_slice()].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sign_and_verify() {
        let key = SecretKey::from_seed(&[7; 32]);
        let sig = key.sign(Domain::Block, 1, b"content");
        assert_eq!(sig, key.sign(Domain::Block, 1, b"content"), "BLS signatures are unique");
        verify(&key.public_key(), Domain::Block, 1, b"content", &sig).unwrap();
        for (domain, chain, content) in
            [(Domain::Vrf, 1, b"content"), (Domain::Block, 2, b"content"), (Domain::Block, 1, b"c0ntent")]
        {
            assert_eq!(verify(&key.public_key(), domain, chain, content, &sig), Err(InvalidBls::Signature));
        }
        let other = SecretKey::from_seed(&[8; 32]).public_key();
        assert_eq!(verify(&other, Domain::Block, 1, b"content", &sig), Err(InvalidBls::Signature));
        assert!(matches!(
            verify(&other, Domain::Block, 1, b"content", &Signature::ZERO),
            Err(InvalidBls::Encoding("signature"))
        ));
        assert!(matches!(
            verify(&PublicKey::ZERO, Domain::Block, 1, b"content", &sig),
            Err(InvalidBls::Encoding("public key"))
        ));
    }

    #[test]
    fn aggregates_verify_for_exactly_their_signers() {
        let keys: Vec<_> = (1..=3u8).map(|i| SecretKey::from_seed(&[i; 32])).collect();
        let publics: Vec<_> = keys.iter().map(|key| CheckedKey::new(&key.public_key()).unwrap()).collect();
        let sigs: Vec<_> = keys.iter().map(|k| k.sign(Domain::Readiness, 5, b"m")).collect();
        let sum = aggregate(&sigs).unwrap();
        let of = |keys: &[CheckedKey]| Claim::of_all(keys, Domain::Readiness, 5, b"m", &sum).verify();
        of(&publics).unwrap();
        assert_eq!(of(&publics[..2]), Err(InvalidBls::Signature));
        assert_eq!(of(&[]), Err(InvalidBls::Signature));
    }
}
