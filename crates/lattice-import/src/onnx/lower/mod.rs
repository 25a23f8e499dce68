//! ONNX operators, one file a family, each with its table of names and lowering functions.

mod activation;
mod arithmetic;
mod constant;
mod control;
mod fourier;
mod indexing;
mod linear;
mod normalization;
mod quantize;
mod quantized;
mod recurrent;
mod reduction;
mod resize;
mod shape;

use super::node::NodeContext;
use lattice_inference::Value;
use lattice_inference::ops::OpResult;

/// Newest version of the default operator set that the importer knows.
pub(super) const OPSET_MAX: i64 = 25;

/// Translates one node into nodes of the frozen graph and gives its results.
pub(super) type Lower = fn(&mut NodeContext<'_>) -> OpResult<Vec<Value>>;

/// One ONNX operator.
pub(crate) struct Entry {
    pub(super) name: &'static str,
    pub(super) lower: Lower,
    /// f16 and bf16 operands are widened to f32 around it; operators that only move elements take them as they are.
    pub(super) widens_halves: bool,
}

/// An operator that computes.
const fn computes(name: &'static str, lower: Lower) -> Entry {
    Entry { name, lower, widens_halves: true }
}

/// An operator that only moves or names elements.
const fn moves(name: &'static str, lower: Lower) -> Entry {
    Entry { name, lower, widens_halves: false }
}

/// Tables of the default domain.
static FAMILIES: &[&[Entry]] = &[
    arithmetic::TABLE,
    activation::TABLE,
    constant::TABLE,
    control::TABLE,
    fourier::TABLE,
    linear::TABLE,
    normalization::TABLE,
    quantize::TABLE,
    quantized::TABLE,
    recurrent::TABLE,
    reduction::TABLE,
    indexing::TABLE,
    resize::TABLE,
    shape::TABLE,
];

/// Tables of com.microsoft, the domain of ONNX Runtime's own operators.
static MICROSOFT: &[&[Entry]] =
    &[activation::MICROSOFT, linear::MICROSOFT, normalization::MICROSOFT, quantized::MICROSOFT, recurrent::MICROSOFT];

/// The entry of an operator; `domain` is empty for the default one.
pub(super) fn find(domain: &str, name: &str) -> Option<&'static Entry> {
    let families = match domain {
        "" => FAMILIES,
        "com.microsoft" => MICROSOFT,
        _ => return None,
    };
    families.iter().flat_map(|family| family.iter()).find(|entry| entry.name == name)
}

/// Names of all ONNX operators that the importer knows, sorted; those of other domains with their domain.
pub fn supported_operators() -> Vec<String> {
    let own = FAMILIES.iter().flat_map(|f| f.iter()).map(|e| e.name.to_string());
    let microsoft = MICROSOFT.iter().flat_map(|f| f.iter()).map(|e| format!("com.microsoft.{}", e.name));
    let mut names: Vec<String> = own.chain(microsoft).collect();
    names.sort_unstable();
    names
}
