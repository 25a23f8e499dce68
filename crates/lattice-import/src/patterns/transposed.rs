//! Transposed convolutions: a convolution over the input with zeros between its elements, by the kernel turned around.

use lattice_inference::ops::conv::{CONV, Geometry};
use lattice_inference::ops::{Attributes, OpResult, movement};
use lattice_inference::{GraphBuilder, Value};

/// How the kernel moves over the output.
pub(crate) struct Transposed {
    pub(crate) strides: Vec<usize>,
    pub(crate) dilations: Vec<usize>,
    pub(crate) group: usize,
    /// What is cut from the full result before and after, along each dimension; negative numbers extend it by zeros.
    pub(crate) before: Vec<i64>,
    pub(crate) after: Vec<i64>,
}

/// x [batch, channels, size..] by w [channels, outputs / group, kernel..].
pub(crate) fn transposed_convolution(b: &mut GraphBuilder, x: Value, w: Value, how: &Transposed) -> OpResult<Value> {
    let (x_shape, w_shape) = (b.shape(x).to_vec(), b.shape(w).to_vec());
    let ([_, channels, input @ ..], [w_channels, _, kernel @ ..]) = (x_shape.as_slice(), w_shape.as_slice()) else {
        return Err(format!("operands must have rank 3 or more, got {x_shape:?} and {w_shape:?}"));
    };
    let (rank, group) = (input.len(), how.group);
    if kernel.len() != rank || !(1..=3).contains(&rank) || channels != w_channels || group == 0 || channels % group != 0
    {
        return Err(format!("input {x_shape:?} does not fit weights {w_shape:?} in {group} groups"));
    }
    if input.contains(&0) || kernel.contains(&0) {
        return Err("empty dimensions are not supported".into());
    }
    let is_whole = how.before.iter().chain(&how.after).all(|&cut| cut == 0);
    if is_whole && how.strides == kernel && how.dilations.iter().all(|&d| d == 1) && group == 1 {
        return upsample_by_kernel(b, x, w);
    }
    let weights = turned_around(b, w, group)?;
    let mut source = spread_out(b, x, input, &how.strides)?;
    // The plain transposition pads by the kernel's extent; what is cut takes from it, and may cut into the image.
    let (mut pads_before, mut pads_after) = (Vec::new(), Vec::new());
    for (i, &taps) in kernel.iter().enumerate() {
        let extent = ((taps - 1) * how.dilations[i]) as i64;
        let (before, after) = (extent - how.before[i], extent - how.after[i]);
        let (cut_before, cut_after) = (before.min(0).unsigned_abs() as usize, after.min(0).unsigned_abs() as usize);
        if cut_before + cut_after > 0 {
            let size = b.shape(source)[i + 2];
            let left = size.checked_sub(cut_before + cut_after).ok_or("pads cut away the whole image")?;
            source = b.narrow(source, i + 2, cut_before, left)?;
        }
        pads_before.push(before.max(0) as usize);
        pads_after.push(after.max(0) as usize);
    }
    let geometry =
        Geometry { strides: vec![1; rank], pads_before, pads_after, dilations: how.dilations.clone(), group };
    b.emit1(&CONV, geometry.attributes(), &[source, weights])
}

/// Weights [channels, outputs / group, k..] become [outputs, channels / group, k.. reversed].
fn turned_around(b: &mut GraphBuilder, w: Value, group: usize) -> OpResult<Value> {
    let shape = b.shape(w).to_vec();
    let (depth, per_group, kernel) = (shape[0] / group, shape[1], &shape[2..]);
    let grouped = [&[group, depth, per_group], kernel].concat();
    let mut weights = b.reshape(w, &grouped)?;
    let mut axes: Vec<usize> = (0..grouped.len()).collect();
    axes.swap(1, 2);
    weights = b.transpose(weights, &axes)?;
    let merged = [&[group * per_group, depth], kernel].concat();
    weights = b.reshape(weights, &merged)?;
    let starts: Vec<usize> = [0, 0].into_iter().chain(kernel.iter().map(|k| k - 1)).collect();
    let steps: Vec<i64> = [1, 1].into_iter().chain(kernel.iter().map(|_| -1)).collect();
    b.emit1(&movement::SLICE, Attributes::none().sizes(&starts).ints(steps).sizes(&merged), &[weights])
}

/// A transposed convolution whose kernel is as large as its stride: every input position makes its own block of outputs, so
/// it is one matrix product for each image and a rearrangement.
fn upsample_by_kernel(b: &mut GraphBuilder, x: Value, w: Value) -> OpResult<Value> {
    let (x_shape, w_shape) = (b.shape(x).to_vec(), b.shape(w).to_vec());
    let (channels, outputs, kernel) = (w_shape[0], w_shape[1], &w_shape[2..]);
    let (rank, taps) = (kernel.len(), kernel.iter().product::<usize>());
    // As a convolution by single elements, with an output for each place of the block.
    let columns = b.reshape(w, &[channels, outputs * taps])?;
    let rows = b.transpose(columns, &[1, 0])?;
    let mut pointwise = vec![1; rank + 2];
    pointwise[..2].copy_from_slice(&[outputs * taps, channels]);
    let weights = b.reshape(rows, &pointwise)?;
    let (ones, zeros) = (vec![1; rank], vec![0; rank]);
    let geometry =
        Geometry { strides: ones.clone(), pads_before: zeros.clone(), pads_after: zeros, dilations: ones, group: 1 };
    let y = b.emit1(&CONV, geometry.attributes(), &[x, weights])?;
    // [batch, outputs, k.., size..] becomes [batch, outputs, size, k, size, k].
    let split: Vec<usize> = [&[x_shape[0], outputs], kernel, &x_shape[2..]].concat();
    let blocks = b.reshape(y, &split)?;
    let order: Vec<usize> = [0, 1].into_iter().chain((0..rank).flat_map(|i| [2 + rank + i, 2 + i])).collect();
    let moved = b.transpose(blocks, &order)?;
    let mut shape = vec![x_shape[0], outputs];
    for i in 0..rank {
        shape.push(x_shape[2 + i].checked_mul(kernel[i]).ok_or("sizes overflow")?);
    }
    b.reshape(moved, &shape)
}

/// The image with `stride - 1` zeros between neighbours.
fn spread_out(b: &mut GraphBuilder, x: Value, input: &[usize], strides: &[usize]) -> OpResult<Value> {
    let mut x = x;
    for (i, &stride) in strides.iter().enumerate().filter(|(_, stride)| **stride > 1) {
        // One dimension at a time keeps the rank low: [outer, size, 1, inner] padded to [outer, size, stride, inner].
        let shape = b.shape(x).to_vec();
        let outer: usize = shape[..i + 2].iter().product();
        let inner: usize = shape[i + 3..].iter().product();
        let columns = b.reshape(x, &[outer, input[i], 1, inner])?;
        let zero = b.number(0.0, x)?;
        let attributes = Attributes::none().sizes(&[0; 4]).sizes(&[0, 0, stride - 1, 0]).int(0);
        let padded = b.emit1(&movement::PAD, attributes, &[columns, zero])?;
        let mut spread = shape.clone();
        spread[i + 2] = input[i].checked_mul(stride).ok_or("sizes overflow")?;
        let whole = b.reshape(padded, &spread)?;
        x = b.narrow(whole, i + 2, 0, (input[i] - 1) * stride + 1)?;
    }
    Ok(x)
}
