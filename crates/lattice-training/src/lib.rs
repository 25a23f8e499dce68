//! What is learned on a frozen graph, and how a doubt about a result is decided: LoRA adapters and their merge, deterministic
//! training, Merkle openings, and the judgement of one step of a training or one operator of an inference.
//!
//! Everything is a pure function of bytes, in class F (`lattice-inference`): whoever holds the same job, base and data gets the
//! same bits. Rules: `docs/spec/adapters.md`, `docs/spec/training.md`.

pub mod adapter;
mod bytes;
pub mod dispute;
#[cfg(test)]
mod judgement_times;
pub mod merkle;
pub mod train;

pub use adapter::{Adapter, AdapterDiff, AdapterError, AdapterTarget, Composition, Update};
