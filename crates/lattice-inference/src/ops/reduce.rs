//! Reductions over axes, and running sums.
//!
//! The elements of a reduction are taken in row-major order of the reduced axes. A float sum whose elements lie side by side
//! (the reduced axes are the last ones, or lie apart) uses 16 lanes and a fixed tree; any other is one ascending chain (see
//! `kernels::reduce`). Products are one ascending chain; maxima and minima compare explicitly and pass NaN on.

use super::movement::transpose;
use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::{Work, rows};
use crate::graph::TensorType;
use crate::kernels::Isa;
use crate::kernels::elementwise::{max, min};
use crate::kernels::reduce::{LANES, max_rows, sum_columns, sum_rows, tree};
use crate::tensor::{DType, Data, Tensor, map_data};

macro_rules! specs {
    ($($name:ident $code:literal $text:literal $steps:literal;)*) => {
        $(
            /// Attributes: axes (ascending), whether reduced axes stay with size 1.
            pub static $name: OpSpec = OpSpec { code: $code, name: $text, infer, work: work::<$steps>, run: run::<$code> };
        )*
    };
}

specs! {
    SUM 0x0801 "ReduceSum" 4;
    MAX 0x0802 "ReduceMax" 40;
    MIN 0x0803 "ReduceMin" 40;
    PROD 0x0804 "ReduceProd" 40;
}

/// Running sum along an axis, one ascending chain. Attributes: axis, exclusive, reverse.
pub static CUM_SUM: OpSpec = OpSpec {
    code: 0x0805,
    name: "CumSum",
    infer: infer_cum_sum,
    work: |_, _, results| Work::steps(80, &results[0]),
    run: run_cum_sum,
};

pub(super) const ALL: &[&OpSpec] = &[&SUM, &MAX, &MIN, &PROD, &CUM_SUM];

/// Attributes of a reduction.
pub(crate) fn over(axes: &[usize], keep: bool) -> Attributes {
    Attributes::none().sizes(axes).flag(keep)
}

fn result_shape(attributes: &Attributes, shape: &[usize]) -> OpResult<(Vec<usize>, Vec<usize>)> {
    attributes.expect_len(2)?;
    let axes = attributes.read_axes(0, shape.len())?;
    let keep = attributes.read_flag(1)?;
    let kept = shape.iter().enumerate().filter_map(|(axis, &dim)| match (axes.contains(&axis), keep) {
        (false, _) => Some(dim),
        (true, true) => Some(1),
        (true, false) => None,
    });
    Ok((axes.clone(), kept.collect()))
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    if matches!(x.dtype, DType::Bool | DType::F16 | DType::BF16) {
        return Err(format!("it is not defined for {}", x.dtype));
    }
    Ok(vec![TensorType::new(x.dtype, result_shape(attributes, &x.shape)?.1)])
}

/// Sums along rows take vectors, the rest one element after the other; every row along the last axis begins anew.
fn work<const STEPS: u64>(attributes: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let rank = types[0].shape.len();
    let along_rows = attributes.read_axes(0, rank).is_ok_and(|axes| axes.contains(&rank.saturating_sub(1)));
    // A transposed copy when the axes are not neighbours.
    let scratch_bytes = types[0].bytes() as u64;
    let begun = if along_rows { results[0].elements() } else { rows(&results[0]) };
    let steps = if types[0].dtype == DType::F32 { STEPS } else { STEPS.max(20) };
    Work { scratch_bytes, ..Work::steps(steps, types[0]) }.and(500, begun)
}

/// Three nested sizes: the reduced axes in the middle.
struct Nest {
    outer: usize,
    reduced: usize,
    inner: usize,
}

/// Brings the reduced axes together (moving them last when they are apart) and gives the nest.
fn nest<T: Copy>(x: &[T], shape: &[usize], axes: &[usize]) -> (Option<Vec<T>>, Nest) {
    let product = |range: &[usize]| range.iter().product::<usize>();
    let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else {
        return (None, Nest { outer: product(shape), reduced: 1, inner: 1 });
    };
    // Axes of size 1 between or around do not matter for the order.
    let apart = (first..last).any(|axis| !axes.contains(&axis) && shape[axis] != 1);
    let reduced: usize = axes.iter().map(|&axis| shape[axis]).product();
    if !apart {
        let outer = product(&shape[..first]);
        let inner = product(&shape[last + 1..]);
        return (None, Nest { outer, reduced, inner });
    }
    let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
    let permutation: Vec<usize> = kept.clone().chain(axes.iter().copied()).collect();
    let outer = kept.map(|axis| shape[axis]).product();
    (Some(transpose(x, shape, &permutation)), Nest { outer, reduced, inner: 1 })
}

/// Folds each reduction in ascending order.
fn fold<T: Copy>(x: &[T], nest: &Nest, start: T, f: impl Fn(T, T) -> T) -> Vec<T> {
    let Nest { outer, reduced, inner } = *nest;
    if inner == 1 {
        return (0..outer).map(|o| x[o * reduced..][..reduced].iter().fold(start, |acc, &v| f(acc, v))).collect();
    }
    let mut out = vec![start; outer * inner];
    for o in 0..outer {
        let out = &mut out[o * inner..][..inner];
        for r in 0..reduced {
            let row = &x[(o * reduced + r) * inner..][..inner];
            out.iter_mut().zip(row).for_each(|(acc, &v)| *acc = f(*acc, v));
        }
    }
    out
}

fn sum_f32(x: &[f32], nest: &Nest) -> Vec<f32> {
    let Nest { outer, reduced, inner } = *nest;
    let isa = Isa::detect();
    let mut out = vec![0.0; outer * inner];
    if inner == 1 {
        sum_rows(isa, x, reduced, &mut out);
    } else if reduced > 0 && inner > 0 {
        for (o, out) in out.chunks_exact_mut(inner).enumerate() {
            sum_columns(isa, &x[o * reduced * inner..][..reduced * inner], out);
        }
    }
    out
}

fn max_f32(x: &[f32], nest: &Nest) -> Vec<f32> {
    if nest.inner != 1 {
        return fold(x, nest, f32::NEG_INFINITY, max);
    }
    let mut out = vec![0.0; nest.outer];
    max_rows(Isa::detect(), x, nest.reduced, &mut out);
    out
}

fn sum_f64(x: &[f64], nest: &Nest) -> Vec<f64> {
    let Nest { outer, reduced, inner } = *nest;
    if inner > 1 {
        return fold(x, nest, 0.0, |a, b| a + b);
    }
    let at = |index: usize| {
        let mut lanes = [0.0; LANES];
        (0..reduced).for_each(|r| lanes[r % LANES] += x[(index / inner * reduced + r) * inner + index % inner]);
        tree(lanes)
    };
    (0..outer * inner).map(at).collect()
}

fn run<const CODE: u16>(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    reduce(CODE, attributes, inputs)
}

/// Not generic: compiled once for all operators.
fn reduce(code: u16, attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let (axes, shape) = result_shape(attributes, x.shape())?;
    macro_rules! each {
        ($v:ident, $sum:expr, $top:expr, $one:expr, $highest:expr, $min:expr, $mul:expr) => {{
            let (moved, nest) = nest($v, x.shape(), &axes);
            let v = moved.as_deref().unwrap_or($v);
            match code {
                0x0801 => $sum(v, &nest),
                0x0802 => $top(v, &nest),
                0x0803 => fold(v, &nest, $highest, $min),
                _ => fold(v, &nest, $one, $mul),
            }
        }};
    }
    macro_rules! integers {
        ($t:ident, $v:ident) => {
            each!(
                $v,
                |v, nest| fold(v, nest, 0, $t::wrapping_add),
                |v, nest| fold(v, nest, $t::MIN, $t::max),
                1,
                $t::MAX,
                $t::min,
                $t::wrapping_mul
            )
        };
    }
    let data = match x.data() {
        Data::F32(v) => Data::F32(each!(v, sum_f32, max_f32, 1.0, f32::INFINITY, min, |a, b| a * b)),
        Data::F64(v) => Data::F64(each!(
            v,
            sum_f64,
            |v, nest| fold(v, nest, f64::NEG_INFINITY, |a: f64, b: f64| if a.is_nan() || a >= b { a } else { b }),
            1.0,
            f64::INFINITY,
            |a: f64, b: f64| if a.is_nan() || a <= b { a } else { b },
            |a, b| a * b
        )),
        Data::I8(v) => Data::I8(integers!(i8, v)),
        Data::I16(v) => Data::I16(integers!(i16, v)),
        Data::I32(v) => Data::I32(integers!(i32, v)),
        Data::I64(v) => Data::I64(integers!(i64, v)),
        Data::U8(v) => Data::U8(integers!(u8, v)),
        Data::U16(v) => Data::U16(integers!(u16, v)),
        Data::U32(v) => Data::U32(integers!(u32, v)),
        Data::U64(v) => Data::U64(integers!(u64, v)),
        other => return Err(format!("it is not defined for {}", other.dtype())),
    };
    Ok(vec![tensor(&shape, data)?])
}

fn infer_cum_sum(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    attributes.expect_len(3)?;
    attributes.read_axis(0, x.shape.len())?;
    attributes.read_flag(1)?;
    attributes.read_flag(2)?;
    if matches!(x.dtype, DType::Bool | DType::F16 | DType::BF16) {
        return Err(format!("it is not defined for {}", x.dtype));
    }
    Ok(vec![x.clone()])
}

/// Addition that wraps for integers.
trait Add: Copy {
    fn add(self, other: Self) -> Self;
    const ZERO: Self;
}
macro_rules! wrapping { ($($t:ty)*) => { $(impl Add for $t {
    fn add(self, other: Self) -> Self { self.wrapping_add(other) }
    const ZERO: Self = 0;
})* } }
wrapping!(i8 i16 i32 i64 u8 u16 u32 u64);
macro_rules! plain { ($($t:ty)*) => { $(impl Add for $t {
    fn add(self, other: Self) -> Self { self + other }
    const ZERO: Self = 0.0;
})* } }
plain!(f32 f64);
impl Add for bool {
    fn add(self, other: Self) -> Self {
        self | other
    }
    const ZERO: Self = false;
}

fn run_cum_sum(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let axis = attributes.read_axis(0, x.rank())?;
    let (exclusive, reverse) = (attributes.read_flag(1)?, attributes.read_flag(2)?);
    let n = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    fn sums<T: Add>(v: &[T], n: usize, inner: usize, exclusive: bool, reverse: bool) -> Vec<T> {
        let mut out = v.to_vec();
        for block in 0..v.len() / (n * inner).max(1) {
            for i in 0..inner {
                let mut sum = T::ZERO;
                for step in 0..n {
                    let at = (block * n + if reverse { n - 1 - step } else { step }) * inner + i;
                    let before = sum;
                    sum = sum.add(v[at]);
                    out[at] = if exclusive { before } else { sum };
                }
            }
        }
        out
    }
    let data = map_data!(x.data(), v => sums(v, n, inner, exclusive, reverse));
    Ok(vec![tensor(x.shape(), data)?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reduced(op: &OpSpec, x: &Tensor, axes: &[usize], keep: bool) -> Tensor {
        let attributes = over(axes, keep);
        let ty = (op.infer)(&attributes, &[&TensorType::of(x)]).unwrap();
        let r = (op.run)(&attributes, &[x]).unwrap().remove(0);
        assert_eq!(ty[0], TensorType::of(&r));
        r
    }

    #[test]
    fn axes_together_apart_and_none() {
        // numpy: np.arange(24.).reshape(2,3,4).sum(axis=...)
        let x = Tensor::from_f32([2, 3, 4], (0..24).map(|i| i as f32).collect()).unwrap();
        assert_eq!(reduced(&SUM, &x, &[0, 1, 2], false), Tensor::from_f32([], vec![276.0]).unwrap());
        assert_eq!(reduced(&SUM, &x, &[0, 2], true), Tensor::from_f32([1, 3, 1], vec![60.0, 92.0, 124.0]).unwrap());
        assert_eq!(reduced(&SUM, &x, &[1], false).to_f64s(), [12., 15., 18., 21., 48., 51., 54., 57.]);
        assert_eq!(reduced(&SUM, &x, &[], true), x);
        assert_eq!(reduced(&MAX, &x, &[0, 2], false).to_f64s(), [15., 19., 23.]);
        assert_eq!(reduced(&MIN, &x, &[1, 2], false).to_f64s(), [0., 12.]);
        let y = Tensor::from_i32([2, 2], vec![1, 2, 3, 4]).unwrap();
        assert_eq!(reduced(&PROD, &y, &[0], false), Tensor::from_i32([2], vec![3, 8]).unwrap());
    }

    #[test]
    fn empty_reductions_give_the_neutral_element() {
        let x = Tensor::from_f32([2, 0, 3], vec![]).unwrap();
        assert_eq!(reduced(&SUM, &x, &[1], false).to_f64s(), [0.0; 6]);
        assert_eq!(reduced(&MAX, &x, &[1], false).to_f64s(), [f64::NEG_INFINITY; 6]);
        assert_eq!(reduced(&PROD, &x, &[1], false).to_f64s(), [1.0; 6]);
        assert!(reduced(&SUM, &x, &[0], false).is_empty());
    }

    #[test]
    fn running_sums() {
        let x = Tensor::from_i32([2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap();
        let run = |axis, exclusive, reverse| {
            let a = Attributes::none().int(axis).flag(exclusive).flag(reverse);
            run_cum_sum(&a, &[&x]).unwrap()[0].as_i32().unwrap().to_vec()
        };
        assert_eq!(run(1, false, false), [1, 3, 6, 4, 9, 15]);
        assert_eq!(run(1, true, true), [5, 3, 0, 11, 6, 0]);
        assert_eq!(run(0, false, false), [1, 2, 3, 5, 7, 9]);
    }
}
