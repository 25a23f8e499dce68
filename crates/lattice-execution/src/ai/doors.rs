//! The four doors: MODEL_LOAD, MODEL_EXEC, MODELS (ModelDeploy) and INFERENCE.
//!
//! AI transactions enter as calls of MODELS or INFERENCE with the payload as input, so a plain transaction or a
//! contract that calls the same address with the same bytes does the same for the same gas.

use super::{
    abi,
    call::{AiCall, Halt},
    engine, gas, models,
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_types::{
    Cid, TxReceipt, system,
    tx::{AiKind, Inference, ModelDeploy, TxAi},
};

/// Signatures of the logs.
const MODEL_DEPLOYED: &[u8] = b"ModelDeployed(bytes32,address,bytes,string)";
const INFERENCE_COMPLETED: &[u8] = b"InferenceCompleted(bytes32,address,bytes32,bytes)";

/// A precompile of the AI rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Load,
    Exec,
    Deploy,
    Infer,
}

impl Door {
    pub(crate) const ALL: [(Address, Self); 4] = [
        (system::MODEL_LOAD, Self::Load),
        (system::MODEL_EXEC, Self::Exec),
        (system::MODELS, Self::Deploy),
        (system::INFERENCE, Self::Infer),
    ];

    pub(crate) fn at(address: &Address) -> Option<Self> {
        Self::ALL.iter().find(|(door, _)| door == address).map(|(_, door)| *door)
    }

    /// Runs the call; the output on success.
    pub(crate) fn enter(self, call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
        call.charge(gas::BASE)?;
        if call.inputs.transfers_value() {
            return Err(Halt::Revert("this operation takes no value: send 0".into()));
        }
        match self {
            Self::Load => load(call),
            Self::Exec => exec(call),
            Self::Deploy => deploy(call),
            Self::Infer => infer(call),
        }
    }
}

/// Splits the model id off an input.
fn split_model_id(input: &[u8]) -> Result<(B256, &[u8]), Halt> {
    let (id, rest) = input.split_at_checked(32).ok_or_else(|| {
        Halt::Revert(format!("the input has {} bytes, it must begin with the 32-byte model id", input.len()))
    })?;
    Ok((B256::from_slice(id), rest))
}

/// Operations that write refuse static calls, and calls that would write in somebody else's name.
fn require_plain_call(call: &AiCall<'_, '_>, operation: &str) -> Result<(), Halt> {
    if call.inputs.is_static {
        return Err(Halt::Revert(format!("{operation} writes state: call it without STATICCALL")));
    }
    if !call.inputs.scheme.is_call() {
        return Err(Halt::Revert(format!("{operation} must be called with CALL, not DELEGATECALL or CALLCODE")));
    }
    Ok(())
}

/// Decodes a payload with the rules of its form, exactly as an AI transaction's is.
fn decode<K: AiKind>(input: Bytes, operation: &str) -> Result<K::Payload, Halt> {
    let tx = TxAi::<K> { payload: input, ..TxAi::default() };
    tx.payload().map_err(|reason| Halt::Revert(format!("malformed {operation} payload: {reason}")))
}

/// MODEL_LOAD: id in; handle, gas of a run, input bytes, output bytes out (four words).
fn load(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    let input = call.inputs.input.bytes(call.ctx);
    let (model_id, rest) = split_model_id(&input)?;
    if !rest.is_empty() {
        return Err(Halt::Revert(format!("{} bytes follow the 32-byte model id", rest.len())));
    }
    let model = engine::active_model(call, &model_id)?;
    engine::load(call, &model_id, &model)?;
    let words = [abi::word(gas::model_run_gas(&model)), abi::word(model.input_bytes), abi::word(model.output_bytes)];
    Ok([model_id.as_slice(), words.as_flattened()].concat().into())
}

/// MODEL_EXEC: id and raw input tensors in, raw output tensors out. Pure.
fn exec(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    let input = call.inputs.input.bytes(call.ctx);
    let (model_id, tensors) = split_model_id(&input)?;
    let model = engine::active_model(call, &model_id)?;
    let output = engine::run(call, &model_id, &model, tensors)?;
    Ok(Bytes::copy_from_slice(&output))
}

/// MODELS: registers a model as pending. Output: its id.
fn deploy(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    require_plain_call(call, "ModelDeploy")?;
    let input = call.inputs.input.bytes(call.ctx);
    let payload = decode::<ModelDeploy>(input, "ModelDeploy")?;
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
    let owner = call.inputs.caller;
    for (slot, value) in models::registration(&payload, owner, block, count) {
        call.store(system::MODELS, slot, value)?;
    }
    let topics = vec![keccak256(MODEL_DEPLOYED), model_id, owner.into_word()];
    call.log(system::MODELS, topics, abi::encode_bytes(&[&cid, payload.name.as_bytes()]));
    Ok(Bytes::copy_from_slice(model_id.as_slice()))
}

/// INFERENCE: runs a model, records keccak(output) and logs the output. Output: the raw output tensors.
fn infer(call: &mut AiCall<'_, '_>) -> Result<Bytes, Halt> {
    require_plain_call(call, "Inference")?;
    let input = call.inputs.input.bytes(call.ctx);
    let payload = decode::<Inference>(input, "Inference")?;
    let model_id = payload.model_id;
    let model = engine::active_model(call, &model_id)?;
    call.charge(gas::record(&model))?;
    let output = engine::run(call, &model_id, &model, &payload.input)?;

    let input_hash = keccak256(&payload.input);
    let commitment = U256::from_be_bytes(keccak256(&output).0);
    call.store(system::INFERENCE, models::inference_slot(&model_id, &input_hash), commitment)?;
    let topics = vec![keccak256(INFERENCE_COMPLETED), model_id, call.inputs.caller.into_word(), input_hash];
    call.log(system::INFERENCE, topics, abi::encode_bytes(&[&output]));
    Ok(Bytes::copy_from_slice(&output))
}

/// The system account that serves an AI transaction type which is enabled.
pub(crate) const fn system_account(tx_type: u8) -> Option<Address> {
    match tx_type {
        system::TX_MODEL_DEPLOY => Some(system::MODELS),
        system::TX_INFERENCE => Some(system::INFERENCE),
        _ => None,
    }
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
