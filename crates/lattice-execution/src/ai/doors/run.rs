//! MODEL_LOAD and MODEL_EXEC: running models without leaving a record.

use super::refuse_value;
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    engine, gas,
};
use alloy_primitives::{B256, Bytes};

/// Splits the model id off an input.
fn split_model_id(input: &[u8]) -> Result<(B256, &[u8]), Halt> {
    let (id, rest) = input.split_at_checked(32).ok_or_else(|| {
        Halt::Revert(format!("the input has {} bytes, it must begin with the 32-byte model id", input.len()))
    })?;
    Ok((B256::from_slice(id), rest))
}

/// MODEL_LOAD: id in; handle, gas of a run, input bytes, output bytes out (four words).
pub(super) fn load(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    refuse_value(call)?;
    let input = call.input.clone();
    let (model_id, rest) = split_model_id(&input)?;
    if !rest.is_empty() {
        return Err(Halt::Revert(format!("{} bytes follow the 32-byte model id", rest.len())));
    }
    let model = engine::active_model(call, &model_id)?;
    let price = call.ctx.chain.lane_price();
    engine::load(call, &model_id, &model, price)?;
    let words = [abi::word(gas::model_run_gas(&model)), abi::word(model.input_bytes), abi::word(model.output_bytes)];
    Ok([model_id.as_slice(), words.as_flattened()].concat().into())
}

/// MODEL_EXEC: id and raw input tensors in, raw output tensors out. Pure.
pub(super) fn exec(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    refuse_value(call)?;
    let input = call.input.clone();
    let (model_id, tensors) = split_model_id(&input)?;
    let model = engine::active_model(call, &model_id)?;
    let output = engine::run(call, &model_id, &model, tensors)?;
    Ok(Bytes::copy_from_slice(&output))
}
