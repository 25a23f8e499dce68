//! What the registry knows of an account: models owned, reputation, compute credits. One slot an account.

use super::{Registry, Word, pair_slot, slot};
use crate::ai::call::{AiCall, Halt};
use alloy_primitives::{Address, B256, U256};
use lattice_state::State;
use lattice_types::system;

/// Field of the account's word; the id is the address, left-padded.
const ACCOUNT: u8 = 0x40;

/// Field of the stake that an account has on all lines, leaving stake included.
const TOTAL_STAKE: u8 = 0x41;
/// Fields of what a line says about an account: its stake, and the block that releases what leaves.
pub(crate) const STAKE: u8 = 1;
pub(crate) const STAKE_RELEASE: u8 = 2;
/// EVM blocks between taking stake off a line and collecting it.
pub const UNSTAKE_BLOCKS: u64 = 28_800;

/// Slot of an account's whole stake.
pub(crate) fn total_stake_slot(account: &Address) -> U256 {
    slot(&account.into_word(), TOTAL_STAKE)
}

/// Quality stake of an account on a line, wei.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StakeRecord {
    /// Staked.
    pub staked: u128,
    /// On its way out.
    pub leaving: u128,
}

impl StakeRecord {
    /// Reads the stake of an account on a line, and the block from which on the leaving part can be collected.
    pub fn read(state: &State, line_id: &B256, account: &Address) -> (Self, u64) {
        let field = |field: u8| state.storage(&system::MODELS, pair_slot(line_id, account, field));
        (Self::decode(field(STAKE)), field(STAKE_RELEASE).saturating_to())
    }

    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self { staked: word.number(0, 16), leaving: word.number(16, 16) }
    }

    pub(crate) fn encode(&self) -> U256 {
        Word::default().with(0, 16, self.staked).with(16, 16, self.leaving).value()
    }
}

/// The extension of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountRecord {
    /// Model lines that it owns.
    pub models_owned: u32,
    /// Moved by finalised and slashed answers and by training jobs; see `docs/spec/ai-state.md`.
    pub reputation: i64,
    /// Compute credits, wei.
    pub credits: u128,
}

impl AccountRecord {
    /// The extension of an account; all zero for one that the registry does not know.
    pub fn read(state: &State, account: &Address) -> Self {
        Self::decode(state.storage(&system::MODELS, Self::slot(account)))
    }

    pub(crate) fn slot(account: &Address) -> U256 {
        slot(&account.into_word(), ACCOUNT)
    }

    pub(crate) fn decode(value: U256) -> Self {
        let word = Word::new(value);
        Self {
            models_owned: word.short(4, 4) as u32,
            reputation: word.short(8, 8).cast_signed(),
            credits: word.number(16, 16),
        }
    }

    pub(crate) fn encode(&self) -> U256 {
        let word = Word::default().with(4, 4, self.models_owned).with(8, 8, self.reputation.cast_unsigned());
        word.with(16, 16, self.credits).value()
    }

    /// Stake of an account on all lines, leaving stake included, wei.
    pub fn read_stake(state: &State, account: &Address) -> u128 {
        state.storage(&system::MODELS, total_stake_slot(account)).saturating_to()
    }

    /// Adds to an account's credits.
    pub(crate) fn add_credits(call: &mut AiCall<'_, '_>, account: &Address, amount: u128) -> Result<(), Halt> {
        let mut record = Self::decode(call.read(Self::slot(account))?);
        record.credits = record.credits.checked_add(amount).ok_or_else(|| {
            Halt::Revert(format!("the credits of {account} would exceed 2^128 wei: withdraw some first"))
        })?;
        call.write(Self::slot(account), record.encode())
    }

    /// Moves an account's reputation.
    pub(crate) fn move_reputation(call: &mut AiCall<'_, '_>, account: &Address, by: i64) -> Result<(), Halt> {
        Self::change(call, account, |record| record.reputation = record.reputation.saturating_add(by))
    }

    /// Reads an account's extension, changes it and writes it back.
    pub(crate) fn change<R: Registry>(
        registry: &mut R,
        account: &Address,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), R::Error> {
        let mut record = Self::decode(registry.read(Self::slot(account))?);
        change(&mut record);
        registry.write(Self::slot(account), record.encode())
    }
}
