//! The one function that runs a model, behind every door.

use super::{
    call::{Access, AiCall, Halt},
    gas,
    lane::LanePrice,
    records::{
        Registry,
        accounts::AccountRecord,
        adapters::{self, AdapterHead},
        models::{Field, Head, ModelStatus, ModelTerms},
        pair_slot, slot,
        versions::{ALLOWED, ModelPermission},
    },
};
use crate::error::{ExecutionError, InferenceError};
use alloy_primitives::B256;
use lattice_inference::Graph;
use std::sync::Arc;

/// The terms of what an id can call: a version of a model, or a base with the adapter or composition of that id.
pub(crate) fn terms(call: &mut AiCall<'_, '_>, id: &B256) -> Result<Option<ModelTerms>, Halt> {
    match ModelTerms::read_with(call, id)? {
        Some(model) => Ok(Some(model)),
        None => adapted(call, id),
    }
}

/// The terms of a base, and the work of loading its adapters and merging them.
fn adapted(call: &mut AiCall<'_, '_>, id: &B256) -> Result<Option<ModelTerms>, Halt> {
    let head = AdapterHead::read(call, id)?;
    // Its base's record, the link to it, and for each part its id and head.
    call.charge(gas::reads(6 + 2 * u64::from(head.parts)))?;
    let parts = match head.kind {
        AdapterHead::ADAPTER => vec![(*id, head)],
        AdapterHead::COMPOSITION => {
            let part = |index: u8| {
                let part: B256 = call.read(slot(id, adapters::PARTS + index))?.into();
                Ok((part, AdapterHead::read(call, &part)?))
            };
            (0..head.parts).map(part).collect::<Result<Vec<_>, Halt>>()?
        }
        _ => return Ok(None),
    };
    if let Some((pending, _)) = parts.iter().find(|(_, head)| !head.active) {
        return Err(Halt::Revert(format!(
            "adapter {pending} is pending: it becomes active once validators with two thirds of the stake hold its artifact"
        )));
    }
    let base: B256 = call.read(slot(id, adapters::BASE))?.into();
    let Some(model) = ModelTerms::read_with(call, &base)? else {
        return Err(Halt::Revert(format!(
            "the base {base} of adapter {id} is registered no more: use a newer version"
        )));
    };
    let sizes: Vec<(u64, u64)> = parts.iter().map(|(_, head)| (head.artifact_bytes, u64::from(head.rank))).collect();
    let adapter_work = gas::adapter_work(&sizes, model.artifact_bytes);
    Ok(Some(ModelTerms { adapter_work, ..model }))
}

/// The version whose record an id's runs are counted in.
pub(crate) fn base_of(call: &mut AiCall<'_, '_>, id: &B256) -> Result<B256, Halt> {
    if Head::read(call, id)?.status.is_some() {
        return Ok(*id);
    }
    call.charge(gas::reads(2))?;
    call.read(slot(id, adapters::BASE)).map(B256::from)
}

/// The terms of a model that is active and that the caller may run; reverts otherwise. The base price covers the reads.
pub(crate) fn active_model(call: &mut AiCall<'_, '_>, model_id: &B256) -> Result<ModelTerms, Halt> {
    let revert = |reason: String| Err(Halt::Revert(reason));
    let Some(model) = terms(call, model_id)? else {
        return revert(format!("model {model_id} is not registered: deploy it first"));
    };
    match model.status {
        ModelStatus::Active => refuse_suspended(call, model_id, &model)?,
        ModelStatus::Pending => {
            return revert(format!(
                "model {model_id} is pending: it becomes active once validators with two thirds of the stake hold its artifact"
            ));
        }
        ModelStatus::Pruned => return revert(format!("model {model_id} is pruned: run a newer version")),
    }
    if model.retired {
        return revert(format!("model {model_id} is retired by its owner: use another one"));
    }
    if model.permission == ModelPermission::AllowList && model.owner != call.caller {
        let allowed = call.read(pair_slot(&model.line, &call.caller, ALLOWED))?;
        if allowed.is_zero() {
            let (owner, caller) = (model.owner, call.caller);
            return revert(format!("model {model_id} has an allow list without {caller}: ask its owner {owner}"));
        }
    }
    Ok(model)
}

/// Reverts when too little stake holds a model's artifact for its run to be safe.
pub(crate) fn refuse_suspended(call: &AiCall<'_, '_>, model_id: &B256, model: &ModelTerms) -> Result<(), Halt> {
    if model.is_suspended(call.ctx.chain.epoch()) {
        return Err(Halt::Revert(format!(
            "model {model_id} is suspended: validators with less than half of the stake hold its artifact; it runs again an \
             epoch after two thirds do"
        )));
    }
    Ok(())
}

/// Pays the owner's price for a run out of the caller's compute credits. The owner runs for nothing.
pub(crate) fn pay(call: &mut AiCall<'_, '_>, model_id: &B256, model: &ModelTerms) -> Result<(), Halt> {
    if model.permission != ModelPermission::Price || model.owner == call.caller {
        return Ok(());
    }
    if call.access != Access::Write {
        return Err(Halt::Revert(format!(
            "model {model_id} has a price, and paying it writes state: run it with a plain CALL"
        )));
    }
    call.charge(gas::PRICE)?;
    let price: u128 = call.read(slot(&model.line, Field::Price as u8))?.saturating_to();
    let caller = call.caller;
    let credits = AccountRecord::decode(call.read(AccountRecord::slot(&caller))?).credits;
    if credits < price {
        return Err(Halt::Revert(format!(
            "a run of model {model_id} costs {price} wei of compute credits, {caller} has {credits}: deposit credits at MODELS"
        )));
    }
    AccountRecord::change(call, &caller, |account| account.credits -= price)?;
    AccountRecord::add_credits(call, &model.owner, price)
}

/// Counts a recorded run in the model's metrics.
pub(crate) fn record_use(call: &mut AiCall<'_, '_>, model_id: &B256) -> Result<(), Halt> {
    let mut head = Head::read(call, model_id)?;
    head.calls += 1;
    head.last_use_block = call.block_number();
    head.write(call, model_id)
}

/// AI work of the first touch in a block: loading the artifacts, and merging adapters.
pub(crate) const fn load_work(model: &ModelTerms) -> u64 {
    gas::load(model.artifact_bytes).saturating_add(model.adapter_work)
}

/// AI work of a challenge, at most: loading and one run.
pub(crate) const fn challenge_work(model: &ModelTerms) -> u64 {
    load_work(model).saturating_add(gas::model_run_gas(model))
}

/// Charges the loading of a model at its first touch in the block. Whether this node has it cached plays no part.
pub(crate) fn load(
    call: &mut AiCall<'_, '_>,
    model_id: &B256,
    model: &ModelTerms,
    price: LanePrice,
) -> Result<(), Halt> {
    if !call.ctx.chain.is_loaded(model_id) {
        call.charge_ai_at(price, load_work(model))?;
        call.ctx.chain.mark_loaded(*model_id);
    }
    Ok(())
}

/// Refuses an input whose length is not the model's.
pub(crate) fn check_input(model_id: &B256, model: &ModelTerms, input: &[u8]) -> Result<(), Halt> {
    if input.len() as u64 == model.input_bytes {
        return Ok(());
    }
    Err(Halt::Revert(format!(
        "the input has {} bytes, model {model_id} takes {}: send all input tensors little endian in graph order",
        input.len(),
        model.input_bytes
    )))
}

/// What an engine's error means for the call.
fn halt(error: InferenceError) -> Halt {
    match error {
        InferenceError::Missing(model_id) => Halt::Stop(ExecutionError::MissingArtifact(model_id)),
        InferenceError::Fault(reason) => Halt::Stop(ExecutionError::Fault(reason)),
        InferenceError::Refused(reason) => Halt::Revert(reason),
    }
}

/// The frozen graph of a model: charges its loading at a price of AI work, then asks the engine.
pub(crate) fn graph(
    call: &mut AiCall<'_, '_>,
    model_id: &B256,
    model: &ModelTerms,
    price: LanePrice,
) -> Result<Arc<Graph>, Halt> {
    load(call, model_id, model, price)?;
    call.ctx.chain.inference().graph(model_id).map_err(halt)
}

/// Runs an active model for its caller: pays the owner's price, then replays.
pub(crate) fn run(
    call: &mut AiCall<'_, '_>,
    model_id: &B256,
    model: &ModelTerms,
    input: &[u8],
) -> Result<Arc<[u8]>, Halt> {
    check_input(model_id, model, input)?;
    pay(call, model_id, model)?;
    let price = call.ctx.chain.lane_price();
    replay(call, model_id, model, input, price)
}

/// Runs a model: charges loading and the run at a price of AI work, then asks the engine. Nothing runs unpaid.
pub(crate) fn replay(
    call: &mut AiCall<'_, '_>,
    model_id: &B256,
    model: &ModelTerms,
    input: &[u8],
    price: LanePrice,
) -> Result<Arc<[u8]>, Halt> {
    check_input(model_id, model, input)?;
    load(call, model_id, model, price)?;
    call.charge_ai_at(price, gas::model_run_gas(model))?;
    let output = call.ctx.chain.inference().run(model_id, input).map_err(halt)?;
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
