//! Proof requests: escrow, settlement, expiry; every door, and every wei accounted for.

use crate::lab::{
    DELEGATECALL, Lab, RETURN, STATICCALL, address, forward, forwarder, model_id, simulate_reason, test_proof,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use lattice_execution::{
    CallRequest, ExecutionError, Outcome,
    ai::requests::{ProofRequest, RequestStatus, request_id},
    asm::assemble,
};
use lattice_types::{
    TxEnvelope, system,
    tx::{Inference, InferencePayload},
};
use proptest::prelude::*;

const FEE: u128 = 1_000_000;
const INPUT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

fn open_input(id: B256, expiry: u64) -> Vec<u8> {
    [id.as_slice(), keccak256(INPUT).as_slice(), &U256::from(expiry).to_be_bytes::<32>()].concat()
}

fn settle_input(request: B256, payee: Address, proof: B256, output: &[u8]) -> Vec<u8> {
    [
        request.as_slice(),
        payee.into_word().as_slice(),
        proof.as_slice(),
        &U256::from(20_000).to_be_bytes::<32>(),
        output,
    ]
    .concat()
}

fn open_tx(lab: &mut Lab, from: usize, expiry: u64, fee: u128) -> TxEnvelope {
    let input = Bytes::from(open_input(model_id(), expiry));
    lab.tx(from, TxKind::Call(system::ZK_PROVE), fee, input, 1_000_000, 0)
}

fn open(lab: &mut Lab, from: usize, expiry: u64) -> B256 {
    let tx = open_tx(lab, from, expiry, FEE);
    let (success, _, output, _) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    B256::from_slice(&output)
}

fn read(lab: &Lab, id: B256) -> ProofRequest {
    ProofRequest::read(&lab.state, &id, lab.header.number).unwrap()
}

fn escrow(lab: &Lab) -> U256 {
    lab.balance(system::INFERENCE)
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.ready_model();
    lab
}

#[test]
fn a_request_holds_its_fee_until_it_expires() {
    let mut lab = lab();
    let id = open(&mut lab, 1, 3);
    assert_eq!(id, request_id(0));
    let opened = lab.header.number;
    assert_eq!(escrow(&lab), U256::from(FEE));
    assert_eq!(lab.balance(system::ZK_PROVE), U256::ZERO);
    let expected = ProofRequest {
        status: RequestStatus::Pending,
        requester: address(1),
        fee: U256::from(FEE),
        model_id: model_id(),
        input_hash: keccak256(INPUT),
        expires: opened + 3,
        payee: None,
    };
    assert_eq!(read(&lab, id), expected);
    let status = lab.call(system::ZK_PROVE, id.to_vec());
    assert_eq!(status.output.len(), 96);
    assert_eq!((status.output[31], status.output[95]), (0, (opened + 3) as u8));

    let before = lab.balance(address(1));
    lab.block(&[]);
    lab.block(&[]);
    assert_eq!(read(&lab, id).status, RequestStatus::Pending);
    lab.block(&[]);
    assert_eq!(read(&lab, id).status, RequestStatus::Expired);
    assert_eq!(lab.balance(address(1)), before + U256::from(FEE));
    assert_eq!(escrow(&lab), U256::ZERO);
    assert_eq!(lab.call(system::ZK_PROVE, id.to_vec()).output[31], 2);
    lab.block(&[]);
    assert_eq!(lab.balance(address(1)), before + U256::from(FEE), "given back once");
}

#[test]
fn verification_never_says_yes_before_there_is_a_proof_system() {
    let mut lab = lab();
    let id = open(&mut lab, 1, 30);
    let output = [9; 8];
    let tx = lab.call_tx(
        2,
        system::ZK_VERIFY,
        settle_input(id, address(2), test_proof(&output, address(2)), &output),
        5_000_000,
    );
    let (success, _, reason, _) = lab.one(tx);
    assert!(!success);
    assert!(simulate_reason(&reason).starts_with("proof verification is not enabled"), "{}", simulate_reason(&reason));
    assert_eq!(read(&lab, id).status, RequestStatus::Pending);
}

#[test]
fn a_proof_settles_a_request_once_and_pays_the_prover() {
    let mut lab = lab();
    lab.engine.proofs.enabled = true;
    let id = open(&mut lab, 1, 30);
    let output = [9; 8];
    let payee = Address::repeat_byte(0x77);
    let right = settle_input(id, payee, test_proof(&output, payee), &output);
    let mut wrong = right.clone();
    wrong[50] ^= 1; // another payee: the statement is another one
    let tx = lab.call_tx(2, system::ZK_VERIFY, wrong, 5_000_000);
    let (success, rejected_gas, reason, _) = lab.one(tx);
    assert!(!success && simulate_reason(&reason).contains("does not prove"));
    assert_eq!(lab.balance(payee), U256::ZERO);

    let tx = lab.call_tx(2, system::ZK_VERIFY, right.clone(), 5_000_000);
    let (success, accepted_gas, reason, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&reason));
    assert_eq!(accepted_gas, rejected_gas, "one price for accept and reject");
    assert_eq!(lab.balance(payee), U256::from(FEE));
    assert_eq!(escrow(&lab), U256::ZERO);
    assert_eq!(read(&lab, id).status, RequestStatus::Ok(output.to_vec()));
    assert_eq!(read(&lab, id).payee, Some(payee));
    assert_eq!(executed.evm.receipts[0].logs[0].topics()[1], id);
    let status = lab.call(system::ZK_PROVE, id.to_vec());
    assert_eq!((status.output[31], &status.output[96..]), (1, &output[..]));

    let tx = lab.call_tx(2, system::ZK_VERIFY, right, 5_000_000);
    let (success, _, reason, _) = lab.one(tx);
    assert!(!success && simulate_reason(&reason).contains("settled or expired"));
    for _ in 0..31 {
        lab.block(&[]);
    }
    assert_eq!(read(&lab, id).status, RequestStatus::Ok(output.to_vec()), "a settled request does not expire");
    assert_eq!(escrow(&lab), U256::ZERO);
}

#[test]
fn a_missing_proof_stops_execution() {
    let mut lab = lab();
    lab.engine.proofs.enabled = true;
    let id = open(&mut lab, 1, 30);
    let data = settle_input(id, address(2), B256::repeat_byte(0xff), &[9; 8]);
    let request = CallRequest { to: Some(system::ZK_VERIFY), data: data.into(), ..CallRequest::default() };
    let error = lab.try_call(&request).unwrap_err();
    assert!(matches!(error, lattice_execution::SimulationError::Execution(ExecutionError::MissingProof(_))), "{error}");
}

#[test]
fn what_is_wrong_is_named_and_costs_no_fee() {
    let mut lab = lab();
    let cases = [
        (open_input(model_id(), 5), 0, "needs a fee"),
        (open_input(model_id(), 0), FEE, "expiry is 0"),
        (open_input(model_id(), 100_001), FEE, "expiry is 100001"),
        (open_input(keccak256("none"), 5), FEE, "not registered"),
        (vec![1; 33], FEE, "33 bytes"),
        (B256::ZERO.to_vec(), 0, "there is no proof request"),
    ];
    for (input, fee, words) in cases {
        let tx = lab.tx(1, TxKind::Call(system::ZK_PROVE), fee, input.into(), 1_000_000, 0);
        let (success, _, reason, _) = lab.one(tx);
        assert!(!success && simulate_reason(&reason).contains(words), "{words}: {}", simulate_reason(&reason));
        assert_eq!((escrow(&lab), lab.balance(system::ZK_PROVE)), (U256::ZERO, U256::ZERO));
    }
}

#[test]
fn an_inference_of_grade_proof_opens_a_request() {
    let mut lab = lab();
    let payload = InferencePayload {
        model_id: model_id(),
        grade: InferencePayload::PROOF,
        input: INPUT.to_vec().into(),
        terms: None,
    };
    let tx = lab.tx(1, TxKind::Call(system::INFERENCE), FEE, alloy_rlp::encode(&payload).into(), 1_000_000, 0);
    let (success, plain_gas, output, _) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    let first = B256::from_slice(&output);
    assert_eq!(read(&lab, first).input_hash, keccak256(INPUT));
    // Without value the AI transaction is refused like the plain one.
    let tx = lab.ai_tx::<Inference>(1, alloy_rlp::encode(&payload), 1_000_000, 0);
    let (success, _, output, _) = lab.one(tx);
    assert!(!success && simulate_reason(&output).contains("needs a fee"));
    assert!(plain_gas > 200_000);
    assert_eq!(escrow(&lab), U256::from(FEE));
    assert_eq!(lab.engine.runs.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing ran");
    // A replayed inference takes no value.
    let payload = InferencePayload { grade: InferencePayload::REPLAY, ..payload };
    let tx = lab.tx(1, TxKind::Call(system::INFERENCE), FEE, alloy_rlp::encode(&payload).into(), 1_000_000, 0);
    assert!(!lab.one(tx).0);
    assert_eq!(escrow(&lab), U256::from(FEE));
}

/// Opens a request by ZK_PROVE with the value of the call and returns flag and output.
fn prover_container(end: &str) -> Bytes {
    let text = format!(
        ".container\nCALLDATASIZE\nPUSH 0\nPUSH 0\nCALLDATACOPY\nPUSH 32\nPUSH 32\nCALLDATASIZE\nPUSH 0\nCALLVALUE\nZK_PROVE\nPUSH 0\nMSTORE\nPUSH 64\nPUSH 0\n{end}"
    );
    assemble(&text).unwrap()
}

#[test]
fn the_instruction_escrows_the_value_of_its_contract() {
    let mut lab = lab();
    let container = lab.deploy(0, &prover_container("RETURN"));
    let tx = lab.tx(1, TxKind::Call(container), FEE, open_input(model_id(), 2).into(), 1_000_000, 0);
    let (success, _, output, _) = lab.one(tx);
    assert!(success && output[31] == 1);
    let id = B256::from_slice(&output[32..64]);
    assert_eq!(read(&lab, id).requester, container);
    assert_eq!((escrow(&lab), lab.balance(container)), (U256::from(FEE), U256::ZERO));
    lab.block(&[]);
    lab.block(&[]);
    assert_eq!((escrow(&lab), lab.balance(container)), (U256::ZERO, U256::from(FEE)));
    // More than the contract has.
    let text = ".container\nPUSH 0\nPUSH 0\nPUSH 96\nPUSH 0\nPUSH 0xffffffffff\nZK_PROVE\nPUSH 0\nMSTORE\nPUSH 32\nPUSH 0\nRETURN";
    let poor = lab.deploy(0, &assemble(text).unwrap());
    let tx = lab.call_tx(1, poor, vec![], 1_000_000);
    let (success, _, output, _) = lab.one(tx);
    assert!(success && output[31] == 0);
}

#[test]
fn a_revert_leaves_no_request_and_no_escrow() {
    let mut lab = lab();
    let container = lab.deploy(0, &prover_container("REVERT"));
    let before = lab.state.storage_root(&system::INFERENCE);
    let tx = lab.tx(1, TxKind::Call(container), FEE, open_input(model_id(), 2).into(), 1_000_000, 0);
    let (success, _, output, executed) = lab.one(tx);
    assert!(!success && output[31] == 1, "the instruction had succeeded");
    assert_eq!(lab.state.storage_root(&system::INFERENCE), before);
    assert_eq!((escrow(&lab), lab.balance(container)), (U256::ZERO, U256::ZERO));
    assert!(executed.evm.receipts[0].logs.is_empty());
}

#[test]
fn static_and_delegated_calls_open_nothing() {
    let mut lab = lab();
    let before = lab.state.storage_root(&system::INFERENCE);
    let container = lab.deploy(0, &prover_container("RETURN"));
    for (op, to) in [(STATICCALL, system::ZK_PROVE), (DELEGATECALL, system::ZK_PROVE), (STATICCALL, container)] {
        let way = lab.deploy(0, &forwarder(op, RETURN));
        let tx = lab.call_tx(1, way, forward(to, &open_input(model_id(), 5)), 1_000_000);
        let (success, _, output, _) = lab.one(tx);
        let inner = if to == container { output[63] } else { output[31] };
        assert!(success && inner == 0);
    }
    assert_eq!(lab.state.storage_root(&system::INFERENCE), before);
    // Reading a status is pure.
    let id = open(&mut lab, 1, 5);
    let way = lab.deploy(0, &forwarder(STATICCALL, RETURN));
    let outcome = lab.call(way, forward(system::ZK_PROVE, id.as_slice()));
    assert_eq!((outcome.output[31], outcome.output[63]), (1, 0));
}

#[test]
fn expiries_beyond_one_block_follow_in_the_next() {
    let mut lab = lab();
    let txs: Vec<TxEnvelope> = (0..100).map(|i| open_tx(&mut lab, 1 + i % 5, 1, FEE)).collect();
    let (outcomes, _) = lab.block(&txs);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Included { success: true, .. })));
    assert_eq!(escrow(&lab), U256::from(100 * FEE));
    lab.block(&[]);
    assert_eq!(escrow(&lab), U256::from(36 * FEE), "64 a block");
    assert_eq!(read(&lab, request_id(99)).status, RequestStatus::Expired, "expired all the same");
    lab.block(&[]);
    assert_eq!(escrow(&lab), U256::ZERO);
    // The queue works on as before.
    open(&mut lab, 1, 1);
    lab.block(&[]);
    assert_eq!(escrow(&lab), U256::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn escrow_is_the_sum_of_open_requests(steps in prop::collection::vec((0usize..4, 1u64..6, 1u128..1_000_000, any::<prop::sample::Index>()), 1..30)) {
        let mut lab = lab();
        lab.engine.proofs.enabled = true;
        let mut ids: Vec<B256> = Vec::new();
        for (action, expiry, fee, pick) in steps {
            match action {
                0 | 1 => {
                    let tx = open_tx(&mut lab, 1 + action, expiry, fee);
                    let (success, _, output, _) = lab.one(tx);
                    prop_assert!(success);
                    ids.push(B256::from_slice(&output));
                }
                2 if !ids.is_empty() => {
                    let id = ids[pick.index(ids.len())];
                    let data = settle_input(id, address(3), test_proof(&[4; 8], address(3)), &[4; 8]);
                    let tx = lab.call_tx(4, system::ZK_VERIFY, data, 5_000_000);
                    lab.one(tx);
                }
                _ => drop(lab.block(&[])),
            }
            let pending = ids.iter().map(|id| read(&lab, *id)).filter(|request| request.status == RequestStatus::Pending);
            let owed: U256 = pending.map(|request| request.fee).sum();
            prop_assert_eq!(escrow(&lab), owed);
        }
    }
}
