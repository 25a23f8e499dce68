//! Operators that move elements without touching them, so they work on every element type.

use super::broadcast::{broadcast_shapes, expand, strides_of};
use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::{Work, rows};
use crate::graph::TensorType;
use crate::tensor::{Data, Tensor, element_count, map_data};

macro_rules! specs {
    ($($(#[$doc:meta])* $name:ident $code:literal $text:literal $infer:ident $work:expr, $run:ident;)*) => {
        $($(#[$doc])* pub static $name: OpSpec = OpSpec {
            code: $code,
            name: $text,
            infer: $infer,
            work: $work,
            run: $run,
        };)*
        pub(crate) const ALL: &[&OpSpec] = &[$(&$name),*];
    };
}

specs! {
    /// Attribute: the new shape.
    RESHAPE 0x0a01 "Reshape" infer_reshape |_, _, results| Work::steps(1, &results[0]), run_reshape;
    /// Attribute: for each result axis the operand axis it shows.
    TRANSPOSE 0x0a02 "Transpose" infer_transpose |_, _, results| Work::steps(40, &results[0]), run_transpose;
    /// Attributes: first index, step and length along each axis.
    SLICE 0x0a03 "Slice" infer_slice |_, _, results| Work::steps(12, &results[0]), run_slice;
    /// Attribute: axis.
    CONCAT 0x0a04 "Concat" infer_concat concat_work, run_concat;
    /// Attribute: the shape to broadcast to.
    EXPAND 0x0a05 "Expand" infer_expand |_, _, results| Work::steps(2, &results[0]).and(40, rows(&results[0])), run_expand;
    /// Operands: x, a scalar fill value. Attributes: elements before and after along each axis, mode (0 constant, 1 edge,
    /// 2 reflect, 3 wrap).
    PAD 0x0a06 "Pad" infer_pad |_, _, results| Work::steps(12, &results[0]).and(80, rows(&results[0])), run_pad;
}

/// Every operand begins a copy anew for each index before the axis.
fn concat_work(attributes: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let axis = attributes.read_axis(0, results[0].shape.len()).unwrap_or(0);
    let outer: usize = results[0].shape[..axis].iter().product();
    Work::steps(2, &results[0]).and(40, outer.saturating_mul(types.len()))
}

fn infer_reshape(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(1)?;
    let [x] = operands(types)?;
    let shape = attributes.read_sizes(0)?;
    let count = element_count(x.dtype, &shape).map_err(|e| e.to_string())?;
    if count != x.elements() {
        return Err(format!("shape {:?} with {} elements cannot become {shape:?} with {count}", x.shape, x.elements()));
    }
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn run_reshape(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    Ok(vec![tensor(&attributes.read_sizes(0)?, x.data().clone())?])
}

fn permutation(attributes: &Attributes, rank: usize) -> OpResult<Vec<usize>> {
    attributes.expect_len(1)?;
    let permutation = attributes.read_sizes(0)?;
    let mut seen = vec![false; rank];
    for &axis in permutation.iter().filter(|&&axis| axis < rank) {
        seen[axis] = true;
    }
    if permutation.len() != rank || seen.contains(&false) {
        return Err(format!("{permutation:?} is not a permutation of {rank} axes"));
    }
    Ok(permutation)
}

fn infer_transpose(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    let shape: Vec<usize> = permutation(attributes, x.shape.len())?.iter().map(|&axis| x.shape[axis]).collect();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn run_transpose(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let axes = permutation(attributes, x.rank())?;
    let shape: Vec<usize> = axes.iter().map(|&axis| x.shape()[axis]).collect();
    Ok(vec![tensor(&shape, map_data!(x.data(), v => transpose(v, x.shape(), &axes)))?])
}

/// Elements of a strided view, row-major over `dims`, reading `start + sum(index * stride)`.
fn gather_view<T: Copy>(v: &[T], dims: &[usize], strides: &[isize], start: isize) -> Vec<T> {
    // Neighbouring dimensions that step evenly are one dimension.
    let (mut d, mut s): (Vec<usize>, Vec<isize>) = (Vec::new(), Vec::new());
    for (&dim, &stride) in dims.iter().zip(strides).filter(|(dim, _)| **dim != 1) {
        match (d.last_mut(), s.last_mut()) {
            (Some(last_dim), Some(last_stride)) if *last_stride == stride * dim as isize => {
                *last_dim *= dim;
                *last_stride = stride;
            }
            _ => {
                d.push(dim);
                s.push(stride);
            }
        }
    }
    let total: usize = d.iter().product();
    let mut out = Vec::with_capacity(total);
    if total == 0 {
        return out;
    }
    let (n, step) = (d.pop().unwrap_or(1), s.pop().unwrap_or(1));
    // Where neighbours of the operand lie along the next dimension, both are read together.
    let rows = if step > 1 && s.last() == Some(&1) { d.pop().filter(|_| s.pop().is_some()) } else { None };
    let mut index = vec![0; d.len()];
    let mut at = start;
    loop {
        match (step, rows) {
            (1, _) => out.extend_from_slice(&v[at as usize..at as usize + n]),
            (_, Some(rows)) => weave(&v[at as usize..], rows, n, step as usize, &mut out),
            _ => out.extend((0..n as isize).map(|i| v[(at + i * step) as usize])),
        }
        let mut axis = d.len();
        loop {
            if axis == 0 {
                return out;
            }
            axis -= 1;
            index[axis] += 1;
            at += s[axis];
            if index[axis] < d[axis] {
                break;
            }
            at -= s[axis] * d[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// For each of `rows` neighbours the `n` elements `step` apart from there on.
fn weave<T: Copy>(v: &[T], rows: usize, n: usize, step: usize, out: &mut Vec<T>) {
    let from = out.len();
    out.resize(from + rows * n, v[0]);
    let out = &mut out[from..];
    if n == 2 {
        let pairs = v[..rows].iter().zip(&v[step..][..rows]);
        for (out, (&a, &b)) in out.as_chunks_mut().0.iter_mut().zip(pairs) {
            *out = [a, b];
        }
        return;
    }
    for i in 0..n {
        for (out, &v) in out[i..].iter_mut().step_by(n).zip(&v[i * step..][..rows]) {
            *out = v;
        }
    }
}

/// Elements with their axes in another order.
pub(crate) fn transpose<T: Copy>(v: &[T], shape: &[usize], axes: &[usize]) -> Vec<T> {
    let dims: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    let own = strides_of(shape);
    // A plain matrix transposition, possibly batched, goes by blocks that fit the cache.
    let real: Vec<usize> = axes.iter().copied().filter(|&axis| shape[axis] != 1).collect();
    if let [.., a, b] = real[..] {
        let batch = real.len() - 2;
        let ordered = real[..batch].windows(2).all(|w| w[0] < w[1]);
        let swapped = ordered && b < a && real[..batch].iter().all(|&axis| axis < b);
        if swapped && !v.is_empty() {
            return transpose_matrices(v, shape[b], shape[a]);
        }
    }
    let strides: Vec<isize> = axes.iter().map(|&axis| own[axis] as isize).collect();
    gather_view(v, &dims, &strides, 0)
}

/// Each consecutive `rows` x `columns` matrix transposed.
fn transpose_matrices<T: Copy>(v: &[T], rows: usize, columns: usize) -> Vec<T> {
    const BLOCK: usize = 16;
    let mut out = v.to_vec();
    for (m, out) in v.chunks_exact(rows * columns).zip(out.chunks_exact_mut(rows * columns)) {
        for r0 in (0..rows).step_by(BLOCK) {
            for c0 in (0..columns).step_by(BLOCK) {
                for c in c0..columns.min(c0 + BLOCK) {
                    for r in r0..rows.min(r0 + BLOCK) {
                        out[c * rows + r] = m[r * columns + c];
                    }
                }
            }
        }
    }
    out
}

/// First index, step and length along each axis, checked to stay inside.
fn slice_plan(attributes: &Attributes, shape: &[usize]) -> OpResult<(Vec<usize>, Vec<i64>, Vec<usize>)> {
    attributes.expect_len(3)?;
    let (starts, steps, lengths) =
        (attributes.read_sizes(0)?, attributes.read_ints(1)?.to_vec(), attributes.read_sizes(2)?);
    if [starts.len(), steps.len(), lengths.len()] != [shape.len(); 3] {
        return Err(format!("starts, steps and lengths need {} entries", shape.len()));
    }
    for axis in 0..shape.len() {
        let last = i128::from(starts[axis] as u64) + i128::from(steps[axis]) * (lengths[axis] as i128 - 1);
        let inside = |index: i128| (0..shape[axis] as i128).contains(&index);
        if lengths[axis] > 0 && !(inside(starts[axis] as i128) && inside(last)) || steps[axis] == 0 {
            return Err(format!("slice of axis {axis} leaves its {} elements", shape[axis]));
        }
    }
    Ok((starts, steps, lengths))
}

fn infer_slice(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    Ok(vec![TensorType::new(x.dtype, slice_plan(attributes, &x.shape)?.2)])
}

fn run_slice(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let (starts, steps, lengths) = slice_plan(attributes, x.shape())?;
    if lengths.contains(&0) {
        // Where nothing is read, starts were not checked.
        return Ok(vec![Tensor::zeros(x.dtype(), lengths).map_err(|e| e.to_string())?]);
    }
    let own = strides_of(x.shape());
    // A step along a single element is never taken, and may be any number.
    let strides: Vec<isize> =
        own.iter().zip(&steps).map(|(&s, &step)| (s as isize).wrapping_mul(step as isize)).collect();
    let start = starts.iter().zip(&own).map(|(&at, &s)| (at * s) as isize).sum();
    Ok(vec![tensor(&lengths, map_data!(x.data(), v => gather_view(v, &lengths, &strides, start)))?])
}

fn infer_concat(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(1)?;
    let [first, rest @ ..] = types else { return Err("it needs at least one operand".into()) };
    let axis = attributes.read_axis(0, first.shape.len())?;
    let mut shape = first.shape.clone();
    for ty in rest {
        let agrees = ty.shape.len() == shape.len() && (0..shape.len()).all(|i| i == axis || ty.shape[i] == shape[i]);
        if ty.dtype != first.dtype || !agrees {
            return Err(format!("{} and {} do not join along axis {axis}", first, ty));
        }
        shape[axis] += ty.shape[axis];
    }
    Ok(vec![TensorType::new(first.dtype, shape)])
}

fn run_concat(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let axis = attributes.read_axis(0, inputs[0].rank())?;
    let types: Vec<TensorType> = inputs.iter().map(|t| TensorType::of(t)).collect();
    let shape = infer_concat(attributes, &types.iter().collect::<Vec<_>>())?.remove(0).shape;
    let outer: usize = shape[..axis].iter().product();
    macro_rules! join {
        ($($variant:ident)*) => {
            match inputs[0].data() {
                $(Data::$variant(_) => {
                    let mut out = Vec::with_capacity(shape.iter().product());
                    for o in 0..outer {
                        for input in inputs {
                            if let Data::$variant(v) = input.data() {
                                let block: usize = input.shape()[axis..].iter().product();
                                out.extend_from_slice(&v[o * block..(o + 1) * block]);
                            }
                        }
                    }
                    Data::$variant(out)
                })*
            }
        };
    }
    let data = join!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64 Bool F16 BF16);
    Ok(vec![tensor(&shape, data)?])
}

fn infer_expand(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(1)?;
    let [x] = operands(types)?;
    let shape = attributes.read_sizes(0)?;
    if broadcast_shapes(&[&x.shape, &shape])? != shape {
        return Err(format!("{:?} does not broadcast to {shape:?}", x.shape));
    }
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn run_expand(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let shape = attributes.read_sizes(0)?;
    Ok(vec![tensor(&shape, map_data!(x.data(), v => expand(v, x.shape(), &shape)))?])
}

fn infer_pad(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(3)?;
    let [x, fill] = operands(types)?;
    let (before, after) = (attributes.read_sizes(0)?, attributes.read_sizes(1)?);
    let mode = attributes.read_int(2)?;
    if before.len() != x.shape.len() || after.len() != x.shape.len() || !(0..=3).contains(&mode) {
        return Err("pads need an entry for each axis and a known mode".into());
    }
    if fill.dtype != x.dtype || fill.elements() != 1 {
        return Err(format!("the fill value must be one {}, got {fill}", x.dtype));
    }
    let mut shape = Vec::with_capacity(x.shape.len());
    for (axis, &dim) in x.shape.iter().enumerate() {
        let (b, a) = (before[axis], after[axis]);
        let reach = match mode {
            0 => usize::MAX,
            1 if dim > 0 => usize::MAX,
            2 => dim.saturating_sub(1),
            3 => dim,
            _ => 0,
        };
        if b.max(a) > reach {
            return Err(format!("padding {b} and {a} of axis {axis} reaches past its {dim} elements"));
        }
        let size = dim.checked_add(b).and_then(|s| s.checked_add(a)).ok_or("padded sizes overflow")?;
        shape.push(size);
    }
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn run_pad(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, fill] = operands(inputs)?;
    let before = attributes.read_sizes(0)?;
    let mode = attributes.read_int(2)?;
    let types = [TensorType::of(x), TensorType::of(fill)];
    let shape = infer_pad(attributes, &[&types[0], &types[1]])?.remove(0).shape;
    // For each axis and result index the operand index, or none for the fill value.
    let source = |axis: usize, index: usize| -> Option<usize> {
        let n = x.shape()[axis] as isize;
        let i = index as isize - before[axis] as isize;
        if (0..n).contains(&i) {
            return Some(i as usize);
        }
        match mode {
            1 => Some(i.clamp(0, n - 1) as usize),
            2 => Some(if i < 0 { -i } else { 2 * (n - 1) - i } as usize),
            3 => Some(i.rem_euclid(n) as usize),
            _ => None,
        }
    };
    let axes = if mode == 0 { 0 } else { x.rank() };
    let tables: Vec<Vec<Option<usize>>> =
        (0..axes).map(|axis| (0..shape[axis]).map(|i| source(axis, i)).collect()).collect();
    macro_rules! each {
        ($($variant:ident)*) => {
            match (x.data(), fill.data()) {
                $((Data::$variant(v), Data::$variant(f)) => Data::$variant(match mode {
                    0 => frame(v, x.shape(), &shape, &before, f[0]),
                    _ => pad(v, x.shape(), &shape, &tables, f[0]),
                }),)*
                _ => return Err("the fill value must have the operand's type".into()),
            }
        };
    }
    let data = each!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64 Bool F16 BF16);
    Ok(vec![tensor(&shape, data)?])
}

/// Padding by a constant: the operand's rows copied into a filled result.
fn frame<T: Copy>(v: &[T], from: &[usize], to: &[usize], before: &[usize], fill: T) -> Vec<T> {
    let mut out = vec![fill; to.iter().product()];
    if v.is_empty() {
        return out;
    }
    // Dimensions from the last padded one on are one row.
    let last = (0..from.len()).rev().find(|&axis| from[axis] != to[axis]).unwrap_or(0);
    let row: usize = from[last..].iter().product();
    let strides = strides_of(to);
    let mut index = vec![0; last];
    let mut at = before.iter().zip(&strides).map(|(b, s)| b * s).sum();
    for v in v.chunks_exact(row) {
        out[at..at + row].copy_from_slice(v);
        for axis in (0..last).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < from[axis] {
                break;
            }
            at -= strides[axis] * from[axis];
            index[axis] = 0;
        }
    }
    out
}

fn pad<T: Copy>(v: &[T], from: &[usize], to: &[usize], tables: &[Vec<Option<usize>>], fill: T) -> Vec<T> {
    let strides = strides_of(from);
    let total: usize = to.iter().product();
    let mut out = Vec::with_capacity(total);
    let Some((last, outer)) = tables.split_last() else { return v.to_vec() };
    for row in 0..if last.is_empty() { 0 } else { total / last.len() } {
        let (mut rest, mut at) = (row, Some(0));
        for axis in (0..outer.len()).rev() {
            let index = outer[axis][rest % to[axis]];
            rest /= to[axis];
            at = at.zip(index).map(|(at, i)| at + i * strides[axis]);
        }
        match at {
            Some(at) => out.extend(last.iter().map(|i| i.map_or(fill, |i| v[at + i]))),
            None => out.extend(core::iter::repeat_n(fill, last.len())),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn apply(op: &OpSpec, attributes: Attributes, inputs: &[&Tensor]) -> OpResult<Tensor> {
        let types: Vec<TensorType> = inputs.iter().map(|t| TensorType::of(t)).collect();
        let inferred = op.infer_checked(&attributes, &types.iter().collect::<Vec<_>>())?.remove(0);
        let result = (op.run)(&attributes, inputs)?.remove(0);
        assert_eq!(inferred, TensorType::of(&result));
        Ok(result)
    }

    fn range(shape: &[usize]) -> Tensor {
        Tensor::from_i32(shape, (0..shape.iter().product::<usize>() as i32).collect()).unwrap()
    }

    #[test]
    fn transposition_agrees_with_its_definition_for_all_orders() {
        let x = range(&[2, 3, 1, 4]);
        let strides = strides_of(x.shape());
        for code in 0..256usize {
            let axes = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
            let Ok(got) = apply(&TRANSPOSE, Attributes::none().sizes(&axes), &[&x]) else { continue };
            let dims = got.shape();
            let want: Vec<i32> = (0..24)
                .map(|mut i| {
                    let mut at = 0;
                    for axis in (0..4).rev() {
                        at += i % dims[axis] * strides[axes[axis]];
                        i /= dims[axis];
                    }
                    at as i32
                })
                .collect();
            assert_eq!(got.as_i32().unwrap(), want, "{axes:?}");
        }
    }

    #[test]
    fn what_a_slice_never_reads_may_be_any_number() {
        let x = range(&[3, 4]);
        let empty = Attributes::none().ints([i64::MAX, 0]).ints([1, 1]).ints([0, 4]);
        assert_eq!(apply(&SLICE, empty, &[&x]).unwrap().shape(), [0, 4]);
        let single = Attributes::none().ints([2, 1]).ints([i64::MIN, i64::MAX]).ints([1, 1]);
        assert_eq!(apply(&SLICE, single, &[&x]).unwrap().as_i32().unwrap(), [9]);
    }

    #[test]
    fn slices_step_both_ways() {
        let x = range(&[3, 4]);
        let slice =
            |s: [i64; 2], t: [i64; 2], n: [i64; 2]| apply(&SLICE, Attributes::none().ints(s).ints(t).ints(n), &[&x]);
        assert_eq!(slice([0, 1], [1, 2], [3, 2]).unwrap().as_i32().unwrap(), [1, 3, 5, 7, 9, 11]);
        assert_eq!(slice([2, 3], [-2, -1], [2, 4]).unwrap().as_i32().unwrap(), [11, 10, 9, 8, 3, 2, 1, 0]);
        assert_eq!(slice([0, 0], [1, 1], [0, 4]).unwrap().shape(), [0, 4]);
        assert!(slice([0, 2], [1, 1], [3, 3]).unwrap_err().contains("leaves"));
        assert!(slice([0, 0], [0, 1], [3, 3]).unwrap_err().contains("leaves"));
    }

    #[test]
    fn joining_and_padding() {
        let (a, b) = (range(&[2, 1]), range(&[2, 2]));
        assert_eq!(apply(&CONCAT, Attributes::none().int(1), &[&a, &b]).unwrap().as_i32().unwrap(), [0, 0, 1, 1, 2, 3]);
        assert!(apply(&CONCAT, Attributes::none().int(0), &[&a, &b]).unwrap_err().contains("do not join"));
        let x = range(&[3]);
        let fill = Tensor::from_i32([], vec![9]).unwrap();
        let pad = |mode, b: usize, a: usize| {
            apply(&PAD, Attributes::none().sizes(&[b]).sizes(&[a]).int(mode), &[&x, &fill])
                .map(|t| t.as_i32().unwrap().to_vec())
        };
        assert_eq!(pad(0, 1, 2).unwrap(), [9, 0, 1, 2, 9, 9]);
        assert_eq!(pad(1, 2, 1).unwrap(), [0, 0, 0, 1, 2, 2]);
        assert_eq!(pad(2, 2, 1).unwrap(), [2, 1, 0, 1, 2, 1]);
        assert_eq!(pad(3, 1, 2).unwrap(), [2, 0, 1, 2, 0, 1]);
        assert!(pad(2, 3, 0).unwrap_err().contains("reaches past"));
    }

    #[test]
    fn shapes_must_fit() {
        let x = range(&[2, 3]);
        assert_eq!(apply(&RESHAPE, Attributes::none().sizes(&[3, 2]), &[&x]).unwrap().shape(), [3, 2]);
        assert!(apply(&RESHAPE, Attributes::none().sizes(&[4, 2]), &[&x]).unwrap_err().contains("cannot become"));
        assert_eq!(apply(&EXPAND, Attributes::none().sizes(&[2, 2, 3]), &[&x]).unwrap().len(), 12);
        assert!(apply(&EXPAND, Attributes::none().sizes(&[2, 1]), &[&x]).is_err());
        assert!(apply(&TRANSPOSE, Attributes::none().sizes(&[0, 0]), &[&x]).unwrap_err().contains("permutation"));
    }
}
