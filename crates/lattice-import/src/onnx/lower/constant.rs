//! Constants.

use super::{Entry, moves};
use crate::onnx::node::NodeContext;
use crate::onnx::tensors::dtype_of;
use lattice_inference::Value;
use lattice_inference::ops::{OpResult, cast};
use lattice_inference::{DType, Data, Tensor, element_count};

pub(super) const TABLE: &[Entry] = &[
    moves("Constant", constant),
    moves("ConstantOfShape", constant_of_shape),
    moves("Range", range),
    moves("EyeLike", eye_like),
    moves("Identity", |c| Ok(vec![c.input(0)?])),
];

/// Largest constant that Range and EyeLike may make.
const ELEMENTS_MAX: usize = 1 << 26;

fn constant(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let text = |e: lattice_inference::TensorError| e.to_string();
    let tensor = if let Some(tensor) = c.tensor_attribute("value")? {
        tensor
    } else if c.has("value_float") {
        Tensor::from_f32([], vec![c.float("value_float", 0.0)?]).map_err(text)?
    } else if c.has("value_int") {
        Tensor::from_i64([], vec![c.int("value_int", 0)?]).map_err(text)?
    } else if let Some(values) = c.floats("value_floats")? {
        Tensor::from_f32([values.len()], values).map_err(text)?
    } else if let Some(values) = c.ints("value_ints")? {
        Tensor::from_i64([values.len()], values).map_err(text)?
    } else {
        return Err("it holds no dense tensor of numbers (strings and sparse tensors are not supported)".into());
    };
    let name = c.proto.output.first().cloned().unwrap_or_default();
    Ok(vec![c.builder.constant(&name, tensor)])
}

/// A shape given as a constant operand.
pub(super) fn shape_operand(c: &NodeContext<'_>, value: Value, dtype: DType) -> OpResult<Vec<usize>> {
    let sizes = c.constant_ints(value, "shape")?;
    let shape = sizes.iter().map(|&d| usize::try_from(d).map_err(|_| format!("dimension {d} is negative")));
    let shape = shape.collect::<OpResult<Vec<_>>>()?;
    element_count(dtype, &shape).map_err(|e| e.to_string())?;
    Ok(shape)
}

fn constant_of_shape(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let value = match c.tensor_attribute("value")? {
        Some(tensor) if tensor.len() == 1 => tensor.with_shape([]).map_err(|e| e.to_string())?,
        Some(tensor) => return Err(format!("attribute 'value' must have one element, got {}", tensor.len())),
        None => Tensor::from_f32([], vec![0.0]).map_err(|e| e.to_string())?,
    };
    let shape = shape_operand(c, c.input(0)?, value.dtype())?;
    let value = c.builder.constant("", value);
    Ok(vec![c.expand(value, &shape)?])
}

fn range(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (start, limit, delta) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let dtype = c.dtype(start);
    let data = if dtype.is_float() {
        let [start, limit, delta] = [
            c.constant_number(start, "start")?,
            c.constant_number(limit, "limit")?,
            c.constant_number(delta, "delta")?,
        ];
        let count = ((limit - start) / delta).ceil().max(0.0);
        if delta == 0.0 || count.is_nan() || count > ELEMENTS_MAX as f64 {
            return Err(format!("range {start}..{limit} by {delta} is not a reasonable length"));
        }
        // Each element is start + i * delta in the element type.
        let values: Vec<f64> = match dtype {
            DType::F32 => (0..count as usize).map(|i| f64::from(start as f32 + i as f32 * delta as f32)).collect(),
            _ => (0..count as usize).map(|i| start + i as f64 * delta).collect(),
        };
        Data::F64(values)
    } else {
        let one = |c: &NodeContext<'_>, v, what| match c.constant_ints(v, what)?.as_slice() {
            [one] => Ok(i128::from(*one)),
            _ => Err(format!("{what} must be one number")),
        };
        let (start, limit, delta) = (one(c, start, "start")?, one(c, limit, "limit")?, one(c, delta, "delta")?);
        if delta == 0 {
            return Err("delta must not be zero".into());
        }
        let span = limit - start;
        let count = (span / delta + i128::from(span % delta != 0)).max(0);
        let count = if (span < 0) != (delta < 0) { 0 } else { count };
        if count > ELEMENTS_MAX as i128 {
            return Err(format!("range {start}..{limit} by {delta} is too long"));
        }
        Data::I64((0..count).map(|i| (start + i * delta) as i64).collect())
    };
    let tensor = Tensor::new([data.len()], cast::cast(&data, dtype)).map_err(|e| e.to_string())?;
    Ok(vec![c.builder.constant("", tensor)])
}

fn eye_like(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let [rows, columns] = c.shape(x)[..] else { return Err("it needs an operand with two dimensions".into()) };
    let dtype = match c.int_or_none("dtype")? {
        Some(code) => dtype_of(code)?,
        None => c.dtype(x),
    };
    let k = c.int("k", 0)?;
    if rows.saturating_mul(columns) > ELEMENTS_MAX {
        return Err("the matrix is too large to be a constant".into());
    }
    let on = |i: usize| u8::from((i % columns) as i64 - (i / columns) as i64 == k);
    let data = Data::U8((0..rows * columns).map(on).collect());
    let tensor = Tensor::new([rows, columns], cast::cast(&data, dtype)).map_err(|e| e.to_string())?;
    Ok(vec![c.builder.constant("", tensor)])
}
