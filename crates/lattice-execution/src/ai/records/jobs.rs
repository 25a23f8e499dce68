//! Training jobs in TRAINING: what was ordered, how far it is, what it pays. Only commitments; nothing is trained here.

use super::{Word, models::cid, slot};
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::State;
use lattice_types::{Cid, system};

/// Blocks between a job's completion and its payment.
pub const TRAINING_CHALLENGE_BLOCKS: u64 = 240;
/// Slot of the number of jobs ever.
pub(crate) const JOBS_SLOT: U256 = U256::ZERO;

/// Fields of a job.
pub(crate) const HEAD: u8 = 0x40;
pub(crate) const REQUESTER: u8 = 0x41;
pub(crate) const TRAINER: u8 = 0x42;
pub(crate) const BASE: u8 = 0x43;
pub(crate) const DATASET: u8 = 0x44;
pub(crate) const JOB_DIGEST: u8 = 0x45;
pub(crate) const PLAN: u8 = 0x46;
pub(crate) const STATE_HASH: u8 = 0x47;
pub(crate) const ARTIFACT_DIGEST: u8 = 0x48;
pub(crate) const CHAIN: u8 = 0x49;
/// Of a disputable job: the work of a judgement, and the bond asked for.
pub(crate) const DISPUTE: u8 = 0x4a;
/// The bond given.
pub(crate) const BOND: u8 = 0x4b;
/// With the step it begins at: Merkle root of a checkpoint's part of the trace.
pub(crate) const TRACE: u8 = 0x4c;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// Nobody trains it.
    Open,
    /// Its trainer is at work.
    Accepted,
    /// The result is there; the challenge window runs.
    Completed,
    /// The reward was paid to the trainer.
    Paid,
    /// The reward went back to the requester.
    Cancelled,
    /// A challenge proved the training wrong; the reward went back, the bond was taken apart.
    Slashed,
}

impl JobStatus {
    const fn code(self) -> u64 {
        match self {
            Self::Open => 1,
            Self::Accepted => 2,
            Self::Completed => 3,
            Self::Paid => 4,
            Self::Cancelled => 5,
            Self::Slashed => 6,
        }
    }

    const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Accepted),
            3 => Some(Self::Completed),
            4 => Some(Self::Paid),
            5 => Some(Self::Cancelled),
            6 => Some(Self::Slashed),
            _ => None,
        }
    }
}

/// First field of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JobHead {
    /// `None`: there is no such job.
    pub(crate) status: Option<JobStatus>,
    pub(crate) created_block: u64,
    pub(crate) deadline_block: u64,
    pub(crate) payable_block: u64,
    pub(crate) reward: u128,
}

impl JobHead {
    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self {
            status: JobStatus::from_code(word.short(0, 1)),
            created_block: word.short(1, 5),
            deadline_block: word.short(6, 5),
            payable_block: word.short(11, 5),
            reward: word.number(16, 16),
        }
    }

    pub(crate) fn encode(&self) -> U256 {
        let word = Word::default().with(0, 1, self.status.map_or(0, JobStatus::code)).with(1, 5, self.created_block);
        word.with(6, 5, self.deadline_block).with(11, 5, self.payable_block).with(16, 16, self.reward).value()
    }
}

/// Trainer and progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JobTrainer {
    pub(crate) trainer: Address,
    pub(crate) checkpoints: u32,
    pub(crate) step: u64,
}

impl JobTrainer {
    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self { trainer: word.address(0), checkpoints: word.short(20, 4) as u32, step: word.short(24, 8) }
    }

    pub(crate) fn encode(&self) -> U256 {
        Word::default().with_address(0, &self.trainer).with(20, 4, self.checkpoints).with(24, 8, self.step).value()
    }
}

/// Base version, codecs, seed and steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JobPlan {
    pub(crate) job_dag_pb: bool,
    pub(crate) base_version: u32,
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    pub(crate) checkpoint_interval: u64,
}

impl JobPlan {
    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self {
            job_dag_pb: word.short(0, 1) != 0,
            base_version: word.short(4, 4) as u32,
            seed: word.short(8, 8),
            steps: word.short(16, 8),
            checkpoint_interval: word.short(24, 8),
        }
    }

    pub(crate) fn encode(&self) -> U256 {
        let word = Word::default().with(0, 1, u64::from(self.job_dag_pb)).with(4, 4, self.base_version);
        word.with(8, 8, self.seed).with(16, 8, self.steps).with(24, 8, self.checkpoint_interval).value()
    }
}

/// What a disputable job asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobDispute {
    /// AI work of one judgement, loading apart.
    pub work: u64,
    /// Wei that the completion has to put at stake.
    pub bond: u128,
}

impl JobDispute {
    /// `None`: the job cannot be disputed.
    pub(crate) fn decode(value: U256) -> Option<Self> {
        let word = Word::new(value);
        (!value.is_zero()).then(|| Self { work: word.short(0, 8), bond: word.number(16, 16) })
    }

    pub(crate) fn encode(&self) -> U256 {
        Word::default().with(0, 8, self.work).with(16, 16, self.bond).value()
    }
}

/// A training job as TRAINING has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingRecord {
    /// How far it is.
    pub status: JobStatus,
    /// Who ordered it.
    pub requester: Address,
    /// Who trains it; `None` while anybody may.
    pub trainer: Option<Address>,
    /// Id of the base version.
    pub base_model: B256,
    /// Its number in its line.
    pub base_version: u32,
    /// Merkle root of the data set.
    pub dataset_root: B256,
    /// CID of the job's description.
    pub job: Cid,
    /// Seed of the batch order.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Steps between two checkpoints.
    pub checkpoint_interval: u64,
    /// Reward, wei.
    pub reward: u128,
    /// EVM block that created it.
    pub created_block: u64,
    /// Last EVM block in which it can be completed.
    pub deadline_block: u64,
    /// First EVM block in which it can be paid; `None` before completion.
    pub payable_block: Option<u64>,
    /// Checkpoints so far.
    pub checkpoints: u32,
    /// Step of the last one.
    pub step: u64,
    /// keccak of the training state after it; zero without a checkpoint.
    pub state_hash: B256,
    /// sha2-256 digest in the CID of the last checkpoint's artifact or the result's; zero without one.
    pub artifact_digest: B256,
    /// Accumulating hash of all checkpoints and the completion.
    pub chain_hash: B256,
    /// Terms under which it can be disputed; `None` when its trainer is trusted.
    pub dispute: Option<JobDispute>,
    /// Bond of its completion, wei; 0 before.
    pub bond: u128,
}

/// Id of job number `index` (from 0) of the chain, ordered by `requester`.
pub(crate) fn job_id(requester: &Address, index: u64) -> B256 {
    keccak256([b"lattice training job", requester.as_slice(), &index.to_be_bytes()].concat())
}

impl TrainingRecord {
    /// A job's record; `None` when there is no such job.
    pub fn read(state: &State, job_id: &B256) -> Option<Self> {
        let field = |field: u8| state.storage(&system::TRAINING, slot(job_id, field));
        let head = JobHead::decode(field(HEAD));
        let status = head.status?;
        let trainer = JobTrainer::decode(field(TRAINER));
        let plan = JobPlan::decode(field(PLAN));
        Some(Self {
            status,
            requester: Address::from_word(field(REQUESTER).into()),
            trainer: (!trainer.trainer.is_zero()).then_some(trainer.trainer),
            base_model: field(BASE).into(),
            base_version: plan.base_version,
            dataset_root: field(DATASET).into(),
            job: cid(plan.job_dag_pb, field(JOB_DIGEST)),
            seed: plan.seed,
            steps: plan.steps,
            checkpoint_interval: plan.checkpoint_interval,
            reward: head.reward,
            created_block: head.created_block,
            deadline_block: head.deadline_block,
            payable_block: (head.payable_block != 0).then_some(head.payable_block),
            checkpoints: trainer.checkpoints,
            step: trainer.step,
            state_hash: field(STATE_HASH).into(),
            artifact_digest: field(ARTIFACT_DIGEST).into(),
            chain_hash: field(CHAIN).into(),
            dispute: JobDispute::decode(field(DISPUTE)),
            bond: field(BOND).saturating_to(),
        })
    }
}
