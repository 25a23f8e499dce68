//! All limits of this crate in one place.
//!
//! The constants bound what any graph may be: they are checked at import and again at decode, before anything is
//! allocated, so that a hostile file costs a clear error and little else. [`RunLimits`] is what a caller adds for local runs.

use crate::cost::Cost;
use crate::error::RunError;

/// Largest number of dimensions of a tensor.
pub const RANK_MAX: usize = 8;
/// Largest size of one tensor in bytes.
pub const TENSOR_BYTES_MAX: usize = 1 << 30;
/// Largest sum of live activations at any step, in bytes.
pub const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Largest sum of a graph's constants in bytes.
pub const WEIGHTS_BYTES_MAX: u64 = 2 << 30;
/// Largest number of nodes in a frozen graph.
pub const NODES_MAX: usize = 1 << 16;
/// Largest number of inputs, of outputs and of operands of one node.
pub const OPERANDS_MAX: usize = 1 << 12;
/// Largest length of a name in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Largest number of integers in one attribute.
pub const ATTRIBUTE_INTS_MAX: usize = 1 << 12;
/// Largest number of multiply-accumulates and weighted element steps of one run.
pub const WORK_MAX: u64 = 1 << 44;

/// Bounds for one local run, checked against the static cost before anything is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Largest sum of live activations and weights, in bytes.
    pub memory_bytes_max: u64,
    /// Largest static cost in gas (about 1/240 us of one core each).
    pub gas_max: u64,
}

impl Default for RunLimits {
    /// 2 GiB and about 100 s of one core.
    fn default() -> Self {
        RunLimits { memory_bytes_max: 2 << 30, gas_max: 240 * 100_000_000 }
    }
}

impl RunLimits {
    /// Errors, naming the cost and the limit, when a graph of this cost may not run.
    pub fn check(&self, cost: &Cost) -> Result<(), RunError> {
        let memory = cost.memory_bytes.saturating_add(cost.weights_bytes);
        if memory > self.memory_bytes_max {
            return Err(RunError::MemoryLimit { needed: memory, max: self.memory_bytes_max });
        }
        if cost.gas() > self.gas_max {
            return Err(RunError::CostLimit { needed: cost.gas(), max: self.gas_max });
        }
        Ok(())
    }
}
