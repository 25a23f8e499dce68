//! Verifying many signatures together.
//!
//! Signatures S_j of keys P_j over hashed messages H_j are all good when e(P_j, H_j) = e(G, S_j) for each j. The product of
//! all these equations, each raised to a factor of its own, is one equation with a single final exponentiation, in which
//! the left sides of one key are one pairing: e(P, sum r_j H_j). A wrong signature passes only when the errors of several
//! cancel under the factors (small exponents test: Bellare, Garay, Rabin, "Fast Batch Verification", 1998).
//!
//! There is no random source here, so the factors are a hash of all that is verified. Whoever makes the signatures may try
//! others offline until their errors cancel; as every change draws all factors anew, each try succeeds with one in 2^128,
//! as much as for whoever would forge a signature. So the factors have 128 bits, where a secret of the verifier, which
//! leaves no more tries than messages, would make do with 64. In return the verdict is a function of what is verified.
//!
//! Signatures outside of the subgroup are refused one by one: under one in 13 factors an error of order 13 would be gone.

use super::{CheckedKey, DST, Domain, InvalidBls, PublicKey, Signature, signature};
use alloy_primitives::{B256, keccak256};
use blst::{
    Pairing, blst_fp12, blst_hash_to_g2, blst_p1, blst_p1_affine, blst_p1_to_affine, blst_p1s_mult_pippenger,
    blst_p1s_mult_pippenger_scratch_sizeof, blst_p2, blst_p2_affine, blst_p2_to_affine, blst_p2s_mult_pippenger,
    blst_p2s_mult_pippenger_scratch_sizeof, limb_t,
};
use std::{collections::BTreeMap, ptr};

/// Bits of a factor; its bytes are little-endian.
const FACTOR_BITS: usize = 128;
type Factor = [u8; FACTOR_BITS / 8];
const ONE: Factor = 1u128.to_le_bytes();
/// Claims about one message from which on their keys are added up rather than the hashes of one key: it saves a pairing for
/// each but the first, and costs a multiplication of the key.
const SHARED_MESSAGE_MIN: usize = 4;
/// Parts into which claims are split that do not all hold: few enough to find one wrong claim among good ones fast, and
/// many enough that claims which are all wrong cost little more than one by one.
const SPLIT: usize = 8;

/// The claim that a key, or all of several, signed a message.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The sum of the keys; none when there is none, or it is the point at infinity, for which every signature would do.
    key: Option<CheckedKey>,
    message: Vec<u8>,
    signature: Signature,
    /// Hash of all of it.
    id: B256,
}

impl Claim {
    /// That `key` signed `content` under the domain's tag and the chain id.
    pub fn new(key: &CheckedKey, domain: Domain, chain_id: u64, content: &[u8], signature: &Signature) -> Self {
        Self::of(Some(*key), domain.message(chain_id, content), signature)
    }

    /// That each of `keys` signed it, with the aggregate of their signatures. The keys' possession must have been proven.
    pub fn of_all(keys: &[CheckedKey], domain: Domain, chain_id: u64, content: &[u8], signature: &Signature) -> Self {
        Self::of(CheckedKey::sum(keys), domain.message(chain_id, content), signature)
    }

    fn of(key: Option<CheckedKey>, message: Vec<u8>, signature: &Signature) -> Self {
        let by = key.map_or(PublicKey::ZERO, |key| key.bytes);
        let id = keccak256([by.as_slice(), signature.as_slice(), &message].concat());
        Self { key, message, signature: *signature, id }
    }

    /// Verifies this one alone.
    ///
    /// # Errors
    /// [`InvalidBls`].
    pub fn verify(&self) -> Result<(), InvalidBls> {
        verify_each(std::slice::from_ref(self))[0]
    }
}

/// Verifies claims together, and for each says what [`Claim::verify`] would. Those that do not hold cost extra; the others
/// a fraction of what they cost alone.
pub fn verify_each(claims: &[Claim]) -> Vec<Result<(), InvalidBls>> {
    let mut found = BTreeMap::new();
    let mut parsed = Vec::with_capacity(claims.len());
    let mut hashes = BTreeMap::new();
    let seed = keccak256(claims.iter().flat_map(|claim| claim.id.0).collect::<Vec<u8>>());
    for claim in claims {
        // The same claim may come several times, like a certificate in several blocks.
        found.entry(claim.id).or_insert_with(|| {
            let key = claim.key.ok_or(InvalidBls::Signature)?;
            let signature: blst_p2_affine = signature(&claim.signature)?.into();
            hashes.entry(claim.message.as_slice()).or_insert_with(|| hash_to_g2(&claim.message));
            let digest = keccak256([seed.as_slice(), claim.id.as_slice()].concat());
            let factor = *digest.first_chunk().expect("a hash is longer than a factor");
            parsed.push(Parsed { id: claim.id, key, message: &claim.message, signature, factor });
            Ok(())
        });
    }
    for wrong in wrong(&parsed, &hashes) {
        found.insert(wrong, Err(InvalidBls::Signature));
    }
    claims.iter().map(|claim| found[&claim.id]).collect()
}

/// A claim whose points were found good.
struct Parsed<'a> {
    id: B256,
    key: CheckedKey,
    message: &'a [u8],
    signature: blst_p2_affine,
    factor: Factor,
}

type Hashes<'a> = BTreeMap<&'a [u8], blst_p2_affine>;

/// Which of these claims do not hold.
fn wrong(claims: &[Parsed<'_>], hashes: &Hashes<'_>) -> Vec<B256> {
    match claims {
        [] => Vec::new(),
        _ if all_hold(claims, hashes) => Vec::new(),
        [claim] => vec![claim.id],
        _ => claims.chunks(claims.len().div_ceil(SPLIT)).flat_map(|part| wrong(part, hashes)).collect(),
    }
}

/// Whether all of these claims hold; there is one at least.
fn all_hold(claims: &[Parsed<'_>], hashes: &Hashes<'_>) -> bool {
    // A claim by itself needs no factor.
    let factor = |claim: &Parsed<'_>| if claims.len() == 1 { ONE } else { claim.factor };
    let mut by_message = BTreeMap::<_, Vec<_>>::new();
    for claim in claims {
        by_message.entry(claim.message).or_default().push(claim);
    }
    let mut by_key = BTreeMap::<_, (_, Vec<_>)>::new();
    let mut pairing = Pairing::new(true, DST);
    for (message, claims) in by_message {
        if claims.len() >= SHARED_MESSAGE_MIN {
            let keys = claims.iter().map(|claim| (claim.key.point(), factor(claim))).collect::<Vec<_>>();
            pairing.raw_aggregate(&hashes[message], &weighted_sum_g1(&keys));
        } else {
            for claim in claims {
                let (_, signed) = by_key.entry(claim.key.bytes).or_insert((claim.key.point(), Vec::new()));
                signed.push((hashes[message], factor(claim)));
            }
        }
    }
    for (key, signed) in by_key.into_values() {
        pairing.raw_aggregate(&weighted_sum_g2(&signed), &key);
    }
    pairing.commit();
    let signatures = claims.iter().map(|claim| (claim.signature, factor(claim))).collect::<Vec<_>>();
    let mut right = blst_fp12::default();
    Pairing::aggregated(&mut right, &weighted_sum_g2(&signatures));
    pairing.finalverify(Some(&right))
}

fn hash_to_g2(message: &[u8]) -> blst_p2_affine {
    let (mut point, mut affine) = (blst_p2::default(), blst_p2_affine::default());
    // SAFETY: each pointer leads to as many bytes as the length beside it says, and no bytes are augmented.
    unsafe {
        blst_hash_to_g2(&mut point, message.as_ptr(), message.len(), DST.as_ptr(), DST.len(), ptr::null(), 0);
        blst_p2_to_affine(&mut affine, &point);
    }
    affine
}

/// Sum of points, of which there is one at least, each times its factor; the functions of one group of the curve follow.
macro_rules! weighted_sum {
    ($name:ident, $point:ty, $affine:ty, $scratch:ident, $multiply:ident, $to_affine:ident) => {
        fn $name(terms: &[($affine, Factor)]) -> $affine {
            if let [(point, ONE)] = terms {
                return *point;
            }
            let (points, factors): (Vec<$affine>, Vec<Factor>) = terms.iter().copied().unzip();
            // A null pointer after the first one says that the others lie behind it.
            let points_at = [points.as_ptr(), ptr::null()];
            let factors_at = [factors.as_ptr().cast::<u8>(), ptr::null()];
            let (mut sum, mut affine) = (<$point>::default(), <$affine>::default());
            // SAFETY: there are as many points and factors, of FACTOR_BITS each, as is said, and as much scratch space as
            // blst asks for.
            unsafe {
                let mut scratch: Vec<limb_t> = vec![0; $scratch(points.len()).div_ceil(size_of::<limb_t>())];
                let (points_at, factors_at) = (points_at.as_ptr(), factors_at.as_ptr());
                $multiply(&mut sum, points_at, points.len(), factors_at, FACTOR_BITS, scratch.as_mut_ptr());
                $to_affine(&mut affine, &sum);
            }
            affine
        }
    };
}

weighted_sum!(
    weighted_sum_g1,
    blst_p1,
    blst_p1_affine,
    blst_p1s_mult_pippenger_scratch_sizeof,
    blst_p1s_mult_pippenger,
    blst_p1_to_affine
);
weighted_sum!(
    weighted_sum_g2,
    blst_p2,
    blst_p2_affine,
    blst_p2s_mult_pippenger_scratch_sizeof,
    blst_p2s_mult_pippenger,
    blst_p2_to_affine
);

#[cfg(test)]
mod tests;
