//! Model files into frozen graphs, by the node's own importer.

use crate::{
    failure::{Failure, read_file},
    tensors::{self, RawInput},
};
use lattice_inference::{Graph, ImportError, ImportOptions, Tensor, import_onnx};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

/// Bytes that every frozen graph begins with.
const GRAPH_MAGIC: &[u8] = b"LATG";

/// Shapes of inputs by their names.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Reads `name=1,128`; `name=` is a scalar.
pub fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let malformed = || format!("{text:?} is no shape: write one like ids=1,128");
    let (name, dims) = text.rsplit_once('=').ok_or_else(malformed)?;
    let dims = dims.trim_matches(['[', ']']);
    let parsed: Result<Vec<usize>, _> = dims.split([',', 'x']).filter(|dim| !dim.is_empty()).map(str::parse).collect();
    if name.is_empty() {
        return Err(malformed());
    }
    parsed.map(|shape| (name.to_owned(), shape)).map_err(|_| malformed())
}

/// Reads a model file: ONNX, or a frozen graph's canonical bytes.
pub fn file(path: &Path, shapes: Shapes, constants: &[String]) -> Result<Graph, Failure> {
    let bytes = read_file(path)?;
    let constants = read_constants(constants)?;
    bytes_to_graph(path, &bytes, shapes, constants)
}

/// The same from bytes that were read before; `path` is for messages.
pub fn bytes_to_graph(
    path: &Path,
    bytes: &[u8],
    shapes: Shapes,
    constants: BTreeMap<String, Tensor>,
) -> Result<Graph, Failure> {
    if bytes.starts_with(GRAPH_MAGIC) {
        return Graph::decode(bytes).map_err(|error| Failure::new(format!("{}: {error}", path.display())));
    }
    let options = ImportOptions { shapes, constants, ..ImportOptions::default() };
    import_onnx(bytes, &options).map_err(|error| refused(path, &error))
}

/// A graph whose dynamic shapes are those of the inputs at hand, and the inputs that are left to bind.
///
/// Small integer inputs (a sampling rate, a target length) on which shapes depend become constants of the graph, when
/// the importer refuses the graph otherwise.
pub fn for_inputs(path: &Path, bytes: &[u8], raw: Vec<RawInput>) -> Result<(Graph, Vec<RawInput>), Failure> {
    let none = BTreeMap::new;
    let first = match bytes_to_graph(path, bytes, Shapes::new(), none()) {
        Ok(graph) => {
            let shapes = other_shapes(&graph, &raw)?;
            if shapes.is_empty() || bytes.starts_with(GRAPH_MAGIC) {
                return Ok((graph, raw));
            }
            bytes_to_graph(path, bytes, shapes, none())
        }
        Err(_) => bytes_to_graph(path, bytes, named_shapes(&raw)?, none()),
    };
    let refusal = match first {
        Ok(graph) => return Ok((graph, raw)),
        Err(refusal) => refusal,
    };
    let (constants, left): (Vec<RawInput>, Vec<RawInput>) = raw.into_iter().partition(RawInput::is_named_small_integer);
    if constants.is_empty() {
        return Err(refusal);
    }
    let mut values = BTreeMap::new();
    for input in constants {
        let name = input.name().expect("only named inputs were taken").to_owned();
        values.insert(name, input.to_own_tensor()?);
    }
    // The first refusal tells more about the model than one under bound constants.
    bytes_to_graph(path, bytes, named_shapes(&left)?, values).map(|graph| (graph, left)).map_err(|_| refusal)
}

/// The shapes in which the inputs differ from the graph's.
fn other_shapes(graph: &Graph, raw: &[RawInput]) -> Result<Shapes, Failure> {
    let names: Vec<&str> = graph.inputs().iter().map(|info| info.name.as_str()).collect();
    let mut shapes = Shapes::new();
    for (info, index) in graph.inputs().iter().zip(tensors::assign(raw, &names)?) {
        let Some(index) = index else { continue };
        let own = raw[index].shape()?;
        // Of another rank it cannot be the same input: binding tells so.
        if own.len() == info.shape.len() && own != info.shape {
            shapes.insert(info.name.clone(), own);
        }
    }
    Ok(shapes)
}

fn named_shapes(raw: &[RawInput]) -> Result<Shapes, Failure> {
    raw.iter()
        .filter_map(|input| Some((input.name()?.to_owned(), input)))
        .map(|(name, input)| Ok((name, input.shape()?)))
        .collect()
}

/// Parses `--constant` arguments.
fn read_constants(args: &[String]) -> Result<BTreeMap<String, Tensor>, Failure> {
    let mut out = BTreeMap::new();
    for arg in args {
        let input = tensors::inline_or_file(arg)?;
        let name = input.name().unwrap_or_default().to_owned();
        if out.insert(name, input.to_own_tensor()?).is_some() {
            return Err(Failure::usage(format!("--constant {arg}: the input has a value already")));
        }
    }
    Ok(out)
}

/// The importer's refusal, with the operator or input that it names as facts.
fn refused(path: &Path, error: &ImportError) -> Failure {
    let failure = Failure::new(format!("{}: {error}", path.display()));
    match error {
        ImportError::UnsupportedOperator { node, operator } => failure
            .next("replace the operator in the model, or fold it away before the export")
            .facts(json!({ "unsupported": [{ "node": node, "operator": operator, "reason": error.to_string() }] })),
        ImportError::Node { node, operator, reason } => {
            failure.facts(json!({ "unsupported": [{ "node": node, "operator": operator, "reason": reason }] }))
        }
        ImportError::Input { name, reason } => failure
            .next(format!("fix its shape with --shape {name}=…, or its value with --constant {name}=…"))
            .facts(json!({ "input": name, "reason": reason })),
        _ => failure,
    }
}
