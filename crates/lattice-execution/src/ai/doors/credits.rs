//! MODELS: compute credits and quality stake. Both are wei that this account holds for somebody.

use super::{decode_operation, models::open_line, refuse_value, require_plain_call};
use crate::ai::{
    call::{AiCall, Halt},
    gas,
    records::{
        Registry,
        accounts::{AccountRecord, STAKE, STAKE_RELEASE, StakeRecord, UNSTAKE_BLOCKS, total_stake_slot},
        models::Field,
        pair_slot, slot,
        versions::Line,
    },
};
use alloy_primitives::{Bytes, U256, keccak256};
use lattice_types::{
    system,
    tx::operation::{CollectStake, DepositCredits, StakeOnModel, UnstakeFromModel, WithdrawCredits},
};

const CREDITS_DEPOSITED: &[u8] = b"CreditsDeposited(address,address,uint256)";
const CREDITS_WITHDRAWN: &[u8] = b"CreditsWithdrawn(address,uint256)";
const STAKED: &[u8] = b"Staked(bytes32,address,uint256)";
const UNSTAKING: &[u8] = b"Unstaking(bytes32,address,uint256)";
const STAKE_COLLECTED: &[u8] = b"StakeCollected(bytes32,address,uint256)";

fn amount_word(amount: u128) -> Vec<u8> {
    U256::from(amount).to_be_bytes_vec()
}

/// Turns the value into credits of an account.
pub(super) fn deposit(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "DepositCredits")?;
    let DepositCredits { account } = decode_operation(input, "DepositCredits")?;
    let amount = call.value_needed("credits")?;
    call.charge(gas::operation(1, 0, 3, 32))?;
    AccountRecord::add_credits(call, &account, amount)?;
    let topics = vec![keccak256(CREDITS_DEPOSITED), account.into_word(), call.caller.into_word()];
    call.log(system::MODELS, topics, amount_word(amount));
    Ok(Bytes::new())
}

/// Pays credits of the caller out.
pub(super) fn withdraw(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "WithdrawCredits")?;
    refuse_value(call)?;
    let WithdrawCredits { amount } = decode_operation(input, "WithdrawCredits")?;
    let caller = call.caller;
    let credits = AccountRecord::decode(call.read(AccountRecord::slot(&caller))?).credits;
    if amount == 0 || amount > credits {
        return Err(Halt::Revert(format!(
            "{caller} has {credits} wei of credits: withdraw 1 to that many, not {amount}"
        )));
    }
    call.charge(gas::operation(0, 1, 2, 32) + gas::PAY_OUT)?;
    AccountRecord::change(call, &caller, |account| account.credits -= amount)?;
    call.pay_out(system::MODELS, caller, U256::from(amount))?;
    call.log(system::MODELS, vec![keccak256(CREDITS_WITHDRAWN), caller.into_word()], amount_word(amount));
    Ok(Bytes::new())
}

/// Stakes the value on a line.
pub(super) fn stake(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "StakeOnModel")?;
    let StakeOnModel { model_id } = decode_operation(input, "StakeOnModel")?;
    let line = open_line(call, &model_id)?;
    if line.latest_active == 0 {
        return Err(Halt::Revert(format!("model {model_id} has no active version: stake once it has one")));
    }
    let amount = call.value_needed("stake")?;
    call.charge(gas::operation(3, 0, 3, 32))?;
    let caller = call.caller;
    let stake_slot = pair_slot(&model_id, &caller, STAKE);
    let mut stake = StakeRecord::decode(call.read(stake_slot)?);
    stake.staked = add(stake.staked, amount)?;
    call.write(stake_slot, stake.encode())?;
    for total in [slot(&model_id, Field::Stake as u8), total_stake_slot(&caller)] {
        let sum = add(call.read(total)?.saturating_to(), amount)?;
        call.write(total, U256::from(sum))?;
    }
    call.log(system::MODELS, vec![keccak256(STAKED), model_id, caller.into_word()], amount_word(amount));
    Ok(Bytes::new())
}

/// Begins to take stake off a line. What is on its way already waits for the new delay.
pub(super) fn unstake(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "UnstakeFromModel")?;
    refuse_value(call)?;
    let UnstakeFromModel { model_id, amount } = decode_operation(input, "UnstakeFromModel")?;
    let caller = call.caller;
    let stake_slot = pair_slot(&model_id, &caller, STAKE);
    let mut stake = StakeRecord::decode(call.read(stake_slot)?);
    if amount == 0 || amount > stake.staked {
        let staked = stake.staked;
        return Err(Halt::Revert(format!(
            "{caller} has {staked} wei staked on model {model_id}: unstake 1 to that many, not {amount}"
        )));
    }
    call.charge(gas::operation(1, 2, 3, 32))?;
    stake.staked -= amount;
    stake.leaving = add(stake.leaving, amount)?;
    call.write(stake_slot, stake.encode())?;
    let total = slot(&model_id, Field::Stake as u8);
    let left = call.read(total)?.saturating_sub(U256::from(amount));
    call.write(total, left)?;
    let release = call.block_number().saturating_add(UNSTAKE_BLOCKS);
    call.write(pair_slot(&model_id, &caller, STAKE_RELEASE), U256::from(release))?;
    call.log(system::MODELS, vec![keccak256(UNSTAKING), model_id, caller.into_word()], amount_word(amount));
    Ok(Bytes::from(U256::from(release).to_be_bytes_vec()))
}

/// Pays out what left a line and has waited long enough.
pub(super) fn collect(call: &mut AiCall<'_, '_>, input: &[u8]) -> Result<Bytes, Halt> {
    require_plain_call(call, "CollectStake")?;
    refuse_value(call)?;
    let CollectStake { model_id } = decode_operation(input, "CollectStake")?;
    // A line that was retired pays out all the same; so does one whose stake is all that is left of it.
    Line::read(call, &model_id)?;
    let caller = call.caller;
    let (stake_slot, release_slot) =
        (pair_slot(&model_id, &caller, STAKE), pair_slot(&model_id, &caller, STAKE_RELEASE));
    let mut stake = StakeRecord::decode(call.read(stake_slot)?);
    let release: u64 = call.read(release_slot)?.saturating_to();
    let amount = stake.leaving;
    if amount == 0 {
        return Err(Halt::Revert(format!("{caller} has no stake leaving model {model_id}: unstake first")));
    }
    if call.block_number() < release {
        return Err(Halt::Revert(format!("the stake is released at block {release}: collect it then")));
    }
    call.charge(gas::operation(0, 3, 3, 32) + gas::PAY_OUT)?;
    stake.leaving = 0;
    call.write(stake_slot, stake.encode())?;
    call.write(release_slot, U256::ZERO)?;
    let total = call.read(total_stake_slot(&caller))?.saturating_sub(U256::from(amount));
    call.write(total_stake_slot(&caller), total)?;
    call.pay_out(system::MODELS, caller, U256::from(amount))?;
    call.log(system::MODELS, vec![keccak256(STAKE_COLLECTED), model_id, caller.into_word()], amount_word(amount));
    Ok(Bytes::new())
}

fn add(sum: u128, amount: u128) -> Result<u128, Halt> {
    sum.checked_add(amount).ok_or_else(|| Halt::Revert("the sum exceeds 2^128 wei".into()))
}
