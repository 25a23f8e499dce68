//! NumPy broadcasting: shapes, and loops over operands that are read with repetition.

use super::OpResult;
use crate::cost::rows;
use crate::graph::TensorType;

/// The common shape of operands, or which dimensions disagree.
pub fn broadcast_shapes(shapes: &[&[usize]]) -> OpResult<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        let offset = rank - shape.len();
        for (i, &dim) in shape.iter().enumerate() {
            let slot = &mut out[offset + i];
            match (*slot, dim) {
                (a, b) if a == b => {}
                (1, b) => *slot = b,
                (_, 1) => {}
                _ => return Err(format!("shapes {shapes:?} do not broadcast together")),
            }
        }
    }
    Ok(out)
}

/// Loop dimensions shared by several operands, with each operand's strides (0 where it repeats).
///
/// Dimensions of size one are dropped and neighbours are merged where every operand allows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loops {
    pub(crate) dims: Vec<usize>,
    pub(crate) strides: Vec<Vec<usize>>,
}

impl Loops {
    /// Loops over `out` for operands of the given shapes, each broadcastable to `out`.
    pub(crate) fn new(out: &[usize], shapes: &[&[usize]]) -> Loops {
        let raw: Vec<Vec<usize>> = shapes.iter().map(|shape| broadcast_strides(shape, out)).collect();
        let mut dims: Vec<usize> = Vec::new();
        let mut strides: Vec<Vec<usize>> = vec![Vec::new(); shapes.len()];
        for axis in (0..out.len()).rev().filter(|&axis| out[axis] != 1) {
            // Built innermost first, so `last` is the dimension just inside this one.
            let merges = dims.last().is_some_and(|&inner| {
                raw.iter().zip(&strides).all(|(raw, s)| s.last().is_some_and(|&stride| raw[axis] == stride * inner))
            });
            if merges {
                *dims.last_mut().expect("merging needs an inner dimension") *= out[axis];
            } else {
                dims.push(out[axis]);
                strides.iter_mut().zip(&raw).for_each(|(s, raw)| s.push(raw[axis]));
            }
        }
        if dims.is_empty() {
            dims.push(1);
            strides.iter_mut().for_each(|s| s.push(0));
        }
        dims.reverse();
        strides.iter_mut().for_each(|s| s.reverse());
        Loops { dims, strides }
    }

    /// Number of elements of the loop.
    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Calls `row(offsets)` for every run of the innermost dimension, in order.
    pub(crate) fn rows<const N: usize>(&self, mut row: impl FnMut([usize; N])) {
        debug_assert_eq!(self.strides.len(), N);
        if self.len() == 0 {
            return;
        }
        let outer = &self.dims[..self.dims.len() - 1];
        let mut index = vec![0; outer.len()];
        let mut offsets = [0; N];
        loop {
            row(offsets);
            let mut axis = outer.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                index[axis] += 1;
                if index[axis] < outer[axis] {
                    offsets.iter_mut().zip(&self.strides).for_each(|(o, s)| *o += s[axis]);
                    break;
                }
                index[axis] = 0;
                offsets.iter_mut().zip(&self.strides).for_each(|(o, s)| *o -= s[axis] * (outer[axis] - 1));
            }
        }
    }

    /// Length of the innermost dimension.
    pub(crate) fn inner(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Stride of an operand along the innermost dimension.
    pub(crate) fn inner_stride(&self, operand: usize) -> usize {
        self.strides[operand].last().copied().unwrap_or(0)
    }
}

/// Row-major strides of a shape.
pub fn strides_of(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1].max(1);
    }
    strides
}

/// Strides of `shape` seen as `out`: 0 along repeated dimensions.
fn broadcast_strides(shape: &[usize], out: &[usize]) -> Vec<usize> {
    let own = strides_of(shape);
    let offset = out.len() - shape.len();
    (0..out.len()).map(|axis| if axis < offset || shape[axis - offset] == 1 { 0 } else { own[axis - offset] }).collect()
}

/// Elements of a row that are handed on at once.
const ROW: usize = 512;

/// Hands the elements of two broadcast operands on, pair by pair, as slices of equal length.
///
/// All that differs between operators is `row`, so the loops around it are compiled once for each pair of types.
pub(crate) fn rows_of<A: Copy, B: Copy>(
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    out: &[usize],
    row: &mut dyn FnMut(&[A], &[B]),
) {
    let loops = Loops::new(out, &[a_shape, b_shape]);
    let (n, a_stride, b_stride) = (loops.inner(), loops.inner_stride(0), loops.inner_stride(1));
    let (mut a_row, mut b_row) = (Vec::new(), Vec::new());
    loops.rows(|[a_at, b_at]| {
        for start in (0..n).step_by(ROW) {
            let len = ROW.min(n - start);
            let xs = run_of(a, a_at + start * a_stride, a_stride, len, &mut a_row);
            let ys = run_of(b, b_at + start * b_stride, b_stride, len, &mut b_row);
            row(xs, ys);
        }
    });
}

/// `len` elements from `at` on, `stride` apart: borrowed where they are neighbours, else copied.
fn run_of<'v, T: Copy>(v: &'v [T], at: usize, stride: usize, len: usize, copy: &'v mut Vec<T>) -> &'v [T] {
    if stride == 1 {
        return &v[at..at + len];
    }
    copy.clear();
    match stride {
        0 => copy.resize(len, v[at]),
        _ => copy.extend((0..len).map(|i| v[at + i * stride])),
    }
    copy
}

/// Applies `f` to every pair of two broadcast operands.
pub(crate) fn zip<A: Copy, B: Copy, O>(
    a: (&[A], &[usize]),
    b: (&[B], &[usize]),
    out: &[usize],
    f: impl Fn(A, B) -> O,
) -> Vec<O> {
    let mut result = Vec::with_capacity(out.iter().product());
    rows_of(a, b, out, &mut |xs, ys| result.extend(xs.iter().zip(ys).map(|(&x, &y)| f(x, y))));
    result
}

/// [`zip`] for operators that refuse some operands, such as a division by zero.
pub(crate) fn try_zip<A: Copy, B: Copy, O>(
    a: (&[A], &[usize]),
    b: (&[B], &[usize]),
    out: &[usize],
    f: impl Fn(A, B) -> OpResult<O>,
) -> OpResult<Vec<O>> {
    let mut result = Vec::with_capacity(out.iter().product());
    let mut refusal = None;
    rows_of(a, b, out, &mut |xs, ys| {
        for (&x, &y) in xs.iter().zip(ys) {
            match f(x, y) {
                Ok(value) if refusal.is_none() => result.push(value),
                Ok(_) => {}
                Err(reason) => refusal = refusal.take().or(Some(reason)),
            }
        }
    });
    refusal.map_or(Ok(result), Err)
}

/// A broadcast operand written out in full.
pub(crate) fn expand<T: Copy>(v: &[T], shape: &[usize], out: &[usize]) -> Vec<T> {
    let loops = Loops::new(out, &[shape]);
    let (n, stride) = (loops.inner(), loops.inner_stride(0));
    let mut result = Vec::with_capacity(loops.len());
    loops.rows(|[at]| match stride {
        1 => result.extend_from_slice(&v[at..at + n]),
        0 => result.extend(core::iter::repeat_n(v[at], n)),
        _ => result.extend((0..n).map(|i| v[at + i * stride])),
    });
    result
}

/// Steps of beginning one row of a broadcast.
pub(crate) const ROW_STEPS: u64 = 80;

/// Rows that a broadcast of these operands begins; none when they walk in step.
pub(crate) fn broadcast_rows(operands: &[&TensorType], result: &TensorType) -> usize {
    let in_step = |ty: &&TensorType| ty.shape == result.shape || ty.elements() == 1;
    if operands.iter().all(in_step) { 0 } else { rows(result) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shapes_follow_numpy() {
        assert_eq!(broadcast_shapes(&[&[2, 1, 3], &[4, 1]]).unwrap(), [2, 4, 3]);
        assert_eq!(broadcast_shapes(&[&[], &[0, 2]]).unwrap(), [0, 2]);
        assert_eq!(broadcast_shapes(&[&[1], &[0]]).unwrap(), [0]);
        broadcast_shapes(&[&[2], &[3]]).unwrap_err();
    }

    #[test]
    fn dimensions_merge_where_all_operands_allow() {
        let loops = Loops::new(&[2, 3, 4], &[&[2, 3, 4], &[3, 4]]);
        assert_eq!((loops.dims, loops.strides), (vec![2, 12], vec![vec![12, 1], vec![0, 1]]));
        let loops = Loops::new(&[1, 3, 4], &[&[1, 3, 1], &[1, 3, 4]]);
        assert_eq!((loops.dims, loops.strides), (vec![3, 4], vec![vec![1, 0], vec![4, 1]]));
        let loops = Loops::new(&[5, 1], &[&[], &[5, 1]]);
        assert_eq!((loops.dims, loops.strides), (vec![5], vec![vec![0], vec![1]]));
        assert_eq!(Loops::new(&[], &[&[]]).dims, [1]);
    }

    #[test]
    fn pairs_follow_numpy() {
        // np.array([[1],[2]]) + np.array([10,20,30])
        let got = zip((&[1, 2], &[2, 1]), (&[10, 20, 30], &[3]), &[2, 3], |a, b| a + b);
        assert_eq!(got, [11, 21, 31, 12, 22, 32]);
        assert_eq!(expand(&[1, 2], &[2, 1], &[2, 2, 3]), [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
        assert_eq!(zip((&[] as &[i32], &[0]), (&[1], &[1]), &[0], |a, b| a + b), Vec::<i32>::new());
    }
}
