//! Quantised tensors in class F: the linear maps between integers and floats, computed as ONNX defines them, in f32.

use super::{Entry, computes};
use crate::onnx::node::NodeContext;
use lattice_inference::DType;
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, compare, elementwise as ew, reduce};
use lattice_inference::quant;

pub(super) const TABLE: &[Entry] = &[
    computes("QuantizeLinear", quantize),
    computes("DequantizeLinear", dequantize),
    computes("DynamicQuantizeLinear", |c| {
        let x = c.input(0)?;
        dynamically_quantized(c, x).map(Vec::from)
    }),
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
    Ok(vec![quant::quantize(c, x, scale, zero, dtype)?])
}

fn dequantize(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let scale = along_axis(c, c.input(1)?, x)?;
    let zero = c.optional(2).map(|z| along_axis(c, z, x)).transpose()?;
    Ok(vec![quant::dequantize(c, x, scale, zero)?])
}

/// A tensor quantised to u8 by its own range, with the scale and zero point that follow from it.
pub(super) fn dynamically_quantized(c: &mut NodeContext<'_>, x: Value) -> OpResult<[Value; 3]> {
    let axes: Vec<usize> = (0..c.rank(x)).collect();
    let zero = c.number(0.0, x)?;
    let top = c.reduce(&reduce::MAX, x, &axes, false)?;
    let top = c.binary(&ew::MAX, top, zero)?;
    let bottom = c.reduce(&reduce::MIN, x, &axes, false)?;
    let bottom = c.binary(&ew::MIN, bottom, zero)?;
    let range = c.sub(top, bottom)?;
    let steps = c.number(255.0, x)?;
    let scale = c.div(range, steps)?;
    // Of nothing but zeros any scale will do.
    let (is_empty, one) = (c.binary(&compare::EQUAL, range, zero)?, c.number(1.0, x)?);
    let scale = c.emit(&compare::WHERE, Attributes::none(), &[is_empty, one, scale])?;
    let shifted = c.div(bottom, scale)?;
    let offset = c.unary(&ew::NEG, shifted)?;
    let (low, high) = (c.number(0.0, x)?, c.number(255.0, x)?);
    let offset = c.binary(&ew::MAX, offset, low)?;
    let offset = c.binary(&ew::MIN, offset, high)?;
    let offset = c.unary(&ew::ROUND, offset)?;
    let zero_point = c.cast(offset, DType::U8)?;
    let y = quant::quantize(c, x, scale, Some(zero_point), DType::U8)?;
    Ok([y, scale, zero_point])
}
