//! Operations on records: permissions and credits, transfer, stake, bonded requests, training jobs, adapters. Each does
//! what it says, and refuses what breaks a rule with a reason and without a trace.

use crate::lab::{
    CALL, Lab, RETURN, STATICCALL, address, deploy_payload, forward, forwarder, inference_payload, model_id,
    simulate_reason,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use lattice_execution::{
    Executed, ModelRecord,
    ai::{
        ANSWER_CHALLENGE_BLOCKS, AccountRecord, AdapterKind, AdapterRecord, BondedRecord, JobStatus, ModelPermission,
        RequestStatus, StakeRecord, TRAINING_CHALLENGE_BLOCKS, TrainingRecord, UNSTAKE_BLOCKS, adapter_work, load_gas,
        revert_reason,
    },
    inference_root, model_root, registrations, training_root,
};
use lattice_types::{
    Cid, system,
    tx::{
        Inference, InferencePayload, Lora, LoraAdapter, LoraComposition, LoraPart, LoraPayload, ModelDeployPayload,
        RequestTerms, Training, TrainingCheckpoint, TrainingCompletion, TrainingJob, TrainingPayload,
        operation::{
            AcceptModel, AllowAccounts, AnswerRequest, ChallengeAnswer, CollectStake, DepositCredits, OfferModel,
            Operation, PermitModel, RetireModel, SettleRequest, StakeOnModel, UnstakeFromModel, WithdrawCredits,
        },
    },
};

pub const INPUT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const LAT: u128 = 1_000_000_000_000_000_000;

/// Sends value and input to a system account; the output of a success, the reason of a failure, which leaves no trace.
pub fn send(lab: &mut Lab, from: usize, to: Address, value: u128, input: Bytes) -> Result<Bytes, String> {
    let roots = |lab: &Lab| {
        let stakes = lab.state.storage_root(&system::STAKING);
        [model_root(&lab.state), training_root(&lab.state), inference_root(&lab.state), stakes]
    };
    let before = (roots(lab), lab.balance(to));
    let tx = lab.tx(from, TxKind::Call(to), value, input, 2_000_000, 0);
    let (success, gas, output, executed): (bool, u64, Bytes, Executed) = lab.one(tx);
    if success {
        return Ok(output);
    }
    assert!(gas < 2_000_000, "a refusal returns the gas that is left");
    assert_eq!((roots(lab), lab.balance(to)), before, "a refusal leaves nothing");
    assert!(executed.evm.receipts[0].logs.is_empty());
    Err(revert_reason(&output).unwrap())
}

fn models(lab: &mut Lab, from: usize, value: u128, operation: &impl Operation) -> Result<Bytes, String> {
    send(lab, from, system::MODELS, value, operation.input())
}

fn inference(lab: &mut Lab, from: usize, value: u128, operation: &impl Operation) -> Result<Bytes, String> {
    send(lab, from, system::INFERENCE, value, operation.input())
}

pub fn behind(ty: u8, payload: &impl alloy_rlp::Encodable) -> Bytes {
    [&[ty], alloy_rlp::encode(payload).as_slice()].concat().into()
}

fn training(lab: &mut Lab, from: usize, value: u128, payload: &TrainingPayload) -> Result<Bytes, String> {
    send(lab, from, system::TRAINING, value, behind(0x53, payload))
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, String>, reason: &str) {
    let text = result.expect_err(reason);
    assert!(text.contains(reason), "{text:?} should say {reason:?}");
}

fn account(lab: &Lab, index: usize) -> AccountRecord {
    AccountRecord::read(&lab.state, &address(index))
}

fn run(lab: &mut Lab, from: usize) -> Result<Bytes, String> {
    send(lab, from, system::INFERENCE, 0, crate::lab::inference_payload(model_id(), &INPUT).into())
}

#[test]
fn ownership_moves_in_two_steps() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    refused(models(&mut lab, 1, 0, &OfferModel { model_id, to: address(1) }), "belongs to");
    refused(models(&mut lab, 1, 0, &AcceptModel { model_id }), "is not offered to");
    models(&mut lab, 0, 0, &OfferModel { model_id, to: address(1) }).unwrap();
    assert_eq!(ModelRecord::read(&lab.state, &model_id).unwrap().line.offered_to, Some(address(1)));
    refused(models(&mut lab, 2, 0, &AcceptModel { model_id }), "is not offered to");
    models(&mut lab, 0, 0, &OfferModel { model_id, to: Address::ZERO }).unwrap();
    refused(models(&mut lab, 1, 0, &AcceptModel { model_id }), "is not offered to");
    models(&mut lab, 0, 0, &OfferModel { model_id, to: address(1) }).unwrap();
    models(&mut lab, 1, 0, &AcceptModel { model_id }).unwrap();
    let record = ModelRecord::read(&lab.state, &model_id).unwrap();
    assert_eq!((record.owner, record.line.offered_to), (address(1), None));
    assert_eq!((account(&lab, 0).models_owned, account(&lab, 1).models_owned), (0, 1));
    refused(models(&mut lab, 1, 5, &RetireModel { model_id }), "takes no value");
    models(&mut lab, 1, 0, &RetireModel { model_id }).unwrap();
    refused(run(&mut lab, 1), "is retired by its owner");
    refused(models(&mut lab, 1, 0, &OfferModel { model_id, to: address(0) }), "is retired");
    refused(models(&mut lab, 0, 0, &RetireModel { model_id: B256::repeat_byte(1) }), "names no line");
    refused(send(&mut lab, 0, system::MODELS, 0, Bytes::from_static(&[0x05, 0xc0])), "malformed RetireModel payload");
    let trailing = [RetireModel { model_id }.input(), Bytes::from_static(&[0])].concat();
    refused(send(&mut lab, 0, system::MODELS, 0, trailing.into()), "1 bytes follow the payload");
}

#[test]
fn an_allow_list_lets_in_whom_it_names() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    refused(models(&mut lab, 0, 0, &PermitModel { model_id, mode: 3, price: 0 }), "mode 3 is not known");
    models(&mut lab, 0, 0, &PermitModel { model_id, mode: 1, price: 0 }).unwrap();
    refused(run(&mut lab, 1), "has an allow list without");
    run(&mut lab, 0).unwrap();
    let accounts = vec![address(1), address(2)];
    models(&mut lab, 0, 0, &AllowAccounts { model_id, accounts, allowed: true }).unwrap();
    run(&mut lab, 1).unwrap();
    models(&mut lab, 0, 0, &AllowAccounts { model_id, accounts: vec![address(1)], allowed: false }).unwrap();
    refused(run(&mut lab, 1), "has an allow list without");
    run(&mut lab, 2).unwrap();
    refused(models(&mut lab, 0, 0, &AllowAccounts { model_id, accounts: vec![], allowed: true }), "0 accounts");
    let many = vec![address(1); 17];
    refused(models(&mut lab, 0, 0, &AllowAccounts { model_id, accounts: many, allowed: true }), "17 accounts");
    let metrics = ModelRecord::read(&lab.state, &model_id).unwrap().metrics;
    assert_eq!((metrics.calls, metrics.last_use_block), (3, lab.header.number - 2));
}

#[test]
fn a_price_is_paid_from_credits_to_the_owner() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    refused(models(&mut lab, 0, 0, &PermitModel { model_id, mode: 2, price: 0 }), "set both or neither");
    refused(models(&mut lab, 0, 0, &PermitModel { model_id, mode: 0, price: 9 }), "set both or neither");
    models(&mut lab, 0, 0, &PermitModel { model_id, mode: 2, price: 70 }).unwrap();
    let record = ModelRecord::read(&lab.state, &model_id).unwrap();
    assert_eq!((record.line.permission, record.line.price), (ModelPermission::Price, 70));
    refused(run(&mut lab, 1), "costs 70 wei of compute credits");
    run(&mut lab, 0).unwrap();
    refused(models(&mut lab, 1, 0, &DepositCredits { account: address(1) }), "no value came along");
    models(&mut lab, 2, 100, &DepositCredits { account: address(1) }).unwrap();
    run(&mut lab, 1).unwrap();
    assert_eq!((account(&lab, 0).credits, account(&lab, 1).credits), (70, 30));
    refused(run(&mut lab, 1), "costs 70 wei");
    assert_eq!(lab.balance(system::MODELS), U256::from(100));

    // Paying writes: a static call of a priced model says so, wherever it comes from.
    let static_caller = lab.deploy(3, &forwarder(STATICCALL, RETURN));
    let caller = lab.deploy(3, &forwarder(CALL, RETURN));
    let exec = [model_id.as_slice(), &INPUT].concat();
    let tx = lab.call_tx(1, static_caller, forward(system::MODEL_EXEC, &exec), 900_000);
    assert!(String::from_utf8_lossy(&lab.one(tx).2).contains("run it with a plain CALL"));
    models(&mut lab, 1, 70, &DepositCredits { account: caller }).unwrap();
    let tx = lab.call_tx(1, caller, forward(system::MODEL_EXEC, &exec), 900_000);
    assert!(lab.one(tx).0);
    assert_eq!(AccountRecord::read(&lab.state, &caller).credits, 0, "a contract pays for its own calls");

    refused(models(&mut lab, 0, 0, &WithdrawCredits { amount: 141 }), "has 140 wei of credits");
    refused(models(&mut lab, 0, 0, &WithdrawCredits { amount: 0 }), "has 140 wei of credits");
    let before = lab.balance(system::MODELS);
    models(&mut lab, 0, 0, &WithdrawCredits { amount: 140 }).unwrap();
    assert_eq!(before - lab.balance(system::MODELS), U256::from(140));
    assert_eq!(account(&lab, 0).credits, 0);
}

#[test]
fn stake_leaves_a_model_after_a_delay() {
    let mut lab = Lab::new();
    let pending = deploy_payload(B256::repeat_byte(4));
    let tx = lab.deploy_model_tx(0, &pending);
    lab.one(tx);
    let model_id = lab.ready_model();
    refused(models(&mut lab, 1, 5, &StakeOnModel { model_id: pending.model_id }), "has no active version");
    refused(models(&mut lab, 1, 0, &StakeOnModel { model_id }), "no value came along");
    models(&mut lab, 1, 5, &StakeOnModel { model_id }).unwrap();
    models(&mut lab, 2, 7, &StakeOnModel { model_id }).unwrap();
    assert_eq!(ModelRecord::read(&lab.state, &model_id).unwrap().line.stake, 12);
    refused(models(&mut lab, 1, 0, &UnstakeFromModel { model_id, amount: 6 }), "has 5 wei staked");
    refused(models(&mut lab, 1, 0, &CollectStake { model_id }), "unstake first");
    models(&mut lab, 1, 0, &UnstakeFromModel { model_id, amount: 3 }).unwrap();
    let (stake, release) = StakeRecord::read(&lab.state, &model_id, &address(1));
    assert_eq!((stake.staked, stake.leaving, release), (2, 3, lab.header.number + UNSTAKE_BLOCKS));
    assert_eq!(AccountRecord::read_stake(&lab.state, &address(1)), 5);
    refused(models(&mut lab, 1, 0, &CollectStake { model_id }), "is released at block");
    lab.skip_to(release);
    models(&mut lab, 1, 0, &CollectStake { model_id }).unwrap();
    assert_eq!(AccountRecord::read_stake(&lab.state, &address(1)), 2);
    assert_eq!(ModelRecord::read(&lab.state, &model_id).unwrap().line.stake, 9);
    assert_eq!(lab.balance(system::MODELS), U256::from(9));
}

pub fn bonded_payload(model_id: B256) -> InferencePayload {
    let terms = Some(RequestTerms { answer_blocks: 50, bond: 1_000 });
    InferencePayload { model_id, grade: InferencePayload::BONDED, input: INPUT.to_vec().into(), terms }
}

fn request(lab: &mut Lab, value: u128) -> Result<B256, String> {
    let input = alloy_rlp::encode(bonded_payload(model_id())).into();
    send(lab, 1, system::INFERENCE, value, input).map(|output| B256::from_slice(&output))
}

fn answer(request_id: B256, byte: u8) -> AnswerRequest {
    AnswerRequest { request_id, output: vec![byte; 8].into() }
}

#[test]
fn an_answer_is_not_challenged_in_the_block_of_its_request() {
    let mut lab = Lab::new();
    let asked = alloy_rlp::encode(bonded_payload(lab.ready_model())).into();
    let number = [b"lattice bonded request".as_slice(), address(1).as_slice(), &0u64.to_be_bytes()].concat();
    let (id, door) = (keccak256(number), TxKind::Call(system::INFERENCE));
    let challenge = ChallengeAnswer { request_id: id, input: INPUT.to_vec().into() };
    let txs = [
        lab.tx(1, door, 300, asked, 900_000, 0),
        lab.tx(2, door, 1_000, answer(id, 1).input(), 900_000, 0),
        lab.tx(3, door, 0, challenge.input(), 900_000, 0),
    ];
    let (_, executed) = lab.block(&txs);
    let success: Vec<bool> = executed.evm.receipts.iter().map(|receipt| receipt.success).collect();
    assert_eq!(success, [true, true, false]);
    inference(&mut lab, 3, 0, &challenge).unwrap();
}

#[test]
fn a_bonded_answer_that_nobody_challenges_is_paid() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    refused(request(&mut lab, 0), "send the fee as value");
    let tx = lab.ai_tx_with_value::<Inference>(1, alloy_rlp::encode(bonded_payload(model_id)), 900_000, 0, 300);
    let (success, by_transaction, output, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    let id = B256::from_slice(&output);
    let log = &executed.evm.receipts[0].logs[0];
    assert_eq!(log.topics()[0], keccak256("InferenceRequested(bytes32,bytes32,address,bytes)"));
    assert_eq!(log.topics()[1..], [id, model_id, address(1).into_word()]);
    let plain =
        lab.tx(1, TxKind::Call(system::INFERENCE), 300, alloy_rlp::encode(bonded_payload(model_id)).into(), 900_000, 0);
    assert_eq!(lab.one(plain).1, by_transaction, "the same gas through both doors");
    assert_eq!(ModelRecord::read(&lab.state, &model_id).unwrap().metrics.open_requests, 2);

    refused(inference(&mut lab, 2, 999, &answer(id, 1)), "the bond is 999 wei, the request asks for 1000");
    let short = AnswerRequest { request_id: id, output: vec![1; 7].into() };
    refused(inference(&mut lab, 2, 1_000, &short), "the output has 7 bytes");
    refused(inference(&mut lab, 2, 1_000, &answer(B256::ZERO, 1)), "there is no bonded request");
    let right = AnswerRequest { request_id: id, output: crate::lab::reverse(&INPUT).unwrap().into() };
    inference(&mut lab, 2, 1_200, &right).unwrap();
    refused(inference(&mut lab, 3, 1_000, &answer(id, 1)), "is Answered, this needs one that is Open");
    let record = BondedRecord::read(&lab.state, &id).unwrap();
    assert_eq!((record.status, record.provider, record.bond), (RequestStatus::Answered, Some(address(2)), 1_200));
    assert_eq!(record.output_hash, Some(keccak256(crate::lab::reverse(&INPUT).unwrap())));

    let right_input = ChallengeAnswer { request_id: id, input: INPUT.to_vec().into() };
    refused(inference(&mut lab, 3, 0, &right_input), "is right: the replay gave the same output");
    let wrong_input = ChallengeAnswer { request_id: id, input: vec![0; 8].into() };
    refused(inference(&mut lab, 3, 0, &wrong_input), "take it from the request's log");
    refused(inference(&mut lab, 3, 0, &SettleRequest { request_id: id }), "can be settled after block");
    lab.skip_to(record.challenge_block.unwrap() + 1);
    let before = lab.balance(system::INFERENCE);
    inference(&mut lab, 3, 0, &SettleRequest { request_id: id }).unwrap();
    assert_eq!(before - lab.balance(system::INFERENCE), U256::from(1_500), "fee and bond");
    assert_eq!(account(&lab, 2).reputation, 0, "300 wei burn less than a gwei");
    assert_eq!(BondedRecord::read(&lab.state, &id).unwrap().status, RequestStatus::Final);
    refused(inference(&mut lab, 3, 0, &right_input), "is Final");
    refused(inference(&mut lab, 3, 0, &SettleRequest { request_id: id }), "is Final");
    let metrics = ModelRecord::read(&lab.state, &model_id).unwrap().metrics;
    assert_eq!((metrics.calls, metrics.disputes, metrics.open_requests), (1, 0, 1));
}

#[test]
fn a_wrong_answer_is_slashed_by_a_replay() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    let id = request(&mut lab, 300).unwrap();
    inference(&mut lab, 2, 1_001, &answer(id, 9)).unwrap();
    let challenge = ChallengeAnswer { request_id: id, input: INPUT.to_vec().into() };
    let requester = lab.balance(address(1));
    inference(&mut lab, 3, 0, &challenge).unwrap();
    assert_eq!(
        lab.balance(address(1)) - requester,
        U256::from(300 + 501 - 50),
        "fee, half of the bond less a twentieth"
    );
    assert_eq!(lab.balance(system::INFERENCE), U256::ZERO);
    assert_eq!((account(&lab, 2).reputation, account(&lab, 3).reputation), (-1, 0));
    let record = BondedRecord::read(&lab.state, &id).unwrap();
    assert_eq!(record.status, RequestStatus::Slashed);
    let metrics = ModelRecord::read(&lab.state, &model_id).unwrap().metrics;
    assert_eq!((metrics.calls, metrics.disputes, metrics.open_requests), (0, 1, 0));
    // Too late for another one.
    let id = request(&mut lab, 300).unwrap();
    inference(&mut lab, 2, 1_001, &answer(id, 9)).unwrap();
    lab.skip_to(lab.header.number + ANSWER_CHALLENGE_BLOCKS + 1);
    let challenge = ChallengeAnswer { request_id: id, input: INPUT.to_vec().into() };
    refused(inference(&mut lab, 3, 0, &challenge), "could be challenged until block");
}

#[test]
fn a_request_that_nobody_answers_is_refunded() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    let id = request(&mut lab, 300).unwrap();
    let request_id = id;
    refused(inference(&mut lab, 3, 0, &SettleRequest { request_id }), "can be settled after block");
    lab.skip_to(lab.header.number + 51);
    refused(inference(&mut lab, 2, 1_000, &answer(id, 1)), "could be answered until block");
    let requester = lab.balance(address(1));
    inference(&mut lab, 3, 0, &SettleRequest { request_id }).unwrap();
    assert_eq!(lab.balance(address(1)) - requester, U256::from(300));
    assert_eq!(BondedRecord::read(&lab.state, &id).unwrap().status, RequestStatus::Expired);
    // What nobody could challenge is not taken.
    let large = ModelDeployPayload { gas: 20_000_000, ..deploy_payload(B256::repeat_byte(6)) };
    let tx = lab.deploy_model_tx(0, &large);
    lab.one(tx);
    lab.activate(large.model_id);
    let input: Bytes = alloy_rlp::encode(bonded_payload(large.model_id)).into();
    refused(send(&mut lab, 1, system::INFERENCE, 9, input), "nobody could challenge");
    let mut short = bonded_payload(model_id);
    short.input = vec![1; 7].into();
    refused(send(&mut lab, 1, system::INFERENCE, 9, alloy_rlp::encode(short).into()), "the input has 7 bytes");
    let mut proof = bonded_payload(model_id);
    proof.grade = InferencePayload::PROOF;
    refused(send(&mut lab, 1, system::INFERENCE, 9, alloy_rlp::encode(proof).into()), "grade 1 (proof) has no terms");
    let mut free = bonded_payload(model_id);
    free.terms = Some(RequestTerms { answer_blocks: 5, bond: 0 });
    refused(send(&mut lab, 1, system::INFERENCE, 9, alloy_rlp::encode(free).into()), "the bond is 0");
}

pub fn job(model_id: B256, trainer: Address) -> TrainingJob {
    TrainingJob {
        base_model: model_id,
        base_version: 1,
        dataset_root: B256::repeat_byte(2),
        job: Cid::raw(b"job"),
        seed: 7,
        steps: 20,
        checkpoint_interval: 10,
        deadline_blocks: 500,
        trainer,
        dispute: None,
    }
}

pub fn checkpoint(job_id: B256, step: u64) -> TrainingPayload {
    let state_hash = keccak256(step.to_be_bytes());
    TrainingPayload::Checkpoint(TrainingCheckpoint {
        job_id,
        step,
        state_hash,
        artifact: Cid::raw(&step.to_be_bytes()),
        trace: None,
    })
}

pub fn completion(job_id: B256, step: u64) -> TrainingPayload {
    let state_hash = keccak256(step.to_be_bytes());
    TrainingPayload::Complete(TrainingCompletion { job_id, state_hash, artifact: Cid::raw(b"result") })
}

#[test]
fn a_training_job_from_order_to_payment() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    let create = TrainingPayload::Create(job(model_id, Address::ZERO));
    refused(training(&mut lab, 1, 0, &create), "send the reward as value");
    let tx = lab.ai_tx_with_value::<Training>(1, alloy_rlp::encode(&create), 900_000, 0, 5_000);
    let (success, by_transaction, output, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    assert_eq!((executed.evm.receipts[0].tx_type, executed.new_artifacts), (0x53, vec![Cid::raw(b"job")]));
    let id = B256::from_slice(&output);
    let plain = lab.tx(1, TxKind::Call(system::TRAINING), 5_000, behind(0x53, &create), 900_000, 0);
    let (_, gas, second, _) = lab.one(plain);
    assert_eq!(gas, by_transaction, "the same gas through both doors");

    refused(training(&mut lab, 2, 0, &checkpoint(id, 10)), "accept it first");
    refused(training(&mut lab, 2, 0, &TrainingPayload::Accept(B256::ZERO)), "there is no training job");
    training(&mut lab, 2, 0, &TrainingPayload::Accept(id)).unwrap();
    refused(training(&mut lab, 3, 0, &TrainingPayload::Accept(id)), "is not open");
    refused(training(&mut lab, 3, 0, &checkpoint(id, 10)), "its trainer has to do this");
    refused(training(&mut lab, 2, 0, &checkpoint(id, 15)), "checkpoints rise by multiples of 10 up to 20");
    refused(training(&mut lab, 2, 0, &completion(id, 0)), "complete with the state of step 20");
    refused(training(&mut lab, 1, 0, &TrainingPayload::Cancel(id)), "is being trained until block");
    training(&mut lab, 2, 0, &checkpoint(id, 10)).unwrap();
    refused(training(&mut lab, 2, 0, &checkpoint(id, 10)), "does not follow step 10");
    training(&mut lab, 2, 0, &checkpoint(id, 20)).unwrap();
    refused(training(&mut lab, 2, 0, &checkpoint(id, 30)), "does not follow step 20");
    refused(training(&mut lab, 2, 0, &completion(id, 10)), "complete with the state of step 20");
    refused(training(&mut lab, 2, 0, &TrainingPayload::Claim(id)), "is not waiting for its payment");
    refused(training(&mut lab, 2, 9, &completion(id, 20)), "takes no value");
    training(&mut lab, 2, 0, &completion(id, 20)).unwrap();
    let record = TrainingRecord::read(&lab.state, &id).unwrap();
    assert_eq!((record.status, record.trainer, record.checkpoints), (JobStatus::Completed, Some(address(2)), 2));
    assert_eq!((record.step, record.steps, record.seed, record.reward), (20, 20, 7, 5_000));
    assert_eq!((record.job, record.requester), (Cid::raw(b"job"), address(1)));
    refused(training(&mut lab, 2, 0, &TrainingPayload::Claim(id)), "claim after it");
    refused(training(&mut lab, 1, 0, &TrainingPayload::Cancel(id)), "nothing can be cancelled");
    lab.skip_to(lab.header.number + TRAINING_CHALLENGE_BLOCKS + 1);
    let before = lab.balance(address(2));
    training(&mut lab, 3, 0, &TrainingPayload::Claim(id)).unwrap();
    assert_eq!(lab.balance(address(2)) - before, U256::from(4_750), "a twentieth is burned");
    assert_eq!(account(&lab, 2).reputation, 0);
    refused(training(&mut lab, 3, 0, &TrainingPayload::Claim(id)), "is not waiting");

    // The second job is cancelled while it is open: no reputation moves.
    let second = B256::from_slice(&second);
    refused(training(&mut lab, 2, 0, &TrainingPayload::Cancel(second)), "only they can cancel it");
    training(&mut lab, 1, 0, &TrainingPayload::Cancel(second)).unwrap();
    assert_eq!(TrainingRecord::read(&lab.state, &second).unwrap().status, JobStatus::Cancelled);
    assert_eq!(lab.balance(system::TRAINING), U256::ZERO);
}

#[test]
fn an_abandoned_job_is_refunded_after_its_deadline() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    let id = training(&mut lab, 1, 700, &TrainingPayload::Create(job(model_id, address(2)))).unwrap();
    let id = B256::from_slice(&id);
    refused(training(&mut lab, 3, 0, &TrainingPayload::Accept(id)), "choose another one");
    training(&mut lab, 2, 0, &TrainingPayload::Accept(id)).unwrap();
    lab.skip_to(lab.header.number + 501);
    refused(training(&mut lab, 2, 0, &checkpoint(id, 10)), "the deadline of training job");
    training(&mut lab, 1, 0, &TrainingPayload::Cancel(id)).unwrap();
    assert_eq!(account(&lab, 2).reputation, -1);
    assert_eq!(lab.balance(system::TRAINING), U256::ZERO);
    let wrong = TrainingJob { base_version: 2, ..job(model_id, Address::ZERO) };
    refused(training(&mut lab, 1, 9, &TrainingPayload::Create(wrong)), "is not an active version 2");
    let uneven = TrainingJob { checkpoint_interval: 3, ..job(model_id, Address::ZERO) };
    refused(training(&mut lab, 1, 9, &TrainingPayload::Create(uneven)), "it must divide the 20 steps");
    refused(send(&mut lab, 1, system::TRAINING, 0, Bytes::new()), "TRAINING knows no operation");
}

pub fn adapter(base_model: B256, name: &str, rank: u32) -> LoraAdapter {
    LoraAdapter {
        base_model,
        base_version: 1,
        artifact: Cid::raw(name.as_bytes()),
        artifact_bytes: 99,
        rank,
        alpha: 2 * rank,
        name: name.into(),
    }
}

#[test]
fn adapters_and_compositions_are_registered() {
    let mut lab = Lab::new();
    let base = lab.ready_model();
    let lora = |lab: &mut Lab, payload: &LoraPayload| send(lab, 1, system::MODELS, 0, behind(0x54, payload));
    let first = LoraPayload::Adapter(adapter(base, "tone", 4));
    let tx = lab.ai_tx::<Lora>(1, alloy_rlp::encode(&first), 900_000, 0);
    let (success, _, output, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    let id = keccak256(alloy_rlp::encode(&first));
    assert_eq!(output[..], id[..], "the id is the hash of the payload");
    assert_eq!((executed.evm.receipts[0].tx_type, executed.new_artifacts), (0x54, vec![Cid::raw(b"tone")]));
    let record = AdapterRecord::read(&lab.state, &id).unwrap();
    assert_eq!(
        (record.owner, record.base_model, record.base_version, record.name.as_str()),
        (address(1), base, 1, "tone")
    );
    let kind = AdapterKind::Adapter { artifact: Cid::raw(b"tone"), artifact_bytes: 99, rank: 4, alpha: 8 };
    assert_eq!(record.kind, kind);
    refused(lora(&mut lab, &first), "is registered already");

    let others = [adapter(base, "style", 4), adapter(base, "wide", 8)]
        .map(|adapter| B256::from_slice(&lora(&mut lab, &LoraPayload::Adapter(adapter)).unwrap()));
    let compose = |method: u8, ids: &[B256]| {
        let parts = ids.iter().map(|id| LoraPart { adapter: *id, weight: 65_536 }).collect();
        LoraPayload::Compose(LoraComposition { method, parts, name: "mix".into() })
    };
    let composed = lora(&mut lab, &compose(1, &[id, others[0]])).unwrap();
    let record = AdapterRecord::read(&lab.state, &B256::from_slice(&composed)).unwrap();
    let parts = vec![LoraPart { adapter: id, weight: 65_536 }, LoraPart { adapter: others[0], weight: 65_536 }];
    assert_eq!(record.kind, AdapterKind::Composition { method: 1, parts });
    lora(&mut lab, &compose(0, &[id, others[1]])).unwrap();
    refused(lora(&mut lab, &compose(1, &[id, others[1]])), "use method 0 (cat)");
    refused(lora(&mut lab, &compose(0, &[id, id])), "is listed twice");
    refused(lora(&mut lab, &compose(0, &[B256::ZERO])), "is not a registered adapter");
    refused(lora(&mut lab, &compose(0, &[B256::from_slice(&composed)])), "is not a registered adapter");
    refused(lora(&mut lab, &compose(2, &[id])), "method 2 is not known");
    refused(lora(&mut lab, &compose(0, &[])), "a composition of 0 adapters");
    refused(lora(&mut lab, &compose(0, &[id; 9])), "a composition of 9 adapters");
    let wrong = LoraPayload::Adapter(LoraAdapter { base_version: 2, ..adapter(base, "x", 4) });
    refused(lora(&mut lab, &wrong), "is not a registered version 2");
    let flat = LoraPayload::Adapter(adapter(base, "x", 0));
    refused(lora(&mut lab, &flat), "the rank is 0");
}

#[test]
fn a_base_runs_with_active_adapters_under_their_id() {
    let mut lab = Lab::new();
    let base = lab.ready_model();
    let lora = |lab: &mut Lab, payload: &LoraPayload| {
        B256::from_slice(&send(lab, 1, system::MODELS, 0, behind(0x54, payload)).unwrap())
    };
    let ids = ["tone", "style"].map(|name| lora(&mut lab, &LoraPayload::Adapter(adapter(base, name, 4))));
    let parts = ids.map(|adapter| LoraPart { adapter, weight: 65_536 }).into();
    let mix = lora(&mut lab, &LoraPayload::Compose(LoraComposition { method: 0, parts, name: "mix".into() }));
    assert_eq!(registrations(&lab.state, 0, 9), [base, ids[0], ids[1]], "validators find what they have to fetch");
    lab.add_model(ids[0], |input| Ok(input.to_vec()));
    lab.add_model(mix, |input| Ok(vec![input.len() as u8; 8]));
    let infer = |lab: &mut Lab, id: B256| send(lab, 2, system::INFERENCE, 0, inference_payload(id, &INPUT).into());
    refused(infer(&mut lab, ids[0]), "is pending");
    refused(infer(&mut lab, mix), "is pending");
    lab.activate(ids[0]);
    lab.activate(ids[0]);
    assert_eq!(infer(&mut lab, ids[0]).unwrap()[..], INPUT);
    refused(infer(&mut lab, mix), &format!("adapter {} is pending", ids[1]));
    assert!(!AdapterRecord::read(&lab.state, &mix).unwrap().active);
    lab.activate(ids[1]);
    assert!(AdapterRecord::read(&lab.state, &mix).unwrap().active);
    assert_eq!(infer(&mut lab, mix).unwrap()[..], [8; 8]);
    // Runs count for the base; what its owner ends, no adapter revives.
    assert_eq!(ModelRecord::read(&lab.state, &base).unwrap().metrics.calls, 2);
    // The first touch in a block pays for both artifacts and the merge.
    let work = |lab: &mut Lab, id: B256| {
        let tx = lab.inference_tx(2, id, &INPUT, 900_000, 400_000);
        let (success, gas, ..) = lab.one(tx);
        assert!(success);
        // Ids differ in their zero bytes, which are cheaper.
        let bytes = inference_payload(id, &INPUT);
        gas - bytes.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum::<u64>()
    };
    let (plain, one, two) = (work(&mut lab, base), work(&mut lab, ids[0]), work(&mut lab, mix));
    // Records that are read: six slots, and two for each part of a composition.
    assert_eq!(one - plain, 6 * 2_100 + adapter_work(&[(99, 4)], 10_000));
    assert_eq!(two - plain, 10 * 2_100 + adapter_work(&[(99, 4), (99, 4)], 10_000));
    assert!(adapter_work(&[(99, 4)], 10_000) > load_gas(10_000));
    send(&mut lab, 0, system::MODELS, 0, RetireModel { model_id: base }.input()).unwrap();
    refused(infer(&mut lab, ids[0]), "is retired");
    // Ranks that no merge takes.
    let wide: Vec<LoraPart> = ["w", "v"]
        .map(|name| lora(&mut lab, &LoraPayload::Adapter(adapter(base, name, 600))))
        .map(|adapter| LoraPart { adapter, weight: 65_536 })
        .into();
    let wide = LoraPayload::Compose(LoraComposition { method: 0, parts: wide, name: "wide".into() });
    refused(send(&mut lab, 1, system::MODELS, 0, behind(0x54, &wide)), "more than 1024");
}

#[test]
fn a_static_call_writes_nothing_whatever_the_operation() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    let caller = lab.deploy(3, &forwarder(STATICCALL, RETURN));
    let inputs: [(Address, Bytes); 9] = [
        (system::MODELS, OfferModel { model_id, to: address(1) }.input()),
        (system::MODELS, AcceptModel { model_id }.input()),
        (system::MODELS, PermitModel { model_id, mode: 1, price: 0 }.input()),
        (system::MODELS, WithdrawCredits { amount: 1 }.input()),
        (system::MODELS, behind(0x54, &LoraPayload::Adapter(adapter(model_id, "a", 1)))),
        (system::TRAINING, behind(0x53, &TrainingPayload::Create(job(model_id, Address::ZERO)))),
        (system::INFERENCE, alloy_rlp::encode(bonded_payload(model_id)).into()),
        (system::INFERENCE, answer(B256::ZERO, 1).input()),
        (system::INFERENCE, SettleRequest { request_id: B256::ZERO }.input()),
    ];
    for (door, input) in inputs {
        let roots = [model_root(&lab.state), training_root(&lab.state), inference_root(&lab.state)];
        let tx = lab.call_tx(0, caller, forward(door, &input), 900_000);
        let (_, _, output, _) = lab.one(tx);
        assert!(String::from_utf8_lossy(&output).contains("call it without STATICCALL"), "{input}");
        assert_eq!([model_root(&lab.state), training_root(&lab.state), inference_root(&lab.state)], roots);
    }
    assert!(lab.balance(address(0)) > U256::from(LAT));
}
