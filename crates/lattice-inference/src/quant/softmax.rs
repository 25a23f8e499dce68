//! Softmax over rows of 8-bit integers.

use super::bytes::bytes_of;
use super::requantize::{into_data, put_range, read_range};
use super::scale::{Range, Scale};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Tensor};

/// Over the last dimension: e = table[max - x], p = floor(e * 2^30 / sum of e + 1/2), and
/// clamp(zero + floor(p * multiplier / 2^shift + 1/2), low, high).
///
/// Operands: x i8 or u8, and an i32 table of 256 entries from 0 to 2^23, the first of them above 0. Attributes: multiplier (0
/// or more), shift (1 to 62), then those of the result: element type, zero, low, high.
pub(crate) static INTEGER_SOFTMAX: OpSpec =
    OpSpec { code: 0x0e08, name: "IntegerSoftmax", infer, work: |_, types, _| Work::steps(12, types[0]), run };

/// The table's entry for the real 1.
pub(crate) const ONE: i32 = 1 << 23;
/// Bits of a probability.
pub(crate) const PROBABILITY_BITS: u32 = 30;

pub(crate) fn attributes(scale: Scale, dtype: DType, range: Range) -> Attributes {
    put_range(Attributes::none().int(scale.multiplier.into()).int(scale.shift.into()), dtype, range)
}

fn read(attributes: &Attributes) -> OpResult<(Scale, DType, Range)> {
    attributes.expect_len(6)?;
    let (dtype, range) = read_range(attributes, 2)?;
    Ok((Scale::new(attributes.read_int(0)?, attributes.read_int(1)?)?, dtype, range))
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x, table] = operands(types)?;
    let is_byte = matches!(x.dtype, DType::I8 | DType::U8);
    if !is_byte || x.shape.is_empty() || table.dtype != DType::I32 || table.shape != [256] {
        return Err(format!("it is not defined for {x} and a table {table}"));
    }
    Ok(vec![TensorType::new(read(attributes)?.1, x.shape.clone())])
}

/// Errors unless a table's entries lie in their range.
pub(crate) fn check_table(table: &Tensor) -> OpResult<()> {
    let entries = table.as_i32().filter(|t| t.len() == 256).ok_or("the table must be 256 i32")?;
    if entries[0] == 0 || entries.iter().any(|e| !(0..=ONE).contains(e)) {
        return Err(format!("the table's entries must lie in 0..={ONE}, the first above 0"));
    }
    Ok(())
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, table] = operands(inputs)?;
    let (scale, dtype, range) = read(attributes)?;
    check_table(table)?;
    let entries = table.as_i32().ok_or("the table must be i32")?;
    let bytes = bytes_of(x.data())?;
    let columns = x.shape().last().copied().unwrap_or(0).max(1);
    let mut y = Vec::with_capacity(bytes.values.len());
    for row in bytes.values.chunks_exact(columns) {
        let top = row.iter().fold(0, |top, v| top.max(v ^ bytes.flip));
        let entry = |v: &u8| i64::from(entries[usize::from(top - (v ^ bytes.flip))]);
        // Below 2^23 times the length of a tensor, so i64 has room; the largest element's entry is above 0.
        let sum: i64 = row.iter().map(entry).sum();
        y.extend(row.iter().map(|v| {
            let probability = ((entry(v) << PROBABILITY_BITS) + sum / 2) / sum;
            range.store(scale.apply(probability as i32))
        }));
    }
    Ok(vec![tensor(x.shape(), into_data(dtype, y)?)?])
}
