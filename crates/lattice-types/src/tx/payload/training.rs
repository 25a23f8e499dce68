//! Training: the commitments of a job. Nothing is trained in block validation.

use super::{action_length, decode_action, encode_action};
use crate::Cid;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{BufMut, Decodable, Encodable, RlpDecodable, RlpEncodable};

/// A job on a base version. The reward is the value sent along.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing(canonical))]
pub struct TrainingJob {
    /// The base: the id of a model's version.
    pub base_model: B256,
    /// That version's number within its line.
    pub base_version: u64,
    /// Merkle root of the data set.
    pub dataset_root: B256,
    /// CID of the job's description (adapter shape, optimiser constants).
    pub job: Cid,
    /// Seed of the batch order.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Steps between two checkpoints; a divisor of `steps`.
    pub checkpoint_interval: u64,
    /// EVM blocks, from the job's block on, that the training has to be completed in.
    pub deadline_blocks: u64,
    /// The trainer; the zero address lets the first who accepts have it.
    pub trainer: Address,
    /// Terms under which the training can be disputed; without them the trainer is trusted.
    pub dispute: Option<DisputeTerms>,
}

/// What makes the training of a job disputable.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct DisputeTerms {
    /// The job's description itself, in the form of `docs/spec/training.md`.
    pub plan: Bytes,
    /// Wei that the completion has to put at stake.
    pub bond: u128,
}

/// A commitment to the state after a step.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing(canonical))]
pub struct TrainingCheckpoint {
    /// The job's id.
    pub job_id: B256,
    /// The step, a multiple of the interval, higher than any checkpoint before.
    pub step: u64,
    /// keccak of the training state after it.
    pub state_hash: B256,
    /// CID of the checkpoint's artifact.
    pub artifact: Cid,
    /// Of a disputable job: the state hashes from the checkpoint before (or the beginning) to this one, both included.
    pub trace: Option<Vec<B256>>,
}

/// The end of a job.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct TrainingCompletion {
    /// The job's id.
    pub job_id: B256,
    /// keccak of the training state after the last step.
    pub state_hash: B256,
    /// CID of what came out: a version's or an adapter's artifact.
    pub artifact: Cid,
}

/// A doubt about the training of a completed job, with what its judgement needs.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct TrainingChallenge {
    /// The job's id.
    pub job_id: B256,
    /// The job's description.
    pub plan: Bytes,
    /// The first step of the trace that the opening is proved against: where the checkpoint before it stood.
    pub from: u64,
    /// What is doubted and its openings, in the form of `docs/spec/training.md`.
    pub opening: Bytes,
}

/// Training: one step in the life of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainingPayload {
    /// Action 0: opens a job and escrows its reward.
    Create(TrainingJob),
    /// Action 1: takes an open job.
    Accept(B256),
    /// Action 2: commits to a checkpoint.
    Checkpoint(TrainingCheckpoint),
    /// Action 3: commits to the result.
    Complete(TrainingCompletion),
    /// Action 4: takes the reward back: of a job nobody has taken, or past its deadline.
    Cancel(B256),
    /// Action 5: pays the reward out after the challenge window.
    Claim(B256),
    /// Action 6: has every validator judge one step of a completed job.
    Challenge(TrainingChallenge),
}

impl TrainingJob {
    /// Blocks that a job may take.
    pub const DEADLINE_BLOCKS_MAX: u64 = 10_000_000;
    /// Checkpoints that a job may have.
    pub const CHECKPOINTS_MAX: u64 = 65_536;
    /// Steps between two checkpoints of a disputable job: a checkpoint carries a hash of each.
    pub const TRACE_STEPS_MAX: u64 = 2_048;
    /// Bytes of the description of a disputable job.
    pub const PLAN_BYTES_MAX: usize = 4_096;

    fn check(&self) -> Result<(), String> {
        if self.steps == 0 {
            return Err("steps is 0: a job has at least one".into());
        }
        if self.checkpoint_interval == 0 || !self.steps.is_multiple_of(self.checkpoint_interval) {
            return Err(format!(
                "checkpoint_interval is {}, it must divide the {} steps",
                self.checkpoint_interval, self.steps
            ));
        }
        if self.steps / self.checkpoint_interval > Self::CHECKPOINTS_MAX {
            return Err(format!("more than {} checkpoints: raise the interval", Self::CHECKPOINTS_MAX));
        }
        let max = Self::DEADLINE_BLOCKS_MAX;
        if self.deadline_blocks == 0 || self.deadline_blocks > max {
            return Err(format!("deadline_blocks is {}, allowed are 1 to {max}", self.deadline_blocks));
        }
        match &self.dispute {
            Some(terms) => self.check_dispute(terms),
            None => Ok(()),
        }
    }

    fn check_dispute(&self, terms: &DisputeTerms) -> Result<(), String> {
        if terms.bond == 0 {
            return Err("the bond is 0: a completion without a bond costs a liar nothing".into());
        }
        let (len, max) = (terms.plan.len(), Self::PLAN_BYTES_MAX);
        if len > max {
            return Err(format!("the description has {len} bytes, at most {max} can be disputed"));
        }
        if Cid::artifact(&terms.plan) != self.job {
            return Err("the description is not the content of the artifact that job names".into());
        }
        if self.checkpoint_interval > Self::TRACE_STEPS_MAX {
            return Err(format!(
                "checkpoint_interval is {}, a disputable job has at most {}: its checkpoints carry a hash of each step",
                self.checkpoint_interval,
                Self::TRACE_STEPS_MAX
            ));
        }
        Ok(())
    }
}

impl TrainingPayload {
    /// The job that the payload is about; `None` for a new one, whose id depends on the sender.
    pub const fn job_id(&self) -> Option<B256> {
        match self {
            Self::Create(_) => None,
            Self::Accept(id) | Self::Cancel(id) | Self::Claim(id) => Some(*id),
            Self::Checkpoint(checkpoint) => Some(checkpoint.job_id),
            Self::Complete(completion) => Some(completion.job_id),
            Self::Challenge(challenge) => Some(challenge.job_id),
        }
    }

    fn parts(&self) -> (u8, &dyn Encodable) {
        match self {
            Self::Create(job) => (0, job),
            Self::Accept(id) => (1, id),
            Self::Checkpoint(checkpoint) => (2, checkpoint),
            Self::Complete(completion) => (3, completion),
            Self::Cancel(id) => (4, id),
            Self::Claim(id) => (5, id),
            Self::Challenge(challenge) => (6, challenge),
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Create(job) => job.check(),
            Self::Checkpoint(checkpoint) if checkpoint.step == 0 => {
                Err("the step is 0: the first checkpoint follows the first interval".into())
            }
            Self::Checkpoint(TrainingCheckpoint { trace: Some(trace), .. })
                if !(2..=TrainingJob::TRACE_STEPS_MAX + 1).contains(&(trace.len() as u64)) =>
            {
                let max = TrainingJob::TRACE_STEPS_MAX + 1;
                Err(format!("the trace has {} hashes, allowed are 2 to {max}", trace.len()))
            }
            _ => Ok(()),
        }
    }
}

impl Encodable for TrainingPayload {
    fn encode(&self, out: &mut dyn BufMut) {
        let (action, body) = self.parts();
        encode_action(action, body, out);
    }

    fn length(&self) -> usize {
        let (action, body) = self.parts();
        action_length(action, body)
    }
}

impl Decodable for TrainingPayload {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        decode_action(buf, |action, body| match action {
            0 => Decodable::decode(body).map(Self::Create),
            1 => Decodable::decode(body).map(Self::Accept),
            2 => Decodable::decode(body).map(Self::Checkpoint),
            3 => Decodable::decode(body).map(Self::Complete),
            4 => Decodable::decode(body).map(Self::Cancel),
            5 => Decodable::decode(body).map(Self::Claim),
            6 => Decodable::decode(body).map(Self::Challenge),
            _ => Err(alloy_rlp::Error::Custom(
                "unknown action: 0 create, 1 accept, 2 checkpoint, 3 complete, 4 cancel, 5 claim, 6 challenge",
            )),
        })
    }
}
