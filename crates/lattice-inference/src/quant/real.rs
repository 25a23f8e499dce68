//! The linear maps between integers and real values: by class Q where it knows them, in f32 elsewhere.

use super::lower;
use crate::graph::{GraphBuilder, Value};
use crate::ops::{OpResult, elementwise as ew};
use crate::tensor::DType;

/// Smallest and largest value of a quantised type.
fn bounds(dtype: DType) -> OpResult<(f64, f64)> {
    Ok(match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65_535.0),
        DType::I16 => (-32_768.0, 32_767.0),
        other => return Err(format!("quantisation to {other} is not supported")),
    })
}

/// saturate(round(x / scale) + zero point).
pub fn quantize(b: &mut GraphBuilder, x: Value, scale: Value, zero: Option<Value>, dtype: DType) -> OpResult<Value> {
    let (low, high) = bounds(dtype)?;
    if let Some(y) = lower::quantize(b, x, scale, zero, dtype)? {
        return Ok(y);
    }
    let scaled = b.div(x, scale)?;
    let mut y = b.unary(&ew::ROUND, scaled)?;
    if let Some(zero) = zero {
        let zero = b.cast(zero, DType::F32)?;
        y = b.add(y, zero)?;
    }
    let (low, high) = (b.number(low, y)?, b.number(high, y)?);
    let y = b.binary(&ew::MAX, y, low)?;
    let y = b.binary(&ew::MIN, y, high)?;
    b.cast(y, dtype)
}

/// scale * (x - zero point).
pub fn dequantize(b: &mut GraphBuilder, x: Value, scale: Value, zero: Option<Value>) -> OpResult<Value> {
    lower::dequantize(b, x, scale, zero, |b| {
        // Integers below 2^24 are exact in f32; i32 operands have no zero point, so nothing is lost that the definition keeps.
        let mut y = b.cast(x, DType::F32)?;
        if let Some(zero) = zero {
            let zero = b.cast(zero, DType::F32)?;
            y = b.sub(y, zero)?;
        }
        b.mul(y, scale)
    })
}
