//! TensorFlow Lite's operators, one file a family, each with its table of names and lowering functions.

mod arithmetic;
mod fourier;
mod indexing;
mod linear;
mod reduction;
mod shape;
mod space;
mod window;

use super::context::{Layout, OperatorContext, Placed};
use lattice_inference::Value;
use lattice_inference::ops::{OpResult, OpSpec, elementwise as ew};

/// Translates one operator into nodes of the frozen graph and gives its results.
pub(super) type Lower = fn(&mut OperatorContext<'_>) -> OpResult<Vec<Placed>>;

/// One operator.
pub(crate) struct Entry {
    /// BuiltinOperator's name, or that of an operator which is not built in.
    pub(super) name: &'static str,
    pub(super) lower: Lower,
    /// It only moves elements, so integers may stay integers.
    pub(super) moves: bool,
}

/// An operator that computes.
const fn computes(name: &'static str, lower: Lower) -> Entry {
    Entry { name, lower, moves: false }
}

/// An operator that only moves elements.
const fn moves(name: &'static str, lower: Lower) -> Entry {
    Entry { name, lower, moves: true }
}

static FAMILIES: &[&[Entry]] = &[
    arithmetic::TABLE,
    fourier::TABLE,
    indexing::TABLE,
    linear::TABLE,
    reduction::TABLE,
    shape::TABLE,
    space::TABLE,
    window::TABLE,
];

/// Operators of MediaPipe.
static CUSTOM: &[Entry] = window::CUSTOM;

/// The entry of an operator by its name, or of one that is not built in.
pub(super) fn find(name: &str, is_custom: bool) -> Option<&'static Entry> {
    match is_custom {
        true => CUSTOM.iter().find(|entry| entry.name == name),
        false => FAMILIES.iter().flat_map(|family| family.iter()).find(|entry| entry.name == name),
    }
}

/// Names of all operators that the importer knows, sorted.
pub fn supported_operators() -> Vec<String> {
    let entries = FAMILIES.iter().flat_map(|family| family.iter()).chain(CUSTOM);
    let mut names: Vec<String> = entries.map(|entry| entry.name.to_string()).collect();
    names.sort_unstable();
    names
}

/// An operator of one operand, in whatever layout that is.
fn unary(c: &mut OperatorContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Placed>> {
    let x = c.native(0)?;
    Ok(vec![Placed { value: c.unary(op, x.value)?, ..x }])
}

/// The activation that is fused into an operator: ActivationFunctionType in an option.
fn activate(c: &mut OperatorContext<'_>, slot: usize, x: Value) -> OpResult<Value> {
    match c.operator.option(slot, 0i8)? {
        0 => Ok(x),
        1 => c.unary(&ew::RELU, x),
        2 => clamp(c, x, -1.0, 1.0),
        3 => relu6(c, x),
        4 => c.unary(&ew::TANH, x),
        other => Err(format!("fused activation {other} is not supported")),
    }
}

fn clamp(c: &mut OperatorContext<'_>, x: Value, low: f64, high: f64) -> OpResult<Value> {
    let (low, high) = (c.number(low, x)?, c.number(high, x)?);
    let x = c.binary(&ew::MAX, x, low)?;
    c.binary(&ew::MIN, x, high)
}

fn relu6(c: &mut OperatorContext<'_>, x: Value) -> OpResult<Value> {
    let (x, six) = (c.unary(&ew::RELU, x)?, c.number(6.0, x)?);
    c.binary(&ew::MIN, x, six)
}

/// An axis of the file, counted from the end when negative.
fn axis(axis: i64, rank: usize) -> OpResult<usize> {
    let from_end = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let resolved = from_end.and_then(|a| usize::try_from(a).ok()).filter(|&a| a < rank);
    resolved.ok_or_else(|| format!("axis {axis} is out of range for rank {rank}"))
}

/// Where an axis of the file lies in a layout.
fn axis_in(layout: Layout, axis: usize) -> usize {
    match layout {
        Layout::Plain => axis,
        Layout::Image => super::context::TO_PLAIN[axis],
    }
}
