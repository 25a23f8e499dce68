//! State and block overrides, as geth has them: a call that runs on a state and in a block that are not quite the chain's.
//!
//! Accounts are changed in a version of the state that nobody else sees, so every simulation takes them the same way.

use super::SimulationError;
use crate::{ai::LatticePrecompiles, evm::SPEC};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_state::{AccountDiff, State, StateDiff};
use std::collections::BTreeMap;

/// What is different about an account. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountOverride {
    /// Wei.
    pub balance: Option<U256>,
    /// Nonce.
    pub nonce: Option<u64>,
    /// Code.
    pub code: Option<Bytes>,
    /// Storage.
    pub storage: Option<StorageOverride>,
    /// Where the precompile of this address answers instead of here.
    pub move_precompile_to: Option<Address>,
}

/// What is different about an account's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageOverride {
    /// These slots and no others.
    Whole(BTreeMap<U256, U256>),
    /// These slots; the others stay.
    Slots(BTreeMap<U256, U256>),
}

/// What is different about a block. What is absent stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockOverrides {
    /// Its number.
    pub number: Option<u64>,
    /// Its time, seconds.
    pub timestamp: Option<u64>,
    /// Its gas limit.
    pub gas_limit: Option<u64>,
    /// Its base fee, wei a gas.
    pub base_fee: Option<u64>,
    /// Its prevRandao.
    pub prev_randao: Option<B256>,
    /// Who gets its tips.
    pub beneficiary: Option<Address>,
}

/// Overrides of one simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// By account.
    pub accounts: BTreeMap<Address, AccountOverride>,
    /// The block's.
    pub block: BlockOverrides,
}

/// Addresses where other precompiles answer than on the chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrecompileMoves {
    /// What answers at an address: the precompile of another one, or none.
    at: BTreeMap<Address, Option<Address>>,
}

impl PrecompileMoves {
    /// Nothing is moved.
    pub const NONE: &'static Self = &Self { at: BTreeMap::new() };

    /// The address whose precompile answers at `address`; `None` when an override took it away.
    pub(crate) fn resolve(&self, address: Address) -> Option<Address> {
        self.at.get(&address).copied().unwrap_or(Some(address))
    }

    /// Adds the moves of these overrides. An override of a precompile's account takes the precompile away, so that its new
    /// code runs.
    ///
    /// # Errors
    /// When what is to be moved is no precompile, or the place is taken.
    pub fn extend(&mut self, accounts: &BTreeMap<Address, AccountOverride>) -> Result<(), SimulationError> {
        let invalid = |text: String| Err(SimulationError::Invalid(text));
        let known = LatticePrecompiles::new(SPEC);
        let before = self.clone();
        let precompile_at = |address| before.resolve(address).filter(|original| known.contains(original));
        let mut targets = BTreeMap::new();
        for (address, account) in accounts {
            let here = precompile_at(*address);
            if let Some(target) = account.move_precompile_to {
                let Some(original) = here else {
                    return invalid(format!("account {address} is not a precompile: only those can be moved"));
                };
                if accounts.contains_key(&target) || targets.insert(target, original).is_some() {
                    return invalid(format!("account {target} is already overridden: move {address} elsewhere"));
                }
            }
            if here.is_some() {
                self.at.insert(*address, None);
            }
        }
        self.at.extend(targets.into_iter().map(|(target, original)| (target, Some(original))));
        Ok(())
    }
}

impl Overrides {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The header of the block as these overrides have it.
    pub fn header(&self, header: &Header) -> Header {
        let BlockOverrides { number, timestamp, gas_limit, base_fee, prev_randao, beneficiary } = self.block;
        Header {
            number: number.unwrap_or(header.number),
            timestamp: timestamp.unwrap_or(header.timestamp),
            gas_limit: gas_limit.unwrap_or(header.gas_limit),
            base_fee_per_gas: base_fee.or(header.base_fee_per_gas),
            mix_hash: prev_randao.unwrap_or(header.mix_hash),
            beneficiary: beneficiary.unwrap_or(header.beneficiary),
            ..header.clone()
        }
    }

    /// The state as these overrides have it.
    pub fn state(&self, state: &State) -> State {
        if self.accounts.is_empty() { state.clone() } else { state.apply(&state_diff(&self.accounts, state)) }
    }
}

fn state_diff(accounts: &BTreeMap<Address, AccountOverride>, state: &State) -> StateDiff {
    let mut diff = StateDiff::default();
    for (address, change) in accounts {
        let mut account = state.account(address).unwrap_or_default();
        account.balance = change.balance.unwrap_or(account.balance);
        account.nonce = change.nonce.unwrap_or(account.nonce);
        if let Some(code) = &change.code {
            account.code_hash = keccak256(code);
            if !code.is_empty() {
                diff.codes.insert(account.code_hash, code.clone());
            }
        }
        let (storage_cleared, storage) = match &change.storage {
            None => (false, BTreeMap::new()),
            Some(StorageOverride::Slots(slots)) => (false, slots.clone()),
            Some(StorageOverride::Whole(slots)) => (true, slots.clone()),
        };
        // EIP-161: an account that is empty is not there.
        let account = (!account.is_empty() || !storage.is_empty()).then_some(account);
        diff.accounts.insert(*address, AccountDiff { account, storage_cleared, storage });
    }
    diff
}
