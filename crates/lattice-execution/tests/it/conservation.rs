//! No unit that a system account holds is lost or made: balances are credits, stakes, rewards, fees and bonds; and all
//! balances together change by the fees that were burned, and by nothing else.

use crate::{
    disputes::{self, BOND, LESSONS},
    lab::{Lab, address, model_id, reverse},
    operations::{INPUT, behind, bonded_payload, job, send},
    traced::{self, RUN},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use lattice_execution::{
    ModelRecord,
    ai::{AccountRecord, BondedRecord, JobStatus, RequestStatus, StakeRecord, TrainingRecord},
};
use lattice_types::{
    Cid,
    spec::DEV_ACCOUNTS,
    system,
    tx::{
        TrainingCheckpoint, TrainingCompletion, TrainingPayload,
        operation::{
            AcceptModel, AnswerRequest, ChallengeAnswer, CollectStake, DepositCredits, OfferModel, Operation,
            PermitModel, SettleRequest, StakeOnModel, UnstakeFromModel, WithdrawCredits,
        },
    },
};
use proptest::prelude::*;

/// The step that orders a disputable job, after which it is trained to its end.
const WHOLE_TRAINING: u8 = 27;

/// A random step: what, who, how much.
type Step = (u8, usize, u64);

fn act(lab: &mut Lab, requests: &mut Vec<B256>, jobs: &mut Vec<B256>, (what, who, amount): Step) {
    let model_id = model_id();
    let value = u128::from(amount);
    let pick = |ids: &[B256]| ids.get(amount as usize % ids.len().max(1)).copied().unwrap_or_default();
    let (request_id, job_id) = (pick(requests), pick(jobs));
    let (state_hash, artifact) = (B256::repeat_byte(5), Cid::raw(b"state"));
    let models = |input: Bytes, value: u128| (system::MODELS, value, input);
    let inference = |input: Bytes, value: u128| (system::INFERENCE, value, input);
    let training = |payload: TrainingPayload, value: u128| (system::TRAINING, value, behind(0x53, &payload));
    let step = if amount.is_multiple_of(2) { 10 } else { 20 };
    let (to, value, input) = match what {
        0 => models(DepositCredits { account: address(who) }.input(), value),
        1 => models(WithdrawCredits { amount: value }.input(), 0),
        2 => models(StakeOnModel { model_id }.input(), value),
        3 => models(UnstakeFromModel { model_id, amount: value }.input(), 0),
        4 => models(CollectStake { model_id }.input(), 0),
        5 => models(OfferModel { model_id, to: address(amount as usize % 4) }.input(), 0),
        6 => models(AcceptModel { model_id }.input(), 0),
        7 => models(
            PermitModel { model_id, mode: if amount > 500 { 2 } else { 0 }, price: if amount > 500 { 7 } else { 0 } }
                .input(),
            0,
        ),
        8 => inference(crate::lab::inference_payload(model_id, &INPUT).into(), 0),
        9 => inference(alloy_rlp::encode(bonded_payload(model_id)).into(), value),
        10 => inference(AnswerRequest { request_id, output: reverse(&INPUT).unwrap().into() }.input(), 1_000 + value),
        11 => inference(AnswerRequest { request_id, output: vec![3; 8].into() }.input(), 1_000 + value),
        12 => inference(ChallengeAnswer { request_id, input: INPUT.to_vec().into() }.input(), 0),
        13 => inference(SettleRequest { request_id }.input(), 0),
        14 => training(TrainingPayload::Create(job(model_id, Address::ZERO)), value),
        15 => training(TrainingPayload::Accept(job_id), 0),
        16 => training(
            TrainingPayload::Checkpoint(TrainingCheckpoint { job_id, step, state_hash, artifact, trace: None }),
            0,
        ),
        17 => training(TrainingPayload::Complete(TrainingCompletion { job_id, state_hash, artifact }), 0),
        18 => training(TrainingPayload::Cancel(job_id), 0),
        19 => training(TrainingPayload::Claim(job_id), 0),
        28 => inference(RUN.payload(), value),
        29 => inference(RUN.answer(request_id, &RUN.trace).input(), 1_000 + value),
        30 => inference(RUN.answer(request_id, &RUN.lie(2)).input(), 1_000 + value),
        31 => inference(traced::challenge(request_id, &RUN.open(&RUN.lie(2), 2)).input(), 0),
        // Disputable jobs, whose trainers tell the truth or do not.
        22 | WHOLE_TRAINING => training(TrainingPayload::Create(LESSONS[0].order()), value),
        23 => training(LESSONS[0].checkpoint(job_id, &told(amount), 0), 0),
        24 => training(LESSONS[0].checkpoint(job_id, &told(amount), 2), 0),
        25 => training(LESSONS[0].completion(job_id, &told(amount), &LESSONS[0].result), BOND + value),
        26 => training(LESSONS[0].challenge(job_id, &LESSONS[0].doubt(&told(7), &LESSONS[0].result).unwrap()), 0),
        _ => return lab.skip_to(lab.header.number + 1 + amount),
    };
    if let Ok(output) = send(lab, who, to, value, input) {
        match what {
            9 | 28 => requests.push(B256::from_slice(&output)),
            14 | 22 | WHOLE_TRAINING => jobs.push(B256::from_slice(&output)),
            _ => {}
        }
    }
}

/// The trace that a trainer tells: the right one, or one with a lie in its third step.
fn told(amount: u64) -> Vec<B256> {
    let mut hashes = LESSONS[0].hashes();
    if !(amount / 7).is_multiple_of(2) {
        hashes[3] = B256::ZERO;
    }
    hashes
}

/// All there is, in the accounts that these steps can reach. Base fees are burned outside of it; what rules burn stays
/// in the vault.
fn supply(lab: &Lab) -> U256 {
    let own = [system::MODELS, system::TRAINING, system::INFERENCE, system::FEE_VAULT];
    let accounts = DEV_ACCOUNTS.iter().map(|(address, _)| *address).chain(own);
    accounts.map(|account| lab.balance(account)).sum()
}

/// [`act`], after which the supply is less by the base fee alone.
fn act_and_count(lab: &mut Lab, requests: &mut Vec<B256>, jobs: &mut Vec<B256>, step: Step) {
    let (before, head) = (supply(lab), lab.header.parent_hash);
    act(lab, requests, jobs, step);
    // Time that passes changes the number of the head and executes nothing.
    let fee =
        if lab.header.parent_hash != head { lab.header.gas_used * lab.header.base_fee_per_gas.unwrap() } else { 0 };
    assert_eq!(before - supply(lab), U256::from(fee), "{step:?}");
}

fn check(lab: &Lab, requests: &[B256], jobs: &[B256]) -> Result<(), TestCaseError> {
    let model = ModelRecord::read(&lab.state, &model_id()).unwrap();
    let base = ModelRecord::read(&lab.state, &LESSONS[0].plan.base).unwrap();
    let (mut credits, mut staked, mut total) = (0, 0, 0);
    for account in (0..4).map(address) {
        let stake = StakeRecord::read(&lab.state, &model_id(), &account).0;
        let whole = AccountRecord::read_stake(&lab.state, &account);
        prop_assert_eq!(stake.staked + stake.leaving, whole);
        let record = AccountRecord::read(&lab.state, &account);
        let owned = u32::from(account == model.owner) + u32::from(account == base.owner);
        prop_assert_eq!(record.models_owned, owned);
        credits += record.credits;
        staked += stake.staked;
        total += whole;
    }
    prop_assert_eq!(model.line.stake, staked);
    prop_assert_eq!(lab.balance(system::MODELS), U256::from(credits + total));

    let all: Vec<BondedRecord> = requests.iter().map(|id| BondedRecord::read(&lab.state, id).unwrap()).collect();
    let held = |request: &BondedRecord| match request.status {
        RequestStatus::Open => request.fee,
        RequestStatus::Answered => request.fee + request.bond,
        RequestStatus::Final | RequestStatus::Slashed | RequestStatus::Expired => 0,
    };
    prop_assert_eq!(lab.balance(system::INFERENCE), U256::from(all.iter().map(held).sum::<u128>()));
    let open = |id: B256| all.iter().filter(|request| request.model_id == id && held(request) > 0).count() as u64;
    prop_assert_eq!(model.metrics.open_requests, open(model_id()));
    let holds = jobs.iter().map(|id| TrainingRecord::read(&lab.state, id).unwrap()).filter(|job| {
        job.dispute.is_some() && matches!(job.status, JobStatus::Open | JobStatus::Accepted | JobStatus::Completed)
    });
    prop_assert_eq!(base.metrics.open_requests, holds.count() as u64 + open(RUN.id));

    let rewards = jobs.iter().map(|id| TrainingRecord::read(&lab.state, id).unwrap()).map(|job| match job.status {
        JobStatus::Open | JobStatus::Accepted | JobStatus::Completed => job.reward + job.bond,
        JobStatus::Paid | JobStatus::Cancelled | JobStatus::Slashed => 0,
    });
    prop_assert_eq!(lab.balance(system::TRAINING), U256::from(rewards.sum::<u128>()));
    Ok(())
}

#[test]
fn system_accounts_hold_exactly_what_they_owe() {
    let config = ProptestConfig { cases: 24, ..ProptestConfig::default() };
    let steps = prop::collection::vec((0u8..32, 0usize..4, 1u64..1_000), 1..80);
    proptest!(config, |(steps in steps)| {
        let mut lab = Lab::new();
        lab.ready_model();
        disputes::base(&mut lab);
        let (mut requests, mut jobs) = (Vec::new(), Vec::new());
        for step in steps {
            act_and_count(&mut lab, &mut requests, &mut jobs, step);
            if step.0 == WHOLE_TRAINING {
                // An amount that picks the job just ordered, and the truth or a lie.
                let amount = jobs.len() as u64 * (1 + step.2 % 50) - 1;
                for (what, who) in [(15, 2), (23, 2), (24, 2), (25, 2)] {
                    act_and_count(&mut lab, &mut requests, &mut jobs, (what, who, amount));
                }
            }
        }
        check(&lab, &requests, &jobs)?;
        // Time passes: what was waiting is paid out, and the sums still hold.
        lab.skip_to(lab.header.number + 30_000);
        for who in 0..4 {
            act_and_count(&mut lab, &mut requests, &mut jobs, (4, who, 1));
        }
        for index in 0..requests.len().max(jobs.len()) as u64 {
            for what in [13, 18, 19] {
                for who in 0..4 {
                    act_and_count(&mut lab, &mut requests, &mut jobs, (what, who, index));
                }
            }
        }
        check(&lab, &requests, &jobs)?;
        prop_assert_eq!(lab.balance(system::INFERENCE), U256::ZERO, "every request ends");
        prop_assert_eq!(lab.balance(system::TRAINING), U256::ZERO, "every job ends");
    });
}
