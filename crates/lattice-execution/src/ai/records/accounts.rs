//! What the registry knows of an account: models owned, reputation, compute credits. One slot an account.

use super::{Registry, Word, slot};
use alloy_primitives::{Address, U256};
use lattice_state::State;
use lattice_types::system;

/// Field of the account's word; the id is the address, left-padded.
const ACCOUNT: u8 = 0x40;

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
