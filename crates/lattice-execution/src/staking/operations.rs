//! What happens to stake outside of any transaction: genesis, slashing, AI activity, the sweep.

use super::{
    WEI_PER_LAT,
    records::{Head, Ledger, Newcomer, Stake, Unbonding, ai_gas, find, set_ai_gas},
};
use crate::{context::Slashing, error::ExecutionError, overlay::Overlay};
use alloy_primitives::{B256, U256};
use lattice_types::{
    finality::Offence,
    spec::{Staking, Validator},
    system,
};
use std::collections::BTreeMap;

/// Millionths.
const PPM: u32 = 1_000_000;

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

/// The part of an amount, rounded down.
fn part(amount: u128, ppm: u32) -> u128 {
    let product = U256::from(amount) * U256::from(ppm.min(PPM));
    (product / U256::from(PPM)).to()
}

/// Slashes a validator: the offence's share of its stake and of everything on its way out goes to the fee vault, which
/// is burning, and the validator is out for ever. Returns what is minted anew for the reporter, wei; `None` when the key is
/// not known or was slashed before.
pub(crate) fn slash(overlay: &mut Overlay<'_>, rules: &Staking, slashing: &Slashing) -> Option<U256> {
    let Ok(index) = find(overlay, &slashing.public_key);
    let index = index?;
    let Ok(mut head) = Head::read(overlay, index);
    if head.slashed {
        return None;
    }
    let ppm = match slashing.offence {
        Offence::Double | Offence::Surround => rules.slash_vote_ppm,
        Offence::Equivocation => rules.slash_equivocation_ppm,
    };
    let Ok(mut stake) = Stake::read(overlay, index);
    let Ok(mut entries) = Unbonding::read(overlay, index, head.entries);
    let mut lost = part(stake.bonded, ppm);
    stake.bonded -= lost;
    for entry in &mut entries {
        let cut = part(entry.amount, ppm);
        entry.amount -= cut;
        stake.unbonding -= cut;
        lost += cut;
    }
    entries.retain(|entry| entry.amount > 0);

    let Ok(left) = Unbonding::replace(overlay, index, head.entries, &entries);
    head.entries = left;
    head.slashed = true;
    let Ok(()) = head.write(overlay, index);
    let Ok(()) = stake.write(overlay, index);
    let Ok(mut ledger) = Ledger::read(overlay);
    ledger.held -= lost;
    let Ok(()) = ledger.write(overlay);
    overlay.transfer(system::STAKING, system::FEE_VAULT, U256::from(lost));
    Some(U256::from(part(lost, rules.reporter_ppm)))
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
        assert_eq!([part(999_999, 1), part(1_000_000, 1), part(7, 500_000)], [0, 1, 3]);
        assert_eq!([part(u128::MAX, PPM), part(u128::MAX, u32::MAX)], [u128::MAX; 2]);
    }
}
