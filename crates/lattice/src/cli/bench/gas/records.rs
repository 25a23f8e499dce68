//! Operations on records: each once in a block of its own, on a state that the operations before it have made.

use super::{
    Plan, Row, disputes,
    lab::{Call, Lab},
};
use crate::{failure::Failure, registry::Package};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use lattice_execution::ai::{ANSWER_CHALLENGE_BLOCKS, TRAINING_CHALLENGE_BLOCKS, UNSTAKE_BLOCKS};
use lattice_inference::Graph;
use lattice_types::{
    Cid,
    spec::DEV_ACCOUNTS,
    system,
    tx::{
        InferencePayload, LoraAdapter, LoraComposition, LoraPart, LoraPayload, ModelDeployPayload, ModelUpdatePayload,
        RequestTerms, TrainingCheckpoint, TrainingCompletion, TrainingJob, TrainingPayload,
        operation::{
            AcceptModel, AllowAccounts, AnswerRequest, ChallengeAnswer, CollectStake, DepositCredits, OfferModel,
            Operation, PermitModel, RetireModel, SettleRequest, StakeOnModel, UnstakeFromModel, WithdrawCredits,
        },
    },
};

/// Accounts: who owns the model, who asks, who works, and a third.
const OWNER: usize = 0;
pub(super) const ASKER: usize = 1;
pub(super) const WORKER: usize = 2;
pub(super) const OTHER: usize = 3;

/// The measurement in progress: operations happen on the lab, and some of them become rows.
pub(super) struct Script<'p> {
    plan: &'p Plan,
    pub(super) lab: Lab,
    rows: Vec<Row>,
}

impl Script<'_> {
    /// Measures an operation, then does it; its output.
    pub(super) fn step(&mut self, name: &str, call: &Call) -> Result<Bytes, Failure> {
        if self.plan.wants(name) {
            let empty = Row::new("", "", 1, self.plan.samples(|| self.lab.empty())?).ms;
            let ms = self.plan.samples(|| self.lab.try_act(call).map(|done| done.cpu))?;
            let gas = self.lab.try_act(call)?.gas;
            let own = ms.into_iter().map(|ms| (ms - empty).max(0.0)).collect();
            self.rows.push(Row::new("record", name, gas, own));
        }
        self.lab.act(call)
    }

    pub(super) fn id(&mut self, name: &str, call: &Call) -> Result<B256, Failure> {
        let output = self.step(name, call)?;
        match output.len() {
            32.. => Ok(B256::from_slice(&output[..32])),
            len => Err(Failure::new(format!("{name} answered {len} bytes, not an id"))),
        }
    }
}

fn address(index: usize) -> Address {
    DEV_ACCOUNTS[index].0
}

/// A call of a door with a payload behind its class's type byte.
pub(super) fn class(from: usize, ty: u8, payload: &impl Encodable) -> Call {
    let door = system::account_of(ty).unwrap_or(system::MODELS);
    Call::new(from, door, [&[ty], alloy_rlp::encode(payload).as_slice()].concat())
}

fn models(from: usize, operation: &impl Operation) -> Call {
    Call::new(from, system::MODELS, operation.input())
}

pub(super) fn inference(from: usize, operation: &impl Operation) -> Call {
    Call::new(from, system::INFERENCE, operation.input())
}

pub(super) fn rows(plan: &Plan, digits: &Graph) -> Result<Vec<Row>, Failure> {
    let mut script = Script { plan, lab: Lab::new(vec![digits.clone()])?, rows: Vec::new() };
    let deploy = Package::new(digits, "digits")?.payload().clone();
    script.step("ModelDeploy", &class(OWNER, 0x50, &deploy))?;
    script.lab.activate(deploy.model_id)?;
    lines(&mut script, &deploy)?;
    inferences(&mut script, &deploy)?;
    training(&mut script, &deploy)?;
    disputes::training(&mut script, digits)?;
    disputes::traced(&mut script, digits)?;
    adapters(&mut script, &deploy)?;
    money(&mut script, &deploy)?;
    script.step("retire", &models(OWNER, &RetireModel { model_id: deploy.model_id }))?;
    Ok(script.rows)
}

fn lines(script: &mut Script<'_>, deploy: &ModelDeployPayload) -> Result<(), Failure> {
    let model_id = deploy.model_id;
    let version = ModelDeployPayload { model_id: B256::repeat_byte(8), ..deploy.clone() };
    let update = ModelUpdatePayload { model_id, parent_version: 1, version, delta: None };
    script.step("ModelUpdate", &class(OWNER, 0x51, &update))?;
    script.step("offer", &models(OWNER, &OfferModel { model_id, to: address(OTHER) }))?;
    script.step("accept", &models(OTHER, &AcceptModel { model_id }))?;
    script.lab.act(&models(OTHER, &OfferModel { model_id, to: address(OWNER) }))?;
    script.lab.act(&models(OWNER, &AcceptModel { model_id }))?;
    script.step("permit", &models(OWNER, &PermitModel { model_id, mode: 1, price: 0 }))?;
    let accounts = (0..16).map(|byte| Address::repeat_byte(0x80 + byte)).collect();
    script.step("allow 16 accounts", &models(OWNER, &AllowAccounts { model_id, accounts, allowed: true }))?;
    script.lab.act(&models(OWNER, &PermitModel { model_id, mode: 0, price: 0 })).map(drop)
}

fn inferences(script: &mut Script<'_>, deploy: &ModelDeployPayload) -> Result<(), Failure> {
    let (model_id, input) = (deploy.model_id, Bytes::from(vec![0; deploy.input_bytes as usize]));
    let graded = |grade, terms| {
        let payload = InferencePayload { model_id, grade, input: input.clone(), terms };
        class(ASKER, 0x52, &payload)
    };
    let output = script.lab.act(&graded(InferencePayload::REPLAY, None))?;
    let other = Call { from: OTHER, ..graded(InferencePayload::REPLAY, None) };
    script.step("Inference, replay", &other)?;
    script.step("Inference, proof", &graded(InferencePayload::PROOF, None).value(40))?;
    let terms = RequestTerms { answer_blocks: 50, bond: 1_000 };
    let bonded = graded(InferencePayload::BONDED, Some(terms)).value(300);
    let request_id = script.id("Inference, bonded", &bonded)?;
    let answer = |request_id, output: Bytes| inference(WORKER, &AnswerRequest { request_id, output }).value(1_000);
    script.step("answer", &answer(request_id, output.clone()))?;
    script.lab.skip(ANSWER_CHALLENGE_BLOCKS + 1);
    script.step("settle", &inference(OTHER, &SettleRequest { request_id }))?;
    let request_id = B256::from_slice(&script.lab.act(&bonded)?);
    script.lab.act(&answer(request_id, vec![1; output.len()].into()))?;
    script.step("challenge", &inference(OTHER, &ChallengeAnswer { request_id, input: input.clone() }))?;
    let prove = [model_id.as_slice(), keccak256(&input).as_slice(), &U256::from(30).to_be_bytes::<32>()].concat();
    let request = script.id("ZK_PROVE, request", &Call::new(ASKER, system::ZK_PROVE, prove).value(50))?;
    script.step("ZK_PROVE, status", &Call::new(ASKER, system::ZK_PROVE, request.to_vec())).map(drop)
}

fn training(script: &mut Script<'_>, deploy: &ModelDeployPayload) -> Result<(), Failure> {
    let job = TrainingJob {
        base_model: deploy.model_id,
        base_version: 1,
        dataset_root: B256::repeat_byte(5),
        job: Cid::raw(b"job"),
        seed: 7,
        steps: 20,
        checkpoint_interval: 10,
        deadline_blocks: 500,
        trainer: Address::ZERO,
        dispute: None,
    };
    let act = |from, payload: &TrainingPayload| class(from, 0x53, payload);
    let job_id = script.id("Training, create", &act(ASKER, &TrainingPayload::Create(job.clone())).value(700))?;
    script.step("Training, accept", &act(WORKER, &TrainingPayload::Accept(job_id)))?;
    let state_hash = B256::repeat_byte(6);
    for (name, step) in [("Training, checkpoint", 10), ("Training, last checkpoint", 20)] {
        let artifact = Cid::raw(name.as_bytes());
        let checkpoint = TrainingCheckpoint { job_id, step, state_hash, artifact, trace: None };
        script.step(name, &act(WORKER, &TrainingPayload::Checkpoint(checkpoint)))?;
    }
    let completion = TrainingCompletion { job_id, state_hash, artifact: Cid::raw(b"result") };
    script.step("Training, complete", &act(WORKER, &TrainingPayload::Complete(completion)))?;
    script.lab.skip(TRAINING_CHALLENGE_BLOCKS + 1);
    script.step("Training, claim", &act(OTHER, &TrainingPayload::Claim(job_id)))?;
    let open = act(ASKER, &TrainingPayload::Create(job)).value(700);
    let job_id = B256::from_slice(&script.lab.act(&open)?);
    script.step("Training, cancel", &act(ASKER, &TrainingPayload::Cancel(job_id))).map(drop)
}

fn adapters(script: &mut Script<'_>, deploy: &ModelDeployPayload) -> Result<(), Failure> {
    let mut parts = Vec::new();
    for name in ["LoRA, adapter", "LoRA, second adapter"] {
        let adapter = LoraAdapter {
            base_model: deploy.model_id,
            base_version: 1,
            artifact: Cid::raw(name.as_bytes()),
            artifact_bytes: 2_000,
            rank: 4,
            alpha: 65_536,
            name: name.into(),
        };
        let call = class(WORKER, 0x54, &LoraPayload::Adapter(adapter));
        parts.push(LoraPart { adapter: script.id(name, &call)?, weight: 65_536 });
    }
    let composition = LoraComposition { method: 0, parts, name: "mix".into() };
    script.step("LoRA, composition", &class(WORKER, 0x54, &LoraPayload::Compose(composition))).map(drop)
}

fn money(script: &mut Script<'_>, deploy: &ModelDeployPayload) -> Result<(), Failure> {
    let model_id = deploy.model_id;
    script.step("deposit", &models(ASKER, &DepositCredits { account: address(ASKER) }).value(90))?;
    script.step("withdraw", &models(ASKER, &WithdrawCredits { amount: 60 }))?;
    script.step("stake", &models(ASKER, &StakeOnModel { model_id }).value(12))?;
    script.step("unstake", &models(ASKER, &UnstakeFromModel { model_id, amount: 5 }))?;
    script.lab.skip(UNSTAKE_BLOCKS + 1);
    script.step("collect", &models(ASKER, &CollectStake { model_id })).map(drop)
}
