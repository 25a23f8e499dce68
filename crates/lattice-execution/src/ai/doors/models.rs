//! MODELS: the registry's door.

use super::{decode, require_plain_call};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    gas, models,
};
use alloy_primitives::{Bytes, keccak256};
use lattice_types::{Cid, TxReceipt, system, tx::ModelDeploy};

/// Signature of the log of a registration.
const MODEL_DEPLOYED: &[u8] = b"ModelDeployed(bytes32,address,bytes,string)";

/// MODELS: registers a model as pending. Output: its id.
pub(super) fn deploy(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    require_plain_call(call, "ModelDeploy")?;
    let payload = decode::<ModelDeploy>(&call.input, "ModelDeploy")?;
    if payload.name.contains('\0') {
        return Err(Halt::Revert("malformed ModelDeploy payload: the name contains a NUL".into()));
    }
    let model_id = payload.model_id;
    if !call.slot(system::MODELS, models::status_slot(&model_id))?.is_zero() {
        return Err(Halt::Revert(format!("model {model_id} is registered already: use it, or change the graph")));
    }
    let cid = payload.artifact.to_bytes();
    call.charge(gas::register(cid.len(), payload.name.len()))?;
    let count: u64 = call.slot(system::MODELS, models::count_slot())?.saturating_to();
    let block: u64 = call.ctx.block.number.saturating_to();
    let owner = call.caller;
    for (slot, value) in models::registration(&payload, owner, block, count) {
        call.store(system::MODELS, slot, value)?;
    }
    let topics = vec![keccak256(MODEL_DEPLOYED), model_id, owner.into_word()];
    call.log(system::MODELS, topics, abi::encode_bytes(&[&cid, payload.name.as_bytes()]));
    Ok(Bytes::copy_from_slice(model_id.as_slice()))
}

/// The artifacts that successful transactions newly reference: those of the logs, which a revert would have undone.
pub(crate) fn new_artifacts(receipts: &[TxReceipt]) -> Vec<Cid> {
    let deployed = keccak256(MODEL_DEPLOYED);
    let mut artifacts = Vec::new();
    for log in receipts.iter().flat_map(|receipt| &receipt.logs) {
        // Only the precompile can log in the name of this account.
        if log.address == system::MODELS
            && log.topics().first() == Some(&deployed)
            && let Some(cid) = abi::decode_bytes(&log.data.data, 0).and_then(|bytes| Cid::from_bytes(bytes).ok())
            && !artifacts.contains(&cid)
        {
            artifacts.push(cid);
        }
    }
    artifacts
}
