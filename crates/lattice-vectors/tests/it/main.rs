//! The light part of the conformance suites; `cargo xtask vectors` runs all of it.

#![allow(clippy::unwrap_used)]

mod evm;
mod onnx;
mod rpc;
mod support;
