//! Disputes over an inference: the activations of a run under one Merkle root, and the judgement of one operator.
//!
//! A provider of an answer publishes its [`ActivationTrace`], of which a root is kept. Step 0 is the input, step `i + 1` the results of
//! node `i`, the step behind the last node the output. The leaf of a step is the hash of the leaf before it and of the step's
//! own values, so two traces that agree at a step agree at all before it, and [`crate::merkle::Bisection`] ends at the first
//! step that differs. [`judge`] executes that one step on operands opened against the root: no other part of the run
//! is needed, so a run of any size can be judged within a transaction.

use crate::bytes::Cursor;
use crate::merkle::{self, Proof};
use alloy_primitives::{B256, keccak256};
use lattice_inference::{Cost, Graph, Node, RunError, Tensor, ValueInfo, check_float_mode, element_count, last_uses};
use std::sync::Arc;
use thiserror::Error;

/// An opening was refused, or cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DisputeError {
    /// The opening is malformed, or does not belong to trace, graph or step.
    #[error("opening: {0}")]
    Opening(String),
    /// The input does not fit the model, or an operator refuses its operands.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Hashes of all values of a run, step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationTrace {
    /// keccak256 of the raw bytes of each value of a step: of the whole input, of each result of a node, of the whole output.
    pub steps: Vec<Vec<B256>>,
}

/// The content of a step's leaf: the leaf before it, then its values.
fn content(previous: &B256, values: &[B256]) -> Vec<u8> {
    let mut out = previous.to_vec();
    values.iter().for_each(|value| out.extend_from_slice(value.as_slice()));
    out
}

impl ActivationTrace {
    /// The leaves, each of which stands for all steps up to its own.
    pub fn leaves(&self) -> Vec<B256> {
        let mut leaf = B256::ZERO;
        let next = |values: &Vec<B256>| {
            leaf = merkle::leaf(&content(&leaf, values));
            leaf
        };
        self.steps.iter().map(next).collect()
    }

    /// Runs a graph node by node on raw input tensors, as [`lattice_inference::Model::run_bytes`] takes them: trace and output.
    pub fn of(graph: &Graph, input: &[u8]) -> Result<(ActivationTrace, Vec<u8>), DisputeError> {
        let mut run = Run::begin(graph, input)?;
        let mut steps = vec![vec![keccak256(input)]];
        for index in 0..graph.nodes().len() {
            steps.push(run.node(index)?.iter().map(keccak256).collect());
        }
        let output = run.output();
        steps.push(vec![keccak256(&output)]);
        Ok((ActivationTrace { steps }, output))
    }

    /// Merkle root over the leaves.
    pub fn root(&self) -> B256 {
        merkle::root(&self.leaves())
    }
}

/// Values of a run, kept while somebody reads them.
struct Run<'g> {
    graph: &'g Graph,
    values: Vec<Option<Arc<Tensor>>>,
    last_use: Vec<usize>,
}

impl<'g> Run<'g> {
    fn begin(graph: &'g Graph, input: &[u8]) -> Result<Run<'g>, DisputeError> {
        check_float_mode()?;
        let mut values: Vec<Option<Arc<Tensor>>> =
            inputs(graph, input)?.into_iter().map(|t| Some(Arc::new(t))).collect();
        values.extend(graph.constants().iter().map(|constant| Some(constant.tensor.clone())));
        values.resize(graph.types().len(), None);
        Ok(Run { graph, values, last_use: last_uses(graph) })
    }

    fn value(&self, value: u32) -> &Tensor {
        self.values[value as usize].as_ref().expect("a value is kept until its last use")
    }

    /// Executes node `index` and gives the raw bytes of its results.
    fn node(&mut self, index: usize) -> Result<Vec<Vec<u8>>, DisputeError> {
        let node = &self.graph.nodes()[index];
        let operands: Vec<&Tensor> = node.inputs.iter().map(|&value| self.value(value)).collect();
        let results = execute(node, index, &operands)?;
        let bytes = results.iter().map(Tensor::to_bytes).collect();
        for (value, mut tensor) in (node.first_output as usize..).zip(results) {
            // As a judge reads it, who has the bytes alone.
            tensor.canonicalize_nan();
            self.values[value] = Some(Arc::new(tensor));
        }
        for value in node.inputs.iter().map(|&value| value as usize).filter(|&value| self.last_use[value] <= index) {
            self.values[value] = None;
        }
        Ok(bytes)
    }

    fn output(&self) -> Vec<u8> {
        self.graph.output_values().iter().flat_map(|&value| self.value(value).to_bytes()).collect()
    }
}

fn execute(node: &Node, index: usize, operands: &[&Tensor]) -> Result<Vec<Tensor>, DisputeError> {
    let refused = |reason| RunError::Operator { index, operator: node.op.name, reason };
    Ok((node.op.run)(&node.attributes, operands).map_err(refused)?)
}

/// The input tensors out of the raw bytes of all of them.
fn inputs(graph: &Graph, bytes: &[u8]) -> Result<Vec<Tensor>, DisputeError> {
    if bytes.len() != graph.input_bytes() {
        let layout = graph.inputs().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(RunError::InputBytes { expected: graph.input_bytes(), got: bytes.len(), layout }.into());
    }
    let mut rest = bytes;
    let one = |info: &ValueInfo| {
        let (own, tail) = rest.split_at(info.bytes());
        rest = tail;
        let tensor = Tensor::from_bytes(info.dtype, info.shape.clone(), own);
        tensor.map_err(|reason| RunError::InputElement { name: info.name.clone(), reason }.into())
    };
    graph.inputs().iter().map(one).collect()
}

/// Steps of a graph's activation traces: the input, each node, the output.
pub fn steps(graph: &Graph) -> usize {
    graph.nodes().len() + 2
}

/// What the judgement of any one step of a graph takes at most, from shapes alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Gas of the costliest step: executing it, and hashing what it gives.
    pub gas: u64,
    /// Bytes of the longest opening.
    pub opening_bytes: u64,
    /// Hashes of a whole trace.
    pub hashes: u64,
}

/// Gas of a byte of a result: written out and hashed.
const RESULT_BYTE: u64 = 2;
/// Bytes of temporaries that one gas pays: packed weights.
const SCRATCH_BYTES_PER_GAS: u64 = 8;

impl Bounds {
    /// The bounds of a graph.
    pub fn of(graph: &Graph) -> Bounds {
        let steps = steps(graph);
        let proof = Proof::bytes(steps.next_power_of_two().ilog2() as usize) as u64;
        let leaf = |step: usize| 34 + 32 * values(graph, step) as u64 + proof;
        let bytes = |value: u32| graph.types()[value as usize].bytes() as u64;
        let mut bounds = Bounds { hashes: 1, ..Bounds::default() };
        for step in 1..steps {
            let (mut opening, mut copied) = (leaf(step) + 2, 0u64);
            for &value in operands_of(graph, step).iter().filter(|value| graph.constant(**value).is_none()) {
                let Some((source, _)) = source(graph, value) else { continue };
                let len = if source == 0 { graph.input_bytes() as u64 } else { bytes(value) };
                opening = opening.saturating_add(leaf(source) + 4).saturating_add(len);
                copied = copied.saturating_add(len);
            }
            let gas = match step - 1 {
                index if index < graph.nodes().len() => {
                    let cost = Cost::of_node(graph, index);
                    let first = graph.nodes()[index].first_output;
                    let results = (first..).take(values(graph, step)).map(bytes).sum::<u64>();
                    let scratch = cost.memory_bytes.saturating_sub(results) / SCRATCH_BYTES_PER_GAS;
                    cost.gas().saturating_add(results.saturating_mul(RESULT_BYTE)).saturating_add(scratch)
                }
                _ => (graph.output_bytes() as u64).saturating_mul(RESULT_BYTE),
            };
            bounds.gas = bounds.gas.max(gas.saturating_add(copied));
            bounds.opening_bytes = bounds.opening_bytes.max(opening);
            bounds.hashes += values(graph, step) as u64;
        }
        bounds
    }
}

/// Values of a step.
fn values(graph: &Graph, step: usize) -> usize {
    let nodes = graph.nodes();
    match step.checked_sub(1) {
        Some(index) if index < nodes.len() => {
            let end = nodes.get(index + 1).map_or(graph.types().len(), |next| next.first_output as usize);
            end - nodes[index].first_output as usize
        }
        _ => 1,
    }
}

/// Runs a graph and opens the first step at which somebody's trace is not what it gives; the first that reads an input that the
/// model refuses. `None` when all of it is right.
pub fn doubt(graph: &Graph, told: &ActivationTrace, input: &[u8]) -> Result<Option<OpenedStep>, DisputeError> {
    let open = |step: usize| OpenedStep::of(graph, told, input, step).map(Some);
    let mut run = match Run::begin(graph, input) {
        Ok(run) => run,
        Err(DisputeError::Run(RunError::InputElement { .. })) => {
            let reads = |step: &usize| operands_of(graph, *step).iter().any(|&v| (v as usize) < graph.inputs().len());
            return (1..steps(graph)).find(reads).map_or(Ok(None), open);
        }
        Err(error) => return Err(error),
    };
    for index in 0..graph.nodes().len() {
        match run.node(index) {
            Ok(results)
                if told
                    .steps
                    .get(index + 1)
                    .is_some_and(|told| results.iter().map(keccak256).eq(told.iter().copied())) => {}
            Err(error @ DisputeError::Run(RunError::FloatMode(_))) => return Err(error),
            // Other results, or results where there are none.
            _ => return open(index + 1),
        }
    }
    match told.steps.last() {
        Some(last) if *last == [keccak256(run.output())] => Ok(None),
        _ => open(steps(graph) - 1),
    }
}

/// The values that a step reads, by number.
fn operands_of(graph: &Graph, step: usize) -> &[u32] {
    match step.checked_sub(1) {
        Some(index) if index < graph.nodes().len() => &graph.nodes()[index].inputs,
        _ => graph.output_values(),
    }
}

/// Where a value that is no constant comes from: its step, and its place in it.
fn source(graph: &Graph, value: u32) -> Option<(usize, usize)> {
    if (value as usize) < graph.inputs().len() {
        return Some((0, value as usize));
    }
    let index = graph.nodes().partition_point(|node| node.first_output <= value).checked_sub(1)?;
    Some((index + 1, (value - graph.nodes()[index].first_output) as usize))
}

impl OpenedStep {
    /// Opens a step of one's own run: what [`judge`] needs. The trace may be anybody's that agrees on all steps before; its
    /// root is what the opening is proved against.
    pub fn of(graph: &Graph, trace: &ActivationTrace, input: &[u8], step: usize) -> Result<OpenedStep, DisputeError> {
        if step == 0 || step >= steps(graph) || trace.steps.len() != steps(graph) {
            return Err(DisputeError::Opening(format!("there is no step {step} of {} to judge", trace.steps.len())));
        }
        let leaves = trace.leaves();
        let open = |step: usize| OpenedLeaf {
            previous: step.checked_sub(1).map_or(B256::ZERO, |before| leaves[before]),
            values: trace.steps[step].clone(),
            proof: Proof::of(&leaves, step as u64).expect("every step has a leaf"),
        };
        let mut operands = Vec::new();
        let wanted: Vec<(u32, (usize, usize))> =
            operands_of(graph, step).iter().filter_map(|&value| Some((value, source(graph, value)?))).collect();
        let wanted: Vec<_> = wanted.into_iter().filter(|(value, _)| graph.constant(*value).is_none()).collect();
        // An input needs no run, and may be one that the model refuses.
        let mut run = None;
        if wanted.iter().any(|(_, (source, _))| *source > 0) {
            let mut begun = Run::begin(graph, input)?;
            // Kept until they are opened, also behind their last use.
            wanted.iter().for_each(|(value, _)| begun.last_use[*value as usize] = usize::MAX);
            (0..(step - 1).min(graph.nodes().len())).try_for_each(|index| begun.node(index).map(drop))?;
            run = Some(begun);
        }
        for (value, (source, _)) in wanted {
            let bytes = match &run {
                Some(run) if source > 0 => run.value(value).to_bytes(),
                _ => input.to_vec(),
            };
            operands.push(OpenedValue { leaf: open(source), bytes });
        }
        Ok(OpenedStep { claim: open(step), operands })
    }
}

/// A leaf with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedLeaf {
    /// The leaf before it.
    pub previous: B256,
    /// Hashes of the step's values.
    pub values: Vec<B256>,
    /// Its place under the root.
    pub proof: Proof,
}

/// A value with the leaf that commits to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedValue {
    /// The leaf of the step that made the value.
    pub leaf: OpenedLeaf,
    /// Its raw bytes; of an input, those of all inputs.
    pub bytes: Vec<u8>,
}

/// One step of a trace with all operands that are no constants of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedStep {
    /// The leaf of the step itself: what its provider says that it gives.
    pub claim: OpenedLeaf,
    /// The operands in the operator's order, constants left out.
    pub operands: Vec<OpenedValue>,
}

impl OpenedLeaf {
    /// Whether the leaf is under the root.
    fn check(&self, steps: usize, root: &B256) -> Result<(), DisputeError> {
        let leaf = merkle::leaf(&content(&self.previous, &self.values));
        match self.proof.leaves == steps as u64 && self.proof.proves(&leaf, root) {
            true => Ok(()),
            false => Err(DisputeError::Opening(format!("leaf {} is not under the root {root}", self.proof.index))),
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.previous.as_slice());
        out.extend_from_slice(&(self.values.len() as u16).to_le_bytes());
        self.values.iter().for_each(|value| out.extend_from_slice(value.as_slice()));
        self.proof.append(out);
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<OpenedLeaf, String> {
        let previous = cursor.hash("the leaf before")?;
        let count = cursor.u16("the number of values")?;
        let values = (0..count).map(|_| cursor.hash("a value's hash")).collect::<Result<_, _>>()?;
        Ok(OpenedLeaf { previous, values, proof: Proof::read(cursor)? })
    }
}

impl OpenedStep {
    /// Its bytes: the claim, the number of operands u16, each its leaf, its length u32 and its bytes. A leaf is the one before,
    /// the number of values u16, their hashes, and the proof.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.claim.append(&mut out);
        out.extend_from_slice(&(self.operands.len() as u16).to_le_bytes());
        for operand in &self.operands {
            operand.leaf.append(&mut out);
            out.extend_from_slice(&(operand.bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&operand.bytes);
        }
        out
    }

    /// Reads what [`OpenedStep::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<OpenedStep, DisputeError> {
        let read = || -> Result<OpenedStep, String> {
            let mut cursor = Cursor::new(bytes);
            let claim = OpenedLeaf::read(&mut cursor)?;
            let count = cursor.u16("the number of operands")?;
            let mut operands = Vec::new();
            for _ in 0..count {
                let leaf = OpenedLeaf::read(&mut cursor)?;
                let len = cursor.u32("the length of an operand")? as usize;
                operands.push(OpenedValue { leaf, bytes: cursor.take(len, "an operand")?.to_vec() });
            }
            cursor.finish()?;
            Ok(OpenedStep { claim, operands })
        };
        read().map_err(DisputeError::Opening)
    }
}

/// Whether the step that an opening claims follows from its operands. An error says that the opening proves nothing: it is
/// malformed, or not under the root. An operator that refuses its operands has no right result.
pub fn judge(graph: &Graph, root: &B256, opened: &OpenedStep) -> Result<bool, DisputeError> {
    check_float_mode()?;
    let wrong = |reason: String| DisputeError::Opening(reason);
    let steps = steps(graph);
    opened.claim.check(steps, root)?;
    let step = usize::try_from(opened.claim.proof.index).map_err(|e| wrong(e.to_string()))?;
    if step == 0 {
        return Err(wrong("step 0 is the input, which follows from nothing".into()));
    }
    let mut given = opened.operands.iter();
    let mut operands = Vec::new();
    for &value in operands_of(graph, step) {
        if let Some(constant) = graph.constant(value) {
            operands.push(constant.clone());
            continue;
        }
        let operand = given.next().ok_or_else(|| wrong("an operand is missing".into()))?;
        let (source, place) = source(graph, value).ok_or_else(|| wrong("a value has no source".into()))?;
        operand.leaf.check(steps, root)?;
        if operand.leaf.proof.index != source as u64 {
            return Err(wrong(format!("an operand is of step {}, not of {source}", operand.leaf.proof.index)));
        }
        let hash = operand.leaf.values.get(if source == 0 { 0 } else { place });
        if hash != Some(&keccak256(&operand.bytes)) {
            return Err(wrong(format!("the bytes of an operand are not those of step {source}")));
        }
        operands.push(Arc::new(match source {
            0 => inputs(graph, &operand.bytes)?.swap_remove(place),
            _ => {
                let ty = &graph.types()[value as usize];
                let expected = element_count(ty.dtype, &ty.shape).map_or(0, |count| count * ty.dtype.size_bytes());
                // A value of another length is its provider's lie: nothing follows from it.
                if expected != operand.bytes.len() {
                    return Ok(false);
                }
                match Tensor::from_bytes(ty.dtype, ty.shape.clone(), &operand.bytes) {
                    Ok(tensor) => tensor,
                    Err(_) => return Ok(false),
                }
            }
        }));
    }
    if given.next().is_some() {
        return Err(wrong("more operands are opened than the step reads".into()));
    }
    let results = match step - 1 {
        index if index < graph.nodes().len() => {
            let operands: Vec<&Tensor> = operands.iter().map(AsRef::as_ref).collect();
            match execute(&graph.nodes()[index], index, &operands) {
                Ok(results) => results.iter().map(|tensor| keccak256(tensor.to_bytes())).collect(),
                Err(_) => return Ok(false),
            }
        }
        _ => vec![keccak256(operands.iter().flat_map(|tensor| tensor.to_bytes()).collect::<Vec<u8>>())],
    };
    Ok(results == opened.claim.values)
}

#[cfg(test)]
mod tests;
