//! What moves a window over an image: convolutions, pooling, resizing.

use super::{Entry, activate, computes};
use crate::patterns::{Tap, Transposed, resample, transposed_convolution};
use crate::tflite::context::{OperatorContext, Placed, image};
use lattice_inference::Value;
use lattice_inference::ops::OpResult;
use lattice_inference::ops::OpSpec;
use lattice_inference::ops::conv::{CONV, Geometry};
use lattice_inference::ops::pool::{AVERAGE_POOL, MAX_POOL, Windows};

pub(super) const TABLE: &[Entry] = &[
    computes("CONV_2D", |c| {
        let (strides, dilations) = (strides(c)?, [c.size(5, 1, "dilation")?, c.size(4, 1, "dilation")?]);
        let (x, w) = (c.image(0)?, c.plain(1)?);
        let weights = c.transpose(w, &[0, 3, 1, 2])?;
        let (channels, depth) = (c.shape(x)[1], c.shape(weights)[1]);
        if depth == 0 || !channels.is_multiple_of(depth) {
            return Err(format!("{channels} channels do not fall into groups of {depth}"));
        }
        convolution(c, x, weights, Sliding { strides, dilations, group: channels / depth, activation: 3 })
    }),
    computes("DEPTHWISE_CONV_2D", |c| {
        let (strides, dilations) = (strides(c)?, [c.size(6, 1, "dilation")?, c.size(5, 1, "dilation")?]);
        let (x, w) = (c.image(0)?, c.plain(1)?);
        if c.shape(w).first() != Some(&1) {
            return Err(format!("its weights must be [1, height, width, outputs], got {:?}", c.shape(w)));
        }
        let weights = c.transpose(w, &[3, 0, 1, 2])?;
        let group = c.shape(x)[1];
        convolution(c, x, weights, Sliding { strides, dilations, group, activation: 4 })
    }),
    computes("TRANSPOSE_CONV", |c| {
        let shape = c.constant_ints_of(0, "output shape", 4)?;
        let output = [shape[1], shape[2]].map(|size| usize::try_from(size).unwrap_or(0));
        let strides = strides(c)?;
        let same = is_same(c.operator.option(0, 0i8)?)?;
        let (x, w) = (c.image(2)?, c.plain(1)?);
        let y = transposed_window(c, x, w, strides, same, Some(output))?;
        let bias = if c.optional(3).is_some() { Some(c.plain(3)?) } else { None };
        let y = biased(c, y, bias)?;
        Ok(vec![image(activate(c, 3, y)?)])
    }),
    computes("MAX_POOL_2D", |c| pool(c, &MAX_POOL)),
    computes("AVERAGE_POOL_2D", |c| pool(c, &AVERAGE_POOL)),
    computes("RESIZE_BILINEAR", |c| resize(c, [2, 3], true)),
    computes("RESIZE_NEAREST_NEIGHBOR", |c| resize(c, [0, 1], false)),
];

/// MediaPipe's own operator: a transposed convolution with a bias.
pub(super) const CUSTOM: &[Entry] = &[computes("Convolution2DTransposeBias", |c| {
    // TfLiteTransposeConvParams as it lies in memory: padding (1 same, 2 valid), stride along the width, along the height.
    let field = |at: usize| {
        let bytes = c.operator.custom_options.get(4 * at..4 * at + 4)?;
        bytes.try_into().ok().map(i32::from_le_bytes).filter(|v| (1..1 << 16).contains(v))
    };
    let fields = [field(0), field(1), field(2)];
    let [Some(padding @ (1 | 2)), Some(width), Some(height)] = fields else {
        return Err("its options are no padding and two strides".into());
    };
    let (x, w, bias) = (c.image(0)?, c.plain(1)?, c.plain(2)?);
    let y = transposed_window(c, x, w, [height as usize, width as usize], padding == 1, None)?;
    Ok(vec![image(biased(c, y, Some(bias))?)])
})];

/// How a kernel moves, and where the fused activation is noted.
struct Sliding {
    strides: [usize; 2],
    dilations: [usize; 2],
    group: usize,
    activation: usize,
}

/// Strides along height and width; their slots are the same in all operators.
fn strides(c: &OperatorContext<'_>) -> OpResult<[usize; 2]> {
    Ok([c.size(2, 0, "stride")?, c.size(1, 0, "stride")?])
}

/// Padding's codes.
fn is_same(code: i8) -> OpResult<bool> {
    match code {
        0 => Ok(true),
        1 => Ok(false),
        other => Err(format!("padding {other} is not known")),
    }
}

/// Positions of a window along one dimension, and padding before and after.
fn along(size: usize, kernel: usize, stride: usize, dilation: usize, same: bool) -> OpResult<(usize, usize, usize)> {
    let reach = kernel.checked_sub(1).and_then(|k| k.checked_mul(dilation)).and_then(|r| r.checked_add(1));
    let reach = reach.ok_or("window sizes overflow")?;
    if !same {
        let room = size.checked_sub(reach).ok_or_else(|| format!("a window of {reach} does not fit into {size}"))?;
        return Ok((room / stride + 1, 0, 0));
    }
    let count = size.div_ceil(stride);
    let end = count.saturating_sub(1).checked_mul(stride).and_then(|last| last.checked_add(reach));
    let padding = end.ok_or("window sizes overflow")?.saturating_sub(size);
    Ok((count, padding / 2, padding - padding / 2))
}

fn convolution(c: &mut OperatorContext<'_>, x: Value, weights: Value, how: Sliding) -> OpResult<Vec<Placed>> {
    let same = is_same(c.operator.option(0, 0i8)?)?;
    let (input, kernel) = (c.shape(x).to_vec(), c.shape(weights).to_vec());
    let mut pads = [[0; 2]; 2];
    for i in 0..2 {
        let (_, before, after) = along(input[2 + i], kernel[2 + i], how.strides[i], how.dilations[i], same)?;
        pads[0][i] = before;
        pads[1][i] = after;
    }
    let geometry = Geometry {
        strides: how.strides.to_vec(),
        pads_before: pads[0].to_vec(),
        pads_after: pads[1].to_vec(),
        dilations: how.dilations.to_vec(),
        group: how.group,
    };
    let y = c.emit1(&CONV, geometry.attributes(), &[x, weights])?;
    let bias = if c.optional(2).is_some() { Some(c.plain(2)?) } else { None };
    let y = biased(c, y, bias)?;
    Ok(vec![image(activate(c, how.activation, y)?)])
}

/// Adds one number for each channel.
fn biased(c: &mut OperatorContext<'_>, y: Value, bias: Option<Value>) -> OpResult<Value> {
    let Some(bias) = bias else { return Ok(y) };
    let channels = c.shape(y)[1];
    let bias = c.reshape(bias, &[channels, 1, 1])?;
    c.add(y, bias)
}

/// A transposed convolution by weights [outputs, height, width, inputs].
fn transposed_window(
    c: &mut OperatorContext<'_>,
    x: Value,
    w: Value,
    strides: [usize; 2],
    same: bool,
    output: Option<[usize; 2]>,
) -> OpResult<Value> {
    let weights = c.transpose(w, &[3, 0, 1, 2])?;
    let (input, kernel) = (c.shape(x).to_vec(), c.shape(weights).to_vec());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for i in 0..2 {
        let (size, kernel, stride) = (input[2 + i], kernel[2 + i], strides[i]);
        let full = size.saturating_sub(1) * stride + kernel;
        let plain = if same { size * stride } else { full };
        let output = output.map_or(plain, |output| output[i]);
        // The forward convolution from the output back to the input says how much is cut away before.
        let (count, cut, _) = along(output, kernel, stride, 1, same)?;
        if count != size {
            return Err(format!(
                "an output of {output} does not come from {size} by stride {stride} and {kernel} taps"
            ));
        }
        before.push(cut as i64);
        after.push(full as i64 - output as i64 - cut as i64);
    }
    let how = Transposed { strides: strides.to_vec(), dilations: vec![1; 2], group: 1, before, after };
    transposed_convolution(c, x, weights, &how)
}

fn pool(c: &mut OperatorContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Placed>> {
    let same = is_same(c.operator.option(0, 0i8)?)?;
    let strides = strides(c)?;
    let kernel = [c.size(4, 0, "window")?, c.size(3, 0, "window")?];
    let x = c.image(0)?;
    let input = c.shape(x).to_vec();
    let mut windows = Windows {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        pads_before: Vec::new(),
        pads_after: Vec::new(),
        dilations: vec![1; 2],
        output: Vec::new(),
        count_padding: false,
    };
    for i in 0..2 {
        let (count, before, after) = along(input[2 + i], kernel[i], strides[i], 1, same)?;
        windows.output.push(count);
        windows.pads_before.push(before);
        windows.pads_after.push(after);
    }
    let y = c.emit1(op, windows.attributes(), &[x])?;
    Ok(vec![image(activate(c, 5, y)?)])
}

/// Height and then width; `slots` say where corners and half pixels are noted.
fn resize(c: &mut OperatorContext<'_>, slots: [usize; 2], is_bilinear: bool) -> OpResult<Vec<Placed>> {
    let sizes = c.constant_ints_of(1, "size", 2)?;
    let (align_corners, half_pixels) = (c.operator.flag(slots[0])?, c.operator.flag(slots[1])?);
    let mut y = c.image(0)?;
    for (i, &size) in sizes.iter().enumerate() {
        let wanted = usize::try_from(size).ok().filter(|size| (1..1 << 24).contains(size));
        let (input, wanted) = (c.shape(y)[2 + i], wanted.ok_or_else(|| format!("size {size} is not positive"))?);
        if input == 0 {
            return Err("an empty image cannot be resized".into());
        }
        if input == wanted && !align_corners {
            continue;
        }
        let grid = Grid { input, output: wanted, align_corners, half_pixels };
        let taps = (0..wanted).map(|o| if is_bilinear { grid.between(o) } else { grid.nearest(o) }).collect::<Vec<_>>();
        y = resample(c, y, 2 + i, &taps)?;
    }
    Ok(vec![image(y)])
}

/// Positions of one axis. Everything is f32, as in TensorFlow Lite's reference kernels.
struct Grid {
    input: usize,
    output: usize,
    align_corners: bool,
    half_pixels: bool,
}

impl Grid {
    fn scale(&self) -> f32 {
        if self.align_corners && self.output > 1 {
            (self.input - 1) as f32 / (self.output - 1) as f32
        } else {
            self.input as f32 / self.output as f32
        }
    }

    /// Two neighbours and their weights.
    fn between(&self, output: usize) -> Vec<Tap> {
        let at = output as f32;
        let position = if self.half_pixels { (at + 0.5) * self.scale() - 0.5 } else { at * self.scale() };
        let last = self.input - 1;
        let (low, high) = (position.floor().max(0.0), position.ceil().max(0.0));
        let part = position.max(0.0) - low;
        vec![((low as usize).min(last), 1.0 - part), ((high as usize).min(last), part)]
    }

    fn nearest(&self, output: usize) -> Vec<Tap> {
        let offset = if self.half_pixels { 0.5 } else { 0.0 };
        let position = (output as f32 + offset) * self.scale();
        // Away from zero at halves; positions are never negative.
        let position = if self.align_corners { (position + 0.5).floor() } else { position.floor() };
        vec![((position as usize).min(self.input - 1), 1.0)]
    }
}
