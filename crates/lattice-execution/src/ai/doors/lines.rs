//! MODELS: what an owner does with a line: transfer in two steps, permissions, retirement.

use super::{
    decode_operation,
    models::{open_line, owned_line},
    refuse_value, require_plain_call,
};
use crate::ai::{
    abi,
    call::{AiCall, Halt},
    gas,
    records::{
        Registry,
        accounts::AccountRecord,
        models::Field,
        pair_slot, slot,
        versions::{ALLOWED, ModelPermission},
    },
};
use alloy_primitives::{Address, Bytes, U256, keccak256};
use lattice_types::{
    system,
    tx::operation::{AcceptModel, AllowAccounts, OfferModel, PermitModel, RetireModel},
};

const MODEL_OFFERED: &[u8] = b"ModelOffered(bytes32,address,address)";
const MODEL_TRANSFERRED: &[u8] = b"ModelTransferred(bytes32,address,address)";
const MODEL_PERMITTED: &[u8] = b"ModelPermitted(bytes32,uint256,uint256)";
const ACCOUNT_ALLOWED: &[u8] = b"AccountAllowed(bytes32,address,uint256)";
const MODEL_RETIRED: &[u8] = b"ModelRetired(bytes32,address)";

/// Accounts that one edit of an allow list may name.
const ALLOW_ACCOUNTS_MAX: usize = 16;

/// Offers the line to an account; the zero address takes the offer back.
pub(super) fn offer(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "OfferModel")?;
    refuse_value(call)?;
    let OfferModel { model_id, to } = decode_operation(input, "OfferModel")?;
    let line = owned_line(call, &model_id)?;
    call.charge(gas::operation(1, 0, 4, 0))?;
    call.write(slot(&model_id, Field::OfferedTo as u8), to.into_word().into())?;
    let topics = vec![keccak256(MODEL_OFFERED), model_id, line.owner.into_word(), to.into_word()];
    call.log(system::MODELS, topics, Vec::new());
    Ok(Bytes::new())
}

/// The offered account becomes the owner.
pub(super) fn accept(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "AcceptModel")?;
    refuse_value(call)?;
    let AcceptModel { model_id } = decode_operation(input, "AcceptModel")?;
    let mut line = open_line(call, &model_id)?;
    let offer_slot = slot(&model_id, Field::OfferedTo as u8);
    let offered = Address::from_word(call.read(offer_slot)?.into());
    let caller = call.caller;
    if offered.is_zero() || offered != caller {
        return Err(Halt::Revert(format!(
            "model {model_id} is not offered to {caller}: its owner has to offer it first"
        )));
    }
    call.charge(gas::operation(1, 3, 4, 0))?;
    let before = line.owner;
    AccountRecord::change(call, &before, |account| account.models_owned = account.models_owned.saturating_sub(1))?;
    AccountRecord::change(call, &caller, |account| account.models_owned = account.models_owned.saturating_add(1))?;
    line.owner = caller;
    line.write(call, &model_id)?;
    call.write(offer_slot, U256::ZERO)?;
    let topics = vec![keccak256(MODEL_TRANSFERRED), model_id, before.into_word(), caller.into_word()];
    call.log(system::MODELS, topics, Vec::new());
    Ok(Bytes::new())
}

/// Sets who may run the model.
pub(super) fn permit(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "PermitModel")?;
    refuse_value(call)?;
    let PermitModel { model_id, mode, price } = decode_operation(input, "PermitModel")?;
    let Some(permission) = ModelPermission::from_code(mode) else {
        return Err(Halt::Revert(format!("mode {mode} is not known: use 0 (public), 1 (allow list) or 2 (price)")));
    };
    if (permission == ModelPermission::Price) != (price != 0) {
        return Err(Halt::Revert("a price goes with mode 2, and mode 2 needs one: set both or neither".into()));
    }
    let mut line = owned_line(call, &model_id)?;
    call.charge(gas::operation(1, 1, 2, 64))?;
    line.permission = permission;
    line.write(call, &model_id)?;
    call.write(slot(&model_id, Field::Price as u8), U256::from(price))?;
    let words = [abi::word(u64::from(mode)), U256::from(price).to_be_bytes()];
    call.log(system::MODELS, vec![keccak256(MODEL_PERMITTED), model_id], words.concat());
    Ok(Bytes::new())
}

/// Puts accounts on the allow list or takes them off. The list counts with mode 1 only.
pub(super) fn allow(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "AllowAccounts")?;
    refuse_value(call)?;
    let AllowAccounts { model_id, accounts, allowed } = decode_operation(input, "AllowAccounts")?;
    let count = accounts.len();
    if count == 0 || count > ALLOW_ACCOUNTS_MAX {
        return Err(Halt::Revert(format!(
            "{count} accounts are named, allowed are 1 to {ALLOW_ACCOUNTS_MAX} in one call"
        )));
    }
    owned_line(call, &model_id)?;
    call.charge(gas::operation(1, 0, 3, 32) * count as u64)?;
    for account in &accounts {
        call.write(pair_slot(&model_id, account, ALLOWED), U256::from(allowed))?;
        let topics = vec![keccak256(ACCOUNT_ALLOWED), model_id, account.into_word()];
        call.log(system::MODELS, topics, abi::word(u64::from(allowed)).to_vec());
    }
    Ok(Bytes::new())
}

/// Ends the line: no version of it runs any more.
pub(super) fn retire(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "RetireModel")?;
    refuse_value(call)?;
    let RetireModel { model_id } = decode_operation(input, "RetireModel")?;
    let mut line = owned_line(call, &model_id)?;
    call.charge(gas::operation(0, 1, 3, 0))?;
    line.retired = true;
    line.write(call, &model_id)?;
    let topics = vec![keccak256(MODEL_RETIRED), model_id, line.owner.into_word()];
    call.log(system::MODELS, topics, Vec::new());
    Ok(Bytes::new())
}
