//! Floor 1: what a node keeps on its disk.
//!
//! Two stores live here. [`Kv`] is an ordered key-value store of typed [`Table`]s with atomic [`Batch`]es and
//! snapshots: headers, the DAG, state and receipts are records in it. [`ArtifactStore`] is a content-addressed store
//! of model weights, which never enter a block nor the key-value store.
//!
//! Rules of the room:
//! - One input of the node is at most one [`Batch`]; a batch is all there or not there at all, whatever kills the process.
//! - Only the chain writes batches; everyone else reads, best through a [`Kv::snapshot`].
//! - The engine (fjall by default, RocksDB with the feature `rocksdb`) shows in no signature of another room: [`Engine`]
//!   opens one by name, and a further one is a matter of this crate.

pub mod artifact;
mod engine;
mod fault;
mod kv;
mod table;

pub use artifact::{ArtifactStore, Manifest};
#[cfg(feature = "rocksdb")]
pub use engine::RocksKv;
pub use engine::{DiskKv, Engine, FORMAT_VERSION, FaultKind, FaultyKv, FjallKv, MemoryKv};
pub use fault::StorageFault;
pub use kv::{Batch, Kv, KvRead, Visitor, WriteOp};
pub use table::Table;
