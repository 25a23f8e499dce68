//! Prices of the operations on stake, beyond the base price of every door.
//!
//! Storage, logs and payments cost what they do at the AI doors: the EVM's prices at the worst case.

use crate::ai::gas::{PAY_OUT, operation};

/// Verifying a proof of possession: checking key and signature, hashing to the curve, two pairings. 1.2 ms of a core
/// (median of 300) at 240 gas a microsecond; with the prices of EIP-2537 the same work would be about 185,000.
pub(super) const VERIFY_POSSESSION: u64 = 300_000;

/// Registering: owner, stake, reward address, key (two slots), the key's index; the ledger; the log; the proof.
pub(super) const REGISTER: u64 = operation(6, 1, 3, 192) + VERIFY_POSSESSION;

/// Adding stake: the stake, which may be none; the ledger; the log.
pub(super) const ADD: u64 = operation(1, 1, 3, 32);

/// Beginning to take stake out: the entry; stake and number of entries; the log.
pub(super) const UNSTAKE: u64 = operation(1, 2, 2, 64);

/// Setting the reward address.
pub(super) const SET_REWARD: u64 = operation(1, 0, 3, 0);

/// Paying out what has waited long enough, with that many entries under way: the entries, which move up; stake, number
/// of entries, ledger; the log; the payment.
pub(super) const fn withdraw(entries: u8) -> u64 {
    operation(0, 3 + entries as u64, 3, 32) + PAY_OUT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_of_the_specification() {
        assert_eq!([REGISTER, ADD, UNSTAKE, SET_REWARD], [440_636, 28_856, 33_737, 23_600]);
        assert_eq!([withdraw(1), withdraw(8)], [58_356, 93_356]);
    }
}
