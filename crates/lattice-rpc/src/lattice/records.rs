//! Records of the AI rules: versions of a model, adapters, training jobs, bonded requests, account extensions.

use super::models::model_json;
use crate::{
    api::{Api, Row, Run},
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_primitives::{Address, B256, U64, U256};
use lattice_chain::records::{
    AdapterKind, AdapterRecord, BondedRecord, JobStatus, ModelPermission, ModelRecord, RequestStatus, TrainingRecord,
};
use serde_json::{Value, json};

pub(super) const METHODS: &[Row] = &[
    ("lattice_getModelVersions", 1, Run::Long(model_versions)),
    ("lattice_getAdapter", 1, Run::Quick(adapter)),
    ("lattice_getTrainingJob", 1, Run::Quick(training_job)),
    ("lattice_getBondedRequest", 1, Run::Quick(bonded_request)),
    ("lattice_getAccount", 1, Run::Quick(account)),
];

/// What a model's record says beyond its registration.
pub(super) fn record_json(record: &ModelRecord) -> Value {
    let line = &record.line;
    json!({
        "version": U64::from(record.version),
        "parentVersion": U64::from(record.parent_version),
        "delta": record.delta.map(|delta| json!({
            "artifact": delta.artifact,
            "baseVersion": U64::from(delta.base_version),
        })),
        "metadata": record.commitments.metadata,
        "weightsRoot": record.commitments.weights_root,
        "arweave": record.commitments.arweave,
        "verificationKey": record.commitments.verification_key,
        "calls": U64::from(record.metrics.calls),
        "lastUse": U64::from(record.metrics.last_use_block),
        "disputes": U64::from(record.metrics.disputes),
        "openRequests": U64::from(record.metrics.open_requests),
        "line": {
            "modelId": line.id,
            "versions": U64::from(line.versions),
            "latestActive": line.latest_active.map(|(_, id)| id),
            "chainHash": line.chain_hash,
            "permission": match line.permission {
                ModelPermission::Public => "public",
                ModelPermission::AllowList => "allowList",
                ModelPermission::Price => "price",
            },
            "price": U256::from(line.price),
            "retired": line.retired,
            "offeredTo": line.offered_to,
            "stake": U256::from(line.stake),
        },
    })
}

fn model_versions(api: &Api, params: &mut Params<'_>) -> Answer {
    let model_id: B256 = params.required("model id")?;
    let view = api.view();
    // Any version's id will do.
    let Some(record) = view.model(&model_id) else { return reply(&()) };
    let versions = view.model_versions(&record.line.id).into_iter().map(|(id, record)| model_json(api, id, record));
    reply(&json!({
        "modelId": record.line.id,
        "total": U64::from(record.line.versions),
        "versions": versions.collect::<Result<Vec<_>, _>>()?,
    }))
}

fn adapter(api: &Api, params: &mut Params<'_>) -> Answer {
    let adapter_id: B256 = params.required("adapter id")?;
    let Some(record) = AdapterRecord::read(api.view().head_state(), &adapter_id) else { return reply(&()) };
    let mut json = json!({
        "adapterId": adapter_id,
        "owner": record.owner,
        "baseModel": record.base_model,
        "baseVersion": U64::from(record.base_version),
        "status": if record.active { "active" } else { "pending" },
        "name": record.name,
        "registeredAt": U64::from(record.registered_block),
    });
    match record.kind {
        AdapterKind::Adapter { artifact, artifact_bytes, rank, alpha } => {
            json["kind"] = json!("adapter");
            json["artifact"] = json!(artifact);
            json["artifactBytes"] = json!(U64::from(artifact_bytes));
            json["rank"] = json!(U64::from(rank));
            json["alpha"] = json!(U64::from(alpha));
        }
        AdapterKind::Composition { method, parts } => {
            json["kind"] = json!("composition");
            json["method"] = json!(if method == 0 { "cat" } else { "linear" });
            // Weights are signed numbers in units of 1/65,536.
            let part = |part: &lattice_types::tx::LoraPart| json!({ "adapterId": part.adapter, "weight": part.weight.cast_signed() });
            json["parts"] = parts.iter().map(part).collect();
        }
    }
    reply(&json)
}

fn training_job(api: &Api, params: &mut Params<'_>) -> Answer {
    let job_id: B256 = params.required("job id")?;
    let Some(record) = TrainingRecord::read(api.view().head_state(), &job_id) else { return reply(&()) };
    reply(&json!({
        "jobId": job_id,
        "status": match record.status {
            JobStatus::Open => "open",
            JobStatus::Accepted => "accepted",
            JobStatus::Completed => "completed",
            JobStatus::Paid => "paid",
            JobStatus::Cancelled => "cancelled",
            JobStatus::Slashed => "slashed",
        },
        "requester": record.requester,
        "trainer": record.trainer,
        "baseModel": record.base_model,
        "baseVersion": U64::from(record.base_version),
        "datasetRoot": record.dataset_root,
        "job": record.job,
        "seed": U64::from(record.seed),
        "steps": U64::from(record.steps),
        "checkpointInterval": U64::from(record.checkpoint_interval),
        "reward": U256::from(record.reward),
        "createdAt": U64::from(record.created_block),
        "deadline": U64::from(record.deadline_block),
        "challengeUntil": record.payable_block.map(U64::from),
        "checkpoints": U64::from(record.checkpoints),
        "step": U64::from(record.step),
        "stateHash": record.state_hash,
        "artifactDigest": record.artifact_digest,
        "chainHash": record.chain_hash,
        "dispute": record.dispute.map(|dispute| json!({ "work": U64::from(dispute.work), "bond": U256::from(dispute.bond) })),
        "bond": U256::from(record.bond),
    }))
}

fn bonded_request(api: &Api, params: &mut Params<'_>) -> Answer {
    let request_id: B256 = params.required("request id")?;
    let Some(record) = BondedRecord::read(api.view().head_state(), &request_id) else { return reply(&()) };
    reply(&json!({
        "requestId": request_id,
        "status": match record.status {
            RequestStatus::Open => "open",
            RequestStatus::Answered => "answered",
            RequestStatus::Final => "final",
            RequestStatus::Slashed => "slashed",
            RequestStatus::Expired => "expired",
        },
        "requester": record.requester,
        "modelId": record.model_id,
        "inputHash": record.input_hash,
        "fee": U256::from(record.fee),
        "bondAsked": U256::from(record.bond_asked),
        "bond": U256::from(record.bond),
        "createdAt": U64::from(record.created_block),
        "answerUntil": U64::from(record.answer_block),
        "challengeUntil": record.challenge_block.map(U64::from),
        "provider": record.provider,
        "outputHash": record.output_hash,
        "traced": record.traced.map(|traced| json!({ "work": U64::from(traced.work), "steps": U64::from(traced.steps) })),
    }))
}

fn account(api: &Api, params: &mut Params<'_>) -> Answer {
    let address: Address = params.required("address")?;
    let view = api.view();
    let record = lattice_chain::records::AccountRecord::read(view.head_state(), &address);
    let stake = lattice_chain::records::AccountRecord::read_stake(view.head_state(), &address);
    reply(&json!({
        "address": address,
        "modelsOwned": U64::from(record.models_owned),
        "reputation": record.reputation,
        "credits": U256::from(record.credits),
        "stake": U256::from(stake),
    }))
}
