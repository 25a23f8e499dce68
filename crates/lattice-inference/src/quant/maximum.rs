//! Largest bytes of windows that lie inside their images: whole rows first, then along each row.

use super::bytes::bytes_of;
use super::isa::{Isa, integer_kernel};
use super::requantize::into_data;
use crate::ops::pool::Windows;
use crate::ops::{Attributes, OpResult, tensor};
use crate::tensor::Tensor;

/// Windows over one or two dimensions: first rows, then columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maximum {
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
}

impl Maximum {
    /// The windows of a max pool over images of this shape; nothing for those that reach into padding.
    pub(crate) fn new(attributes: &Attributes, shape: &[usize]) -> Option<Maximum> {
        let windows = Windows::read(attributes, shape).ok()?;
        let two = |list: &[usize], filler: usize| match *list {
            [columns] => Some([filler, columns]),
            [rows, columns] => Some([rows, columns]),
            _ => None,
        };
        let maximum = Maximum {
            input: two(&shape[2..], 1)?,
            output: two(&windows.output, 1)?,
            kernel: two(&windows.kernel, 1)?,
            stride: two(&windows.strides, 1)?,
            dilation: two(&windows.dilations, 1)?,
        };
        let inside = |i: usize| {
            let Maximum { input, output, kernel, stride, dilation } = maximum;
            output[i] > 0 && (output[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] < input[i]
        };
        let pads = windows.pads_before.iter().all(|&pad| pad == 0);
        (pads && inside(0) && inside(1) && maximum.stride[1] <= 2).then_some(maximum)
    }

    /// The largest bytes, as a tensor of this shape.
    pub(crate) fn run(&self, x: &Tensor, shape: &[usize]) -> OpResult<Tensor> {
        let (isa, bytes) = (Isa::detect(), bytes_of(x.data())?);
        let mut y = vec![0; shape.iter().product()];
        let images = bytes.values.chunks_exact(self.input.iter().product());
        // One byte more, so that bytes come in pairs for a stride of two.
        let mut line = vec![0; self.input[1] + 1];
        for (x, y) in images.zip(y.chunks_exact_mut(self.output.iter().product())) {
            image(isa, x, bytes.flip, *self, &mut line, y);
        }
        tensor(shape, into_data(x.dtype(), y)?)
    }
}

integer_kernel! {
    fn image(x: &[u8], flip: u8, windows: Maximum, line: &mut [u8], y: &mut [u8]) {
        let Maximum { input, output, kernel, stride, dilation } = windows;
        for (row, y) in y.chunks_exact_mut(output[1]).enumerate() {
            line.fill(0);
            for tap in 0..kernel[0] {
                let x = &x[(row * stride[0] + tap * dilation[0]) * input[1]..][..input[1]];
                line.iter_mut().zip(x).for_each(|(most, x)| *most = (*most).max(x ^ flip));
            }
            y.fill(0);
            for tap in 0..kernel[1] {
                let line = &line[tap * dilation[1]..];
                match stride[1] {
                    1 => y.iter_mut().zip(line).for_each(|(y, x)| *y = (*y).max(*x)),
                    _ => y.iter_mut().zip(line.as_chunks::<2>().0).for_each(|(y, x)| *y = (*y).max(x[0])),
                }
            }
            y.iter_mut().for_each(|y| *y ^= flip);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops::pool::MAX_POOL;
    use crate::quant::isa::forced;
    use crate::tensor::DType;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_are_the_operators(
            axes in proptest::collection::vec((1usize..5, 1usize..4, 1usize..3, 0usize..70), 1..=2),
            pad in prop_oneof![4 => Just(0usize), 1 => Just(1)], is_signed in any::<bool>(), seed in any::<u8>(),
        ) {
            let columns = axes.iter().map(|a| [a.0, a.1, a.2, (a.0 - 1) * a.2 + 1 + a.3, a.3 / a.1 + 1]);
            let columns: Vec<[usize; 5]> = columns.collect();
            let column = |i: usize| columns.iter().map(|c| c[i]).collect::<Vec<usize>>();
            let reach = column(3);
            let windows = Windows {
                kernel: column(0), strides: column(1), dilations: column(2),
                pads_before: vec![pad; axes.len()], pads_after: vec![0; axes.len()],
                output: column(4), count_padding: false,
            };
            let shape = [&[2, 3], &reach[..]].concat();
            let bytes: Vec<u8> = (0..shape.iter().product()).map(|i: usize| (i as u8).wrapping_mul(37) ^ seed).collect();
            let x = Tensor::from_bytes(if is_signed { DType::I8 } else { DType::U8 }, shape.clone(), &bytes).unwrap();
            let want = (MAX_POOL.run)(&windows.attributes(), &[&x]).unwrap().remove(0);
            let found = Maximum::new(&windows.attributes(), &shape);
            prop_assert_eq!(found.is_some(), pad == 0 && axes[axes.len() - 1].1 <= 2);
            if let Some(maximum) = found {
                for (_, got) in forced::each(|| maximum.run(&x, want.shape()).unwrap()) {
                    prop_assert_eq!(&got, &want);
                }
            }
        }
    }
}
