//! TRAINING, disputable jobs: the trace of every step is on the chain, so a challenge is one transaction that every
//! validator judges at once. Nobody has to answer anybody, so nobody can withhold or stall.

use super::{refuse_value, training::Job};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    engine, gas,
    lane::LanePrice,
    records::{
        bonded::{CHALLENGE_INPUT_BYTES_MAX, CHALLENGE_WORK_MAX, OPEN_REQUESTS_MAX},
        jobs::{self, JobDispute, JobStatus},
        models::{Head, ModelTerms},
        numbered_slot, reputation, slot,
    },
};
use crate::error::ExecutionError;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_training::{
    merkle,
    train::{Claims, Opening, Plan, TrainError, Trainer},
};
use lattice_types::{
    Cid, system,
    tx::{DisputeTerms, TrainingChallenge, TrainingCheckpoint, TrainingCompletion, TrainingJob},
};

const JOB_TRACED: &[u8] = b"TrainingTraced(bytes32,uint256,bytes)";
const JOB_SLASHED: &[u8] = b"TrainingSlashed(bytes32,address,address)";

fn revert<T>(reason: String) -> Result<T, Halt> {
    Err(Halt::Revert(reason))
}

fn field(call: &mut AiCall<'_, '_>, id: &B256, field: u8) -> Result<U256, Halt> {
    call.slot(system::TRAINING, slot(id, field))
}

fn dispute(call: &mut AiCall<'_, '_>, id: &B256) -> Result<Option<JobDispute>, Halt> {
    Ok(JobDispute::decode(field(call, id, jobs::DISPUTE)?))
}

/// The base of a job: a disputable job that has not ended keeps its record from being pruned.
fn base(call: &mut AiCall<'_, '_>, id: &B256) -> Result<(B256, ModelTerms), Halt> {
    let base: B256 = field(call, id, jobs::BASE)?.into();
    let terms = ModelTerms::read_with(call, &base)?;
    let terms = terms.ok_or_else(|| Halt::Revert(format!("the base {base} of job {id} is not registered")))?;
    Ok((base, terms))
}

/// Takes a job in that can be disputed: its description is the order's, its base can be trained, and the judgement of a
/// step fits the work and the bytes of a transaction. The base's version is held.
pub(super) fn admit(
    call: &mut AiCall<'_, '_>,
    job: &TrainingJob,
    base: &ModelTerms,
    terms: &DisputeTerms,
) -> Result<JobDispute, Halt> {
    call.charge(gas::operation(1, 1, 0, 0) + gas::hash(terms.plan.len() as u64))?;
    let plan = Plan::decode(&terms.plan).map_err(|error| Halt::Revert(format!("the description: {error}")))?;
    let ordered = (job.base_model, job.dataset_root, job.seed, job.steps, job.checkpoint_interval);
    let described = (plan.base, plan.dataset, plan.seed, plan.steps, plan.interval);
    if described != ordered {
        return revert(format!(
            "the description has base, data set, seed, steps and interval {described:?}, the order {ordered:?}: they have to agree"
        ));
    }
    engine::refuse_suspended(call, &job.base_model, base)?;
    let price = call.ctx.chain.lane_price();
    let graph = engine::graph(call, &job.base_model, base, price)?;
    let trainer = Trainer::on(plan, graph).map_err(|error| Halt::Revert(error.to_string()))?;
    let cost = trainer.step_cost();
    let dispute = JobDispute { work: gas::training_step(&cost, base.artifact_bytes), bond: terms.bond };
    let needed = dispute.work.saturating_add(engine::load_work(base));
    let work_max = CHALLENGE_WORK_MAX.min(call.ctx.chain.ai_gas_limit_max());
    if needed > work_max {
        return revert(format!(
            "the judgement of a step would take {needed} AI gas, more than {work_max}: order a smaller batch, rank or base"
        ));
    }
    let bytes = cost.opening_bytes.saturating_add(terms.plan.len() as u64);
    if bytes > CHALLENGE_INPUT_BYTES_MAX {
        return revert(format!(
            "a challenge would carry {bytes} bytes, more than {CHALLENGE_INPUT_BYTES_MAX}: order a smaller batch, rank or base"
        ));
    }
    let mut head = Head::read(call, &job.base_model)?;
    if head.open_requests >= OPEN_REQUESTS_MAX {
        let model = job.base_model;
        return revert(format!("model {model} has {OPEN_REQUESTS_MAX} open requests: wait until some are settled"));
    }
    head.open_requests += 1;
    head.write(call, &job.base_model)?;
    Ok(dispute)
}

/// Ends the hold on the base, when the job had one.
pub(super) fn release(call: &mut AiCall<'_, '_>, id: &B256) -> Result<(), Halt> {
    if dispute(call, id)?.is_none() {
        return Ok(());
    }
    call.charge(gas::operation(0, 1, 0, 0) + gas::reads(2))?;
    let base: B256 = field(call, id, jobs::BASE)?.into();
    let mut head = Head::read(call, &base)?;
    head.open_requests = head.open_requests.saturating_sub(1);
    head.write(call, &base)
}

/// Takes a checkpoint's part of the trace: the hash of every state since the checkpoint before, so that none is withheld.
pub(super) fn trace(call: &mut AiCall<'_, '_>, job: &Job, checkpoint: &TrainingCheckpoint) -> Result<(), Halt> {
    let (id, from) = (job.id, job.trainer.step);
    let trace = match (dispute(call, &id)?, &checkpoint.trace) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return revert(format!("training job {id} cannot be disputed: leave the trace out")),
        (Some(_), None) => {
            return revert(format!(
                "training job {id} can be disputed: send the hash of every state from step {from} on"
            ));
        }
        (Some(_), Some(trace)) => trace,
    };
    let wanted = checkpoint.step - from + 1;
    if trace.len() as u64 != wanted {
        let (got, to) = (trace.len(), checkpoint.step);
        return revert(format!("the trace has {got} hashes, steps {from} to {to} have {wanted}"));
    }
    call.charge(gas::operation(1, 0, 3, gas::abi_bytes(32 * wanted)) + gas::merkle_root(wanted))?;
    if trace.last() != Some(&checkpoint.state_hash) {
        return revert(format!("the trace does not end with the state hash {}", checkpoint.state_hash));
    }
    if from > 0 {
        let last: B256 = field(call, &id, jobs::STATE_HASH)?.into();
        if trace.first() != Some(&last) {
            return revert(format!("the trace does not begin with the last checkpoint's state hash {last}"));
        }
    }
    let leaves: Vec<B256> = trace.iter().map(|hash| merkle::leaf(hash.as_slice())).collect();
    let root = merkle::root(&leaves);
    call.store(system::TRAINING, numbered_slot(&id, from, jobs::TRACE), U256::from_be_bytes(root.0))?;
    let topics = vec![keccak256(JOB_TRACED), id, U256::from(from).into()];
    let hashes: Vec<u8> = trace.iter().flat_map(|hash| hash.0).collect();
    call.log(system::TRAINING, topics, abi::encode_bytes(&[&hashes]));
    Ok(())
}

/// Takes the bond of a completion; a job that cannot be disputed has none.
pub(super) fn bond(call: &mut AiCall<'_, '_>, id: &B256, completion: &TrainingCompletion) -> Result<(), Halt> {
    let Some(dispute) = dispute(call, id)? else { return refuse_value(call) };
    let bond = call.value_needed("the bond")?;
    if bond < dispute.bond {
        let asked = dispute.bond;
        return revert(format!("the bond is {bond} wei, the job asks for {asked}: send at least that"));
    }
    if !completion.artifact.is_raw() {
        return revert(
            "the result is named by a dag-pb CID, which nobody can judge: name it by the raw CID of its manifest"
                .into(),
        );
    }
    call.charge(gas::operation(1, 0, 0, 0))?;
    call.store(system::TRAINING, slot(id, jobs::BOND), U256::from(bond))
}

/// Reverts while nobody could challenge a disputable job: its base is suspended.
pub(super) fn refuse_unjudged(call: &mut AiCall<'_, '_>, id: &B256) -> Result<(), Halt> {
    if dispute(call, id)?.is_none() {
        return Ok(());
    }
    call.charge(gas::reads(4))?;
    let (base, terms) = base(call, id)?;
    engine::refuse_suspended(call, &base, &terms)
}

/// Judges a doubt about a completed job, at the price 1 of AI work. A wrong training loses its bond: half to the challenger,
/// a twentieth burned, the rest with the reward to the requester. A right one reverts the challenge, whose gas is spent.
pub(super) fn challenge(call: &mut AiCall<'_, '_>, challenge: &TrainingChallenge) -> Result<Bytes, Halt> {
    let mut job = Job::read(call, challenge.job_id)?;
    let id = job.id;
    if job.head.status != Some(JobStatus::Completed) {
        return revert(format!("training job {id} is not completed, or has ended: only a completed one is challenged"));
    }
    if call.block_number() > job.head.payable_block {
        return revert(format!("training job {id} could be challenged until block {}", job.head.payable_block));
    }
    let Some(dispute) = dispute(call, &id)? else {
        return revert(format!("training job {id} cannot be disputed: it was ordered without dispute terms"));
    };
    let bytes = challenge.plan.len().saturating_add(challenge.opening.len()) as u64;
    call.charge(gas::opening(bytes))?;
    call.charge(gas::operation(1, 6, 6, 32) + 2 * gas::PAY_OUT + 2 * gas::BURN + gas::reads(12))?;
    let digest = field(call, &id, jobs::JOB_DIGEST)?;
    if U256::from_be_slice(Cid::artifact(&challenge.plan).digest()) != digest {
        return revert(format!("the description is not the one of job {id}: take it from the order"));
    }
    let opening = Opening::decode(&challenge.opening).map_err(|error| Halt::Revert(error.to_string()))?;
    let root: B256 = call.slot(system::TRAINING, numbered_slot(&id, challenge.from, jobs::TRACE))?.into();
    if root.is_zero() && !matches!(opening, Opening::Result { .. }) {
        return revert(format!("no trace of job {id} begins at step {}", challenge.from));
    }
    let (base_id, terms) = base(call, &id)?;
    engine::refuse_suspended(call, &base_id, &terms)?;
    let graph = engine::graph(call, &base_id, &terms, LanePrice::ONE)?;
    call.charge_ai_at(LanePrice::ONE, dispute.work)?;
    let artifact = field(call, &id, jobs::ARTIFACT_DIGEST)?;
    let claims = Claims {
        from: challenge.from,
        root,
        state_hash: field(call, &id, jobs::STATE_HASH)?.into(),
        is_result: &|bytes| U256::from_be_slice(Cid::artifact(bytes).digest()) == artifact,
    };
    let judged = Plan::decode(&challenge.plan)
        .and_then(|plan| Trainer::on(plan, graph))
        .and_then(|trainer| trainer.judge(&claims, &opening));
    match judged {
        Ok(false) => {}
        Ok(true) => return revert(format!("training job {id} is right there: the judgement gave the same")),
        Err(TrainError::Machine(error)) => return Err(Halt::Stop(ExecutionError::Fault(error.to_string()))),
        Err(error) => return revert(error.to_string()),
    }
    let (trainer, challenger) = (job.trainer.trainer, call.caller);
    let requester = Address::from_word(field(call, &id, jobs::REQUESTER)?.into());
    let bond: u128 = field(call, &id, jobs::BOND)?.saturating_to();
    job.head.status = Some(JobStatus::Slashed);
    job.write(call)?;
    release(call, &id)?;
    reputation::lose_for_wrong_work(call, &trainer, bond)?;
    reputation::slash_stake(call, &terms.line, &trainer)?;
    let rest = reputation::reward_challenge(call, system::TRAINING, challenger, bond)?;
    call.pay_out(system::TRAINING, requester, U256::from(job.head.reward) + U256::from(rest))?;
    let topics = vec![keccak256(JOB_SLASHED), id, trainer.into_word(), challenger.into_word()];
    call.log(system::TRAINING, topics, Vec::new());
    Ok(Bytes::new())
}
