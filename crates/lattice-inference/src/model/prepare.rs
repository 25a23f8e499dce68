//! How the nodes of a graph become the steps of a run.

use super::{Action, FUSED_STEPS_MAX, Product, Step};
use crate::cost::node_results;
use crate::error::LoadError;
use crate::graph::{Graph, Node, TensorType};
use crate::kernels::program::{Program, Source, Step as ProgramStep};
use crate::ops::elementwise::Kernel;
use crate::ops::{cast, conv, matmul, movement};
use crate::quant::prepare as integers;
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values known before the first run: constants, and half-precision ones widened by a Cast.
pub(super) struct Known<'a> {
    pub(super) graph: &'a Graph,
    widened: BTreeMap<u32, Arc<Tensor>>,
}

impl<'a> Known<'a> {
    pub(super) fn new(graph: &'a Graph) -> Result<Known<'a>, LoadError> {
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

    pub(super) fn get(&self, value: u32) -> Option<&Arc<Tensor>> {
        self.graph.constant(value).or_else(|| self.widened.get(&value))
    }
}

/// One node, with whatever can be done before the first run, and how many nodes that is: a product takes on the elementwise
/// operators that alone read it.
pub(super) fn prepare(known: &Known<'_>, index: usize, last_use: &[usize]) -> Result<(Step, usize), LoadError> {
    let graph = known.graph;
    let node = &graph.nodes()[index];
    let types = graph.types();
    let wrong = |reason| LoadError::Node { index, operator: node.op.name, reason };
    let constant = node.inputs.get(1).and_then(|&v| known.get(v)).filter(|w| w.dtype() == DType::F32);
    let product = match (node.op.code, constant) {
        (code, Some(b)) if code == matmul::MATMUL.code => matmul::prepare(b).map(Product::MatMul),
        (code, Some(w)) if code == conv::CONV.code => {
            let x = &types[node.inputs[0] as usize].shape;
            Some(Product::Conv(conv::Prepared::new(&node.attributes, x, w).map_err(wrong)?))
        }
        _ => None,
    };
    let inputs = node.inputs.clone();
    if let Some(product) = product {
        let mut step =
            Step::new(index, node.op.name, Action::Product { product: Box::new(product), chain: None }, inputs);
        step.inputs.truncate(1);
        step.outputs = vec![node.first_output];
        let count = finish_product(graph, index, last_use, &mut step);
        return Ok((step, 1 + count));
    }
    let action = match node.op.code {
        code if code == movement::RESHAPE.code => Action::Reshape(types[node.first_output as usize].shape.clone()),
        _ => Action::Run(Box::new(node.clone())),
    };
    let mut step = Step::new(index, node.op.name, action, inputs);
    step.outputs = node.output_range(node_results(graph, index)).map(|v| v as u32).collect();
    Ok((step, 1))
}

/// Lets the product of node `index` go on through the elementwise nodes behind it, as far as nothing but their last result is
/// read by others; gives their number.
fn finish_product(graph: &Graph, index: usize, last_use: &[usize], step: &mut Step) -> usize {
    let result = step.outputs[0];
    let shape = |v: u32| &graph.types()[v as usize].shape;
    let next = index + 1;
    let run = match graph.nodes().get(next) {
        Some(node) if shape(node.first_output) == shape(result) => fusible_run(graph, next),
        _ => 0,
    };
    for count in (1..=run).rev() {
        let chain = Chain::new(graph, next, count, last_use, vec![result]);
        let [only] = chain.outputs[..] else { continue };
        if last_use[result as usize] >= next + count {
            continue;
        }
        if let Some(program) = chain.program.replacing() {
            step.inputs.extend(&chain.inputs[1..]);
            step.outputs = vec![only];
            if let Action::Product { chain, .. } = &mut step.action {
                *chain = Some(program);
            }
            return count;
        }
    }
    0
}

/// A step of integers for a node and others after it, whose results are given too.
pub(super) fn prepare_integers(
    plan: &integers::Plan<'_>,
    graph: &Graph,
    index: usize,
) -> Result<Option<(Step, Vec<u32>)>, LoadError> {
    let operator = graph.nodes()[index].op.name;
    let found = plan.step(index).map_err(|reason| LoadError::Node { index, operator, reason })?;
    Ok(found.map(|found| {
        let mut step = Step::new(index, operator, Action::Integers(found.prepared), vec![found.input]);
        step.outputs = vec![found.output];
        (step, found.covers)
    }))
}

/// How many nodes from `start` on form one chain of elementwise f32 operators over one shape.
pub(super) fn fusible_run(graph: &Graph, start: usize) -> usize {
    let result = |node: &Node| &graph.types()[node.first_output as usize];
    let fusible = |node: &Node, like: &TensorType| {
        let result = result(node);
        result.dtype == DType::F32 && result.shape == like.shape && Kernel::of(node.op, &node.attributes).is_some()
    };
    let nodes = &graph.nodes()[start..];
    let like = result(&nodes[0]);
    nodes.iter().take(FUSED_STEPS_MAX).take_while(|node| fusible(node, like)).count()
}

/// A chain of elementwise nodes as one program.
struct Chain {
    program: Program,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
}

impl Chain {
    /// `count` nodes from `start` on, whose first operands are `inputs`.
    fn new(graph: &Graph, start: usize, count: usize, last_use: &[usize], mut inputs: Vec<u32>) -> Chain {
        let nodes = &graph.nodes()[start..start + count];
        let first_result = nodes[0].first_output;
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
        let operand_shapes: Vec<&[usize]> = inputs.iter().map(|&v| types[v as usize].shape.as_slice()).collect();
        let program = Program::new(&types[first_result as usize].shape, &operand_shapes, steps, &results);
        let outputs = results.iter().map(|&step| first_result + step as u32).collect();
        Chain { program, inputs, outputs }
    }
}

/// Makes one step of `count` elementwise nodes.
pub(super) fn fuse(graph: &Graph, start: usize, count: usize, last_use: &[usize]) -> Step {
    let Chain { program, inputs, outputs } = Chain::new(graph, start, count, last_use, Vec::new());
    let operator = if count == 1 { graph.nodes()[start].op.name } else { "elementwise chain" };
    let mut step = Step::new(start, operator, Action::Fused(program), inputs);
    step.outputs = outputs;
    step
}

/// Notes for each step the values that nobody reads after it.
pub(super) fn release(known: &Known<'_>, steps: &mut [Step]) {
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
