//! Bytes that only change their places, where whole rows go the same way.

use super::bytes::bytes_of;
use super::isa::{Isa, integer_kernel};
use super::requantize::into_data;
use crate::ops::{Attributes, OpResult, tensor};
use crate::tensor::Tensor;

/// Shortest rows that are worth it.
const ROW_MIN: usize = 16;

/// Where the rows of a tensor go.
#[derive(Clone, Debug)]
pub(crate) enum Moved {
    /// Every byte so many times, as its nearest neighbours when a dimension is enlarged.
    Repeated(usize),
    /// Rows of so many bytes side by side, byte by byte: where the first of each bundle begins, and two or four rows from it on,
    /// so far apart.
    Interleaved { starts: Vec<usize>, row: usize, rows: usize, step: usize },
}

impl Moved {
    /// A gathering along the last dimension, if it repeats elements.
    pub(crate) fn repeated(size: usize, indices: &[i64]) -> Option<Moved> {
        let times = indices.len().checked_div(size).filter(|times| *times > 0)?;
        let is_nearest = indices.iter().enumerate().all(|(i, &index)| index == (i / times) as i64);
        (is_nearest && indices.len() == times * size).then_some(Moved::Repeated(times))
    }

    /// A transposition, if its last dimension is short and the one before it long and side by side in the operand.
    pub(crate) fn transposed(attributes: &Attributes, shape: &[usize]) -> Option<Moved> {
        let axes = attributes.read_sizes(0).ok()?;
        let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let moved: Vec<[usize; 2]> =
            axes.iter().map(|&axis| [shape[axis], stride(axis)]).filter(|[size, _]| *size != 1).collect();
        let [outer @ .., [row, 1], [rows @ (2 | 4), step]] = &moved[..] else { return None };
        let mut starts = vec![0];
        for [size, stride] in outer.iter().filter(|_| *row >= ROW_MIN) {
            starts = starts.iter().flat_map(|start| (0..*size).map(move |i| start + i * stride)).collect();
        }
        (*row >= ROW_MIN).then_some(Moved::Interleaved { starts, row: *row, rows: *rows, step: *step })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Moved::Repeated(_) => 0,
            Moved::Interleaved { starts, .. } => starts.len() * 8,
        }
    }

    /// The moved bytes, as a tensor of this shape.
    pub(crate) fn run(&self, x: &Tensor, shape: &[usize]) -> OpResult<Tensor> {
        let bytes = bytes_of(x.data())?.values;
        let mut y = vec![0; shape.iter().product()];
        match self {
            Moved::Repeated(2) => repeat::<2>(bytes, &mut y),
            Moved::Repeated(4) => repeat::<4>(bytes, &mut y),
            Moved::Repeated(8) => repeat::<8>(bytes, &mut y),
            Moved::Repeated(times) => y.chunks_exact_mut(*times).zip(bytes).for_each(|(y, byte)| y.fill(*byte)),
            Moved::Interleaved { starts, row, rows, step } => {
                let isa = Isa::detect();
                for (y, start) in y.chunks_exact_mut(row * rows).zip(starts) {
                    let source = |i: usize| &bytes[start + i * step..][..*row];
                    match rows {
                        2 => two(isa, source(0), source(1), y),
                        _ => four(isa, [source(0), source(1), source(2), source(3)], y),
                    }
                }
            }
        }
        tensor(shape, into_data(x.dtype(), y)?)
    }
}

/// Every byte `N` times.
fn repeat<const N: usize>(x: &[u8], y: &mut [u8]) {
    x.iter().zip(y.as_chunks_mut::<N>().0).for_each(|(byte, y)| *y = [*byte; N]);
}

integer_kernel! {
    fn two(a: &[u8], b: &[u8], y: &mut [u8]) {
        a.iter().zip(b).zip(y.as_chunks_mut().0).for_each(|((a, b), y)| *y = [*a, *b]);
    }
}

integer_kernel! {
    fn four(rows: [&[u8]; 4], y: &mut [u8]) {
        let [a, b, c, d] = rows;
        a.iter().zip(b).zip(c).zip(d).zip(y.as_chunks_mut().0).for_each(|((((a, b), c), d), y)| *y = [*a, *b, *c, *d]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops::gather::GATHER;
    use crate::ops::movement::TRANSPOSE;
    use crate::quant::isa::forced;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_go_where_the_operators_put_them(
            shape in proptest::collection::vec(prop_oneof![1usize..5, 16usize..40], 3..5),
            order in Just([0usize, 1, 2, 3]).prop_shuffle(), times in 1usize..10, seed in any::<u8>(),
        ) {
            let bytes: Vec<u8> = (0..shape.iter().product()).map(|i: usize| (i as u8).wrapping_mul(37) ^ seed).collect();
            let x = Tensor::from_u8(shape.clone(), bytes).unwrap();
            let axes: Vec<usize> = order.into_iter().filter(|&axis| axis < shape.len()).collect();
            let attributes = Attributes::none().sizes(&axes);
            let want = (TRANSPOSE.run)(&attributes, &[&x]).unwrap().remove(0);
            if let Some(moved) = Moved::transposed(&attributes, &shape) {
                for (_, got) in forced::each(|| moved.run(&x, want.shape()).unwrap()) {
                    prop_assert_eq!(&got, &want);
                }
            }
            let (last, size) = (shape.len() - 1, shape[shape.len() - 1]);
            let indices: Vec<i64> = (0..size * times).map(|i| (i / times) as i64).collect();
            let list = Tensor::from_i64([indices.len()], indices.clone()).unwrap();
            let want = (GATHER.run)(&Attributes::none().int(last as i64), &[&x, &list]).unwrap().remove(0);
            let moved = Moved::repeated(size, &indices).unwrap();
            prop_assert_eq!(moved.run(&x, want.shape()).unwrap(), want);
        }
    }

    #[test]
    fn what_goes_another_way_is_left_to_its_operator() {
        for indices in [&[0, 0, 1][..], &[1, 1, 0, 0], &[0, 1, 2, 3], &[]] {
            assert!(Moved::repeated(2, indices).is_none(), "{indices:?}");
        }
        let rows = |axes: &[usize], shape: &[usize]| Moved::transposed(&Attributes::none().sizes(axes), shape);
        assert!(rows(&[1, 0], &[2, 64]).is_some());
        assert!(rows(&[1, 0], &[64, 2]).is_none());
        assert!(rows(&[1, 0], &[2, 15]).is_none());
    }
}
