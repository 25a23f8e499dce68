//! One version of the state: all accounts, storage and code after some chain block.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_storage::StorageFault;
use rayon::prelude::*;

use crate::account::{Account, AccountLeaf, SlotValue, StorageTrie};
use crate::code::{CodeStore, FreshCodes};
use crate::diff::{AccountDiff, StateDiff};
use crate::trie::{EMPTY_ROOT, Trie};

/// From this many changed accounts on, hashing their keys uses several threads.
const PARALLEL_ACCOUNTS_MIN: usize = 64;

/// A version of the state. A clone costs three counters and is independent of the original.
///
/// Equal contents have equal roots whatever the history. Reads of accounts and storage never touch the disk.
#[derive(Clone)]
pub struct State {
    accounts: Trie<AccountLeaf>,
    /// Codes that no layer has taken over yet.
    fresh: Option<Arc<FreshCodes>>,
    codes: Arc<CodeStore>,
}

impl State {
    /// No accounts, and no store to read code from: the ground of a genesis state.
    pub fn empty() -> Self {
        Self::new(Trie::new(), Arc::new(CodeStore::new(None)))
    }

    pub(crate) fn new(accounts: Trie<AccountLeaf>, codes: Arc<CodeStore>) -> Self {
        Self { accounts, fresh: None, codes }
    }

    /// The same accounts, with every code left to `codes`, which took over the fresh ones.
    pub(crate) fn settled(self, codes: Arc<CodeStore>) -> Self {
        Self::new(self.accounts, codes)
    }

    fn leaf(&self, address: &Address) -> Option<&AccountLeaf> {
        self.accounts.get(keccak256(address).as_slice())
    }

    /// The plain fields of an account; `None` when it does not exist.
    pub fn account(&self, address: &Address) -> Option<Account> {
        self.leaf(address).map(AccountLeaf::account)
    }

    /// The value of a storage slot; zero when never written.
    pub fn storage(&self, address: &Address, slot: U256) -> U256 {
        let value = self.leaf(address).and_then(AccountLeaf::storage);
        let value = value.and_then(|storage| storage.get(slot_key(slot).as_slice()));
        value.map_or(U256::ZERO, |value| value.0)
    }

    /// The code with this keccak; `None` when unknown here. The empty code is always known.
    ///
    /// # Errors
    /// When the store fails: codes are read from it at first use.
    pub fn code(&self, hash: &B256) -> Result<Option<Bytes>, StorageFault> {
        self.codes.code(hash, self.fresh.as_deref())
    }

    /// The state root, as an Ethereum header has it. Cached in the trie.
    pub fn root(&self) -> B256 {
        self.accounts.root()
    }

    /// The storage root of an account; [`EMPTY_ROOT`] when it does not exist.
    pub fn storage_root(&self, address: &Address) -> B256 {
        self.leaf(address).map_or(EMPTY_ROOT, AccountLeaf::storage_root)
    }

    /// The version that `diff` leads to. `self` stays as it is.
    #[must_use = "the new version is the result; the old one does not change"]
    pub fn apply(&self, diff: &StateDiff) -> Self {
        let changes: Vec<_> = if diff.accounts.len() < PARALLEL_ACCOUNTS_MIN {
            diff.accounts.iter().map(|(address, change)| self.leaf_after(address, change)).collect()
        } else {
            let accounts: Vec<_> = diff.accounts.iter().collect();
            accounts.into_par_iter().map(|(address, change)| self.leaf_after(address, change)).collect()
        };
        let mut accounts = self.accounts.clone();
        accounts.update(changes);
        let fresh = FreshCodes::stack(&diff.codes, self.fresh.clone());
        Self { accounts, fresh, codes: self.codes.clone() }
    }

    /// Trie key and new leaf of a changed account.
    fn leaf_after(&self, address: &Address, diff: &AccountDiff) -> (B256, Option<AccountLeaf>) {
        let key = keccak256(address);
        let leaf = diff.account.map(|account| {
            let before = if diff.storage_cleared { None } else { self.accounts.get(key.as_slice()) };
            if diff.storage.is_empty() {
                return match before {
                    Some(leaf) => leaf.with_account(account),
                    None => AccountLeaf::new(account, StorageTrie::new()),
                };
            }
            let mut storage = before.and_then(AccountLeaf::storage).cloned().unwrap_or_default();
            storage.update(slot_changes(&diff.storage));
            AccountLeaf::new(account, storage)
        });
        (key, leaf)
    }

    /// What `eth_getProof` answers (EIP-1186): for absent accounts and slots, proofs of their absence.
    pub fn proof(&self, address: &Address, slots: &[U256]) -> AccountProof {
        let key = keccak256(address);
        let leaf = self.accounts.get(key.as_slice());
        let empty = StorageTrie::new();
        let storage = leaf.and_then(AccountLeaf::storage).unwrap_or(&empty);
        let storage_proofs = slots.iter().map(|&slot| {
            let key = slot_key(slot);
            StorageProof {
                key: slot,
                value: storage.get(key.as_slice()).map_or(U256::ZERO, |value| value.0),
                proof: storage.proof(key.as_slice()),
            }
        });
        let account = leaf.map_or(Account::EMPTY, AccountLeaf::account);
        AccountProof {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            storage_root: storage.root(),
            account_proof: self.accounts.proof(key.as_slice()),
            storage_proofs: storage_proofs.collect(),
        }
    }

    /// Number of accounts. Walks all of them: for tools and tests.
    pub fn account_count(&self) -> usize {
        self.accounts.iter().count()
    }
}

impl Default for State {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("root", &self.root()).finish_non_exhaustive()
    }
}

/// An account with the nodes that prove it against the state root, and slots with those that prove them against
/// `storage_root`. Fields of an absent account are those of an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// Balance in wei.
    pub balance: U256,
    /// Nonce.
    pub nonce: u64,
    /// keccak of the code; that of the empty string without code.
    pub code_hash: B256,
    /// Root of the storage trie.
    pub storage_root: B256,
    /// RLP nodes from the state root down.
    pub account_proof: Vec<Bytes>,
    /// One for each slot asked for, in that order.
    pub storage_proofs: Vec<StorageProof>,
}

/// A storage slot and its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageProof {
    /// The slot, unhashed.
    pub key: U256,
    /// Its value; zero when absent.
    pub value: U256,
    /// RLP nodes from the storage root down; empty for an empty storage.
    pub proof: Vec<Bytes>,
}

/// Trie key of a slot.
pub(crate) fn slot_key(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

fn slot_changes(storage: &BTreeMap<U256, U256>) -> impl Iterator<Item = (B256, Option<SlotValue>)> {
    storage.iter().map(|(&slot, &value)| (slot_key(slot), (!value.is_zero()).then_some(SlotValue(value))))
}
