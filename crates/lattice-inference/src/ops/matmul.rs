//! Matrix products over the last two dimensions, the others broadcast.

use super::broadcast::{Loops, broadcast_shapes};
use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::{Work, rows};
use crate::graph::TensorType;
use crate::kernels::gemm::{NR, PackedRight, gemm, gemm_then};
use crate::kernels::{Finish, Isa};
use crate::tensor::{DType, Data, Tensor};

/// a [.., m, k] times b [.., k, n]; both of rank 2 or more.
pub static MATMUL: OpSpec = OpSpec { code: 0x0501, name: "MatMul", infer, work, run };

pub(super) const ALL: &[&OpSpec] = &[&MATMUL];

/// The sizes of a product, with the dimensions of its batch.
pub(crate) struct Sizes {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub batch: Vec<usize>,
}

/// The sizes of a [.., m, k] times b [.., k, n].
pub(crate) fn sizes(a: &[usize], b: &[usize]) -> OpResult<Sizes> {
    let ([batch_a @ .., m, k], [batch_b @ .., k2, n]) = (a, b) else {
        return Err(format!("operands must have rank 2 or more, got {a:?} and {b:?}"));
    };
    if k != k2 {
        return Err(format!("inner dimensions differ: {a:?} times {b:?}"));
    }
    Ok(Sizes { m: *m, k: *k, n: *n, batch: broadcast_shapes(&[batch_a, batch_b])? })
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [a, b] = operands(types)?;
    let numeric = matches!(a.dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U32 | DType::U64);
    if a.dtype != b.dtype || !numeric {
        return Err(format!("it is not defined for {} and {}", a.dtype, b.dtype));
    }
    let Sizes { m, n, mut batch, .. } = sizes(&a.shape, &b.shape)?;
    batch.extend([m, n]);
    Ok(vec![TensorType::new(a.dtype, batch)])
}

fn work(_: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let k = types[0].shape.last().copied().unwrap_or(1);
    // One matrix of each operand may be packed beside the originals.
    let matrix = |ty: &TensorType| ty.shape.iter().rev().take(2).product::<usize>() as u64 * 4;
    let scratch_bytes = matrix(types[1]).saturating_mul(2).saturating_add(1 << 20);
    // Types other than f32 run plain loops; f32 computes whole tiles.
    let n = results[0].shape.last().copied().unwrap_or(1);
    let (columns, slow) = match types[0].dtype {
        DType::F32 => (n.next_multiple_of(NR), 1),
        DType::F64 => (n, 64),
        _ => (n, 32),
    };
    // Every product of a batch begins anew, unless all share one right operand.
    let batch = if types[1].shape.len() <= 2 { 1 } else { results[0].shape.iter().rev().skip(2).product() };
    let macs = Work::macs(&[rows(&results[0]), columns, k, slow]);
    Work { scratch_bytes, ..macs }.and(4, results[0].elements()).and(800, batch)
}

fn run(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, b] = operands(inputs)?;
    let Sizes { m, k, n, batch } = sizes(a.shape(), b.shape())?;
    let mut shape = batch.clone();
    shape.extend([m, n]);
    let batch_a = &a.shape()[..a.rank() - 2];
    let batch_b = &b.shape()[..b.rank() - 2];
    // Where each product of the batch begins, in matrices.
    let loops = Loops::new(&batch, &[batch_a, batch_b]);
    let mut pairs = Vec::with_capacity(loops.len());
    loops.rows(|[oa, ob]| {
        let (sa, sb) = (loops.inner_stride(0), loops.inner_stride(1));
        pairs.extend((0..loops.inner()).map(|i| (oa + i * sa, ob + i * sb)));
    });
    macro_rules! plain {
        ($variant:ident, $x:ident, $y:ident, $zero:expr, $fma:expr) => {{
            let mut c = vec![$zero; pairs.len() * m * n];
            for (&(ia, ib), c) in pairs.iter().zip(c.chunks_exact_mut((m * n).max(1))) {
                product(&$x[ia * m * k..][..m * k], &$y[ib * k * n..][..k * n], c, k, n, $fma);
            }
            Data::$variant(c)
        }};
    }
    let data = match (a.data(), b.data()) {
        (Data::F32(x), Data::F32(y)) if batch_b.iter().product::<usize>() == 1 => {
            let mut c = vec![0.0; pairs.len() * m * n];
            gemm(Isa::detect(), x, pairs.len() * m, &PackedRight::new(y, k, n), &mut c);
            Data::F32(c)
        }
        (Data::F32(x), Data::F32(y)) => Data::F32(batched(x, y, &pairs, m, k, n)),
        (Data::F64(x), Data::F64(y)) => plain!(F64, x, y, 0.0, |a: f64, b, c| a.mul_add(b, c)),
        (Data::I32(x), Data::I32(y)) => plain!(I32, x, y, 0, |a: i32, b, c| a.wrapping_mul(b).wrapping_add(c)),
        (Data::I64(x), Data::I64(y)) => plain!(I64, x, y, 0, |a: i64, b, c| a.wrapping_mul(b).wrapping_add(c)),
        (Data::U32(x), Data::U32(y)) => plain!(U32, x, y, 0, |a: u32, b, c| a.wrapping_mul(b).wrapping_add(c)),
        (Data::U64(x), Data::U64(y)) => plain!(U64, x, y, 0, |a: u64, b, c| a.wrapping_mul(b).wrapping_add(c)),
        _ => return Err(format!("it is not defined for {} and {}", a.dtype(), b.dtype())),
    };
    Ok(vec![tensor(&shape, data)?])
}

/// Products of f32 matrices pairwise, packing each right operand once while it repeats.
fn batched(x: &[f32], y: &[f32], pairs: &[(usize, usize)], m: usize, k: usize, n: usize) -> Vec<f32> {
    let isa = Isa::detect();
    let mut c = vec![0.0; pairs.len() * m * n];
    let mut right = PackedRight::default();
    let mut packed = None;
    for (&(ia, ib), c) in pairs.iter().zip(c.chunks_exact_mut((m * n).max(1))) {
        if packed != Some(ib) {
            right.fill(&y[ib * k * n..][..k * n], k, n);
            packed = Some(ib);
        }
        gemm(isa, &x[ia * m * k..][..m * k], m, &right, c);
    }
    c
}

/// A plain product, one ascending chain for each output.
fn product<T: Copy>(a: &[T], b: &[T], c: &mut [T], k: usize, n: usize, fma: impl Fn(T, T, T) -> T) {
    for (row, out) in c.chunks_exact_mut(n.max(1)).enumerate() {
        for p in 0..k {
            let v = a[row * k + p];
            out.iter_mut().zip(&b[p * n..]).for_each(|(c, &w)| *c = fma(v, w, *c));
        }
    }
}

/// The right operand of a product, prepared at load when it is a constant f32 matrix.
pub(crate) fn prepare(b: &Tensor) -> Option<PackedRight> {
    match (b.shape(), b.as_f32()) {
        ([k, n], Some(values)) => Some(PackedRight::new(values, *k, *n)),
        _ => None,
    }
}

/// [`MATMUL`] of f32 with a prepared right operand, into `c`, whose outputs `finish` takes on.
pub(crate) fn run_prepared(a: &Tensor, b: &PackedRight, c: &mut [f32], finish: &mut Finish<'_>) -> OpResult<()> {
    let values = a.as_f32().ok_or("the left operand must be f32")?;
    if a.rank() < 2 || a.shape().last() != Some(&b.k) {
        return Err("inner dimensions differ".into());
    }
    gemm_then(Isa::detect(), values, a.shape()[..a.rank() - 1].iter().product(), b, c, finish);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn batches_broadcast() {
        // numpy: np.matmul(np.arange(12.).reshape(3,1,2,2), np.arange(8.).reshape(2,2,2)) has shape (3,2,2,2).
        for as_f32 in [true, false] {
            let make = |shape: &[usize]| {
                let v: Vec<i32> = (0..shape.iter().product::<usize>() as i32).collect();
                if as_f32 {
                    Tensor::from_f32(shape, v.iter().map(|&x| x as f32).collect()).unwrap()
                } else {
                    Tensor::from_i32(shape, v).unwrap()
                }
            };
            let r = run(&Attributes::none(), &[&make(&[3, 1, 2, 2]), &make(&[2, 2, 2])]).unwrap().remove(0);
            assert_eq!(r.shape(), [3, 2, 2, 2]);
            let want = [
                2., 3., 6., 11., 6., 7., 26., 31., 10., 19., 14., 27., 46., 55., 66., 79., 18., 35., 22., 43., 86.,
                103., 106., 127.,
            ];
            assert_eq!(r.to_f64s(), want);
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let ty = |shape: &[usize]| TensorType::new(DType::F32, shape);
        let infer = |a, b| infer(&Attributes::none(), &[&ty(a), &ty(b)]);
        assert!(infer(&[2, 3], &[4, 5]).unwrap_err().contains("inner dimensions differ"));
        assert!(infer(&[3], &[3, 5]).unwrap_err().contains("rank 2"));
        assert!(infer(&[2, 2, 3], &[3, 3, 5]).is_err());
        assert_eq!(infer(&[2, 0], &[0, 5]).unwrap()[0].shape, [2, 5]);
    }
}
