//! Functions of one 8-bit integer as tables.

use super::bytes::bytes_of;
use super::requantize::into_data;
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Tensor};

/// `table[x]` for x i8 or u8 and a table of 256 entries, i8 or u8; entry i belongs to the stored byte i, so an i8 of -1 reads
/// entry 255.
pub(crate) static TABLE: OpSpec =
    OpSpec { code: 0x0e04, name: "Table", infer, work: |_, _, results| Work::steps(2, &results[0]), run };

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [x, table] = operands(types)?;
    let is_byte = |ty: &TensorType| matches!(ty.dtype, DType::I8 | DType::U8);
    if !is_byte(x) || !is_byte(table) || table.shape != [256] {
        return Err(format!("it is not defined for {x} and a table {table}"));
    }
    Ok(vec![TensorType::new(table.dtype, x.shape.clone())])
}

fn run(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, table] = operands(inputs)?;
    let entries: &[u8; 256] = bytes_of(table.data())?.values.try_into().map_err(|_| "a table has 256 entries")?;
    let y = bytes_of(x.data())?.values.iter().map(|&v| entries[usize::from(v)]).collect();
    Ok(vec![tensor(x.shape(), into_data(table.dtype(), y)?)?])
}
