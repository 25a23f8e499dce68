//! The doors of the node, driven over real sockets against a real chain on a store in memory.
#![allow(clippy::unwrap_used)]

mod batches;
mod client;
mod debug;
mod errors;
mod ethereum;
mod fill;
mod hostile;
mod lattice;
mod node;
mod overrides;
mod subscriptions;
