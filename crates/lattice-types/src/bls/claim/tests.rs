#![allow(clippy::unwrap_used)]
use super::*;
use crate::bls::{SecretKey, aggregate};
use blst::min_pk as raw;
use proptest::prelude::*;

const CHAIN: u64 = 1;

fn key(index: usize) -> SecretKey {
    SecretKey::from_seed(&[index as u8 + 1; 32])
}

fn checked(index: usize) -> CheckedKey {
    CheckedKey::new(&key(index).public_key()).unwrap()
}

fn sign(index: usize, message: usize) -> Signature {
    key(index).sign(Domain::Vote, CHAIN, &[message as u8])
}

fn claim(index: usize, message: usize, signature: &Signature) -> Claim {
    Claim::new(&checked(index), Domain::Vote, CHAIN, &[message as u8], signature)
}

fn good(index: usize, message: usize) -> Claim {
    claim(index, message, &sign(index, message))
}

fn point(signature: &Signature) -> raw::Signature {
    raw::Signature::from_bytes(signature.as_slice()).unwrap()
}

/// A sum whose parts need not be in the subgroup.
fn plus(a: &Signature, b: &Signature) -> Signature {
    let sum = raw::AggregateSignature::aggregate(&[&point(a), &point(b)], false).unwrap();
    Signature::from(sum.to_signature().compress())
}

fn minus(a: &Signature) -> Signature {
    // Compressed points carry their sign in bit 5 of the first byte.
    let mut negative = *a;
    negative[0] ^= 0x20;
    negative
}

/// The negative of a key, which whoever has the secret of the one can register too.
fn opposite(index: usize) -> CheckedKey {
    let mut bytes = key(index).public_key();
    bytes[0] ^= 0x20;
    CheckedKey::new(&bytes).unwrap()
}

/// A claim of one of several kinds, and whether it holds.
fn of_kind(kind: usize, index: usize, message: usize) -> (Claim, Result<(), InvalidBls>) {
    let both = [checked(index), checked(index + 1)];
    let all = |keys: &[CheckedKey], signature: &Signature| {
        Claim::of_all(keys, Domain::Vote, CHAIN, &[message as u8], signature)
    };
    let sum = aggregate(&[sign(index, message), sign(index + 1, message)]).unwrap();
    let mut infinity = Signature::ZERO;
    infinity[0] = 0xc0;
    match kind {
        0..=5 => (good(index, message), Ok(())),
        6 => (all(&both, &sum), Ok(())),
        7 => (claim(index, message, &sign(index + 1, message)), Err(InvalidBls::Signature)),
        8 => (claim(index, message, &sign(index, message + 1)), Err(InvalidBls::Signature)),
        9 => (all(&both[..1], &sum), Err(InvalidBls::Signature)),
        10 => (all(&[both[0], opposite(index)], &sum), Err(InvalidBls::Signature)),
        11 => (all(&[], &sum), Err(InvalidBls::Signature)),
        12 => (claim(index, message, &infinity), Err(InvalidBls::Encoding("signature"))),
        _ => (claim(index, message, &Signature::repeat_byte(0xa5)), Err(InvalidBls::Encoding("signature"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Few keys and messages, so that claims share them, and some come twice.
    #[test]
    fn together_means_one_by_one(kinds in prop::collection::vec((0..14usize, 0..4usize, 0..3usize), 0..40)) {
        let (claims, expected): (Vec<_>, Vec<_>) =
            kinds.into_iter().map(|(kind, index, message)| of_kind(kind, index, message)).unzip();
        prop_assert_eq!(&verify_each(&claims), &expected);
        let alone: Vec<_> = claims.iter().map(Claim::verify).collect();
        prop_assert_eq!(alone, expected);
    }
}

#[test]
fn one_wrong_claim_is_found_at_every_position() {
    let claims: Vec<_> = (0..19).map(|at| good(at % 5, at)).collect();
    assert_eq!(verify_each(&claims), [Ok(()); 19]);
    for at in 0..claims.len() {
        let mut spoilt = claims.clone();
        spoilt[at] = claim(at % 5, at, &sign(at % 5, at + 1));
        let mut expected = [Ok(()); 19];
        expected[at] = Err(InvalidBls::Signature);
        assert_eq!(verify_each(&spoilt), expected, "{at}");
    }
}

/// Whether a plain sum of these claims holds, as it does without factors.
fn sums_up(claims: &[Claim]) -> bool {
    let claims: Vec<_> = claims
        .iter()
        .map(|claim| {
            let signature = point(&claim.signature).into();
            Parsed { id: claim.id, key: claim.key.unwrap(), message: &claim.message, signature, factor: ONE }
        })
        .collect();
    let hashes = claims.iter().map(|claim| (claim.message, hash_to_g2(claim.message))).collect();
    all_hold(&claims, &hashes)
}

#[test]
fn errors_that_cancel_in_a_sum_are_found() {
    let error = sign(9, 99);
    let spoil = |index, message, by: &Signature| claim(index, message, &plus(&sign(index, message), by));
    let twice = plus(&error, &error);
    for claims in [
        // One key, two messages, like VRF and signature of a header.
        vec![spoil(0, 0, &error), spoil(0, 1, &minus(&error))],
        // Different keys and messages, good ones between.
        vec![spoil(0, 0, &error), good(2, 2), spoil(1, 1, &minus(&error))],
        // One message, so many keys that these are added up.
        vec![
            spoil(0, 0, &error),
            spoil(1, 0, &error),
            spoil(2, 0, &minus(&twice)),
            spoil(3, 0, &error),
            spoil(4, 0, &minus(&error)),
        ],
        // The signatures of two keys, exchanged.
        vec![claim(0, 0, &sign(1, 0)), claim(1, 0, &sign(0, 0))],
    ] {
        assert!(sums_up(&claims), "the errors cancel");
        let expected: Vec<_> = claims.iter().map(Claim::verify).collect();
        assert!(expected.iter().filter(|verdict| verdict.is_err()).count() >= 2);
        assert_eq!(verify_each(&claims), expected);
    }
}

#[test]
fn a_signature_outside_of_the_subgroup_is_refused_among_others() {
    let outside = (0..=u8::MAX).find_map(|byte| {
        let mut bytes = [0; 96];
        (bytes[0], bytes[95]) = (0x80, byte);
        raw::Signature::uncompress(&bytes).ok()
    });
    let outside = Signature::from(outside.unwrap().compress());
    for signature in [outside, plus(&sign(0, 0), &outside)] {
        let found = verify_each(&[good(1, 1), claim(0, 0, &signature)]);
        assert_eq!(found, [Ok(()), Err(InvalidBls::Encoding("signature"))]);
    }
}
