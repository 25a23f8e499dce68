//! The state as revm sees it: a version below, the changes of this block on top.
//!
//! After each transaction revm's journal is committed here, so a skipped or failed transaction leaves nothing. At the
//! end of the block the changes become one [`StateDiff`] that holds only what really differs from the version below.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use lattice_state::{Account, AccountDiff, State, StateDiff};
use revm::{
    Database,
    database_interface::DBErrorMarker,
    state::{AccountInfo, Bytecode, EvmState},
};
use std::collections::BTreeMap;

/// The state cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlayFault {
    /// The store failed.
    #[error("the state cannot be read: {0}")]
    Storage(String),
    /// An account names a code that is not there.
    #[error("the code with hash {0} is missing from the state")]
    MissingCode(B256),
    /// BLOCKHASH asks for a block of the last 256 that the chain did not hand over.
    #[error("the hash of EVM block {0} is not available")]
    MissingBlockHash(u64),
}

impl DBErrorMarker for OverlayFault {}

#[derive(Debug, Clone)]
struct Entry {
    account: Option<Account>,
    /// The version below has nothing to say about the storage any more.
    cleared: bool,
    /// Slots written in this block.
    written: BTreeMap<U256, U256>,
    /// Slots read from the version below.
    read: BTreeMap<U256, U256>,
    touched: bool,
}

/// A state version with changes on top. It reads on demand and keeps what it read.
pub struct Overlay<'a> {
    base: State,
    block_hashes: &'a dyn Fn(u64) -> Option<B256>,
    entries: BTreeMap<Address, Entry>,
    codes: BTreeMap<B256, Bytecode>,
    keeps_empty: bool,
}

impl<'a> Overlay<'a> {
    /// No changes yet on top of `base`.
    pub fn new(base: State, block_hashes: &'a dyn Fn(u64) -> Option<B256>) -> Self {
        Self { base, block_hashes, entries: BTreeMap::new(), codes: BTreeMap::new(), keeps_empty: false }
    }

    /// The rules before EIP-161, which no Lattice block has: an account that a transaction touches exists from then on,
    /// empty or not.
    pub(crate) fn keeping_empty_accounts(mut self) -> Self {
        self.keeps_empty = true;
        self
    }

    fn entry(&mut self, address: Address) -> &mut Entry {
        self.with_base(address).0
    }

    fn with_base(&mut self, address: Address) -> (&mut Entry, &State) {
        let base = &self.base;
        let entry = self.entries.entry(address).or_insert_with(|| Entry {
            account: base.account(&address),
            cleared: false,
            written: BTreeMap::new(),
            read: BTreeMap::new(),
            touched: false,
        });
        (entry, base)
    }

    /// The account as it stands now.
    pub fn account(&mut self, address: Address) -> Option<Account> {
        self.entry(address).account
    }

    /// A storage slot as it stands now.
    pub fn slot(&mut self, address: Address, slot: U256) -> U256 {
        let (entry, base) = self.with_base(address);
        if let Some(value) = entry.written.get(&slot) {
            return *value;
        }
        if entry.cleared || entry.account.is_none() {
            return U256::ZERO;
        }
        *entry.read.entry(slot).or_insert_with(|| base.storage(&address, slot))
    }

    /// Writes a slot outside of any transaction, for system operations.
    pub fn write_slot(&mut self, address: Address, slot: U256, value: U256) {
        let entry = self.entry(address);
        entry.touched = true;
        entry.written.insert(slot, value);
    }

    /// Adds to a balance outside of any transaction (EIP-4895). Saturates, which no real supply reaches.
    pub fn credit(&mut self, address: Address, wei: U256) {
        let keeps_empty = self.keeps_empty;
        let entry = self.entry(address);
        let mut account = entry.account.unwrap_or_default();
        account.balance = account.balance.saturating_add(wei);
        entry.account = (!account.is_empty() || keeps_empty).then_some(account);
        entry.touched = true;
    }

    /// Moves wei outside of any transaction, for system operations.
    pub(crate) fn transfer(&mut self, from: Address, to: Address, wei: U256) {
        let entry = self.entry(from);
        let account = entry.account.as_mut().filter(|account| account.balance >= wei);
        account.expect("what an escrow owes lies in it").balance -= wei;
        entry.touched = true;
        self.credit(to, wei);
    }

    /// Takes over what one transaction or system call left in revm's journal.
    pub fn commit(&mut self, changes: EvmState) {
        for (address, change) in changes {
            if !change.is_touched() {
                continue;
            }
            let info = change.info.copy_without_code();
            let account = Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash };
            // EIP-161: what a transaction leaves empty is gone. EIP-6780: only contracts of this transaction vanish.
            let gone = change.is_selfdestructed() || (account.is_empty() && !self.keeps_empty);
            let created = change.is_created();
            if let Some(code) = change.info.code.filter(|code| !gone && !code.is_empty()) {
                self.codes.insert(account.code_hash, code);
            }
            let entry = self.entry(address);
            entry.touched = true;
            if gone || created {
                entry.cleared = true;
                entry.written.clear();
            }
            entry.account = (!gone).then_some(account);
            if !gone {
                let changed = change.storage.iter().filter(|(_, slot)| slot.is_changed());
                entry.written.extend(changed.map(|(key, slot)| (*key, slot.present_value())));
            }
        }
    }

    /// All changes as one diff to the version below, and that version.
    pub fn into_diff(self) -> (State, StateDiff) {
        let Self { base, entries, codes, .. } = self;
        let mut diff = StateDiff::default();
        for (address, entry) in entries {
            if !entry.touched {
                continue;
            }
            let before = base.account(&address);
            let Some(account) = entry.account else {
                if before.is_some() {
                    diff.accounts.insert(address, AccountDiff::default());
                }
                continue;
            };
            let storage_cleared = entry.cleared && before.is_some();
            let slot_before = |slot: &U256| match entry.read.get(slot) {
                _ if entry.cleared => U256::ZERO,
                Some(value) => *value,
                None => base.storage(&address, *slot),
            };
            let storage: BTreeMap<_, _> = entry
                .written
                .iter()
                .filter(|(slot, value)| slot_before(slot) != **value)
                .map(|(k, v)| (*k, *v))
                .collect();
            let code_before = before.map_or(KECCAK256_EMPTY, |before| before.code_hash);
            if account.code_hash != code_before
                && let Some(code) = codes.get(&account.code_hash)
            {
                diff.codes.insert(account.code_hash, code.original_bytes());
            }
            if before != Some(account) || storage_cleared || !storage.is_empty() {
                diff.accounts.insert(address, AccountDiff { account: Some(account), storage_cleared, storage });
            }
        }
        (base, diff)
    }
}

impl Database for Overlay<'_> {
    type Error = OverlayFault;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        Ok(self.account(address).map(|account| AccountInfo {
            nonce: account.nonce,
            balance: account.balance,
            code_hash: account.code_hash,
            // Loaded by hash when it is needed.
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Self::Error> {
        if let Some(code) = self.codes.get(&code_hash) {
            return Ok(code.clone());
        }
        let bytes = self.base.code(&code_hash).map_err(|fault| OverlayFault::Storage(fault.to_string()))?;
        // Analysed once a block: the jump table comes with the bytecode.
        let code = Bytecode::new_raw(bytes.ok_or(OverlayFault::MissingCode(code_hash))?);
        self.codes.insert(code_hash, code.clone());
        Ok(code)
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, Self::Error> {
        Ok(self.slot(address, index))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Self::Error> {
        (self.block_hashes)(number).ok_or(OverlayFault::MissingBlockHash(number))
    }
}
