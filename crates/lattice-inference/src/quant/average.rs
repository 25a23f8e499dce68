//! Averages over windows of 8-bit integers.

use super::bytes::bytes_of;
use super::pairs::read_zero;
use super::requantize::{into_data, put_range, read_range};
use super::scale::{Range, Scale};
use crate::graph::TensorType;
use crate::ops::pool::{Windows, planes, window_work};
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Tensor};

/// clamp(zero + floor(sum of (x - zero x) over the window * multiplier n / 2^shift n + 1/2), low, high), where n positions
/// count and (multiplier n, shift n) is the n-th part of the scale.
///
/// Attributes: those of a float pool, zero x, multiplier (0 or more), shift (1 to 62), then those of the result: element
/// type, zero, low, high.
pub(crate) static INTEGER_AVERAGE: OpSpec =
    OpSpec { code: 0x0e07, name: "IntegerAveragePool", infer, work: window_work, run };

/// Attributes of the windows.
const WINDOWS: usize = 7;
/// Most positions of a window: their sum stays in i32.
const COUNT_MAX: usize = 1 << 23;

pub(crate) fn attributes(windows: &Attributes, zero: i32, scale: Scale, dtype: DType, range: Range) -> Attributes {
    put_range(windows.clone().int(zero.into()).int(scale.multiplier.into()).int(scale.shift.into()), dtype, range)
}

fn read(attributes: &Attributes, x: &TensorType) -> OpResult<(Windows, i32, Scale, DType, Range)> {
    attributes.expect_len(WINDOWS + 7)?;
    let windows = Windows::read(&Attributes(attributes.as_slice()[..WINDOWS].to_vec()), &x.shape)?;
    let positions = windows.kernel.iter().fold(1usize, |all, &k| all.saturating_mul(k));
    if positions > COUNT_MAX {
        return Err(format!("a window of {positions} positions is too large; at most {COUNT_MAX} are supported"));
    }
    let zero = read_zero(attributes, WINDOWS, x.dtype)?;
    let scale = Scale::new(attributes.read_int(WINDOWS + 1)?, attributes.read_int(WINDOWS + 2)?)?;
    let (dtype, range) = read_range(attributes, WINDOWS + 3)?;
    Ok((windows, zero, scale, dtype, range))
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    let (windows, _, _, dtype, _) = read(attributes, x)?;
    Ok(vec![TensorType::new(dtype, windows.shape(&x.shape))])
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    let (windows, zero, scale, dtype, range) = read(attributes, &TensorType::of(x))?;
    let bytes = bytes_of(x.data())?;
    let zero = if bytes.flip == 0 { zero } else { zero + 128 };
    let y = planes(&windows, x.shape(), bytes.values, |x, taps, counted| {
        let sum = taps.iter().fold(0, |sum, &t| sum + i32::from(x[t] ^ bytes.flip) - zero);
        let count = if windows.count_padding { counted } else { taps.len() };
        range.store(scale.part(count as u32).apply(sum))
    });
    Ok(vec![tensor(&windows.shape(x.shape()), into_data(dtype, y)?)?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tensor::Data;

    #[test]
    fn padding_counts_only_where_it_should() {
        let mut windows = Windows {
            kernel: vec![3],
            strides: vec![2],
            pads_before: vec![1],
            pads_after: vec![0],
            dilations: vec![1],
            output: vec![3],
            count_padding: false,
        };
        let x = Tensor::new([1, 1, 5], Data::I8(vec![-100, 20, 31, 40, 51])).unwrap();
        let range = Range { zero: 3, low: -128, high: 127 };
        let run = |windows: &Windows| {
            let attributes = attributes(&windows.attributes(), -1, Scale::of(1.0).unwrap(), DType::I8, range);
            (INTEGER_AVERAGE.run)(&attributes, &[&x]).unwrap().remove(0).into_data()
        };
        // (-99 + 21) / 2, (21 + 32 + 41) / 3, (41 + 52) / 2 = 46.5, on top of 3.
        assert_eq!(run(&windows), Data::I8(vec![-36, 34, 50]));
        windows.count_padding = true;
        assert_eq!(run(&windows), Data::I8(vec![-23, 34, 50]));
    }
}
