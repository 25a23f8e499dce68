//! What a loaded model does with the integers of its graph: weights packed, rescaling and tables done where sums are made,
//! chains of functions of one byte as one table. It changes speed only: what a step leaves has the bits of its nodes.

use super::bytes::{bytes_of, row_sums};
use super::isa::Isa;
use super::maximum::Maximum;
use super::moved::Moved;
use super::requantize::{Follower, REQUANTIZE, into_data};
use super::{conv, matmul, pairs, table};
use crate::cost::node_results;
use crate::graph::{Graph, Node};
use crate::ops::conv::Geometry;
use crate::ops::{Attributes, OpResult, OpSpec, cast, gather, movement, pool, reduce, tensor};
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeMap;

/// Some nodes of one operand, ready to run.
#[derive(Clone, Debug)]
pub(crate) enum Prepared {
    MatMul(Box<matmul::Prepared>),
    Conv(Box<conv::Prepared>),
    /// A convolution of single places, as a product of [batch, channels], and the result's shape.
    Places(Box<matmul::Prepared>, Vec<usize>),
    /// A function of every byte.
    Table(Tensor),
    /// The sums of rows of so many bytes, and the shape of all sums.
    RowSums(usize, Vec<usize>),
    /// Largest bytes of windows, and the result's shape.
    Maximum(Maximum, Vec<usize>),
    /// Rows in other places, and the result's shape.
    Moved(Moved, Vec<usize>),
}

impl Prepared {
    /// The result for one operand.
    pub(crate) fn run(&self, x: &Tensor, scratch: &mut conv::Scratch) -> OpResult<Tensor> {
        match self {
            Prepared::MatMul(product) => product.run(x),
            Prepared::Conv(conv) => conv.run(x, scratch),
            Prepared::Places(product, shape) => {
                let y = product.run(&tensor(&x.shape()[..2], x.data().clone())?)?;
                tensor(shape, y.into_data())
            }
            Prepared::Table(entries) => table::run_table(x, entries),
            Prepared::RowSums(columns, shape) => {
                let bytes = bytes_of(x.data())?;
                let mut sums = vec![0; shape.iter().product()];
                if *columns > 0 {
                    let moved = if bytes.flip == 0 { 0 } else { 128 };
                    row_sums(Isa::detect(), bytes, *columns, moved, &mut sums);
                }
                tensor(shape, Data::I32(sums))
            }
            Prepared::Maximum(maximum, shape) => maximum.run(x, shape),
            Prepared::Moved(moved, shape) => moved.run(x, shape),
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Prepared::MatMul(product) | Prepared::Places(product, _) => product.bytes(),
            Prepared::Conv(conv) => conv.bytes(),
            Prepared::Table(entries) => entries.size_bytes(),
            Prepared::RowSums(..) | Prepared::Maximum(..) => 0,
            Prepared::Moved(moved, _) => moved.bytes(),
        }
    }
}

/// A step in place of one or more nodes.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) prepared: Prepared,
    pub(crate) input: u32,
    pub(crate) output: u32,
    /// Results of further nodes that the step stands for.
    pub(crate) covers: Vec<u32>,
}

/// Which nodes read a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Nobody,
    Node(usize),
    /// More than one, or the graph's caller.
    Several,
}

/// A graph with its functions of one byte put together.
#[derive(Debug)]
pub(crate) struct Plan<'g> {
    graph: &'g Graph,
    /// Values that are functions of one 8-bit value: which, and the entries for its 256 bytes.
    functions: BTreeMap<u32, (u32, Tensor)>,
    readers: Vec<Reader>,
    needed: Vec<bool>,
}

impl<'g> Plan<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Plan<'g> {
        let mut plan = Plan {
            graph,
            functions: BTreeMap::new(),
            readers: vec![Reader::Nobody; graph.types().len()],
            needed: vec![false; graph.nodes().len()],
        };
        for node in graph.nodes() {
            if let Some(function) = plan.function(node) {
                plan.functions.insert(node.first_output, function);
            }
        }
        graph.output_values().iter().for_each(|&v| plan.readers[v as usize] = Reader::Several);
        for (index, node) in graph.nodes().iter().enumerate().rev() {
            let results = node.output_range(node_results(graph, index));
            plan.needed[index] = plan.readers[results].iter().any(|reader| *reader != Reader::Nobody);
            if plan.needed[index] {
                let inputs = match plan.functions.get(&node.first_output) {
                    Some((source, _)) => vec![*source],
                    None => node.inputs.clone(),
                };
                for v in inputs {
                    let reader = &mut plan.readers[v as usize];
                    *reader = if *reader == Reader::Nobody { Reader::Node(index) } else { Reader::Several };
                }
            }
        }
        plan
    }

    /// Whether a node has to run, once chains of functions are one table.
    pub(crate) fn needs(&self, index: usize) -> bool {
        self.needed[index]
    }

    /// A node's result as a function of one byte.
    fn function(&self, node: &Node) -> Option<(u32, Tensor)> {
        let is = |op: &OpSpec| node.op.code == op.code;
        if !is(&table::TABLE) && !is(&pairs::INTEGER_ADD) && !is(&pairs::INTEGER_MUL) {
            return None;
        }
        let types = self.graph.types();
        let (mut source, mut operands) = (None, Vec::new());
        for (i, &v) in node.inputs.iter().enumerate() {
            if let Some(constant) = self.graph.constant(v) {
                let is_entries = is(&table::TABLE) && i == 1;
                if !is_entries && constant.len() != 1 {
                    return None;
                }
                let shape: &[usize] = if is_entries { &[256] } else { &[] };
                operands.push(Tensor::new(shape, constant.data().clone()).ok()?);
                continue;
            }
            let (from, function) = match self.functions.get(&v) {
                Some(known) => known.clone(),
                None => (v, Tensor::new([256], into_data(types[v as usize].dtype, (0..=255).collect()).ok()?).ok()?),
            };
            let is_other = source.replace(from).is_some_and(|source| source != from);
            if is_other || types[v as usize].shape != types[node.first_output as usize].shape {
                return None;
            }
            operands.push(function);
        }
        let results = (node.op.run)(&node.attributes, &operands.iter().collect::<Vec<_>>()).ok()?;
        Some((source?, results.into_iter().next()?))
    }

    /// The node that alone reads a value, if it is of this kind.
    fn sole_reader(&self, value: u32, op: &OpSpec) -> Option<&'g Node> {
        let Reader::Node(index) = self.readers[value as usize] else { return None };
        Some(&self.graph.nodes()[index]).filter(|node| node.op.code == op.code)
    }

    /// A step for a node, and for what follows it.
    pub(crate) fn step(&self, index: usize) -> OpResult<Option<Step>> {
        let node = &self.graph.nodes()[index];
        if let Some((source, entries)) = self.functions.get(&node.first_output) {
            let prepared = Prepared::Table(entries.clone());
            return Ok(Some(Step { prepared, input: *source, output: node.first_output, covers: Vec::new() }));
        }
        match node.op.code {
            code if code == cast::CAST.code => Ok(self.row_sums(node)),
            code if [gather::GATHER.code, movement::TRANSPOSE.code, pool::MAX_POOL.code].contains(&code) => {
                Ok(self.bytes(node))
            }
            code if code == matmul::INTEGER_MATMUL.code || code == conv::INTEGER_CONV.code => self.product(node),
            _ => Ok(None),
        }
    }

    /// A product or convolution by constant weights, the rescaling that alone reads its sums, and the table after that.
    fn product(&self, node: &Node) -> OpResult<Option<Step>> {
        let graph = self.graph;
        let [x, rest @ ..] = &node.inputs[..] else { return Ok(None) };
        let constants: Option<Vec<&Tensor>> = rest.iter().map(|&v| graph.constant(v).map(AsRef::as_ref)).collect();
        let Some([x_zero, w, w_zero]) = constants.as_deref() else { return Ok(None) };
        let is_conv = node.op.code == conv::INTEGER_CONV.code;
        // Where the rules lie along another axis than the kernel's, the two nodes stay apart.
        let rank = graph.types()[node.first_output as usize].shape.len();
        let along = if is_conv { 1 } else { rank.saturating_sub(1) };
        let rescaling = self.sole_reader(node.first_output, &REQUANTIZE).and_then(|next| {
            let rules = graph.constant(next.inputs[1])?.as_ref();
            let fits = rules.shape()[0] == 1 || next.attributes.read_size(0) == Ok(along);
            fits.then_some((next, rules))
        });
        let (mut output, mut covers, mut follower) = (node.first_output, Vec::new(), None);
        if let Some((next, rules)) = rescaling {
            covers.push(next.first_output);
            output = next.first_output;
            let function = match self.readers[output as usize] {
                Reader::Node(reader) => self.functions.get(&graph.nodes()[reader].first_output),
                _ => None,
            };
            follower =
                Some(Follower { attributes: &next.attributes, rules, table: function.map(|(_, entries)| entries) });
            if let (Reader::Node(reader), true) = (self.readers[output as usize], function.is_some()) {
                output = graph.nodes()[reader].first_output;
                covers.push(output);
            }
        }
        let prepared = if is_conv {
            let shape = &graph.types()[*x as usize].shape;
            let is_place = shape[2..].iter().chain(&w.shape()[2..]).all(|&size| size == 1);
            let sums = &graph.types()[node.first_output as usize].shape;
            let no_pads = Geometry::read(&node.attributes)?.pads_before.iter().all(|&pad| pad == 0);
            if is_place && no_pads && shape[1] == w.shape()[1] && shape[2..] == sums[2..] {
                let columns = movement::TRANSPOSE.run;
                let rows = tensor(&w.shape()[..2], w.data().clone())?;
                let b = columns(&Attributes::none().sizes(&[1, 0]), &[&rows])?.remove(0);
                if let Some(product) = matmul::Prepared::new(x_zero, &b, w_zero, follower)? {
                    let prepared = Prepared::Places(Box::new(product), sums.clone());
                    return Ok(Some(Step { prepared, input: *x, output, covers }));
                }
            }
            Prepared::Conv(Box::new(conv::Prepared::new(&node.attributes, shape, x_zero, w, w_zero, follower)?))
        } else {
            let Some(product) = matmul::Prepared::new(x_zero, w, w_zero, follower)? else { return Ok(None) };
            Prepared::MatMul(Box::new(product))
        };
        Ok(Some(Step { prepared, input: *x, output, covers }))
    }

    /// Bytes that change their places by whole rows, or are the largest of windows.
    fn bytes(&self, node: &Node) -> Option<Step> {
        let x = &self.graph.types()[node.inputs[0] as usize];
        if !matches!(x.dtype, DType::I8 | DType::U8) {
            return None;
        }
        let shape = self.graph.types()[node.first_output as usize].shape.clone();
        let prepared = if node.op.code == movement::TRANSPOSE.code {
            Prepared::Moved(Moved::transposed(&node.attributes, &x.shape)?, shape)
        } else if node.op.code == pool::MAX_POOL.code {
            Prepared::Maximum(Maximum::new(&node.attributes, &x.shape)?, shape)
        } else {
            let last = x.shape.len().checked_sub(1)?;
            let indices = self.graph.constant(node.inputs[1])?.to_i64s()?;
            let is_last = node.attributes.read_axis(0, x.shape.len()) == Ok(last);
            Prepared::Moved(Moved::repeated(x.shape[last], &indices).filter(|_| is_last)?, shape)
        };
        Some(Step { prepared, input: node.inputs[0], output: node.first_output, covers: Vec::new() })
    }

    /// Bytes widened only to be summed over the last dimensions.
    fn row_sums(&self, node: &Node) -> Option<Step> {
        let (types, sum) = (self.graph.types(), self.sole_reader(node.first_output, &reduce::SUM)?);
        let [x, wide] = [node.inputs[0], node.first_output].map(|v| &types[v as usize]);
        let axes = sum.attributes.read_axes(0, x.shape.len()).ok()?;
        let first = x.shape.len() - axes.len();
        let fits = matches!(x.dtype, DType::I8 | DType::U8) && wide.dtype == DType::I32;
        if !fits || axes.iter().enumerate().any(|(i, &axis)| axis != first + i) {
            return None;
        }
        let shape = types[sum.first_output as usize].shape.clone();
        let prepared = Prepared::RowSums(x.shape[first..].iter().product(), shape);
        Some(Step { prepared, input: node.inputs[0], output: sum.first_output, covers: vec![sum.first_output] })
    }
}
