//! DAG blocks: fixture, round trip, and each check in isolation.

use crate::{hash, transfer};
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use lattice_types::{
    ChainSpec, Cid, DagBlock, DagBody, DagHeader, InvalidBlock, ReadinessCertificate,
    bls::{Domain, SecretKey, Signature, vrf_content},
    check_in_isolation,
    cid::MaybeCid,
    readiness::{self, InvalidReadiness},
    spec::{DEV_CHAIN_ID, dev_validator_key},
    tx::InvalidTx,
};

fn key() -> SecretKey {
    dev_validator_key()
}

/// A block that passes all checks in isolation.
fn block() -> DagBlock {
    let spec = ChainSpec::dev();
    let certificate = ReadinessCertificate {
        model_id: hash(9),
        signers: vec![0],
        signature: readiness::sign(&key(), DEV_CHAIN_ID, &hash(9)),
    };
    let body = DagBody {
        transactions: vec![transfer(DEV_CHAIN_ID, 0), transfer(DEV_CHAIN_ID, 1)],
        readiness: vec![certificate],
    };
    let header = DagHeader {
        parents: vec![hash(1), hash(2)],
        slot: 77,
        proposer: 0,
        vrf: key().sign(Domain::Vrf, DEV_CHAIN_ID, &vrf_content(&spec.epoch_seed, 77)),
        blue_score: 5,
        blue_work: 5,
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
    check_in_isolation(signed(block), &ChainSpec::dev()).unwrap_err()
}

#[test]
fn fixture_of_a_block() {
    assert_eq!(block().header.hash().to_string(), "0xe032b9bee0fa0364054d678a94b8854a99908e58f6a588ef6f415afebb317d53");
    assert_eq!(alloy_rlp::encode(block()).len(), 844);
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
    let checked = check_in_isolation(block.clone(), &ChainSpec::dev()).unwrap();
    assert_eq!(checked.hash(), block.header.hash());
    assert_eq!(checked.senders(), [crate::signer(0).address(); 2]);
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
    assert_eq!(refusal(|b| b.header.proposer = 1), InvalidBlock::UnknownProposer(1));
    assert_eq!(refusal(|b| b.header.slot += 1), InvalidBlock::Vrf);
    assert_eq!(
        refusal(|b| b.body.transactions[1] = transfer(1, 1)),
        InvalidBlock::Transaction { index: 1, error: InvalidTx::WrongChainId { got: 1, expected: DEV_CHAIN_ID } }
    );
    assert_eq!(
        refusal(|b| b.body.readiness = vec![b.body.readiness[0].clone(); 17]),
        InvalidBlock::TooManyCertificates(17)
    );
    assert_eq!(
        refusal(|b| b.body.readiness[0].signers.clear()),
        InvalidReadiness::Stake { signed: 0, total: 1000 }.into()
    );
    assert_eq!(refusal(|b| b.body.readiness[0].signers = vec![0, 0]), InvalidReadiness::Signers.into());
    assert_eq!(refusal(|b| b.body.readiness[0].signers = vec![7]), InvalidReadiness::Signers.into());
    assert!(matches!(refusal(|b| b.body.readiness[0].model_id = hash(1)), InvalidBlock::Readiness(_)));
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
    let mut header = block();
    header.header.evm_hash = B256::ZERO;
    assert_eq!(check_in_isolation(header, &spec).unwrap_err(), InvalidBlock::Signature);
    let mut body = block();
    body.body.transactions.pop();
    assert!(matches!(check_in_isolation(body, &spec).unwrap_err(), InvalidBlock::BodyRoot { .. }));
}
