//! Operations of disputes: a training whose trainer lies about its last step, and a traced answer with one wrong value.

use super::records::{ASKER, OTHER, Script, WORKER, class, inference};
use crate::failure::Failure;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use lattice_inference::Graph;
use lattice_training::{
    dispute::{self, ActivationTrace},
    train::{Dataset, Loss, Optimiser, Plan, State, Target, Trace, Trainer},
};
use lattice_types::{
    Cid,
    tx::{
        DisputeTerms, InferencePayload, RequestTerms, TrainingChallenge, TrainingCheckpoint, TrainingCompletion,
        TrainingJob, TrainingPayload,
        operation::{AnswerTraced, ChallengeOperator},
    },
};

const STEPS: u64 = 20;

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// Measures the life of a disputable job on this base.
pub(super) fn training(script: &mut Script<'_>, base: &Graph) -> Result<(), Failure> {
    let pixels: Vec<f32> = (0..64 * 64).map(|i| (i * 37 % 17) as f32).collect();
    let classes: Vec<f32> = (0..64).map(|i| (i % 10) as f32).collect();
    let data = Dataset::new(&pixels, 64, &classes, 1).map_err(failed)?;
    let plan = Plan {
        base: base.model_id(),
        dataset: data.root(),
        seed: 7,
        steps: STEPS,
        interval: STEPS,
        batch: 16,
        loss: Loss::CrossEntropy,
        optimiser: Optimiser::Adam { rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 },
        target: Target::Lora { rank: 4, scale: 1.0, modules: Vec::new() },
    };
    let bytes = Bytes::from(plan.encode());
    let trainer = Trainer::new(plan, base).map_err(failed)?;
    let mut hashes = Vec::new();
    let each = |state: &State| {
        hashes.push(state.hash());
        Ok(())
    };
    let last = trainer.train(trainer.start(), &data, each).map_err(failed)?;
    hashes[STEPS as usize] = keccak256(b"a lie");
    let job = TrainingJob {
        base_model: base.model_id(),
        base_version: 1,
        dataset_root: data.root(),
        job: Cid::artifact(&bytes),
        seed: 7,
        steps: STEPS,
        checkpoint_interval: STEPS,
        deadline_blocks: 500,
        trainer: Address::ZERO,
        dispute: Some(DisputeTerms { plan: bytes.clone(), bond: 1_000 }),
    };
    let act = |from, payload: &TrainingPayload| class(from, 0x53, payload);
    let job_id = script.id("Training, create with a bond", &act(ASKER, &TrainingPayload::Create(job)).value(700))?;
    script.lab.act(&act(WORKER, &TrainingPayload::Accept(job_id)))?;
    let (state_hash, artifact) = (hashes[STEPS as usize], Cid::artifact(&last.encode()));
    let checkpoint = TrainingCheckpoint { job_id, step: STEPS, state_hash, artifact, trace: Some(hashes.clone()) };
    script.step("Training, checkpoint with a trace", &act(WORKER, &TrainingPayload::Checkpoint(checkpoint)))?;
    let completion = TrainingCompletion { job_id, state_hash, artifact };
    let complete = act(WORKER, &TrainingPayload::Complete(completion)).value(1_000);
    script.step("Training, complete under a bond", &complete)?;
    let doubt = trainer.doubt(&data, &[Trace { hashes }], &|_| true).map_err(failed)?;
    let (from, opening) = doubt.ok_or_else(|| failed("a lie was not found"))?;
    let challenge = TrainingChallenge { job_id, plan: bytes, from, opening: opening.encode().into() };
    script.step("Training, challenge", &act(OTHER, &TrainingPayload::Challenge(challenge))).map(drop)
}

/// Measures a traced request of this model.
pub(super) fn traced(script: &mut Script<'_>, model: &Graph) -> Result<(), Failure> {
    let (model_id, input) = (model.model_id(), Bytes::from(vec![0; model.input_bytes()]));
    let terms = Some(RequestTerms { answer_blocks: 50, bond: 1_000 });
    let payload = InferencePayload { model_id, grade: InferencePayload::TRACED, input: input.clone(), terms };
    let request_id = script.id("Inference, traced", &class(ASKER, 0x52, &payload).value(300))?;
    let (mut trace, output) = ActivationTrace::of(model, &input).map_err(failed)?;
    trace.steps[1][0] = B256::ZERO;
    let answer = AnswerTraced { request_id, output: output.into(), trace: trace.steps.clone() };
    script.step("answer with a trace", &inference(WORKER, &answer).value(1_000))?;
    let opened = dispute::doubt(model, &trace, &input).map_err(failed)?;
    let opening = opened.ok_or_else(|| failed("a lie was not found"))?.encode().into();
    script.step("challenge of an operator", &inference(OTHER, &ChallengeOperator { request_id, opening })).map(drop)
}
