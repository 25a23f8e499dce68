//! Floor 2: the hybrid state.
//!
//! [`State`] is one version of all accounts: a persistent Merkle Patricia Trie ([`trie::Trie`], Ethereum yellow paper,
//! appendix D) whose clones are versions, so that every executed chain block has its own and a reorganisation only
//! picks another. [`StateDiff`] is what one chain block changed.
//!
//! [`Layers`] holds the versions of all chain blocks above a flat base on disk, the newest of them in memory, and brings
//! them back after a restart. [`History`] reads the versions before the base, which an archive keeps.
//!
//! The rules that say which versions and diffs there are live in floors above: this room knows no transaction, no
//! gas and no DAG. A chain block is a hash to it, and a parent another one.

mod account;
mod base;
mod code;
mod diff;
mod error;
mod history;
mod layers;
mod state;
pub mod trie;
mod versions;

pub use account::{Account, AccountLeaf, SlotValue, StorageTrie};
pub use diff::{AccountDiff, StateDiff};
pub use error::{InvalidDiff, StateFault};
pub use history::{History, archive_from};
pub use layers::{Layers, Retention};
pub use state::{AccountProof, State, StorageProof};
