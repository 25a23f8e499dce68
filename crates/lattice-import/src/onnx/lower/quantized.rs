//! Operators on quantised tensors: exact integer sums, then one scale to the result's integers.
//!
//! Sums of products are exact i32. With scales known at import they are rescaled in class Q; otherwise by round-half-to-even of
//! sum * (scale a * scale b / scale y) in f32, as ONNX Runtime computes it. Other operators are written on real values, which
//! [`lattice_inference::quant`] turns into integers where it can.

use super::{Entry, computes, linear};
use crate::onnx::node::NodeContext;
use lattice_inference::DType;
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, OpSpec, elementwise as ew, normalize, pool::AVERAGE_POOL};
use lattice_inference::quant::{self, conv::INTEGER_CONV, matmul::INTEGER_MATMUL};

pub(super) const TABLE: &[Entry] = &[
    computes("MatMulInteger", |c| {
        let operands = [(c.input(0)?, c.optional(2)), (c.input(1)?, c.optional(3))];
        Ok(vec![product(c, operands)?])
    }),
    computes("ConvInteger", |c| {
        let operands = [(c.input(0)?, c.optional(2)), (c.input(1)?, c.optional(3))];
        Ok(vec![convolution(c, operands)?])
    }),
    computes("QLinearMatMul", |c| {
        let operands = [(c.input(0)?, c.optional(2)), (c.input(3)?, c.optional(5))];
        let (sum, scales) = (product(c, operands)?, [c.input(1)?, c.input(4)?]);
        let (k, axis) = (length(c, operands[1].0, false), c.rank(sum) - 1);
        Ok(vec![rescale(c, sum, scales, (6, k), (axis, None))?])
    }),
    computes("QLinearConv", |c| {
        let operands = [(c.input(0)?, c.optional(2)), (c.input(3)?, c.optional(5))];
        let (sum, scales) = (convolution(c, operands)?, [c.input(1)?, c.input(4)?]);
        let (k, bias) = (length(c, operands[1].0, true), c.optional(8));
        Ok(vec![rescale(c, sum, scales, (6, k), (1, bias))?])
    }),
];

pub(super) const MICROSOFT: &[Entry] = &[
    computes("QLinearAdd", |c| pair(c, &ew::ADD)),
    computes("QLinearMul", |c| pair(c, &ew::MUL)),
    computes("QLinearSigmoid", |c| real_valued(c, |c, x| c.unary(&ew::SIGMOID, x))),
    computes("QLinearLeakyRelu", |c| {
        let alpha = c.float("alpha", 0.01)?;
        real_valued(c, |c, x| c.emit(&ew::LEAKY_RELU, Attributes::none().float(alpha), &[x]))
    }),
    computes("QLinearSoftmax", |c| {
        let rank = c.rank(c.input(0)?);
        let axis = c.int("axis", -1).and_then(|axis| c.axis(axis, rank))?;
        if axis + 1 != rank {
            return Err(format!("only the last axis is supported, got {axis} of {rank}"));
        }
        real_valued(c, |c, x| c.unary(&normalize::SOFTMAX, x))
    }),
    computes("QLinearGlobalAveragePool", |c| {
        let rank = c.rank(c.input(0)?);
        let channels_last = c.flag("channels_last", false)?;
        let axes: Vec<usize> = if channels_last { (1..rank.max(1) - 1).collect() } else { (2..rank).collect() };
        real_valued(c, |c, x| c.mean(x, &axes, true))
    }),
    computes("QLinearAveragePool", |c| {
        if c.flag("channels_last", false)? {
            return Err("channels as the last dimension are not supported".into());
        }
        real_valued(c, |c, x| {
            let windows = linear::windows(c, x)?.attributes();
            c.emit(&AVERAGE_POOL, windows, &[x])
        })
    }),
    computes("QLinearConcat", |c| {
        let (scale, zero) = (c.input(0)?, c.optional(1));
        let mut parts = Vec::new();
        for at in (2..c.inputs.len()).step_by(3) {
            let x = c.input(at)?;
            let (own_scale, own_zero) = (c.input(at + 1)?, c.optional(at + 2));
            parts.push(quant::dequantize(c, x, own_scale, own_zero)?);
        }
        let rank = c.rank(*parts.first().ok_or("it has no operands")?);
        let axis = c.int("axis", 0).and_then(|axis| c.axis(axis, rank))?;
        let joined = c.concat(axis, &parts)?;
        Ok(vec![quantize(c, joined, scale, zero)?])
    }),
    computes("QGemm", gemm),
];

/// Quantised as a zero point says; u8 without one.
fn quantize(c: &mut NodeContext<'_>, x: Value, scale: Value, zero: Option<Value>) -> OpResult<Value> {
    let dtype = zero.map_or(DType::U8, |zero| c.dtype(zero));
    quant::quantize(c, x, scale, zero, dtype)
}

/// One operand with scale and zero point, the result's scale and zero point after them.
fn real_valued(
    c: &mut NodeContext<'_>,
    function: impl Fn(&mut NodeContext<'_>, Value) -> OpResult<Value>,
) -> OpResult<Vec<Value>> {
    let (x, scale, zero) = (c.input(0)?, c.input(1)?, c.optional(2));
    let x = quant::dequantize(c, x, scale, zero)?;
    let y = function(c, x)?;
    let (scale, zero) = (c.input(3)?, c.optional(4));
    Ok(vec![quantize(c, y, scale, zero)?])
}

/// Two operands, each with scale and zero point, then those of the result.
fn pair(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let mut real = [c.input(0)?, c.input(3)?];
    for (i, x) in real.iter_mut().enumerate() {
        let (scale, zero) = (c.input(3 * i + 1)?, c.optional(3 * i + 2));
        *x = quant::dequantize(c, *x, scale, zero)?;
    }
    let y = c.binary(op, real[0], real[1])?;
    let (scale, zero) = (c.input(6)?, c.optional(7));
    Ok(vec![quantize(c, y, scale, zero)?])
}

/// alpha * (a - zero a) (b - zero b) + c, in integers or, without a scale for the result, as real values.
fn gemm(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let mut operands = [(c.input(0)?, c.optional(2)), (c.input(3)?, c.optional(5))];
    for ((x, _), name) in operands.iter_mut().zip(["transA", "transB"]) {
        if c.rank(*x) != 2 {
            return Err(format!("operands must have two dimensions, got {:?}", c.shape(*x)));
        }
        if c.flag(name, false)? {
            *x = c.transpose(*x, &[1, 0])?;
        }
    }
    let (mut sum, bias) = (product(c, operands)?, c.optional(6));
    let (left, alpha) = (c.input(1)?, c.float("alpha", 1.0)?);
    let alpha = c.number(f64::from(alpha), left)?;
    let scales = [c.mul(left, alpha)?, c.input(4)?];
    if c.optional(7).is_some() {
        let (k, axis) = (length(c, operands[1].0, false), 1);
        return Ok(vec![rescale(c, sum, scales, (7, k), (axis, bias))?]);
    }
    if let Some(bias) = bias {
        sum = c.add(sum, bias)?;
    }
    let (real, scale) = (c.cast(sum, DType::F32)?, c.mul(scales[0], scales[1])?);
    Ok(vec![c.mul(real, scale)?])
}

/// An operand's zero point: the one given as one number or a list, or 0.
fn zero_point(c: &mut NodeContext<'_>, x: Value, zero: Option<Value>) -> OpResult<Value> {
    let Some(zero) = zero else { return c.number(0.0, x) };
    match c.shape(zero).iter().product::<usize>() {
        1 => c.reshape(zero, &[]),
        count => c.reshape(zero, &[count]),
    }
}

/// (a - zero a) (b - zero b) in i32.
pub(super) fn product(
    c: &mut NodeContext<'_>,
    [(a, a_zero), (b, b_zero)]: [(Value, Option<Value>); 2],
) -> OpResult<Value> {
    let (a_zero, b_zero) = (zero_point(c, a, a_zero)?, zero_point(c, b, b_zero)?);
    c.emit(&INTEGER_MATMUL, Attributes::none(), &[a, a_zero, b, b_zero])
}

/// The convolution of (x - zero x) by (w - zero w), exact, as i32. Padding stands for real zeros.
fn convolution(c: &mut NodeContext<'_>, [(x, x_zero), (w, w_zero)]: [(Value, Option<Value>); 2]) -> OpResult<Value> {
    let attributes = linear::geometry(c, x, w)?.attributes();
    let (x_zero, w_zero) = (zero_point(c, x, x_zero)?, zero_point(c, w, w_zero)?);
    c.emit(&INTEGER_CONV, attributes, &[x, x_zero, w, w_zero])
}

/// Products in each sum, by the shape of the weights.
fn length(c: &NodeContext<'_>, w: Value, is_conv: bool) -> usize {
    let shape = c.shape(w);
    if is_conv { shape.iter().skip(1).product() } else { shape.iter().rev().nth(1).copied().unwrap_or(1) }
}

/// A sum of products rescaled to integers: in class Q when the scales are known at import; else
/// saturate(round(sum * (scale a * scale b / scale y)) + zero y) in f32. Scale and zero point of y are operands from `at` on.
fn rescale(
    c: &mut NodeContext<'_>,
    mut sum: Value,
    [left, right]: [Value; 2],
    (at, k): (usize, usize),
    (axis, bias): (usize, Option<Value>),
) -> OpResult<Value> {
    let (scale, zero) = (c.input(at)?, c.optional(at + 1));
    let dtype = zero.map_or(DType::U8, |zero| c.dtype(zero));
    if let Some(y) = quant::rescaled(c, sum, axis, bias, [left, right], (scale, zero, dtype), k)? {
        return Ok(y);
    }
    // One number for each place along the axis, so that it broadcasts.
    let rank = c.rank(sum);
    let along = |c: &mut NodeContext<'_>, v: Value, axis: usize| match c.shape(v)[..] {
        [size] if size > 1 => {
            let mut shape = vec![1; rank - axis];
            shape[0] = size;
            c.reshape(v, &shape)
        }
        [] | [1] => c.reshape(v, &[]),
        _ => Ok(v),
    };
    if let Some(bias) = bias {
        let bias = along(c, bias, axis)?;
        sum = c.add(sum, bias)?;
    }
    // A matrix product may have one scale for each row of its left operand.
    let (left, right) = (along(c, left, rank.saturating_sub(2))?, along(c, right, axis)?);
    let both = c.mul(left, right)?;
    let factor = c.div(both, scale)?;
    let real = c.cast(sum, DType::F32)?;
    let scaled = c.mul(real, factor)?;
    let one = c.number(1.0, scaled)?;
    quantize(c, scaled, one, zero)
}
