//! Validator keys: BLS12-381, minimal-pubkey-size (public key 48 bytes in G1, signature 96 bytes in G2), IETF
//! draft-irtf-cfrg-bls-signature with proof of possession.
//!
//! BLS signatures are unique, so a signature over `LAT-VRF || chain id || epoch seed || slot` is a verifiable random
//! function: nobody can choose among several outputs. Every kind of message begins with its own domain tag.

use alloy_primitives::{B256, FixedBytes, keccak256};
use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine, min_pk as raw};

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

fn public_key(bytes: &PublicKey) -> Result<raw::PublicKey, InvalidBls> {
    raw::PublicKey::key_validate(bytes.as_slice()).map_err(|_| InvalidBls::Encoding("public key"))
}

fn signature(bytes: &Signature) -> Result<raw::Signature, InvalidBls> {
    raw::Signature::sig_validate(bytes.as_slice(), true).map_err(|_| InvalidBls::Encoding("signature"))
}

fn verdict(result: BLST_ERROR) -> Result<(), InvalidBls> {
    if result == BLST_ERROR::BLST_SUCCESS { Ok(()) } else { Err(InvalidBls::Signature) }
}

/// Verifies one signature, including the subgroup checks of key and signature.
pub fn verify(
    key: &PublicKey,
    domain: Domain,
    chain_id: u64,
    content: &[u8],
    sig: &Signature,
) -> Result<(), InvalidBls> {
    let (key, sig) = (public_key(key)?, signature(sig)?);
    verdict(sig.verify(false, &domain.message(chain_id, content), DST, &[], &key, false))
}

/// Bits of the factor that keeps two signatures apart when they are verified together.
const FACTOR_BITS: usize = 128;

/// Verifies two signatures of one key together, which costs two thirds of verifying each: whether both are good.
///
/// The second one is multiplied by a factor that is a hash of all that is verified, so nobody can choose signatures whose
/// errors cancel (small exponents test: Bellare, Garay, Rabin, "Fast Batch Verification", 1998).
pub fn verify_both(key: &PublicKey, chain_id: u64, signed: [(Domain, &[u8], &Signature); 2]) -> Result<(), InvalidBls> {
    let point: blst_p1_affine = public_key(key)?.into();
    let messages = signed.map(|(domain, content, _)| domain.message(chain_id, content));
    let digest = |at: usize| keccak256([keccak256(&messages[at]).as_slice(), signed[at].2.as_slice()].concat());
    let factor = keccak256([key.as_slice(), digest(0).as_slice(), digest(1).as_slice()].concat());
    // The factor's bytes are little-endian.
    let factor: [u8; 32] = std::array::from_fn(|at| factor[31 - at]);
    let [first, second]: [blst_p2_affine; 2] = [signature(signed[0].2)?.into(), signature(signed[1].2)?.into()];
    let mut pairing = Pairing::new(true, DST);
    verdict(pairing.aggregate(&point, false, &first, false, &messages[0], &[]))?;
    verdict(pairing.mul_n_aggregate(&point, false, &second, false, &factor, FACTOR_BITS, &messages[1], &[]))?;
    pairing.commit();
    if pairing.finalverify(None) { Ok(()) } else { Err(InvalidBls::Signature) }
}

/// Verifies an aggregate of signatures by `keys` over the same message. The keys' possession must have been proven.
pub fn verify_aggregate(
    keys: &[PublicKey],
    domain: Domain,
    chain_id: u64,
    content: &[u8],
    sig: &Signature,
) -> Result<(), InvalidBls> {
    let keys = keys.iter().map(CheckedKey::new).collect::<Result<Vec<_>, _>>()?;
    verify_aggregate_checked(&keys, domain, chain_id, content, sig)
}

/// A public key whose bytes were found good: it need not be decompressed and checked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedKey(raw::PublicKey);

impl CheckedKey {
    /// Decompresses a key and checks its subgroup.
    ///
    /// # Errors
    /// [`InvalidBls::Encoding`].
    pub fn new(key: &PublicKey) -> Result<Self, InvalidBls> {
        public_key(key).map(Self)
    }
}

/// [`verify_aggregate`] with keys that were checked before.
///
/// # Errors
/// As [`verify_aggregate`].
pub fn verify_aggregate_checked(
    keys: &[CheckedKey],
    domain: Domain,
    chain_id: u64,
    content: &[u8],
    sig: &Signature,
) -> Result<(), InvalidBls> {
    if keys.is_empty() {
        return Err(InvalidBls::Signature);
    }
    let refs: Vec<_> = keys.iter().map(|key| &key.0).collect();
    verdict(signature(sig)?.fast_aggregate_verify(false, &domain.message(chain_id, content), DST, &refs))
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
    fn two_signatures_of_a_key_verify_together_only_when_each_does() {
        let (key, other) = (SecretKey::from_seed(&[7; 32]), SecretKey::from_seed(&[8; 32]));
        let vrf = key.sign(Domain::Vrf, 1, b"slot");
        let seal = key.sign(Domain::Block, 1, b"header");
        let both = |vrf: &Signature, seal: &Signature| {
            let signed = [(Domain::Vrf, b"slot".as_slice(), vrf), (Domain::Block, b"header".as_slice(), seal)];
            verify_both(&key.public_key(), 1, signed)
        };
        both(&vrf, &seal).unwrap();
        assert_eq!(both(&seal, &vrf), Err(InvalidBls::Signature));
        assert_eq!(both(&vrf, &other.sign(Domain::Block, 1, b"header")), Err(InvalidBls::Signature));
        assert_eq!(both(&other.sign(Domain::Vrf, 1, b"slot"), &seal), Err(InvalidBls::Signature));
        assert!(matches!(both(&vrf, &Signature::ZERO), Err(InvalidBls::Encoding("signature"))));

        // Errors that cancel in a plain sum: S1 + E and S2 - E.
        let error = raw::Signature::from_bytes(other.sign(Domain::Vrf, 1, b"error").as_slice()).unwrap();
        let sum = |parts: &[&raw::Signature]| {
            Signature::from(raw::AggregateSignature::aggregate(parts, false).unwrap().to_signature().compress())
        };
        // Compressed points carry their sign in bit 5 of the first byte.
        let mut minus = error.compress();
        minus[0] ^= 0x20;
        let minus = raw::Signature::from_bytes(&minus).unwrap();
        let parsed = |sig: &Signature| raw::Signature::from_bytes(sig.as_slice()).unwrap();
        let (spoilt_vrf, spoilt_seal) = (sum(&[&parsed(&vrf), &error]), sum(&[&parsed(&seal), &minus]));
        assert_eq!(sum(&[&parsed(&spoilt_vrf), &parsed(&spoilt_seal)]), sum(&[&parsed(&vrf), &parsed(&seal)]));
        assert_eq!(both(&spoilt_vrf, &spoilt_seal), Err(InvalidBls::Signature));
    }

    #[test]
    fn aggregates_verify_for_exactly_their_signers() {
        let keys: Vec<_> = (1..=3u8).map(|i| SecretKey::from_seed(&[i; 32])).collect();
        let publics: Vec<_> = keys.iter().map(SecretKey::public_key).collect();
        let sigs: Vec<_> = keys.iter().map(|k| k.sign(Domain::Readiness, 5, b"m")).collect();
        let sum = aggregate(&sigs).unwrap();
        verify_aggregate(&publics, Domain::Readiness, 5, b"m", &sum).unwrap();
        assert!(verify_aggregate(&publics[..2], Domain::Readiness, 5, b"m", &sum).is_err());
        assert!(verify_aggregate(&[], Domain::Readiness, 5, b"m", &sum).is_err());
    }
}
