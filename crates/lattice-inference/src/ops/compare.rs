//! Comparison, logic, bit operations and selection, with broadcasting.

use super::broadcast::{Loops, ROW_STEPS, broadcast_rows, broadcast_shapes, zip};
use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::tensor::{DType, Data, Tensor, map_data};

macro_rules! specs {
    ($($name:ident $code:literal $text:literal $infer:ident $run:ident;)*) => {
        $(#[doc = concat!("`", $text, "`, elementwise.")]
        pub static $name: OpSpec = OpSpec {
            code: $code,
            name: $text,
            infer: $infer,
            work: |_, types, results| {
                Work::steps(if types.len() == 3 { 14 } else { 4 }, &results[0])
                    .and(ROW_STEPS, broadcast_rows(types, &results[0]))
            },
            run: $run::<$code>,
        };)*
        pub(super) const ALL: &[&OpSpec] = &[$(&$name),*];
    };
}

specs! {
    EQUAL 0x0301 "Equal" infer_compare run_compare;
    LESS 0x0302 "Less" infer_compare run_compare;
    LESS_OR_EQUAL 0x0303 "LessOrEqual" infer_compare run_compare;
    GREATER 0x0304 "Greater" infer_compare run_compare;
    GREATER_OR_EQUAL 0x0305 "GreaterOrEqual" infer_compare run_compare;
    AND 0x0306 "And" infer_logic run_logic;
    OR 0x0307 "Or" infer_logic run_logic;
    XOR 0x0308 "Xor" infer_logic run_logic;
    NOT 0x0309 "Not" infer_not run_not;
    IS_NAN 0x030a "IsNaN" infer_class run_class;
    IS_INF 0x030b "IsInf" infer_is_inf run_class;
    WHERE 0x030c "Where" infer_where run_where;
    BITWISE_AND 0x030d "BitwiseAnd" infer_bits run_bits;
    BITWISE_OR 0x030e "BitwiseOr" infer_bits run_bits;
    BITWISE_XOR 0x030f "BitwiseXor" infer_bits run_bits;
    BITWISE_NOT 0x0310 "BitwiseNot" infer_bitwise_not run_bitwise_not;
    SHIFT_LEFT 0x0311 "ShiftLeft" infer_bits run_bits;
    SHIFT_RIGHT 0x0312 "ShiftRight" infer_bits run_bits;
}

fn same_types(attributes: &Attributes, types: &[&TensorType]) -> OpResult<(DType, Vec<usize>)> {
    attributes.expect_len(0)?;
    let [a, b] = operands(types)?;
    if a.dtype != b.dtype {
        return Err(format!("operand types differ: {} and {}", a.dtype, b.dtype));
    }
    Ok((a.dtype, broadcast_shapes(&[&a.shape, &b.shape])?))
}

fn infer_compare(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let (dtype, shape) = same_types(attributes, types)?;
    if matches!(dtype, DType::F16 | DType::BF16) {
        return Err(format!("it is not defined for {dtype}"));
    }
    Ok(vec![TensorType::new(DType::Bool, shape)])
}

fn run_compare<const CODE: u16>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    compare(CODE, inputs)
}

/// Not generic: compiled once for all operators.
fn compare(code: u16, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, b] = operands(inputs)?;
    let shape = broadcast_shapes(&[a.shape(), b.shape()])?;
    macro_rules! compare {
        ($($variant:ident)*) => {
            match (a.data(), b.data()) {
                $((Data::$variant(x), Data::$variant(y)) => {
                    let (x, y) = ((x.as_slice(), a.shape()), (y.as_slice(), b.shape()));
                    match code {
                        0x0301 => zip(x, y, &shape, |x, y| x == y),
                        0x0302 => zip(x, y, &shape, |x, y| x < y),
                        0x0303 => zip(x, y, &shape, |x, y| x <= y),
                        0x0304 => zip(x, y, &shape, |x, y| x > y),
                        _ => zip(x, y, &shape, |x, y| x >= y),
                    }
                })*
                _ => return Err(format!("it is not defined for {} and {}", a.dtype(), b.dtype())),
            }
        };
    }
    let result = compare!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64 Bool);
    Ok(vec![tensor(&shape, Data::Bool(result))?])
}

fn infer_logic(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    match same_types(attributes, types)? {
        (DType::Bool, shape) => Ok(vec![TensorType::new(DType::Bool, shape)]),
        (dtype, _) => Err(format!("it is defined for bool, not {dtype}")),
    }
}

fn run_logic<const CODE: u16>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, b] = operands(inputs)?;
    let shape = broadcast_shapes(&[a.shape(), b.shape()])?;
    let (Some(x), Some(y)) = (a.as_bool(), b.as_bool()) else { return Err("it is defined for bool".into()) };
    let result = zip((x, a.shape()), (y, b.shape()), &shape, |x, y| match CODE {
        0x0306 => x & y,
        0x0307 => x | y,
        _ => x ^ y,
    });
    Ok(vec![tensor(&shape, Data::Bool(result))?])
}

fn infer_not(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [x] = operands(types)?;
    if x.dtype == DType::Bool { Ok(vec![x.clone()]) } else { Err(format!("it is defined for bool, not {}", x.dtype)) }
}

fn run_not<const CODE: u16>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let v = x.as_bool().ok_or("it is defined for bool")?;
    Ok(vec![tensor(x.shape(), Data::Bool(v.iter().map(|v| !v).collect()))?])
}

fn infer_class(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [x] = operands(types)?;
    if !matches!(x.dtype, DType::F32 | DType::F64) {
        return Err(format!("it is not defined for {}", x.dtype));
    }
    Ok(vec![TensorType::new(DType::Bool, x.shape.clone())])
}

/// Attributes of IsInf: flags for negative and for positive infinity.
fn infer_is_inf(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(2)?;
    attributes.read_flag(0)?;
    attributes.read_flag(1)?;
    infer_class(&Attributes::none(), types)
}

fn run_class<const CODE: u16>(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let (negative, positive) =
        if CODE == 0x030b { (attributes.read_flag(0)?, attributes.read_flag(1)?) } else { (false, false) };
    macro_rules! class {
        ($v:ident, $t:ident) => {
            $v.iter()
                .map(|&x| match CODE {
                    0x030a => x.is_nan(),
                    _ => negative && x == $t::NEG_INFINITY || positive && x == $t::INFINITY,
                })
                .collect()
        };
    }
    let result = match x.data() {
        Data::F32(v) => class!(v, f32),
        Data::F64(v) => class!(v, f64),
        other => return Err(format!("it is not defined for {}", other.dtype())),
    };
    Ok(vec![tensor(x.shape(), Data::Bool(result))?])
}

fn infer_where(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [condition, a, b] = operands(types)?;
    if condition.dtype != DType::Bool || a.dtype != b.dtype {
        return Err(format!("it needs bool, T, T; got {}, {}, {}", condition.dtype, a.dtype, b.dtype));
    }
    Ok(vec![TensorType::new(a.dtype, broadcast_shapes(&[&condition.shape, &a.shape, &b.shape])?)])
}

fn run_where<const CODE: u16>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [condition, a, b] = operands(inputs)?;
    let shape = broadcast_shapes(&[condition.shape(), a.shape(), b.shape()])?;
    let loops = Loops::new(&shape, &[condition.shape(), a.shape(), b.shape()]);
    let c = condition.as_bool().ok_or("the condition must be bool")?;
    /// Picks element by element along the broadcast loops.
    fn select<T: Copy>(loops: &Loops, c: &[bool], a: &[T], b: &[T]) -> Vec<T> {
        let (n, sc, sa, sb) = (loops.inner(), loops.inner_stride(0), loops.inner_stride(1), loops.inner_stride(2));
        let mut out = Vec::with_capacity(loops.len());
        loops.rows(|[oc, oa, ob]| {
            out.extend((0..n).map(|i| if c[oc + i * sc] { a[oa + i * sa] } else { b[ob + i * sb] }))
        });
        out
    }
    macro_rules! each {
        ($($variant:ident)*) => {
            match (a.data(), b.data()) {
                $((Data::$variant(x), Data::$variant(y)) => Data::$variant(select(&loops, c, x, y)),)*
                _ => return Err(format!("operand types differ: {} and {}", a.dtype(), b.dtype())),
            }
        };
    }
    let data = each!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64 Bool F16 BF16);
    Ok(vec![tensor(&shape, data)?])
}

fn infer_bits(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let (dtype, shape) = same_types(attributes, types)?;
    if dtype.is_float() || dtype == DType::Bool {
        return Err(format!("it is defined for integers, not {dtype}"));
    }
    Ok(vec![TensorType::new(dtype, shape)])
}

fn run_bits<const CODE: u16>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    bits(CODE, inputs)
}

/// Not generic: compiled once for all operators.
fn bits(code: u16, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, b] = operands(inputs)?;
    let shape = broadcast_shapes(&[a.shape(), b.shape()])?;
    macro_rules! each {
        ($($variant:ident)*) => {
            match (a.data(), b.data()) {
                $((Data::$variant(x), Data::$variant(y)) => {
                    let (x, y) = ((x.as_slice(), a.shape()), (y.as_slice(), b.shape()));
                    Data::$variant(match code {
                        0x030d => zip(x, y, &shape, |x, y| x & y),
                        0x030e => zip(x, y, &shape, |x, y| x | y),
                        0x030f => zip(x, y, &shape, |x, y| x ^ y),
                        // A shift by the width or more, or by a negative count, leaves nothing.
                        0x0311 => zip(x, y, &shape, |x, y| u32::try_from(y).ok().and_then(|y| x.checked_shl(y)).unwrap_or(0)),
                        _ => zip(x, y, &shape, |x, y| u32::try_from(y).ok().and_then(|y| x.checked_shr(y)).unwrap_or(0)),
                    })
                })*
                _ => return Err(format!("it is not defined for {} and {}", a.dtype(), b.dtype())),
            }
        };
    }
    let data = each!(I8 I16 I32 I64 U8 U16 U32 U64);
    Ok(vec![tensor(&shape, data)?])
}

fn infer_bitwise_not(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [x] = operands(types)?;
    if x.dtype.is_float() || x.dtype == DType::Bool {
        return Err(format!("it is defined for integers, not {}", x.dtype));
    }
    Ok(vec![x.clone()])
}

fn run_bitwise_not<const CODE: u16>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    /// Types with bits to turn over; floats never get here.
    trait Complement: Copy {
        fn complement(self) -> Self;
    }
    macro_rules! integers { ($($t:ty)*) => { $(impl Complement for $t { fn complement(self) -> Self { !self } })* } }
    macro_rules! floats { ($($t:ty)*) => { $(impl Complement for $t { fn complement(self) -> Self { self } })* } }
    integers!(i8 i16 i32 i64 u8 u16 u32 u64 bool);
    floats!(f32 f64);
    let [x] = operands(inputs)?;
    let data = map_data!(x.data(), v => v.iter().map(|v| v.complement()).collect());
    Ok(vec![tensor(x.shape(), data)?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bools(op: &OpSpec, a: &Tensor, b: &Tensor) -> Vec<bool> {
        (op.run)(&Attributes::none(), &[a, b]).unwrap()[0].as_bool().unwrap().to_vec()
    }

    #[test]
    fn comparisons_with_nan_are_false() {
        let a = Tensor::from_f32([4], vec![1.0, 2.0, f32::NAN, -0.0]).unwrap();
        let b = Tensor::from_f32([4], vec![2.0, 2.0, f32::NAN, 0.0]).unwrap();
        assert_eq!(bools(&EQUAL, &a, &b), [false, true, false, true]);
        assert_eq!(bools(&LESS, &a, &b), [true, false, false, false]);
        assert_eq!(bools(&LESS_OR_EQUAL, &a, &b), [true, true, false, true]);
        assert_eq!(bools(&GREATER, &a, &b), [false; 4]);
        assert_eq!(bools(&GREATER_OR_EQUAL, &a, &b), [false, true, false, true]);
    }

    #[test]
    fn selection_broadcasts_all_three() {
        let c = Tensor::from_bool([2, 1], vec![true, false]).unwrap();
        let a = Tensor::from_i64([1, 3], vec![1, 2, 3]).unwrap();
        let b = Tensor::from_i64([], vec![9]).unwrap();
        let r = (WHERE.run)(&Attributes::none(), &[&c, &a, &b]).unwrap();
        assert_eq!(r[0], Tensor::from_i64([2, 3], vec![1, 2, 3, 9, 9, 9]).unwrap());
    }

    #[test]
    fn bits_and_shifts() {
        let a = Tensor::from_u8([3], vec![0b1100, 1, 255]).unwrap();
        let b = Tensor::from_u8([3], vec![0b1010, 7, 8]).unwrap();
        let run = |op: &OpSpec| (op.run)(&Attributes::none(), &[&a, &b]).unwrap()[0].as_u8().unwrap().to_vec();
        assert_eq!(run(&BITWISE_AND), [0b1000, 1, 8]);
        assert_eq!(run(&BITWISE_XOR), [0b0110, 6, 247]);
        assert_eq!(run(&SHIFT_LEFT), [0, 128, 0]);
        assert_eq!(run(&SHIFT_RIGHT), [0, 0, 0]);
        let inf = Tensor::from_f32([3], vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN]).unwrap();
        let r = (IS_INF.run)(&Attributes::none().flag(true).flag(false), &[&inf]).unwrap();
        assert_eq!(r[0].as_bool().unwrap(), [false, true, false]);
    }
}
