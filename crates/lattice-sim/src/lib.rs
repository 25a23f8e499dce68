//! Floor 5: the test bench of the consensus.
//!
//! [`attack`] runs adversaries against the order of blocks alone, many times, and gives figures. Everything else runs
//! whole nodes: N real chains under one seed and virtual time, over a network that delays, loses and splits, on disks that
//! fail, among validators that break the rules; `invariants` says what must hold all the same. A run is single-threaded and
//! depends on its setup alone, so that a seed that fails fails again.

pub mod args;
pub mod attack;
mod intake;
mod invariants;
mod load;
mod message;
mod metrics;
mod models;
mod network;
mod node;
mod plan;
mod produce;
pub mod report;
pub mod rng;
pub mod scenarios;
mod signer;
mod stakes;
mod trust;
mod verify;
mod world;

pub use invariants::Violation;
pub use metrics::Percentiles;
pub use plan::{DURATION_MS_MIN, NODES_MIN};
pub use report::{Report, Setup, run};
