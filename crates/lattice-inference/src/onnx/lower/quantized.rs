//! Operators on quantised tensors: exact integer sums, then one scale to the result's integers.
//!
//! Sums of products are exact: in i32 for matrix products; for convolutions in floats that hold every sum (f32 while the
//! products of a chain stay below 2^24, f64 otherwise). The rescale is round-half-to-even of sum * (scale a * scale b /
//! scale y) in f32, as ONNX Runtime computes it. Other operators work on real values and quantise their results.

use super::{Entry, computes, linear};
use crate::graph::Value;
use crate::onnx::node::NodeContext;
use crate::ops::{OpResult, OpSpec, elementwise as ew, matmul, normalize};
use crate::patterns;
use crate::tensor::DType;

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
        let sum = product(c, operands)?;
        // One scale for each row of the left operand, or each column of the right one.
        let (mut left, right) = (c.input(1)?, c.input(4)?);
        if let ([size], true) = (c.shape(left).as_slice(), c.rank(sum) >= 2) {
            let column = [*size, 1];
            left = c.reshape(left, &column)?;
        }
        Ok(vec![rescale(c, sum, [left, right], 6)?])
    }),
    computes("QLinearConv", |c| {
        let operands = [(c.input(0)?, c.optional(2)), (c.input(3)?, c.optional(5))];
        let mut sum = convolution(c, operands)?;
        if let Some(bias) = c.optional(8) {
            let bias = along_channels(c, bias, sum)?;
            sum = c.add(sum, bias)?;
        }
        let scales = [c.input(1)?, c.input(4)?];
        let scales = [scales[0], along_channels(c, scales[1], sum)?];
        Ok(vec![rescale(c, sum, scales, 6)?])
    }),
];

pub(super) const MICROSOFT: &[Entry] = &[
    computes("QLinearAdd", |c| pair(c, &ew::ADD)),
    computes("QLinearMul", |c| pair(c, &ew::MUL)),
    computes("QLinearSigmoid", |c| real_valued(c, |c, x| c.unary(&ew::SIGMOID, x))),
    computes("QLinearLeakyRelu", |c| {
        let alpha = c.float("alpha", 0.01)?;
        real_valued(c, |c, x| c.emit(&ew::LEAKY_RELU, crate::ops::Attributes::none().float(alpha), &[x]))
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
    computes("QLinearConcat", |c| {
        let (scale, zero) = (c.input(0)?, c.optional(1));
        let mut parts = Vec::new();
        for at in (2..c.inputs.len()).step_by(3) {
            let x = c.input(at)?;
            let (own_scale, own_zero) = (c.input(at + 1)?, c.optional(at + 2));
            parts.push(patterns::dequantize(c, x, own_scale, own_zero)?);
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
    patterns::quantize(c, x, scale, zero, dtype)
}

/// One operand with scale and zero point, the result's scale and zero point after them.
fn real_valued(
    c: &mut NodeContext<'_>,
    function: impl Fn(&mut NodeContext<'_>, Value) -> OpResult<Value>,
) -> OpResult<Vec<Value>> {
    let (x, scale, zero) = (c.input(0)?, c.input(1)?, c.optional(2));
    let x = patterns::dequantize(c, x, scale, zero)?;
    let y = function(c, x)?;
    let (scale, zero) = (c.input(3)?, c.optional(4));
    Ok(vec![quantize(c, y, scale, zero)?])
}

/// Two operands, each with scale and zero point, then those of the result.
fn pair(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let mut real = [c.input(0)?, c.input(3)?];
    for (i, x) in real.iter_mut().enumerate() {
        let (scale, zero) = (c.input(3 * i + 1)?, c.optional(3 * i + 2));
        *x = patterns::dequantize(c, *x, scale, zero)?;
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
    let mut sum = product(c, operands)?;
    if let Some(bias) = c.optional(6) {
        sum = c.add(sum, bias)?;
    }
    let (left, alpha) = (c.input(1)?, c.float("alpha", 1.0)?);
    let alpha = c.number(f64::from(alpha), left)?;
    let scales = [c.mul(left, alpha)?, c.input(4)?];
    if c.optional(7).is_some() {
        return Ok(vec![rescale(c, sum, scales, 7)?]);
    }
    let (real, scale) = (c.cast(sum, DType::F32)?, c.mul(scales[0], scales[1])?);
    Ok(vec![c.mul(real, scale)?])
}

/// (a - zero a) (b - zero b) in i32.
fn product(c: &mut NodeContext<'_>, operands: [(Value, Option<Value>); 2]) -> OpResult<Value> {
    let mut centred = operands.map(|(x, _)| x);
    for (i, (x, zero)) in operands.into_iter().enumerate() {
        let rank = c.rank(x);
        if rank < 2 {
            return Err("operands must have two dimensions or more".into());
        }
        centred[i] = c.cast(x, DType::I32)?;
        if let Some(zero) = zero {
            let mut zero = c.cast(zero, DType::I32)?;
            // One zero point for each row of the left operand, or each column of the right one.
            if let ([size], true) = (c.shape(zero).as_slice(), i == 0) {
                let column = [*size, 1];
                zero = c.reshape(zero, &column)?;
            }
            centred[i] = c.sub(centred[i], zero)?;
        }
    }
    c.binary(&matmul::MATMUL, centred[0], centred[1])
}

/// The convolution of (x - zero x) by (w - zero w), exact, as i32. Padding stands for real zeros.
fn convolution(c: &mut NodeContext<'_>, operands: [(Value, Option<Value>); 2]) -> OpResult<Value> {
    // Products of 8-bit integers less their zero points stay below 2^16 in size.
    const EXACT_IN_F32: usize = 1 << (24 - 16);
    let taps: usize = c.shape(operands[1].0).iter().skip(1).product();
    let dtype = if taps <= EXACT_IN_F32 { DType::F32 } else { DType::F64 };
    let mut centred = operands.map(|(x, _)| x);
    for (i, (x, zero)) in operands.into_iter().enumerate() {
        if !matches!(c.dtype(x), DType::I8 | DType::U8) {
            return Err(format!("operands must be i8 or u8, got {}", c.dtype(x)));
        }
        centred[i] = c.cast_now(x, dtype)?;
        if let Some(zero) = zero {
            let mut zero = c.cast(zero, dtype)?;
            // One zero point for each output of the weights.
            if let ([size], true) = (c.shape(zero).as_slice(), i == 1) {
                let mut shape = vec![1; c.rank(x)];
                shape[0] = *size;
                zero = c.reshape(zero, &shape)?;
            }
            centred[i] = c.sub(centred[i], zero)?;
        }
    }
    let sum = linear::convolution(c, centred[0], centred[1])?;
    c.cast(sum, DType::I32)
}

/// One number for each channel, or one for all, so that it broadcasts against a convolution's result.
fn along_channels(c: &mut NodeContext<'_>, v: Value, sum: Value) -> OpResult<Value> {
    match c.shape(v)[..] {
        [size] if size > 1 => {
            let mut shape = vec![1; c.rank(sum) - 1];
            shape[0] = size;
            c.reshape(v, &shape)
        }
        _ => c.reshape(v, &[]),
    }
}

/// saturate(round(sum * (scale a * scale b / scale y)) + zero y); scale and zero point of y are operands from `at` on.
fn rescale(c: &mut NodeContext<'_>, sum: Value, scales: [Value; 2], at: usize) -> OpResult<Value> {
    let (scale, zero) = (c.input(at)?, c.optional(at + 1));
    let both = c.mul(scales[0], scales[1])?;
    let factor = c.div(both, scale)?;
    let real = c.cast(sum, DType::F32)?;
    let scaled = c.mul(real, factor)?;
    let one = c.number(1.0, scaled)?;
    quantize(c, scaled, one, zero)
}
