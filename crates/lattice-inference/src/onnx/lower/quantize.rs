//! Quantised tensors in class F: the linear maps between integers and floats, computed as ONNX defines them, in f32.

use super::{Entry, computes};
use crate::graph::Value;
use crate::onnx::node::NodeContext;
use crate::ops::{OpResult, elementwise as ew, matmul, reduce};
use crate::patterns;
use crate::tensor::DType;

pub(super) const TABLE: &[Entry] = &[
    computes("QuantizeLinear", quantize),
    computes("DequantizeLinear", dequantize),
    computes("DynamicQuantizeLinear", dynamic_quantize),
    computes("MatMulInteger", matmul_integer),
];

/// Reshapes scales or zero points of one axis so that they broadcast against `x`.
fn along_axis(c: &mut NodeContext<'_>, v: Value, x: Value) -> OpResult<Value> {
    if c.int("block_size", 0)? != 0 {
        return Err("blocked quantisation is not supported".into());
    }
    match c.shape(v)[..] {
        [] => Ok(v),
        [1] => c.reshape(v, &[]),
        [size] => {
            let rank = c.rank(x);
            let axis = c.int("axis", 1).and_then(|axis| c.axis(axis, rank))?;
            if c.shape(x)[axis] != size {
                return Err(format!(
                    "{size} scales or zero points are given for {} elements along axis {axis}",
                    c.shape(x)[axis]
                ));
            }
            let mut shape = vec![1; rank];
            shape[axis] = size;
            c.reshape(v, &shape)
        }
        _ => Err("scales with more than one dimension are not supported".into()),
    }
}

fn quantize(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let scale = along_axis(c, c.input(1)?, x)?;
    let zero = c.optional(2).map(|z| along_axis(c, z, x)).transpose()?;
    let dtype = match (zero, c.int("output_dtype", 0)?) {
        (Some(zero), _) => c.dtype(zero),
        (None, 0) => DType::U8,
        (None, code) => crate::onnx::tensors::dtype_of(code)?,
    };
    let x = c.cast(x, DType::F32)?;
    Ok(vec![patterns::quantize(c, x, scale, zero, dtype)?])
}

fn dequantize(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let scale = along_axis(c, c.input(1)?, x)?;
    let zero = c.optional(2).map(|z| along_axis(c, z, x)).transpose()?;
    Ok(vec![patterns::dequantize(c, x, scale, zero)?])
}

/// Scale and zero point of a tensor from its range, and the tensor quantised to u8 by them.
fn dynamic_quantize(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let axes: Vec<usize> = (0..c.rank(x)).collect();
    let zero = c.number(0.0, x)?;
    let top = c.reduce(&reduce::MAX, x, &axes, false)?;
    let top = c.binary(&ew::MAX, top, zero)?;
    let bottom = c.reduce(&reduce::MIN, x, &axes, false)?;
    let bottom = c.binary(&ew::MIN, bottom, zero)?;
    let range = c.sub(top, bottom)?;
    let steps = c.number(255.0, x)?;
    let scale = c.div(range, steps)?;
    let shifted = c.div(bottom, scale)?;
    let offset = c.unary(&ew::NEG, shifted)?;
    let (low, high) = (c.number(0.0, x)?, c.number(255.0, x)?);
    let offset = c.binary(&ew::MAX, offset, low)?;
    let offset = c.binary(&ew::MIN, offset, high)?;
    let offset = c.unary(&ew::ROUND, offset)?;
    let zero_point = c.cast(offset, DType::U8)?;
    let y = patterns::quantize(c, x, scale, Some(zero_point), DType::U8)?;
    Ok(vec![y, scale, zero_point])
}

/// (a - zero a) (b - zero b) in i32.
fn matmul_integer(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let mut operands = [c.input(0)?, c.input(1)?];
    for (i, operand) in operands.iter_mut().enumerate() {
        let rank = c.rank(*operand);
        *operand = c.cast(*operand, DType::I32)?;
        if let Some(zero) = c.optional(2 + i) {
            let mut zero = c.cast(zero, DType::I32)?;
            // One zero point for each row of the left operand, or each column of the right one.
            if let ([size], true) = (c.shape(zero).as_slice(), i == 0 && rank >= 2) {
                let column = [*size, 1];
                zero = c.reshape(zero, &column)?;
            }
            *operand = c.sub(*operand, zero)?;
        }
    }
    if c.rank(operands[0]) < 2 || c.rank(operands[1]) < 2 {
        return Err("operands must have two dimensions or more".into());
    }
    Ok(vec![c.binary(&matmul::MATMUL, operands[0], operands[1])?])
}
