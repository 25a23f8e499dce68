//! Accounts: what callers see, and what the state trie keeps.

use std::sync::Arc;

use alloy_primitives::{B256, KECCAK256_EMPTY, U256};
use alloy_rlp::{Encodable, Header, RlpDecodable, RlpEncodable};

use crate::trie::{EMPTY_ROOT, Trie, TrieValue};

/// The plain fields of an account. RLP, in the flat store and in diffs: `[nonce, balance, code_hash]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Account {
    /// Number of transactions sent, or of contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak of the code; [`KECCAK256_EMPTY`] without code.
    pub code_hash: B256,
}

impl Account {
    /// Nothing at all: what reading an absent account gives.
    pub const EMPTY: Self = Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY };

    /// Whether EIP-161 counts the account as empty. The storage plays no part.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// A storage slot's value in the trie; never zero there. RLP: the integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotValue(pub U256);

impl TrieValue for SlotValue {
    fn encode(&self, out: &mut Vec<u8>) {
        Encodable::encode(&self.0, out);
    }
}

/// The storage of one account: keccak(slot, 32 bytes big-endian) to value.
pub type StorageTrie = Trie<SlotValue>;

/// An account in the state trie. RLP: `[nonce, balance, storage_root, code_hash]`.
///
/// Most accounts have neither code nor storage, so both sit behind one pointer.
#[derive(Clone, Debug)]
pub struct AccountLeaf {
    nonce: u64,
    balance: U256,
    contract: Option<Arc<Contract>>,
}

#[derive(Debug)]
struct Contract {
    code_hash: B256,
    storage: StorageTrie,
}

impl AccountLeaf {
    /// Joins the plain fields and the storage.
    pub fn new(account: Account, storage: StorageTrie) -> Self {
        let Account { nonce, balance, code_hash } = account;
        let plain = code_hash == KECCAK256_EMPTY && storage.is_empty();
        let contract = (!plain).then(|| Arc::new(Contract { code_hash, storage }));
        Self { nonce, balance, contract }
    }

    /// The plain fields.
    pub fn account(&self) -> Account {
        let code_hash = self.contract.as_ref().map_or(KECCAK256_EMPTY, |contract| contract.code_hash);
        Account { nonce: self.nonce, balance: self.balance, code_hash }
    }

    /// The storage trie; `None` when empty.
    pub fn storage(&self) -> Option<&StorageTrie> {
        self.contract.as_ref().map(|contract| &contract.storage)
    }

    /// The root of the storage trie.
    pub fn storage_root(&self) -> B256 {
        self.storage().map_or(EMPTY_ROOT, Trie::root)
    }

    /// These plain fields over the storage of `self`.
    pub(crate) fn with_account(&self, account: Account) -> Self {
        if let Some(contract) = &self.contract
            && contract.code_hash == account.code_hash
        {
            return Self { nonce: account.nonce, balance: account.balance, contract: Some(contract.clone()) };
        }
        Self::new(account, self.storage().cloned().unwrap_or_default())
    }
}

impl TrieValue for AccountLeaf {
    fn encode(&self, out: &mut Vec<u8>) {
        let Account { nonce, balance, code_hash } = self.account();
        let storage_root = self.storage_root();
        let payload_length = nonce.length() + balance.length() + storage_root.length() + code_hash.length();
        Header { list: true, payload_length }.encode(out);
        nonce.encode(out);
        balance.encode(out);
        storage_root.encode(out);
        code_hash.encode(out);
    }
}
