//! Sums and products of two 8-bit tensors, element by element.

use super::bytes::{Bytes, bytes_of};
use super::isa::{Isa, integer_kernel};
use super::requantize::{into_data, put_range, read_range};
use super::scale::{Range, Rounding, Scale, requantize_row};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::broadcast::{broadcast_shapes, rows_of};
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Tensor};

/// clamp(zero + floor(((a - zero a) factor a + (b - zero b) factor b) / 2^shift + 1/2), low, high).
///
/// Operands: a and b, i8 or u8, broadcast. Attributes: zero a, zero b, factor a, factor b (within +-2^21), shift (1 to 30),
/// then those of the result: element type, zero, low, high.
pub(crate) static INTEGER_ADD: OpSpec =
    OpSpec { code: 0x0e05, name: "IntegerAdd", infer: infer_add, work, run: run_add };

/// clamp(zero + floor((a - zero a) (b - zero b) multiplier / 2^shift + 1/2), low, high).
///
/// Operands: a and b, i8 or u8, broadcast. Attributes: zero a, zero b, multiplier (0 or more), shift (1 to 62), then those
/// of the result: element type, zero, low, high.
pub(crate) static INTEGER_MUL: OpSpec =
    OpSpec { code: 0x0e06, name: "IntegerMul", infer: infer_mul, work, run: run_mul };

/// Largest factor of a sum's operand.
const FACTOR_MAX: i32 = 1 << 21;
/// Largest shift of a sum: with it and [`FACTOR_MAX`] no intermediate value leaves i32.
const SUM_SHIFT_MAX: u32 = 30;

/// How two operands are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) zeros: [i32; 2],
    factors: [i32; 2],
    shift: u32,
}

impl Sum {
    /// The operands' real factors as integers over a common power of two: the larger has 21 bits, ties to even.
    pub(crate) fn of(zeros: [i32; 2], real: [f64; 2]) -> OpResult<Sum> {
        let largest = real[0].abs().max(real[1].abs());
        if !(largest > 0.0 && real.iter().all(|f| f.is_finite())) {
            return Err(format!("the factors between scales must be finite and not 0, got {real:?}"));
        }
        let (_, exponent) = libm::frexp(largest);
        let shift = (21 - exponent).min(SUM_SHIFT_MAX as i32);
        if shift < 1 {
            return Err(format!("the factors between scales are {real:?}; at most 2^20 is supported"));
        }
        let factors = real.map(|f| libm::rint(libm::ldexp(f, shift)) as i32);
        Ok(Sum { zeros, factors, shift: shift as u32 })
    }

    pub(crate) fn attributes(&self, dtype: DType, range: Range) -> Attributes {
        let ints = self.zeros.into_iter().chain(self.factors).chain([self.shift as i32]);
        put_range(ints.fold(Attributes::none(), |all, v| all.int(v.into())), dtype, range)
    }

    fn read(attributes: &Attributes, types: [DType; 2]) -> OpResult<(Sum, DType, Range)> {
        attributes.expect_len(9)?;
        let zeros = [read_zero(attributes, 0, types[0])?, read_zero(attributes, 1, types[1])?];
        let factor = |at| {
            let read = attributes.read_int(at)?;
            let factor = i32::try_from(read).ok().filter(|f| f.abs_diff(0) <= FACTOR_MAX as u32);
            factor.ok_or_else(|| format!("factor {read} must lie within +-{FACTOR_MAX}"))
        };
        let shift = attributes.read_int(4)?;
        let shift = u32::try_from(shift).ok().filter(|s| (1..=SUM_SHIFT_MAX).contains(s));
        let shift = shift.ok_or_else(|| format!("the shift of a sum must lie in 1..={SUM_SHIFT_MAX}"))?;
        let (dtype, range) = read_range(attributes, 5)?;
        Ok((Sum { zeros, factors: [factor(2)?, factor(3)?], shift }, dtype, range))
    }
}

/// How two operands are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) zeros: [i32; 2],
    pub(crate) scale: Scale,
}

impl Product {
    pub(crate) fn attributes(&self, dtype: DType, range: Range) -> Attributes {
        let zeros = Attributes::none().int(self.zeros[0].into()).int(self.zeros[1].into());
        put_range(zeros.int(self.scale.multiplier.into()).int(self.scale.shift.into()), dtype, range)
    }

    fn read(attributes: &Attributes, types: [DType; 2]) -> OpResult<(Product, DType, Range)> {
        attributes.expect_len(8)?;
        let zeros = [read_zero(attributes, 0, types[0])?, read_zero(attributes, 1, types[1])?];
        let scale = Scale::new(attributes.read_int(2)?, attributes.read_int(3)?)?;
        let (dtype, range) = read_range(attributes, 4)?;
        Ok((Product { zeros, scale }, dtype, range))
    }
}

/// A zero point of an 8-bit type.
pub(crate) fn read_zero(attributes: &Attributes, at: usize, dtype: DType) -> OpResult<i32> {
    let (low, high) = super::requantize::bounds(dtype)?;
    let read = attributes.read_int(at)?;
    let zero = i32::try_from(read).ok().filter(|zero| (low..=high).contains(zero));
    zero.ok_or_else(|| format!("zero point {read} is no {dtype}"))
}

fn infer_add(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [a, b] = operands(types)?;
    let (_, dtype, _) = Sum::read(attributes, [a.dtype, b.dtype])?;
    Ok(vec![TensorType::new(dtype, broadcast_shapes(&[&a.shape, &b.shape])?)])
}

fn infer_mul(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [a, b] = operands(types)?;
    let (_, dtype, _) = Product::read(attributes, [a.dtype, b.dtype])?;
    Ok(vec![TensorType::new(dtype, broadcast_shapes(&[&a.shape, &b.shape])?)])
}

fn work(_: &Attributes, _: &[&TensorType], results: &[TensorType]) -> Work {
    Work::steps(2, &results[0])
}

/// A row of one operand: its bytes, what makes them u8, and its zero point as u8.
fn centre(bytes: Bytes<'_>, zero: i32) -> (u8, i32) {
    (bytes.flip, if bytes.flip == 0 { zero } else { zero + 128 })
}

fn run_add(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, b] = operands(inputs)?;
    let (sum, dtype, range) = Sum::read(attributes, [a.dtype(), b.dtype()])?;
    let isa = Isa::detect();
    pairs(a, b, dtype, sum.zeros, &mut |x, y, sides, out| add_row(isa, x, y, sides, sum, range, out))
}

fn run_mul(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, b] = operands(inputs)?;
    let (product, dtype, range) = Product::read(attributes, [a.dtype(), b.dtype()])?;
    let (isa, rounding) = (Isa::detect(), Rounding::new(0, product.scale, range));
    pairs(a, b, dtype, product.zeros, &mut |x, y, sides, out| mul_row(isa, x, y, sides, &rounding, out))
}

/// For each operand what its bytes are xored with, and its zero point after that.
type Sides = [(u8, i32); 2];

/// Writes the results of two equally long rows.
type Row<'a> = dyn FnMut(&[u8], &[u8], Sides, &mut [u8]) + 'a;

fn pairs(a: &Tensor, b: &Tensor, dtype: DType, zeros: [i32; 2], row: &mut Row<'_>) -> OpResult<Vec<Tensor>> {
    let shape = broadcast_shapes(&[a.shape(), b.shape()])?;
    let (x, y) = (bytes_of(a.data())?, bytes_of(b.data())?);
    let sides = [centre(x, zeros[0]), centre(y, zeros[1])];
    let mut out = vec![0; shape.iter().product()];
    let mut done = 0;
    rows_of((x.values, a.shape()), (y.values, b.shape()), &shape, &mut |x, y| {
        row(x, y, sides, &mut out[done..done + x.len()]);
        done += x.len();
    });
    Ok(vec![tensor(&shape, into_data(dtype, out)?)?])
}

integer_kernel! {
    fn add_row(x: &[u8], y: &[u8], sides: Sides, sum: Sum, range: Range, out: &mut [u8]) {
        let [(x_flip, x_zero), (y_flip, y_zero)] = sides;
        let [x_factor, y_factor] = sum.factors;
        let half = 1i32.wrapping_shl(sum.shift.wrapping_sub(1));
        // Nothing leaves i32; unchecked forms vectorise.
        for ((x, y), out) in x.iter().zip(y).zip(out.iter_mut()) {
            let x = i32::from(x ^ x_flip).wrapping_sub(x_zero).wrapping_mul(x_factor);
            let y = i32::from(y ^ y_flip).wrapping_sub(y_zero).wrapping_mul(y_factor);
            let rounded = x.wrapping_add(y).wrapping_add(half).wrapping_shr(sum.shift);
            *out = rounded.wrapping_add(range.zero).clamp(range.low, range.high) as u8;
        }
    }
}

/// Products that are computed before they are stored.
const BLOCK: usize = 256;

fn mul_row(isa: Isa, x: &[u8], y: &[u8], sides: Sides, rounding: &Rounding, out: &mut [u8]) {
    let mut products = [0; BLOCK];
    for ((x, y), out) in x.chunks(BLOCK).zip(y.chunks(BLOCK)).zip(out.chunks_mut(BLOCK)) {
        let products = &mut products[..out.len()];
        multiply(isa, x, y, sides, products);
        requantize_row(isa, products, rounding, out);
    }
}

integer_kernel! {
    fn multiply(x: &[u8], y: &[u8], sides: Sides, products: &mut [i32]) {
        let [(x_flip, x_zero), (y_flip, y_zero)] = sides;
        for ((x, y), product) in x.iter().zip(y).zip(products) {
            let (x, y) = (i32::from(x ^ x_flip).wrapping_sub(x_zero), i32::from(y ^ y_flip).wrapping_sub(y_zero));
            *product = x.wrapping_mul(y);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tensor::Data;
    use proptest::prelude::*;

    /// floor(x / y + 1/2) for y > 0.
    fn half_up(x: i128, y: i128) -> i128 {
        (2 * x + y).div_euclid(2 * y)
    }

    proptest! {
        #[test]
        fn every_form_is_the_definition(
            x in proptest::collection::vec((any::<i8>(), any::<u8>()), 0..100),
            (za, zb, zero) in (any::<i8>(), any::<u8>(), any::<i8>()),
            (fa, fb) in (-FACTOR_MAX..=FACTOR_MAX, -FACTOR_MAX..=FACTOR_MAX),
            (shift, multiplier, wide) in (1..=SUM_SHIFT_MAX, 0..=i32::MAX, 1u32..=62),
        ) {
            let range = Range { zero: zero.into(), low: -100, high: 127 };
            let zeros = [i32::from(za), i32::from(zb)];
            let sum = Sum { zeros, factors: [fa, fb], shift };
            let product = Product { zeros, scale: Scale { multiplier, shift: wide } };
            let a = Tensor::new([x.len()], Data::I8(x.iter().map(|p| p.0).collect())).unwrap();
            let b = Tensor::new([x.len()], Data::U8(x.iter().map(|p| p.1).collect())).unwrap();
            let centred = |p: &(i8, u8)| (i128::from(p.0) - i128::from(za), i128::from(p.1) - i128::from(zb));
            let store = |v: i128| (v + i128::from(zero)).clamp(-100, 127) as i8;
            let added: Vec<i8> = x.iter().map(centred).map(|(a, b)| {
                store(half_up(a * i128::from(fa) + b * i128::from(fb), 1 << shift))
            }).collect();
            let multiplied: Vec<i8> = x.iter().map(centred).map(|(a, b)| {
                store(half_up(a * b * i128::from(multiplier), 1 << wide))
            }).collect();
            let run = |op: &OpSpec, attributes: Attributes| {
                let results = crate::quant::isa::forced::each(|| (op.run)(&attributes, &[&a, &b]).unwrap().remove(0));
                let fast = results[0].1.clone();
                results.iter().for_each(|(isa, result)| assert_eq!(*result, fast, "{isa:?}"));
                let ty = (op.infer)(&attributes, &[&TensorType::of(&a), &TensorType::of(&b)]).unwrap().remove(0);
                assert_eq!(ty, TensorType::of(&fast));
                fast.into_data()
            };
            prop_assert_eq!(run(&INTEGER_ADD, sum.attributes(DType::I8, range)), Data::I8(added));
            prop_assert_eq!(run(&INTEGER_MUL, product.attributes(DType::I8, range)), Data::I8(multiplied));
        }
    }

    #[test]
    fn factors_are_bounded() {
        let sum = Sum::of([0, 0], [1.0, 0.25]).unwrap();
        assert_eq!((sum.factors, sum.shift), ([1 << 20, 1 << 18], 20));
        assert_eq!(Sum::of([0, 0], [1e-30, -1e-30]).unwrap().factors, [0, 0]);
        for real in [[0.0, 0.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0], [1.0, 2f64.powi(21)]] {
            Sum::of([0, 0], real).unwrap_err();
        }
        let range = Range { zero: 0, low: -128, high: 127 };
        let types = [DType::I8, DType::I8];
        let hostile = |factors, shift| Sum { zeros: [0, 0], factors, shift }.attributes(DType::I8, range);
        Sum::read(&hostile([FACTOR_MAX, -FACTOR_MAX], 30), types).unwrap();
        for (factors, shift) in [([FACTOR_MAX + 1, 0], 1), ([i32::MIN, 0], 1), ([0, 0], 0), ([0, 0], 31)] {
            Sum::read(&hostile(factors, shift), types).unwrap_err();
        }
    }
}
