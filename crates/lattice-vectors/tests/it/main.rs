//! The light part of the conformance suites; `cargo xtask vectors` runs all of it.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "all")]
mod evm;
mod forks;
mod ghostdag;
#[cfg(feature = "all")]
mod onnx;
#[cfg(feature = "all")]
mod rpc;
mod support;
