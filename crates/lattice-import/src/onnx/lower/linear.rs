//! Matrix products, convolutions and pooling.

use super::activation::hard_sigmoid;
use super::{Entry, computes};
use crate::onnx::node::NodeContext;
use crate::patterns::{Transposed, transposed_convolution};
use lattice_inference::DType;
use lattice_inference::Value;
use lattice_inference::ops::Attributes;
use lattice_inference::ops::conv::{CONV, Geometry, window_count};
use lattice_inference::ops::pool::{AVERAGE_POOL, MAX_POOL, Windows};
use lattice_inference::ops::{OpResult, OpSpec, elementwise as ew, gather, matmul, reduce};

pub(super) const TABLE: &[Entry] = &[
    computes("MatMul", |c| {
        let (a, b) = (c.input(0)?, c.input(1)?);
        Ok(vec![product(c, a, b)?])
    }),
    computes("Gemm", gemm),
    computes("Conv", conv),
    computes("ConvTranspose", conv_transpose),
    computes("MaxPool", |c| pool(c, &MAX_POOL)),
    computes("AveragePool", |c| pool(c, &AVERAGE_POOL)),
    computes("LpPool", lp_pool),
    computes("GlobalAveragePool", |c| {
        let (x, axes) = spatial(c)?;
        Ok(vec![c.mean(x, &axes, true)?])
    }),
    computes("GlobalMaxPool", |c| {
        let (x, axes) = spatial(c)?;
        Ok(vec![c.reduce(&reduce::MAX, x, &axes, true)?])
    }),
    computes("GlobalLpPool", |c| {
        let (x, axes) = spatial(c)?;
        let p = c.int("p", 2)?;
        let powered = lp_power(c, x, p)?;
        let sum = c.reduce(&reduce::SUM, powered, &axes, true)?;
        Ok(vec![lp_root(c, sum, p)?])
    }),
    computes("Einsum", super::shape::einsum),
];

pub(super) const MICROSOFT: &[Entry] = &[
    computes("FusedMatMul", |c| {
        let (mut a, mut b) = (c.input(0)?, c.input(1)?);
        if c.flag("transBatchA", false)? || c.flag("transBatchB", false)? {
            return Err("batch transposition is not supported".into());
        }
        if c.flag("transA", false)? {
            a = transposed(c, a)?;
        }
        if c.flag("transB", false)? {
            b = transposed(c, b)?;
        }
        let y = product(c, a, b)?;
        let alpha = c.float("alpha", 1.0)?;
        Ok(vec![scaled(c, y, alpha)?])
    }),
    computes("FusedConv", fused_conv),
];

/// NumPy's matmul: operands of rank 1 are rows and columns whose dimension vanishes again.
pub(super) fn product(c: &mut NodeContext<'_>, a: Value, b: Value) -> OpResult<Value> {
    let (shape_a, shape_b) = (c.shape(a), c.shape(b));
    if shape_a.is_empty() || shape_b.is_empty() {
        return Err("a scalar cannot be an operand of a matrix product".into());
    }
    let left = if let [k] = shape_a[..] { c.reshape(a, &[1, k])? } else { a };
    let right = if let [k] = shape_b[..] { c.reshape(b, &[k, 1])? } else { b };
    let y = match one_hot_indices(c, left, right) {
        Some(indices) => c.emit(&gather::LOOKUP, Attributes::none(), &[indices, right])?,
        None => c.binary(&matmul::MATMUL, left, right)?,
    };
    let mut shape = c.shape(y);
    if shape_b.len() == 1 {
        shape.pop();
    }
    if shape_a.len() == 1 {
        let row = shape.len() - usize::from(shape_b.len() != 1) - 1;
        shape.remove(row);
    }
    c.reshape(y, &shape)
}

/// Recognises one-hot rows, `Cast(Equal(Expand(i[.., 1]), [0, 1, .. k-1]))`, times a finite table: then the product is a
/// lookup, bit for bit, because every other term of each chain is a zero.
fn one_hot_indices(c: &mut NodeContext<'_>, rows: Value, table: Value) -> Option<Value> {
    let finite = c.builder.tensor(table)?.as_f32()?.iter().all(|v| v.is_finite());
    let (depth, rank) = (*c.shape(table).first()?, c.rank(rows));
    if !finite || c.rank(table) != 2 || c.dtype(rows) != DType::F32 {
        return None;
    }
    let (cast, _, operands) = c.builder.producer(rows)?;
    let equal = *operands.first().filter(|_| cast.name == "Cast")?;
    let (compare, _, operands) = c.builder.producer(equal)?;
    let &[a, b] = operands else { return None };
    if compare.name != "Equal" || !matches!(c.dtype(a), DType::I32 | DType::I64) {
        return None;
    }
    let is_iota = |v: Value| {
        let values = c.builder.tensor(v).filter(|t| t.len() == depth).and_then(|t| t.to_i64s());
        let last = c.builder.shape(v).last() == Some(&depth);
        last && values.is_some_and(|v| v.iter().enumerate().all(|(i, &v)| i as i64 == v))
    };
    let mut indices = if is_iota(b) && depth > 1 {
        a
    } else if is_iota(a) && depth > 1 {
        b
    } else {
        return None;
    };
    // The comparison may be written on an expanded operand; what was expanded is what matters.
    if let Some((expand, _, operands)) = c.builder.producer(indices).filter(|(op, ..)| op.name == "Expand") {
        debug_assert_eq!(expand.name, "Expand");
        indices = operands[0];
    }
    let shape = c.shape(rows);
    let wanted = &shape[..rank - 1];
    let own = c.shape(indices);
    let fits = own.last() == Some(&1) && own.len() == rank && own[..rank - 1] == *wanted;
    if !fits {
        return None;
    }
    let wanted = wanted.to_vec();
    c.reshape(indices, &wanted).ok()
}

fn transposed(c: &mut NodeContext<'_>, x: Value) -> OpResult<Value> {
    let rank = c.rank(x);
    if rank < 2 {
        return Err("it needs operands with two dimensions or more".into());
    }
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 1, rank - 2);
    c.transpose(x, &axes)
}

fn scaled(c: &mut NodeContext<'_>, x: Value, factor: f32) -> OpResult<Value> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = c.number(f64::from(factor), x)?;
    c.mul(x, factor)
}

/// alpha * (a' b') + beta * c.
fn gemm(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (mut a, mut b) = (c.input(0)?, c.input(1)?);
    if c.rank(a) != 2 || c.rank(b) != 2 {
        return Err(format!("operands must have two dimensions, got {:?} and {:?}", c.shape(a), c.shape(b)));
    }
    if c.flag("transA", false)? {
        a = transposed(c, a)?;
    }
    if c.flag("transB", false)? {
        b = transposed(c, b)?;
    }
    let mut y = c.binary(&matmul::MATMUL, a, b)?;
    let alpha = c.float("alpha", 1.0)?;
    y = scaled(c, y, alpha)?;
    if let Some(bias) = c.optional(2) {
        let beta = c.float("beta", 1.0)?;
        let bias = scaled(c, bias, beta)?;
        if c.broadcast_shape(y, bias)? != c.shape(y) {
            return Err(format!("bias {:?} does not broadcast to {:?}", c.shape(bias), c.shape(y)));
        }
        y = c.add(y, bias)?;
    }
    Ok(vec![y])
}

/// Batch and channels aside, the axes of an image.
fn spatial(c: &NodeContext<'_>) -> OpResult<(Value, Vec<usize>)> {
    let x = c.input(0)?;
    match c.rank(x) {
        rank if rank > 2 => Ok((x, (2..rank).collect())),
        rank => Err(format!("it needs an operand of rank 3 or more, got {rank}")),
    }
}

/// Sizes read from a node's attributes, checked to be positive and of the right number.
fn sizes(c: &NodeContext<'_>, name: &str, rank: usize, default: usize) -> OpResult<Vec<usize>> {
    let Some(values) = c.ints(name)? else { return Ok(vec![default; rank]) };
    let sizes: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok().filter(|&v| v < 1 << 24)).collect();
    sizes
        .filter(|s| s.len() == rank)
        .ok_or_else(|| format!("attribute '{name}' must hold {rank} sizes, got {values:?}"))
}

/// Padding before and after, from `pads` or worked out from `auto_pad`.
fn pads(
    c: &NodeContext<'_>,
    input: &[usize],
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
) -> OpResult<(Vec<usize>, Vec<usize>)> {
    let rank = input.len();
    let mode = c.text("auto_pad", "NOTSET")?;
    match mode.as_str() {
        "NOTSET" | "" => {
            let pads = sizes(c, "pads", 2 * rank, 0)?;
            Ok((pads[..rank].to_vec(), pads[rank..].to_vec()))
        }
        "VALID" => Ok((vec![0; rank], vec![0; rank])),
        "SAME_UPPER" | "SAME_LOWER" => {
            let total = |i: usize| {
                let output = input[i].div_ceil(strides[i].max(1));
                let reach = output.saturating_sub(1) * strides[i] + kernel[i].saturating_sub(1) * dilations[i] + 1;
                reach.saturating_sub(input[i])
            };
            let totals: Vec<usize> = (0..rank).map(total).collect();
            let (small, large) = (totals.iter().map(|t| t / 2).collect(), totals.iter().map(|t| t - t / 2).collect());
            Ok(if mode == "SAME_UPPER" { (small, large) } else { (large, small) })
        }
        other => Err(format!("auto_pad '{other}' is not known")),
    }
}

/// Adds one number for each output channel.
fn add_bias(c: &mut NodeContext<'_>, y: Value, bias: Option<Value>) -> OpResult<Value> {
    let Some(bias) = bias else { return Ok(y) };
    let (rank, channels) = (c.rank(y), c.shape(y)[1]);
    if c.shape(bias) != [channels] {
        return Err(format!("bias must have shape [{channels}], got {:?}", c.shape(bias)));
    }
    let mut along = vec![1; rank - 1];
    along[0] = channels;
    let bias = c.reshape(bias, &along)?;
    c.add(y, bias)
}

/// A convolution, another tensor added to it where there is one, and an activation.
fn fused_conv(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let mut y = conv(c)?[0];
    if let Some(other) = c.optional(3) {
        y = c.add(y, other)?;
    }
    let given = c.floats("activation_params")?;
    let parameters = |names: [f32; 2]| match given.as_deref() {
        None => Ok(names),
        Some(&[one]) => Ok([one, names[1]]),
        Some(&[one, two]) => Ok([one, two]),
        Some(many) => Err(format!("activation_params must be one or two numbers, got {many:?}")),
    };
    Ok(vec![match c.text("activation", "")?.as_str() {
        "" => y,
        "Relu" => c.unary(&ew::RELU, y)?,
        "Sigmoid" => c.unary(&ew::SIGMOID, y)?,
        "Tanh" => c.unary(&ew::TANH, y)?,
        "LeakyRelu" => {
            let [alpha, _] = parameters([0.01, 0.0])?;
            c.emit(&ew::LEAKY_RELU, Attributes::none().float(alpha), &[y])?
        }
        "HardSigmoid" => {
            let [alpha, beta] = parameters([0.2, 0.5])?;
            hard_sigmoid(c, y, alpha, beta)?
        }
        "Clip" => {
            let [low, high] = parameters([f32::MIN, f32::MAX])?;
            let (low, high) = (c.number(low.into(), y)?, c.number(high.into(), y)?);
            let raised = c.binary(&ew::MAX, y, low)?;
            c.binary(&ew::MIN, raised, high)?
        }
        other => return Err(format!("activation '{other}' is not supported here")),
    }])
}

fn conv(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, w) = (c.input(0)?, c.input(1)?);
    let y = convolution(c, x, w)?;
    Ok(vec![add_bias(c, y, c.optional(2))?])
}

/// The convolution that the node's attributes tell of, without a bias.
fn convolution(c: &mut NodeContext<'_>, x: Value, w: Value) -> OpResult<Value> {
    let attributes = geometry(c, x, w)?.attributes();
    c.emit(&CONV, attributes, &[x, w])
}

/// How the node's attributes say that its kernel moves.
pub(super) fn geometry(c: &NodeContext<'_>, x: Value, w: Value) -> OpResult<Geometry> {
    let (x_shape, w_shape) = (c.shape(x), c.shape(w));
    let ([_, _, input @ ..], [_, _, kernel @ ..]) = (x_shape.as_slice(), w_shape.as_slice()) else {
        return Err(format!("operands must have rank 3 or more, got {x_shape:?} and {w_shape:?}"));
    };
    let rank = input.len();
    if kernel.len() != rank || !(1..=3).contains(&rank) {
        return Err(format!("one to three spatial dimensions are supported; got {x_shape:?} and weights {w_shape:?}"));
    }
    if sizes(c, "kernel_shape", rank, 0)? != kernel && c.has("kernel_shape") {
        return Err(format!("attribute 'kernel_shape' does not fit weights {w_shape:?}"));
    }
    let (strides, dilations) = (sizes(c, "strides", rank, 1)?, sizes(c, "dilations", rank, 1)?);
    let (pads_before, pads_after) = pads(c, input, kernel, &strides, &dilations)?;
    let group = usize::try_from(c.int("group", 1)?).map_err(|_| "attribute 'group' is negative".to_string())?;
    Ok(Geometry { strides, pads_before, pads_after, dilations, group })
}

fn conv_transpose(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, w) = (c.input(0)?, c.input(1)?);
    let (x_shape, w_shape) = (c.shape(x), c.shape(w));
    let ([_, channels, input @ ..], [w_channels, _, kernel @ ..]) = (x_shape.as_slice(), w_shape.as_slice()) else {
        return Err(format!("operands must have rank 3 or more, got {x_shape:?} and {w_shape:?}"));
    };
    let rank = input.len();
    let group = usize::try_from(c.int("group", 1)?).unwrap_or(0);
    if kernel.len() != rank || !(1..=3).contains(&rank) || channels != w_channels || group == 0 || channels % group != 0
    {
        return Err(format!("input {x_shape:?} does not fit weights {w_shape:?} in {group} groups"));
    }
    if input.contains(&0) || kernel.contains(&0) {
        return Err("empty dimensions are not supported".into());
    }
    let (strides, dilations) = (sizes(c, "strides", rank, 1)?, sizes(c, "dilations", rank, 1)?);
    if strides.contains(&0) || dilations.contains(&0) {
        return Err("strides and dilations must be positive".into());
    }
    let output_padding = sizes(c, "output_padding", rank, 0)?;
    let full: Vec<usize> = (0..rank)
        .map(|i| (input[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 + output_padding[i])
        .collect();
    let (before, mut after) = transpose_pads(c, input, &strides, &full)?;
    after.iter_mut().zip(&output_padding).for_each(|(cut, &extra)| *cut -= extra as i64);
    let y = transposed_convolution(c, x, w, &Transposed { strides, dilations, group, before, after })?;
    Ok(vec![add_bias(c, y, c.optional(2))?])
}

/// Pads of a transposed convolution: given, or worked out from the output shape; negative ones extend the output.
fn transpose_pads(
    c: &NodeContext<'_>,
    input: &[usize],
    strides: &[usize],
    full: &[usize],
) -> OpResult<(Vec<i64>, Vec<i64>)> {
    let rank = input.len();
    let mode = c.text("auto_pad", "NOTSET")?;
    let target: Option<Vec<usize>> = match (c.ints("output_shape")?, mode.as_str()) {
        (Some(shape), _) => {
            let tail = &shape[shape.len().saturating_sub(rank)..];
            let sizes: Option<Vec<usize>> =
                tail.iter().map(|&v| usize::try_from(v).ok().filter(|&v| v < 1 << 24)).collect();
            Some(sizes.filter(|s| s.len() == rank).ok_or("attribute 'output_shape' does not fit")?)
        }
        (None, "SAME_UPPER" | "SAME_LOWER") => Some((0..rank).map(|i| input[i] * strides[i]).collect()),
        (None, "NOTSET" | "" | "VALID") => None,
        (None, other) => return Err(format!("auto_pad '{other}' is not known")),
    };
    let Some(target) = target else {
        let pads = if mode == "VALID" { vec![0; 2 * rank] } else { sizes(c, "pads", 2 * rank, 0)? };
        let signed: Vec<i64> = pads.iter().map(|&p| p as i64).collect();
        return Ok((signed[..rank].to_vec(), signed[rank..].to_vec()));
    };
    let total = |i: usize| full[i] as i64 - target[i] as i64;
    let floor: Vec<i64> = (0..rank).map(|i| total(i).div_euclid(2)).collect();
    let ceil: Vec<i64> = (0..rank).map(|i| total(i) - floor[i]).collect();
    Ok(if mode == "SAME_UPPER" { (floor, ceil) } else { (ceil, floor) })
}

/// Windows of a pooling node, `ceil_mode` worked out into output sizes.
pub(super) fn windows(c: &NodeContext<'_>, x: Value) -> OpResult<Windows> {
    let shape = c.shape(x);
    let [_, _, input @ ..] = shape.as_slice() else { return Err(format!("it needs rank 3 to 5, got {shape:?}")) };
    let rank = input.len();
    if !c.has("kernel_shape") {
        return Err("attribute 'kernel_shape' is missing".into());
    }
    let kernel = sizes(c, "kernel_shape", rank, 1)?;
    let (strides, dilations) = (sizes(c, "strides", rank, 1)?, sizes(c, "dilations", rank, 1)?);
    let (pads_before, pads_after) = pads(c, input, &kernel, &strides, &dilations)?;
    let ceil = c.flag("ceil_mode", false)?;
    let count_padding = c.flag("count_include_pad", false)?;
    let mut output = Vec::with_capacity(rank);
    for i in 0..rank {
        let (b, a) = (pads_before[i], pads_after[i]);
        if b.max(a) > (kernel[i].max(1) - 1) * dilations[i] {
            return Err(format!("padding {b} and {a} is not smaller than the window of {}", kernel[i]));
        }
        // Rounding up is like padding by a stride less one; a window that would begin in that padding is dropped.
        let extra = if ceil { strides[i].saturating_sub(1) } else { 0 };
        let mut count = window_count(input[i], kernel[i], strides[i], dilations[i], (b, a + extra))?;
        if ceil && (count - 1) * strides[i] >= input[i] + b {
            count -= 1;
        }
        output.push(count);
    }
    Ok(Windows { kernel, strides, pads_before, pads_after, dilations, output, count_padding })
}

fn pool(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    if c.wants_output(1) {
        return Err("the positions of the maxima (second result) are not supported".into());
    }
    let attributes = windows(c, x)?.attributes();
    Ok(vec![c.emit(op, attributes, &[x])?])
}

fn lp_power(c: &mut NodeContext<'_>, x: Value, p: i64) -> OpResult<Value> {
    match p {
        1 => c.unary(&ew::ABS, x),
        2 => c.mul(x, x),
        _ => {
            let (magnitude, exponent) = (c.unary(&ew::ABS, x)?, c.number(p as f64, x)?);
            c.binary(&ew::POW, magnitude, exponent)
        }
    }
}

fn lp_root(c: &mut NodeContext<'_>, x: Value, p: i64) -> OpResult<Value> {
    match p {
        1 => Ok(x),
        2 => c.unary(&ew::SQRT, x),
        _ => {
            let exponent = c.number(1.0 / p as f64, x)?;
            c.binary(&ew::POW, x, exponent)
        }
    }
}

/// The p-norm of each window: an average that counts padding, times the window's size, between power and root.
fn lp_pool(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let p = c.int("p", 2)?;
    if p < 1 {
        return Err(format!("p must be positive, got {p}"));
    }
    if c.flag("ceil_mode", false)? {
        return Err("ceil_mode is not supported".into());
    }
    let mut windows = windows(c, x)?;
    windows.count_padding = true;
    let size: usize = windows.kernel.iter().product();
    let powered = lp_power(c, x, p)?;
    let average = c.emit(&AVERAGE_POOL, windows.attributes(), &[powered])?;
    let size = c.number(size as f64, x)?;
    let sum = c.mul(average, size)?;
    Ok(vec![lp_root(c, sum, p)?])
}
