//! Softmax and the normalisation layers.

use super::{Entry, computes};
use crate::onnx::node::NodeContext;
use lattice_inference::DType;
use lattice_inference::Value;
use lattice_inference::ops::conv::CONV;
use lattice_inference::ops::normalize::{LOG_SOFTMAX, NORMALIZE, SOFTMAX};
use lattice_inference::ops::pool::{AVERAGE_POOL, Windows};
use lattice_inference::ops::search::ARG_MAX;
use lattice_inference::ops::{Attributes, OpResult, OpSpec, compare, elementwise as ew, reduce};

pub(super) const TABLE: &[Entry] = &[
    computes("Softmax", |c| softmax(c, &SOFTMAX)),
    computes("LogSoftmax", |c| softmax(c, &LOG_SOFTMAX)),
    computes("Hardmax", hardmax),
    computes("BatchNormalization", batch),
    computes("LayerNormalization", layer),
    computes("RMSNormalization", rms),
    computes("SimplifiedLayerNormalization", rms),
    computes("InstanceNormalization", instance),
    computes("GroupNormalization", group),
    computes("MeanVarianceNormalization", mean_variance),
    computes("LpNormalization", lp),
    computes("LRN", local_response),
];

pub(super) const MICROSOFT: &[Entry] = &[computes("SkipLayerNormalization", |c| {
    let (x, skip, scale) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let mut sum = c.add(x, skip)?;
    if let Some(bias) = c.optional(4) {
        sum = c.add(sum, bias)?;
    }
    let (epsilon, axis) = (c.float("epsilon", 1e-12)?, c.rank(sum).saturating_sub(1));
    let y = affine(c, sum, axis, epsilon, Some(scale), c.optional(3))?;
    Ok(vec![y])
})];

/// Moves an axis last around a row-wise operator; before version 13 everything from the axis on is one row.
fn along(
    c: &mut NodeContext<'_>,
    f: impl FnOnce(&mut NodeContext<'_>, Value) -> OpResult<Value>,
) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let shape = c.shape(x);
    let axis = c.int("axis", if c.opset < 13 { 1 } else { -1 })?;
    if c.opset < 13 {
        let axis = if axis == shape.len() as i64 { shape.len() } else { c.axis(axis, shape.len())? };
        let flat = [shape[..axis].iter().product(), shape[axis..].iter().product()];
        let rows = c.reshape(x, &flat)?;
        let y = f(c, rows)?;
        return Ok(vec![c.reshape(y, &shape)?]);
    }
    let axis = c.axis(axis, shape.len())?;
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.swap(axis, shape.len() - 1);
    let moved = c.transpose(x, &order)?;
    let y = f(c, moved)?;
    Ok(vec![c.transpose(y, &order)?])
}

fn softmax(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    along(c, |c, rows| c.unary(op, rows))
}

fn hardmax(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    along(c, |c, rows| {
        let (rank, dtype) = (c.rank(rows), c.dtype(rows));
        let size = c.shape(rows)[rank - 1];
        let top = c.emit(&ARG_MAX, Attributes::none().int(rank as i64 - 1).flag(true).flag(false), &[rows])?;
        let positions = c.i64s(&[size], (0..size as i64).collect())?;
        let hot = c.binary(&compare::EQUAL, top, positions)?;
        c.cast(hot, dtype)
    })
}

/// Reshapes a vector over the channels so that it broadcasts along axis 1.
fn per_channel(c: &mut NodeContext<'_>, vector: Value, rank: usize) -> OpResult<Value> {
    let [channels] = c.shape(vector)[..] else {
        return Err(format!("expected one number a channel, got {:?}", c.shape(vector)));
    };
    let mut shape = vec![1; rank.saturating_sub(1).max(1)];
    shape[0] = channels;
    c.reshape(vector, &shape)
}

/// x * scale' + bias' with both worked out beforehand: folded when the statistics are constants, as they always are.
fn batch(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, scale, bias, mean, variance) = (c.input(0)?, c.input(1)?, c.input(2)?, c.input(3)?, c.input(4)?);
    if c.flag("training_mode", false)? || c.opset < 14 && c.wants_output(1) {
        return Err("training mode is not supported; export the model for inference".into());
    }
    let (rank, channels) = (c.rank(x), c.shape(x).get(1).copied().unwrap_or(1));
    for (value, what) in [(scale, "scale"), (bias, "bias"), (mean, "mean"), (variance, "variance")] {
        if c.shape(value) != [channels] {
            return Err(format!("{what} must have shape [{channels}], got {:?}", c.shape(value)));
        }
    }
    let epsilon = c.float("epsilon", 1e-5)?;
    let epsilon = c.number(f64::from(epsilon), variance)?;
    let variance = c.add(variance, epsilon)?;
    let deviation = c.unary(&ew::SQRT, variance)?;
    let factor = c.div(scale, deviation)?;
    let shift = c.mul(mean, factor)?;
    let offset = c.sub(bias, shift)?;
    let (along, offset) = (per_channel(c, factor, rank)?, per_channel(c, offset, rank)?);
    if let Some((scaled, bias)) = scaled_convolution(c, x, factor)? {
        let offset = match bias {
            None => offset,
            Some(bias) => {
                let bias = c.mul(bias, along)?;
                c.add(bias, offset)?
            }
        };
        return Ok(vec![c.add(scaled, offset)?]);
    }
    let scaled = c.mul(x, along)?;
    Ok(vec![c.add(scaled, offset)?])
}

/// When `x` is a convolution by constant weights (plus a bias): the one by weights times a factor for each output, and the bias.
/// The new weights have no name, because what is trained for the original ones does not fit them.
fn scaled_convolution(c: &mut NodeContext<'_>, x: Value, factor: Value) -> OpResult<Option<(Value, Option<Value>)>> {
    let made_by = |c: &NodeContext<'_>, value: Value, op: &OpSpec| match c.builder.producer(value) {
        Some((found, attributes, operands)) if found.code == op.code => Some((attributes.clone(), operands.to_vec())),
        _ => None,
    };
    let constant = |c: &NodeContext<'_>, value: Value| c.builder.tensor(value).cloned();
    let (convolution, bias) = match made_by(c, x, &ew::ADD) {
        Some((_, operands)) if constant(c, operands[1]).is_some() => (operands[0], Some(operands[1])),
        _ => (x, None),
    };
    let Some((attributes, operands)) = made_by(c, convolution, &CONV) else { return Ok(None) };
    let mut along = vec![1; c.rank(operands[1])];
    along[0] = c.shape(factor)[0];
    let factor = c.reshape(factor, &along)?;
    if constant(c, operands[1]).is_none() || constant(c, factor).is_none() {
        return Ok(None);
    }
    let weights = c.mul(operands[1], factor)?;
    let Some(weights) = constant(c, weights) else { return Ok(None) };
    let weights = c.builder.constant("", weights);
    Ok(Some((c.emit(&CONV, attributes, &[operands[0], weights])?, bias)))
}

/// Normalises everything from an axis on, then scales and shifts.
fn affine(
    c: &mut NodeContext<'_>,
    x: Value,
    axis: usize,
    epsilon: f32,
    scale: Option<Value>,
    bias: Option<Value>,
) -> OpResult<Value> {
    let mut y = c.emit(&NORMALIZE, Attributes::none().int(axis as i64).float(epsilon), &[x])?;
    if let Some(scale) = scale {
        y = c.mul(y, scale)?;
    }
    if let Some(bias) = bias {
        y = c.add(y, bias)?;
    }
    if c.shape(y) != c.shape(x) {
        return Err(format!("scale and bias do not broadcast to {:?}", c.shape(x)));
    }
    Ok(y)
}

fn layer(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let rank = c.rank(x);
    let axis = c.int("axis", -1).and_then(|axis| c.axis(axis, rank))?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let mut results = vec![affine(c, x, axis, epsilon, Some(c.input(1)?), c.optional(2))?];
    if c.wants_output(1) || c.wants_output(2) {
        let axes: Vec<usize> = (axis..rank).collect();
        let mean = c.mean(x, &axes, true)?;
        let centred = c.sub(x, mean)?;
        let squares = c.mul(centred, centred)?;
        let variance = c.mean(squares, &axes, true)?;
        let epsilon = c.number(f64::from(epsilon), x)?;
        let shifted = c.add(variance, epsilon)?;
        let deviation = c.unary(&ew::SQRT, shifted)?;
        results.extend([mean, c.unary(&ew::RECIPROCAL, deviation)?]);
    }
    Ok(results)
}

/// x / sqrt(mean(x^2) + epsilon) * scale.
fn rms(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, scale) = (c.input(0)?, c.input(1)?);
    let rank = c.rank(x);
    let axis = c.int("axis", -1).and_then(|axis| c.axis(axis, rank))?;
    let axes: Vec<usize> = (axis..rank).collect();
    let squares = c.mul(x, x)?;
    let mean = c.mean(squares, &axes, true)?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let epsilon = c.number(f64::from(epsilon), x)?;
    let shifted = c.add(mean, epsilon)?;
    let root = c.unary(&ew::SQRT, shifted)?;
    let y = c.div(x, root)?;
    Ok(vec![c.mul(y, scale)?])
}

fn instance(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, scale, bias) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let rank = c.rank(x);
    if rank < 3 {
        return Err(format!("it needs an operand of rank 3 or more, got {rank}"));
    }
    let (scale, bias) = (per_channel(c, scale, rank)?, per_channel(c, bias, rank)?);
    let epsilon = c.float("epsilon", 1e-5)?;
    Ok(vec![affine(c, x, 2, epsilon, Some(scale), Some(bias))?])
}

fn group(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, scale, bias) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let shape = c.shape(x);
    let groups = usize::try_from(c.int("num_groups", 0)?).unwrap_or(0);
    let [batch, channels, spatial @ ..] = shape.as_slice() else {
        return Err("it needs an operand of rank 2 or more".into());
    };
    if groups == 0 || channels % groups != 0 {
        return Err(format!("{channels} channels do not fall into {groups} groups"));
    }
    let inner: usize = channels / groups * spatial.iter().product::<usize>();
    let rows = c.reshape(x, &[*batch, groups, inner])?;
    let epsilon = c.float("epsilon", 1e-5)?;
    let rows = c.emit(&NORMALIZE, Attributes::none().int(2).float(epsilon), &[rows])?;
    // Since version 21 scale and bias are per channel, before that per group.
    let per_group = c.opset < 21 && c.shape(scale) == [groups];
    let middle = if per_group { vec![*batch, groups, inner] } else { shape.clone() };
    let y = c.reshape(rows, &middle)?;
    let (scale, bias) = (per_channel(c, scale, middle.len())?, per_channel(c, bias, middle.len())?);
    let y = c.mul(y, scale)?;
    let y = c.add(y, bias)?;
    Ok(vec![c.reshape(y, &shape)?])
}

fn mean_variance(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let axes = c.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = c.axes(&axes, c.rank(x))?;
    let mean = c.mean(x, &axes, true)?;
    let centred = c.sub(x, mean)?;
    let squares = c.mul(centred, centred)?;
    let variance = c.mean(squares, &axes, true)?;
    let deviation = c.unary(&ew::SQRT, variance)?;
    let epsilon = c.number(1e-9, x)?;
    let deviation = c.add(deviation, epsilon)?;
    Ok(vec![c.div(centred, deviation)?])
}

fn lp(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let axis = c.int("axis", -1).and_then(|axis| c.axis(axis, c.rank(x)))?;
    let norm = match c.int("p", 2)? {
        1 => {
            let magnitude = c.unary(&ew::ABS, x)?;
            c.reduce(&reduce::SUM, magnitude, &[axis], true)?
        }
        2 => {
            let squares = c.mul(x, x)?;
            let sum = c.reduce(&reduce::SUM, squares, &[axis], true)?;
            c.unary(&ew::SQRT, sum)?
        }
        p => return Err(format!("p must be 1 or 2, got {p}")),
    };
    Ok(vec![c.div(x, norm)?])
}

/// x / (bias + alpha / size * sum of squares over neighbouring channels) ^ beta.
fn local_response(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let shape = c.shape(x);
    let size = usize::try_from(c.int("size", 0)?)
        .ok()
        .filter(|&s| s > 0 && s < 1 << 16)
        .ok_or("attribute 'size' must be positive")?;
    let [batch, channels, spatial @ ..] = shape.as_slice() else {
        return Err("it needs an operand of rank 3 or more".into());
    };
    if c.dtype(x) != DType::F32 {
        return Err(format!("it is supported for f32, not {}", c.dtype(x)));
    }
    // The channels become a spatial dimension, over which squares are averaged with padding counted.
    let inner: usize = spatial.iter().product();
    let squares = c.mul(x, x)?;
    let planes = c.reshape(squares, &[*batch, 1, *channels, inner])?;
    let windows = Windows {
        kernel: vec![size, 1],
        strides: vec![1, 1],
        pads_before: vec![(size - 1) / 2, 0],
        pads_after: vec![size / 2, 0],
        dilations: vec![1, 1],
        output: vec![*channels, inner],
        count_padding: true,
    };
    let average = c.emit(&AVERAGE_POOL, windows.attributes(), &[planes])?;
    let average = c.reshape(average, &shape)?;
    let (alpha, beta, bias) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("bias", 1.0)?);
    let (alpha, beta, bias) =
        (c.number(f64::from(alpha), x)?, c.number(f64::from(beta), x)?, c.number(f64::from(bias), x)?);
    let scaled = c.mul(average, alpha)?;
    let base = c.add(scaled, bias)?;
    let divisor = c.binary(&ew::POW, base, beta)?;
    Ok(vec![c.div(x, divisor)?])
}
