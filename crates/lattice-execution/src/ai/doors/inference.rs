//! INFERENCE: running a model and keeping a record of it.

use super::{decode, require_plain_call};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    engine, gas, models,
};
use alloy_primitives::{Bytes, U256, keccak256};
use lattice_types::{system, tx::Inference};

/// Signature of the log of an inference.
const INFERENCE_COMPLETED: &[u8] = b"InferenceCompleted(bytes32,address,bytes32,bytes)";

/// INFERENCE: runs a model, records keccak(output) and logs the output. Output: the raw output tensors.
pub(super) fn infer(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    require_plain_call(call, "Inference")?;
    let payload = decode::<Inference>(&call.input, "Inference")?;
    let model_id = payload.model_id;
    let model = engine::active_model(call, &model_id)?;
    call.charge(gas::record(&model))?;
    let output = engine::run(call, &model_id, &model, &payload.input)?;

    let input_hash = keccak256(&payload.input);
    let commitment = U256::from_be_bytes(keccak256(&output).0);
    call.store(system::INFERENCE, models::inference_slot(&model_id, &input_hash), commitment)?;
    let topics = vec![keccak256(INFERENCE_COMPLETED), model_id, call.caller.into_word(), input_hash];
    call.log(system::INFERENCE, topics, abi::encode_bytes(&[&output]));
    Ok(Bytes::copy_from_slice(&output))
}
