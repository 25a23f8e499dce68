//! The frozen graph: what validators execute, and whose hash is the model id.
//!
//! A frozen graph has static shapes only, no shape arithmetic, and a small set of operators ([`crate::ops`]). Values are
//! numbered: inputs first, then constants, then the results of the nodes in order; a node reads only lower numbers, so the
//! node order is an execution order and a cycle cannot be written down. Types of results are not stored: they follow from
//! the operators, and both import and decode compute them by the same functions.

mod builder;
mod encoding;
mod forms;

pub use builder::{GraphBuilder, Maker, Value};
pub use encoding::VERSION;

use crate::cost::Cost;
use crate::error::{DecodeError, GraphError};
use crate::limits::{MEMORY_BYTES_MAX, NODES_MAX, OPERANDS_MAX, WEIGHTS_BYTES_MAX, WORK_MAX};
use crate::ops::{Attributes, OpSpec};
use crate::quant;
use crate::tensor::{DType, Tensor, element_count};
use alloy_primitives::{B256, keccak256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Element type and static shape of a value inside the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// The type of a tensor.
    pub fn of(tensor: &Tensor) -> TensorType {
        TensorType::new(tensor.dtype(), tensor.shape())
    }

    /// Number of elements (the type was checked against the limits when it entered the graph).
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size_bytes()
    }
}

impl core::fmt::Display for TensorType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// A named input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// Name, as in the imported file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Static dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl ValueInfo {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size_bytes()
    }
}

impl core::fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}{:?}", self.name, self.dtype, self.shape)
    }
}

/// A constant: weights or a folded value, under its name in the imported file.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Name in the imported file; adapters find weights by it.
    pub name: String,
    /// The elements.
    pub tensor: Arc<Tensor>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: &'static OpSpec,
    /// Its attributes, in the order the operator documents.
    pub attributes: Attributes,
    /// Numbers of the values it reads.
    pub inputs: Vec<u32>,
    /// Number of its first result; further results follow.
    pub first_output: u32,
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        (self.op.code, &self.attributes, &self.inputs, self.first_output)
            == (other.op.code, &other.attributes, &other.inputs, other.first_output)
    }
}

/// By which numbers a graph computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumericClass {
    /// Floats by the fixed-order rules, integers beside them.
    F,
    /// Integers only, floats at most quantised at its inputs and dequantised at its outputs.
    Q,
}

impl NumericClass {
    fn of(nodes: &[Node], types: &[TensorType]) -> NumericClass {
        let touches_floats = |(index, node): (usize, &Node)| {
            let end = nodes.get(index + 1).map_or(types.len(), |next| next.first_output as usize);
            let values = node.inputs.iter().map(|&v| v as usize).chain(node.first_output as usize..end);
            !quant::is_border(node.op) && values.into_iter().any(|v| types[v].dtype.is_float())
        };
        let is_quantised = nodes.iter().any(|node| quant::ALL.iter().any(|op| op.code == node.op.code));
        if is_quantised && !nodes.iter().enumerate().any(touches_floats) { NumericClass::Q } else { NumericClass::F }
    }

    fn code(self) -> u8 {
        match self {
            NumericClass::F => b'F',
            NumericClass::Q => b'Q',
        }
    }

    fn from_code(code: u8) -> Option<NumericClass> {
        [NumericClass::F, NumericClass::Q].into_iter().find(|class| class.code() == code)
    }
}

impl core::fmt::Display for NumericClass {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", char::from(self.code()))
    }
}

/// A frozen graph. Every `Graph` is valid: it can only be made by import or by decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    inputs: Vec<ValueInfo>,
    constants: Vec<Constant>,
    nodes: Vec<Node>,
    outputs: Vec<ValueInfo>,
    output_values: Vec<u32>,
    types: Vec<TensorType>,
    class: NumericClass,
    cost: Cost,
}

impl Graph {
    /// Puts parts together and checks everything: operand numbers, operator rules, limits, names.
    pub(crate) fn assemble(
        inputs: Vec<ValueInfo>,
        constants: Vec<Constant>,
        parts: Vec<(&'static OpSpec, Attributes, Vec<u32>)>,
        outputs: Vec<(String, u32)>,
    ) -> Result<Graph, GraphError> {
        limit("number of nodes", parts.len(), NODES_MAX)?;
        limit("number of inputs", inputs.len(), OPERANDS_MAX)?;
        limit("number of outputs", outputs.len(), OPERANDS_MAX)?;
        if outputs.is_empty() {
            return Err(GraphError::Structure("the graph has no outputs".into()));
        }
        unique_names("input", inputs.iter().map(|i| i.name.as_str()))?;
        unique_names("output", outputs.iter().map(|(name, _)| name.as_str()))?;
        let mut types = Vec::with_capacity(inputs.len() + constants.len() + parts.len());
        for input in &inputs {
            element_count(input.dtype, &input.shape)
                .map_err(|e| GraphError::Structure(format!("input '{}': {e}", input.name)))?;
            types.push(TensorType::new(input.dtype, input.shape.clone()));
        }
        types.extend(constants.iter().map(|c| TensorType::of(&c.tensor)));
        let nodes = infer_nodes(parts, &mut types)?;
        let output_values: Vec<u32> = outputs.iter().map(|(_, value)| *value).collect();
        let outputs = outputs
            .into_iter()
            .map(|(name, value)| match types.get(value as usize) {
                Some(ty) => Ok(ValueInfo { name, dtype: ty.dtype, shape: ty.shape.clone() }),
                None => {
                    Err(GraphError::Structure(format!("output '{name}' names value {value}, which does not exist")))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let class = NumericClass::of(&nodes, &types);
        let mut graph = Graph { inputs, constants, nodes, outputs, output_values, types, class, cost: Cost::default() };
        for (index, node) in graph.nodes.iter().enumerate() {
            quant::check_constants(node.op, |at| graph.constant(node.inputs[at]).map(Arc::as_ref))
                .map_err(|reason| GraphError::Node { index, operator: node.op.name, reason })?;
        }
        graph.cost = Cost::of(&graph);
        let cost = &graph.cost;
        let within = |what, got, max| if got > max { Err(GraphError::Limit { what, got, max }) } else { Ok(()) };
        within("activation memory in bytes", cost.memory_bytes, MEMORY_BYTES_MAX)?;
        within("size of all weights in bytes", cost.weights_bytes, WEIGHTS_BYTES_MAX)?;
        within("work", cost.macs.saturating_add(cost.steps), WORK_MAX)?;
        Ok(graph)
    }

    /// Canonical bytes: the same graph always gives the same bytes, and only they decode to it.
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(self)
    }

    /// Reads canonical bytes. Everything is checked; malformed input costs an error and bounded memory.
    pub fn decode(bytes: &[u8]) -> Result<Graph, DecodeError> {
        encoding::decode(bytes)
    }

    /// keccak256 of the canonical bytes.
    pub fn model_id(&self) -> B256 {
        keccak256(self.encode())
    }

    /// Inputs in graph order.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    /// Outputs in graph order.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// Value numbers of the outputs.
    pub fn output_values(&self) -> &[u32] {
        &self.output_values
    }

    /// Constants in value order.
    pub fn constants(&self) -> &[Constant] {
        &self.constants
    }

    /// Nodes in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Types of all values, by number.
    pub fn types(&self) -> &[TensorType] {
        &self.types
    }

    /// How often each operator of the frozen graph is used.
    pub fn operators(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for node in &self.nodes {
            *count.entry(node.op.name).or_default() += 1;
        }
        count
    }

    /// By which numbers it computes.
    pub fn class(&self) -> NumericClass {
        self.class
    }

    /// Static cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Bytes of all inputs together, as [`crate::Model::run_bytes`] takes them.
    pub fn input_bytes(&self) -> usize {
        self.inputs.iter().map(ValueInfo::bytes).sum()
    }

    /// Bytes of all outputs together, as [`crate::Model::run_bytes`] gives them.
    pub fn output_bytes(&self) -> usize {
        self.outputs.iter().map(ValueInfo::bytes).sum()
    }

    /// The same graph with other constants of the same types.
    pub fn with_constants(&self, constants: Vec<Constant>) -> Graph {
        debug_assert!(
            constants.iter().zip(&self.constants).all(|(a, b)| TensorType::of(&a.tensor) == TensorType::of(&b.tensor))
        );
        Graph { constants, ..self.clone() }
    }

    /// The constant with this value number, if it is one.
    pub fn constant(&self, value: u32) -> Option<&Arc<Tensor>> {
        let index = (value as usize).checked_sub(self.inputs.len())?;
        self.constants.get(index).map(|c| &c.tensor)
    }
}

impl Node {
    /// Number of results, given the types of the node's inputs.
    pub(crate) fn output_range(&self, count: usize) -> core::ops::Range<usize> {
        self.first_output as usize..self.first_output as usize + count
    }
}

/// Types every node's results and numbers them.
fn infer_nodes(
    parts: Vec<(&'static OpSpec, Attributes, Vec<u32>)>,
    types: &mut Vec<TensorType>,
) -> Result<Vec<Node>, GraphError> {
    let mut nodes = Vec::with_capacity(parts.len());
    for (index, (op, attributes, inputs)) in parts.into_iter().enumerate() {
        let wrong = |reason| GraphError::Node { index, operator: op.name, reason };
        limit("number of a node's operands", inputs.len(), OPERANDS_MAX)?;
        let operands: Option<Vec<&TensorType>> = inputs.iter().map(|&v| types.get(v as usize)).collect();
        let operands = operands.ok_or_else(|| wrong("it reads a value that is not computed yet".into()))?;
        let results = op.infer_checked(&attributes, &operands).map_err(wrong)?;
        nodes.push(Node { op, attributes, inputs, first_output: types.len() as u32 });
        types.extend(results);
    }
    Ok(nodes)
}

fn limit(what: &'static str, got: usize, max: usize) -> Result<(), GraphError> {
    if got > max { Err(GraphError::Limit { what, got: got as u64, max: max as u64 }) } else { Ok(()) }
}

fn unique_names<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), GraphError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(GraphError::Structure(format!("two {what}s are named '{name}'")));
        }
    }
    Ok(())
}
