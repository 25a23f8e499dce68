//! Validators and their stake: the registry, how stake comes and goes, what an offence costs, what producers earn.
//!
//! The registry is the storage of the system account STAKING, and the account's balance is exactly all stake, bonded
//! and on its way out. Stake moves through the account's door (`doors`), which speaks Solidity's ABI to transactions and
//! contracts, and through the system operations of a block (`operations`): slashing at its start, AI activity and the
//! sweep at its end. `docs/spec/staking.md` states the layout, the ABI and the rules.

mod doors;
mod gas;
mod operations;
mod records;

pub use records::{
    UNBONDING_MAX, Unbonding, ValidatorRecord, ai_gas_of, index_of, reward_address, stake_held, unbonding, validator,
    validator_count, validators,
};

pub(crate) use doors::enter;
pub(crate) use operations::{genesis, record_ai_gas, slash, sweep};

use crate::ai::StakeRules;
use lattice_types::spec::Staking;

/// Wei in a LAT.
pub const WEI_PER_LAT: u128 = 1_000_000_000_000_000_000;

/// What the door needs of the chain's rules.
pub(crate) fn rules(staking: &Staking) -> StakeRules {
    StakeRules { stake_min: u128::from(staking.stake_min) * WEI_PER_LAT, unbonding_slots: staking.unbonding_slots }
}
