//! Moving elements between shapes.

use super::{Entry, axis, axis_in, computes, moves};
use crate::patterns::range;
use crate::tflite::context::{Layout, OperatorContext, Placed, TO_IMAGE, plain};
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, broadcast, movement};
use lattice_inference::{DType, element_count};

pub(super) const TABLE: &[Entry] = &[
    moves("RESHAPE", reshape),
    moves("SQUEEZE", squeeze),
    moves("EXPAND_DIMS", |c| {
        let x = c.plain(0)?;
        let mut shape = c.shape(x).to_vec();
        let at = axis(one_int(c, 1, "axis")?, shape.len() + 1)?;
        shape.insert(at, 1);
        Ok(vec![plain(c.reshape(x, &shape)?)])
    }),
    moves("TRANSPOSE", |c| {
        let x = c.plain(0)?;
        let rank = c.shape(x).len();
        let order = c.constant_ints_of(1, "permutation", rank)?;
        let order = order.iter().map(|&a| axis(a, rank)).collect::<OpResult<Vec<_>>>()?;
        Ok(vec![plain(c.transpose(x, &order)?)])
    }),
    moves("CONCATENATION", |c| {
        let activation = c.operator.option(1, 0i8)?;
        if activation != 0 {
            return Err(format!("fused activation {activation} is not supported"));
        }
        let operands: Vec<usize> = (0..c.operand_count()).collect();
        let are_images = operands.iter().any(|&at| c.is_image(at));
        let layout = if are_images { Layout::Image } else { Layout::Plain };
        let read = |&at: &usize| if are_images { c.image(at) } else { c.plain(at) };
        let parts = operands.iter().map(read).collect::<OpResult<Vec<_>>>()?;
        let rank = parts.first().map_or(0, |&part| c.shape(part).len());
        let along = axis(i64::from(c.operator.option(0, 0i32)?), rank)?;
        Ok(vec![Placed { value: c.concat(axis_in(layout, along), &parts)?, layout }])
    }),
    moves("PACK", |c| {
        let parts = (0..c.operand_count()).map(|at| c.plain(at)).collect::<OpResult<Vec<_>>>()?;
        let mut shape = c.shape(*parts.first().ok_or("it has no operands")?).to_vec();
        let at = axis(i64::from(c.operator.option(1, 0i32)?), shape.len() + 1)?;
        shape.insert(at, 1);
        let parts = parts.iter().map(|&part| c.reshape(part, &shape)).collect::<OpResult<Vec<_>>>()?;
        Ok(vec![plain(c.concat(at, &parts)?)])
    }),
    moves("UNPACK", |c| {
        let x = c.plain(0)?;
        let mut shape = c.shape(x).to_vec();
        let at = axis(i64::from(c.operator.option(1, 0i32)?), shape.len())?;
        let count = shape.remove(at);
        let part = |i: usize| {
            let slice = c.narrow(x, at, i, 1)?;
            c.reshape(slice, &shape).map(plain)
        };
        (0..count).map(part).collect()
    }),
    moves("SPLIT", |c| {
        let x = c.plain(1)?;
        let shape = c.shape(x).to_vec();
        let along = axis(one_int(c, 0, "axis")?, shape.len())?;
        let count = c.size(0, 0, "number of parts")?;
        if !shape[along].is_multiple_of(count) {
            return Err(format!("axis {along} of {shape:?} does not fall into {count} parts"));
        }
        let size = shape[along] / count;
        (0..count).map(|i| c.narrow(x, along, i * size, size).map(plain)).collect()
    }),
    moves("SPLIT_V", split_by_sizes),
    moves("SLICE", slice),
    moves("STRIDED_SLICE", strided_slice),
    moves("TILE", |c| {
        let mut x = c.plain(0)?;
        let rank = c.shape(x).len();
        for (along, &count) in c.constant_ints_of(1, "multiples", rank)?.iter().enumerate() {
            x = match usize::try_from(count) {
                Ok(1) => x,
                Ok(0) => c.narrow(x, along, 0, 0)?,
                Ok(count) if count <= lattice_inference::limits::OPERANDS_MAX => c.concat(along, &vec![x; count])?,
                _ => return Err(format!("{count} copies along axis {along} are not supported")),
            };
        }
        Ok(vec![plain(x)])
    }),
    moves("BROADCAST_TO", |c| {
        let (x, wanted) = (c.plain(0)?, c.constant_ints(1, "shape")?);
        let wanted = sizes(&wanted)?;
        let shape = broadcast::broadcast_shapes(&[c.shape(x), &wanted])?;
        Ok(vec![plain(c.expand(x, &shape)?)])
    }),
    computes("PAD", |c| pad(c, None)),
    computes("PADV2", |c| {
        let fill = c.plain(2)?;
        let fill = c.reshape(fill, &[])?;
        pad(c, Some(fill))
    }),
    moves("MIRROR_PAD", |c| match c.operator.option(0, 0i8)? {
        0 => padded(c, None, 2),
        _ => Err("symmetric padding is not supported; reflect is".into()),
    }),
    computes("SHAPE", |c| {
        let x = c.plain(0)?;
        let shape: Vec<i64> = c.shape(x).iter().map(|&d| d as i64).collect();
        let shape = c.i64s(&[shape.len()], shape)?;
        let dtype = c.result_dtype(0)?;
        Ok(vec![plain(c.cast(shape, dtype)?)])
    }),
    computes("RANK", |c| {
        let x = c.plain(0)?;
        let rank = c.shape(x).len() as i64;
        let rank = c.i64s(&[], vec![rank])?;
        let dtype = c.result_dtype(0)?;
        Ok(vec![plain(c.cast(rank, dtype)?)])
    }),
    computes("RANGE", |c| {
        let dtype = c.result_dtype(0)?;
        let ends = [(0, "start"), (1, "limit"), (2, "delta")].map(|(at, what)| c.constant_tensor(at, what));
        let [start, limit, delta] = ends;
        let range = range(dtype, [&start?, &limit?, &delta?])?;
        Ok(vec![plain(c.constant("", range))])
    }),
    moves("REVERSE_V2", |c| {
        let x = c.plain(0)?;
        let shape = c.shape(x).to_vec();
        let (mut starts, mut steps) = (vec![0; shape.len()], vec![1; shape.len()]);
        for a in c.constant_ints(1, "axes")? {
            let a = axis(a, shape.len())?;
            (starts[a], steps[a]) = (shape[a].saturating_sub(1), -1);
        }
        let attributes = Attributes::none().sizes(&starts).ints(steps).sizes(&shape);
        Ok(vec![plain(c.emit1(&movement::SLICE, attributes, &[x])?)])
    }),
    computes("FILL", |c| {
        let (shape, value) = (c.constant_ints(0, "shape")?, c.plain(1)?);
        let shape = sizes(&shape)?;
        Ok(vec![plain(c.expand(value, &shape)?)])
    }),
];

pub(super) fn one_int(c: &mut OperatorContext<'_>, at: usize, what: &str) -> OpResult<i64> {
    match c.constant_ints(at, what)?.as_slice() {
        [one] => Ok(*one),
        many => Err(format!("its {what} must be one number, got {many:?}")),
    }
}

pub(super) fn sizes(values: &[i64]) -> OpResult<Vec<usize>> {
    let sizes = values.iter().map(|&v| usize::try_from(v));
    sizes.collect::<Result<_, _>>().map_err(|_| format!("shape {values:?} has negative sizes"))
}

/// The operand, its shape, and the axis of a complex one's parts.
fn whole(c: &mut OperatorContext<'_>) -> OpResult<(Value, Vec<usize>, Option<usize>)> {
    if !c.is_complex(0) {
        let x = c.plain(0)?;
        return Ok((x, c.shape(x).to_vec(), None));
    }
    let x = c.complex(0)?;
    let (&parts, shape) = c.shape(x).split_last().ok_or("its operand has no parts")?;
    Ok((x, shape.to_vec(), Some(parts)))
}

/// The new shape comes as an operand or as an option; one of its sizes may be left to be worked out.
fn reshape(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let (x, own, tail) = whole(c)?;
    let shape = match (c.optional(1), c.operator.list(0)?) {
        (Some(_), _) => c.constant_ints(1, "shape")?,
        (None, Some(list)) => list.into_iter().map(i64::from).collect(),
        (None, None) => return Err("its shape is missing".into()),
    };
    let count: usize = own.iter().product();
    let known: Vec<usize> = sizes(&shape.iter().copied().filter(|&d| d != -1).collect::<Vec<_>>())?;
    let product = element_count(DType::U8, &known).map_err(|e| e.to_string())?;
    let open = shape.len() - known.len();
    if open > 1 || open == 1 && (product == 0 || !count.is_multiple_of(product)) {
        return Err(format!("{own:?} cannot become {shape:?}"));
    }
    let size = |&d: &i64| if d == -1 { count / product.max(1) } else { d as usize };
    let shape: Vec<usize> = shape.iter().map(size).chain(tail).collect();
    Ok(vec![plain(c.reshape(x, &shape)?)])
}

fn squeeze(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let (x, shape, tail) = whole(c)?;
    let dims = c.operator.list(0)?.unwrap_or_default();
    let dims = dims.iter().map(|&d| axis(i64::from(d), shape.len())).collect::<OpResult<Vec<_>>>()?;
    if let Some(&dim) = dims.iter().find(|&&dim| shape[dim] != 1) {
        return Err(format!("dimension {dim} of {shape:?} is not 1"));
    }
    let is_dropped = |dim: usize| if dims.is_empty() { shape[dim] == 1 } else { dims.contains(&dim) };
    let left: Vec<usize> = (0..shape.len()).filter(|&dim| !is_dropped(dim)).map(|dim| shape[dim]).chain(tail).collect();
    Ok(vec![plain(c.reshape(x, &left)?)])
}

fn split_by_sizes(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let x = c.plain(0)?;
    let shape = c.shape(x).to_vec();
    let along = axis(one_int(c, 2, "axis")?, shape.len())?;
    let mut parts = c.constant_ints(1, "sizes")?;
    let known: i64 = parts.iter().filter(|&&size| size >= 0).fold(0, |sum, &size| sum.saturating_add(size));
    for size in parts.iter_mut().filter(|size| **size == -1) {
        *size = shape[along] as i64 - known;
    }
    let parts = sizes(&parts)?;
    if parts.iter().fold(0, |sum: usize, &size| sum.saturating_add(size)) != shape[along] {
        return Err(format!("parts of {parts:?} do not make up axis {along} of {shape:?}"));
    }
    let mut start = 0;
    let part = |&size: &usize| {
        start += size;
        c.narrow(x, along, start - size, size).map(plain)
    };
    parts.iter().map(part).collect()
}

fn slice(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let x = c.plain(0)?;
    let shape = c.shape(x).to_vec();
    let (begins, lengths) = (c.constant_ints_of(1, "begin", shape.len())?, c.constant_ints_of(2, "size", shape.len())?);
    let starts = sizes(&begins)?;
    let rest = |(i, &length): (usize, &i64)| if length == -1 { shape[i] as i64 - begins[i] } else { length };
    let lengths = sizes(&lengths.iter().enumerate().map(rest).collect::<Vec<_>>())?;
    let attributes = Attributes::none().sizes(&starts).ints(vec![1; shape.len()]).sizes(&lengths);
    Ok(vec![plain(c.emit1(&movement::SLICE, attributes, &[x])?)])
}

/// NumPy's slices: bits of the masks say which begins and ends are open and which axes vanish.
fn strided_slice(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let x = c.plain(0)?;
    let shape = c.shape(x).to_vec();
    let begins = c.constant_ints(1, "begin")?;
    let count = begins.len();
    let (ends, strides) = (c.constant_ints_of(2, "end", count)?, c.constant_ints_of(3, "strides", count)?);
    let mask = |slot: usize| c.operator.option(slot, 0i32);
    let (begin_mask, end_mask, shrink_mask) = (mask(0)?, mask(1)?, mask(4)?);
    if mask(2)? != 0 || mask(3)? != 0 {
        return Err("ellipses and new axes are not supported".into());
    }
    let is_offset = c.operator.flag(5)?;
    if count > shape.len() {
        return Err(format!("{count} slices are given for {shape:?}"));
    }
    let (mut starts, mut steps, mut lengths) = (vec![0; shape.len()], vec![1; shape.len()], shape.clone());
    let is_set = |mask: i32, i: usize| mask >> i & 1 == 1;
    for i in 0..count {
        let (size, step) = (shape[i] as i64, strides[i]);
        let from_end = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
        let begin = from_end(begins[i]);
        if is_set(shrink_mask, i) {
            let at = usize::try_from(begin).ok().filter(|&at| at < shape[i]);
            starts[i] = at.ok_or_else(|| format!("index {} is out of range for axis {i} of {shape:?}", begins[i]))?;
            lengths[i] = 1;
            continue;
        }
        if step == 0 || step == i64::MIN {
            return Err("a stride is 0".into());
        }
        let end = if is_offset { begin.saturating_add(ends[i]) } else { from_end(ends[i]) };
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let first = if step > 0 { 0 } else { size - 1 };
        let last = if step > 0 { size } else { -1 };
        let begin = if is_set(begin_mask, i) { first } else { begin.clamp(low, high) };
        let end = if is_set(end_mask, i) { last } else { end.clamp(low, high) };
        let span = if step > 0 { end - begin } else { begin - end };
        lengths[i] = usize::try_from(span).map_or(0, |span| span.div_ceil(step.unsigned_abs() as usize));
        starts[i] = if lengths[i] == 0 { 0 } else { begin as usize };
        steps[i] = step;
    }
    let attributes = Attributes::none().sizes(&starts).ints(steps).sizes(&lengths);
    let y = c.emit1(&movement::SLICE, attributes, &[x])?;
    let left: Vec<usize> =
        (0..shape.len()).filter(|&i| i >= count || !is_set(shrink_mask, i)).map(|i| lengths[i]).collect();
    Ok(vec![plain(c.reshape(y, &left)?)])
}

fn pad(c: &mut OperatorContext<'_>, fill: Option<Value>) -> OpResult<Vec<Placed>> {
    padded(c, fill, 0)
}

/// Elements before and after each axis; `mode` as in [`movement::PAD`].
fn padded(c: &mut OperatorContext<'_>, fill: Option<Value>, mode: i64) -> OpResult<Vec<Placed>> {
    let Placed { value: x, layout } = c.native(0)?;
    let rank = c.shape(x).len();
    let pads = sizes(&c.constant_ints_of(1, "paddings", 2 * rank)?)?;
    let order: Vec<usize> = if layout == Layout::Image { TO_IMAGE.to_vec() } else { (0..rank).collect() };
    let before: Vec<usize> = order.iter().map(|&a| pads[2 * a]).collect();
    let after: Vec<usize> = order.iter().map(|&a| pads[2 * a + 1]).collect();
    let fill = match fill {
        Some(fill) => fill,
        None => c.number(0.0, x)?,
    };
    let attributes = Attributes::none().sizes(&before).sizes(&after).int(mode);
    Ok(vec![Placed { value: c.emit1(&movement::PAD, attributes, &[x, fill])?, layout }])
}
