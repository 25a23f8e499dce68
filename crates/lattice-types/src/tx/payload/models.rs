//! ModelDeploy and ModelUpdate: a model, and the versions that follow it.

use super::{check_artifact_bytes, check_name};
use crate::Cid;
use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// What a registration commits to beyond the artifact. Each is optional; at least one is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing(canonical))]
pub struct ModelCommitments {
    /// keccak of the metadata text (model card, licence), which itself stays in the artifact.
    pub metadata: Option<B256>,
    /// Merkle root of the weights, tensor by tensor.
    pub weights_root: Option<B256>,
    /// Transaction id of a copy on Arweave.
    pub arweave: Option<B256>,
    /// keccak of the verification key for proofs of its inferences.
    pub verification_key: Option<B256>,
}

impl ModelCommitments {
    /// The four in their order.
    pub const fn all(&self) -> [Option<B256>; 4] {
        [self.metadata, self.weights_root, self.arweave, self.verification_key]
    }

    fn check(&self) -> Result<(), String> {
        if self.all().iter().all(Option::is_none) {
            return Err("the list of commitments is empty: leave it out".into());
        }
        if self.all().contains(&Some(B256::ZERO)) {
            return Err("a commitment is zero, which stands for none: leave it out".into());
        }
        Ok(())
    }
}

/// ModelDeploy: registers a frozen graph. The model is *pending* until the validators have verified its artifact.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing(canonical))]
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
    /// Further commitments.
    pub commitments: Option<ModelCommitments>,
}

impl ModelDeployPayload {
    pub(crate) fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        check_artifact_bytes(self.artifact_bytes)?;
        if self.gas == 0 {
            return Err("gas is 0: a model run is never free".into());
        }
        self.commitments.as_ref().map_or(Ok(()), ModelCommitments::check)
    }
}

/// How to make a version's artifact out of an older one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct ModelDelta {
    /// CID of the delta's artifact.
    pub artifact: Cid,
    /// The version that the delta applies to.
    pub base_version: u64,
}

/// ModelUpdate: a new version of a model, itself a model with an id of its own.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing(canonical))]
pub struct ModelUpdatePayload {
    /// The model whose version chain grows: the id of its first version.
    pub model_id: B256,
    /// The version that this one follows; versions count from 1.
    pub parent_version: u64,
    /// The new version, described as at registration. An empty name keeps the model's name.
    pub version: ModelDeployPayload,
    /// A delta from an older version, for nodes that hold that one.
    pub delta: Option<ModelDelta>,
}

impl ModelUpdatePayload {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.version.check()?;
        if self.version.model_id == self.model_id {
            return Err("the new version has the id of the first one: change the graph or its weights".into());
        }
        let max = u64::from(u32::MAX);
        for (what, version) in
            [("parent_version", Some(self.parent_version)), ("base_version", self.delta.map(|d| d.base_version))]
        {
            if version.is_some_and(|version| version == 0 || version > max) {
                return Err(format!("{what} must be 1 to {max}: versions count from 1"));
            }
        }
        Ok(())
    }
}
