//! What good and wrong work does to an account: its reputation, and the quality stake that answers for it.
//!
//! Accounts cost nothing, so neither votes nor counts of customers say anything: whoever wants a name could make both.
//! What nobody gets back says something. A part of every payment for work that stood is therefore burned, and
//! reputation counts those gwei: a point costs a gwei, whoever pays it, colluding accounts included. See
//! `docs/spec/ai-state.md`.

use super::{
    Registry,
    accounts::{AccountRecord, STAKE, StakeRecord, total_stake_slot},
    models::Field,
    pair_slot, slot,
};
use crate::ai::call::{AiCall, Halt};
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_types::system;

/// One part in so many of a payment for work, and of a slashed bond, is burned.
pub const BURNED_PART: u128 = 20;
/// Wei burned for a point of reputation.
pub const WEI_PER_POINT: u128 = 1_000_000_000;

const STAKE_SLASHED: &[u8] = b"StakeSlashed(bytes32,address,uint256)";

/// What is burned of a sum.
pub(crate) const fn burned(sum: u128) -> u128 {
    sum / BURNED_PART
}

/// Points for burned wei.
fn points(wei: u128) -> i64 {
    i64::try_from(wei / WEI_PER_POINT).unwrap_or(i64::MAX)
}

/// Burns wei that a system account holds: they go to the fee vault, which nobody owns.
fn burn(call: &mut AiCall<'_, '_>, from: Address, wei: u128) -> Result<(), Halt> {
    call.pay_out(from, system::FEE_VAULT, U256::from(wei))
}

/// Pays for work that stood, out of escrow: burns a part, for which the worker's reputation rises, and hands out the
/// rest with `deposit`, which is the worker's own.
pub(crate) fn pay_work(
    call: &mut AiCall<'_, '_>,
    from: Address,
    worker: Address,
    reward: u128,
    deposit: u128,
) -> Result<(), Halt> {
    let lost = burned(reward);
    burn(call, from, lost)?;
    AccountRecord::move_reputation(call, &worker, points(lost))?;
    call.pay_out(from, worker, U256::from(reward - lost) + U256::from(deposit))
}

/// Takes a slashed bond apart: half of it is the challenger's, a part is burned, for which the challenger's reputation
/// rises; the rest, which is the result, is for whom the wrong work harmed.
pub(crate) fn reward_challenge(
    call: &mut AiCall<'_, '_>,
    from: Address,
    challenger: Address,
    bond: u128,
) -> Result<u128, Halt> {
    let (reward, lost) = (bond / 2, burned(bond));
    burn(call, from, lost)?;
    AccountRecord::move_reputation(call, &challenger, points(lost))?;
    call.pay_out(from, challenger, U256::from(reward))?;
    Ok(bond - reward - lost)
}

/// Wrong work, proven: what the account's reputation has above zero is gone, and a point for each gwei of the bond
/// beyond that, at least one.
pub(crate) fn lose_for_wrong_work(call: &mut AiCall<'_, '_>, worker: &Address, bond: u128) -> Result<(), Halt> {
    let loss = points(bond).max(1);
    AccountRecord::change(call, worker, |record| record.reputation = record.reputation.min(0).saturating_sub(loss))
}

/// Work promised and not done: the points that it would have brought, at least one.
pub(crate) fn lose_for_abandoned_work(call: &mut AiCall<'_, '_>, worker: &Address, reward: u128) -> Result<(), Halt> {
    let loss = points(burned(reward)).max(1);
    AccountRecord::move_reputation(call, worker, -loss)
}

/// Burns all that an account has staked on a line, the leaving part included: wrong work on that line was its own.
///
/// The stake of others stays: anybody may work wrongly on any line for the price of a bond, and would burn theirs.
pub(crate) fn slash_stake(call: &mut AiCall<'_, '_>, line: &B256, account: &Address) -> Result<(), Halt> {
    let stake_slot = pair_slot(line, account, STAKE);
    let StakeRecord { staked, leaving } = StakeRecord::decode(call.read(stake_slot)?);
    let whole = U256::from(staked) + U256::from(leaving);
    if whole.is_zero() {
        return Ok(());
    }
    call.write(stake_slot, U256::ZERO)?;
    for (total, part) in [(slot(line, Field::Stake as u8), U256::from(staked)), (total_stake_slot(account), whole)] {
        let left = call.read(total)?.saturating_sub(part);
        call.write(total, left)?;
    }
    call.pay_out(system::MODELS, system::FEE_VAULT, whole)?;
    let topics = vec![keccak256(STAKE_SLASHED), *line, account.into_word()];
    call.log(system::MODELS, topics, whole.to_be_bytes_vec());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_gwei_and_never_overflow() {
        assert_eq!([points(0), points(WEI_PER_POINT - 1), points(2 * WEI_PER_POINT)], [0, 0, 2]);
        assert_eq!(points(u128::MAX), i64::MAX);
        assert_eq!([burned(19), burned(20), burned(u128::MAX)], [0, 1, u128::MAX / 20]);
    }
}
