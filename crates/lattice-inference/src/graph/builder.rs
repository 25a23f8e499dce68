//! Building a frozen graph: typed nodes, constants folded as they appear, dead nodes dropped at the end.
//!
//! Folding runs the executor's own operators, so a folded constant has the bits that the node would have computed.

use super::{Constant, Graph, TensorType, ValueInfo};
use crate::error::GraphError;
use crate::limits::{NAME_BYTES_MAX, NODES_MAX};
use crate::ops::{Attributes, OpResult, OpSpec, movement};
use crate::quant::Linear;
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value while the graph is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(u32);

/// Results up to this size are folded even when they are larger than the operands (an Expand of a scalar, say).
const FOLD_GROWTH_BYTES_MAX: usize = 64 << 10;
/// Largest work spent on folding one graph.
const FOLD_WORK_MAX: u64 = 1 << 33;
/// Largest sum of constants made while building.
const CONSTANT_BYTES_MAX: usize = 3 << 30;

#[derive(Debug)]
enum Origin {
    Input,
    Constant { name: String, tensor: Arc<Tensor> },
    Node { node: usize },
}

#[derive(Debug)]
struct BuilderNode {
    op: &'static OpSpec,
    attributes: Attributes,
    inputs: Vec<Value>,
    results: Vec<Value>,
}

/// A graph under construction.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    origins: Vec<Origin>,
    types: Vec<TensorType>,
    inputs: Vec<ValueInfo>,
    nodes: Vec<BuilderNode>,
    fold_work: u64,
    constant_bytes: usize,
    unrolled_nodes: usize,
    /// What made a folded constant, where it only moved elements.
    moved: BTreeMap<Value, Maker>,
    /// Real values with the integers behind them.
    reals: BTreeMap<Value, Linear>,
    /// Values that were written in integers: by value, and by scale, type and range of the result.
    pub quantized: BTreeMap<(Value, u32, u8, [i32; 3]), Value>,
}

/// An operator, its attributes and its operands.
pub type Maker = (&'static OpSpec, Attributes, Vec<Value>);

impl GraphBuilder {
    /// Adds an input. All inputs must be added before [`GraphBuilder::finish`], in graph order.
    pub fn input(&mut self, info: ValueInfo) -> Value {
        let ty = TensorType::new(info.dtype, info.shape.clone());
        self.inputs.push(info);
        self.push(Origin::Input, ty)
    }

    /// Adds a constant under a name (shortened when it is very long).
    pub fn constant(&mut self, name: &str, tensor: impl Into<Arc<Tensor>>) -> Value {
        let tensor = tensor.into();
        let ty = TensorType::of(&tensor);
        self.constant_bytes = self.constant_bytes.saturating_add(tensor.size_bytes());
        self.push(Origin::Constant { name: short_name(name), tensor }, ty)
    }

    /// Errors when constants have grown past the limit.
    pub fn check_size(&self) -> OpResult<()> {
        let (got, max) = (self.constant_bytes, CONSTANT_BYTES_MAX);
        if got > max { Err(format!("constants have grown to {got} bytes; the limit is {max}")) } else { Ok(()) }
    }

    /// Counts a turn of a loop whose body has so many nodes; errors when loops have grown past the limit.
    pub fn take_turn(&mut self, nodes: usize) -> OpResult<()> {
        self.unrolled_nodes = self.unrolled_nodes.saturating_add(nodes + 1);
        if self.unrolled_nodes > NODES_MAX {
            return Err(format!("loops unroll to more than {NODES_MAX} nodes"));
        }
        Ok(())
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.types[value.0 as usize]
    }

    /// Shape of a value.
    pub fn shape(&self, value: Value) -> &[usize] {
        &self.ty(value).shape
    }

    /// The tensor, when the value is a constant.
    pub fn tensor(&self, value: Value) -> Option<&Arc<Tensor>> {
        match &self.origins[value.0 as usize] {
            Origin::Constant { tensor, .. } => Some(tensor),
            _ => None,
        }
    }

    /// The operator, attributes and operands that computed a value, when a node did.
    pub fn producer(&self, value: Value) -> Option<(&'static OpSpec, &Attributes, &[Value])> {
        match &self.origins[value.0 as usize] {
            Origin::Node { node } => {
                let node = &self.nodes[*node];
                Some((node.op, &node.attributes, &node.inputs))
            }
            _ => None,
        }
    }

    /// [`GraphBuilder::producer`], and what made a constant when that only moved elements.
    pub fn maker(&self, value: Value) -> Option<Maker> {
        let made = self.producer(value).map(|(op, attributes, inputs)| (op, attributes.clone(), inputs.to_vec()));
        made.or_else(|| self.moved.get(&value).cloned())
    }

    /// Notes the integers that a real value stands for.
    pub fn note_real(&mut self, value: Value, linear: Linear) {
        self.reals.insert(value, linear);
    }

    /// The integers that a real value stands for, where they were noted.
    pub fn real(&self, value: Value) -> Option<&Linear> {
        self.reals.get(&value)
    }

    /// Adds a node and gives its results; folds it when all operands are constants.
    pub fn emit(&mut self, op: &'static OpSpec, attributes: Attributes, inputs: &[Value]) -> OpResult<Vec<Value>> {
        let operands: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let results = op.infer_checked(&attributes, &operands)?;
        if let Some(folded) = self.fold(op, &attributes, inputs, &results)? {
            if movement::ALL.iter().any(|moving| moving.code == op.code) {
                self.moved.insert(folded[0], (op, attributes, inputs.to_vec()));
            }
            return Ok(folded);
        }
        if self.nodes.len() >= NODES_MAX * 2 {
            return Err(format!("the graph has more than {NODES_MAX} nodes"));
        }
        let node = self.nodes.len();
        let results: Vec<Value> = results.into_iter().map(|ty| self.push(Origin::Node { node }, ty)).collect();
        self.nodes.push(BuilderNode { op, attributes, inputs: inputs.to_vec(), results: results.clone() });
        Ok(results)
    }

    /// [`GraphBuilder::emit`] for operators with exactly one result.
    pub fn emit1(&mut self, op: &'static OpSpec, attributes: Attributes, inputs: &[Value]) -> OpResult<Value> {
        self.emit(op, attributes, inputs).map(|results| results[0])
    }

    fn fold(
        &mut self,
        op: &'static OpSpec,
        attributes: &Attributes,
        inputs: &[Value],
        results: &[TensorType],
    ) -> OpResult<Option<Vec<Value>>> {
        let Some(tensors) = inputs.iter().map(|&v| self.tensor(v).cloned()).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let operand_bytes: usize = tensors.iter().map(|t| t.size_bytes()).sum();
        let result_bytes: usize = results.iter().map(TensorType::bytes).sum();
        let operands: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let work = (op.work)(attributes, &operands, results);
        let work = work.macs.saturating_add(work.steps).saturating_add(operand_bytes as u64);
        self.fold_work = self.fold_work.saturating_add(work);
        let grows = result_bytes > operand_bytes.max(FOLD_GROWTH_BYTES_MAX);
        let spent =
            self.fold_work > FOLD_WORK_MAX || self.constant_bytes.saturating_add(result_bytes) > CONSTANT_BYTES_MAX;
        if grows || spent {
            return Ok(None);
        }
        let name = inputs.iter().find_map(|&v| match &self.origins[v.0 as usize] {
            Origin::Constant { name, .. } if !name.is_empty() => Some(name.clone()),
            _ => None,
        });
        let operands: Vec<&Tensor> = tensors.iter().map(Arc::as_ref).collect();
        let mut folded = Vec::with_capacity(results.len());
        for mut tensor in (op.run)(attributes, &operands)? {
            tensor.data_mut().canonicalize_nan();
            folded.push(self.constant(name.as_deref().unwrap_or_default(), tensor));
        }
        Ok(Some(folded))
    }

    fn push(&mut self, origin: Origin, ty: TensorType) -> Value {
        self.origins.push(origin);
        self.types.push(ty);
        Value((self.origins.len() - 1) as u32)
    }

    /// Drops what no output needs, numbers the rest canonically and checks the whole.
    pub fn finish(self, outputs: Vec<(String, Value)>) -> Result<Graph, GraphError> {
        let mut needed = vec![false; self.origins.len()];
        outputs.iter().for_each(|(_, v)| needed[v.0 as usize] = true);
        for node in self.nodes.iter().rev() {
            if node.results.iter().any(|r| needed[r.0 as usize]) {
                node.inputs.iter().for_each(|v| needed[v.0 as usize] = true);
            }
        }
        let live = |node: &&BuilderNode| node.results.iter().any(|r| needed[r.0 as usize]);
        let mut numbers: BTreeMap<Value, u32> = BTreeMap::new();
        let mut constants = Vec::new();
        let inputs =
            (0..self.origins.len() as u32).map(Value).filter(|v| matches!(self.origins[v.0 as usize], Origin::Input));
        for input in inputs {
            numbers.insert(input, numbers.len() as u32);
        }
        let used = self.nodes.iter().filter(live).flat_map(|n| n.inputs.iter()).chain(outputs.iter().map(|(_, v)| v));
        for value in used {
            if let Origin::Constant { name, tensor } = &self.origins[value.0 as usize] {
                let next = numbers.len() as u32;
                numbers.entry(*value).or_insert_with(|| {
                    constants.push(Constant { name: name.clone(), tensor: tensor.clone() });
                    next
                });
            }
        }
        let mut parts = Vec::new();
        for node in self.nodes.iter().filter(live) {
            let operands = node.inputs.iter().map(|v| numbers[v]).collect();
            parts.push((node.op, node.attributes.clone(), operands));
            for result in &node.results {
                numbers.insert(*result, numbers.len() as u32);
            }
        }
        let outputs = outputs.into_iter().map(|(name, v)| (name, numbers[&v])).collect();
        Graph::assemble(self.inputs, constants, parts, outputs)
    }
}

/// A name within the limit, cut at a character boundary.
fn short_name(name: &str) -> String {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name[..end].to_owned()
}
