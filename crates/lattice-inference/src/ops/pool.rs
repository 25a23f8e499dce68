//! Pooling over windows of one to three spatial dimensions.
//!
//! Attributes: kernel, strides, pads before, pads after, dilations, output sizes (lists over the spatial dimensions), and
//! for averages whether padding counts. A window may reach past the padding (ONNX's `ceil_mode`): what lies there never counts.
//! An average adds its window in row-major order from +0 and divides once.

use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::kernels::elementwise::max;
use crate::kernels::{Isa, dual_kernel};
use crate::tensor::{DType, Data, Tensor};

/// The largest element of each window.
pub static MAX_POOL: OpSpec = OpSpec { code: 0x0701, name: "MaxPool", infer, work: window_work, run: run_max };
/// The average of each window.
pub static AVERAGE_POOL: OpSpec =
    OpSpec { code: 0x0702, name: "AveragePool", infer: infer_average, work: window_work, run: run_average };

pub(super) const ALL: &[&OpSpec] = &[&MAX_POOL, &AVERAGE_POOL];

/// Windows along each spatial dimension.
pub struct Windows {
    /// Size of the window.
    pub kernel: Vec<usize>,
    /// Step from one window to the next.
    pub strides: Vec<usize>,
    /// Padding before the first element.
    pub pads_before: Vec<usize>,
    /// Padding after the last.
    pub pads_after: Vec<usize>,
    /// Step between the elements of a window.
    pub dilations: Vec<usize>,
    /// Number of windows.
    pub output: Vec<usize>,
    /// Whether an average counts padding.
    pub count_padding: bool,
}

impl Windows {
    /// As attributes.
    pub fn attributes(&self) -> Attributes {
        Attributes::none()
            .sizes(&self.kernel)
            .sizes(&self.strides)
            .sizes(&self.pads_before)
            .sizes(&self.pads_after)
            .sizes(&self.dilations)
            .sizes(&self.output)
            .flag(self.count_padding)
    }

    pub(crate) fn read(attributes: &Attributes, x: &[usize]) -> OpResult<Windows> {
        attributes.expect_len(7)?;
        let windows = Windows {
            kernel: attributes.read_sizes(0)?,
            strides: attributes.read_sizes(1)?,
            pads_before: attributes.read_sizes(2)?,
            pads_after: attributes.read_sizes(3)?,
            dilations: attributes.read_sizes(4)?,
            output: attributes.read_sizes(5)?,
            count_padding: attributes.read_flag(6)?,
        };
        let [_, _, spatial @ ..] = x else { return Err(format!("the input needs rank 3 to 5, got {x:?}")) };
        let rank = spatial.len();
        if !(1..=3).contains(&rank) {
            return Err(format!("the input needs one to three spatial dimensions, got {x:?}"));
        }
        let Windows { kernel, strides, pads_before, pads_after, dilations, output, .. } = &windows;
        if [kernel, strides, pads_before, pads_after, dilations, output].iter().any(|list| list.len() != rank) {
            return Err(format!("kernel, strides, pads, dilations and output sizes need {rank} entries"));
        }
        for i in 0..rank {
            let bounded = [kernel[i], strides[i], dilations[i], pads_before[i], pads_after[i], output[i]];
            if bounded.iter().any(|&v| v >= 1 << 24) || kernel[i] == 0 || strides[i] == 0 || dilations[i] == 0 {
                return Err("kernel sizes, strides and dilations must be positive and below 2^24".into());
            }
            if output[i] > 0 && (output[i] - 1) * strides[i] >= spatial[i] + pads_before[i] + pads_after[i] {
                return Err(format!("window {} of dimension {i} begins past the padded input", output[i] - 1));
            }
        }
        Ok(windows)
    }

    pub(crate) fn shape(&self, x: &[usize]) -> Vec<usize> {
        x[..2].iter().chain(&self.output).copied().collect()
    }

    /// Calls `visit(window, taps)` for each window of one plane, where taps are flat input positions in row-major order, and
    /// tells how many positions count when padding does.
    fn each(&self, spatial: &[usize], mut visit: impl FnMut(&[usize], usize)) {
        let rank = spatial.len();
        // Taps inside the input along each dimension, and how many lie inside the padded input.
        let along = |i: usize, o: usize| {
            let start = o * self.strides[i];
            let inside = (0..self.kernel[i]).map(move |k| start + k * self.dilations[i]);
            let padded_end = spatial[i] + self.pads_before[i] + self.pads_after[i];
            let counted = inside.clone().filter(|&p| p < padded_end).count();
            let taps: Vec<usize> =
                inside.map(|p| p.wrapping_sub(self.pads_before[i])).filter(|&p| p < spatial[i]).collect();
            (taps, counted)
        };
        let table: Vec<Vec<_>> = (0..rank).map(|i| (0..self.output[i]).map(|o| along(i, o)).collect()).collect();
        let mut taps = Vec::new();
        for window in 0..self.output.iter().product::<usize>() {
            taps.clear();
            taps.push(0);
            let (mut rest, mut counted) = (self.output.iter().product::<usize>(), 1);
            let mut window = window;
            for i in 0..rank {
                rest /= self.output[i];
                let (positions, count) = &table[i][window / rest];
                window %= rest;
                counted *= count;
                taps = taps.iter().flat_map(|&base| positions.iter().map(move |&p| base * spatial[i] + p)).collect();
            }
            visit(&taps, counted);
        }
    }
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    if matches!(x.dtype, DType::Bool | DType::F16 | DType::BF16) {
        return Err(format!("it is not defined for {}", x.dtype));
    }
    Ok(vec![TensorType::new(x.dtype, Windows::read(attributes, &x.shape)?.shape(&x.shape))])
}

fn infer_average(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    match types {
        [x] if !matches!(x.dtype, DType::F32 | DType::F64) => Err(format!("it is not defined for {}", x.dtype)),
        _ => infer(attributes, types),
    }
}

pub(crate) fn window_work(attributes: &Attributes, _: &[&TensorType], results: &[TensorType]) -> Work {
    let taps = attributes.read_sizes(0).unwrap_or_default().iter().fold(1u64, |p, &k| p.saturating_mul(k as u64));
    let windows = results[0].shape[2..].iter().fold(1u64, |p, &o| p.saturating_mul(o as u64));
    // The table of window positions is shared by all planes.
    let scratch_bytes = windows.saturating_mul(taps).saturating_mul(8);
    Work { scratch_bytes, ..Work::steps(taps.saturating_mul(58).saturating_add(120), &results[0]) }
}

/// Applies a window function plane by plane.
pub(crate) fn planes<T: Copy>(
    windows: &Windows,
    shape: &[usize],
    x: &[T],
    mut f: impl FnMut(&[T], &[usize], usize) -> T,
) -> Vec<T> {
    let spatial = &shape[2..];
    let plane: usize = spatial.iter().product();
    let outputs: usize = windows.output.iter().product();
    let count = shape[0] * shape[1];
    let mut y = Vec::with_capacity(count * outputs);
    if count == 0 || outputs == 0 {
        return y;
    }
    // Windows are the same for every plane: found once, used for all.
    let (mut taps, mut ends) = (Vec::new(), Vec::with_capacity(outputs));
    windows.each(spatial, |window, counted| {
        taps.extend_from_slice(window);
        ends.push((taps.len(), counted));
    });
    for index in 0..count {
        let x = &x[index * plane..][..plane];
        let mut start = 0;
        for &(end, counted) in &ends {
            y.push(f(x, &taps[start..end], counted));
            start = end;
        }
    }
    y
}

/// The rows of `y` folded with elements of `x` that lie `stride` apart.
#[inline(always)]
fn max_into(y: &mut [f32], x: &[f32], stride: usize) {
    match stride {
        1 => {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = max(*y, x);
            }
        }
        2 => {
            let (pairs, last) = x.as_chunks::<2>();
            let after = y.len().min(pairs.len());
            for (y, pair) in y.iter_mut().zip(pairs) {
                *y = max(*y, pair[0]);
            }
            for (y, &x) in y[after..].iter_mut().zip(last) {
                *y = max(*y, x);
            }
        }
        _ => {
            for (y, x) in y.iter_mut().zip(x.chunks(stride)) {
                *y = max(*y, x[0]);
            }
        }
    }
}

dual_kernel! {
    /// The largest elements of planar windows that all lie inside their plane: each tap for a row of windows at a time.
    fn max_planes(windows: &Windows, spatial: &[usize], x: &[f32], y: &mut [f32]) {
        let Windows { kernel, strides, dilations, output, .. } = windows;
        let planes = x.chunks_exact(spatial[0] * spatial[1]);
        for (x, y) in planes.zip(y.chunks_exact_mut(output[0] * output[1])) {
            for (row, y) in y.chunks_exact_mut(output[1]).enumerate() {
                y.fill(f32::NEG_INFINITY);
                for tap in 0..kernel[0] * kernel[1] {
                    let at = (row * strides[0] + tap / kernel[1] * dilations[0]) * spatial[1] + tap % kernel[1] * dilations[1];
                    max_into(y, &x[at..], strides[1]);
                }
            }
        }
    }
}

/// Whether there are planar windows, and all lie inside.
fn is_inside(windows: &Windows, spatial: &[usize]) -> bool {
    let reach =
        |i: usize| (windows.output[i].max(1) - 1) * windows.strides[i] + (windows.kernel[i] - 1) * windows.dilations[i];
    let Windows { pads_before, output, .. } = windows;
    spatial.len() == 2 && (0..2).all(|i| pads_before[i] == 0 && output[i] > 0 && reach(i) < spatial[i])
}

fn run_max(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let windows = Windows::read(attributes, x.shape())?;
    let shape = windows.shape(x.shape());
    macro_rules! each {
        ($($variant:ident $lowest:expr, $max:expr;)*) => {
            match x.data() {
                $(Data::$variant(v) => Data::$variant(planes(&windows, x.shape(), v, |x, taps, _| {
                    taps.iter().fold($lowest, |m, &t| $max(m, x[t]))
                })),)*
                other => return Err(format!("it is not defined for {}", other.dtype())),
            }
        };
    }
    if let (Data::F32(v), true) = (x.data(), is_inside(&windows, &x.shape()[2..])) {
        let mut y = vec![0.0; shape.iter().product()];
        max_planes(Isa::detect(), &windows, &x.shape()[2..], v, &mut y);
        return Ok(vec![tensor(&shape, Data::F32(y))?]);
    }
    let data = each! {
        F32 f32::NEG_INFINITY, max;
        F64 f64::NEG_INFINITY, |a: f64, b: f64| if a.is_nan() || a >= b { a } else { b };
        I8 i8::MIN, i8::max;
        I16 i16::MIN, i16::max;
        I32 i32::MIN, i32::max;
        I64 i64::MIN, i64::max;
        U8 u8::MIN, u8::max;
        U16 u16::MIN, u16::max;
        U32 u32::MIN, u32::max;
        U64 u64::MIN, u64::max;
    };
    Ok(vec![tensor(&shape, data)?])
}

fn run_average(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let windows = Windows::read(attributes, x.shape())?;
    let shape = windows.shape(x.shape());
    let divisor = |taps: &[usize], counted| if windows.count_padding { counted } else { taps.len() };
    let data = match x.data() {
        Data::F32(v) => Data::F32(planes(&windows, x.shape(), v, |x, taps, counted| {
            taps.iter().fold(0.0, |sum, &t| sum + x[t]) / divisor(taps, counted) as f32
        })),
        Data::F64(v) => Data::F64(planes(&windows, x.shape(), v, |x, taps, counted| {
            taps.iter().fold(0.0, |sum, &t| sum + x[t]) / divisor(taps, counted) as f64
        })),
        other => return Err(format!("it is not defined for {}", other.dtype())),
    };
    Ok(vec![tensor(&shape, data)?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_of_windows_give_the_bits_of_single_windows() {
        for code in 0..96usize {
            let (side, stride, dilation, width) = (1 + code % 3, 1 + code / 3 % 4, 1 + code / 12 % 2, 7 + code);
            let spatial = [9, width];
            let output = spatial.map(|size| (size - 1 - (side - 1) * dilation) / stride + 1).to_vec();
            let windows = Windows {
                kernel: vec![side; 2],
                strides: vec![stride; 2],
                pads_before: vec![0; 2],
                pads_after: vec![0; 2],
                dilations: vec![dilation; 2],
                output,
                count_padding: false,
            };
            let value = |i: usize| match (i ^ code).wrapping_mul(0x9e37_79b9) % 23 {
                0 => f32::NAN,
                1 => -0.0,
                2 => 0.0,
                v => v as f32 - 12.0,
            };
            let x: Vec<f32> = (0..2 * 9 * width).map(value).collect();
            assert!(is_inside(&windows, &spatial));
            let fold = |x: &[f32], taps: &[usize], _| taps.iter().fold(f32::NEG_INFINITY, |m, &t| max(m, x[t]));
            let want = planes(&windows, &[1, 2, 9, width], &x, fold);
            let bits =
                |v: &[f32]| v.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect::<Vec<u32>>();
            for isa in Isa::all() {
                let mut y = vec![0.0; want.len()];
                max_planes(isa, &windows, &spatial, &x, &mut y);
                assert_eq!(bits(&y), bits(&want), "side {side}, stride {stride}, dilation {dilation}, width {width}");
            }
        }
    }

    #[test]
    fn windows_with_padding_and_overhang() {
        let x = Tensor::from_f32([1, 1, 5], vec![1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let mut windows = Windows {
            kernel: vec![3],
            strides: vec![2],
            pads_before: vec![1],
            pads_after: vec![0],
            dilations: vec![1],
            output: vec![3],
            count_padding: false,
        };
        let run = |w: &Windows, op: &OpSpec| (op.run)(&w.attributes(), &[&x]).unwrap()[0].as_f32().unwrap().to_vec();
        assert_eq!(run(&windows, &MAX_POOL), [2.0, 4.0, 5.0]);
        assert_eq!(run(&windows, &AVERAGE_POOL), [1.5, 3.0, 4.5]);
        windows.count_padding = true;
        // The last window holds 4 and 5 and reaches one past the input, which never counts; the first counts its padding.
        assert_eq!(run(&windows, &AVERAGE_POOL), [1.0, 3.0, 4.5]);
        windows.output = vec![4];
        assert!((MAX_POOL.infer)(&windows.attributes(), &[&TensorType::of(&x)]).unwrap_err().contains("begins past"));
    }
}
