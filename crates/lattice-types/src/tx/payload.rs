//! What the AI transactions carry. Only commitments: weights live in artifacts, named by CID (part P5 of the mission).

use crate::{Cid, limits};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// ModelDeploy: registers a frozen graph. The model is *pending* until the validators have verified its artifact.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ModelDeployPayload {
    /// The model id: keccak of the frozen graph's canonical bytes.
    pub model_id: B256,
    /// CID of the artifact's manifest; the artifact is the frozen graph with its weights.
    pub artifact: Cid,
    /// Bytes of the artifact.
    pub artifact_bytes: u64,
    /// Gas of one run, from the graph's static cost; nodes recompute it before they attest readiness.
    pub gas: u64,
    /// Bytes of one input: all input tensors, little endian, in graph order.
    pub input_bytes: u64,
    /// Bytes of one output, likewise.
    pub output_bytes: u64,
    /// A short name, UTF-8.
    pub name: String,
}

impl ModelDeployPayload {
    pub(super) fn check(&self) -> Result<(), String> {
        let max = limits::MODEL_NAME_BYTES_MAX;
        if self.name.len() > max {
            return Err(format!("the model's name has {} bytes, at most {max} are allowed", self.name.len()));
        }
        if self.artifact_bytes == 0 || self.artifact_bytes > limits::ARTIFACT_BYTES_MAX {
            let max = limits::ARTIFACT_BYTES_MAX;
            return Err(format!("artifact_bytes is {}, allowed are 1 to {max}", self.artifact_bytes));
        }
        if self.gas == 0 {
            return Err("gas is 0: a model run is never free".into());
        }
        Ok(())
    }
}

/// ModelUpdate: a new version of a model.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ModelUpdatePayload {
    /// The model whose version chain grows.
    pub model_id: B256,
    /// The version that this one follows.
    pub parent_version: u64,
    /// The new version, described as at registration.
    pub version: ModelDeployPayload,
}

impl ModelUpdatePayload {
    pub(super) fn check(&self) -> Result<(), String> {
        self.version.check()
    }
}

/// Inference: runs a model on an input, logs the output and records its commitment.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct InferencePayload {
    /// The model.
    pub model_id: B256,
    /// Grade of trust; see [`InferencePayload::REPLAY`].
    pub grade: u8,
    /// All input tensors, little endian, row-major, in graph order.
    pub input: Bytes,
}

impl InferencePayload {
    /// Every validator replays the inference; the only grade so far.
    pub const REPLAY: u8 = 0;

    pub(super) fn check(&self) -> Result<(), String> {
        if self.grade != Self::REPLAY {
            return Err(format!("grade {} is not enabled: use 0 (replay)", self.grade));
        }
        Ok(())
    }
}

/// Training: a job on a base model.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct TrainingPayload {
    /// The base model.
    pub base_model: B256,
    /// Merkle root of the data set.
    pub dataset_root: B256,
    /// CID of the job's description (adapter shape, optimiser constants).
    pub job: Cid,
    /// Seed of the batch order.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Steps between two checkpoints.
    pub checkpoint_interval: u64,
}

impl TrainingPayload {
    pub(super) fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// LoRA: an adapter on a base version.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct LoraPayload {
    /// The base model.
    pub base_model: B256,
    /// The base's version.
    pub base_version: u64,
    /// CID of the adapter's manifest.
    pub artifact: Cid,
    /// Bytes of the adapter's artifact.
    pub artifact_bytes: u64,
    /// Rank of the update.
    pub rank: u32,
    /// A short name, UTF-8.
    pub name: String,
}

impl LoraPayload {
    pub(super) fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
