//! Writes the seeds of all targets that are made from code: `cargo run --example write_seeds`.
//!
//! The ONNX seeds come from the operator fixtures of lattice-import and the bundled digits model.

use alloy_consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use lattice_execution::asm;
use lattice_import::{ImportOptions, import_model};
use lattice_inference::{Tensor, npy};
use lattice_state::{Account, AccountDiff, StateDiff};
use lattice_storage::artifact::Manifest;
use lattice_types::{
    Attestation, Bitmap, Certificate, ChainSpec, Checkpoint, Cid, DagBlock, DagBody, Evidence, ReadinessCertificate,
    SignedVote, TxEnvelope, Vote,
    bls::Domain,
    evidence::VoteEvidence,
    spec::{DEV_ACCOUNTS, DEV_CHAIN_ID},
    tx::{
        DisputeTerms, Inference, InferencePayload, LoraAdapter, LoraPayload, ModelDeployPayload, ModelUpdatePayload,
        TrainingChallenge, TrainingCheckpoint, TrainingJob, TrainingPayload, TxAi, TxSigner,
        operation::{AnswerTraced, ChallengeOperator, Operation},
    },
};
use std::{fs, path::Path};

fn main() {
    let signer = TxSigner::new(DEV_ACCOUNTS[0].1).expect("a development key");
    let call = TxKind::Call(Address::repeat_byte(7));
    let inference = InferencePayload { model_id: keccak256(b"model"), grade: 0, input: vec![1; 8].into(), terms: None };
    let transactions: Vec<TxEnvelope> = vec![
        signer.sign(TxLegacy { chain_id: Some(31337), to: call, gas_limit: 21_000, ..TxLegacy::default() }).into(),
        signer.sign(TxEip2930 { chain_id: 31337, to: call, gas_limit: 30_000, ..TxEip2930::default() }).into(),
        signer
            .sign(TxEip1559 {
                chain_id: 31337,
                to: TxKind::Create,
                gas_limit: 60_000,
                input: vec![0xfe; 40].into(),
                ..TxEip1559::default()
            })
            .into(),
        signer.sign(TxEip7702 { chain_id: 31337, gas_limit: 60_000, ..TxEip7702::default() }).into(),
        signer
            .sign(TxAi::<Inference> {
                chain_id: 31337,
                payload: alloy_rlp::encode(&inference).into(),
                ..TxAi::default()
            })
            .into(),
    ];
    for (index, tx) in transactions.iter().enumerate() {
        write("transaction", &format!("{index}"), &tx.encoded_2718());
    }

    let payloads = payloads(&inference);
    for (class, payload) in payloads.iter().enumerate() {
        write("ai_payload", &format!("{class}"), &[&[class as u8], payload.as_slice()].concat());
    }

    for (name, payload) in disputes() {
        write("ai_payload", name, &[&[3], payload.as_slice()].concat());
        write("door", name, &[&[6, 0x53], payload.as_slice()].concat());
    }
    for (name, operation) in traced() {
        write("door", name, &[&[7], operation.as_ref()].concat());
    }
    for (name, opening) in lattice_fuzz::disputes::seeds() {
        write("opening", &name, &opening);
    }

    let spec = ChainSpec::dev();
    let genesis = spec.genesis_block(B256::ZERO, B256::ZERO, B256::ZERO, B256::ZERO);
    let mut child = DagBlock { body: DagBody { transactions, ..DagBody::default() }, ..genesis.clone() };
    child.header.parents = vec![genesis.header.hash()];
    child.header.slot = 1;
    child.header.body_root = child.body.root();
    child.header.sign(&lattice_types::spec::dev_validator_key(), spec.chain_id);
    write("dag_block", "genesis", &alloy_rlp::encode(&genesis));
    write("dag_block", "child", &alloy_rlp::encode(&child));

    for (kind, (name, message)) in (0u8..).zip(messages(&genesis, &child)) {
        write("message", name, &[&[kind], message.as_slice()].concat());
    }

    let mut diff = StateDiff::default();
    let account = Account { nonce: 1, balance: U256::from(5), ..Account::default() };
    let storage = [(U256::from(1), U256::from(2))].into();
    diff.accounts
        .insert(Address::repeat_byte(1), AccountDiff { account: Some(account), storage_cleared: true, storage });
    diff.accounts.insert(Address::repeat_byte(2), AccountDiff::default());
    write("state_diff", "two", &diff.encode());

    write("artifact_manifest", "two", &Manifest::of(&vec![7; 300_000]).encode());

    let digits = fs::read(root().join("../models/digits.onnx")).expect("the bundled model");
    write("onnx", "digits", &digits);
    for (target, fixtures) in [("onnx", "operators.json"), ("tflite", "tflite.json")] {
        let cases = root().join("../crates/lattice-import/tests/fixtures").join(fixtures);
        let cases: serde_json::Value = serde_json::from_slice(&fs::read(cases).expect("the fixtures")).expect("JSON");
        for case in cases.as_array().expect("a list").iter().step_by(3) {
            let (name, file) = (case["name"].as_str().expect("a name"), case["model"].as_str().expect("a model"));
            let file = hex::decode(file).expect("hex");
            write(target, name, &file);
            if let Ok(graph) = import_model(&file, &ImportOptions::default()) {
                write("graph", name, &graph.encode());
            }
        }
    }

    write(
        "npy",
        "f32",
        &npy::write(&Tensor::from_f32([2, 2], vec![1.0, -0.0, f32::NAN, 1e-40]).expect("four elements")),
    );
    write("npy", "i64", &npy::write(&Tensor::from_i64([], vec![16_000]).expect("one element")));

    let tensor =
        [&[1, 3, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0][..], &1.5f32.to_le_bytes(), &2f32.to_le_bytes()].concat();
    write("door", "tensor_op", &[&[0], tensor.as_slice()].concat());
    for (door, payload) in [(5, 0), (5, 1), (7, 2), (6, 3), (5, 4)] {
        let operation = 0x50 + payload as u8;
        write("door", &format!("{payload}"), &[&[door, operation], payloads[payload].as_slice()].concat());
    }
    for door in 1..5u8 {
        write("door", &format!("model_{door}"), &[&[door], keccak256(b"model").as_slice(), &[1; 8]].concat());
    }

    for (name, door, input) in stake_calls() {
        write("door", name, &[&[door], input.as_slice()].concat());
    }

    let text =
        "; adds, then runs a tensor operation\nPUSH 1\nPUSH 2\nADD\nPUSH 0\nMSTORE\nend:\nPUSH 32\nPUSH 0\nRETURN\n";
    write("assembler", "code", text.as_bytes());
    write("assembler", "container", format!(".container\n{text}").as_bytes());
    for (name, text) in [
        ("code", text.to_owned()),
        ("container", format!(".container\nPUSH 0\nPUSH 0\nPUSH 64\nPUSH 0\nTENSOR_OP\n{text}")),
    ] {
        write("container", name, &asm::assemble(&text).expect("it assembles"));
    }
}

/// Calls of the validators' account: the byte that chooses it, with or without value; the selector and its arguments in
/// Solidity's ABI.
fn stake_calls() -> Vec<(&'static str, u8, Vec<u8>)> {
    let word = |number: u64| U256::from(number).to_be_bytes::<32>().to_vec();
    let call = |signature: &str, words: &[Vec<u8>]| [keccak256(signature)[..4].to_vec(), words.concat()].concat();
    let key = lattice_types::spec::dev_validator_key();
    let public = [word(48), key.public_key().to_vec(), vec![0; 16]].concat();
    let possession = key.sign(Domain::Possession, DEV_CHAIN_ID, &[0xca; 20]);
    let register = [word(96), word(224), word(7), public.clone(), word(96), possession.to_vec()];
    vec![
        ("stake_register", 0x88, call("register(bytes,bytes,address)", &register)),
        ("stake_add", 0x88, call("addStake(uint32)", &[word(0)])),
        ("stake_unstake", 8, call("unstake(uint32,uint256)", &[word(0), word(1_000)])),
        ("stake_withdraw", 8, call("withdraw(uint32)", &[word(0)])),
        ("stake_reward", 8, call("setReward(uint32,address)", &[word(0), word(7)])),
        ("stake_validator", 8, call("validator(uint32)", &[word(0)])),
        ("stake_index", 8, call("indexOf(bytes)", &[word(32), public])),
        ("stake_unbonding", 8, call("unbonding(uint32)", &[word(0)])),
    ]
}

/// What validators say, and an executed block, in the order of the target's kinds.
fn messages(genesis: &DagBlock, child: &DagBlock) -> [(&'static str, Vec<u8>); 6] {
    let key = lattice_types::spec::dev_validator_key();
    let checkpoint = |index, hash| Checkpoint { index, hash };
    let [first, second] = [1, 2].map(|byte| Vote {
        source: checkpoint(0, genesis.header.hash()),
        target: checkpoint(1, B256::repeat_byte(byte)),
        target_blue_score: 7,
        target_evm_hash: B256::repeat_byte(9),
    });
    let signature = first.sign(&key, DEV_CHAIN_ID);
    let signers = || Bitmap::of(9, [0, 8]);
    let model_id = keccak256(b"model");
    let readiness = ReadinessCertificate { model_id, epoch: 3, is_two_thirds: true, signers: signers(), signature };
    let evidence = Evidence::Votes(Box::new(VoteEvidence {
        public_key: key.public_key(),
        first,
        second,
        first_signature: signature,
        second_signature: second.sign(&key, DEV_CHAIN_ID),
    }));
    let (mut executed, ..) = lattice_execution::genesis(&ChainSpec::dev());
    executed.executed = vec![child.header.hash()];
    [
        ("vote", alloy_rlp::encode(SignedVote { vote: first, signer: 0, signature })),
        ("attestation", alloy_rlp::encode(Attestation::sign(model_id, 3, 0, &key, DEV_CHAIN_ID))),
        ("certificate", alloy_rlp::encode(Certificate { vote: first, signers: signers(), signature })),
        ("readiness", alloy_rlp::encode(readiness)),
        ("evidence", alloy_rlp::encode(evidence)),
        ("executed", alloy_rlp::encode(executed)),
    ]
}

/// One payload of each class, by type byte.
fn payloads(inference: &InferencePayload) -> [Vec<u8>; 5] {
    let (model_id, artifact) = (keccak256(b"model"), Cid::raw(b"artifact"));
    let deploy = ModelDeployPayload {
        model_id,
        artifact,
        artifact_bytes: 1_000,
        gas: 50_000,
        input_bytes: 8,
        output_bytes: 8,
        name: "seed".into(),
        commitments: None,
    };
    let version = ModelDeployPayload { model_id: keccak256(b"version"), ..deploy.clone() };
    let update = ModelUpdatePayload { model_id, parent_version: 1, version, delta: None };
    let job = TrainingJob {
        base_model: model_id,
        base_version: 0,
        dataset_root: keccak256(b"data"),
        job: artifact,
        seed: 1,
        steps: 100,
        checkpoint_interval: 10,
        deadline_blocks: 1_000,
        trainer: Address::ZERO,
        dispute: None,
    };
    let adapter = LoraAdapter {
        base_model: model_id,
        base_version: 0,
        artifact,
        artifact_bytes: 1_000,
        rank: 8,
        alpha: 16,
        name: "seed".into(),
    };
    [
        alloy_rlp::encode(&deploy),
        alloy_rlp::encode(&update),
        alloy_rlp::encode(inference),
        alloy_rlp::encode(TrainingPayload::Create(job)),
        alloy_rlp::encode(LoraPayload::Adapter(adapter)),
    ]
}

/// Operations on a traced request.
fn traced() -> [(&'static str, Bytes); 2] {
    let request_id = keccak256(b"request");
    let trace = vec![vec![keccak256(b"input")], vec![keccak256(b"1"), keccak256(b"2")], vec![keccak256(b"output")]];
    let answer = AnswerTraced { request_id, output: Bytes::from_static(b"output"), trace };
    let challenge = ChallengeOperator { request_id, opening: Bytes::from_static(&[0; 70]) };
    [("answer_traced", answer.input()), ("challenge_operator", challenge.input())]
}

/// Training payloads of a disputable job.
fn disputes() -> [(&'static str, Vec<u8>); 3] {
    let (job_id, plan) = (keccak256(b"job"), Bytes::from_static(b"plan"));
    let order = TrainingJob {
        base_model: keccak256(b"model"),
        base_version: 1,
        dataset_root: keccak256(b"data"),
        job: Cid::artifact(&plan),
        seed: 1,
        steps: 2,
        checkpoint_interval: 2,
        deadline_blocks: 9,
        trainer: Address::ZERO,
        dispute: Some(DisputeTerms { plan: plan.clone(), bond: 7 }),
    };
    let trace = Some(vec![keccak256(b"0"), keccak256(b"1"), keccak256(b"2")]);
    let (state_hash, artifact) = (keccak256(b"2"), Cid::raw(b"state"));
    let checkpoint = TrainingCheckpoint { job_id, step: 2, state_hash, artifact, trace };
    let opening = Bytes::from_static(&[2, 0, 0, 0, 0]);
    let challenge = TrainingChallenge { job_id, plan, from: 0, opening };
    [
        ("order", TrainingPayload::Create(order)),
        ("checkpoint", TrainingPayload::Checkpoint(checkpoint)),
        ("challenge", TrainingPayload::Challenge(challenge)),
    ]
    .map(|(name, payload)| (name, alloy_rlp::encode(payload)))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = root().join("seeds").join(target);
    fs::create_dir_all(&folder).expect("the folder of seeds");
    fs::write(folder.join(name), bytes).expect("a seed");
}
