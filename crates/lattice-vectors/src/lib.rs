//! Floor 5: the test bench for other projects' vectors. Each suite finds its cases below a folder, recognises them by
//! content (never by folder or file name) and runs them through the code that the node runs.
//!
//! - [`evm`]: Ethereum's GeneralStateTests, TransactionTests, TrieTests and RLPTests, in the form of `ethereum/tests`
//!   and in that of `execution-spec-tests`.
//! - [`rpc`]: Ethereum's `.io` files over an imported linear chain, read through our RPC layer.
//! - [`onnx`]: models with inputs and outputs, as the onnx package's node tests, through our importer and executor.
//! - [`ghostdag`]: labelled block DAGs, Kaspa's among them, through our DAG. It alone is built without the default feature
//!   `all`.
//!
//! A case passes, fails or is skipped; every skip has a reason. A suite that finds no case has failed.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "all")]
pub mod evm;
mod files;
pub mod ghostdag;
#[cfg(feature = "all")]
mod json;
#[cfg(feature = "all")]
pub mod onnx;
mod report;
#[cfg(feature = "all")]
pub mod rpc;

pub use report::Report;
