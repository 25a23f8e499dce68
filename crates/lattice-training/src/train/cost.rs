//! What the judgement of one step takes, from shapes alone.

use super::network::Layer;
use super::{Optimiser, Target, Trainer};
use crate::merkle::Proof;

/// Levels of a data set's tree that an opening is given room for: 2^32 records.
const RECORD_LEVELS: usize = 32;
/// Levels of a trace's tree, likewise.
const TRACE_LEVELS: usize = 16;

/// Work and bytes of the judgement of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCost {
    /// Multiply-accumulates of all products, the last dimension of each rounded up to 16.
    pub macs: u64,
    /// Weighted element steps of everything else.
    pub steps: u64,
    /// Bytes of a state.
    pub state_bytes: u64,
    /// Bytes of the longest opening of a step, for data sets of up to 2^32 records.
    pub opening_bytes: u64,
}

impl StepCost {
    /// The product [m, k] times [k, n], whose right operand is packed anew.
    fn product(&mut self, m: usize, k: usize, n: usize) {
        self.macs = self.macs.saturating_add(product(&[m, k, n.next_multiple_of(16)]));
        self.elements(4, &[k, n.next_multiple_of(16)]);
        self.elements(2, &[m, n]);
    }

    fn elements(&mut self, weight: u64, factors: &[usize]) {
        self.steps = self.steps.saturating_add(product(factors).saturating_mul(weight));
    }

    fn transpose(&mut self, rows: usize, columns: usize) {
        self.elements(8, &[rows, columns]);
    }
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor as u64))
}

impl Trainer {
    /// What the judgement of one step takes: the products of the layers forwards and backwards, the optimiser, the state.
    pub fn step_cost(&self) -> StepCost {
        let mut cost = StepCost::default();
        let n = self.plan.batch as usize;
        let mut width = self.network.features;
        for (at, layer) in self.network.layers.iter().enumerate() {
            // Node, dispatch, allocations.
            cost.elements(1_000, &[1]);
            match layer {
                Layer::Dense { inputs, outputs, .. } => {
                    let (i, o) = (*inputs, *outputs);
                    width = o;
                    // Forwards, and the gradient of the layer's input.
                    cost.product(n, i, o);
                    cost.transpose(i, o);
                    cost.product(n, o, i);
                    match &self.plan.target {
                        Target::Whole => {
                            cost.transpose(n, i);
                            cost.product(i, n, o);
                        }
                        Target::Lora { rank, .. } if self.adapted.contains(&at) => {
                            let r = *rank as usize;
                            // u = x A^T, z = u B^T; then u again, dB, du, dA, and what du adds to the input's gradient.
                            for (rows, columns) in [(r, i), (o, r), (r, i), (n, o), (n, r)] {
                                cost.transpose(rows, columns);
                            }
                            for (m, k, n) in
                                [(n, i, r), (n, r, o), (n, i, r), (o, n, r), (n, o, r), (r, n, i), (n, r, i)]
                            {
                                cost.product(m, k, n);
                            }
                            cost.elements(4, &[n, o]);
                            cost.elements(4, &[n, i]);
                        }
                        Target::Lora { .. } => {}
                    }
                }
                Layer::Bias { .. } | Layer::Scale { .. } | Layer::Relu => cost.elements(8, &[n, width]),
            }
        }
        // Softmax and its gradient, or the error's.
        cost.elements(60, &[n, self.network.outputs]);
        // The choice, the leaf and the row of each record.
        cost.elements(2_000, &[n]);
        let moments = self.plan.optimiser.moments();
        let weight = if matches!(self.plan.optimiser, Optimiser::Adam { .. }) { 40 } else { 12 };
        let mut state = 18;
        for parameter in &self.parameters {
            cost.elements(weight, &[parameter.size]);
            state += (1 + moments) * (4 + 4 * parameter.size);
        }
        cost.state_bytes = state as u64;
        let record = 4 * (self.network.features + self.targets()) + Proof::bytes(RECORD_LEVELS);
        cost.opening_bytes =
            product(&[record, n]).saturating_add((state + 2 * Proof::bytes(TRACE_LEVELS)) as u64).saturating_add(64);
        cost
    }
}
