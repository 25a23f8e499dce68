//! The Solidity library: its compiled harness against the precompiles, call by call.

use crate::{
    disputes,
    lab::{Lab, address, model_id, test_proof},
    traced,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use lattice_execution::{
    CallStatus,
    ai::requests::{ProofRequest, RequestStatus},
};
use lattice_types::system;

/// The harness' init code from the committed artifact.
fn bytecode() -> Bytes {
    init_code(include_str!("../../../../contracts/artifacts/LatticeHarness.json"))
}

/// The init code in an artifact.
pub fn init_code(text: &str) -> Bytes {
    let artifact: serde_json::Value = serde_json::from_str(text).unwrap();
    hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap().into()
}

fn lab() -> (Lab, Address) {
    let mut lab = Lab::new();
    lab.ready_model();
    let nonce = lab.nonces.get(&0).copied().unwrap_or(0);
    let tx = lab.tx(0, TxKind::Create, 0, bytecode(), 5_000_000, 0);
    assert!(lab.one(tx).0);
    (lab, address(0).create(nonce))
}

/// An argument of a call: a word, or bytes that stand behind the words.
pub enum Arg {
    Word(U256),
    Bytes(Vec<u8>),
}

pub fn word(value: impl TryInto<U256, Error: std::fmt::Debug>) -> Arg {
    Arg::Word(value.try_into().unwrap())
}

/// Solidity's ABI: selector, words, dynamic bytes.
pub fn encode(signature: &str, args: &[Arg]) -> Vec<u8> {
    let mut head = keccak256(signature)[..4].to_vec();
    let mut tail = Vec::new();
    for arg in args {
        match arg {
            Arg::Word(value) => head.extend(value.to_be_bytes::<32>()),
            Arg::Bytes(bytes) => {
                head.extend(U256::from(args.len() * 32 + tail.len()).to_be_bytes::<32>());
                tail.extend(U256::from(bytes.len()).to_be_bytes::<32>());
                tail.extend(bytes);
                tail.resize(tail.len().next_multiple_of(32), 0);
            }
        }
    }
    [head, tail].concat()
}

/// The bytes that the word `index` of an answer points to.
pub fn bytes_at(output: &[u8], index: usize) -> &[u8] {
    let number = |at: usize| U256::from_be_slice(&output[at..at + 32]).to::<usize>();
    let at = number(index * 32);
    &output[at + 32..at + 32 + number(at)]
}

fn view(lab: &Lab, contract: Address, signature: &str, args: &[Arg]) -> Vec<u8> {
    let outcome = lab.call(contract, encode(signature, args));
    assert_eq!(outcome.status, CallStatus::Success, "{signature}");
    outcome.output.to_vec()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

const F32: u8 = 3;
const I8: u8 = 1;

#[test]
fn tensors() {
    let (lab, harness) = lab();
    let a = || Arg::Bytes(floats(&[1.0, 2.0, 3.0, 4.0]));
    let b = || Arg::Bytes(floats(&[5.0, 6.0, 7.0, 8.0]));
    let two = |name: &str| {
        let signature = format!("{name}(uint8,uint32,uint32,bytes,bytes)");
        let output = view(&lab, harness, &signature, &[word(F32), word(2), word(2), a(), b()]);
        bytes_at(&output, 0).to_vec()
    };
    assert_eq!(two("add"), floats(&[6.0, 8.0, 10.0, 12.0]));
    assert_eq!(two("mul"), floats(&[5.0, 12.0, 21.0, 32.0]));
    assert_eq!(two("dot"), floats(&[17.0, 53.0]));
    let product = view(
        &lab,
        harness,
        "matmul(uint8,uint32,uint32,uint32,bytes,bytes)",
        &[word(F32), word(2), word(2), word(2), a(), b()],
    );
    assert_eq!(bytes_at(&product, 0), floats(&[19.0, 22.0, 43.0, 50.0]));
    let mixed = || Arg::Bytes(floats(&[-1.0, 2.0]));
    let relu = view(&lab, harness, "relu(uint8,uint32,uint32,bytes)", &[word(F32), word(1), word(2), mixed()]);
    assert_eq!(bytes_at(&relu, 0), floats(&[0.0, 2.0]));
    let argmax = view(&lab, harness, "argmax(uint8,uint32,uint32,bytes)", &[word(F32), word(1), word(2), mixed()]);
    assert_eq!(bytes_at(&argmax, 0), [1, 0, 0, 0]);
    let soft =
        view(&lab, harness, "softmax(uint32,uint32,bytes)", &[word(1), word(2), Arg::Bytes(floats(&[3.0, 3.0]))]);
    assert_eq!(bytes_at(&soft, 0), floats(&[0.5, 0.5]));
    let epsilon = 0.0f32.to_bits();
    let normal = view(
        &lab,
        harness,
        "layernorm(uint32,uint32,uint32,bytes)",
        &[word(1), word(2), word(epsilon), Arg::Bytes(floats(&[1.0, 3.0]))],
    );
    assert_eq!(bytes_at(&normal, 0), floats(&[-1.0, 1.0]));
    let half = 0.5f32.to_bits();
    let q = view(
        &lab,
        harness,
        "quantise(uint32,uint32,uint32,int32,bytes)",
        &[word(1), word(2), word(half), word(1), mixed()],
    );
    assert_eq!(bytes_at(&q, 0), [0xff, 5]);
    let back = view(
        &lab,
        harness,
        "dequantise(uint8,uint32,uint32,uint32,int32,bytes)",
        &[word(I8), word(1), word(2), word(half), word(1), Arg::Bytes(vec![0xff, 5])],
    );
    assert_eq!(bytes_at(&back, 0), floats(&[-1.0, 2.0]));
    // The chain's reason reaches the caller.
    let outcome = lab.call(harness, encode("relu(uint8,uint32,uint32,bytes)", &[word(F32), word(9), word(9), mixed()]));
    let CallStatus::Reverted(Some(reason)) = outcome.status else { panic!("{:?}", outcome.status) };
    assert!(reason.contains("the header asks for"), "{reason}");
}

#[test]
fn models_and_inferences() {
    let (mut lab, harness) = lab();
    let id = || Arg::Word(model_id().into());
    let loaded = view(&lab, harness, "load(bytes32)", &[id()]);
    assert_eq!(U256::from_be_slice(&loaded[32..64]), U256::from(8));
    let input: Vec<u8> = (0..8).collect();
    let output = view(&lab, harness, "exec(bytes32,bytes)", &[id(), Arg::Bytes(input.clone())]);
    assert_eq!(bytes_at(&output, 0), [8, 7, 6, 5, 4, 3, 2, 1]);
    let data = encode("infer(bytes32,bytes)", &[id(), Arg::Bytes(input.clone())]);
    let tx = lab.call_tx(1, harness, data, 2_000_000);
    let (success, _, output, executed) = lab.one(tx);
    assert!(success);
    assert_eq!(bytes_at(&output, 0), [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(executed.evm.receipts[0].logs[0].address, system::INFERENCE);
    assert!(lattice_execution::inference_record(&lab.state, &model_id(), &keccak256(&input)).is_some());
}

#[test]
fn proof_requests() {
    let (mut lab, harness) = lab();
    lab.engine.proofs.enabled = true;
    let input: Vec<u8> = (0..8).collect();
    let open = encode(
        "requestProof(bytes32,bytes32,uint64)",
        &[Arg::Word(model_id().into()), Arg::Word(keccak256(&input).into()), word(50)],
    );
    let by_door = encode("inferByProof(bytes32,bytes)", &[Arg::Word(model_id().into()), Arg::Bytes(input.clone())]);
    let payee = Address::repeat_byte(0x55);
    for data in [open, by_door] {
        let tx = lab.tx(1, TxKind::Call(harness), 77, data.into(), 2_000_000, 0);
        let (success, _, output, _) = lab.one(tx);
        assert!(success);
        let id = B256::from_slice(&output);
        let request = ProofRequest::read(&lab.state, &id, lab.header.number).unwrap();
        assert_eq!((request.requester, request.fee, request.input_hash), (harness, U256::from(77), keccak256(&input)));
        let status = |lab: &Lab| view(lab, harness, "proofStatus(bytes32)", &[Arg::Word(id.into())]);
        assert_eq!(status(&lab)[31], 0);
        let proven = [3u8; 8];
        let settle = encode(
            "settleProof(bytes32,address,bytes32,uint256,bytes)",
            &[
                Arg::Word(id.into()),
                Arg::Word(payee.into_word().into()),
                Arg::Word(test_proof(&proven, payee).into()),
                word(20_000),
                Arg::Bytes(proven.to_vec()),
            ],
        );
        let tx = lab.call_tx(2, harness, settle, 5_000_000);
        assert!(lab.one(tx).0);
        let settled = status(&lab);
        assert_eq!((settled[31], settled[63], bytes_at(&settled, 3)), (1, 77, &proven[..]));
        let request = ProofRequest::read(&lab.state, &id, lab.header.number).unwrap();
        assert_eq!(request.status, RequestStatus::Ok(proven.to_vec()));
    }
    assert_eq!(lab.balance(payee), U256::from(2 * 77));
}

#[test]
fn challenges_by_a_contract_reward_the_contract() {
    let (mut lab, harness) = lab();
    let (lesson, run) = (&disputes::LESSONS[0], &*traced::RUN);
    // A lie in the second part of the trace, so that `from` is a number; and one about a value.
    let mut hashes = lesson.hashes();
    hashes[3] = B256::ZERO;
    let job = disputes::completed(&mut lab, lesson, &hashes, &lesson.result);
    let (from, opening) = lesson.doubt(&hashes, &lesson.result).unwrap();
    assert_eq!(from, 2);
    let told = run.lie(4);
    let request = traced::answered(&mut lab, &told);
    let opened = run.open(&told, 4);
    let calls = [
        encode(
            "challengeTraining(bytes32,bytes,uint64,bytes)",
            &[Arg::Word(job.into()), Arg::Bytes(lesson.plan.encode()), word(from), Arg::Bytes(opening.encode())],
        ),
        encode("challengeOperator(bytes32,bytes)", &[Arg::Word(request.into()), Arg::Bytes(opened.encode())]),
    ];
    for (data, bond) in calls.into_iter().zip([disputes::BOND, traced::BOND]) {
        let before = lab.balance(harness);
        let tx = lab.call_tx(3, harness, data.clone(), 6_000_000);
        let (success, _, output, _) = lab.one(tx);
        assert!(success, "{}", crate::lab::simulate_reason(&output));
        assert_eq!(lab.balance(harness) - before, U256::from(bond / 2));
        // Again: the reason of the door.
        let CallStatus::Reverted(Some(reason)) = lab.call(harness, data).status else { panic!("it reverts") };
        assert!(reason.contains("only a completed one") || reason.contains("is Slashed"), "{reason}");
    }
    let claim = [&[0xe2, 0x05, 0xa0][..], job.as_slice()].concat();
    let CallStatus::Reverted(Some(reason)) = lab.call(harness, encode("training(bytes)", &[Arg::Bytes(claim)])).status
    else {
        panic!("it reverts")
    };
    assert!(reason.contains("is not waiting for its payment"), "{reason}");
}
