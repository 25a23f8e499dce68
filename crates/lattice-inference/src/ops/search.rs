//! Positions and order: arg max, arg min, top k.
//!
//! NaN counts as larger than everything, as it does in NumPy's arg max; of equal elements the first wins unless told otherwise.

use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::tensor::{DType, Data, Tensor};
use core::cmp::Ordering;

/// Attributes: axis, whether the axis stays with size 1, whether the last of equals wins.
pub static ARG_MAX: OpSpec = OpSpec {
    code: 0x0c01,
    name: "ArgMax",
    infer: infer_arg,
    work: |_, types, _| Work::steps(30, types[0]),
    run: run_arg::<true>,
};
/// Attributes as [`ARG_MAX`].
pub static ARG_MIN: OpSpec = OpSpec {
    code: 0x0c02,
    name: "ArgMin",
    infer: infer_arg,
    work: |_, types, _| Work::steps(30, types[0]),
    run: run_arg::<false>,
};
/// Results: values and i64 positions, sorted. Attributes: axis, count, whether the largest are wanted.
pub static TOP_K: OpSpec = OpSpec { code: 0x0c03, name: "TopK", infer: infer_top_k, work: work_top_k, run: run_top_k };

pub(super) const ALL: &[&OpSpec] = &[&ARG_MAX, &ARG_MIN, &TOP_K];

/// A sort of each row: comparisons by the logarithm of its length.
fn work_top_k(attributes: &Attributes, types: &[&TensorType], _: &[TensorType]) -> Work {
    let axis = attributes.read_axis(0, types[0].shape.len()).unwrap_or(0);
    let depth = types[0].shape.get(axis).map_or(0, |&n| u64::from(n.max(1).ilog2()));
    Work { scratch_bytes: types[0].elements() as u64 * 8, ..Work::steps(60 + 100 * (depth + 1), types[0]) }
}

/// Total order of elements: -0 equals +0, NaN is above everything.
trait Ordered: Copy {
    fn order(self, other: Self) -> Ordering;
}
macro_rules! integers { ($($t:ty)*) => { $(impl Ordered for $t { fn order(self, other: Self) -> Ordering { self.cmp(&other) } })* } }
integers!(i8 i16 i32 i64 u8 u16 u32 u64);
macro_rules! floats { ($($t:ty)*) => { $(impl Ordered for $t {
    fn order(self, other: Self) -> Ordering {
        self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
})* } }
floats!(f32 f64);

macro_rules! each_ordered {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            Data::F32($v) => $body,
            Data::F64($v) => $body,
            Data::I8($v) => $body,
            Data::I16($v) => $body,
            Data::I32($v) => $body,
            Data::I64($v) => $body,
            Data::U8($v) => $body,
            Data::U16($v) => $body,
            Data::U32($v) => $body,
            Data::U64($v) => $body,
            other => return Err(format!("it is not defined for {}", other.dtype())),
        }
    };
}

fn ordered(x: &TensorType) -> OpResult<()> {
    if matches!(x.dtype, DType::Bool | DType::F16 | DType::BF16) {
        Err(format!("it is not defined for {}", x.dtype))
    } else {
        Ok(())
    }
}

fn infer_arg(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(3)?;
    let [x] = operands(types)?;
    ordered(x)?;
    let axis = attributes.read_axis(0, x.shape.len())?;
    attributes.read_flag(2)?;
    if x.shape[axis] == 0 {
        return Err(format!("axis {axis} has no elements"));
    }
    let mut shape = x.shape.clone();
    if attributes.read_flag(1)? {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    Ok(vec![TensorType::new(DType::I64, shape)])
}

fn run_arg<const MAX: bool>(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let axis = attributes.read_axis(0, x.rank())?;
    let last = attributes.read_flag(2)?;
    let (n, inner) = (x.shape()[axis], x.shape()[axis + 1..].iter().product::<usize>());
    let outer: usize = x.shape()[..axis].iter().product();
    fn arg<T: Ordered>(v: &[T], (outer, n, inner): (usize, usize, usize), better: Ordering, last: bool) -> Vec<i64> {
        let at = |index: usize| {
            let base = index / inner * n * inner + index % inner;
            let beats = |o: Ordering| o == better || last && o == Ordering::Equal;
            (1..n).fold(0, |best, i| if beats(v[base + i * inner].order(v[base + best * inner])) { i } else { best })
                as i64
        };
        (0..outer * inner).map(at).collect()
    }
    let better = if MAX { Ordering::Greater } else { Ordering::Less };
    let positions = each_ordered!(x.data(), v => arg(v, (outer, n, inner), better, last));
    let shape = infer_arg(attributes, &[&TensorType::of(x)])?.remove(0).shape;
    Ok(vec![tensor(&shape, Data::I64(positions))?])
}

fn infer_top_k(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(3)?;
    let [x] = operands(types)?;
    ordered(x)?;
    let axis = attributes.read_axis(0, x.shape.len())?;
    let count = attributes.read_size(1)?;
    attributes.read_flag(2)?;
    if count > x.shape[axis] {
        return Err(format!("the top {count} of {} elements are asked for", x.shape[axis]));
    }
    let mut shape = x.shape.clone();
    shape[axis] = count;
    Ok(vec![TensorType::new(x.dtype, shape.clone()), TensorType::new(DType::I64, shape)])
}

fn run_top_k(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let axis = attributes.read_axis(0, x.rank())?;
    let (count, largest) = (attributes.read_size(1)?, attributes.read_flag(2)?);
    let (n, inner) = (x.shape()[axis], x.shape()[axis + 1..].iter().product::<usize>());
    let outer: usize = x.shape()[..axis].iter().product();
    let mut shape = x.shape().to_vec();
    shape[axis] = count;
    /// Flat operand positions of the winners, in result order.
    fn winners<T: Ordered>(
        v: &[T],
        (outer, n, inner): (usize, usize, usize),
        count: usize,
        largest: bool,
    ) -> Vec<usize> {
        let mut out = vec![0; outer * count * inner];
        let mut order: Vec<usize> = Vec::with_capacity(n);
        for o in 0..outer {
            for i in 0..inner {
                let at = |p: usize| (o * n + p) * inner + i;
                order.clear();
                order.extend(0..n);
                // A stable sort: of equal elements the one with the lower position comes first.
                order.sort_by(|&a, &b| {
                    let by_value = v[at(a)].order(v[at(b)]);
                    if largest { by_value.reverse() } else { by_value }
                });
                for (k, &p) in order.iter().take(count).enumerate() {
                    out[(o * count + k) * inner + i] = at(p);
                }
            }
        }
        out
    }
    let flat = each_ordered!(x.data(), v => winners(v, (outer, n, inner), count, largest));
    let positions = flat.iter().map(|&p| (p / inner.max(1) % n.max(1)) as i64).collect();
    let values = crate::tensor::map_data!(x.data(), v => flat.iter().map(|&p| v[p]).collect());
    Ok(vec![tensor(&shape, values)?, tensor(&shape, Data::I64(positions))?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_or_the_last_of_equals() {
        let x = Tensor::from_f32([2, 3], vec![1.0, 3.0, 3.0, -1.0, f32::NAN, 7.0]).unwrap();
        let run = |op: &OpSpec, axis, last| {
            let a = Attributes::none().int(axis).flag(false).flag(last);
            (op.run)(&a, &[&x]).unwrap()[0].as_i64().unwrap().to_vec()
        };
        assert_eq!(run(&ARG_MAX, 1, false), [1, 1]);
        assert_eq!(run(&ARG_MAX, 1, true), [2, 1]);
        assert_eq!(run(&ARG_MIN, 0, false), [1, 0, 0]);
    }

    #[test]
    fn the_top_few_in_order() {
        let x = Tensor::from_i32([2, 4], vec![4, 1, 4, 2, 0, 9, 8, 9]).unwrap();
        let run = |largest| (TOP_K.run)(&Attributes::none().int(1).int(2).flag(largest), &[&x]).unwrap();
        let r = run(true);
        assert_eq!(r[0].as_i32().unwrap(), [4, 4, 9, 9]);
        assert_eq!(r[1].as_i64().unwrap(), [0, 2, 1, 3]);
        let r = run(false);
        assert_eq!(r[0].as_i32().unwrap(), [1, 2, 0, 8]);
        assert_eq!(r[1].as_i64().unwrap(), [1, 3, 0, 2]);
    }
}
