//! Between reals and 8-bit integers, by the rules of class F: the only operators of class Q that touch floats.

use super::bytes::bytes_of;
use super::pairs::read_zero;
use super::requantize::{bounds, into_data};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::kernels::{Isa, dual_kernel};
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Data, Tensor};

/// f32 to i8 or u8: x / scale to nearest even, the zero point added, saturated; NaN becomes the zero point.
///
/// Attributes: scale (above 0, finite), zero, element type.
pub(crate) static QUANTIZE: OpSpec = OpSpec {
    code: 0x0e09,
    name: "Quantize",
    infer: infer_quantize,
    work: |_, _, results| Work::steps(6, &results[0]),
    run: run_quantize,
};

/// i8 or u8 to f32: (x - zero) * scale. Attributes: scale (above 0, finite), zero.
pub(crate) static DEQUANTIZE: OpSpec = OpSpec {
    code: 0x0e0a,
    name: "Dequantize",
    infer: infer_dequantize,
    work: |_, _, results| Work::steps(2, &results[0]),
    run: run_dequantize,
};

fn read_scale(attributes: &Attributes) -> OpResult<f32> {
    let scale = attributes.read_float(0)?;
    if scale > 0.0 && scale.is_finite() {
        Ok(scale)
    } else {
        Err(format!("scale {scale:e} must be above 0 and finite"))
    }
}

fn result(attributes: &Attributes) -> OpResult<DType> {
    let code = attributes.read_int(2)?;
    u8::try_from(code).ok().and_then(DType::from_code).ok_or_else(|| format!("type {code} is not known"))
}

fn infer_quantize(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(3)?;
    let [x] = operands(types)?;
    let dtype = result(attributes)?;
    read_scale(attributes)?;
    read_zero(attributes, 1, dtype)?;
    if x.dtype != DType::F32 {
        return Err(format!("it is not defined for {}", x.dtype));
    }
    Ok(vec![TensorType::new(dtype, x.shape.clone())])
}

fn infer_dequantize(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(2)?;
    let [x] = operands(types)?;
    read_scale(attributes)?;
    read_zero(attributes, 1, x.dtype)?;
    Ok(vec![TensorType::new(DType::F32, x.shape.clone())])
}

fn run_quantize(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let dtype = result(attributes)?;
    let (scale, zero) = (read_scale(attributes)?, read_zero(attributes, 1, dtype)?);
    let (low, high) = bounds(dtype)?;
    let values = x.as_f32().ok_or("operands must be f32")?;
    let mut y = vec![0; values.len()];
    quantize(Isa::detect(), values, scale, [zero, low, high].map(|v| v as f32), &mut y);
    Ok(vec![tensor(x.shape(), into_data(dtype, y)?)?])
}

dual_kernel! {
    fn quantize(x: &[f32], scale: f32, bounds: [f32; 3], y: &mut [u8]) {
        let [zero, low, high] = bounds;
        for (x, y) in x.iter().zip(y.iter_mut()) {
            let v = (x / scale).round_ties_even() + zero;
            let v = if v.is_nan() { zero } else { v };
            let v = if v < low { low } else { v };
            let v = if v > high { high } else { v };
            // SAFETY: v is a number from `low` to `high`, which are those of an 8-bit type.
            *y = unsafe { v.to_int_unchecked::<i32>() } as u8;
        }
    }
}

fn run_dequantize(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let (scale, zero) = (read_scale(attributes)?, read_zero(attributes, 1, x.dtype())?);
    let bytes = bytes_of(x.data())?;
    let (flip, zero) = (bytes.flip, if bytes.flip == 0 { zero } else { zero + 128 });
    let mut y = vec![0.0; bytes.values.len()];
    dequantize(Isa::detect(), bytes.values, flip, zero, scale, &mut y);
    Ok(vec![tensor(x.shape(), Data::F32(y))?])
}

dual_kernel! {
    fn dequantize(x: &[u8], flip: u8, zero: i32, scale: f32, y: &mut [f32]) {
        for (x, y) in x.iter().zip(y.iter_mut()) {
            *y = i32::from(x ^ flip).wrapping_sub(zero) as f32 * scale;
        }
    }
}
