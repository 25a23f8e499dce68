//! Who is paid at the end of a block, and how: withdrawals (EIP-4895), because one EVM block carries the transactions
//! of many producers and has one beneficiary only.
//!
//! The beneficiary of every block is the fee vault, whose content counts as burned; the tips are minted anew to those
//! who carried the transactions. What is left of a gwei is burned too.

use crate::{context::Payee, overlay::Overlay};
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, U256};
use lattice_types::system;
use std::collections::BTreeMap;

/// Wei in a gwei.
const GWEI: u64 = 1_000_000_000;

/// Slot of the fee vault that holds the index of the next withdrawal: the index runs on over all blocks.
pub(crate) const NEXT_WITHDRAWAL_SLOT: U256 = U256::ZERO;

/// Rewards of a block by reward address, in wei, with the registry index that its withdrawal names.
#[derive(Debug, Default)]
pub(crate) struct Rewards {
    by_address: BTreeMap<Address, (u32, U256)>,
}

impl Rewards {
    /// Adds to a producer's reward. When several validators share an address, the lowest index is named.
    pub(crate) fn add(&mut self, payee: Payee, wei: U256) {
        let (validator, sum) = self.by_address.entry(payee.address).or_insert((payee.validator, U256::ZERO));
        *validator = payee.validator.min(*validator);
        *sum = sum.saturating_add(wei);
    }

    /// Adds issuance, which chains state in gwei.
    pub(crate) fn add_gwei(&mut self, payee: Payee, gwei: u64) {
        self.add(payee, U256::from(gwei) * U256::from(GWEI));
    }

    /// Pays everybody and returns the withdrawals in address order. Rewards below a gwei pay nothing.
    pub(crate) fn pay(self, overlay: &mut Overlay<'_>) -> Vec<Withdrawal> {
        let first = overlay.slot(system::FEE_VAULT, NEXT_WITHDRAWAL_SLOT);
        let mut next: u64 = first.saturating_to();
        let mut withdrawals = Vec::with_capacity(self.by_address.len());
        for (address, (validator, wei)) in self.by_address {
            let amount: u64 = (wei / U256::from(GWEI)).saturating_to();
            if amount == 0 {
                continue;
            }
            withdrawals.push(Withdrawal { index: next, validator_index: validator.into(), address, amount });
            overlay.credit(address, U256::from(amount) * U256::from(GWEI));
            next += 1;
        }
        if !withdrawals.is_empty() {
            overlay.write_slot(system::FEE_VAULT, NEXT_WITHDRAWAL_SLOT, U256::from(next));
        }
        withdrawals
    }
}
