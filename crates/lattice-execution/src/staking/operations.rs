//! What happens to stake outside of any transaction: genesis, slashing, AI activity, the sweep.

use super::{
    WEI_PER_LAT,
    records::{Head, Ledger, Newcomer, Stake, Unbonding, ai_gas, find, set_ai_gas},
};
use crate::{context::Slashing, error::ExecutionError, overlay::Overlay};
use alloy_primitives::{B256, U256};
use lattice_types::{
    spec::{PPM, Staking, Validator},
    system,
};
use std::collections::BTreeMap;

/// The registry with a chain's first validators, and the wei that they have staked. Each belongs to its reward address.
pub(crate) fn genesis(validators: &[Validator]) -> (BTreeMap<U256, U256>, U256) {
    let mut slots = BTreeMap::new();
    let mut ledger = Ledger::default();
    for validator in validators {
        let newcomer = Newcomer {
            public_key: validator.public_key,
            owner: validator.reward,
            reward: validator.reward,
            stake: u128::from(validator.stake) * WEI_PER_LAT,
        };
        let Ok(_) = newcomer.enrol(&mut slots, ledger);
        let Ok(written) = Ledger::read(&mut slots);
        ledger = written;
    }
    (slots, U256::from(ledger.held))
}

/// The part of an amount, rounded down; never more than all.
fn part(amount: u128, parts: u32, of: u32) -> u128 {
    let product = U256::from(amount) * U256::from(parts.min(of));
    product.checked_div(U256::from(of)).unwrap_or_default().to()
}

/// Slashes a validator: the offence's share of its stake and of everything on its way out goes to the fee vault, which
/// is burning, and the validator is out for ever. A worse offence after another one costs the difference. Returns what is
/// minted anew for the reporter, wei; `None` when the key is not known or has paid as much before.
pub(crate) fn slash(overlay: &mut Overlay<'_>, rules: &Staking, slashing: &Slashing) -> Option<U256> {
    let Ok(index) = find(overlay, &slashing.public_key);
    let index = index?;
    let Ok(mut head) = Head::read(overlay, index);
    let (ppm, paid_ppm) = (rules.slash_ppm(slashing.offence), head.slashed_ppm);
    if head.slashed && ppm <= paid_ppm {
        return None;
    }
    // What is there is what earlier offences have left.
    let cut = |amount| part(amount, ppm - paid_ppm, PPM - paid_ppm);
    let Ok(mut stake) = Stake::read(overlay, index);
    let Ok(mut entries) = Unbonding::read(overlay, index, head.entries);
    let mut lost = cut(stake.bonded);
    stake.bonded -= lost;
    for entry in &mut entries {
        let cut = cut(entry.amount);
        entry.amount -= cut;
        stake.unbonding -= cut;
        lost += cut;
    }
    entries.retain(|entry| entry.amount > 0);

    let Ok(left) = Unbonding::replace(overlay, index, head.entries, &entries);
    head.entries = left;
    head.slashed = true;
    head.slashed_ppm = ppm;
    let Ok(()) = head.write(overlay, index);
    let Ok(()) = stake.write(overlay, index);
    let Ok(mut ledger) = Ledger::read(overlay);
    ledger.held -= lost;
    let Ok(()) = ledger.write(overlay);
    overlay.transfer(system::STAKING, system::FEE_VAULT, U256::from(lost));
    Some(U256::from(part(lost, rules.reporter_ppm, PPM)))
}

/// Keeps for each producer what AI gas was charged to the transactions of its newest block executed here. Of several
/// blocks of one producer the last counts.
pub(crate) fn record_ai_gas(overlay: &mut Overlay<'_>, carriers: &[(B256, u32)], charged: &BTreeMap<B256, u64>) {
    let newest: BTreeMap<u32, B256> = carriers.iter().map(|(carrier, producer)| (*producer, *carrier)).collect();
    let Ok(ledger) = Ledger::read(overlay);
    for (producer, carrier) in newest.range(..ledger.count) {
        let gas = charged.get(carrier).copied().unwrap_or(0);
        let Ok(before) = ai_gas(overlay, *producer);
        if before != gas {
            let Ok(()) = set_ai_gas(overlay, *producer, gas);
        }
    }
}

/// Burns what reached the account past its door, by SELFDESTRUCT or as somebody's reward: what is left is exactly what
/// it owes.
///
/// # Errors
/// When it holds less, which is a fault of ours.
pub(crate) fn sweep(overlay: &mut Overlay<'_>) -> Result<(), ExecutionError> {
    let Ok(ledger) = Ledger::read(overlay);
    let (owed, balance) = (U256::from(ledger.held), overlay.account(system::STAKING).unwrap_or_default().balance);
    let surplus = balance
        .checked_sub(owed)
        .ok_or_else(|| ExecutionError::Fault(format!("the validators' account holds {balance} wei and owes {owed}")))?;
    if !surplus.is_zero() {
        overlay.transfer(system::STAKING, system::FEE_VAULT, surplus);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_down_and_never_exceed_the_whole() {
        assert_eq!([part(999_999, 1, PPM), part(1_000_000, 1, PPM), part(7, 500_000, PPM)], [0, 1, 3]);
        assert_eq!([part(u128::MAX, PPM, PPM), part(u128::MAX, u32::MAX, PPM)], [u128::MAX; 2]);
        assert_eq!([part(95, 95, 95), part(95, 0, 95), part(95, 0, 0)], [95, 0, 0]);
    }
}
