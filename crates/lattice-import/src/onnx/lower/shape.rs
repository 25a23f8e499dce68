//! Shapes: asking for them, changing them, and moving elements between them.

use super::constant::shape_operand;
use super::{Entry, computes, moves};
use crate::onnx::node::NodeContext;
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, movement, reduce};
use std::collections::BTreeMap;

pub(super) const TABLE: &[Entry] = &[
    moves("Shape", shape),
    moves("Size", |c| {
        let count = c.shape(c.input(0)?).iter().product::<usize>();
        Ok(vec![c.i64s(&[], vec![count as i64])?])
    }),
    moves("Reshape", reshape),
    moves("Flatten", |c| {
        let x = c.input(0)?;
        let shape = c.shape(x);
        let axis = c.int("axis", 1)?;
        let axis = if axis == shape.len() as i64 { shape.len() } else { c.axis(axis, shape.len())? };
        let flat = [shape[..axis].iter().product(), shape[axis..].iter().product()];
        Ok(vec![c.reshape(x, &flat)?])
    }),
    moves("Squeeze", squeeze),
    moves("Unsqueeze", unsqueeze),
    moves("Transpose", |c| {
        let x = c.input(0)?;
        let rank = c.rank(x);
        let axes = match c.ints("perm")? {
            Some(axes) => axes.iter().map(|&a| c.axis(a, rank)).collect::<OpResult<Vec<_>>>()?,
            None => (0..rank).rev().collect(),
        };
        Ok(vec![c.transpose(x, &axes)?])
    }),
    moves("Concat", |c| {
        let parts = c.all_inputs()?;
        let rank = c.rank(c.input(0)?);
        let axis = c.int("axis", 1).and_then(|axis| c.axis(axis, rank))?;
        Ok(vec![c.concat(axis, &parts)?])
    }),
    moves("Slice", slice),
    moves("Split", split),
    moves("Expand", |c| {
        let (x, shape) = (c.input(0)?, c.input(1)?);
        let wanted = shape_operand(c, shape, c.dtype(x))?;
        let shape = lattice_inference::ops::broadcast::broadcast_shapes(&[&c.shape(x), &wanted])?;
        Ok(vec![c.expand(x, &shape)?])
    }),
    moves("Tile", tile),
    moves("Pad", pad),
    moves("DepthToSpace", depth_to_space),
    moves("SpaceToDepth", space_to_depth),
    computes("CenterCropPad", center_crop_pad),
];

fn shape(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let shape = c.shape(c.input(0)?);
    let rank = shape.len() as i64;
    let clamp = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    let (start, end) = (clamp(c.int("start", 0)?), clamp(c.int("end", i64::MAX)?));
    let part: Vec<i64> = shape[start..end.max(start)].iter().map(|&d| d as i64).collect();
    Ok(vec![c.i64s(&[part.len()], part)?])
}

fn reshape(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let wanted = match c.ints("shape")? {
        Some(shape) if c.opset < 5 => shape,
        _ => c.constant_ints(c.input(1)?, "shape")?,
    };
    let own = c.shape(x);
    let zero_is_zero = c.flag("allowzero", false)?;
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &dim) in wanted.iter().enumerate() {
        shape.push(match dim {
            -1 if open.replace(axis).is_none() => 1,
            -1 => return Err(format!("shape {wanted:?} leaves two dimensions open")),
            0 if !zero_is_zero => {
                *own.get(axis).ok_or_else(|| format!("shape {wanted:?} copies dimension {axis} of {own:?}"))?
            }
            dim => usize::try_from(dim).map_err(|_| format!("shape {wanted:?} has a negative dimension"))?,
        });
    }
    let count: usize = own.iter().product();
    let known = shape.iter().try_fold(1usize, |p, &d| p.checked_mul(d)).ok_or("the shape overflows")?;
    if let Some(axis) = open {
        shape[axis] = count.checked_div(known).unwrap_or(0);
    }
    let result: usize = shape.iter().try_fold(1usize, |p, &d| p.checked_mul(d)).ok_or("the shape overflows")?;
    if result != count {
        return Err(format!("{own:?} with {count} elements cannot become {wanted:?}"));
    }
    Ok(vec![c.reshape(x, &shape)?])
}

/// Axes from the attribute (older versions) or the second operand.
fn axes_of(c: &NodeContext<'_>) -> OpResult<Option<Vec<i64>>> {
    match (c.ints("axes")?, c.optional(1)) {
        (Some(axes), _) => Ok(Some(axes)),
        (None, Some(operand)) => c.constant_ints(operand, "axes").map(Some),
        (None, None) => Ok(None),
    }
}

fn squeeze(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let shape = c.shape(x);
    let axes = match axes_of(c)? {
        Some(axes) => c.axes(&axes, shape.len())?,
        None => (0..shape.len()).filter(|&a| shape[a] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&a| shape[a] != 1) {
        return Err(format!("axis {axis} of {shape:?} is not 1"));
    }
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect();
    Ok(vec![c.reshape(x, &kept)?])
}

fn unsqueeze(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let axes = axes_of(c)?.ok_or("its axes are missing")?;
    let mut shape = c.shape(x);
    for axis in c.axes(&axes, shape.len() + axes.len())? {
        shape.insert(axis, 1);
    }
    Ok(vec![c.reshape(x, &shape)?])
}

fn slice(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let shape = c.shape(x);
    let (starts, ends, axes, steps) = if c.opset < 10 {
        let starts = c.ints("starts")?.ok_or("attribute 'starts' is missing")?;
        (starts, c.ints("ends")?.ok_or("attribute 'ends' is missing")?, c.ints("axes")?, None)
    } else {
        let ints = |at, what| c.optional(at).map(|v| c.constant_ints(v, what)).transpose();
        let starts = ints(1, "starts")?.ok_or("its starts are missing")?;
        (starts, ints(2, "ends")?.ok_or("its ends are missing")?, ints(3, "axes")?, ints(4, "steps")?)
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps have different lengths".into());
    }
    c.axes(&axes, shape.len())?;
    let (mut first, mut stride, mut length) = (vec![0; shape.len()], vec![1i64; shape.len()], shape.clone());
    for i in 0..starts.len() {
        let axis = c.axis(axes[i], shape.len())?;
        let (size, step) = (shape[axis] as i64, steps[i]);
        if step == 0 || step == i64::MIN {
            return Err(format!("step {step} is not allowed"));
        }
        let from_end = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
        let (start, end) = if step > 0 {
            (from_end(starts[i]).clamp(0, size), from_end(ends[i]).clamp(0, size))
        } else {
            (from_end(starts[i]).clamp(0, (size - 1).max(0)), from_end(ends[i]).clamp(-1, size - 1))
        };
        let span = if step > 0 { end - start } else { start - end };
        length[axis] = if span > 0 { ((span - 1) / step.abs() + 1) as usize } else { 0 };
        first[axis] = start as usize;
        stride[axis] = step;
    }
    if length == shape && stride.iter().all(|&s| s == 1) {
        return Ok(vec![x]);
    }
    let attributes = Attributes::none().sizes(&first).ints(stride).sizes(&length);
    Ok(vec![c.emit(&movement::SLICE, attributes, &[x])?])
}

fn split(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let axis = c.int("axis", 0).and_then(|axis| c.axis(axis, c.rank(x)))?;
    let size = c.shape(x)[axis];
    let given = match (c.ints("split")?, c.optional(1)) {
        (Some(split), _) => Some(split),
        (None, Some(operand)) => Some(c.constant_ints(operand, "split")?),
        (None, None) => None,
    };
    let sizes: Vec<usize> = match given {
        Some(sizes) => {
            let sizes = sizes.iter().map(|&s| usize::try_from(s).map_err(|_| format!("size {s} is negative")));
            sizes.collect::<OpResult<_>>()?
        }
        None => {
            let count = usize::try_from(c.int("num_outputs", c.proto.output.len() as i64)?).unwrap_or(0);
            if count == 0 || count > 1 << 12 || count != c.proto.output.len() {
                return Err(format!("{count} parts are asked for and {} results named", c.proto.output.len()));
            }
            // The last part is smaller when the size does not divide.
            let part = size.div_ceil(count);
            (0..count).map(|i| part.min(size.saturating_sub(i * part))).collect()
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, &s| sum.checked_add(s));
    if total != Some(size) {
        return Err(format!("parts {sizes:?} do not make up {size} elements"));
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for length in sizes {
        parts.push(c.narrow(x, axis, start, length)?);
        start += length;
    }
    Ok(parts)
}

/// Repetition of whole axes: each axis grows a partner that is expanded, then both become one.
fn tile(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let repeats = c.constant_ints(c.input(1)?, "repeats")?;
    if repeats.len() != c.rank(x) {
        return Err(format!("{} repeats are given for rank {}", repeats.len(), c.rank(x)));
    }
    let mut result = x;
    for (axis, &repeat) in repeats.iter().enumerate().filter(|(_, r)| **r != 1) {
        let repeat = usize::try_from(repeat).map_err(|_| format!("repeat {repeat} is negative"))?;
        let shape = c.shape(result);
        let (outer, inner) = (shape[..axis].iter().product(), shape[axis..].iter().product::<usize>());
        let rows = c.reshape(result, &[outer, 1, inner])?;
        let rows = c.expand(rows, &[outer, repeat, inner])?;
        let mut whole = shape;
        whole[axis] = whole[axis].checked_mul(repeat).ok_or("sizes overflow")?;
        result = c.reshape(rows, &whole)?;
    }
    Ok(vec![result])
}

fn pad(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let rank = c.rank(x);
    let mode = match c.text("mode", "constant")?.as_str() {
        "constant" => 0,
        "edge" => 1,
        "reflect" => 2,
        "wrap" => 3,
        other => return Err(format!("mode '{other}' is not known")),
    };
    let (pads, fill) = if c.opset < 11 {
        let pads = c.ints("pads")?.or(c.ints("paddings")?).ok_or("attribute 'pads' is missing")?;
        let fill = c.float("value", 0.0)?;
        (pads, c.number(f64::from(fill), x)?)
    } else {
        let pads = c.constant_ints(c.input(1)?, "pads")?;
        let fill = match c.optional(2) {
            Some(fill) => c.reshape(fill, &[])?,
            None => c.number(0.0, x)?,
        };
        (pads, fill)
    };
    let axes = match c.optional(3) {
        Some(axes) => c.constant_ints(axes, "axes")?.iter().map(|&a| c.axis(a, rank)).collect::<OpResult<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads are given for {} axes", pads.len(), axes.len()));
    }
    let (mut before, mut after) = (vec![0i64; rank], vec![0i64; rank]);
    for (i, &axis) in axes.iter().enumerate() {
        before[axis] = pads[i];
        after[axis] = pads[i + axes.len()];
    }
    Ok(vec![pad_by(c, x, &before, &after, mode, fill)?])
}

/// Pads by signed amounts; negative ones cut.
fn pad_by(c: &mut NodeContext<'_>, x: Value, before: &[i64], after: &[i64], mode: i64, fill: Value) -> OpResult<Value> {
    let mut x = x;
    for axis in 0..before.len() {
        let (cut_b, cut_a) = (before[axis].min(0).unsigned_abs() as usize, after[axis].min(0).unsigned_abs() as usize);
        if cut_b > 0 || cut_a > 0 {
            let size = c.shape(x)[axis];
            let left = cut_b.checked_add(cut_a).and_then(|cut| size.checked_sub(cut));
            let left = left.ok_or_else(|| format!("pads cut more than the {size} elements of axis {axis}"))?;
            x = c.narrow(x, axis, cut_b, left)?;
        }
    }
    let positive = |pads: &[i64]| pads.iter().map(|&p| p.max(0)).collect::<Vec<_>>();
    let (before, after) = (positive(before), positive(after));
    if before.iter().chain(&after).all(|&p| p == 0) {
        return Ok(x);
    }
    c.emit(&movement::PAD, Attributes::none().ints(before).ints(after).int(mode), &[x, fill])
}

fn image(c: &NodeContext<'_>) -> OpResult<(Value, [usize; 4], usize)> {
    let x = c.input(0)?;
    let block = usize::try_from(c.int("blocksize", 0)?)
        .ok()
        .filter(|&b| b > 0 && b < 1 << 16)
        .ok_or("attribute 'blocksize' must be positive")?;
    let shape: [usize; 4] = c.shape(x).try_into().map_err(|s| format!("it needs an operand of rank 4, got {s:?}"))?;
    Ok((x, shape, block))
}

fn depth_to_space(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, [n, channels, h, w], b) = image(c)?;
    let depth = channels / (b * b);
    if depth * b * b != channels {
        return Err(format!("{channels} channels do not divide into blocks of {b}"));
    }
    let (split, order) = match c.text("mode", "DCR")?.as_str() {
        "DCR" => ([n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(format!("mode '{other}' is not known")),
    };
    let blocks = c.reshape(x, &split)?;
    let moved = c.transpose(blocks, &order)?;
    Ok(vec![c.reshape(moved, &[n, depth, h * b, w * b])?])
}

fn space_to_depth(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, [n, channels, h, w], b) = image(c)?;
    if h % b != 0 || w % b != 0 {
        return Err(format!("an image of {h} x {w} does not divide into blocks of {b}"));
    }
    let blocks = c.reshape(x, &[n, channels, h / b, b, w / b, b])?;
    let moved = c.transpose(blocks, &[0, 3, 5, 1, 2, 4])?;
    Ok(vec![c.reshape(moved, &[n, channels * b * b, h / b, w / b])?])
}

fn center_crop_pad(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let own = c.shape(x);
    let wanted = shape_operand(c, c.input(1)?, c.dtype(x))?;
    let axes = match c.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| c.axis(a, own.len())).collect::<OpResult<Vec<_>>>()?,
        None => (0..own.len()).collect(),
    };
    if axes.len() != wanted.len() {
        return Err(format!("{} sizes are given for {} axes", wanted.len(), axes.len()));
    }
    let (mut before, mut after) = (vec![0; own.len()], vec![0; own.len()]);
    for (&axis, &size) in axes.iter().zip(&wanted) {
        let total = size as i64 - own[axis] as i64;
        // Halves rounded so that crops and pads start where the definition puts them.
        before[axis] = total / 2;
        after[axis] = total - total / 2;
        if total < 0 {
            before[axis] = -(-total / 2);
            after[axis] = total - before[axis];
        }
    }
    let fill = c.number(0.0, x)?;
    Ok(vec![pad_by(c, x, &before, &after, 0, fill)?])
}

/// Einstein summation of one or two operands: diagonals aside, everything is a transposition, a product and a sum.
pub(super) fn einsum(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let equation: String = c.text("equation", "")?.chars().filter(|ch| !ch.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_string(), Some(right.to_string())),
        None => (equation.clone(), None),
    };
    let terms: Vec<Vec<char>> = left.split(',').map(|t| t.chars().collect()).collect();
    let inputs = c.all_inputs()?;
    let letters = |t: &[char]| t.iter().all(char::is_ascii_alphabetic);
    if terms.len() != inputs.len()
        || !terms.iter().all(|t| letters(t))
        || right.as_ref().is_some_and(|r| r.contains('.'))
    {
        return Err(format!("equation '{equation}' is not supported (ellipses are not)"));
    }
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (term, &input) in terms.iter().zip(&inputs) {
        let shape = c.shape(input);
        let repeats = term.iter().enumerate().any(|(i, ch)| term[..i].contains(ch));
        if term.len() != shape.len() || repeats {
            return Err(format!("equation '{equation}' does not fit shape {shape:?} (diagonals are not supported)"));
        }
        for (&ch, &size) in term.iter().zip(&shape) {
            if *sizes.entry(ch).or_insert(size) != size {
                return Err(format!("equation '{equation}': '{ch}' has two sizes"));
            }
        }
    }
    let result: Vec<char> = match right {
        Some(right) => right.chars().collect(),
        None => sizes.keys().copied().filter(|ch| terms.iter().filter(|t| t.contains(ch)).count() == 1).collect(),
    };
    if result.iter().enumerate().any(|(i, ch)| !sizes.contains_key(ch) || result[..i].contains(ch)) {
        return Err(format!("equation '{equation}' has an unknown or repeated index in its result"));
    }
    let (mut value, mut term) = (inputs[0], terms[0].clone());
    for (at, &next) in inputs.iter().enumerate().skip(1) {
        let later: Vec<char> = terms[at + 1..].concat().into_iter().chain(result.iter().copied()).collect();
        (value, term) = contract(c, (value, &term), (next, &terms[at]), &later)?;
    }
    let summed: Vec<usize> = (0..term.len()).filter(|&i| !result.contains(&term[i])).collect();
    value = c.reduce(&reduce::SUM, value, &summed, false)?;
    term.retain(|ch| result.contains(ch));
    let order: Vec<usize> = result.iter().filter_map(|ch| term.iter().position(|t| t == ch)).collect();
    Ok(vec![c.transpose(value, &order)?])
}

/// Contracts two terms over the indices that nothing later needs, as one batched matrix product.
fn contract(
    c: &mut NodeContext<'_>,
    (a, term_a): (Value, &[char]),
    (b, term_b): (Value, &[char]),
    later: &[char],
) -> OpResult<(Value, Vec<char>)> {
    // Indices of one operand alone that nobody needs are summed away first.
    let mut alone = |x: Value, term: &[char], other: &[char]| -> OpResult<(Value, Vec<char>)> {
        let gone: Vec<usize> =
            (0..term.len()).filter(|&i| !other.contains(&term[i]) && !later.contains(&term[i])).collect();
        let kept = term.iter().copied().filter(|ch| other.contains(ch) || later.contains(ch)).collect();
        Ok((c.reduce(&reduce::SUM, x, &gone, false)?, kept))
    };
    let (a, term_a) = alone(a, term_a, term_b)?;
    let (b, term_b) = alone(b, term_b, &term_a)?;
    let shared = |keep: bool| {
        term_a.iter().copied().filter(|ch| term_b.contains(ch) && later.contains(ch) == keep).collect::<Vec<_>>()
    };
    let (batch, inner) = (shared(true), shared(false));
    let rows: Vec<char> = term_a.iter().copied().filter(|ch| !term_b.contains(ch)).collect();
    let columns: Vec<char> = term_b.iter().copied().filter(|ch| !term_a.contains(ch)).collect();
    let mut arrange = |x: Value, term: &[char], groups: [&[char]; 3]| -> OpResult<(Value, [Vec<usize>; 3])> {
        let shape = c.shape(x);
        let position = |ch: &char| term.iter().position(|t| t == ch).ok_or_else(|| format!("index '{ch}' is lost"));
        let order = groups.concat().iter().map(position).collect::<OpResult<Vec<_>>>()?;
        let sizes =
            groups.map(|g| g.iter().filter_map(|ch| position(ch).ok().map(|i| shape[i])).collect::<Vec<usize>>());
        let moved = c.transpose(x, &order)?;
        let flat: Vec<usize> = sizes.iter().map(|s| s.iter().product()).collect();
        Ok((c.reshape(moved, &flat)?, sizes))
    };
    let (left, [batch_sizes, row_sizes, _]) = arrange(a, &term_a, [&batch, &rows, &inner])?;
    let (right, [_, _, column_sizes]) = arrange(b, &term_b, [&batch, &inner, &columns])?;
    let y = super::linear::product(c, left, right)?;
    let shape = [batch_sizes, row_sizes, column_sizes].concat();
    Ok((c.reshape(y, &shape)?, [batch, rows, columns].concat()))
}
