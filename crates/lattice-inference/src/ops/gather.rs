//! Reading and writing elements by index. An index out of range is refused at run time, the same on every machine.

use super::broadcast::strides_of;
use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::{Work, rows};
use crate::graph::TensorType;
use crate::tensor::{DType, Data, Tensor, map_data};

macro_rules! specs {
    ($($(#[$doc:meta])* $name:ident $code:literal $text:literal $infer:ident $work:ident $run:ident;)*) => {
        $($(#[$doc])* pub static $name: OpSpec = OpSpec {
            code: $code,
            name: $text,
            infer: $infer,
            work: $work,
            run: $run,
        };)*
        pub(super) const ALL: &[&OpSpec] = &[$(&$name),*];
    };
}

specs! {
    /// Operands: data, integer indices. Attribute: axis.
    GATHER 0x0b01 "Gather" infer_gather gather_work run_gather;
    /// Operands: data, integer indices of the same rank. Attribute: axis.
    GATHER_ELEMENTS 0x0b02 "GatherElements" infer_gather_elements elements_work run_gather_elements;
    /// Operands: data, integer indices. Attribute: number of batch dimensions.
    GATHER_ND 0x0b03 "GatherND" infer_gather_nd nd_work run_gather_nd;
    /// Operands: data, integer indices, updates of the indices' shape. Attributes: axis, reduction (see [`Reduction`]).
    SCATTER_ELEMENTS 0x0b04 "ScatterElements" infer_scatter_elements elements_work run_scatter_elements;
    /// Operands: data, integer indices, updates. Attribute: reduction (see [`Reduction`]).
    SCATTER_ND 0x0b05 "ScatterND" infer_scatter_nd nd_work run_scatter_nd;
    /// Operands: integer indices, f32 table [rows, columns]. One row of the table (plus +0) for each index; an index outside
    /// the table gives a row of +0. It is the product of one-hot rows with the table, without the zeros.
    LOOKUP 0x0b06 "Lookup" infer_lookup gather_work run_lookup;
}

/// Steps of one copy from or to a place that an index names, wherever in memory it is.
const COPY_STEPS: u64 = 60;
/// Steps of each coordinate of an index.
const COORDINATE_STEPS: u64 = 40;

/// Gather and Lookup: one copy for each index and what lies before the axis.
fn gather_work(attributes: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    // Lookup has no axis, and its indices come first.
    let copies = match attributes.as_slice() {
        [] => types[0].elements(),
        _ => {
            let axis = attributes.read_axis(0, types[0].shape.len()).unwrap_or(0);
            types[0].shape[..axis].iter().product::<usize>().saturating_mul(types[1].elements())
        }
    };
    Work::steps(2, &results[0]).and(COPY_STEPS, copies)
}

/// GatherElements and ScatterElements: every index names a place by all coordinates.
fn elements_work(_: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let each = COPY_STEPS + COORDINATE_STEPS * (1 + types[0].shape.len() as u64);
    Work::steps(2, &results[0]).and(each, types[1].elements())
}

/// GatherND and ScatterND: an index is a row of coordinates, and names a block.
fn nd_work(_: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let updates = types.get(2).map_or(0, |ty| ty.elements());
    let coordinates = COORDINATE_STEPS.saturating_mul(types[1].elements() as u64);
    let work = Work::steps(4, &results[0]).and(8, updates).and(COPY_STEPS, rows(types[1]));
    Work { steps: work.steps.saturating_add(coordinates), ..work }
}

fn integer(ty: &TensorType) -> OpResult<()> {
    if matches!(ty.dtype, DType::I32 | DType::I64) {
        Ok(())
    } else {
        Err(format!("indices must be i32 or i64, got {}", ty.dtype))
    }
}

/// An index, counted from the end when negative.
fn resolve(index: i64, size: usize) -> OpResult<usize> {
    let from_end = if index < 0 { index.checked_add(size as i64) } else { Some(index) };
    let resolved = from_end.and_then(|i| usize::try_from(i).ok()).filter(|&i| i < size);
    resolved.ok_or_else(|| format!("index {index} is out of range for {size} elements"))
}

fn resolve_all(indices: &Tensor, size: usize) -> OpResult<Vec<usize>> {
    let indices = indices.to_i64s().ok_or("indices must be integers")?;
    indices.into_iter().map(|i| resolve(i, size)).collect()
}

fn infer_gather(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(1)?;
    let [data, indices] = operands(types)?;
    integer(indices)?;
    let axis = attributes.read_axis(0, data.shape.len())?;
    let shape = [&data.shape[..axis], &indices.shape, &data.shape[axis + 1..]].concat();
    Ok(vec![TensorType::new(data.dtype, shape)])
}

fn run_gather(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [data, indices] = operands(inputs)?;
    let axis = attributes.read_axis(0, data.rank())?;
    let size = data.shape()[axis];
    let rows = resolve_all(indices, size)?;
    let shape = [&data.shape()[..axis], indices.shape(), &data.shape()[axis + 1..]].concat();
    let outer: usize = data.shape()[..axis].iter().product();
    let inner: usize = data.shape()[axis + 1..].iter().product();
    fn repeat<T: Copy, const TIMES: usize>(v: &[T], out: &mut Vec<T>) {
        let from = out.len();
        out.resize(from + v.len() * TIMES, v[0]);
        for (out, &v) in out[from..].as_chunks_mut().0.iter_mut().zip(v) {
            *out = [v; TIMES];
        }
    }
    fn take<T: Copy>(v: &[T], rows: &[usize], outer: usize, size: usize, inner: usize) -> Vec<T> {
        let mut out = Vec::with_capacity(outer * rows.len() * inner);
        // What enlarges an image by a whole factor repeats every element.
        let times = rows.len() / size.max(1);
        let repeats = times * size == rows.len() && rows.iter().enumerate().all(|(i, &r)| r == i / times);
        for o in 0..outer {
            if inner == 1 {
                let v = &v[o * size..][..size];
                match times {
                    2 if repeats => repeat::<T, 2>(v, &mut out),
                    4 if repeats => repeat::<T, 4>(v, &mut out),
                    8 if repeats => repeat::<T, 8>(v, &mut out),
                    _ => out.extend(rows.iter().map(|&r| v[r])),
                }
            } else {
                rows.iter().for_each(|&r| out.extend_from_slice(&v[(o * size + r) * inner..][..inner]));
            }
        }
        out
    }
    Ok(vec![tensor(&shape, map_data!(data.data(), v => take(v, &rows, outer, size, inner)))?])
}

fn same_rank(data: &TensorType, indices: &TensorType, axis: usize) -> OpResult<()> {
    integer(indices)?;
    let fits = indices.shape.len() == data.shape.len()
        && (0..data.shape.len()).all(|i| i == axis || indices.shape[i] <= data.shape[i]);
    if fits {
        Ok(())
    } else {
        Err(format!("indices {:?} do not fit data {:?} along axis {axis}", indices.shape, data.shape))
    }
}

fn infer_gather_elements(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(1)?;
    let [data, indices] = operands(types)?;
    same_rank(data, indices, attributes.read_axis(0, data.shape.len())?)?;
    Ok(vec![TensorType::new(data.dtype, indices.shape.clone())])
}

/// Flat data positions of every element of `indices`, whose entry replaces the coordinate along `axis`.
fn element_positions(data: &[usize], indices: &Tensor, axis: usize) -> OpResult<Vec<usize>> {
    let resolved = resolve_all(indices, data[axis])?;
    let strides = strides_of(data);
    let shape = indices.shape();
    let at = |(flat, index): (usize, usize)| {
        let (mut rest, mut at) = (flat, index * strides[axis]);
        for i in (0..shape.len()).rev() {
            if i != axis {
                at += rest % shape[i] * strides[i];
            }
            rest /= shape[i];
        }
        at
    };
    Ok(resolved.into_iter().enumerate().map(at).collect())
}

fn run_gather_elements(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [data, indices] = operands(inputs)?;
    let positions = element_positions(data.shape(), indices, attributes.read_axis(0, data.rank())?)?;
    let taken = map_data!(data.data(), v => positions.iter().map(|&p| v[p]).collect());
    Ok(vec![tensor(indices.shape(), taken)?])
}

/// Shapes of an indexed access: batch dimensions, tuple length, and what one tuple selects.
fn nd_parts<'a>(data: &'a [usize], indices: &'a [usize], batch: usize) -> OpResult<(usize, &'a [usize])> {
    let bad = || format!("indices {indices:?} with {batch} batch dimensions do not fit data {data:?}");
    let tuple = *indices.last().ok_or_else(bad)?;
    let batches_agree = batch < indices.len() && batch <= data.len() && data[..batch] == indices[..batch];
    let end = batch.checked_add(tuple).filter(|&end| batches_agree && end <= data.len()).ok_or_else(bad)?;
    Ok((tuple, &data[end..]))
}

/// Flat positions of the blocks that the index tuples select.
fn nd_positions(data: &[usize], indices: &Tensor, batch: usize) -> OpResult<Vec<usize>> {
    let (tuple, block) = nd_parts(data, indices.shape(), batch)?;
    let block: usize = block.iter().product();
    let values = indices.to_i64s().ok_or("indices must be integers")?;
    let tuples: usize = indices.shape()[..indices.rank() - 1].iter().product();
    let batches: usize = data[..batch].iter().product();
    let mut positions = Vec::with_capacity(tuples);
    for t in 0..tuples {
        let mut at = tuples.checked_div(batches).map_or(0, |each| t / each);
        for i in 0..tuple {
            at = at * data[batch + i] + resolve(values[t * tuple + i], data[batch + i])?;
        }
        positions.push(at * block);
    }
    Ok(positions)
}

fn infer_gather_nd(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(1)?;
    let [data, indices] = operands(types)?;
    integer(indices)?;
    let (_, block) = nd_parts(&data.shape, &indices.shape, attributes.read_size(0)?)?;
    let shape = [&indices.shape[..indices.shape.len() - 1], block].concat();
    Ok(vec![TensorType::new(data.dtype, shape)])
}

fn run_gather_nd(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [data, indices] = operands(inputs)?;
    let batch = attributes.read_size(0)?;
    let positions = nd_positions(data.shape(), indices, batch)?;
    let (_, block) = nd_parts(data.shape(), indices.shape(), batch)?;
    let shape = [&indices.shape()[..indices.rank() - 1], block].concat();
    let n: usize = block.iter().product();
    let taken = map_data!(data.data(), v => positions.iter().flat_map(|&p| v[p..p + n].iter().copied()).collect());
    Ok(vec![tensor(&shape, taken)?])
}

/// What a scatter does with the element already there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Replaces it.
    Replace = 0,
    /// Adds to it.
    Add = 1,
    /// Multiplies it.
    Multiply = 2,
    /// Keeps the smaller.
    Min = 3,
    /// Keeps the larger.
    Max = 4,
}

impl Reduction {
    fn read(attributes: &Attributes, at: usize) -> OpResult<Reduction> {
        Ok(match attributes.read_int(at)? {
            0 => Reduction::Replace,
            1 => Reduction::Add,
            2 => Reduction::Multiply,
            3 => Reduction::Min,
            4 => Reduction::Max,
            other => return Err(format!("reduction {other} is not known")),
        })
    }
}

fn reducible(data: &TensorType, updates: &TensorType, reduction: Reduction) -> OpResult<()> {
    if data.dtype != updates.dtype {
        return Err(format!("data and updates differ: {} and {}", data.dtype, updates.dtype));
    }
    if reduction != Reduction::Replace && matches!(data.dtype, DType::Bool | DType::F16 | DType::BF16) {
        return Err(format!("a reduction is not defined for {}", data.dtype));
    }
    Ok(())
}

fn infer_scatter_elements(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(2)?;
    let [data, indices, updates] = operands(types)?;
    same_rank(data, indices, attributes.read_axis(0, data.shape.len())?)?;
    reducible(data, updates, Reduction::read(attributes, 1)?)?;
    if indices.shape != updates.shape {
        return Err(format!("indices {:?} and updates {:?} differ", indices.shape, updates.shape));
    }
    Ok(vec![(*data).clone()])
}

fn run_scatter_elements(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [data, indices, updates] = operands(inputs)?;
    let positions = element_positions(data.shape(), indices, attributes.read_axis(0, data.rank())?)?;
    scatter(data, updates, &positions, 1, Reduction::read(attributes, 1)?)
}

fn infer_scatter_nd(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(1)?;
    let [data, indices, updates] = operands(types)?;
    integer(indices)?;
    reducible(data, updates, Reduction::read(attributes, 0)?)?;
    let (_, block) = nd_parts(&data.shape, &indices.shape, 0)?;
    let wanted = [&indices.shape[..indices.shape.len() - 1], block].concat();
    if updates.shape != wanted {
        return Err(format!("updates must have shape {wanted:?}, got {:?}", updates.shape));
    }
    Ok(vec![(*data).clone()])
}

fn run_scatter_nd(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [data, indices, updates] = operands(inputs)?;
    let positions = nd_positions(data.shape(), indices, 0)?;
    let (_, block) = nd_parts(data.shape(), indices.shape(), 0)?;
    scatter(data, updates, &positions, block.iter().product(), Reduction::read(attributes, 0)?)
}

/// Writes blocks of updates at positions, in the order of the updates.
fn scatter(
    data: &Tensor,
    updates: &Tensor,
    positions: &[usize],
    block: usize,
    reduction: Reduction,
) -> OpResult<Vec<Tensor>> {
    fn write<T: Copy>(data: &[T], updates: &[T], positions: &[usize], block: usize, f: impl Fn(T, T) -> T) -> Vec<T> {
        let mut out = data.to_vec();
        for (i, &at) in positions.iter().enumerate() {
            out[at..at + block].iter_mut().zip(&updates[i * block..]).for_each(|(o, &u)| *o = f(*o, u));
        }
        out
    }
    macro_rules! each {
        ([$($variant:ident $add:expr, $mul:expr;)*] [$($other:ident)*]) => {
            match (data.data(), updates.data()) {
                $((Data::$variant(d), Data::$variant(u)) => Data::$variant(match reduction {
                    Reduction::Replace => write(d, u, positions, block, |_, u| u),
                    Reduction::Add => write(d, u, positions, block, $add),
                    Reduction::Multiply => write(d, u, positions, block, $mul),
                    Reduction::Min => write(d, u, positions, block, |a, b| if b < a { b } else { a }),
                    Reduction::Max => write(d, u, positions, block, |a, b| if b > a { b } else { a }),
                }),)*
                $((Data::$other(d), Data::$other(u)) => Data::$other(write(d, u, positions, block, |_, u| u)),)*
                _ => return Err("data and updates must have one type".into()),
            }
        };
    }
    let result = each! {
        [F32 |a, b| a + b, |a, b| a * b;
        F64 |a, b| a + b, |a, b| a * b;
        I8 i8::wrapping_add, i8::wrapping_mul;
        I16 i16::wrapping_add, i16::wrapping_mul;
        I32 i32::wrapping_add, i32::wrapping_mul;
        I64 i64::wrapping_add, i64::wrapping_mul;
        U8 u8::wrapping_add, u8::wrapping_mul;
        U16 u16::wrapping_add, u16::wrapping_mul;
        U32 u32::wrapping_add, u32::wrapping_mul;
        U64 u64::wrapping_add, u64::wrapping_mul;]
        [Bool F16 BF16]
    };
    Ok(vec![tensor(data.shape(), result)?])
}

fn infer_lookup(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [indices, table] = operands(types)?;
    integer(indices)?;
    match (table.dtype, table.shape.as_slice()) {
        (DType::F32, [_, columns]) => {
            let mut shape = indices.shape.clone();
            shape.push(*columns);
            Ok(vec![TensorType::new(DType::F32, shape)])
        }
        _ => Err(format!("the table must be f32 with two dimensions, got {table}")),
    }
}

fn run_lookup(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [indices, table] = operands(inputs)?;
    let (Some(values), &[rows, columns]) = (table.as_f32(), table.shape()) else {
        return Err("the table must be f32".into());
    };
    let wanted = indices.to_i64s().ok_or("indices must be integers")?;
    let mut out = Vec::with_capacity(wanted.len() * columns);
    for index in wanted {
        match usize::try_from(index).ok().filter(|&i| i < rows) {
            // A chain that starts at +0 turns a lone -0 into +0.
            Some(row) => out.extend(values[row * columns..][..columns].iter().map(|v| v + 0.0)),
            None => out.extend(core::iter::repeat_n(0.0, columns)),
        }
    }
    let mut shape = indices.shape().to_vec();
    shape.push(columns);
    Ok(vec![tensor(&shape, Data::F32(out))?])
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

    fn i32s(shape: &[usize], v: &[i32]) -> Tensor {
        Tensor::from_i32(shape, v.to_vec()).unwrap()
    }

    #[test]
    fn gathering() {
        let x = i32s(&[2, 3], &[1, 2, 3, 4, 5, 6]);
        let i = i32s(&[2], &[-1, 0]);
        assert_eq!(apply(&GATHER, Attributes::none().int(1), &[&x, &i]).unwrap(), i32s(&[2, 2], &[3, 1, 6, 4]));
        for times in 1..=9 {
            // Every element so many times, as enlarging an image does.
            let i = i32s(&[3 * times], &(0..3 * times).map(|i| (i / times) as i32).collect::<Vec<_>>());
            let want: Vec<i32> = (0..6 * times).map(|i| 1 + (i / times) as i32).collect();
            assert_eq!(apply(&GATHER, Attributes::none().int(1), &[&x, &i]).unwrap(), i32s(&[2, 3 * times], &want));
        }
        let e = i32s(&[2, 1], &[2, -3]);
        assert_eq!(apply(&GATHER_ELEMENTS, Attributes::none().int(1), &[&x, &e]).unwrap(), i32s(&[2, 1], &[3, 4]));
        let n = i32s(&[2, 2], &[0, 1, 1, -1]);
        assert_eq!(apply(&GATHER_ND, Attributes::none().int(0), &[&x, &n]).unwrap(), i32s(&[2], &[2, 6]));
        let b = i32s(&[2, 1], &[1, 0]);
        assert_eq!(apply(&GATHER_ND, Attributes::none().int(1), &[&x, &b]).unwrap(), i32s(&[2], &[2, 4]));
        let bad = i32s(&[1], &[3]);
        assert!(
            apply(&GATHER, Attributes::none().int(1), &[&x, &bad]).unwrap_err().contains("index 3 is out of range")
        );
    }

    #[test]
    fn scattering() {
        let x = i32s(&[4], &[1, 2, 3, 4]);
        let (i, u) = (i32s(&[2, 1], &[1, 1]), i32s(&[2], &[10, 20]));
        let nd =
            |r: i64| apply(&SCATTER_ND, Attributes::none().int(r), &[&x, &i, &u]).unwrap().as_i32().unwrap().to_vec();
        assert_eq!(nd(0), [1, 20, 3, 4]);
        assert_eq!(nd(1), [1, 32, 3, 4]);
        assert_eq!(nd(2), [1, 400, 3, 4]);
        assert_eq!(nd(3), [1, 2, 3, 4]);
        let i = i32s(&[2], &[3, 0]);
        let a = Attributes::none().int(0).int(0);
        assert_eq!(apply(&SCATTER_ELEMENTS, a, &[&x, &i, &u]).unwrap().as_i32().unwrap(), [20, 2, 3, 10]);
    }

    #[test]
    fn lookup_equals_the_product_with_one_hot_rows() {
        let table = Tensor::from_f32([3, 2], vec![1.0, -0.0, 3.0, -4.0, 1e-40, 6.0]).unwrap();
        let indices = i32s(&[5], &[2, 0, -1, 3, 1]);
        let hot = |i: i32| (0..3).map(move |c| if c == i { 1.0 } else { 0.0 });
        let rows: Vec<f32> = [2, 0, -1, 3, 1].into_iter().flat_map(hot).collect();
        let product = (super::super::matmul::MATMUL.run)(
            &Attributes::none(),
            &[&Tensor::from_f32([5, 3], rows).unwrap(), &table],
        );
        let got = apply(&LOOKUP, Attributes::none(), &[&indices, &table]).unwrap();
        assert_eq!(got.to_bytes(), product.unwrap()[0].to_bytes());
    }
}
