//! The operators of class Q against naive integers, on every kind of kernel.

#![allow(clippy::unwrap_used)]

use super::conv::{INTEGER_CONV, K_MAX};
use super::isa::forced;
use super::matmul::INTEGER_MATMUL;
use super::requantize::{REQUANTIZE, put_range};
use super::scale::Range;
use crate::graph::TensorType;
use crate::ops::conv::Geometry;
use crate::ops::{Attributes, OpSpec};
use crate::tensor::{DType, Data, Tensor};
use proptest::prelude::*;

/// A stream of numbers from a seed, with many extremes.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    fn byte(&mut self) -> u8 {
        match self.next() % 5 {
            0 => [0, 0x7f, 0x80, 0xff][self.next() as usize % 4],
            _ => self.next() as u8,
        }
    }

    fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let bytes: Vec<u8> = (0..shape.iter().product()).map(|_| self.byte()).collect();
        Tensor::from_bytes(dtype, shape, &bytes).unwrap()
    }
}

fn eight_bits() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::I8), Just(DType::U8)]
}

fn ints(t: &Tensor) -> Vec<i64> {
    t.to_i64s().unwrap()
}

/// The operator's result, the same on every kind of kernel.
fn run(op: &OpSpec, attributes: &Attributes, inputs: &[&Tensor]) -> Tensor {
    let types: Vec<TensorType> = inputs.iter().map(|t| TensorType::of(t)).collect();
    let ty = (op.infer)(attributes, &types.iter().collect::<Vec<_>>()).unwrap().remove(0);
    let results = forced::each(|| (op.run)(attributes, inputs).unwrap().remove(0));
    results.iter().for_each(|(isa, result)| assert_eq!(result, &results[0].1, "{isa:?}"));
    let result = results.into_iter().next().unwrap().1;
    assert_eq!(TensorType::of(&result), ty);
    result
}

/// An image's element at a place that may lie in the padding.
fn padded(x: &[i64], sizes: &[usize], at: &[i64], zero: i64) -> i64 {
    let mut flat = 0;
    for (&size, &at) in sizes.iter().zip(at) {
        match usize::try_from(at).ok().filter(|at| *at < size) {
            Some(at) => flat = flat * size + at,
            None => return zero,
        }
    }
    x[flat]
}

/// All indices of a shape in row-major order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let count = shape.iter().product::<usize>();
    let index = |mut flat: usize| {
        let mut index: Vec<usize> = shape.iter().rev().map(|&dim| (flat % dim, flat /= dim).0).collect();
        index.reverse();
        index
    };
    (0..count).map(index).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn products_are_exact(
        (m, k, n) in (0usize..20, prop_oneof![0usize..12, 60usize..300], 0usize..80),
        (batch_a, batch_b) in (1usize..3, 1usize..3),
        (a_type, b_type, per_row, per_column) in (eight_bits(), eight_bits(), any::<bool>(), any::<bool>()),
        seed in any::<u32>(),
    ) {
        prop_assume!(batch_a == batch_b || batch_a == 1 || batch_b == 1);
        let mut numbers = Numbers(seed);
        let a = numbers.tensor(a_type, &[batch_a, m, k]);
        let b = numbers.tensor(b_type, &[batch_b, k, n]);
        let a_zero = if per_row { numbers.tensor(a_type, &[m]) } else { numbers.tensor(a_type, &[]) };
        let b_zero = if per_column { numbers.tensor(b_type, &[n]) } else { numbers.tensor(b_type, &[]) };
        let got = run(&INTEGER_MATMUL, &Attributes::none(), &[&a, &a_zero, &b, &b_zero]);
        let (x, y, xz, yz) = (ints(&a), ints(&b), ints(&a_zero), ints(&b_zero));
        let one = |list: &[i64], at: usize| list[if list.len() == 1 { 0 } else { at }];
        let mut want = Vec::new();
        for batch in 0..batch_a.max(batch_b) {
            let (ia, ib) = (batch % batch_a * m * k, batch % batch_b * k * n);
            for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let term = |p: usize| {
                    (x[ia + row * k + p] - one(&xz, row)) * (y[ib + p * n + column] - one(&yz, column))
                };
                want.push((0..k).map(term).sum::<i64>());
            }
        }
        prop_assert_eq!(ints(&got), want);
    }

    #[test]
    fn convolutions_are_exact(
        (batch, group, depth, per_group) in (1usize..3, 1usize..4, prop_oneof![Just(1usize), 1usize..10], 1usize..10),
        axes in proptest::collection::vec(
            (prop_oneof![4 => 0usize..12, 1 => 12usize..100], 1usize..7, 1usize..4, 0usize..3, 0usize..3, 1usize..4), 1..=3),
        (x_type, w_type, per_output) in (eight_bits(), eight_bits(), any::<bool>()),
        is_symmetric in any::<bool>(),
        seed in any::<u32>(),
    ) {
        let column = |i: usize| -> Vec<usize> {
            axes.iter().map(|a| [a.0, a.1, a.2, a.3, a.4, a.5][i]).collect()
        };
        let geometry = Geometry {
            strides: column(2), pads_before: column(3), pads_after: column(4), dilations: column(5), group,
        };
        let attributes = geometry.attributes();
        let outputs = group * per_group;
        let x_shape: Vec<usize> = [batch, group * depth].into_iter().chain(column(0)).collect();
        let w_shape: Vec<usize> = [outputs, depth].into_iter().chain(column(1)).collect();
        let mut numbers = Numbers(seed);
        let (x, w) = (numbers.tensor(x_type, &x_shape), numbers.tensor(w_type, &w_shape));
        let x_zero = numbers.tensor(x_type, &[]);
        let w_zero = match (is_symmetric, w_type) {
            (true, DType::I8) => Tensor::from_i8([], vec![0]).unwrap(),
            (true, _) => Tensor::from_u8([], vec![128]).unwrap(),
            _ => numbers.tensor(w_type, if per_output { std::slice::from_ref(&outputs) } else { &[] }),
        };
        let operands = [&x, &x_zero, &w, &w_zero];
        let types: Vec<TensorType> = operands.iter().map(|t| TensorType::of(t)).collect();
        let Ok(ty) = (INTEGER_CONV.infer)(&attributes, &types.iter().collect::<Vec<_>>()) else { return Ok(()) };
        let got = run(&INTEGER_CONV, &attributes, &operands);
        let (xs, ws, xz, wz) = (ints(&x), ints(&w), ints(&x_zero)[0], ints(&w_zero));
        let (plane, taps) = (column(0).iter().product::<usize>(), indices(&column(1)));
        let want: Vec<i64> = indices(&ty[0].shape).iter().map(|index| {
            let output = index[1];
            let zero = wz[if wz.len() == 1 { 0 } else { output }];
            let mut sum = 0;
            for channel in 0..depth {
                let image = index[0] * group * depth + output / per_group * depth + channel;
                for (t, tap) in taps.iter().enumerate() {
                    let at: Vec<i64> = tap.iter().zip(&index[2..]).zip(&axes)
                        .map(|((tap, o), axis)| (o * axis.2 + tap * axis.5) as i64 - axis.3 as i64).collect();
                    let v = padded(&xs[image * plane..][..plane], &column(0), &at, xz);
                    sum += (v - xz) * (ws[(output * depth + channel) * taps.len() + t] - zero);
                }
            }
            sum
        }).collect();
        prop_assert_eq!(ints(&got), want);
    }

    #[test]
    fn rules_lie_along_their_axis(shape in proptest::collection::vec(1usize..7, 0..4), axis in 0usize..4, one in any::<bool>(), seed in any::<u32>()) {
        let axis = axis.min(shape.len().saturating_sub(1));
        let mut numbers = Numbers(seed);
        let wide = |n: &mut Numbers| (n.next() << 12) as i32 >> (n.next() % 20);
        let x: Vec<i32> = (0..shape.iter().product()).map(|_| wide(&mut numbers)).collect();
        let count = if one || shape.is_empty() { 1 } else { shape[axis] };
        let rules: Vec<[i32; 3]> = (0..count).map(|_| [
            wide(&mut numbers), (numbers.next() << 7) as i32 & i32::MAX, 1 + (numbers.next() % 62) as i32,
        ]).collect();
        let range = Range { zero: 7, low: 3, high: 250 };
        let attributes = put_range(Attributes::none().int(axis as i64), DType::U8, range);
        let tensor = Tensor::from_i32(shape.clone(), x.clone()).unwrap();
        let table = Tensor::from_i32([count, 3], rules.concat()).unwrap();
        let got = run(&REQUANTIZE, &attributes, &[&tensor, &table]);
        let want: Vec<u8> = indices(&shape).iter().zip(&x).map(|(index, &x)| {
            let [bias, multiplier, shift] = rules[if count == 1 { 0 } else { index[axis] }];
            let exact = i128::from(x.wrapping_add(bias)) * i128::from(multiplier);
            let rounded = (2 * exact + (1i128 << shift)).div_euclid(2i128 << shift);
            (rounded + 7).clamp(3, 250) as u8
        }).collect();
        prop_assert_eq!(got.into_data(), Data::U8(want));
    }
}

#[test]
fn longest_sums_of_extremes_stay_exact() {
    let a = Tensor::from_u8([1, K_MAX], vec![255; K_MAX]).unwrap();
    let b = Tensor::from_i8([K_MAX, 1], vec![-128; K_MAX]).unwrap();
    let (a_zero, b_zero) = (Tensor::from_u8([], vec![0]).unwrap(), Tensor::from_i8([], vec![127]).unwrap());
    let got = run(&INTEGER_MATMUL, &Attributes::none(), &[&a, &a_zero, &b, &b_zero]);
    assert_eq!(ints(&got), [-(K_MAX as i64) * 255 * 255]);
    let ty = |dtype, shape: &[usize]| TensorType::new(dtype, shape);
    let refused = (INTEGER_MATMUL.infer)(
        &Attributes::none(),
        &[&ty(DType::U8, &[1, K_MAX + 1]), &ty(DType::U8, &[]), &ty(DType::I8, &[K_MAX + 1, 1]), &ty(DType::I8, &[])],
    );
    assert!(refused.unwrap_err().contains("may leave i32"));
}

#[test]
fn no_padding_stride_or_dilation_makes_a_channel_too_large() {
    let image = TensorType::new(DType::U8, [1, 1, 4]);
    let (zero, weights) = (TensorType::new(DType::U8, []), TensorType::new(DType::U8, [1, 1, 2]));
    for (pad, stride, dilation) in [(1 << 40, 1 << 39, 1), (1 << 40, 1 << 30, 1 << 38)] {
        let geometry = Geometry {
            strides: vec![stride],
            pads_before: vec![pad],
            pads_after: vec![pad],
            dilations: vec![dilation],
            group: 1,
        };
        let refused = (INTEGER_CONV.infer)(&geometry.attributes(), &[&image, &zero, &weights, &zero]).unwrap_err();
        assert!(refused.contains("with its padding a channel has"), "{refused}");
    }
}
