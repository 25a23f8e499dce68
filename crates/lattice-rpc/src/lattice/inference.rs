//! Inferences: what a transaction ran, what is recorded, and whether it replays.

use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, Bytes, Log, U64, U256, keccak256};
use lattice_chain::View;
use lattice_types::{
    TxEnvelope, system,
    tx::{Inference, InferencePayload, TxAi},
};
use serde::Serialize;
use serde_json::json;

/// Signature of the log of an inference; topics: this, model id, caller, input hash; data: the output as ABI bytes.
const INFERENCE_COMPLETED: &[u8] = b"InferenceCompleted(bytes32,address,bytes32,bytes)";

/// The grade that runs on the chain.
const REPLAY: &str = "replay";

pub(super) const METHODS: &[Row] = &[
    ("lattice_getInference", 2, Run::Quick(recorded)),
    ("lattice_getInferenceByTransaction", 1, Run::Quick(by_transaction)),
    ("lattice_replayInference", 1, Run::Long(replay)),
];

fn recorded(api: &Api, params: &mut Params<'_>) -> Answer {
    let model_id: B256 = params.required("model id")?;
    let input_hash: B256 = params.required("input hash")?;
    let output_hash = api.view().inference_record(&model_id, &input_hash);
    reply(&output_hash.map(|output_hash| json!({ "outputHash": output_hash })))
}

/// An inference that a transaction asked for, in its JSON form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InferenceJson {
    model_id: B256,
    caller: Address,
    input_hash: B256,
    input: Bytes,
    /// Null when the transaction failed, and when the answer comes later.
    output: Option<Bytes>,
    output_hash: Option<B256>,
    grade: &'static str,
    gas_used: U64,
    success: bool,
}

/// The payload of a transaction that asks for an inference by itself, not through a contract.
fn payload(tx: &TxEnvelope) -> Option<InferencePayload> {
    match tx {
        TxEnvelope::Inference(tx) => tx.tx().payload().ok(),
        _ if tx.to() == Some(system::INFERENCE) => {
            TxAi::<Inference> { payload: tx.input().clone(), ..TxAi::default() }.payload().ok()
        }
        _ => None,
    }
}

/// The name of a grade that the payload's rules allow.
const fn grade_name(grade: u8) -> &'static str {
    match grade {
        InferencePayload::PROOF => "proof",
        InferencePayload::BONDED => "bonded",
        InferencePayload::TRACED => "traced",
        _ => REPLAY,
    }
}

/// The output in an InferenceCompleted log.
fn logged_output(logs: &[Log], model_id: &B256, input_hash: &B256) -> Option<Bytes> {
    let signature = keccak256(INFERENCE_COMPLETED);
    let is_ours = |log: &&Log| {
        let topics = log.topics();
        log.address == system::INFERENCE
            && topics.first() == Some(&signature)
            && topics.get(1) == Some(model_id)
            && topics.get(3) == Some(input_hash)
    };
    abi_bytes(&logs.iter().find(is_ours)?.data.data)
}

/// The only item of an ABI tuple of one dynamic byte string.
fn abi_bytes(data: &Bytes) -> Option<Bytes> {
    let number = |at: usize| -> Option<usize> {
        let word = data.get(at..at.checked_add(32)?)?;
        U256::from_be_slice(word).try_into().ok()
    };
    let offset = number(0)?;
    let start = offset.checked_add(32)?;
    let end = start.checked_add(number(offset)?)?;
    (end <= data.len()).then(|| data.slice(start..end))
}

fn find(view: &View, hash: &B256) -> Result<Option<InferenceJson>, RpcError> {
    let Some((block, index)) = view.transaction(hash)? else { return Ok(None) };
    let tx = view.envelope(&block.transactions[index])?;
    let Some(payload) = payload(&tx) else { return Ok(None) };
    let receipt = &block.receipts[index];
    let before = index.checked_sub(1).map_or(0, |previous| block.receipts[previous].cumulative_gas_used);
    let input_hash = keccak256(&payload.input);
    let output = logged_output(&receipt.logs, &payload.model_id, &input_hash);
    Ok(Some(InferenceJson {
        model_id: payload.model_id,
        caller: block.transactions[index].sender,
        input_hash,
        input: payload.input,
        output_hash: output.as_ref().map(keccak256),
        output,
        grade: grade_name(payload.grade),
        gas_used: U64::from(receipt.cumulative_gas_used - before),
        success: receipt.success,
    }))
}

fn by_transaction(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("transaction hash")?;
    reply(&find(&api.view(), &hash)?)
}

fn replay(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("transaction hash")?;
    let view = api.view();
    let inference = find(&view, &hash)?.ok_or_else(|| {
        RpcError::server(format!(
            "transaction {hash} is no executed inference: give the hash of an Inference transaction"
        ))
    })?;
    if inference.grade != REPLAY {
        let grade = inference.grade;
        return Err(RpcError::server(format!(
            "inference {hash} is of grade {grade}, which is answered later: there is no run of it on the chain"
        )));
    }
    let recorded = inference
        .output_hash
        .ok_or_else(|| RpcError::server(format!("inference {hash} failed: there is no output to compare with")))?;
    let output = view.run_model(&inference.model_id, &inference.input)?;
    let replayed = keccak256(&output);
    reply(&json!({
        "modelId": inference.model_id,
        "inputHash": inference.input_hash,
        "recorded": recorded,
        "replayed": replayed,
        "matches": recorded == replayed,
    }))
}
