//! DAG blocks: fixture, round trip, and each check in isolation.

use crate::{hash, transfer};
use alloy_primitives::{Address, B256};
use alloy_rlp::Decodable;
use lattice_types::{
    Attestation, Bitmap, Certificate, ChainSpec, Checkpoint, Cid, DagBlock, DagBody, DagHeader, Evidence, InvalidBlock,
    InvalidEvidence, Offence, ReadinessCertificate, SealKey, Vote,
    bls::{Domain, InvalidBls, SecretKey, Signature, vrf_content},
    check_in_isolation, check_without_seal,
    cid::MaybeCid,
    spec::{DEV_CHAIN_ID, dev_validator_key},
    tx::InvalidTx,
};

fn key() -> SecretKey {
    dev_validator_key()
}

fn vote(source: u64, target: u64, mark: u8) -> Vote {
    let checkpoint = |index, byte| Checkpoint { index, hash: hash(byte) };
    Vote {
        source: checkpoint(source, 1),
        target: checkpoint(target, mark),
        target_blue_score: 3,
        target_evm_hash: hash(4),
    }
}

/// Evidence of two votes of the development validator.
fn votes(a: Vote, b: Vote) -> Evidence {
    let sign = |vote: Vote| (vote, vote.sign(&key(), DEV_CHAIN_ID));
    Evidence::of_votes(key().public_key(), sign(a), sign(b))
}

/// Evidence of two headers of another validator for the slots given.
fn headers(a: u64, b: u64) -> Evidence {
    headers_of(&SecretKey::from_seed(&[9; 32]), a, b)
}

fn headers_of(key: &SecretKey, a: u64, b: u64) -> Evidence {
    let header = |mark: u64, slot: u64| {
        let genesis = ChainSpec::dev().genesis_block(hash(1), hash(2), hash(3), hash(4));
        let mut header = DagHeader { slot, blue_score: mark, ..genesis.header };
        header.sign(key, DEV_CHAIN_ID);
        header
    };
    Evidence::of_headers(key.public_key(), header(1, a), header(2, b))
}

/// A block that passes all checks in isolation.
fn block() -> DagBlock {
    let spec = ChainSpec::dev();
    let readiness = ReadinessCertificate {
        model_id: hash(9),
        epoch: 0,
        is_two_thirds: true,
        signers: Bitmap::of(1, [0]),
        signature: Attestation::sign(hash(9), 0, 0, &key(), DEV_CHAIN_ID).signature,
    };
    let vote = vote(1, 2, 7);
    let certificate = Certificate { vote, signers: Bitmap::of(1, [0]), signature: vote.sign(&key(), DEV_CHAIN_ID) };
    let body = DagBody {
        transactions: vec![transfer(DEV_CHAIN_ID, 0), transfer(DEV_CHAIN_ID, 1)],
        readiness: vec![readiness],
        certificates: vec![certificate],
        evidence: vec![votes(vote, self::vote(1, 2, 8)), headers(1, 1)],
    };
    let header = DagHeader {
        parents: vec![hash(1), hash(2)],
        slot: 77,
        proposer: 0,
        vrf: key().sign(Domain::Vrf, DEV_CHAIN_ID, &vrf_content(&spec.epoch_seed, 77)),
        ai_class: 2,
        blue_score: 5,
        blue_work: 5,
        newest_pruning_point: hash(7),
        body_root: body.root(),
        evm_hash: hash(3),
        model_root: hash(4),
        inference_root: hash(5),
        training_root: hash(6),
        artifact_cid: MaybeCid(Some(Cid::raw(b"list"))),
        signature: Signature::ZERO,
    };
    signed(DagBlock { header, body })
}

fn signed(mut block: DagBlock) -> DagBlock {
    block.header.body_root = block.body.root();
    block.header.sign(&key(), DEV_CHAIN_ID);
    block
}

fn refusal(change: impl FnOnce(&mut DagBlock)) -> InvalidBlock {
    let mut block = block();
    change(&mut block);
    check_in_isolation(signed(block), &ChainSpec::dev(), None).unwrap_err()
}

#[test]
fn fixture_of_a_block() {
    assert_eq!(block().header.hash().to_string(), "0x96ced4d9f809a306762715f1b00a21542086dfeb793837d218bc16351d4f80c4");
    assert_eq!(alloy_rlp::encode(block()).len(), 2421);
}

#[test]
fn a_block_has_one_encoding() {
    let bytes = alloy_rlp::encode(block());
    let mut accepted = 0;
    for at in 0..bytes.len() {
        for value in [0, 1, bytes[at].wrapping_sub(1), bytes[at].wrapping_add(1), bytes[at] ^ 0x40, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let mut rest: &[u8] = &changed;
            if let Ok(block) = DagBlock::decode(&mut rest) {
                accepted += 1;
                assert_eq!(alloy_rlp::encode(&block), changed[..changed.len() - rest.len()], "byte {at} is {value}");
            }
        }
    }
    assert!(accepted > 0, "most bytes are free content");
}

#[test]
fn round_trip() {
    let mut block = block();
    for artifact_cid in [MaybeCid(None), MaybeCid(Some(Cid::raw(b"x")))] {
        block.header.artifact_cid = artifact_cid;
        let bytes = alloy_rlp::encode(&block);
        assert_eq!(alloy_rlp::decode_exact::<DagBlock>(&bytes).unwrap(), block);
        for end in 0..bytes.len() {
            assert!(alloy_rlp::decode_exact::<DagBlock>(&bytes[..end]).is_err());
        }
    }
}

#[test]
fn the_commitment_leaves_out_evm_hash_and_signature_only() {
    let header = block().header;
    let same = DagHeader { evm_hash: hash(8), signature: Signature::ZERO, ..header.clone() };
    assert_eq!(same.commitment(), header.commitment());
    assert_ne!(same.hash(), header.hash());
    let other = DagHeader { model_root: B256::ZERO, ..header.clone() };
    assert_ne!(other.commitment(), header.commitment());
}

#[test]
fn a_good_block_passes_with_its_senders() {
    let block = block();
    let spec = ChainSpec::dev();
    let seal = SealKey { public_key: key().public_key(), epoch_seed: spec.epoch_seed };
    let checked = check_in_isolation(block.clone(), &spec, Some(&seal)).unwrap();
    assert_eq!(checked.sealed_with(), Some(&seal));
    assert_eq!(checked.hash(), block.header.hash());
    assert_eq!(checked.senders(), [crate::signer(0).address(); 2]);
    // Who is known already is not recovered again.
    let (first, other) = (*block.body.transactions[0].hash(), Address::repeat_byte(7));
    let known = |hash: &B256| (*hash == first).then_some(other);
    let checked = check_without_seal(block, &spec, &known).unwrap();
    assert_eq!(checked.senders(), [other, crate::signer(0).address()]);
}

#[test]
fn each_rule_has_its_refusal() {
    assert_eq!(refusal(|b| b.header.parents.clear()), InvalidBlock::NoParents);
    assert_eq!(refusal(|b| b.header.parents.reverse()), InvalidBlock::ParentsOrder);
    assert_eq!(refusal(|b| b.header.parents = vec![hash(1); 2]), InvalidBlock::ParentsOrder);
    assert_eq!(
        refusal(|b| b.header.parents = (0..25).map(hash).collect()),
        InvalidBlock::TooManyParents { got: 25, max: 24 }
    );
    assert_eq!(refusal(|b| b.header.ai_class = 4), InvalidBlock::AiClass(4));
    assert_eq!(
        refusal(|b| b.body.transactions[1] = transfer(1, 1)),
        InvalidBlock::Transaction { index: 1, error: InvalidTx::WrongChainId { got: 1, expected: DEV_CHAIN_ID } }
    );
    for (what, change) in [
        ("readiness certificates", (|b| b.body.readiness = vec![b.body.readiness[0].clone(); 17]) as fn(&mut DagBlock)),
        ("certificates of finality", |b| b.body.certificates = vec![b.body.certificates[0].clone(); 17]),
        ("pieces of evidence", |b| b.body.evidence = vec![b.body.evidence[0].clone(); 9]),
    ] {
        let refused = refusal(change);
        assert!(matches!(refused, InvalidBlock::TooMany { what: found, .. } if found == what), "{refused}");
    }
    let twice = refusal(|b| b.body.evidence.push(votes(vote(1, 5, 1), vote(2, 5, 1))));
    assert_eq!(twice, InvalidBlock::DuplicateEvidence(key().public_key()));
    let mut both = block();
    both.body.evidence.push(headers_of(&key(), 1, 1));
    check_in_isolation(signed(both), &ChainSpec::dev(), None).unwrap();
    let harmless = refusal(|b| b.body.evidence[0] = votes(vote(1, 2, 7), vote(2, 3, 7)));
    assert_eq!(harmless, InvalidEvidence::NoConflict.into());
    let gas = refusal(|b| b.body.transactions = (0..2858).map(|nonce| transfer(DEV_CHAIN_ID, nonce)).collect());
    assert_eq!(gas, InvalidBlock::TooMuchGas { got: 2858 * 21_000, max: 60_000_000 });
    let declaring = |nonce| {
        let list = alloy_eips::eip2930::AccessList(vec![lattice_types::ai_gas::declaration(16_000_000)]);
        let tx = alloy_consensus::TxEip1559 {
            chain_id: DEV_CHAIN_ID,
            nonce,
            gas_limit: 17_000_000,
            access_list: list,
            ..Default::default()
        };
        crate::signer(0).sign(tx).into()
    };
    let ai_gas = refusal(|b| b.body.transactions = (0..2).map(declaring).collect());
    assert_eq!(ai_gas, InvalidBlock::TooMuchAiGas { got: 32_000_000, max: 30_000_000 });
}

#[test]
fn tampering_after_the_signature_is_seen() {
    let spec = ChainSpec::dev();
    let seal = SealKey { public_key: key().public_key(), epoch_seed: spec.epoch_seed };
    let verify = |change: fn(&mut DagHeader)| {
        let mut block = block();
        change(&mut block.header);
        // In isolation nobody knows the key for certain: the block is passed on as not verified.
        let checked = check_in_isolation(block.clone(), &spec, Some(&seal)).unwrap();
        assert_eq!(checked.sealed_with(), None);
        seal.verify(&block.header, DEV_CHAIN_ID).unwrap_err()
    };
    assert_eq!(verify(|header| header.evm_hash = B256::ZERO), InvalidBlock::Signature);
    assert_eq!(verify(|header| header.slot += 1), InvalidBlock::Vrf);
    let other = SealKey { epoch_seed: hash(1), ..seal };
    assert_eq!(other.verify(&block().header, DEV_CHAIN_ID), Err(InvalidBlock::Vrf));
    let mut body = block();
    body.body.transactions.pop();
    assert!(matches!(check_in_isolation(body, &spec, None).unwrap_err(), InvalidBlock::BodyRoot { .. }));
}

#[test]
fn evidence_convicts_whoever_signed_two_things() {
    let check = |evidence: &Evidence| evidence.check(DEV_CHAIN_ID);
    assert_eq!(check(&votes(vote(1, 2, 7), vote(1, 2, 8))), Ok(Offence::Double));
    assert_eq!(check(&votes(vote(2, 3, 7), vote(1, 4, 7))), Ok(Offence::Surround));
    assert_eq!(votes(vote(2, 3, 7), vote(1, 4, 7)), votes(vote(1, 4, 7), vote(2, 3, 7)), "one pair has one form");
    assert_eq!(check(&headers(1, 1)), Ok(Offence::Equivocation));
    assert_eq!(check(&headers(0, 1)), Err(InvalidEvidence::OtherSlot));
    let Evidence::Headers(mut large) = headers(1, 1) else { unreachable!() };
    large.second.parents = (0..33).map(hash).collect();
    let large = Evidence::of_headers(large.public_key, large.first, large.second);
    assert_eq!(check(&large), Err(InvalidEvidence::TooManyParents { got: 33 }));
    assert_eq!(check(&votes(vote(1, 2, 7), vote(1, 2, 7))), Err(InvalidEvidence::Order));
    let Evidence::Votes(pair) = votes(vote(1, 2, 7), vote(1, 2, 8)) else { unreachable!() };
    let mut swapped = pair.clone();
    std::mem::swap(&mut swapped.first, &mut swapped.second);
    assert_eq!(check(&Evidence::Votes(swapped)), Err(InvalidEvidence::Order));
    let mut framed = pair;
    framed.public_key = SecretKey::from_seed(&[3; 32]).public_key();
    assert_eq!(check(&Evidence::Votes(framed)), Err(InvalidBls::Signature.into()), "nobody is framed");
    for evidence in [votes(vote(1, 2, 7), vote(1, 2, 8)), headers(1, 1)] {
        let bytes = alloy_rlp::encode(&evidence);
        assert_eq!(alloy_rlp::decode_exact::<Evidence>(&bytes).unwrap(), evidence);
        assert!((0..bytes.len()).all(|end| alloy_rlp::decode_exact::<Evidence>(&bytes[..end]).is_err()));
    }
}
