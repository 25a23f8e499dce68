//! Reading and writing by index, one-hot rows, masks.

use super::{Entry, computes, moves};
use crate::onnx::node::NodeContext;
use crate::patterns;
use lattice_inference::Value;
use lattice_inference::ops::gather::{GATHER, GATHER_ELEMENTS, GATHER_ND, Reduction, SCATTER_ELEMENTS, SCATTER_ND};
use lattice_inference::ops::{Attributes, OpResult, OpSpec, compare};
use lattice_inference::{DType, Tensor};

pub(super) const TABLE: &[Entry] = &[
    moves("Gather", |c| along_axis(c, &GATHER)),
    moves("GatherElements", |c| along_axis(c, &GATHER_ELEMENTS)),
    moves("GatherND", |c| {
        let (data, indices) = (c.input(0)?, c.input(1)?);
        let batch = c.int("batch_dims", 0)?;
        Ok(vec![c.emit(&GATHER_ND, Attributes::none().int(batch), &[data, indices])?])
    }),
    computes("ScatterElements", scatter_elements),
    computes("Scatter", scatter_elements),
    computes("ScatterND", |c| {
        let inputs = c.all_inputs()?;
        let reduction = reduction(c)?;
        Ok(vec![c.emit(&SCATTER_ND, Attributes::none().int(reduction as i64), &inputs)?])
    }),
    computes("OneHot", one_hot),
    moves("Trilu", trilu),
    moves("Compress", compress),
    moves("NonZero", non_zero),
    moves("ReverseSequence", reverse_sequence),
];

fn along_axis(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let (data, indices) = (c.input(0)?, c.input(1)?);
    let axis = c.int("axis", 0).and_then(|axis| c.axis(axis, c.rank(data)))?;
    Ok(vec![c.emit(op, Attributes::none().int(axis as i64), &[data, indices])?])
}

fn reduction(c: &NodeContext<'_>) -> OpResult<Reduction> {
    Ok(match c.text("reduction", "none")?.as_str() {
        "none" => Reduction::Replace,
        "add" => Reduction::Add,
        "mul" => Reduction::Multiply,
        "min" => Reduction::Min,
        "max" => Reduction::Max,
        other => return Err(format!("reduction '{other}' is not known")),
    })
}

fn scatter_elements(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let inputs = c.all_inputs()?;
    let axis = c.int("axis", 0).and_then(|axis| c.axis(axis, c.rank(c.input(0)?)))?;
    let reduction = reduction(c)?;
    Ok(vec![c.emit(&SCATTER_ELEMENTS, Attributes::none().int(axis as i64).int(reduction as i64), &inputs)?])
}

/// `values[1]` where an index equals the position along the new axis, `values[0]` elsewhere.
fn one_hot(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (indices, depth, values) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let depth = c.constant_number(depth, "depth")?;
    if !(1.0..=1e9).contains(&depth) {
        return Err(format!("depth {depth} is not positive"));
    }
    let (depth, rank) = (depth as i64, c.rank(indices));
    let axis = c.int("axis", -1).and_then(|axis| c.axis(axis, rank + 1))?;
    let indices = c.cast(indices, DType::I64)?;
    // Negative indices count from the end; what is then still outside matches nothing.
    let (zero, size) = (c.number(0.0, indices)?, c.i64s(&[], vec![depth])?);
    let negative = c.binary(&compare::LESS, indices, zero)?;
    let wrapped = c.add(indices, size)?;
    let indices = c.emit(&compare::WHERE, Attributes::none(), &[negative, wrapped, indices])?;
    if c.shape(values) != [2] {
        return Err(format!("values must be [off, on], got shape {:?}", c.shape(values)));
    }
    let (off, on) = (c.narrow(values, 0, 0, 1)?, c.narrow(values, 0, 1, 1)?);
    let values = [c.reshape(off, &[])?, c.reshape(on, &[])?];
    Ok(vec![patterns::one_hot(c, indices, depth, axis, values)?])
}

/// The upper or lower triangle; the rest is zero.
fn trilu(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let shape = c.shape(x);
    let [.., rows, columns] = shape[..] else { return Err("it needs an operand of rank 2 or more".into()) };
    let k = match c.optional(1) {
        Some(k) => match c.constant_ints(k, "diagonal")?[..] {
            [k] => i128::from(k),
            _ => return Err("its diagonal must be one integer".into()),
        },
        None => 0,
    };
    let upper = c.flag("upper", true)?;
    if rows.saturating_mul(columns) > 1 << 26 {
        return Err("the mask is too large to be a constant".into());
    }
    let inside = |i: usize| {
        let above = (i % columns) as i128 - (i / columns) as i128;
        if upper { above >= k } else { above <= k }
    };
    let mask =
        Tensor::from_bool([rows, columns], (0..rows * columns).map(inside).collect()).map_err(|e| e.to_string())?;
    let mask = c.builder.constant("", mask);
    let zero = c.number(0.0, x)?;
    Ok(vec![c.emit(&compare::WHERE, Attributes::none(), &[mask, x, zero])?])
}

/// Picks slices by a mask known at import.
fn compress(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (mut x, condition) = (c.input(0)?, c.input(1)?);
    let mask = c.constant_ints(condition, "condition")?;
    let axis = match c.int_or_none("axis")? {
        Some(axis) => c.axis(axis, c.rank(x))?,
        None => {
            let count = c.shape(x).iter().product();
            x = c.reshape(x, &[count])?;
            0
        }
    };
    let size = c.shape(x)[axis];
    let kept: Vec<i64> = mask.iter().take(size).enumerate().filter(|(_, m)| **m != 0).map(|(i, _)| i as i64).collect();
    let kept = c.i64s(&[kept.len()], kept)?;
    Ok(vec![c.emit(&GATHER, Attributes::none().int(axis as i64), &[x, kept])?])
}

/// Positions of the elements that are not zero, of a tensor known at import.
fn non_zero(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.constant(c.input(0)?, "result shape")?;
    let (shape, values) = (x.shape().to_vec(), x.to_f64s());
    let found: Vec<usize> = values.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, _)| i).collect();
    let mut rows = Vec::with_capacity(shape.len() * found.len());
    for axis in 0..shape.len() {
        let inner: usize = shape[axis + 1..].iter().product();
        rows.extend(found.iter().map(|&i| (i / inner % shape[axis]) as i64));
    }
    Ok(vec![c.i64s(&[shape.len(), found.len()], rows)?])
}

/// Turns the first elements of each sequence around; lengths must be known at import.
fn reverse_sequence(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, lengths) = (c.input(0)?, c.input(1)?);
    let lengths = c.constant_ints(lengths, "sequence lengths")?;
    let shape = c.shape(x);
    let (batch_axis, time_axis) = (c.int("batch_axis", 1)?, c.int("time_axis", 0)?);
    let (batch_axis, time_axis) = (c.axis(batch_axis, shape.len())?, c.axis(time_axis, shape.len())?);
    let steps = shape[time_axis];
    if lengths.len() != shape[batch_axis]
        || lengths.iter().any(|&l| l < 0 || l as usize > steps)
        || batch_axis == time_axis
    {
        return Err(format!("sequence lengths {lengths:?} do not fit shape {shape:?}"));
    }
    let mut parts = Vec::with_capacity(lengths.len());
    for (row, &length) in lengths.iter().enumerate() {
        let part = c.narrow(x, batch_axis, row, 1)?;
        let order: Vec<i64> = (0..steps as i64).map(|i| if i < length { length - 1 - i } else { i }).collect();
        let order = c.i64s(&[steps], order)?;
        parts.push(c.emit(&GATHER, Attributes::none().int(time_axis as i64), &[part, order])?);
    }
    if parts.is_empty() { Ok(vec![x]) } else { Ok(vec![c.concat(batch_axis, &parts)?]) }
}
