//! TRAINING: the life of a job (class Training). Only commitments: nothing is trained in block validation. The training of
//! a job with dispute terms can be challenged (`disputes.rs`); of any other one, who orders it trusts the trainer.

use super::{decode, disputes, refuse_value, require_plain_call, unknown_operation};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    gas,
    records::{
        jobs::{self, JobHead, JobPlan, JobStatus, JobTrainer, TRAINING_CHALLENGE_BLOCKS},
        models::{ModelStatus, ModelTerms, is_dag_pb},
        reputation, slot,
        versions::chain_hash,
    },
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_types::{
    system,
    tx::{Training, TrainingCheckpoint, TrainingCompletion, TrainingJob, TrainingPayload},
};

/// Signatures of the logs. The last byte string of the first, third and fourth is a CID.
pub(super) const JOB_CREATED: &[u8] = b"TrainingJobCreated(bytes32,bytes32,address,bytes)";
const JOB_ACCEPTED: &[u8] = b"TrainingJobAccepted(bytes32,address)";
pub(super) const JOB_CHECKPOINTED: &[u8] = b"TrainingCheckpointed(bytes32,uint256,bytes32,bytes)";
pub(super) const JOB_COMPLETED: &[u8] = b"TrainingCompleted(bytes32,address,bytes32,bytes)";
const JOB_CANCELLED: &[u8] = b"TrainingJobCancelled(bytes32,address)";
const JOB_PAID: &[u8] = b"TrainingJobPaid(bytes32,address)";

/// A job as an operation sees it.
pub(super) struct Job {
    pub(super) id: B256,
    pub(super) head: JobHead,
    pub(super) trainer: JobTrainer,
}

impl Job {
    pub(super) fn read(call: &mut AiCall<'_, '_>, id: B256) -> Result<Self, Halt> {
        let head = JobHead::decode(call.slot(system::TRAINING, slot(&id, jobs::HEAD))?);
        if head.status.is_none() {
            return Err(Halt::Revert(format!("there is no training job {id}: create it first")));
        }
        let trainer = JobTrainer::decode(call.slot(system::TRAINING, slot(&id, jobs::TRAINER))?);
        Ok(Self { id, head, trainer })
    }

    pub(super) fn write(&self, call: &mut AiCall<'_, '_>) -> Result<(), Halt> {
        call.store(system::TRAINING, slot(&self.id, jobs::HEAD), self.head.encode())?;
        call.store(system::TRAINING, slot(&self.id, jobs::TRAINER), self.trainer.encode())
    }

    /// The caller is the job's trainer, at work and in time.
    fn require_trainer(&self, call: &AiCall<'_, '_>) -> Result<(), Halt> {
        let (id, caller) = (self.id, call.caller);
        if self.head.status != Some(JobStatus::Accepted) {
            return Err(Halt::Revert(format!("training job {id} is not being trained: accept it first")));
        }
        if self.trainer.trainer != caller {
            let trainer = self.trainer.trainer;
            return Err(Halt::Revert(format!(
                "training job {id} is {trainer}'s, not {caller}'s: its trainer has to do this"
            )));
        }
        self.require_time(call)
    }

    fn require_time(&self, call: &AiCall<'_, '_>) -> Result<(), Halt> {
        let deadline = self.head.deadline_block;
        match call.block_number() <= deadline {
            true => Ok(()),
            false => Err(Halt::Revert(format!("the deadline of training job {} was block {deadline}", self.id))),
        }
    }
}

/// TRAINING: takes a Training payload behind its type byte.
pub(super) fn enter(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    let input = call.input.clone();
    match input.first() {
        Some(&system::TX_TRAINING) => training(call, &input.slice(1..)),
        op => refuse_value(call).and_then(|()| Err(unknown_operation("TRAINING", op.copied().unwrap_or(0)))),
    }
}

fn training(call: &mut AiCall<'_, '_>, input: &Bytes) -> Result<Bytes, Halt> {
    require_plain_call(call, "Training")?;
    let payload = decode::<Training>(input, "Training")?;
    if !matches!(payload, TrainingPayload::Create(_) | TrainingPayload::Complete(_)) {
        refuse_value(call)?;
    }
    match payload {
        TrainingPayload::Create(job) => create(call, &job),
        TrainingPayload::Accept(id) => accept(call, id),
        TrainingPayload::Checkpoint(checkpoint) => step(call, &checkpoint, input),
        TrainingPayload::Complete(completion) => complete(call, &completion, input),
        TrainingPayload::Cancel(id) => cancel(call, id),
        TrainingPayload::Claim(id) => claim(call, id),
        TrainingPayload::Challenge(challenge) => disputes::challenge(call, &challenge),
    }
}

/// Opens a job. Output: its id.
fn create(call: &mut AiCall<'_, '_>, job: &TrainingJob) -> Result<Bytes, Halt> {
    let base = ModelTerms::read_with(call, &job.base_model)?;
    let usable = base.filter(|base| {
        base.status == ModelStatus::Active && !base.retired && u64::from(base.version) == job.base_version
    });
    let Some(base) = usable else {
        let (model, version) = (job.base_model, job.base_version);
        return Err(Halt::Revert(format!("{model} is not an active version {version}: name the base's id and number")));
    };
    let reward = call.value_needed("the reward")?;
    let cid = job.job.to_bytes();
    call.charge(gas::operation(9, 0, 4, gas::abi_bytes(36)))?;
    let dispute = match &job.dispute {
        Some(terms) => Some(disputes::admit(call, job, &base, terms)?),
        None => None,
    };
    let index: u64 = call.slot(system::TRAINING, jobs::JOBS_SLOT)?.saturating_to();
    call.store(system::TRAINING, jobs::JOBS_SLOT, U256::from(index) + U256::ONE)?;
    let id = jobs::job_id(&call.caller, index);
    let now = call.block_number();
    let head = JobHead {
        status: Some(JobStatus::Open),
        created_block: now,
        deadline_block: now.saturating_add(job.deadline_blocks),
        payable_block: 0,
        reward,
    };
    let plan = JobPlan {
        job_dag_pb: is_dag_pb(&job.job),
        base_version: base.version,
        seed: job.seed,
        steps: job.steps,
        checkpoint_interval: job.checkpoint_interval,
    };
    let requester = call.caller.into_word();
    let fields = [
        (jobs::REQUESTER, U256::from_be_bytes(requester.0)),
        (jobs::BASE, U256::from_be_bytes(job.base_model.0)),
        (jobs::DATASET, U256::from_be_bytes(job.dataset_root.0)),
        (jobs::JOB_DIGEST, U256::from_be_slice(job.job.digest())),
        (jobs::PLAN, plan.encode()),
    ];
    for (field, value) in fields {
        call.store(system::TRAINING, slot(&id, field), value)?;
    }
    if let Some(dispute) = dispute {
        call.store(system::TRAINING, slot(&id, jobs::DISPUTE), dispute.encode())?;
    }
    Job { id, head, trainer: JobTrainer { trainer: job.trainer, ..JobTrainer::default() } }.write(call)?;
    log(call, vec![keccak256(JOB_CREATED), id, job.base_model, requester], &[&cid]);
    Ok(Bytes::copy_from_slice(id.as_slice()))
}

/// Takes an open job: the named trainer, or the first who comes.
fn accept(call: &mut AiCall<'_, '_>, id: B256) -> Result<Bytes, Halt> {
    let mut job = Job::read(call, id)?;
    let (named, caller) = (job.trainer.trainer, call.caller);
    if job.head.status != Some(JobStatus::Open) {
        return Err(Halt::Revert(format!("training job {id} is not open: choose another one")));
    }
    if named != Address::ZERO && named != caller {
        return Err(Halt::Revert(format!("training job {id} is for {named}: choose another one")));
    }
    job.require_time(call)?;
    call.charge(gas::operation(1, 1, 3, 0))?;
    job.head.status = Some(JobStatus::Accepted);
    job.trainer.trainer = caller;
    job.write(call)?;
    log(call, vec![keccak256(JOB_ACCEPTED), id, caller.into_word()], &[]);
    Ok(Bytes::new())
}

/// Commits to the state after a step.
fn step(call: &mut AiCall<'_, '_>, checkpoint: &TrainingCheckpoint, input: &Bytes) -> Result<Bytes, Halt> {
    let mut job = Job::read(call, checkpoint.job_id)?;
    job.require_trainer(call)?;
    let plan = JobPlan::decode(call.slot(system::TRAINING, slot(&job.id, jobs::PLAN))?);
    let (step, last) = (checkpoint.step, job.trainer.step);
    if step <= last || step > plan.steps || !step.is_multiple_of(plan.checkpoint_interval) {
        return Err(Halt::Revert(format!(
            "step {step} does not follow step {last}: checkpoints rise by multiples of {} up to {}",
            plan.checkpoint_interval, plan.steps
        )));
    }
    let cid = checkpoint.artifact.to_bytes();
    call.charge(gas::operation(3, 2, 4, gas::abi_bytes(36)))?;
    disputes::trace(call, &job, checkpoint)?;
    job.trainer.step = step;
    job.trainer.checkpoints = job.trainer.checkpoints.saturating_add(1);
    job.write(call)?;
    record(call, &job.id, checkpoint.state_hash, checkpoint.artifact.digest(), input)?;
    let step = B256::from(U256::from(step));
    log(call, vec![keccak256(JOB_CHECKPOINTED), job.id, step, checkpoint.state_hash], &[&cid]);
    Ok(Bytes::new())
}

/// Commits to the result; the challenge window begins.
fn complete(call: &mut AiCall<'_, '_>, completion: &TrainingCompletion, input: &Bytes) -> Result<Bytes, Halt> {
    let mut job = Job::read(call, completion.job_id)?;
    job.require_trainer(call)?;
    let plan = JobPlan::decode(call.slot(system::TRAINING, slot(&job.id, jobs::PLAN))?);
    let state_hash: B256 = call.slot(system::TRAINING, slot(&job.id, jobs::STATE_HASH))?.into();
    if job.trainer.step != plan.steps || state_hash != completion.state_hash {
        return Err(Halt::Revert(format!(
            "the last checkpoint is step {} with state {state_hash}: complete with the state of step {}",
            job.trainer.step, plan.steps
        )));
    }
    let cid = completion.artifact.to_bytes();
    call.charge(gas::operation(3, 2, 4, gas::abi_bytes(36)))?;
    disputes::bond(call, &job.id, completion)?;
    job.head.status = Some(JobStatus::Completed);
    job.head.payable_block = call.block_number().saturating_add(TRAINING_CHALLENGE_BLOCKS);
    job.write(call)?;
    record(call, &job.id, completion.state_hash, completion.artifact.digest(), input)?;
    let trainer = call.caller.into_word();
    log(call, vec![keccak256(JOB_COMPLETED), job.id, trainer, completion.state_hash], &[&cid]);
    Ok(Bytes::new())
}

/// Gives the reward back: of a job that nobody took, or that its trainer did not complete in time.
fn cancel(call: &mut AiCall<'_, '_>, id: B256) -> Result<Bytes, Halt> {
    let mut job = Job::read(call, id)?;
    let caller = call.caller;
    let requester = Address::from_word(call.slot(system::TRAINING, slot(&id, jobs::REQUESTER))?.into());
    if requester != caller {
        return Err(Halt::Revert(format!("training job {id} was ordered by {requester}: only they can cancel it")));
    }
    let abandoned = match job.head.status {
        Some(JobStatus::Open) => false,
        Some(JobStatus::Accepted) if call.block_number() > job.head.deadline_block => true,
        Some(JobStatus::Accepted) => {
            let deadline = job.head.deadline_block;
            return Err(Halt::Revert(format!(
                "training job {id} is being trained until block {deadline}: cancel it after that"
            )));
        }
        _ => {
            return Err(Halt::Revert(format!("training job {id} has ended or is completed: nothing can be cancelled")));
        }
    };
    call.charge(gas::operation(1, 2, 3, 0) + gas::PAY_OUT)?;
    job.head.status = Some(JobStatus::Cancelled);
    job.write(call)?;
    disputes::release(call, &id)?;
    if abandoned {
        reputation::lose_for_abandoned_work(call, &job.trainer.trainer, job.head.reward)?;
    }
    call.pay_out(system::TRAINING, requester, U256::from(job.head.reward))?;
    log(call, vec![keccak256(JOB_CANCELLED), id, requester.into_word()], &[]);
    Ok(Bytes::new())
}

/// Pays the trainer after the challenge window. Anybody may ask for it.
fn claim(call: &mut AiCall<'_, '_>, id: B256) -> Result<Bytes, Halt> {
    let mut job = Job::read(call, id)?;
    if job.head.status != Some(JobStatus::Completed) {
        return Err(Halt::Revert(format!("training job {id} is not waiting for its payment")));
    }
    let payable = job.head.payable_block;
    if call.block_number() <= payable {
        return Err(Halt::Revert(format!(
            "the challenge window of training job {id} ends with block {payable}: claim after it"
        )));
    }
    call.charge(gas::operation(1, 2, 3, 0) + gas::PAY_OUT + gas::BURN)?;
    let trainer = job.trainer.trainer;
    disputes::refuse_unjudged(call, &id)?;
    disputes::release(call, &id)?;
    job.head.status = Some(JobStatus::Paid);
    job.write(call)?;
    let bond = call.slot(system::TRAINING, slot(&id, jobs::BOND))?.saturating_to();
    reputation::pay_work(call, system::TRAINING, trainer, job.head.reward, bond)?;
    log(call, vec![keccak256(JOB_PAID), id, trainer.into_word()], &[]);
    Ok(Bytes::new())
}

/// State hash, artifact and the hash chain over all payloads of the trainer.
fn record(call: &mut AiCall<'_, '_>, id: &B256, state: B256, digest: &[u8], input: &Bytes) -> Result<(), Halt> {
    let chain = call.slot(system::TRAINING, slot(id, jobs::CHAIN))?;
    let fields = [
        (jobs::STATE_HASH, U256::from_be_bytes(state.0)),
        (jobs::ARTIFACT_DIGEST, U256::from_be_slice(digest)),
        (jobs::CHAIN, chain_hash(chain, input)),
    ];
    fields.into_iter().try_for_each(|(field, value)| call.store(system::TRAINING, slot(id, field), value))
}

fn log(call: &mut AiCall<'_, '_>, topics: Vec<B256>, data: &[&[u8]]) {
    call.log(system::TRAINING, topics, abi::encode_bytes(data));
}
