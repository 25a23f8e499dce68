//! The records of the registry: what lies in which slot of the account STAKING.
//!
//! The layout is part of the protocol (`docs/spec/staking.md`): anybody can prove a field with `eth_getProof`. A field of a
//! validator lies at keccak256(word(index) ++ word(field)), a key's index at keccak256(key ++ word(1)).

use crate::{
    ai::{
        self, Word,
        call::{AiCall, Halt},
    },
    overlay::Overlay,
};
use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::State;
use lattice_types::{bls, system};
use std::{collections::BTreeMap, convert::Infallible};

/// Withdrawals of stake that one validator may have under way.
pub const UNBONDING_MAX: u8 = 8;

/// Slot of the ledger.
const LEDGER_SLOT: U256 = U256::ZERO;
/// Number of the mapping from keys to indices.
const KEYS: u64 = 1;

/// Fields of a validator.
#[derive(Debug, Clone, Copy)]
enum Field {
    Head = 1,
    Stake = 2,
    Reward = 3,
    /// The first 32 bytes of the key.
    Key = 4,
    /// The other 16.
    KeyRest = 5,
    AiGas = 6,
    /// The first of [`UNBONDING_MAX`] entries, oldest first.
    Unbonding = 16,
}

/// Flag of the head: slashed.
const SLASHED: u8 = 1;

fn slot(index: u32, field: Field) -> U256 {
    entry_slot(index, field, 0)
}

fn entry_slot(index: u32, field: Field, entry: u8) -> U256 {
    ai::slot(&B256::from(U256::from(index)), field as u8 + entry)
}

/// Slot of a key's index plus one; 0 for a key that nobody registered.
fn key_slot(key: &bls::PublicKey) -> U256 {
    keccak256([key.as_slice(), &U256::from(KEYS).to_be_bytes::<32>()].concat()).into()
}

/// Storage of the account STAKING to read.
pub(super) trait Reads {
    /// What a read or write may fail with.
    type Error;

    fn get(&mut self, slot: U256) -> Result<U256, Self::Error>;
}

/// Storage of the account STAKING to write: in a transaction, in a system operation, at genesis.
pub(super) trait Writes: Reads {
    fn put(&mut self, slot: U256, value: U256) -> Result<(), Self::Error>;
}

impl Reads for &State {
    type Error = Infallible;

    fn get(&mut self, slot: U256) -> Result<U256, Infallible> {
        Ok(self.storage(&system::STAKING, slot))
    }
}

impl Reads for AiCall<'_, '_> {
    type Error = Halt;

    fn get(&mut self, slot: U256) -> Result<U256, Halt> {
        self.slot(system::STAKING, slot)
    }
}

impl Writes for AiCall<'_, '_> {
    fn put(&mut self, slot: U256, value: U256) -> Result<(), Halt> {
        self.store(system::STAKING, slot, value)
    }
}

impl Reads for Overlay<'_> {
    type Error = Infallible;

    fn get(&mut self, slot: U256) -> Result<U256, Infallible> {
        Ok(self.slot(system::STAKING, slot))
    }
}

impl Writes for Overlay<'_> {
    fn put(&mut self, slot: U256, value: U256) -> Result<(), Infallible> {
        self.write_slot(system::STAKING, slot, value);
        Ok(())
    }
}

impl Reads for BTreeMap<U256, U256> {
    type Error = Infallible;

    fn get(&mut self, slot: U256) -> Result<U256, Infallible> {
        Ok(BTreeMap::get(self, &slot).copied().unwrap_or_default())
    }
}

impl Writes for BTreeMap<U256, U256> {
    fn put(&mut self, slot: U256, value: U256) -> Result<(), Infallible> {
        self.insert(slot, value);
        Ok(())
    }
}

/// What the registry holds altogether.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Stake of all validators, on its way out included, wei: the account's balance.
    pub(super) held: u128,
    /// Validators ever registered.
    pub(super) count: u32,
}

impl Ledger {
    pub(super) fn read<R: Reads>(slots: &mut R) -> Result<Self, R::Error> {
        let word = Word::new(slots.get(LEDGER_SLOT)?);
        Ok(Self { held: word.number(0, 16), count: word.short(28, 4) as u32 })
    }

    pub(super) fn write<W: Writes>(self, slots: &mut W) -> Result<(), W::Error> {
        slots.put(LEDGER_SLOT, Word::default().with(0, 16, self.held).with(28, 4, self.count).value())
    }
}

/// Who a validator belongs to and how it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) owner: Address,
    pub(super) slashed: bool,
    /// What its offences have cost, millionths of the stake before the first of them.
    pub(super) slashed_ppm: u32,
    /// Withdrawals of stake under way.
    pub(super) entries: u8,
}

impl Head {
    pub(super) fn read<R: Reads>(slots: &mut R, index: u32) -> Result<Self, R::Error> {
        let word = Word::new(slots.get(slot(index, Field::Head))?);
        let flags = word.short(20, 1) as u8;
        Ok(Self {
            owner: word.address(0),
            slashed: flags & SLASHED != 0,
            slashed_ppm: word.short(22, 4) as u32,
            entries: word.short(21, 1) as u8,
        })
    }

    pub(super) fn write<W: Writes>(self, slots: &mut W, index: u32) -> Result<(), W::Error> {
        let flags = if self.slashed { SLASHED } else { 0 };
        let word = Word::default().with_address(0, &self.owner).with(20, 1, flags).with(21, 1, self.entries).with(
            22,
            4,
            self.slashed_ppm,
        );
        slots.put(slot(index, Field::Head), word.value())
    }
}

/// A validator's stake, wei.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stake {
    pub(super) bonded: u128,
    /// The sum of what is on its way out.
    pub(super) unbonding: u128,
}

impl Stake {
    pub(super) fn read<R: Reads>(slots: &mut R, index: u32) -> Result<Self, R::Error> {
        let word = Word::new(slots.get(slot(index, Field::Stake))?);
        Ok(Self { bonded: word.number(0, 16), unbonding: word.number(16, 16) })
    }

    pub(super) fn write<W: Writes>(self, slots: &mut W, index: u32) -> Result<(), W::Error> {
        let word = Word::default().with(0, 16, self.bonded).with(16, 16, self.unbonding);
        slots.put(slot(index, Field::Stake), word.value())
    }
}

/// Stake on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unbonding {
    /// Wei.
    pub amount: u128,
    /// The first slot in which it can be withdrawn.
    pub release_slot: u64,
}

impl Unbonding {
    /// The entries of a validator, oldest first.
    pub(super) fn read<R: Reads>(slots: &mut R, index: u32, entries: u8) -> Result<Vec<Self>, R::Error> {
        (0..entries.min(UNBONDING_MAX)).map(|entry| Self::at(slots, index, entry)).collect()
    }

    pub(super) fn at<R: Reads>(slots: &mut R, index: u32, entry: u8) -> Result<Self, R::Error> {
        let word = Word::new(slots.get(entry_slot(index, Field::Unbonding, entry))?);
        Ok(Self { amount: word.number(0, 16), release_slot: word.short(16, 8) })
    }

    pub(super) fn write<W: Writes>(self, slots: &mut W, index: u32, entry: u8) -> Result<(), W::Error> {
        let word = Word::default().with(0, 16, self.amount).with(16, 8, self.release_slot);
        slots.put(entry_slot(index, Field::Unbonding, entry), word.value())
    }

    /// Writes `left` in the place of the first `before` entries; how many there are now.
    pub(super) fn replace<W: Writes>(slots: &mut W, index: u32, before: u8, left: &[Self]) -> Result<u8, W::Error> {
        let mut left = left.iter();
        let mut entries = 0;
        for entry in 0..before {
            match left.next() {
                Some(unbonding) => {
                    unbonding.write(slots, index, entry)?;
                    entries += 1;
                }
                None => slots.put(entry_slot(index, Field::Unbonding, entry), U256::ZERO)?,
            }
        }
        Ok(entries)
    }
}

/// Who registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newcomer {
    pub(super) public_key: bls::PublicKey,
    pub(super) owner: Address,
    pub(super) reward: Address,
    /// Wei.
    pub(super) stake: u128,
}

impl Newcomer {
    /// Writes the records of the next validator; `ledger` counts it in. Returns its index.
    pub(super) fn enrol<W: Writes>(&self, slots: &mut W, mut ledger: Ledger) -> Result<u32, W::Error> {
        let index = ledger.count;
        ledger.count += 1;
        ledger.held += self.stake;
        ledger.write(slots)?;
        Head { owner: self.owner, ..Head::default() }.write(slots, index)?;
        Stake { bonded: self.stake, unbonding: 0 }.write(slots, index)?;
        set_reward(slots, index, &self.reward)?;
        let (first, rest) = self.public_key.split_at(32);
        slots.put(slot(index, Field::Key), U256::from_be_slice(first))?;
        let rest: u128 = U256::from_be_slice(rest).to();
        slots.put(slot(index, Field::KeyRest), Word::default().with(0, 16, rest).value())?;
        slots.put(key_slot(&self.public_key), U256::from(index) + U256::ONE)?;
        Ok(index)
    }
}

pub(super) fn find<R: Reads>(slots: &mut R, key: &bls::PublicKey) -> Result<Option<u32>, R::Error> {
    let number: u64 = slots.get(key_slot(key))?.saturating_to();
    Ok(number.checked_sub(1).and_then(|index| index.try_into().ok()))
}

pub(super) fn reward<R: Reads>(slots: &mut R, index: u32) -> Result<Address, R::Error> {
    slots.get(slot(index, Field::Reward)).map(|word| Address::from_word(word.into()))
}

pub(super) fn set_reward<W: Writes>(slots: &mut W, index: u32, reward: &Address) -> Result<(), W::Error> {
    slots.put(slot(index, Field::Reward), reward.into_word().into())
}

pub(super) fn ai_gas<R: Reads>(slots: &mut R, index: u32) -> Result<u64, R::Error> {
    slots.get(slot(index, Field::AiGas)).map(|word| word.saturating_to())
}

pub(super) fn set_ai_gas<W: Writes>(slots: &mut W, index: u32, ai_gas: u64) -> Result<(), W::Error> {
    slots.put(slot(index, Field::AiGas), U256::from(ai_gas))
}

/// A validator as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatorRecord {
    /// Its place in the registry, for good.
    pub index: u32,
    /// Its key.
    pub public_key: bls::PublicKey,
    /// Whoever may take its stake out and set its reward address.
    pub owner: Address,
    /// Account that its rewards are withdrawn to.
    pub reward: Address,
    /// Bonded stake, wei.
    pub stake: U256,
    /// Stake on its way out, wei.
    pub unbonding: U256,
    /// Whether it was slashed: it is in no stake set any more.
    pub slashed: bool,
    /// What its offences have cost, millionths of the stake before the first of them.
    pub slashed_ppm: u32,
}

impl ValidatorRecord {
    /// The record of a validator that is there.
    pub(super) fn read<R: Reads>(slots: &mut R, index: u32) -> Result<Self, R::Error> {
        let head = Head::read(slots, index)?;
        let stake = Stake::read(slots, index)?;
        let mut public_key = bls::PublicKey::ZERO;
        public_key[..32].copy_from_slice(&slots.get(slot(index, Field::Key))?.to_be_bytes::<32>());
        public_key[32..].copy_from_slice(&slots.get(slot(index, Field::KeyRest))?.to_be_bytes::<32>()[..16]);
        Ok(Self {
            index,
            public_key,
            owner: head.owner,
            reward: reward(slots, index)?,
            stake: U256::from(stake.bonded),
            unbonding: U256::from(stake.unbonding),
            slashed: head.slashed,
            slashed_ppm: head.slashed_ppm,
        })
    }
}

/// Validators ever registered: their indices are all below.
pub fn validator_count(state: &State) -> u32 {
    let Ok(ledger) = Ledger::read(&mut &*state);
    ledger.count
}

/// Stake of all validators, on its way out included, wei.
pub fn stake_held(state: &State) -> U256 {
    let Ok(ledger) = Ledger::read(&mut &*state);
    U256::from(ledger.held)
}

/// The validator with that index; `None` when it was never given.
pub fn validator(state: &State, index: u32) -> Option<ValidatorRecord> {
    if index >= validator_count(state) {
        return None;
    }
    let Ok(record) = ValidatorRecord::read(&mut &*state, index);
    Some(record)
}

/// The whole registry, by index.
pub fn validators(state: &State) -> Vec<ValidatorRecord> {
    (0..validator_count(state)).filter_map(|index| validator(state, index)).collect()
}

/// A validator's withdrawals of stake under way, oldest first.
pub fn unbonding(state: &State, index: u32) -> Vec<Unbonding> {
    let Ok(head) = Head::read(&mut &*state, index);
    let Ok(entries) = Unbonding::read(&mut &*state, index, head.entries);
    entries
}

/// The index that a key was registered under.
pub fn index_of(state: &State, key: &bls::PublicKey) -> Option<u32> {
    let Ok(index) = find(&mut &*state, key);
    index
}

/// Account that a validator's rewards are withdrawn to; zero when there is no such validator.
pub fn reward_address(state: &State, index: u32) -> Address {
    let Ok(address) = reward(&mut &*state, index);
    address
}

/// AI gas charged to the transactions of this producer's newest chain-executed block; 0 when there is none.
pub fn ai_gas_of(state: &State, index: u32) -> u64 {
    let Ok(gas) = ai_gas(&mut &*state, index);
    gas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_keep_apart() {
        let mut slots = BTreeMap::new();
        let newcomer = |seed: u8| Newcomer {
            public_key: bls::PublicKey::repeat_byte(seed),
            owner: Address::repeat_byte(seed + 1),
            reward: Address::repeat_byte(seed + 2),
            stake: u128::from(seed),
        };
        for (index, seed) in [10u8, 20].into_iter().enumerate() {
            let Ok(ledger) = Ledger::read(&mut slots);
            assert_eq!(newcomer(seed).enrol(&mut slots, ledger), Ok(index as u32));
        }
        assert_eq!(Ledger::read(&mut slots), Ok(Ledger { held: 30, count: 2 }));
        for (index, seed) in [10u8, 20].into_iter().enumerate() {
            let expected = ValidatorRecord {
                index: index as u32,
                public_key: bls::PublicKey::repeat_byte(seed),
                owner: Address::repeat_byte(seed + 1),
                reward: Address::repeat_byte(seed + 2),
                stake: U256::from(seed),
                unbonding: U256::ZERO,
                slashed: false,
                slashed_ppm: 0,
            };
            assert_eq!(ValidatorRecord::read(&mut slots, index as u32), Ok(expected));
            assert_eq!(find(&mut slots, &bls::PublicKey::repeat_byte(seed)), Ok(Some(index as u32)));
        }
        assert_eq!(find(&mut slots, &bls::PublicKey::repeat_byte(30)), Ok(None));
    }

    #[test]
    fn entries_move_up_and_the_rest_is_cleared() {
        let mut slots = BTreeMap::new();
        let entry = |amount| Unbonding { amount, release_slot: 7 };
        for at in 0..UNBONDING_MAX {
            let Ok(()) = entry(u128::from(at) + 1).write(&mut slots, 3, at);
        }
        let left = [entry(7), entry(8)];
        assert_eq!(Unbonding::replace(&mut slots, 3, UNBONDING_MAX, &left), Ok(2));
        assert_eq!(Unbonding::read(&mut slots, 3, 2), Ok(left.to_vec()));
        assert_eq!(slots.values().filter(|value| !value.is_zero()).count(), 2);
    }
}
