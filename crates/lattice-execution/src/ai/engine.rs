//! The one function that runs a model, behind every door.

use super::{
    call::{AiCall, Halt},
    gas,
    models::{ModelStatus, ModelTerms},
};
use crate::error::{ExecutionError, InferenceError};
use alloy_primitives::B256;
use lattice_types::system;
use std::sync::Arc;

/// The terms of a model that is active; reverts for one that is not. The base price covers the reads.
pub(crate) fn active_model(call: &mut AiCall<'_, '_>, model_id: &B256) -> Result<ModelTerms, Halt> {
    let model = ModelTerms::read_with(model_id, |slot| call.slot(system::MODELS, slot))?;
    match model {
        None => Err(Halt::Revert(format!("model {model_id} is not registered: deploy it first"))),
        Some(model) if model.status == ModelStatus::Pending => Err(Halt::Revert(format!(
            "model {model_id} is pending: it becomes active once validators with two thirds of the stake hold its artifact"
        ))),
        Some(model) => Ok(model),
    }
}

/// Charges the loading of a model at its first touch in the block. Whether this node has it cached plays no part.
pub(crate) fn load(call: &mut AiCall<'_, '_>, model_id: &B256, model: &ModelTerms) -> Result<(), Halt> {
    if !call.ctx.chain.is_loaded(model_id) {
        call.charge_ai(gas::load(model.artifact_bytes))?;
        call.ctx.chain.mark_loaded(*model_id);
    }
    Ok(())
}

/// Runs an active model: charges loading and the run, then asks the engine. Nothing runs unpaid.
pub(crate) fn run(
    call: &mut AiCall<'_, '_>,
    model_id: &B256,
    model: &ModelTerms,
    input: &[u8],
) -> Result<Arc<[u8]>, Halt> {
    if input.len() as u64 != model.input_bytes {
        return Err(Halt::Revert(format!(
            "the input has {} bytes, model {model_id} takes {}: send all input tensors little endian in graph order",
            input.len(),
            model.input_bytes
        )));
    }
    load(call, model_id, model)?;
    call.charge_ai(gas::model_run_gas(model))?;
    let output = call.ctx.chain.inference().run(model_id, input).map_err(|error| match error {
        InferenceError::Missing(model_id) => Halt::Stop(ExecutionError::MissingArtifact(model_id)),
        InferenceError::Fault(reason) => Halt::Stop(ExecutionError::Fault(reason)),
        InferenceError::Refused(reason) => Halt::Revert(reason),
    })?;
    if output.len() as u64 != model.output_bytes {
        // Whoever attested this model did not check its record; the length is the same on every node.
        return Err(Halt::Revert(format!(
            "the output has {} bytes, the record of model {model_id} says {}: the registration is wrong",
            output.len(),
            model.output_bytes
        )));
    }
    Ok(output)
}
