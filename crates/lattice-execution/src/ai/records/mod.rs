//! The records of the AI rules: what lies in which slot of the system accounts.
//!
//! The layout is part of the protocol (`docs/spec/ai-state.md`): anybody can prove a field with `eth_getProof`. A record's
//! field lies at keccak256(id ++ word(field)). Ids of different kinds of records may be equal (a model's id is what its
//! owner registered), so every kind has field numbers of its own.

pub(crate) mod accounts;
pub(crate) mod adapters;
pub(crate) mod bonded;
pub(crate) mod jobs;
pub(crate) mod models;
pub(crate) mod readiness;
pub(crate) mod reputation;
pub(crate) mod versions;
mod word;

pub(crate) use word::Word;

use super::call::{AiCall, Halt};
use crate::overlay::Overlay;
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_types::system;
use std::convert::Infallible;

/// Slot of a field of the record `id`: keccak(id ++ field number as a word).
pub(crate) fn slot(id: &B256, field: u8) -> U256 {
    let mut key = [0; 64];
    key[..32].copy_from_slice(id.as_slice());
    key[63] = field;
    keccak256(key).into()
}

/// Slot of what the record `id` says about an account: keccak(id ++ address as a word ++ field number as a word).
pub(crate) fn pair_slot(id: &B256, account: &Address, field: u8) -> U256 {
    let mut key = [0; 96];
    key[..32].copy_from_slice(id.as_slice());
    key[44..64].copy_from_slice(account.as_slice());
    key[95] = field;
    keccak256(key).into()
}

/// Slot of a numbered field of the record `id`: keccak(id ++ number as a word ++ field number as a word).
pub(crate) fn numbered_slot(id: &B256, number: u64, field: u8) -> U256 {
    let mut key = [0; 96];
    key[..32].copy_from_slice(id.as_slice());
    key[56..64].copy_from_slice(&number.to_be_bytes());
    key[95] = field;
    keccak256(key).into()
}

/// Storage of the account MODELS, in a transaction or in a system operation.
pub(crate) trait Registry {
    /// What a read or write may fail with.
    type Error;

    fn read(&mut self, slot: U256) -> Result<U256, Self::Error>;
    fn write(&mut self, slot: U256, value: U256) -> Result<(), Self::Error>;
}

impl Registry for AiCall<'_, '_> {
    type Error = Halt;

    fn read(&mut self, slot: U256) -> Result<U256, Halt> {
        self.slot(system::MODELS, slot)
    }

    fn write(&mut self, slot: U256, value: U256) -> Result<(), Halt> {
        self.store(system::MODELS, slot, value)
    }
}

impl Registry for Overlay<'_> {
    type Error = Infallible;

    fn read(&mut self, slot: U256) -> Result<U256, Infallible> {
        Ok(self.slot(system::MODELS, slot))
    }

    fn write(&mut self, slot: U256, value: U256) -> Result<(), Infallible> {
        self.write_slot(system::MODELS, slot, value);
        Ok(())
    }
}
