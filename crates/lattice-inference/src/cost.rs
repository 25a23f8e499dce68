//! Static cost of a frozen graph: multiply-accumulates, bytes moved, memory, and the gas they make.
//!
//! All of it is known at registration; a run is charged this and nothing else, whatever the data.

use crate::graph::{Graph, TensorType};
use crate::kernels::gemm::NR;
use crate::ops::{OpSpec, conv::CONV, matmul::MATMUL};

/// Work of one operator, as its family reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiply-accumulates of matrix products and convolutions.
    pub macs: u64,
    /// Weighted element steps of everything else: 1 = one vectorised arithmetic operation on one element.
    pub steps: u64,
    /// Temporary memory beside operands and results, in bytes.
    pub scratch_bytes: u64,
}

impl Work {
    /// No arithmetic: the operator only moves bytes.
    pub const MOVE: Work = Work { macs: 0, steps: 0, scratch_bytes: 0 };

    /// `weight` steps for each element of a type.
    pub fn steps(weight: u64, ty: &TensorType) -> Work {
        Work { steps: weight.saturating_mul(ty.elements() as u64), ..Work::MOVE }
    }

    /// As many steps more, saturating.
    #[must_use]
    pub fn and(self, weight: u64, count: usize) -> Work {
        Work { steps: self.steps.saturating_add(weight.saturating_mul(count as u64)), ..self }
    }

    /// Multiply-accumulates, saturating.
    pub fn macs(factors: &[usize]) -> Work {
        let macs = factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor as u64));
        Work { macs, ..Work::MOVE }
    }
}

/// Static cost of a frozen graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-accumulates of matrix products and convolutions.
    pub macs: u64,
    /// Weighted element steps of all other operators.
    pub steps: u64,
    /// Bytes read and written by all operators, weights included.
    pub bytes: u64,
    /// Number of operators.
    pub nodes: u64,
    /// Bytes of all constants.
    pub weights_bytes: u64,
    /// Largest sum of live activations, temporaries, inputs and outputs at any step, in bytes.
    pub memory_bytes: u64,
}

// A gas unit is about 1/240 us of one core. Fitted, like the operators' weights, to the slowest shapes of each operator:
// `src/cost_times.rs` measures them, `docs/spec/gas.md` says what came out.
/// Multiply-accumulates paid by one gas.
const MACS_PER_GAS: u64 = 150;
/// Element steps paid by one gas.
const STEPS_PER_GAS: u64 = 40;
/// Bytes of operands and results paid by one gas.
const BYTES_PER_GAS: u64 = 100;
/// Bytes of weights paid by one gas, on top of their share as operands.
const WEIGHT_BYTES_PER_GAS: u64 = 48;
/// Gas of one operator: its dispatch and allocation.
const GAS_PER_NODE: u64 = 240;
/// Gas of the smallest run: input and output handling, cache lookup.
const GAS_MIN: u64 = 5_000;

impl Cost {
    /// Adds up a graph's nodes and plans its memory.
    pub(crate) fn of(graph: &Graph) -> Cost {
        let mut cost = Cost { nodes: graph.nodes().len() as u64, ..Cost::default() };
        cost.weights_bytes = graph.constants().iter().map(|c| c.tensor.size_bytes() as u64).sum();
        let types = graph.types();
        let last_use = last_uses(graph);
        let first_constant = graph.inputs().len();
        let is_constant = |v: usize| (first_constant..first_constant + graph.constants().len()).contains(&v);
        let mut live: u64 = types[..first_constant].iter().map(|ty| ty.bytes() as u64).sum();
        cost.memory_bytes = live;
        for (index, node) in graph.nodes().iter().enumerate() {
            let operands: Vec<&TensorType> = node.inputs.iter().map(|&v| &types[v as usize]).collect();
            let results = node.output_range(node_results(graph, index));
            let mut work = (node.op.work)(&node.attributes, &operands, &types[results.clone()]);
            if !node.inputs.get(1).is_some_and(|&v| is_constant(v as usize)) {
                work.steps = work.steps.saturating_add(packing_steps(node.op, &operands));
            }
            let result_bytes: u64 = types[results.clone()].iter().map(|ty| ty.bytes() as u64).sum();
            let operand_bytes: u64 = operands.iter().map(|ty| ty.bytes() as u64).sum();
            cost.macs = cost.macs.saturating_add(work.macs);
            cost.steps = cost.steps.saturating_add(work.steps);
            cost.bytes = cost.bytes.saturating_add(operand_bytes).saturating_add(result_bytes);
            live = live.saturating_add(result_bytes);
            cost.memory_bytes = cost.memory_bytes.max(live.saturating_add(work.scratch_bytes));
            let mut freed: Vec<usize> = node.inputs.iter().map(|&v| v as usize).chain(results).collect();
            freed.sort_unstable();
            freed.dedup();
            freed.retain(|&v| last_use[v] <= index && !is_constant(v));
            live = live.saturating_sub(freed.iter().map(|&v| types[v].bytes() as u64).sum());
        }
        cost
    }

    /// Cost of one node by itself, on operands that were not prepared: its constants are packed for this run alone.
    pub fn of_node(graph: &Graph, index: usize) -> Cost {
        let (node, types) = (&graph.nodes()[index], graph.types());
        let operands: Vec<&TensorType> = node.inputs.iter().map(|&v| &types[v as usize]).collect();
        let results = &types[node.output_range(node_results(graph, index))];
        let work = (node.op.work)(&node.attributes, &operands, results);
        let constants = node.inputs.iter().filter_map(|&v| graph.constant(v));
        let bytes = |types: &mut dyn Iterator<Item = &TensorType>| types.map(|ty| ty.bytes() as u64).sum::<u64>();
        Cost {
            macs: work.macs,
            steps: work.steps.saturating_add(packing_steps(node.op, &operands)),
            bytes: bytes(&mut operands.iter().copied()).saturating_add(bytes(&mut results.iter())),
            nodes: 1,
            weights_bytes: constants.map(|tensor| tensor.size_bytes() as u64).sum(),
            memory_bytes: bytes(&mut results.iter()).saturating_add(work.scratch_bytes),
        }
    }

    /// Gas of one run: monotone in multiply-accumulates, steps, bytes, weights and nodes, with a floor.
    pub fn gas(&self) -> u64 {
        let gas = (self.macs / MACS_PER_GAS)
            .saturating_add(self.steps / STEPS_PER_GAS)
            .saturating_add(self.bytes / BYTES_PER_GAS)
            .saturating_add(self.weights_bytes / WEIGHT_BYTES_PER_GAS)
            .saturating_add(self.nodes.saturating_mul(GAS_PER_NODE));
        gas.max(GAS_MIN)
    }
}

/// Rows of a tensor: what a loop over its last dimension begins anew for.
pub(crate) fn rows(ty: &TensorType) -> usize {
    ty.elements() / ty.shape.last().copied().unwrap_or(1).max(1)
}

/// Steps of packing the right operand of a product at every run, when it is not packed once at loading.
fn packing_steps(op: &OpSpec, operands: &[&TensorType]) -> u64 {
    let Some(right) = operands.get(1) else { return 0 };
    match op.code {
        code if code == MATMUL.code => {
            let columns = right.shape.last().copied().unwrap_or(1).next_multiple_of(NR);
            8u64.saturating_mul(rows(right) as u64).saturating_mul(columns as u64)
        }
        code if code == CONV.code => 40u64.saturating_mul(right.elements() as u64),
        _ => 0,
    }
}

/// For each value the position of the last node that reads it; `usize::MAX` for outputs, 0 when nobody reads it.
pub fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last = vec![0; graph.types().len()];
    for (index, node) in graph.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|&v| last[v as usize] = index);
    }
    graph.output_values().iter().for_each(|&v| last[v as usize] = usize::MAX);
    last
}

/// Number of results of node `index`.
pub(crate) fn node_results(graph: &Graph, index: usize) -> usize {
    let first = graph.nodes()[index].first_output as usize;
    let end = graph.nodes().get(index + 1).map_or(graph.types().len(), |next| next.first_output as usize);
    end - first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AI gas of one block, and the slot that it has to fit, in nanoseconds (`docs/spec/gas.md`).
    const LANE_GAS: u64 = 30_000_000;
    const SLOT_NS: f64 = 250e6;

    #[test]
    fn a_lane_full_of_any_kind_of_work_fits_a_slot() {
        const BILLION: u64 = 1_000_000_000;
        let none = Cost::default();
        // A billion units of each kind, and the slowest that was measured for one of them, in nanoseconds of one core.
        let worst = [
            ("macs", Cost { macs: BILLION, ..none }, 0.035),
            ("steps", Cost { steps: BILLION, ..none }, 0.2),
            ("bytes", Cost { bytes: BILLION, ..none }, 0.08),
            ("weights", Cost { weights_bytes: BILLION, ..none }, 0.08),
            ("nodes", Cost { nodes: BILLION, ..none }, 1_000.0),
        ];
        for (kind, cost, ns) in worst {
            let units = LANE_GAS as f64 / cost.gas() as f64 * BILLION as f64;
            assert!(units * ns <= SLOT_NS, "{kind}: {units} units take {} ms", units * ns / 1e6);
        }
    }

    #[test]
    fn gas_is_never_free_and_never_wraps() {
        assert_eq!(Cost::default().gas(), GAS_MIN);
        let all = Cost { macs: u64::MAX, steps: u64::MAX, bytes: u64::MAX, nodes: u64::MAX, ..Cost::default() };
        assert_eq!(Cost { weights_bytes: u64::MAX, memory_bytes: u64::MAX, ..all }.gas(), u64::MAX);
        let ty = TensorType::new(crate::DType::F32, [1 << 15, 1 << 15]);
        assert_eq!(Work::steps(u64::MAX, &ty).and(u64::MAX, usize::MAX).steps, u64::MAX);
        assert_eq!(Work::macs(&[usize::MAX, usize::MAX]).macs, u64::MAX);
    }
}
