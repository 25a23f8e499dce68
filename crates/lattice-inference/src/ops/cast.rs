//! Conversion between element types.
//!
//! To integers: truncation towards zero; values that do not fit saturate and NaN becomes 0 when they come from a float, and
//! wrap when they come from an integer. To floats: to nearest even. To bool: everything but zero is true.

use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, f64_to_bf16, f64_to_f16};
use crate::tensor::{DType, Data, Tensor};

/// Attribute: the code of the target element type.
pub static CAST: OpSpec = OpSpec { code: 0x0401, name: "Cast", infer, work, run };

/// Half floats are converted one by one.
fn work(_: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let is_half = |ty: &TensorType| matches!(ty.dtype, DType::F16 | DType::BF16);
    Work::steps(if is_half(types[0]) || is_half(&results[0]) { 45 } else { 4 }, &results[0])
}

pub(super) const ALL: &[&OpSpec] = &[&CAST];

/// The attributes of a cast to `dtype`.
pub fn to(dtype: DType) -> Attributes {
    Attributes::none().int(i64::from(dtype.code()))
}

fn target(attributes: &Attributes) -> OpResult<DType> {
    attributes.expect_len(1)?;
    let code = attributes.read_int(0)?;
    u8::try_from(code).ok().and_then(DType::from_code).ok_or_else(|| format!("element type {code} is not known"))
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    Ok(vec![TensorType::new(target(attributes)?, x.shape.clone())])
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    Ok(vec![tensor(x.shape(), cast(x.data(), target(attributes)?))?])
}

/// Whether a number is true as a Boolean: all but zero, NaN among them.
fn is_set<T: Default + PartialEq>(x: &T) -> bool {
    *x != T::default()
}

/// Converts elements.
pub fn cast(data: &Data, to: DType) -> Data {
    macro_rules! from_number {
        ($v:ident) => {
            match to {
                DType::F32 => Data::F32($v.iter().map(|&x| x as f32).collect()),
                DType::F64 => Data::F64($v.iter().map(|&x| x as f64).collect()),
                DType::I8 => Data::I8($v.iter().map(|&x| x as i8).collect()),
                DType::I16 => Data::I16($v.iter().map(|&x| x as i16).collect()),
                DType::I32 => Data::I32($v.iter().map(|&x| x as i32).collect()),
                DType::I64 => Data::I64($v.iter().map(|&x| x as i64).collect()),
                DType::U8 => Data::U8($v.iter().map(|&x| x as u8).collect()),
                DType::U16 => Data::U16($v.iter().map(|&x| x as u16).collect()),
                DType::U32 => Data::U32($v.iter().map(|&x| x as u32).collect()),
                DType::U64 => Data::U64($v.iter().map(|&x| x as u64).collect()),
                DType::Bool => Data::Bool($v.iter().map(is_set).collect()),
                // Integers and f64 go through f64; those beyond 2^53 are rounded on the way.
                DType::F16 => Data::F16($v.iter().map(|&x| f64_to_f16(x as f64)).collect()),
                DType::BF16 => Data::BF16($v.iter().map(|&x| f64_to_bf16(x as f64)).collect()),
            }
        };
    }
    match data {
        data if data.dtype() == to => data.clone(),
        Data::F32(v) if to == DType::F16 => Data::F16(v.iter().map(|&x| f32_to_f16(x)).collect()),
        Data::F32(v) if to == DType::BF16 => Data::BF16(v.iter().map(|&x| f32_to_bf16(x)).collect()),
        Data::F32(v) => from_number!(v),
        Data::F64(v) => from_number!(v),
        Data::I8(v) => from_number!(v),
        Data::I16(v) => from_number!(v),
        Data::I32(v) => from_number!(v),
        Data::I64(v) => from_number!(v),
        Data::U8(v) => from_number!(v),
        Data::U16(v) => from_number!(v),
        Data::U32(v) => from_number!(v),
        Data::U64(v) => from_number!(v),
        Data::Bool(v) => cast(&Data::U8(v.iter().map(|&x| u8::from(x)).collect()), to),
        Data::F16(v) => cast(&Data::F32(v.iter().map(|&x| f16_to_f32(x)).collect()), to),
        Data::BF16(v) => cast(&Data::F32(v.iter().map(|&x| bf16_to_f32(x)).collect()), to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_defined_for_every_value() {
        let x = Data::F32(vec![-1.9, 300.7, f32::NAN, f32::INFINITY, -0.0]);
        assert_eq!(cast(&x, DType::I32), Data::I32(vec![-1, 300, 0, i32::MAX, 0]));
        assert_eq!(cast(&x, DType::U8), Data::U8(vec![0, 255, 0, 255, 0]));
        assert_eq!(cast(&x, DType::Bool), Data::Bool(vec![true, true, true, true, false]));
        assert_eq!(cast(&Data::I32(vec![-1, 300]), DType::U8), Data::U8(vec![255, 44]));
        assert_eq!(cast(&Data::Bool(vec![true, false]), DType::F32), Data::F32(vec![1.0, 0.0]));
        assert_eq!(cast(&Data::I64(vec![16_777_217]), DType::F32), Data::F32(vec![16_777_216.0]));
        assert_eq!(cast(&Data::F16(vec![0x3c00]), DType::BF16), Data::BF16(vec![0x3f80]));
    }
}
