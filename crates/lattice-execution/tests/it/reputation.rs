//! Bonded answers stay challengeable at any lane price; wrong work costs stake; reputation costs what was burned.

use crate::{
    lab::{GWEI, Lab, address, deploy_payload, model_id, reverse, signer, simulate_reason},
    operations::{INPUT, behind, bonded_payload, checkpoint, completion, job, send},
};
use alloy_consensus::TxEip1559;
use alloy_eips::{eip2718::Encodable2718, eip2930::AccessList};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use lattice_execution::{
    LanePrice, ModelRecord, Outcome,
    ai::{
        ANSWER_CHALLENGE_BLOCKS, AccountRecord, BURNED_PART, BondedRecord, CHALLENGE_INPUT_BYTES_MAX,
        CHALLENGE_WORK_MAX, RequestStatus, StakeRecord, TRAINING_CHALLENGE_BLOCKS, WEI_PER_POINT, load_gas,
    },
};
use lattice_types::{
    ChainSpec, TxEnvelope, ai_gas, decode_transaction, recover, system,
    tx::{
        InferencePayload, ModelDeployPayload, RequestTerms, TrainingPayload,
        operation::{AnswerRequest, ChallengeAnswer, Operation, SettleRequest, StakeOnModel, UnstakeFromModel},
    },
};
use proptest::prelude::*;

/// Gwei of a bond and of a fee, so that points are round.
const BOND: u128 = 1_000 * GWEI;
const FEE: u128 = 400 * GWEI;

/// The model whose challenge is the largest that is accepted: its gas makes up what loading and moving bytes leave.
fn largest(work: u64) -> ModelDeployPayload {
    let payload = deploy_payload(model_id());
    let loading = load_gas(payload.artifact_bytes);
    ModelDeployPayload { gas: work - loading - 16, ..payload }
}

fn deploy(lab: &mut Lab, payload: &ModelDeployPayload) {
    let tx = lab.deploy_model_tx(0, payload);
    assert!(lab.one(tx).0);
    lab.activate(payload.model_id);
}

fn request_of(lab: &mut Lab, input: Bytes) -> Result<B256, String> {
    let terms = Some(RequestTerms { answer_blocks: 50, bond: BOND });
    let payload = InferencePayload { terms, input, ..bonded_payload(model_id()) };
    send(lab, 1, system::INFERENCE, FEE, alloy_rlp::encode(payload).into()).map(|id| B256::from_slice(&id))
}

fn request(lab: &mut Lab) -> Result<B256, String> {
    request_of(lab, INPUT.to_vec().into())
}

/// An answer by account 2.
fn answer(lab: &mut Lab, request_id: B256, output: Vec<u8>) {
    let answer = AnswerRequest { request_id, output: output.into() };
    send(lab, 2, system::INFERENCE, BOND, answer.input()).unwrap();
}

pub fn wrong_answer(lab: &mut Lab) -> B256 {
    let id = request(lab).unwrap();
    answer(lab, id, vec![9; 8]);
    id
}

/// A challenge by an account as a wallet sends it, with that much declared, in a form that a block may carry.
pub fn challenge_tx(lab: &mut Lab, from: usize, request_id: B256, declared: u64) -> TxEnvelope {
    let nonce = *lab.nonces.entry(from).and_modify(|nonce| *nonce += 1).or_insert(1) - 1;
    let tx = TxEip1559 {
        chain_id: lab.spec.chain_id,
        nonce,
        gas_limit: 2_000_000 + declared,
        max_fee_per_gas: 100 * GWEI,
        to: TxKind::Call(system::INFERENCE),
        access_list: AccessList(vec![ai_gas::declaration(declared)]),
        input: ChallengeAnswer { request_id, input: INPUT.to_vec().into() }.input(),
        ..TxEip1559::default()
    };
    let tx: TxEnvelope = signer(from).sign(tx).into();
    recover(tx.clone(), &lab.spec).unwrap();
    tx
}

fn slash(lab: &mut Lab, from: usize, request_id: B256) {
    let tx = challenge_tx(lab, from, request_id, CHALLENGE_WORK_MAX.min(lab.spec.ai_gas_limit));
    let (success, _, output, _) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
}

fn reputation(lab: &Lab, account: usize) -> i64 {
    AccountRecord::read(&lab.state, &address(account)).reputation
}

fn stake(lab: &mut Lab, from: usize, wei: u128) {
    send(lab, from, system::MODELS, wei, StakeOnModel { model_id: model_id() }.input()).unwrap();
}

#[test]
fn the_largest_accepted_request_is_challengeable_at_every_lane_price() {
    let prices = [1_000_000_000, 2_500_000_001, 4_500_000_000, 1_000_000_000_000, u64::MAX];
    for price in prices.map(LanePrice::from_nanos) {
        let mut lab = Lab::new();
        deploy(&mut lab, &largest(CHALLENGE_WORK_MAX));
        // Asked for and answered while the lane is idle, or at the price itself.
        lab.set_lane_price(price);
        let id = wrong_answer(&mut lab);
        lab.set_lane_price(price);
        let tx = challenge_tx(&mut lab, 3, id, CHALLENGE_WORK_MAX);
        let (outcomes, executed) = lab.block(&[tx]);
        let Outcome::Included { success: true, ai_gas_used, gas_used, .. } = outcomes[0] else {
            panic!("{outcomes:?}")
        };
        assert_eq!((ai_gas_used, executed.ai_gas_used), (CHALLENGE_WORK_MAX, CHALLENGE_WORK_MAX), "{price:?}");
        assert!(gas_used < CHALLENGE_WORK_MAX + 600_000);
        assert_eq!(BondedRecord::read(&lab.state, &id).unwrap().status, RequestStatus::Slashed);
        assert_eq!(
            lattice_execution::AiLane::read(&lab.state, &lab.spec).work,
            CHALLENGE_WORK_MAX,
            "it counts as work"
        );
    }
}

#[test]
fn what_one_transaction_could_not_challenge_is_refused() {
    let mut lab = Lab::new();
    deploy(&mut lab, &largest(CHALLENGE_WORK_MAX + 1));
    assert!(request(&mut lab).unwrap_err().contains("more than 12000000: nobody could challenge"));

    // A chain whose lane is narrower refuses what its own transactions could not replay, and accepts all else.
    for (work, accepted) in [(400_000, true), (400_001, false)] {
        let spec =
            ChainSpec { ai_gas_limit: 400_000, ai_gas_pool: 120_000, ai_gas_undeclared: 60_000, ..ChainSpec::dev() };
        let mut lab = Lab::with_spec(spec);
        deploy(&mut lab, &largest(work));
        let id = request(&mut lab);
        assert_eq!(id.is_ok(), accepted, "{id:?}");
        if let Ok(id) = id {
            answer(&mut lab, id, vec![9; 8]);
            lab.set_lane_price(LanePrice::from_nanos(u64::MAX));
            slash(&mut lab, 3, id);
        }
    }

    // A contract could make an input that no transaction carries.
    let mut lab = Lab::new();
    let bytes = CHALLENGE_INPUT_BYTES_MAX + 1;
    deploy(&mut lab, &ModelDeployPayload { input_bytes: bytes, ..deploy_payload(model_id()) });
    let terms = Some(RequestTerms { answer_blocks: 50, bond: BOND });
    let payload = InferencePayload { terms, input: vec![0; bytes as usize].into(), ..bonded_payload(model_id()) };
    let tx = lab.tx(1, TxKind::Call(system::INFERENCE), FEE, alloy_rlp::encode(payload).into(), 16_000_000, 0);
    let (success, _, output, _) = lab.one(tx);
    assert!(!success && simulate_reason(&output).contains("bytes of input, more than 122880"), "{output}");
}

#[test]
fn the_longest_input_is_challengeable_in_one_transaction() {
    let mut lab = Lab::new();
    let bytes = CHALLENGE_INPUT_BYTES_MAX;
    lab.add_model(model_id(), |_| Ok(vec![1; 8]));
    deploy(&mut lab, &ModelDeployPayload { input_bytes: bytes, ..deploy_payload(model_id()) });
    let input = Bytes::from(vec![0xff; bytes as usize]);
    let terms = Some(RequestTerms { answer_blocks: 50, bond: BOND });
    let payload = InferencePayload { terms, input: input.clone(), ..bonded_payload(model_id()) };
    let tx = lab.tx(1, TxKind::Call(system::INFERENCE), FEE, alloy_rlp::encode(payload).into(), 16_000_000, 0);
    let (success, _, output, _) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    let request_id = B256::from_slice(&output);
    answer(&mut lab, request_id, vec![9; 8]);
    let challenge = ChallengeAnswer { request_id, input }.input();
    let tx = lab.tx(3, TxKind::Call(system::INFERENCE), 0, challenge, 16_000_000, 0);
    recover(decode_transaction(&tx.encoded_2718()).unwrap(), &lab.spec).unwrap();
    let (success, _, output, _) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
}

#[test]
fn a_lost_challenge_burns_the_stake_of_the_provider_and_of_nobody_else() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    stake(&mut lab, 2, 700);
    stake(&mut lab, 3, 50);
    send(&mut lab, 2, system::MODELS, 0, UnstakeFromModel { model_id, amount: 300 }.input()).unwrap();
    let id = wrong_answer(&mut lab);
    let vault = lab.balance(system::FEE_VAULT);
    let tx = challenge_tx(&mut lab, 3, id, 200_000);
    let (success, _, _, executed) = lab.one(tx);
    assert!(success);
    let burned = BOND / BURNED_PART + 700;
    assert_eq!(lab.balance(system::FEE_VAULT) - vault, U256::from(burned), "a part of the bond, and all stake");
    assert_eq!(StakeRecord::read(&lab.state, &model_id, &address(2)).0, StakeRecord::default());
    assert_eq!(AccountRecord::read_stake(&lab.state, &address(2)), 0);
    assert_eq!(AccountRecord::read_stake(&lab.state, &address(3)), 50);
    assert_eq!(ModelRecord::read(&lab.state, &model_id).unwrap().line.stake, 50);
    assert_eq!(lab.balance(system::MODELS), U256::from(50));
    let log = &executed.evm.receipts[0].logs[0];
    assert_eq!((log.address, log.data.data.len()), (system::MODELS, 32));
    let topics = [keccak256("StakeSlashed(bytes32,address,uint256)"), model_id, address(2).into_word()];
    assert_eq!(log.topics(), topics);
    assert_eq!(U256::from_be_slice(&log.data.data), U256::from(700));

    // Whoever staked again can lose again; who has none loses the bond alone.
    stake(&mut lab, 2, 5);
    let id = wrong_answer(&mut lab);
    slash(&mut lab, 3, id);
    assert_eq!(AccountRecord::read_stake(&lab.state, &address(2)), 0);
    let id = wrong_answer(&mut lab);
    let tx = challenge_tx(&mut lab, 3, id, 200_000);
    let (success, _, _, executed) = lab.one(tx);
    assert!(success && executed.evm.receipts[0].logs.len() == 1);
}

#[test]
fn a_right_answer_costs_no_stake() {
    let mut lab = Lab::new();
    lab.ready_model();
    stake(&mut lab, 2, 700);
    let id = request(&mut lab).unwrap();
    answer(&mut lab, id, reverse(&INPUT).unwrap());
    let tx = challenge_tx(&mut lab, 3, id, 200_000);
    assert!(!lab.one(tx).0);
    assert_eq!(AccountRecord::read_stake(&lab.state, &address(2)), 700);
    assert_eq!(reputation(&lab, 2), 0);
}

#[test]
fn the_stake_is_that_of_the_whole_line() {
    // The request is for a later version; the stake lies on the line.
    let mut lab = Lab::new();
    lab.ready_model();
    stake(&mut lab, 2, 700);
    let second = B256::repeat_byte(0x22);
    let version = ModelDeployPayload { name: String::new(), ..deploy_payload(second) };
    let update =
        lattice_types::tx::ModelUpdatePayload { model_id: model_id(), parent_version: 1, version, delta: None };
    send(&mut lab, 0, system::MODELS, 0, behind(0x51, &update)).unwrap();
    lab.add_model(second, reverse);
    lab.activate(second);
    let terms = Some(RequestTerms { answer_blocks: 50, bond: BOND });
    let payload = InferencePayload { model_id: second, terms, ..bonded_payload(second) };
    let id = send(&mut lab, 1, system::INFERENCE, FEE, alloy_rlp::encode(payload).into()).unwrap();
    let id = B256::from_slice(&id);
    answer(&mut lab, id, vec![9; 8]);
    slash(&mut lab, 3, id);
    assert_eq!(AccountRecord::read_stake(&lab.state, &address(2)), 0);
}

fn settled_answer(lab: &mut Lab) {
    let id = request(lab).unwrap();
    answer(lab, id, reverse(&INPUT).unwrap());
    lab.skip_to(lab.header.number + ANSWER_CHALLENGE_BLOCKS + 2);
    send(lab, 3, system::INFERENCE, 0, SettleRequest { request_id: id }.input()).unwrap();
}

#[test]
fn reputation_is_the_gwei_that_were_burned_for_it() {
    let mut lab = Lab::new();
    lab.ready_model();
    let (vault, mut points) = (lab.balance(system::FEE_VAULT), 0);
    for _ in 0..3 {
        settled_answer(&mut lab);
        points += i64::try_from(FEE / BURNED_PART / WEI_PER_POINT).unwrap();
        assert_eq!(reputation(&lab, 2), points);
    }
    assert_eq!(lab.balance(system::FEE_VAULT) - vault, U256::from(points as u128 * WEI_PER_POINT));

    // One proven lie: what was above zero is gone, and the bond beyond that.
    let id = wrong_answer(&mut lab);
    slash(&mut lab, 3, id);
    assert_eq!(reputation(&lab, 2), -i64::try_from(BOND / WEI_PER_POINT).unwrap());
    // The challenger's points were burned too: out of the bond.
    assert_eq!(reputation(&lab, 3), i64::try_from(BOND / BURNED_PART / WEI_PER_POINT).unwrap());
    let id = wrong_answer(&mut lab);
    slash(&mut lab, 3, id);
    assert_eq!(reputation(&lab, 2), -2 * i64::try_from(BOND / WEI_PER_POINT).unwrap());
}

#[test]
fn training_earns_and_loses_by_the_same_measure() {
    let mut lab = Lab::new();
    let model_id = lab.ready_model();
    let reward = 5_000 * GWEI;
    let order = |lab: &mut Lab| {
        let create = behind(0x53, &TrainingPayload::Create(job(model_id, Address::ZERO)));
        let id = B256::from_slice(&send(lab, 1, system::TRAINING, reward, create).unwrap());
        send(lab, 2, system::TRAINING, 0, behind(0x53, &TrainingPayload::Accept(id))).unwrap();
        id
    };
    let id = order(&mut lab);
    for step in [checkpoint(id, 10), checkpoint(id, 20), completion(id, 20)] {
        send(&mut lab, 2, system::TRAINING, 0, behind(0x53, &step)).unwrap();
    }
    lab.skip_to(lab.header.number + TRAINING_CHALLENGE_BLOCKS + 1);
    let before = lab.balance(address(2));
    send(&mut lab, 3, system::TRAINING, 0, behind(0x53, &TrainingPayload::Claim(id))).unwrap();
    assert_eq!(lab.balance(address(2)) - before, U256::from(reward - reward / BURNED_PART));
    assert_eq!(reputation(&lab, 2), 250);

    let id = order(&mut lab);
    lab.skip_to(lab.header.number + 501);
    send(&mut lab, 1, system::TRAINING, 0, behind(0x53, &TrainingPayload::Cancel(id))).unwrap();
    assert_eq!(reputation(&lab, 2), 0, "what completion would have brought");
    assert_eq!(lab.balance(system::TRAINING), U256::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Accounts that work for each other gain no more reputation than the gwei they lose to the vault together.
    #[test]
    fn a_ring_of_accounts_pays_for_its_reputation(
        rounds in prop::collection::vec((1u128..90_000, 1_000u128..90_000, any::<bool>()), 1..5)
    ) {
        let mut lab = Lab::new();
        lab.ready_model();
        let vault = lab.balance(system::FEE_VAULT);
        for (fee, bond, is_right) in rounds {
            let terms = Some(RequestTerms { answer_blocks: 50, bond: bond * GWEI });
            let payload = InferencePayload { terms, ..bonded_payload(model_id()) };
            let id = send(&mut lab, 1, system::INFERENCE, fee * GWEI, alloy_rlp::encode(payload).into()).unwrap();
            let request_id = B256::from_slice(&id);
            let output = if is_right { reverse(&INPUT).unwrap() } else { vec![9; 8] };
            let answer = AnswerRequest { request_id, output: output.into() };
            send(&mut lab, 2, system::INFERENCE, bond * GWEI, answer.input()).unwrap();
            if is_right {
                lab.skip_to(lab.header.number + ANSWER_CHALLENGE_BLOCKS + 2);
                send(&mut lab, 1, system::INFERENCE, 0, SettleRequest { request_id }.input()).unwrap();
            } else {
                slash(&mut lab, 3, request_id);
            }
        }
        let burned = lab.balance(system::FEE_VAULT) - vault;
        let points: i64 = (1..4).map(|account| reputation(&lab, account).max(0)).sum();
        prop_assert!(U256::from(points) * U256::from(WEI_PER_POINT) <= burned, "{points} points for {burned} wei");
    }
}
