//! Reductions over axes, and positions of extremes.

use super::{Entry, axis, axis_in, computes};
use crate::tflite::context::{Layout, OperatorContext, Placed, plain};
use lattice_inference::ops::{Attributes, OpResult, OpSpec, reduce, search};
use lattice_inference::{DType, Value};

pub(super) const TABLE: &[Entry] = &[
    computes("MEAN", |c| reduced(c, |c, x, axes| c.mean(x, axes, true))),
    computes("SUM", |c| reduced(c, |c, x, axes| c.reduce(&reduce::SUM, x, axes, true))),
    computes("REDUCE_MAX", |c| reduced(c, |c, x, axes| c.reduce(&reduce::MAX, x, axes, true))),
    computes("REDUCE_MIN", |c| reduced(c, |c, x, axes| c.reduce(&reduce::MIN, x, axes, true))),
    computes("REDUCE_PROD", |c| reduced(c, |c, x, axes| c.reduce(&reduce::PROD, x, axes, true))),
    computes("REDUCE_ANY", |c| of_truths(c, &reduce::MAX)),
    computes("REDUCE_ALL", |c| of_truths(c, &reduce::MIN)),
    computes("TOPK_V2", |c| {
        let x = c.plain(0)?;
        let along = c.shape(x).len().checked_sub(1).ok_or("it needs an operand with axes")?;
        let count = match c.constant_ints(1, "count")?.as_slice() {
            [one] => *one,
            many => return Err(format!("its count must be one number, got {many:?}")),
        };
        let attributes = Attributes::none().int(along as i64).int(count).flag(true);
        let found = c.emit(&search::TOP_K, attributes, &[x])?;
        let dtype = c.result_dtype(1)?;
        Ok(vec![plain(found[0]), plain(c.cast(found[1], dtype)?)])
    }),
    computes("ARG_MAX", |c| extreme(c, &search::ARG_MAX)),
    computes("ARG_MIN", |c| extreme(c, &search::ARG_MIN)),
    computes("CUMSUM", |c| {
        let x = c.plain(0)?;
        let along = single_axis(c, 1, x)?;
        let attributes = Attributes::none().int(along as i64).flag(c.operator.flag(0)?).flag(c.operator.flag(1)?);
        Ok(vec![plain(c.emit1(&reduce::CUM_SUM, attributes, &[x])?)])
    }),
];

/// Reduces in the layout at hand with the axes kept, and drops them afterwards where the file wants that.
fn reduced(
    c: &mut OperatorContext<'_>,
    function: impl Fn(&mut OperatorContext<'_>, Value, &[usize]) -> OpResult<Value>,
) -> OpResult<Vec<Placed>> {
    let Placed { value: x, layout } = c.native(0)?;
    let rank = c.shape(x).len();
    let axes = c.constant_ints(1, "axes")?;
    let mut named = axes.iter().map(|&a| axis(a, rank)).collect::<OpResult<Vec<_>>>()?;
    named.sort_unstable();
    named.dedup();
    let mut own: Vec<usize> = named.iter().map(|&a| axis_in(layout, a)).collect();
    own.sort_unstable();
    let y = function(c, x, &own)?;
    if c.operator.flag(0)? {
        return Ok(vec![Placed { value: y, layout }]);
    }
    let y = if layout == Layout::Image { c.transpose(y, &crate::tflite::context::TO_PLAIN)? } else { y };
    let shape = c.shape(y).to_vec();
    let left: Vec<usize> = (0..rank).filter(|a| !named.contains(a)).map(|a| shape[a]).collect();
    Ok(vec![plain(c.reshape(y, &left)?)])
}

/// A reduction of truth values, as those of bytes.
fn of_truths(c: &mut OperatorContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Placed>> {
    reduced(c, |c, x, axes| {
        let bytes = c.cast(x, DType::U8)?;
        let result = c.reduce(op, bytes, axes, true)?;
        c.cast(result, DType::Bool)
    })
}

fn single_axis(c: &mut OperatorContext<'_>, at: usize, x: Value) -> OpResult<usize> {
    let rank = c.shape(x).len();
    match c.constant_ints(at, "axis")?.as_slice() {
        [one] => axis(*one, rank),
        many => Err(format!("its axis must be one number, got {many:?}")),
    }
}

fn extreme(c: &mut OperatorContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Placed>> {
    let x = c.plain(0)?;
    let along = single_axis(c, 1, x)?;
    let attributes = Attributes::none().int(along as i64).flag(false).flag(false);
    let positions = c.emit1(op, attributes, &[x])?;
    let dtype = c.result_dtype(0)?;
    Ok(vec![plain(c.cast(positions, dtype)?)])
}
