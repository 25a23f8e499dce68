//! INFERENCE: running a model and keeping a record of it.

use super::{bonded, decode, proofs, refuse_value, require_plain_call, unknown_operation};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    engine, gas,
    records::models::inference_slot,
};
use alloy_primitives::{Bytes, U256, keccak256};
use lattice_types::{
    system,
    tx::{
        Inference, InferencePayload,
        operation::{AnswerRequest, AnswerTraced, ChallengeAnswer, ChallengeOperator, Operation, SettleRequest},
    },
};

/// Signature of the log of an inference.
const INFERENCE_COMPLETED: &[u8] = b"InferenceCompleted(bytes32,address,bytes32,bytes)";

/// Life of a request that an Inference of grade *proof* opens, EVM blocks.
const PROOF_EXPIRY_BLOCKS: u64 = 10_000;

/// INFERENCE: dispatches by the first byte. A bare RLP list is an Inference payload.
pub(super) fn enter(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    let input = call.input.clone();
    match input.first() {
        None | Some(0xc0..) => infer(call, &input),
        Some(&system::TX_INFERENCE) => infer(call, &input.slice(1..)),
        Some(&AnswerRequest::OP) => bonded::answer(call, &input[1..]),
        Some(&ChallengeAnswer::OP) => bonded::challenge(call, &input[1..]),
        Some(&AnswerTraced::OP) => bonded::answer_traced(call, &input[1..]),
        Some(&ChallengeOperator::OP) => bonded::challenge_operator(call, &input[1..]),
        Some(&SettleRequest::OP) => bonded::settle(call, &input[1..]),
        Some(op) => refuse_value(call).and_then(|()| Err(unknown_operation("INFERENCE", *op))),
    }
}

/// Takes an Inference payload.
fn infer(call: &mut AiCall<'_, '_>, input: &Bytes) -> Result<Bytes, Halt> {
    require_plain_call(call, "Inference")?;
    let payload = decode::<Inference>(input, "Inference")?;
    match payload.grade {
        InferencePayload::REPLAY => replay(call, &payload),
        InferencePayload::PROOF => request_proof(call, &payload),
        InferencePayload::BONDED | InferencePayload::TRACED => bonded::request(call, &payload),
        grade => Err(Halt::Revert(format!(
            "grade {grade} does not exist: use 0 (replay), 1 (proof), 2 (bonded) or 3 (traced)"
        ))),
    }
}

/// Runs a model, records keccak(output) and logs the output. Output: the raw output tensors.
fn replay(call: &mut AiCall<'_, '_>, payload: &InferencePayload) -> Result<Bytes, Halt> {
    refuse_value(call)?;
    let model_id = payload.model_id;
    let model = engine::active_model(call, &model_id)?;
    call.charge(gas::record(&model))?;
    let output = engine::run(call, &model_id, &model, &payload.input)?;

    let input_hash = keccak256(&payload.input);
    let commitment = U256::from_be_bytes(keccak256(&output).0);
    call.store(system::INFERENCE, inference_slot(&model_id, &input_hash), commitment)?;
    engine::record_use(call, &model.base)?;
    let topics = vec![keccak256(INFERENCE_COMPLETED), model_id, call.caller.into_word(), input_hash];
    call.log(system::INFERENCE, topics, abi::encode_bytes(&[&output]));
    Ok(Bytes::copy_from_slice(&output))
}

/// Grade *proof*: nothing runs; a request for a proof is opened with the value as its fee. Output: its id.
fn request_proof(call: &mut AiCall<'_, '_>, payload: &InferencePayload) -> Result<Bytes, Halt> {
    call.charge(gas::hash(payload.input.len() as u64))?;
    let model = engine::active_model(call, &payload.model_id)?;
    if payload.input.len() as u64 != model.input_bytes {
        let (got, want) = (payload.input.len(), model.input_bytes);
        return Err(Halt::Revert(format!("the input has {got} bytes, model {} takes {want}", payload.model_id)));
    }
    let id = proofs::request(call, &payload.model_id, &keccak256(&payload.input), PROOF_EXPIRY_BLOCKS)?;
    Ok(Bytes::copy_from_slice(id.as_slice()))
}
