//! Lanes: kinds of work that a block shares fairly among them, each with limits of its own.

use alloy_consensus::Typed2718;
use alloy_primitives::B256;
use lattice_types::{
    TxEnvelope, system,
    tx::{LoraPayload, TrainingPayload},
};

/// What kind of work a transaction is, as the pool queues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Ethereum's transactions.
    Standard,
    /// Models, their new versions and adapters.
    Models,
    /// Steps of training jobs.
    Training,
    /// Inferences.
    Inference,
}

impl Lane {
    /// All lanes, in the order in which they are asked when they have had the same share.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Models, Self::Training, Self::Inference];

    /// The lane of a transaction.
    pub fn of(tx: &TxEnvelope) -> Self {
        match tx.ty() {
            system::TX_MODEL_DEPLOY | system::TX_MODEL_UPDATE | system::TX_LORA => Self::Models,
            system::TX_TRAINING => Self::Training,
            system::TX_INFERENCE => Self::Inference,
            _ => Self::Standard,
        }
    }

    /// Its name, for people and for RPC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Models => "models",
            Self::Training => "training",
            Self::Inference => "inference",
        }
    }
}

/// What a lane may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Transactions.
    pub transactions_max: usize,
    /// Their encoded bytes.
    pub bytes_max: usize,
    /// Transactions of one sender.
    pub sender_transactions_max: usize,
}

/// Limits of all lanes, in the order of [`Lane::ALL`].
pub const LIMITS: [LaneLimits; 4] = {
    let ai = LaneLimits { transactions_max: 8_192, bytes_max: 64 << 20, sender_transactions_max: 1_024 };
    let standard = LaneLimits { transactions_max: 65_536, bytes_max: 128 << 20, sender_transactions_max: 8_192 };
    [standard, ai, ai, ai]
};

/// Where a transaction stands: its lane, and what it is grouped by there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The lane.
    pub lane: Lane,
    /// What a block takes together: updates and inferences of one model, steps of one job. Zero in the standard lane.
    pub group: B256,
    /// Order within a training job before any tip.
    pub step: u64,
}

impl Place {
    /// The place of a transaction whose form was checked.
    pub fn of(tx: &TxEnvelope) -> Self {
        let (group, step) = match tx {
            TxEnvelope::ModelDeploy(tx) => (tx.tx().payload().map(|payload| payload.model_id), 0),
            TxEnvelope::ModelUpdate(tx) => (tx.tx().payload().map(|payload| payload.model_id), 0),
            TxEnvelope::Inference(tx) => (tx.tx().payload().map(|payload| payload.model_id), 0),
            TxEnvelope::Lora(tx) => (tx.tx().payload().map(|payload| base(&payload)), 0),
            TxEnvelope::Training(tx) => match tx.tx().payload() {
                Ok(payload) => (Ok(job(&payload)), step(&payload)),
                Err(reason) => (Err(reason), 0),
            },
            _ => (Ok(B256::ZERO), 0),
        };
        Self { lane: Lane::of(tx), group: group.unwrap_or_default(), step }
    }
}

/// What an adapter stands on: its base, or the first adapter of a composition.
fn base(payload: &LoraPayload) -> B256 {
    match payload {
        LoraPayload::Adapter(adapter) => adapter.base_model,
        LoraPayload::Compose(composition) => composition.parts.first().map(|part| part.adapter).unwrap_or_default(),
    }
}

/// The job that a payload is about. A new one has no id yet: those on one base stand together.
fn job(payload: &TrainingPayload) -> B256 {
    match payload {
        TrainingPayload::Create(job) => job.base_model,
        other => other.job_id().unwrap_or_default(),
    }
}

/// The place in a job's life: accepted, checkpoint after checkpoint, completed, then whatever settles it.
const fn step(payload: &TrainingPayload) -> u64 {
    match payload {
        TrainingPayload::Create(_) | TrainingPayload::Accept(_) => 0,
        TrainingPayload::Checkpoint(checkpoint) => checkpoint.step,
        TrainingPayload::Complete(_) => u64::MAX - 1,
        TrainingPayload::Cancel(_) | TrainingPayload::Claim(_) | TrainingPayload::Challenge(_) => u64::MAX,
    }
}
