//! A frozen graph made ready to run: weights packed, chains of elementwise operators fused, memory released at last use.
//!
//! Preparation changes speed only. Every output has the bits that running the graph node by node would give.

use crate::cost::{Cost, last_uses, node_results};
use crate::error::{LoadError, RunError};
use crate::float_mode;
use crate::graph::{Graph, Node, TensorType, ValueInfo};
use crate::kernels::Isa;
use crate::kernels::gemm::PackedRight;
use crate::kernels::program::{Program, Source, Step as ProgramStep};
use crate::ops::elementwise::Kernel;
use crate::ops::{OpResult, cast, conv, matmul, movement};
use crate::quant::prepare::{self as integers, Plan};
use crate::tensor::{DType, Data, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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

#[derive(Debug)]
enum Action {
    Run(Box<Node>),
    Reshape(Vec<usize>),
    MatMul(PackedRight),
    Conv(conv::Prepared),
    Integers(integers::Prepared),
    Fused { program: Program, shape: Vec<usize> },
}

impl Model {
    /// Packs weights and plans the run.
    pub fn load(graph: Graph) -> Result<Model, LoadError> {
        let last_use = last_uses(&graph);
        let known = Known::new(&graph)?;
        let plan = Plan::new(&graph);
        let mut covered = BTreeSet::new();
        let mut steps = Vec::new();
        let mut index = 0;
        while index < graph.nodes().len() {
            let result = graph.nodes()[index].first_output;
            if known.get(result).is_some() || !plan.needs(index) || covered.contains(&result) {
                index += 1;
                continue;
            }
            let fused = fusible_run(&graph, index);
            let (step, count) = match prepare_integers(&plan, &graph, index)? {
                Some((step, covers)) => {
                    covered.extend(covers);
                    (step, 1)
                }
                None if fused > 0 => (fuse(&graph, index, fused, &last_use), fused),
                None => (prepare(&known, index)?, 1),
            };
            steps.push(step);
            index += count;
        }
        release(&known, &mut steps);
        let read: Vec<u32> =
            steps.iter().flat_map(|s| s.inputs.iter().copied()).chain(graph.output_values().to_vec()).collect();
        let constants: BTreeMap<u32, Arc<Tensor>> =
            read.into_iter().filter_map(|v| known.get(v).map(|t| (v, t.clone()))).collect();
        let packed: usize = steps.iter().map(|s| s.action.bytes()).sum();
        let bytes = packed + constants.values().map(|t| t.size_bytes()).sum::<usize>() + graph.nodes().len() * 256;
        Ok(Model {
            inputs: graph.inputs().to_vec(),
            outputs: graph.outputs().to_vec(),
            output_values: graph.output_values().to_vec(),
            values: graph.types().len(),
            constants,
            steps,
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
        let mut slots: Vec<Slot<'_>> = (0..self.values).map(|_| Slot::Empty).collect();
        inputs.iter().enumerate().for_each(|(i, tensor)| slots[i] = Slot::Borrowed(tensor));
        self.constants.iter().for_each(|(&v, tensor)| slots[v as usize] = Slot::Borrowed(tensor));
        for step in &self.steps {
            let results = step.run(&mut slots).map_err(|reason| RunError::Operator {
                index: step.index,
                operator: step.operator,
                reason,
            })?;
            for (&v, tensor) in step.outputs.iter().zip(results) {
                slots[v as usize] = Slot::Owned(tensor);
            }
            step.released.iter().for_each(|&v| slots[v as usize] = Slot::Empty);
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
    fn run(&self, slots: &mut [Slot<'_>]) -> OpResult<Vec<Tensor>> {
        if let Action::Reshape(shape) = &self.action {
            return reshape(&mut slots[self.inputs[0] as usize], shape, self.released.contains(&self.inputs[0]));
        }
        let operands: Vec<&Tensor> = self.inputs.iter().map(|&v| slots[v as usize].tensor()).collect();
        match &self.action {
            Action::Run(node) => (node.op.run)(&node.attributes, &operands),
            Action::MatMul(right) => matmul::run_prepared(operands[0], right).map(|t| vec![t]),
            Action::Conv(prepared) => prepared.run(operands[0]).map(|t| vec![t]),
            Action::Integers(prepared) => prepared.run(operands[0]).map(|t| vec![t]),
            Action::Fused { program, shape } => {
                let values: Option<Vec<&[f32]>> = operands.iter().map(|t| t.as_f32()).collect();
                let results = program.run(Isa::detect(), &values.ok_or("operands must be f32")?);
                results.into_iter().map(|v| crate::ops::tensor(shape, Data::F32(v))).collect()
            }
            Action::Reshape(_) => unreachable!("handled above"),
        }
    }
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
            Action::MatMul(right) => right.bytes(),
            Action::Conv(prepared) => prepared.bytes(),
            Action::Integers(prepared) => prepared.bytes(),
            _ => 0,
        }
    }
}

/// Values known before the first run: constants, and half-precision ones widened by a Cast.
struct Known<'a> {
    graph: &'a Graph,
    widened: BTreeMap<u32, Arc<Tensor>>,
}

impl<'a> Known<'a> {
    fn new(graph: &'a Graph) -> Result<Known<'a>, LoadError> {
        let mut widened = BTreeMap::new();
        for (index, node) in graph.nodes().iter().enumerate().filter(|(_, node)| node.op.code == cast::CAST.code) {
            let half = graph.constant(node.inputs[0]).filter(|t| matches!(t.dtype(), DType::F16 | DType::BF16));
            if let Some(half) = half.filter(|_| graph.types()[node.first_output as usize].dtype == DType::F32) {
                let wrong = |reason| LoadError::Node { index, operator: node.op.name, reason };
                let tensor = (node.op.run)(&node.attributes, &[half]).map_err(wrong)?.remove(0);
                widened.insert(node.first_output, Arc::new(tensor));
            }
        }
        Ok(Known { graph, widened })
    }

    fn get(&self, value: u32) -> Option<&Arc<Tensor>> {
        self.graph.constant(value).or_else(|| self.widened.get(&value))
    }
}

/// One node, with whatever can be done before the first run.
fn prepare(known: &Known<'_>, index: usize) -> Result<Step, LoadError> {
    let graph = known.graph;
    let node = &graph.nodes()[index];
    let types = graph.types();
    let mut inputs = node.inputs.clone();
    let wrong = |reason| LoadError::Node { index, operator: node.op.name, reason };
    let constant = |i: usize| node.inputs.get(i).and_then(|&v| known.get(v));
    let action = match node.op.code {
        code if code == movement::RESHAPE.code => Action::Reshape(types[node.first_output as usize].shape.clone()),
        code if code == matmul::MATMUL.code => match constant(1).and_then(|b| matmul::prepare(b)) {
            Some(packed) => {
                inputs.truncate(1);
                Action::MatMul(packed)
            }
            None => Action::Run(Box::new(node.clone())),
        },
        code if code == conv::CONV.code => match constant(1).filter(|w| w.dtype() == DType::F32) {
            Some(w) => {
                inputs.truncate(1);
                let x = &types[node.inputs[0] as usize].shape;
                Action::Conv(conv::Prepared::new(&node.attributes, x, w).map_err(wrong)?)
            }
            None => Action::Run(Box::new(node.clone())),
        },
        _ => Action::Run(Box::new(node.clone())),
    };
    let outputs = node.output_range(node_results(graph, index)).map(|v| v as u32).collect();
    Ok(Step { index, operator: node.op.name, action, inputs, outputs, released: Vec::new() })
}

/// A step of integers for a node and others after it, whose results are given too.
fn prepare_integers(plan: &Plan<'_>, graph: &Graph, index: usize) -> Result<Option<(Step, Vec<u32>)>, LoadError> {
    let operator = graph.nodes()[index].op.name;
    let found = plan.step(index).map_err(|reason| LoadError::Node { index, operator, reason })?;
    Ok(found.map(|found| {
        let (inputs, outputs) = (vec![found.input], vec![found.output]);
        let action = Action::Integers(found.prepared);
        (Step { index, operator, action, inputs, outputs, released: Vec::new() }, found.covers)
    }))
}

/// How many nodes from `start` on form one chain of elementwise f32 operators over one shape.
fn fusible_run(graph: &Graph, start: usize) -> usize {
    let result = |node: &Node| &graph.types()[node.first_output as usize];
    let fusible = |node: &Node, like: &TensorType| {
        let result = result(node);
        result.dtype == DType::F32 && result.shape == like.shape && Kernel::of(node.op, &node.attributes).is_some()
    };
    let nodes = &graph.nodes()[start..];
    let like = result(&nodes[0]);
    nodes.iter().take(FUSED_STEPS_MAX).take_while(|node| fusible(node, like)).count()
}

/// Makes one program of `count` elementwise nodes.
fn fuse(graph: &Graph, start: usize, count: usize, last_use: &[usize]) -> Step {
    let nodes = &graph.nodes()[start..start + count];
    let first_result = nodes[0].first_output;
    let mut inputs: Vec<u32> = Vec::new();
    let mut source = |value: u32| match value.checked_sub(first_result) {
        Some(step) => Source::Step(step as usize),
        None => Source::Operand(inputs.iter().position(|&v| v == value).unwrap_or_else(|| {
            inputs.push(value);
            inputs.len() - 1
        })),
    };
    let steps: Vec<ProgramStep> = nodes
        .iter()
        .filter_map(|node| match Kernel::of(node.op, &node.attributes)? {
            Kernel::Unary(op) => Some(ProgramStep::Unary(op, source(node.inputs[0]))),
            Kernel::Binary(op) => Some(ProgramStep::Binary(op, source(node.inputs[0]), source(node.inputs[1]))),
        })
        .collect();
    let leaves = |step: &usize| last_use[first_result as usize + step] > start + count - 1;
    let results: Vec<usize> = (0..count).filter(leaves).collect();
    let types = graph.types();
    let shape = types[first_result as usize].shape.clone();
    let operand_shapes: Vec<&[usize]> = inputs.iter().map(|&v| types[v as usize].shape.as_slice()).collect();
    let outputs = results.iter().map(|&step| first_result + step as u32).collect();
    let program = Program::new(&shape, &operand_shapes, steps, results);
    let operator = if count == 1 { nodes[0].op.name } else { "elementwise chain" };
    Step { index: start, operator, action: Action::Fused { program, shape }, inputs, outputs, released: Vec::new() }
}

/// Notes for each step the values that nobody reads after it.
fn release(known: &Known<'_>, steps: &mut [Step]) {
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for (position, step) in steps.iter().enumerate() {
        last.extend(step.inputs.iter().chain(&step.outputs).map(|&v| (v, position)));
    }
    last.retain(|v, _| !known.graph.output_values().contains(v));
    for (value, position) in last {
        if known.get(value).is_none() {
            steps[position].released.push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::GraphBuilder;
    use crate::half::f32_to_f16;
    use crate::ops::Attributes;

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
        assert!(matches!(model.steps[..], [Step { action: Action::MatMul(_), .. }]));
        let ones = Tensor::from_f32([1, rows], vec![1.0; rows]).unwrap();
        let sums = |c: usize| (0..rows).fold(0.0f32, |sum, r| sum + values[r * columns + c]);
        assert_eq!(model.run(&[ones]).unwrap()[0].as_f32().unwrap(), (0..columns).map(sums).collect::<Vec<_>>());
    }
}
