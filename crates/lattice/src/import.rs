//! Model files into frozen graphs, by the node's own importer.

use crate::{
    failure::{Failure, read_file},
    tensors::{self, RawInput},
};
use lattice_import::{DeclaredInput, ImportError, ImportOptions, declared_inputs, import_model};
use lattice_inference::{Graph, Tensor};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

/// Bytes that every frozen graph begins with.
const GRAPH_MAGIC: &[u8] = b"LATG";
/// An input with more elements is data, not a parameter of the graph.
const CONSTANT_ELEMENTS_MAX: usize = 16;

/// The digits classifier, trained by `models/` on scikit-learn's bundled digits.
const DIGITS: &[u8] = include_bytes!("../../../models/digits.onnx");

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

/// Reads a model file, by its content: ONNX, TensorFlow Lite, or a frozen graph's canonical bytes.
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
    import_model(bytes, &options).map_err(|error| refused(path, &error))
}

/// The bundled digits classifier.
pub fn digits() -> Result<Graph, Failure> {
    bytes_to_graph(Path::new("models/digits.onnx"), DIGITS, Shapes::new(), BTreeMap::new())
}

/// A graph whose dynamic shapes are those of the inputs at hand, and the inputs that are left to bind.
///
/// Small integer inputs (a sampling rate, a target shape) on which shapes depend become constants of the graph, when
/// the importer refuses it otherwise.
pub fn for_inputs(path: &Path, bytes: &[u8], raw: Vec<RawInput>) -> Result<(Graph, Vec<RawInput>), Failure> {
    let declared = match declared_inputs(bytes) {
        Ok(declared) if !declared.is_empty() && !bytes.starts_with(GRAPH_MAGIC) => declared,
        // A frozen graph has its shapes; a file without inputs, or of no known format, is for the importer to judge.
        _ => return bytes_to_graph(path, bytes, Shapes::new(), BTreeMap::new()).map(|graph| (graph, raw)),
    };
    let names: Vec<&str> = declared.iter().map(|input| input.name.as_str()).collect();
    let raw = in_order(raw, &names)?;
    let refusal = match bytes_to_graph(path, bytes, shapes(&raw, &declared)?, BTreeMap::new()) {
        Ok(graph) => return Ok((graph, raw)),
        Err(refusal) => refusal,
    };
    let mut constants = BTreeMap::new();
    let mut left = Vec::new();
    for (input, declared) in raw.into_iter().zip(&declared) {
        match declared.dtype {
            Some(dtype) if !dtype.is_float() && input.element_count() <= CONSTANT_ELEMENTS_MAX => {
                constants.insert(declared.name.clone(), input.to_tensor(dtype, None)?);
            }
            _ => left.push(input),
        }
    }
    if constants.is_empty() {
        return Err(refusal);
    }
    // The first refusal tells more about the model than one under bound constants.
    bytes_to_graph(path, bytes, shapes(&left, &declared)?, constants).map(|graph| (graph, left)).map_err(|_| refusal)
}

/// Gives every declared input its raw one, under its name.
fn in_order(raw: Vec<RawInput>, names: &[&str]) -> Result<Vec<RawInput>, Failure> {
    let order = tensors::assign(&raw, names)?;
    let one = |(name, index): (&&str, Option<usize>)| match index {
        Some(index) => Ok(raw[index].clone().with_name(name)),
        None => Err(Failure::new(format!("input '{name}' is missing; the model has {}", names.join(", ")))
            .next(format!("add --input {name}=FILE"))),
    };
    names.iter().zip(order).map(one).collect()
}

/// The shapes of named inputs, each with the leading 1 that its tensor leaves out.
fn shapes(raw: &[RawInput], declared: &[DeclaredInput]) -> Result<Shapes, Failure> {
    let mut shapes = Shapes::new();
    for input in declared {
        let Some(found) = raw.iter().find(|raw| raw.name() == Some(&input.name)) else { continue };
        let mut shape = found.shape()?;
        if input.rank == Some(shape.len() + 1) {
            shape.insert(0, 1);
        }
        shapes.insert(input.name.clone(), shape);
    }
    Ok(shapes)
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
        ImportError::Input { name, reason } => failure.facts(json!({ "input": name, "reason": reason })),
        _ => failure,
    }
}
