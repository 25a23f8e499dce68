//! Integration tests of the state: published vectors, a naive trie and a naive state as oracles, restarts.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

mod history;
mod layers;
mod oracle;
mod state;
mod trie;
