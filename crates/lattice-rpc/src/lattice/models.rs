//! Models, and the artifacts that hold them.

use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::{Argument, Params, Quantity},
};
use alloy_primitives::{Address, B256, Bytes, U64};
use lattice_chain::{ArtifactError, FOR_GOOD, ModelError, ModelRecord, ModelStatus, ValueInfo};
use lattice_types::Cid;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use std::collections::BTreeMap;

/// Models in one answer, by default and at most.
const MODELS_LIMIT: u64 = 100;
const MODELS_LIMIT_MAX: u64 = 1_000;

pub(super) const METHODS: &[Row] = &[
    ("lattice_getModels", 2, Run::Long(models)),
    ("lattice_getModel", 1, Run::Long(model)),
    ("lattice_putChunk", 1, Run::Long(put_chunk)),
    ("lattice_putManifest", 1, Run::Long(put_manifest)),
    ("lattice_missingChunks", 1, Run::Long(missing_chunks)),
];

impl Argument for Cid {
    const EXPECTED: &'static str = "a CID in text (bafk…)";

    fn read(raw: &RawValue) -> Result<Self, String> {
        let text: String = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        Self::parse(&text).map_err(|error| error.to_string())
    }
}

impl From<ArtifactError> for RpcError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Invalid(invalid) => Self::params(invalid.to_string()),
            ArtifactError::Fault(fault) => fault.into(),
            missing @ ArtifactError::Missing { .. } => Self::server(missing.to_string()),
        }
    }
}

/// A model in its JSON form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelJson {
    model_id: B256,
    name: String,
    owner: Address,
    status: &'static str,
    gas: U64,
    input_bytes: U64,
    output_bytes: U64,
    artifact: Cid,
    artifact_bytes: U64,
    registered_at: U64,
    artifact_missing: U64,
    fresh_until: Option<U64>,
    scheduled: bool,
    #[serde(flatten)]
    record: serde_json::Value,
    #[serde(flatten)]
    signature: Option<SignatureJson>,
}

/// What the graph says; all null when the artifact is not on this node.
#[derive(Serialize)]
struct SignatureJson {
    inputs: Option<Vec<ValueJson>>,
    outputs: Option<Vec<ValueJson>>,
    operators: Option<BTreeMap<String, usize>>,
    macs: Option<U64>,
}

#[derive(Serialize)]
struct ValueJson {
    name: String,
    dtype: String,
    shape: Vec<usize>,
}

impl From<ValueInfo> for ValueJson {
    fn from(value: ValueInfo) -> Self {
        Self { name: value.name, dtype: value.dtype.to_string(), shape: value.shape }
    }
}

pub(super) fn model_json(api: &Api, model_id: B256, record: ModelRecord) -> Result<ModelJson, RpcError> {
    let missing = api.backend().artifacts().missing(&record.artifact)?;
    let further = super::records::record_json(&record);
    let epoch = api.view().epoch();
    Ok(ModelJson {
        model_id,
        status: match record.status {
            ModelStatus::Pending => "pending",
            ModelStatus::Active if record.is_suspended(epoch) => "suspended",
            ModelStatus::Active => "active",
            ModelStatus::Pruned => "pruned",
        },
        name: record.name,
        owner: record.owner,
        gas: U64::from(record.gas),
        input_bytes: U64::from(record.input_bytes),
        output_bytes: U64::from(record.output_bytes),
        artifact: record.artifact,
        artifact_bytes: U64::from(record.artifact_bytes),
        registered_at: U64::from(record.registered_block),
        artifact_missing: U64::from(missing.len()),
        fresh_until: (record.fresh_until != FOR_GOOD).then(|| U64::from(record.fresh_until)),
        scheduled: record.scheduled,
        record: further,
        signature: None,
    })
}

fn models(api: &Api, params: &mut Params<'_>) -> Answer {
    let offset = params.optional("offset")?.map_or(0, |Quantity(offset)| offset);
    let limit = params.optional("limit")?.map_or(MODELS_LIMIT, |Quantity(limit)| limit).min(MODELS_LIMIT_MAX);
    let (total, found) = api.view().models(offset, limit);
    let models = found.into_iter().map(|(model_id, record)| model_json(api, model_id, record));
    reply(&json!({ "total": U64::from(total), "models": models.collect::<Result<Vec<_>, _>>()? }))
}

fn model(api: &Api, params: &mut Params<'_>) -> Answer {
    let model_id: B256 = params.required("model id")?;
    let view = api.view();
    let Some(record) = view.model(&model_id) else { return reply(&()) };
    let mut json = model_json(api, model_id, record)?;
    let signature = match view.model_graph(&model_id) {
        Ok(signature) => signature,
        // What was registered need not be a graph: its record is shown all the same.
        Err(ModelError::Mismatch { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    json.signature = Some(match signature {
        None => SignatureJson { inputs: None, outputs: None, operators: None, macs: None },
        Some(found) => SignatureJson {
            inputs: Some(found.inputs.into_iter().map(Into::into).collect()),
            outputs: Some(found.outputs.into_iter().map(Into::into).collect()),
            operators: Some(found.operators),
            macs: Some(U64::from(found.cost.macs)),
        },
    });
    reply(&json)
}

fn put_chunk(api: &Api, params: &mut Params<'_>) -> Answer {
    let bytes: Bytes = params.required("chunk")?;
    reply(&api.backend().artifacts().put_chunk(&bytes)?)
}

fn put_manifest(api: &Api, params: &mut Params<'_>) -> Answer {
    let bytes: Bytes = params.required("manifest")?;
    reply(&api.backend().artifacts().put_manifest(&bytes)?)
}

fn missing_chunks(api: &Api, params: &mut Params<'_>) -> Answer {
    let artifact: Cid = params.required("artifact")?;
    reply(&api.backend().artifacts().missing(&artifact)?)
}
