//! A frozen graph made ready to run: weights packed, chains of elementwise operators fused, memory released at last use.
//!
//! Preparation changes speed only. Every output has the bits that running the graph node by node would give.

use crate::cost::{Cost, last_uses};
use crate::error::{LoadError, RunError};
use crate::float_mode;
use crate::graph::{Graph, Node, ValueInfo};
use crate::kernels::Isa;
use crate::kernels::gemm::PackedRight;
use crate::kernels::program::Program;
use crate::ops::{OpResult, conv, matmul};
use crate::quant::prepare as integers;
use crate::tensor::Tensor;
use memory::{Memory, Plan};
use prepare::Known;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

mod memory;
mod prepare;

/// Longest chain of elementwise operators that is fused.
const FUSED_STEPS_MAX: usize = 32;

/// A model ready to run. It never changes, so one copy behind an `Arc` serves all threads.
#[derive(Debug)]
pub struct Model {
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    output_values: Vec<u32>,
    values: usize,
    constants: BTreeMap<u32, Arc<Tensor>>,
    steps: Vec<Step>,
    plan: Plan,
    /// What the last run worked in, for the next one; runs at the same time make their own.
    idle: Mutex<Option<Memory>>,
    cost: Cost,
    bytes: usize,
}

#[derive(Debug)]
struct Step {
    /// Position of the first node of this step, for messages.
    index: usize,
    operator: &'static str,
    action: Action,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    /// Values that nobody reads after this step.
    released: Vec<u32>,
}

impl Step {
    fn new(index: usize, operator: &'static str, action: Action, inputs: Vec<u32>) -> Step {
        Step { index, operator, action, inputs, outputs: Vec::new(), released: Vec::new() }
    }
}

#[derive(Debug)]
enum Action {
    Run(Box<Node>),
    Reshape(Vec<usize>),
    /// The operands of the chain come behind the product's.
    Product {
        product: Box<Product>,
        chain: Option<Program>,
    },
    Integers(integers::Prepared),
    Fused(Program),
}

/// A product by constant weights.
#[derive(Debug)]
enum Product {
    MatMul(PackedRight),
    Conv(conv::Prepared),
}

impl Model {
    /// Packs weights and plans the run.
    pub fn load(graph: Graph) -> Result<Model, LoadError> {
        let last_use = last_uses(&graph);
        let known = Known::new(&graph)?;
        let whole = integers::Plan::new(&graph);
        let mut covered = BTreeSet::new();
        let mut steps = Vec::new();
        let mut index = 0;
        while index < graph.nodes().len() {
            let result = graph.nodes()[index].first_output;
            if known.get(result).is_some() || !whole.needs(index) || covered.contains(&result) {
                index += 1;
                continue;
            }
            let fused = prepare::fusible_run(&graph, index);
            let (step, count) = match prepare::prepare_integers(&whole, &graph, index)? {
                Some((step, covers)) => {
                    covered.extend(covers);
                    (step, 1)
                }
                None if fused > 0 => (prepare::fuse(&graph, index, fused, &last_use), fused),
                None => prepare::prepare(&known, index, &last_use)?,
            };
            steps.push(step);
            index += count;
        }
        prepare::release(&known, &mut steps);
        let plan = Plan::new(&graph, &steps);
        let read: Vec<u32> =
            steps.iter().flat_map(|s| s.inputs.iter().copied()).chain(graph.output_values().to_vec()).collect();
        let constants: BTreeMap<u32, Arc<Tensor>> =
            read.into_iter().filter_map(|v| known.get(v).map(|t| (v, t.clone()))).collect();
        let packed: usize = steps.iter().map(|s| s.action.bytes()).sum();
        let constant = constants.values().map(|t| t.size_bytes()).sum::<usize>();
        let bytes = packed + constant + plan.bytes() + graph.nodes().len() * 256;
        Ok(Model {
            inputs: graph.inputs().to_vec(),
            outputs: graph.outputs().to_vec(),
            output_values: graph.output_values().to_vec(),
            values: graph.types().len(),
            constants,
            steps,
            plan,
            idle: Mutex::new(None),
            cost: graph.cost(),
            bytes,
        })
    }

    /// Inputs in graph order.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    /// Outputs in graph order.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// Static cost of a run.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Approximate resident bytes, for a cache's budget.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all inputs together.
    pub fn input_bytes(&self) -> usize {
        self.inputs.iter().map(ValueInfo::bytes).sum()
    }

    /// Bytes of all outputs together.
    pub fn output_bytes(&self) -> usize {
        self.outputs.iter().map(ValueInfo::bytes).sum()
    }

    /// Runs the model on inputs in graph order and gives its outputs in graph order, every NaN canonical.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        float_mode::check()?;
        self.check_inputs(inputs)?;
        let mut memory = self.idle.try_lock().ok().and_then(|mut idle| idle.take()).unwrap_or_default();
        let mut slots: Vec<Slot<'_>> = (0..self.values).map(|_| Slot::Empty).collect();
        inputs.iter().enumerate().for_each(|(i, tensor)| slots[i] = Slot::Borrowed(tensor));
        self.constants.iter().for_each(|(&v, tensor)| slots[v as usize] = Slot::Borrowed(tensor));
        for step in &self.steps {
            let results = step.run(&mut slots, &self.plan, &mut memory).map_err(|reason| RunError::Operator {
                index: step.index,
                operator: step.operator,
                reason,
            })?;
            for (&v, tensor) in step.outputs.iter().zip(results) {
                slots[v as usize] = Slot::Owned(tensor);
            }
            for &v in &step.released {
                if let Slot::Owned(tensor) = core::mem::replace(&mut slots[v as usize], Slot::Empty) {
                    memory.give_back(&self.plan, v, tensor);
                }
            }
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (position, &value) in self.output_values.iter().enumerate() {
            let again = self.output_values[position + 1..].contains(&value);
            let mut tensor = match core::mem::replace(&mut slots[value as usize], Slot::Empty) {
                Slot::Owned(tensor) if !again => tensor,
                slot => {
                    let tensor = slot.tensor().clone();
                    slots[value as usize] = slot;
                    tensor
                }
            };
            tensor.data_mut().canonicalize_nan();
            outputs.push(tensor);
        }
        memory.conv.free_large();
        if let Ok(mut idle) = self.idle.try_lock() {
            *idle = Some(memory);
        }
        Ok(outputs)
    }

    /// Runs the model on raw bytes: all inputs concatenated in graph order, each little-endian and row-major, one byte for a
    /// bool. The outputs come back the same way, every NaN canonical.
    pub fn run_bytes(&self, input: &[u8]) -> Result<Vec<u8>, RunError> {
        if input.len() != self.input_bytes() {
            let layout = self.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(RunError::InputBytes { expected: self.input_bytes(), got: input.len(), layout });
        }
        let mut rest = input;
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for info in &self.inputs {
            let (bytes, tail) = rest.split_at(info.bytes());
            rest = tail;
            let tensor = Tensor::from_bytes(info.dtype, info.shape.clone(), bytes);
            inputs.push(tensor.map_err(|reason| RunError::InputElement { name: info.name.clone(), reason })?);
        }
        let mut out = Vec::with_capacity(self.output_bytes());
        self.run(&inputs)?.iter().for_each(|tensor| tensor.append_bytes(&mut out));
        Ok(out)
    }

    fn check_inputs(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        if inputs.len() != self.inputs.len() {
            return Err(RunError::InputCount { expected: self.inputs.len(), got: inputs.len() });
        }
        for (info, tensor) in self.inputs.iter().zip(inputs) {
            if info.dtype != tensor.dtype() || info.shape != tensor.shape() {
                return Err(RunError::InputMismatch {
                    name: info.name.clone(),
                    expected_dtype: info.dtype,
                    expected_shape: info.shape.clone(),
                    got_dtype: tensor.dtype(),
                    got_shape: tensor.shape().to_vec(),
                });
            }
        }
        Ok(())
    }
}

/// A value during a run.
enum Slot<'a> {
    Empty,
    Borrowed(&'a Tensor),
    Owned(Tensor),
}

impl Slot<'_> {
    fn tensor(&self) -> &Tensor {
        match self {
            Slot::Borrowed(tensor) => tensor,
            Slot::Owned(tensor) => tensor,
            Slot::Empty => unreachable!("a value is read only between its making and its last use"),
        }
    }
}

impl Step {
    fn run(&self, slots: &mut [Slot<'_>], plan: &Plan, memory: &mut Memory) -> OpResult<Vec<Tensor>> {
        if let Action::Reshape(shape) = &self.action {
            return reshape(&mut slots[self.inputs[0] as usize], shape, self.released.contains(&self.inputs[0]));
        }
        let operands: Vec<&Tensor> = self.inputs.iter().map(|&v| slots[v as usize].tensor()).collect();
        match &self.action {
            Action::Run(node) => (node.op.run)(&node.attributes, &operands),
            Action::Product { product, chain } => {
                let mut y = memory.take(plan, self.outputs[0]);
                let mut factors = floats(&operands[1..])?;
                // The place of what the chain replaces.
                factors.insert(0, &[]);
                let Memory { tiles, conv, .. } = &mut *memory;
                let mut finish = |start: usize, part: &mut [f32]| {
                    if let Some(chain) = chain {
                        chain.run(Isa::detect(), start, &factors, &mut [part], tiles);
                    }
                };
                match &**product {
                    Product::MatMul(right) => matmul::run_prepared(operands[0], right, &mut y, &mut finish)?,
                    Product::Conv(weights) => weights.run(operands[0], &mut y, conv, &mut finish)?,
                }
                Ok(vec![plan.tensor(self.outputs[0], y)?])
            }
            Action::Integers(prepared) => prepared.run(operands[0], &mut memory.integers).map(|t| vec![t]),
            Action::Fused(program) => {
                let mut results: Vec<Vec<f32>> = self.outputs.iter().map(|&v| memory.take(plan, v)).collect();
                let mut parts: Vec<&mut [f32]> = results.iter_mut().map(Vec::as_mut_slice).collect();
                program.run(Isa::detect(), 0, &floats(&operands)?, &mut parts, &mut memory.tiles);
                self.outputs.iter().zip(results).map(|(&v, values)| plan.tensor(v, values)).collect()
            }
            Action::Reshape(_) => unreachable!("handled above"),
        }
    }
}

/// The elements of f32 operands.
fn floats<'t>(operands: &[&'t Tensor]) -> OpResult<Vec<&'t [f32]>> {
    operands.iter().map(|t| t.as_f32()).collect::<Option<_>>().ok_or_else(|| "operands must be f32".into())
}

/// A reshaped value: moved when this was its last use, copied otherwise.
fn reshape(slot: &mut Slot<'_>, shape: &[usize], last: bool) -> OpResult<Vec<Tensor>> {
    let data = match core::mem::replace(slot, Slot::Empty) {
        Slot::Owned(tensor) if last => tensor.into_data(),
        kept => {
            let data = kept.tensor().data().clone();
            *slot = kept;
            data
        }
    };
    Ok(vec![crate::ops::tensor(shape, data)?])
}

impl Action {
    fn bytes(&self) -> usize {
        match self {
            Action::Product { product, .. } => match &**product {
                Product::MatMul(right) => right.bytes(),
                Product::Conv(prepared) => prepared.bytes(),
            },
            Action::Integers(prepared) => prepared.bytes(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::GraphBuilder;
    use crate::half::f32_to_f16;
    use crate::ops::{Attributes, cast};
    use crate::tensor::{DType, Data};

    #[test]
    fn half_precision_weights_are_widened_once() {
        let (rows, columns) = (256, 200);
        let values: Vec<f32> = (0..rows * columns).map(|i| (i % 61) as f32 / 8.0 - 3.0).collect();
        let half = Data::F16(values.iter().map(|&v| f32_to_f16(v)).collect());
        let mut b = GraphBuilder::default();
        let x = b.input(ValueInfo { name: "x".into(), dtype: DType::F32, shape: vec![1, rows] });
        let w = b.constant("w", Tensor::new([rows, columns], half).unwrap());
        let wide = b.emit1(&cast::CAST, cast::to(DType::F32), &[w]).unwrap();
        let y = b.emit1(&matmul::MATMUL, Attributes::none(), &[x, wide]).unwrap();
        let graph = b.finish(vec![("y".into(), y)]).unwrap();
        assert_eq!(graph.nodes().len(), 2, "the frozen graph keeps the halves");
        let model = Model::load(graph).unwrap();
        assert!(matches!(model.steps[..], [Step { action: Action::Product { .. }, .. }]));
        let ones = Tensor::from_f32([1, rows], vec![1.0; rows]).unwrap();
        let sums = |c: usize| (0..rows).fold(0.0f32, |sum, r| sum + values[r * columns + c]);
        assert_eq!(model.run(&[ones]).unwrap()[0].as_f32().unwrap(), (0..columns).map(sums).collect::<Vec<_>>());
    }
}
