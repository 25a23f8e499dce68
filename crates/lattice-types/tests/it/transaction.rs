//! The transaction envelope: every type, and every refusal.

use crate::{ai, hash, signer, transfer};
use alloy_consensus::{SignableTransaction, Transaction, TxEip7702, TxLegacy, Typed2718};
use alloy_eips::{eip2718::Encodable2718, eip7702::Authorization};
use alloy_primitives::{Address, Bytes, Signature, U256, keccak256};
use lattice_types::{
    ChainSpec, Cid, InvalidTx, TxEnvelope, decode_transaction, limits, recover,
    spec::DEV_CHAIN_ID,
    system,
    tx::{
        Inference, InferencePayload, Lora, LoraAdapter, LoraPayload, ModelDeploy, ModelDeployPayload, ModelUpdate,
        ModelUpdatePayload, Training, TrainingJob, TrainingPayload, TxAi,
    },
};
use proptest::prelude::*;

fn deploy_payload() -> ModelDeployPayload {
    ModelDeployPayload {
        model_id: hash(1),
        artifact: Cid::raw(b"manifest"),
        artifact_bytes: 1000,
        gas: 77,
        input_bytes: 256,
        output_bytes: 40,
        name: "digits".into(),
        commitments: None,
    }
}

fn inference_payload() -> InferencePayload {
    InferencePayload { model_id: hash(1), grade: 0, input: Bytes::from_static(&[1, 2, 3]), terms: None }
}

fn one_of_each() -> Vec<TxEnvelope> {
    let legacy = TxLegacy { chain_id: Some(DEV_CHAIN_ID), gas_limit: 21_000, gas_price: 1, ..Default::default() };
    let eip2930 = alloy_consensus::TxEip2930 { chain_id: DEV_CHAIN_ID, gas_limit: 21_000, ..Default::default() };
    let authorization = Authorization { chain_id: U256::from(DEV_CHAIN_ID), address: Address::ZERO, nonce: 0 };
    let authorization = authorization.into_signed(Signature::test_signature());
    let eip7702 = TxEip7702 {
        chain_id: DEV_CHAIN_ID,
        authorization_list: vec![authorization],
        gas_limit: 60_000,
        ..Default::default()
    };
    let training = TrainingPayload::Create(TrainingJob {
        base_model: hash(1),
        base_version: 1,
        dataset_root: hash(2),
        job: Cid::raw(b"job"),
        seed: 7,
        steps: 100,
        checkpoint_interval: 10,
        deadline_blocks: 1_000,
        trainer: Address::ZERO,
        dispute: None,
    });
    let lora = LoraPayload::Adapter(LoraAdapter {
        base_model: hash(1),
        base_version: 1,
        artifact: Cid::raw(b"adapter"),
        artifact_bytes: 9,
        rank: 4,
        alpha: 8,
        name: "tone".into(),
    });
    let version = ModelDeployPayload { model_id: hash(2), ..deploy_payload() };
    let update = ModelUpdatePayload { model_id: hash(1), parent_version: 1, version, delta: None };
    vec![
        signer(0).sign(legacy).into(),
        signer(0).sign(eip2930).into(),
        transfer(DEV_CHAIN_ID, 0),
        signer(0).sign(eip7702).into(),
        ai::<ModelDeploy>(TxAi::<ModelDeploy>::encode_payload(&deploy_payload())),
        ai::<ModelUpdate>(TxAi::<ModelUpdate>::encode_payload(&update)),
        ai::<Inference>(TxAi::<Inference>::encode_payload(&inference_payload())),
        ai::<Training>(TxAi::<Training>::encode_payload(&training)),
        ai::<Lora>(TxAi::<Lora>::encode_payload(&lora)),
    ]
}

#[test]
fn every_type_round_trips_and_keeps_hash_and_sender() {
    let types: Vec<u8> = one_of_each().iter().map(Typed2718::ty).collect();
    assert_eq!(types, [0, 1, 2, 4, 0x50, 0x51, 0x52, 0x53, 0x54]);
    for tx in one_of_each() {
        let bytes = tx.encoded_2718();
        let back = decode_transaction(&bytes).unwrap();
        assert_eq!(back, tx);
        assert_eq!(*back.hash(), keccak256(&bytes));
        let json = serde_json::to_string(&tx).unwrap();
        assert_eq!(serde_json::from_str::<TxEnvelope>(&json).unwrap(), tx, "{json}");
        let account = if tx.is_ai() { 1 } else { 0 };
        assert_eq!(recover(tx.clone(), &ChainSpec::dev()).unwrap().signer(), signer(account).address());
    }
}

#[test]
fn an_ai_transaction_is_a_call_of_its_system_account_to_ethereum_tools() {
    let tx = ai::<Inference>(TxAi::<Inference>::encode_payload(&inference_payload()));
    assert_eq!(tx.to(), Some(system::INFERENCE));
    let json: serde_json::Value = serde_json::to_value(&tx).unwrap();
    assert_eq!(json["type"], "0x52");
    assert_eq!(json["to"], "0x00000000000000000000000000000000000a3000");
    assert_eq!(json["aiGas"], "0x3d0900");
    assert_eq!(json["input"], alloy_primitives::hex::encode_prefixed(tx.input()));
}

#[test]
fn fixture_of_an_inference_transaction() {
    let tx = ai::<Inference>(TxAi::<Inference>::encode_payload(&inference_payload()));
    assert_eq!(tx.hash().to_string(), "0x42c26d272330a6b9919408026c8d2259e817209565b0741c1f51b02be345dced");
}

#[test]
fn refusals_name_the_cause() {
    let spec = ChainSpec::dev();
    let good = transfer(DEV_CHAIN_ID, 0).encoded_2718();
    assert_eq!(decode_transaction(&[]), Err(InvalidTx::Empty));
    assert_eq!(decode_transaction(&[0x03, 0xc0]), Err(InvalidTx::Blob));
    // The envelope knows blob transactions, for Ethereum's own chains; no block and no pool of Lattice takes one.
    let blob = alloy_consensus::TxEip4844 { chain_id: DEV_CHAIN_ID, ..Default::default() };
    let blob: TxEnvelope = signer(0).sign(blob).into();
    assert_eq!(decode_transaction(&blob.encoded_2718()), Err(InvalidTx::Blob));
    assert_eq!(recover(blob, &spec), Err(InvalidTx::Blob));
    assert_eq!(decode_transaction(&[0x55, 0xc0]), Err(InvalidTx::UnknownType(0x55)));
    assert_eq!(decode_transaction(&[0x05]), Err(InvalidTx::UnknownType(5)));
    assert!(matches!(decode_transaction(&good[..good.len() - 1]), Err(InvalidTx::Malformed { ty: 2, .. })));
    assert!(matches!(decode_transaction(&[0xc0]), Err(InvalidTx::Malformed { ty: 0, .. })));
    let trailing = [good.as_slice(), &[0]].concat();
    assert!(matches!(decode_transaction(&trailing), Err(InvalidTx::Trailing(1))));
    let large = vec![2; limits::TX_BYTES_MAX + 1];
    assert_eq!(decode_transaction(&large), Err(InvalidTx::TooLarge { got: limits::TX_BYTES_MAX + 1 }));
    assert_eq!(recover(transfer(1, 0), &spec), Err(InvalidTx::WrongChainId { got: 1, expected: DEV_CHAIN_ID }));
    let unprotected = TxLegacy { gas_limit: 21_000, ..Default::default() };
    assert_eq!(recover(signer(0).sign(unprotected).into(), &spec), Err(InvalidTx::MissingChainId(DEV_CHAIN_ID)));
}

#[test]
fn the_upper_half_of_s_is_refused() {
    let tx = alloy_consensus::TxEip1559 { chain_id: DEV_CHAIN_ID, ..Default::default() };
    let good = *signer(0).sign(tx.clone()).signature();
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let high = Signature::new(good.r(), order - good.s(), !good.v());
    let tx: TxEnvelope = tx.into_signed(high).into();
    assert_eq!(recover(tx, &ChainSpec::dev()), Err(InvalidTx::Signature));
}

#[test]
fn payloads_are_checked() {
    let spec = ChainSpec::dev();
    let refused = |payload: ModelDeployPayload| match recover(
        ai::<ModelDeploy>(TxAi::<ModelDeploy>::encode_payload(&payload)),
        &spec,
    ) {
        Err(InvalidTx::Payload { ty: 0x50, reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(refused(ModelDeployPayload { name: "n".repeat(33), ..deploy_payload() }).contains("33 bytes"));
    assert!(refused(ModelDeployPayload { gas: 0, ..deploy_payload() }).contains("gas is 0"));
    assert!(refused(ModelDeployPayload { artifact_bytes: 0, ..deploy_payload() }).contains("artifact_bytes"));
    let grade = InferencePayload { grade: 9, ..inference_payload() };
    let tx = ai::<Inference>(TxAi::<Inference>::encode_payload(&grade));
    assert!(matches!(recover(tx, &spec), Err(InvalidTx::Payload { ty: 0x52, .. })));
    let mut wrong_cid = alloy_rlp::encode(deploy_payload());
    let at = wrong_cid.windows(4).position(|w| w == [1, 0x55, 0x12, 32]).unwrap();
    wrong_cid[at + 1] = 0x71;
    let Err(InvalidTx::Payload { reason, .. }) = recover(ai::<ModelDeploy>(wrong_cid.into()), &spec) else { panic!() };
    assert!(reason.contains("malformed CID"), "{reason}");
}

proptest! {
    #[test]
    fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), ty in 0u8..0x60) {
        let _ = decode_transaction(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = ty;
        }
        let _ = decode_transaction(&bytes);
    }

    #[test]
    fn a_mutated_transaction_is_refused_or_another_one(which in 0usize..9, at in any::<prop::sample::Index>(), flip in 1u8..) {
        let tx = &one_of_each()[which];
        let mut bytes = tx.encoded_2718();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = decode_transaction(&bytes) {
            prop_assert_eq!(other.encoded_2718(), bytes, "one spelling a transaction");
            prop_assert_ne!(other.hash(), tx.hash());
        }
    }
}
