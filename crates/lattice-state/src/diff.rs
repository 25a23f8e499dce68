//! What a chain block changes: the unit that layers keep and the store replays.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, EMPTY_STRING_CODE, Encodable, Header};

use crate::account::Account;
use crate::error::InvalidDiff;

/// The difference between the state after a chain block and the state after its selected parent.
///
/// Canonical encoding (RLP): `[[account...], [code...]]`; an account is `[address, fields, storage_cleared, [[slot,
/// value]...]]`, where `fields` is `[nonce, balance, code_hash]`, or the empty string for a removed account; a code is
/// `[hash, bytes]`. All lists ascend strictly by their first item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDiff {
    /// Changed accounts.
    pub accounts: BTreeMap<Address, AccountDiff>,
    /// New codes by their keccak.
    pub codes: BTreeMap<B256, Bytes>,
}

/// What changed in one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountDiff {
    /// The fields afterwards, also when only the storage changed. `None`: the account and its storage are gone.
    pub account: Option<Account>,
    /// The storage before is dropped: the account was destroyed and created again.
    pub storage_cleared: bool,
    /// Slots written (after the clearing, if any); zero deletes. Ignored for a removed account.
    pub storage: BTreeMap<U256, U256>,
}

impl StateDiff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.codes.is_empty()
    }

    /// Number of accounts and slots named.
    pub fn entries(&self) -> usize {
        self.accounts.values().map(|account| 1 + account.storage.len()).sum()
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_parts(&self.codes, &mut out);
        out
    }

    /// The canonical bytes of the diff without its codes, which the store keeps in a table of their own.
    pub(crate) fn encode_without_codes(&self, out: &mut Vec<u8>) {
        self.encode_parts(&BTreeMap::new(), out);
    }

    fn encode_parts(&self, codes: &BTreeMap<B256, Bytes>, out: &mut Vec<u8>) {
        let accounts = encode_list(&self.accounts, |address, diff, out| diff.encode(address, out));
        let codes = encode_list(codes, encode_pair);
        Header { list: true, payload_length: accounts.len() + codes.len() }.encode(out);
        out.extend_from_slice(&accounts);
        out.extend_from_slice(&codes);
    }

    /// Reads the canonical bytes, and nothing but those.
    ///
    /// # Errors
    /// [`InvalidDiff`] when the bytes are not what [`Self::encode`] gives for some diff, or a code does not match its
    /// hash.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, InvalidDiff> {
        let bytes = &mut bytes;
        let mut payload = list(bytes)?;
        let mut accounts = list(&mut payload)?;
        let mut codes = list(&mut payload)?;
        ended(payload)?;
        ended(bytes)?;
        let mut diff = Self::default();
        while !accounts.is_empty() {
            let (address, account) = AccountDiff::decode(&mut accounts)?;
            insert_ascending(&mut diff.accounts, address, account)?;
        }
        while !codes.is_empty() {
            let (hash, code) = decode_pair::<B256, Bytes>(&mut codes)?;
            if keccak256(&code) != hash {
                return Err(InvalidDiff::CodeHash { hash });
            }
            insert_ascending(&mut diff.codes, hash, code)?;
        }
        Ok(diff)
    }

    /// Appends `later`: afterwards `self` leads where first `self` and then `later` led.
    pub fn extend(&mut self, later: Self) {
        for (address, later) in later.accounts {
            match self.accounts.entry(address) {
                Entry::Vacant(entry) => {
                    entry.insert(later);
                }
                Entry::Occupied(mut entry) => entry.get_mut().extend(later),
            }
        }
        self.codes.extend(later.codes);
    }
}

impl AccountDiff {
    /// Whether the storage from before the diff is gone after it.
    pub fn drops_storage(&self) -> bool {
        self.storage_cleared || self.account.is_none()
    }

    fn extend(&mut self, later: Self) {
        // A removed account may come back later: what it had before stays dropped.
        self.storage_cleared |= self.account.is_none() || later.drops_storage();
        if self.account.is_none() || later.drops_storage() {
            self.storage.clear();
        }
        self.account = later.account;
        if self.account.is_some() {
            self.storage.extend(later.storage);
        }
    }

    fn encode(&self, address: &Address, out: &mut Vec<u8>) {
        let storage = encode_list(&self.storage, encode_pair);
        let account_length = self.account.map_or(1, |account| account.length());
        let payload_length = address.length() + account_length + self.storage_cleared.length() + storage.len();
        Header { list: true, payload_length }.encode(out);
        address.encode(out);
        match &self.account {
            Some(account) => account.encode(out),
            None => out.push(EMPTY_STRING_CODE),
        }
        self.storage_cleared.encode(out);
        out.extend_from_slice(&storage);
    }

    fn decode(bytes: &mut &[u8]) -> Result<(Address, Self), InvalidDiff> {
        let mut payload = list(bytes)?;
        let address = Address::decode(&mut payload)?;
        let account = match payload.first() {
            Some(&EMPTY_STRING_CODE) => {
                payload = &payload[1..];
                None
            }
            _ => Some(Account::decode(&mut payload)?),
        };
        let storage_cleared = bool::decode(&mut payload)?;
        let mut slots = list(&mut payload)?;
        ended(payload)?;
        let mut storage = BTreeMap::new();
        while !slots.is_empty() {
            let (slot, value) = decode_pair::<U256, U256>(&mut slots)?;
            insert_ascending(&mut storage, slot, value)?;
        }
        Ok((address, Self { account, storage_cleared, storage }))
    }
}

fn encode_list<K, T>(items: &BTreeMap<K, T>, mut encode: impl FnMut(&K, &T, &mut Vec<u8>)) -> Vec<u8> {
    let mut payload = Vec::new();
    for (key, item) in items {
        encode(key, item, &mut payload);
    }
    let mut out = Vec::with_capacity(payload.len() + 9);
    Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(&payload);
    out
}

fn encode_pair(first: &impl Encodable, second: &impl Encodable, out: &mut Vec<u8>) {
    Header { list: true, payload_length: first.length() + second.length() }.encode(out);
    first.encode(out);
    second.encode(out);
}

fn decode_pair<A: Decodable, B: Decodable>(bytes: &mut &[u8]) -> Result<(A, B), InvalidDiff> {
    let mut payload = list(bytes)?;
    let pair = (A::decode(&mut payload)?, B::decode(&mut payload)?);
    ended(payload)?;
    Ok(pair)
}

fn list<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], InvalidDiff> {
    Ok(Header::decode_bytes(bytes, true)?)
}

fn ended(rest: &[u8]) -> Result<(), InvalidDiff> {
    if rest.is_empty() { Ok(()) } else { Err(InvalidDiff::TrailingBytes { count: rest.len() }) }
}

fn insert_ascending<K: Ord, T>(map: &mut BTreeMap<K, T>, key: K, item: T) -> Result<(), InvalidDiff> {
    if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
        return Err(InvalidDiff::NotAscending);
    }
    map.insert(key, item);
    Ok(())
}
