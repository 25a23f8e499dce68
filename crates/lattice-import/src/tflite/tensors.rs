//! Element types of TensorFlow Lite, and stored tensors: dense, sparse, quantised.

use super::flatbuffer::Table;
use super::schema::{Model, Quantization, TensorInfo};
use core::slice::ChunksExact;
use lattice_inference::limits::RANK_MAX;
use lattice_inference::ops::OpResult;
use lattice_inference::ops::broadcast::strides_of;
use lattice_inference::{DType, Tensor, element_count};

/// Code of the complex numbers that Fourier transforms make; only they and what takes their parts know them.
pub(super) const COMPLEX: i8 = 8;

/// The element type behind a TensorType, or the name of what is not supported.
pub(super) fn dtype_of(kind: i8) -> OpResult<DType> {
    Ok(match kind {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::I32,
        3 => DType::U8,
        4 => DType::I64,
        6 => DType::Bool,
        7 => DType::I16,
        9 => DType::I8,
        10 => DType::F64,
        12 => DType::U64,
        15 => DType::U32,
        16 => DType::U16,
        18 => DType::BF16,
        5 => return Err("strings are not supported".into()),
        8 | 11 => return Err("complex numbers are not supported".into()),
        13 | 14 => return Err("resources and variants are not supported".into()),
        17 | 19 | 20 => return Err("integers of less than 8 bits are not supported".into()),
        21 | 22 => return Err("8-bit floats are not supported".into()),
        other => return Err(format!("element type {other} is not known")),
    })
}

/// The shape of a tensor, which must be whole.
pub(super) fn shape_of(info: &TensorInfo<'_>) -> OpResult<Vec<usize>> {
    let dims = info.shape.iter().map(|&d| usize::try_from(d).map_err(|_| format!("dimension {d} is negative")));
    dims.collect()
}

/// The stored value of a tensor as it is, sparse ones written out; none when it is computed.
pub(super) fn stored(model: &Model<'_>, info: &TensorInfo<'_>) -> OpResult<Option<Tensor>> {
    let dtype = dtype_of(info.kind)?;
    let shape = shape_of(info)?;
    let count = element_count(dtype, &shape).map_err(|e| e.to_string())?;
    let Some(bytes) = model.data(info)? else {
        // Nothing needs to be stored for nothing.
        return if count == 0 { Tensor::zeros(dtype, shape).map(Some).map_err(|e| e.to_string()) } else { Ok(None) };
    };
    let mut tensor = match &info.sparsity {
        Some(sparsity) => {
            let dense = Sparse::read(sparsity, &shape)?.dense(bytes, count, dtype.size_bytes())?;
            Tensor::from_bytes(dtype, shape, &dense).map_err(|e| e.to_string())?
        }
        None => Tensor::from_bytes(dtype, shape, bytes).map_err(|e| e.to_string())?,
    };
    tensor.canonicalize_nan();
    Ok(Some(tensor))
}

/// Real values of stored integers, each scale * (stored - zero point) in f32.
pub(super) fn dequantized(tensor: &Tensor, quantization: &Quantization) -> OpResult<Tensor> {
    let values = tensor.to_i64s().ok_or("only integers are quantised")?;
    let (along, inner) = quantized_axis(quantization, tensor.shape())?;
    let real = values.iter().enumerate().map(|(i, &v)| {
        let channel = i / inner % along;
        v.saturating_sub(quantization.zero_points[channel]) as f32 * quantization.scales[channel]
    });
    Tensor::from_f32(tensor.shape(), real.collect()).map_err(|e| e.to_string())
}

/// How many scales there are, and how many elements lie between two of them.
pub(super) fn quantized_axis(quantization: &Quantization, shape: &[usize]) -> OpResult<(usize, usize)> {
    let along = quantization.scales.len();
    if along == 1 {
        return Ok((1, 1));
    }
    let axis = usize::try_from(quantization.axis).ok().filter(|&axis| shape.get(axis) == Some(&along));
    let axis = axis.ok_or_else(|| format!("{along} scales do not fit axis {} of {shape:?}", quantization.axis))?;
    Ok((along, shape[axis + 1..].iter().product::<usize>().max(1)))
}

/// One level of a sparse tensor's tree.
struct Level {
    /// Elements of the dense tensor between neighbours of this level.
    stride: usize,
    /// Indices that there are.
    size: usize,
    /// Of a compressed level: for each parent the range of its indices, and the indices.
    compressed: Option<(Vec<usize>, Vec<usize>)>,
}

/// A sparse tensor's layout: a tree whose levels are the dimensions in traversal order, blocks of them last.
struct Sparse {
    levels: Vec<Level>,
}

impl Sparse {
    /// Reads SparsityParameters and checks that its parts fit each other and the shape.
    fn read(table: &Table<'_>, shape: &[usize]) -> OpResult<Sparse> {
        let rank = shape.len();
        let order = sizes(table.numbers(0, 2 * RANK_MAX)?)?;
        let blocked = sizes(table.numbers(1, RANK_MAX)?)?;
        let metadata = table.tables(2, 2 * RANK_MAX)?;
        let count = rank + blocked.len();
        let split = |at: usize| if at < rank { 0..rank } else { rank..count };
        let mut seen = order.clone();
        seen.sort_unstable();
        let is_permutation = seen.iter().copied().eq(0..count) && (0..count).all(|at| split(at).contains(&order[at]));
        if !is_permutation || metadata.len() != count || blocked.iter().any(|&dim| dim >= rank) {
            return Err(format!("its sparsity (order {order:?}, blocks of {blocked:?}) does not fit {shape:?}"));
        }
        let dense_size = |at: usize| metadata[at].number(1, 0i32).map(|size| usize::try_from(size).unwrap_or(0));
        // How many elements of each dimension lie in a block.
        let mut block = vec![1; rank];
        for at in rank..count {
            let dim = blocked[order[at] - rank];
            block[dim] = dense_size(at)?;
            if block[dim] == 0 || !shape[dim].is_multiple_of(block[dim]) {
                return Err(format!("blocks of {} do not fill dimension {dim} of {shape:?}", block[dim]));
            }
        }
        let strides = strides_of(shape);
        let mut levels = Vec::with_capacity(count);
        for (at, &dim) in order.iter().enumerate() {
            let (stride, size) = match dim.checked_sub(rank) {
                None => (strides[dim] * block[dim], shape[dim] / block[dim]),
                Some(b) => (strides[blocked[b]], block[blocked[b]]),
            };
            let compressed = match metadata[at].number(0, 0i8)? {
                0 if dense_size(at)? == size => None,
                0 => return Err(format!("level {at} of its sparsity has {} of {size} indices", dense_size(at)?)),
                1 => Some((indices(&metadata[at], 2)?, indices(&metadata[at], 4)?)),
                other => return Err(format!("sparsity format {other} is not known")),
            };
            levels.push(Level { stride, size, compressed });
        }
        Ok(Sparse { levels })
    }

    /// The dense elements of `size` bytes each, zero where nothing is stored.
    fn dense(&self, values: &[u8], count: usize, size: usize) -> OpResult<Vec<u8>> {
        let mut out = vec![0; count * size];
        let mut rest = values.chunks_exact(size);
        if !rest.remainder().is_empty() {
            return Err(format!("{} stored bytes are not a whole number of elements of {size}", values.len()));
        }
        self.fill(0, 0, 0, &mut rest, &mut out)?;
        let left = rest.count();
        if left == 0 { Ok(out) } else { Err(format!("{left} stored values have no place")) }
    }

    /// Writes the part below one node of the tree: `parent` is its number among those of its level.
    fn fill(
        &self,
        at: usize,
        parent: usize,
        place: usize,
        rest: &mut ChunksExact<'_, u8>,
        out: &mut [u8],
    ) -> OpResult<()> {
        let Some(level) = self.levels.get(at) else {
            let value = rest.next().ok_or("its sparsity tells of more values than are stored")?;
            out[place * value.len()..][..value.len()].copy_from_slice(value);
            return Ok(());
        };
        match &level.compressed {
            None => (0..level.size).try_for_each(|i| {
                let below = parent.checked_mul(level.size).and_then(|first| first.checked_add(i));
                self.fill(at + 1, below.ok_or("its sparsity overflows")?, place + i * level.stride, rest, out)
            }),
            Some((segments, indices)) => {
                let range = segments.get(parent).copied().zip(segments.get(parent + 1).copied());
                let range = range.filter(|&(start, end)| start <= end && end <= indices.len());
                let (start, end) =
                    range.ok_or_else(|| format!("level {at} of its sparsity has no segment {parent}"))?;
                // Ascending indices meet no element twice, so the work is bounded by the dense size.
                let ascend = indices[start..end].windows(2).all(|pair| pair[0] < pair[1]);
                if !ascend || indices[start..end].last().is_some_and(|&last| last >= level.size) {
                    return Err(format!("indices of level {at} of its sparsity do not ascend below {}", level.size));
                }
                (start..end).try_for_each(|i| self.fill(at + 1, i, place + indices[i] * level.stride, rest, out))
            }
        }
    }
}

fn sizes(list: Option<Vec<i32>>) -> OpResult<Vec<usize>> {
    let sizes = list.unwrap_or_default().into_iter().map(usize::try_from);
    sizes.collect::<Result<_, _>>().map_err(|_| "its sparsity holds negative numbers".into())
}

/// A SparseIndexVector: its type's slot, and the table behind it.
fn indices(metadata: &Table<'_>, slot: usize) -> OpResult<Vec<usize>> {
    const MAX: usize = 1 << 28;
    let table = metadata.table(slot + 1)?.ok_or("its sparsity lacks segments or indices")?;
    match metadata.number(slot, 0u8)? {
        1 => sizes(table.numbers(0, MAX)?),
        2 => Ok(table.numbers::<u16>(0, MAX)?.unwrap_or_default().into_iter().map(usize::from).collect()),
        3 => Ok(table.numbers::<u8>(0, MAX)?.unwrap_or_default().into_iter().map(usize::from).collect()),
        other => Err(format!("a list of indices of kind {other} is not known")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn level(stride: usize, size: usize, compressed: Option<(&[usize], &[usize])>) -> Level {
        Level { stride, size, compressed: compressed.map(|(s, i)| (s.to_vec(), i.to_vec())) }
    }

    #[test]
    fn compressed_rows_become_dense() {
        // [[0, 1, 0], [2, 0, 3]]: rows dense, columns compressed.
        let rows = level(3, 2, None);
        let sparse = Sparse { levels: vec![rows, level(1, 3, Some((&[0, 1, 3], &[1, 0, 2])))] };
        assert_eq!(sparse.dense(&[1, 2, 3], 6, 1), Ok(vec![0, 1, 0, 2, 0, 3]));
        assert!(sparse.dense(&[1, 2], 6, 1).unwrap_err().contains("more values"));
        assert!(sparse.dense(&[1, 2, 3, 4], 6, 1).unwrap_err().contains("no place"));
    }

    #[test]
    fn blocks_lie_at_the_leaves() {
        // [2, 4] in blocks of [1, 2]: block columns compressed, the block itself dense.
        let levels = vec![level(4, 2, None), level(2, 2, Some((&[0, 1, 2], &[1, 0]))), level(1, 2, None)];
        assert_eq!(Sparse { levels }.dense(&[1, 2, 3, 4], 8, 1), Ok(vec![0, 0, 1, 2, 3, 4, 0, 0]));
    }

    #[test]
    fn lying_indices_are_refused() {
        for (segments, indices) in [
            (&[0, 1][..], &[1, 0, 2][..]),
            (&[0, 2, 1], &[1, 0, 2]),
            (&[0, 1, 9], &[1, 0, 2]),
            (&[0, 1, 3], &[1, 2, 0]),
            (&[0, 1, 3], &[1, 0, 3]),
            (&[0, 1, 3], &[1, 0, 0]),
        ] {
            let sparse = Sparse { levels: vec![level(3, 2, None), level(1, 3, Some((segments, indices)))] };
            assert!(sparse.dense(&[1, 2, 3], 6, 1).is_err(), "{segments:?} {indices:?}");
        }
    }

    #[test]
    fn scales_lie_along_their_axis() {
        let q = Quantization { scales: vec![0.5, 2.0], zero_points: vec![0, 1], axis: 0 };
        let t = Tensor::from_i8([2, 2], vec![2, -4, 3, 1]).unwrap();
        assert_eq!(dequantized(&t, &q).unwrap().as_f32().unwrap(), [1.0, -2.0, 4.0, 0.0]);
        let along = |axis| dequantized(&t, &Quantization { axis, ..q.clone() }).map(|t| t.as_f32().unwrap().to_vec());
        assert_eq!(along(1).unwrap(), [1.0, -10.0, 1.5, 0.0]);
        assert!(along(2).unwrap_err().contains("do not fit") && along(-1).is_err());
    }
}
