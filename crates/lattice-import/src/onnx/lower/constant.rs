//! Constants.

use super::{Entry, moves};
use crate::onnx::node::NodeContext;
use crate::onnx::tensors::dtype_of;
use crate::patterns;
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

/// Largest constant that EyeLike may make.
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
    let ends = [&c.constant(start, "start")?, &c.constant(limit, "limit")?, &c.constant(delta, "delta")?];
    let range = patterns::range(c.dtype(start), ends)?;
    Ok(vec![c.builder.constant("", range)])
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
