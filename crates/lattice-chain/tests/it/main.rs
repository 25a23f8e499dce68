//! Scenarios of a chain: wide DAGs made by several producers that see different things, and what the chain makes of them.
#![allow(clippy::unwrap_used)]

mod net;

mod committee;
mod crash;
mod disqualified;
mod keyring;
mod merge;
mod models;
mod pool;
mod prune;
mod readiness;
mod reorg;
mod restart;
mod weight;
