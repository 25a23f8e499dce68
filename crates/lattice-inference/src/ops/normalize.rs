//! Row-wise normalisation: softmax and the mean-variance step of layer, group and instance normalisation.
//!
//! Rows are the last dimension (softmax) or the last dimensions from an axis on (normalisation). Sums use 16 lanes and a
//! fixed tree; a row's bits do not depend on the other rows.

use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::{Work, rows};
use crate::graph::TensorType;
use crate::kernels::Isa;
use crate::kernels::dual_kernel;
use crate::kernels::reduce::{LANES, top, tree};
use crate::math;
use crate::tensor::{DType, Data, Tensor};

/// e^(x - max) / sum over the last dimension.
pub static SOFTMAX: OpSpec = OpSpec {
    code: 0x0901,
    name: "Softmax",
    infer: infer_softmax,
    work: |_, types, _| row_work(types[0], 36, 730, rows(types[0])),
    run: run_softmax::<false>,
};

/// x - max - ln(sum of e^(x - max)) over the last dimension.
pub static LOG_SOFTMAX: OpSpec = OpSpec {
    code: 0x0902,
    name: "LogSoftmax",
    infer: infer_softmax,
    work: |_, types, _| row_work(types[0], 36, 730, rows(types[0])),
    run: run_softmax::<true>,
};

/// (x - mean) / sqrt(variance + epsilon) over the dimensions from an axis on. Attributes: axis, epsilon.
pub static NORMALIZE: OpSpec =
    OpSpec { code: 0x0903, name: "Normalize", infer: infer_normalize, work: work_normalize, run: run_normalize };

pub(super) const ALL: &[&OpSpec] = &[&SOFTMAX, &LOG_SOFTMAX, &NORMALIZE];

/// Steps of an element of f32 and of f64, and of beginning a row.
fn row_work(x: &TensorType, f32_steps: u64, f64_steps: u64, rows: usize) -> Work {
    Work::steps(if x.dtype == DType::F64 { f64_steps } else { f32_steps }, x).and(500, rows)
}

fn work_normalize(attributes: &Attributes, types: &[&TensorType], _: &[TensorType]) -> Work {
    let axis = attributes.read_axis(0, types[0].shape.len()).unwrap_or(0);
    row_work(types[0], 6, 125, types[0].shape[..axis].iter().product())
}

fn float(x: &TensorType) -> OpResult<()> {
    if matches!(x.dtype, DType::F32 | DType::F64) { Ok(()) } else { Err(format!("it is not defined for {}", x.dtype)) }
}

fn infer_softmax(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [x] = operands(types)?;
    float(x)?;
    if x.shape.is_empty() {
        return Err("a scalar has no dimension to normalise over".into());
    }
    Ok(vec![x.clone()])
}

fn infer_normalize(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(2)?;
    let [x] = operands(types)?;
    float(x)?;
    attributes.read_axis(0, x.shape.len())?;
    attributes.read_float(1)?;
    Ok(vec![x.clone()])
}

/// Sum of `f(v)` over a row by lanes and tree.
#[inline(always)]
fn sum_of(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for l in 0..LANES {
            lanes[l] += f(chunk[l]);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    tree(lanes)
}

dual_kernel! {
    /// Softmax (or its logarithm) of each row of `columns` elements.
    fn softmax_rows(x: &[f32], columns: usize, log: bool, y: &mut [f32]) {
        for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
            // Which of two zeros or NaN it is changes no result: e^±0 is 1, and a NaN makes the whole row NaN.
            let top = top(x);
            for (y, &v) in y.iter_mut().zip(x) {
                *y = math::exp(v - top);
            }
            let sum = sum_of(y, |v| v);
            if log {
                let log_sum = math::ln(sum);
                for (y, &v) in y.iter_mut().zip(x) {
                    *y = v - top - log_sum;
                }
            } else {
                for y in y.iter_mut() {
                    *y /= sum;
                }
            }
        }
    }
}

dual_kernel! {
    /// Mean-variance normalisation of each row of `columns` elements.
    fn normalize_rows(x: &[f32], columns: usize, epsilon: f32, y: &mut [f32]) {
        let count = columns as f32;
        for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
            let mean = sum_of(x, |v| v) / count;
            for (y, &v) in y.iter_mut().zip(x) {
                *y = v - mean;
            }
            let variance = sum_of(y, |v| v * v) / count;
            let deviation = (variance + epsilon).sqrt();
            for y in y.iter_mut() {
                *y /= deviation;
            }
        }
    }
}

fn run_softmax<const LOG: bool>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let columns = x.shape().last().copied().unwrap_or(1).max(1);
    let data = match x.data() {
        Data::F32(v) => {
            let mut y = vec![0.0; v.len()];
            softmax_rows(Isa::detect(), v, columns, LOG, &mut y);
            Data::F32(y)
        }
        Data::F64(v) => Data::F64(v.chunks_exact(columns).flat_map(|row| softmax_f64(row, LOG)).collect()),
        other => return Err(format!("it is not defined for {}", other.dtype())),
    };
    Ok(vec![tensor(x.shape(), data)?])
}

fn sum_f64(row: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    row.iter().enumerate().for_each(|(i, v)| lanes[i % LANES] += v);
    tree(lanes)
}

fn softmax_f64(row: &[f64], log: bool) -> Vec<f64> {
    let top = row.iter().fold(f64::NEG_INFINITY, |m, &v| if m.is_nan() || m >= v { m } else { v });
    let exps: Vec<f64> = row.iter().map(|v| libm::exp(v - top)).collect();
    let sum = sum_f64(&exps);
    if log {
        let log_sum = libm::log(sum);
        row.iter().map(|v| v - top - log_sum).collect()
    } else {
        exps.iter().map(|v| v / sum).collect()
    }
}

fn run_normalize(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let axis = attributes.read_axis(0, x.rank())?;
    let epsilon = attributes.read_float(1)?;
    let columns = x.shape()[axis..].iter().product::<usize>().max(1);
    let data = match x.data() {
        Data::F32(v) => {
            let mut y = vec![0.0; v.len()];
            normalize_rows(Isa::detect(), v, columns, epsilon, &mut y);
            Data::F32(y)
        }
        Data::F64(v) => {
            Data::F64(v.chunks_exact(columns).flat_map(|row| normalize_f64(row, f64::from(epsilon))).collect())
        }
        other => return Err(format!("it is not defined for {}", other.dtype())),
    };
    Ok(vec![tensor(x.shape(), data)?])
}

fn normalize_f64(row: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = sum_f64(row) / row.len() as f64;
    let centred: Vec<f64> = row.iter().map(|v| v - mean).collect();
    let squares: Vec<f64> = centred.iter().map(|v| v * v).collect();
    let deviation = (sum_f64(&squares) / row.len() as f64 + epsilon).sqrt();
    centred.iter().map(|v| v / deviation).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn close(got: &Tensor, want: &[f64]) {
        for (g, w) in got.to_f64s().iter().zip(want) {
            assert!((g - w).abs() < 1e-6, "{g} and {w}");
        }
    }

    #[test]
    fn softmax_of_rows() {
        // scipy.special.softmax([[1,2,3],[1000,1000,1000]], axis=1)
        let x = Tensor::from_f32([2, 3], vec![1.0, 2.0, 3.0, 1000.0, 1000.0, 1000.0]).unwrap();
        let third = 1.0 / 3.0;
        close(
            &run_softmax::<false>(&Attributes::none(), &[&x]).unwrap()[0],
            &[0.09003057, 0.24472847, 0.66524096, third, third, third],
        );
        let log = 3f64.ln();
        close(
            &run_softmax::<true>(&Attributes::none(), &[&x]).unwrap()[0],
            &[-2.40760596, -1.40760596, -0.40760596, -log, -log, -log],
        );
    }

    #[test]
    fn kernels_agree_bit_for_bit_on_odd_lengths() {
        for columns in [1, 7, 16, 33, 100] {
            let x: Vec<f32> = (0..columns * 3).map(|i| ((i * 7919) % 997) as f32 / 50.0 - 9.0).collect();
            let run = |isa| {
                let (mut a, mut b) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                softmax_rows(isa, &x, columns, false, &mut a);
                normalize_rows(isa, &x, columns, 1e-5, &mut b);
                a.iter().chain(&b).map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert!(Isa::all().into_iter().all(|isa| run(isa) == run(Isa::Portable)));
        }
    }

    #[test]
    fn normalisation_of_trailing_dimensions() {
        let x = Tensor::from_f32([2, 1, 2], vec![1.0, 3.0, 5.0, 5.0]).unwrap();
        let a = Attributes::none().int(1).float(0.0);
        close(&run_normalize(&a, &[&x]).unwrap()[0].clone(), &[-1.0, 1.0]);
        let a = Attributes::none().int(1).float(1e-5);
        close(&run_normalize(&a, &[&x]).unwrap()[0], &[-0.999995, 0.999995, 0.0, 0.0]);
    }
}
