//! Deterministic inference: the frozen graph and its id, and an executor whose answers every CPU agrees on.
//!
//! The road of a model: an importer (`lattice-import`, off the consensus path) builds a [`Graph`] with static shapes by a
//! [`GraphBuilder`]; [`Graph::encode`] gives the canonical bytes whose keccak256 is the model id; [`Model::load`] packs the weights;
//! [`Model::run`] executes. Everything is a pure function of bytes: no files, clocks, threads or randomness.
//!
//! Numeric class F: f32 by correctly rounded operations in a fixed order. Each output of a matrix product or convolution is
//! one ascending chain of fused multiply-adds; SIMD lanes lie across outputs only; sums of rows use 16 lanes and a fixed tree;
//! transcendental functions are our own or libm's, never the platform's. So AVX2, portable Rust and aarch64 give equal bits.
//!
//! Numeric class Q: 8-bit tensors and integers only, for what is quantised in the file (`docs/spec/quantised.md`).

mod cost;
#[cfg(test)]
mod cost_times;
mod error;
mod float_mode;
mod graph;
pub mod half;
mod kernels;
pub mod limits;
mod math;
mod model;
pub mod npy;
pub mod ops;
pub mod quant;
mod tensor;
pub mod tensor_op;

pub use cost::{Cost, Work, last_uses};
pub use error::{DecodeError, GraphError, LoadError, NpyError, RunError, TensorError};
pub use float_mode::check as check_float_mode;
pub use graph::{
    Constant, Graph, GraphBuilder, Maker, Node, NumericClass, TensorType, VERSION as GRAPH_VERSION, Value, ValueInfo,
};
pub use kernels::{Isa, is_accelerated, matrix_product};
pub use limits::RunLimits;
pub use model::Model;
pub use ops::{Attribute, Attributes, OpSpec, all as all_operators};
pub use tensor::{DType, Data, NAN_F32_BITS, Tensor, Tolerance, element_count};

/// Version of the executor's numeric rules. It changes when any output bit of any graph could change.
pub fn executor_version() -> &'static str {
    "lattice-f/1"
}
