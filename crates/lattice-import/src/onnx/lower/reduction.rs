//! Reductions, arg max, running sums, top k.

use super::{Entry, computes};
use crate::onnx::node::NodeContext;
use lattice_inference::DType;
use lattice_inference::Value;
use lattice_inference::ops::search::{ARG_MAX, ARG_MIN, TOP_K};
use lattice_inference::ops::{Attributes, OpResult, OpSpec, elementwise as ew, reduce};

pub(super) const TABLE: &[Entry] = &[
    computes("ReduceSum", |c| over(c, |c, x, axes, keep| c.reduce(&reduce::SUM, x, axes, keep))),
    computes("ReduceMax", |c| extreme(c, &reduce::MAX)),
    computes("ReduceMin", |c| extreme(c, &reduce::MIN)),
    computes("ReduceProd", |c| over(c, |c, x, axes, keep| c.reduce(&reduce::PROD, x, axes, keep))),
    computes("ReduceMean", |c| over(c, |c, x, axes, keep| c.mean(x, axes, keep))),
    computes("ReduceSumSquare", |c| {
        over(c, |c, x, axes, keep| {
            let squares = c.mul(x, x)?;
            c.reduce(&reduce::SUM, squares, axes, keep)
        })
    }),
    computes("ReduceL1", |c| {
        over(c, |c, x, axes, keep| {
            let magnitudes = c.unary(&ew::ABS, x)?;
            c.reduce(&reduce::SUM, magnitudes, axes, keep)
        })
    }),
    computes("ReduceL2", |c| {
        over(c, |c, x, axes, keep| {
            let squares = c.mul(x, x)?;
            let sum = c.reduce(&reduce::SUM, squares, axes, keep)?;
            c.unary(&ew::SQRT, sum)
        })
    }),
    computes("ReduceLogSum", |c| {
        over(c, |c, x, axes, keep| {
            let sum = c.reduce(&reduce::SUM, x, axes, keep)?;
            c.unary(&ew::LOG, sum)
        })
    }),
    computes("ReduceLogSumExp", |c| over(c, log_sum_exp)),
    computes("ArgMax", |c| arg(c, &ARG_MAX)),
    computes("ArgMin", |c| arg(c, &ARG_MIN)),
    computes("CumSum", cum_sum),
    computes("TopK", top_k),
];

/// The axes of a reduction, from the attribute or the second operand, and whether they stay.
fn over(
    c: &mut NodeContext<'_>,
    f: impl FnOnce(&mut NodeContext<'_>, Value, &[usize], bool) -> OpResult<Value>,
) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let rank = c.rank(x);
    let axes = match (c.ints("axes")?, c.optional(1)) {
        (Some(axes), _) => axes,
        (None, Some(operand)) => c.constant_ints(operand, "axes")?,
        (None, None) => Vec::new(),
    };
    let axes = match axes.is_empty() {
        // No axes: all of them, unless the node asks for nothing to be done.
        true if c.flag("noop_with_empty_axes", false)? => Vec::new(),
        true => (0..rank).collect(),
        false => c.axes(&axes, rank)?,
    };
    let keep = c.flag("keepdims", true)?;
    Ok(vec![f(c, x, &axes, keep)?])
}

/// Maximum and minimum also exist for bool.
fn extreme(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    over(c, |c, x, axes, keep| {
        if c.dtype(x) != DType::Bool {
            return c.reduce(op, x, axes, keep);
        }
        let bytes = c.cast(x, DType::U8)?;
        let result = c.reduce(op, bytes, axes, keep)?;
        c.cast(result, DType::Bool)
    })
}

/// m + ln(sum of e^(x - m)) with m the maximum, held finite so that infinities do not meet.
fn log_sum_exp(c: &mut NodeContext<'_>, x: Value, axes: &[usize], keep: bool) -> OpResult<Value> {
    let (low, high) = match c.dtype(x) {
        DType::F32 => (f64::from(f32::MIN), f64::from(f32::MAX)),
        _ => (f64::MIN, f64::MAX),
    };
    let (low, high) = (c.number(low, x)?, c.number(high, x)?);
    let top = c.reduce(&reduce::MAX, x, axes, true)?;
    let top = c.binary(&ew::MAX, top, low)?;
    let top = c.binary(&ew::MIN, top, high)?;
    let shifted = c.sub(x, top)?;
    let exps = c.unary(&ew::EXP, shifted)?;
    let sum = c.reduce(&reduce::SUM, exps, axes, keep)?;
    let log = c.unary(&ew::LOG, sum)?;
    let shape = c.shape(log);
    let top = c.reshape(top, &shape)?;
    c.add(log, top)
}

fn arg(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let axis = c.int("axis", 0).and_then(|axis| c.axis(axis, c.rank(x)))?;
    let (keep, last) = (c.flag("keepdims", true)?, c.flag("select_last_index", false)?);
    Ok(vec![c.emit(op, Attributes::none().int(axis as i64).flag(keep).flag(last), &[x])?])
}

fn cum_sum(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, axis) = (c.input(0)?, c.input(1)?);
    let axis = match c.constant_ints(axis, "axis")?[..] {
        [axis] => c.axis(axis, c.rank(x))?,
        _ => return Err("its axis must be one integer".into()),
    };
    let attributes =
        Attributes::none().int(axis as i64).flag(c.flag("exclusive", false)?).flag(c.flag("reverse", false)?);
    Ok(vec![c.emit(&reduce::CUM_SUM, attributes, &[x])?])
}

fn top_k(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let axis = c.int("axis", -1).and_then(|axis| c.axis(axis, c.rank(x)))?;
    let count = match c.optional(1) {
        Some(k) => match c.constant_ints(k, "count")?[..] {
            [k] => k,
            _ => return Err("its count must be one integer".into()),
        },
        None => c.int("k", 0)?,
    };
    let attributes = Attributes::none().int(axis as i64).int(count).flag(c.flag("largest", true)?);
    c.builder.emit(&TOP_K, attributes, &[x])
}
