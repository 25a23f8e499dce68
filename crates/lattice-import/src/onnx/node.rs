//! One ONNX node while it is lowered: its operands, its attributes, its subgraphs.

use super::import::Scope;
use super::proto::{AttributeProto, GraphProto, NodeProto, attribute_kind};
use super::tensors::tensor_of;
use core::cell::Cell;
use lattice_inference::Tensor;
use lattice_inference::ops::{Attributes, OpResult, OpSpec};
use lattice_inference::{GraphBuilder, Value};

/// A node, the values it reads, and the graph under construction.
pub(crate) struct NodeContext<'a> {
    pub(crate) builder: &'a mut GraphBuilder,
    pub(crate) proto: &'a NodeProto,
    /// Version of the node's operator set.
    pub(crate) opset: i64,
    pub(crate) inputs: Vec<Option<Value>>,
    /// Bits of the operands that were asked for.
    pub(super) read: Cell<u64>,
    /// Names visible here, for subgraphs.
    pub(crate) scope: &'a Scope<'a>,
}

impl core::ops::Deref for NodeContext<'_> {
    type Target = GraphBuilder;

    fn deref(&self) -> &GraphBuilder {
        self.builder
    }
}

impl core::ops::DerefMut for NodeContext<'_> {
    fn deref_mut(&mut self) -> &mut GraphBuilder {
        self.builder
    }
}

impl NodeContext<'_> {
    /// Operand `at`; an absent one is an error.
    pub(crate) fn input(&self, at: usize) -> OpResult<Value> {
        self.optional(at).ok_or_else(|| format!("operand {at} is missing"))
    }

    /// Operand `at`, when it is given.
    pub(crate) fn optional(&self, at: usize) -> Option<Value> {
        self.mark_read(at);
        self.inputs.get(at).copied().flatten()
    }

    /// Operand `at` is understood: it was asked for, or it may be given and changes nothing.
    pub(crate) fn mark_read(&self, at: usize) {
        self.read.set(self.read.get() | 1 << at.min(63));
    }

    /// The first operand that is given, but was not asked for: nobody knows what it means.
    pub(crate) fn unread(&self) -> Option<usize> {
        (0..self.inputs.len().min(63)).find(|&at| self.inputs[at].is_some() && self.read.get() & 1 << at == 0)
    }

    /// All operands, none missing.
    pub(crate) fn all_inputs(&self) -> OpResult<Vec<Value>> {
        (0..self.inputs.len()).map(|at| self.input(at)).collect()
    }

    /// True when result `at` is used by somebody.
    pub(crate) fn wants_output(&self, at: usize) -> bool {
        self.proto.output.get(at).is_some_and(|name| !name.is_empty())
    }

    pub(crate) fn shape(&self, value: Value) -> Vec<usize> {
        self.builder.shape(value).to_vec()
    }

    pub(crate) fn rank(&self, value: Value) -> usize {
        self.builder.shape(value).len()
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    fn typed(&self, name: &str, kind: i32, text: &str) -> OpResult<Option<&AttributeProto>> {
        match self.attribute(name) {
            // Files older than the kind field leave it 0.
            Some(a) if a.kind != kind && a.kind != 0 => Err(format!("attribute '{name}' must be {text}")),
            found => Ok(found),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(crate) fn int_or_none(&self, name: &str) -> OpResult<Option<i64>> {
        Ok(self.typed(name, attribute_kind::INT, "an integer")?.map(|a| a.i))
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> OpResult<i64> {
        Ok(self.int_or_none(name)?.unwrap_or(default))
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> OpResult<bool> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> OpResult<f32> {
        Ok(self.typed(name, attribute_kind::FLOAT, "a number")?.map_or(default, |a| a.f))
    }

    pub(crate) fn floats(&self, name: &str) -> OpResult<Option<Vec<f32>>> {
        Ok(self.typed(name, attribute_kind::FLOATS, "a list of numbers")?.map(|a| a.floats.clone()))
    }

    pub(crate) fn ints(&self, name: &str) -> OpResult<Option<Vec<i64>>> {
        Ok(self.typed(name, attribute_kind::INTS, "a list of integers")?.map(|a| a.ints.clone()))
    }

    pub(crate) fn text(&self, name: &str, default: &str) -> OpResult<String> {
        match self.typed(name, attribute_kind::STRING, "a text")? {
            Some(a) => String::from_utf8(a.s.clone()).map_err(|_| format!("attribute '{name}' is not UTF-8")),
            None => Ok(default.into()),
        }
    }

    pub(crate) fn texts(&self, name: &str) -> OpResult<Option<Vec<String>>> {
        let read = |s: &Vec<u8>| String::from_utf8(s.clone()).map_err(|_| format!("attribute '{name}' is not UTF-8"));
        self.attribute(name).map(|a| a.strings.iter().map(read).collect()).transpose()
    }

    pub(crate) fn tensor_attribute(&self, name: &str) -> OpResult<Option<Tensor>> {
        match self.typed(name, attribute_kind::TENSOR, "a tensor")? {
            Some(a) => {
                let proto = a.t.as_ref().ok_or_else(|| format!("attribute '{name}' holds no tensor"))?;
                tensor_of(proto).map(Some).map_err(|e| format!("attribute '{name}': {e}"))
            }
            None => Ok(None),
        }
    }

    pub(crate) fn graph_attribute(&self, name: &str) -> OpResult<&GraphProto> {
        let attribute = self.typed(name, attribute_kind::GRAPH, "a graph")?;
        attribute.and_then(|a| a.g.as_deref()).ok_or_else(|| format!("attribute '{name}' holds no graph"))
    }

    /// The tensor of an operand that must be constant: the frozen graph has no data-dependent shapes.
    pub(crate) fn constant(&self, value: Value, what: &str) -> OpResult<Tensor> {
        let tensor = self.builder.tensor(value).map(|t| t.as_ref().clone());
        tensor.ok_or_else(|| format!("its {what} depends on the input data; only values known at import are supported"))
    }

    /// Integers of an operand that must be constant.
    pub(crate) fn constant_ints(&self, value: Value, what: &str) -> OpResult<Vec<i64>> {
        self.constant(value, what)?.to_i64s().ok_or_else(|| format!("its {what} must be integers"))
    }

    /// The single number of an operand that must be constant.
    pub(crate) fn constant_number(&self, value: Value, what: &str) -> OpResult<f64> {
        match self.constant(value, what)?.to_f64s().as_slice() {
            [one] => Ok(*one),
            many => Err(format!("its {what} must be one number, got {}", many.len())),
        }
    }

    /// An axis, counted from the end when negative.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> OpResult<usize> {
        let from_end = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        let resolved = from_end.and_then(|a| usize::try_from(a).ok()).filter(|&a| a < rank);
        resolved.ok_or_else(|| format!("axis {axis} is out of range for rank {rank}"))
    }

    /// Axes, sorted, each at most once.
    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> OpResult<Vec<usize>> {
        let mut resolved = axes.iter().map(|&a| self.axis(a, rank)).collect::<OpResult<Vec<_>>>()?;
        resolved.sort_unstable();
        if resolved.windows(2).any(|w| w[0] == w[1]) {
            return Err(format!("axes {axes:?} repeat"));
        }
        Ok(resolved)
    }

    /// A node with one result.
    pub(crate) fn emit(&mut self, op: &'static OpSpec, attributes: Attributes, inputs: &[Value]) -> OpResult<Value> {
        self.builder.emit1(op, attributes, inputs)
    }
}
