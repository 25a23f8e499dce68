//! Convolution over one to three spatial dimensions.
//!
//! Each output is one chain over the kernel positions in row-major order and, inside, over the channels of its group; padding
//! enters the chain as +0. That is a matrix product with the patches as columns (im2col), which are packed block by block
//! and never stored whole.

use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::kernels::Isa;
use crate::kernels::dual_kernel;
use crate::kernels::gemm::{KC, MR, NR, PackedLeft, Panels, gemm_block};
use crate::tensor::{DType, Data, Tensor};
use core::ops::Range;

/// x [batch, channels, spatial..] and w [outputs, channels / group, kernel..].
///
/// Attributes: strides, pads before, pads after, dilations (each a list over the spatial dimensions), group.
pub static CONV: OpSpec = OpSpec { code: 0x0601, name: "Conv", infer, work, run };

pub(super) const ALL: &[&OpSpec] = &[&CONV];

/// Columns of patches packed at a time.
const COLUMNS: usize = 1024;
/// Most rows of weights for which a pointwise convolution reads its image in place.
const DIRECT_ROWS: usize = 48;

/// How the kernel moves over the input.
pub struct Geometry {
    /// Step of the kernel along each spatial dimension.
    pub strides: Vec<usize>,
    /// Padding before the first element.
    pub pads_before: Vec<usize>,
    /// Padding after the last.
    pub pads_after: Vec<usize>,
    /// Step between the elements of the kernel.
    pub dilations: Vec<usize>,
    /// Groups of channels that do not see each other.
    pub group: usize,
}

impl Geometry {
    /// As attributes.
    pub fn attributes(&self) -> Attributes {
        Attributes::none()
            .sizes(&self.strides)
            .sizes(&self.pads_before)
            .sizes(&self.pads_after)
            .sizes(&self.dilations)
            .int(self.group as i64)
    }

    pub(crate) fn read(attributes: &Attributes) -> OpResult<Geometry> {
        attributes.expect_len(5)?;
        Ok(Geometry {
            strides: attributes.read_sizes(0)?,
            pads_before: attributes.read_sizes(1)?,
            pads_after: attributes.read_sizes(2)?,
            dilations: attributes.read_sizes(3)?,
            group: attributes.read_size(4)?,
        })
    }
}

/// All sizes of a convolution, widened to three spatial dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) outputs: usize,
    pub(crate) group: usize,
    pub(crate) input: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) pad: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) shape: Vec<usize>,
}

/// Number of window positions along one dimension.
pub fn window_count(
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: (usize, usize),
) -> OpResult<usize> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err("kernel sizes, strides and dilations must be positive".into());
    }
    let overflow = || "window sizes overflow".to_string();
    let padded = size.checked_add(pads.0).and_then(|s| s.checked_add(pads.1)).ok_or_else(overflow)?;
    let extent = (kernel - 1).checked_mul(dilation).and_then(|e| e.checked_add(1)).ok_or_else(overflow)?;
    match padded.checked_sub(extent) {
        Some(room) => Ok(room / stride + 1),
        None => Err(format!("a window of {extent} does not fit into {size} with padding {} and {}", pads.0, pads.1)),
    }
}

impl Plan {
    pub(crate) fn new(geometry: &Geometry, x: &[usize], w: &[usize]) -> OpResult<Plan> {
        let ([batch, channels, spatial @ ..], [outputs, per_group, kernel @ ..]) = (x, w) else {
            return Err(format!("operands must have rank 3 or more, got {x:?} and {w:?}"));
        };
        let rank = spatial.len();
        let Geometry { strides, pads_before, pads_after, dilations, group } = geometry;
        if !(1..=3).contains(&rank) || kernel.len() != rank {
            return Err(format!("input {x:?} and weights {w:?} need the same one to three spatial dimensions"));
        }
        if [strides, pads_before, pads_after, dilations].iter().any(|list| list.len() != rank) {
            return Err(format!("strides, pads and dilations need {rank} entries"));
        }
        let group = *group;
        if group == 0 || channels % group != 0 || outputs % group != 0 || channels / group != *per_group {
            return Err(format!("{channels} channels in {group} groups do not fit weights {w:?}"));
        }
        let mut plan = Plan {
            batch: *batch,
            channels: *channels,
            outputs: *outputs,
            group,
            input: [1; 3],
            kernel: [1; 3],
            output: [1; 3],
            stride: [1; 3],
            pad: [0; 3],
            dilation: [1; 3],
            shape: vec![*batch, *outputs],
        };
        for i in 0..rank {
            let at = 3 - rank + i;
            let pads = (pads_before[i], pads_after[i]);
            plan.input[at] = spatial[i];
            plan.kernel[at] = kernel[i];
            plan.stride[at] = strides[i];
            plan.pad[at] = pads_before[i];
            plan.dilation[at] = dilations[i];
            plan.output[at] = window_count(spatial[i], kernel[i], strides[i], dilations[i], pads)?;
            plan.shape.push(plan.output[at]);
        }
        plan.gather_trivial_dimensions();
        Ok(plan)
    }

    /// Moves dimensions in which nothing happens to the front: rows get long, and the order of every chain stays.
    fn gather_trivial_dimensions(&mut self) {
        let trivial = |i: usize| self.input[i] == 1 && self.kernel[i] == 1 && self.output[i] == 1 && self.pad[i] == 0;
        let mut order = [0, 1, 2];
        order.sort_by_key(|&i| !trivial(i));
        for list in
            [&mut self.input, &mut self.kernel, &mut self.output, &mut self.stride, &mut self.pad, &mut self.dilation]
        {
            *list = order.map(|i| list[i]);
        }
    }

    /// Channels of a group.
    pub(crate) fn depth(&self) -> usize {
        self.channels / self.group
    }

    /// Length of a chain.
    fn k(&self) -> usize {
        self.kernel.iter().product::<usize>() * self.depth()
    }

    pub(crate) fn positions(&self) -> usize {
        self.output.iter().product()
    }

    pub(crate) fn input_positions(&self) -> usize {
        self.input.iter().product()
    }

    /// One kernel position on every input position: the patches are the image.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3] && self.stride == [1; 3] && self.pad == [0; 3] && self.input == self.output
    }

    /// One input channel for each group and a kernel worth a loop: better done without patches.
    fn is_depthwise(&self) -> bool {
        self.depth() == 1 && self.outputs / self.group <= 2
    }
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x, w] = operands(types)?;
    if x.dtype != w.dtype || !matches!(x.dtype, DType::F32 | DType::F64) {
        return Err(format!("it is not defined for {} and {}", x.dtype, w.dtype));
    }
    let plan = Plan::new(&Geometry::read(attributes)?, &x.shape, &w.shape)?;
    Ok(vec![TensorType::new(x.dtype, plan.shape)])
}

fn work(attributes: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let per_output: usize = types[1].shape[1..].iter().product();
    let (outputs, group) = (types[1].shape[0].max(1), attributes.read_size(4).unwrap_or(1).max(1));
    let (elements, in_group) = (results[0].elements(), outputs / group);
    // Depthwise and f64 convolutions do not reach the matrix kernels' rate; those compute whole tiles of outputs.
    let is_direct = types[1].shape[1] == 1 && in_group <= 2;
    let (slow, outputs_done) = match types[0].dtype {
        DType::F64 => (350, elements),
        _ if is_direct => (4, elements),
        _ => (1, elements / outputs * group * in_group.next_multiple_of(MR)),
    };
    // A block of patches, and the images with their padding written out.
    let patches = (per_output as u64).saturating_mul(COLUMNS as u64 * 4);
    Work {
        scratch_bytes: patches.saturating_add(padded_bytes(attributes, types)),
        ..Work::macs(&[outputs_done, per_output, slow])
    }
    .and(if is_direct { 30 } else { 6 }, elements)
    // Every group begins anew.
    .and(250, group.saturating_mul(results[0].shape[0]))
    // Every element of every patch is gathered.
    .and(if is_direct { 0 } else { 12 }, (elements / outputs * group).saturating_mul(per_output))
}

/// Bytes of the images with padding.
fn padded_bytes(attributes: &Attributes, types: &[&TensorType]) -> u64 {
    let shape = &types[0].shape;
    let pads = |at: usize| attributes.read_sizes(at).unwrap_or_default();
    let (before, after) = (pads(1), pads(2));
    let spatial = shape[2..].iter().zip(&before).zip(&after).map(|((&d, &b), &a)| d as u64 + b as u64 + a as u64);
    spatial.chain(shape[..2].iter().map(|&d| d as u64)).fold(4, u64::saturating_mul)
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, w] = operands(inputs)?;
    let plan = Plan::new(&Geometry::read(attributes)?, x.shape(), w.shape())?;
    let data = match (x.data(), w.data()) {
        (Data::F32(x), Data::F32(w)) => Data::F32(convolve(&plan, x, &prepare_weights(&plan, w))),
        (Data::F64(x), Data::F64(w)) => Data::F64(convolve_plain(&plan, x, w)),
        _ => return Err(format!("it is not defined for {} and {}", x.dtype(), w.dtype())),
    };
    Ok(vec![tensor(&plan.shape, data)?])
}

/// Weights ready for the kernels.
#[derive(Clone, Debug)]
enum Weights {
    /// For each group its outputs as rows, each in chain order.
    Packed(Vec<PackedLeft>),
    /// As stored, for depthwise convolutions.
    Plain(Vec<f32>),
}

/// A convolution with constant weights, prepared at load.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    plan: Plan,
    weights: Weights,
}

impl Prepared {
    /// Prepares f32 weights for inputs of shape `x`.
    pub(crate) fn new(attributes: &Attributes, x: &[usize], w: &Tensor) -> OpResult<Prepared> {
        let plan = Plan::new(&Geometry::read(attributes)?, x, w.shape())?;
        let weights = prepare_weights(&plan, w.as_f32().ok_or("weights must be f32")?);
        Ok(Prepared { plan, weights })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Packed(groups) => groups.iter().map(PackedLeft::bytes).sum(),
            Weights::Plain(w) => w.len() * 4,
        }
    }

    /// The convolution of one input.
    pub(crate) fn run(&self, x: &Tensor) -> OpResult<Tensor> {
        let values = x.as_f32().ok_or("the input must be f32")?;
        if values.len() != self.plan.batch * self.plan.channels * self.plan.input_positions() {
            return Err("the input does not have the shape it was prepared for".into());
        }
        tensor(&self.plan.shape, Data::F32(convolve(&self.plan, values, &self.weights)))
    }
}

fn prepare_weights(plan: &Plan, w: &[f32]) -> Weights {
    if plan.is_depthwise() {
        return Weights::Plain(w.to_vec());
    }
    let (rows, k, depth) = (plan.outputs / plan.group, plan.k(), plan.depth());
    let taps = k / depth.max(1);
    let pack = |g: usize| {
        // Stored channel-major; the chain runs over kernel positions first.
        let mut ordered = vec![0.0; rows * k];
        for (row, out) in ordered.chunks_exact_mut(k.max(1)).enumerate() {
            let stored = &w[(g * rows + row) * k..][..k];
            for (i, out) in out.iter_mut().enumerate() {
                *out = stored[i % depth * taps + i / depth];
            }
        }
        PackedLeft::new(&ordered, rows, k)
    };
    Weights::Packed((0..plan.group).map(pack).collect())
}

fn convolve(plan: &Plan, x: &[f32], weights: &Weights) -> Vec<f32> {
    let isa = Isa::detect();
    let mut y = vec![0.0; plan.batch * plan.outputs * plan.positions()];
    if y.is_empty() {
        return y;
    }
    let padded = pad_images(plan, x);
    let (plan, x) = match &padded {
        Some((plan, x)) => (plan, x.as_slice()),
        None => (plan, x),
    };
    match weights {
        Weights::Plain(w) => depthwise(isa, plan, x, w, &mut y),
        Weights::Packed(groups) => {
            let (depth, rows) = (plan.depth(), plan.outputs / plan.group);
            let mut block = Vec::new();
            for b in 0..plan.batch {
                for (g, weights) in groups.iter().enumerate() {
                    let x = &x[(b * plan.channels + g * depth) * plan.input_positions()..]
                        [..depth * plan.input_positions()];
                    let at = (b * plan.outputs + g * rows) * plan.positions();
                    group_product(isa, plan, x, weights, &mut y[at..at + rows * plan.positions()], &mut block);
                }
            }
        }
    }
    y
}

/// The images with their padding written out as +0, and the plan that reads them; nothing when there is none.
fn pad_images(plan: &Plan, x: &[f32]) -> Option<(Plan, Vec<f32>)> {
    // What the windows reach, which is the padded size but for a remainder that no window covers.
    let reach = |i: usize| (plan.output[i] - 1) * plan.stride[i] + (plan.kernel[i] - 1) * plan.dilation[i] + 1;
    let size = [reach(0), reach(1), reach(2)];
    if plan.pad == [0; 3] && (0..3).all(|i| size[i] <= plan.input[i]) {
        return None;
    }
    let [id, ih, iw] = plan.input;
    let [_, sh, sw] = size;
    let mut padded = vec![0.0; plan.batch * plan.channels * size.iter().product::<usize>()];
    let inside = |i: usize| plan.input[i].min(size[i].saturating_sub(plan.pad[i]));
    // Windows may see padding only, and images may be empty.
    let images = if inside(2) == 0 { 0 } else { plan.batch * plan.channels };
    for image in 0..images {
        let x = &x[image * id * ih * iw..];
        let out = &mut padded[image * size.iter().product::<usize>()..];
        for d in 0..inside(0) {
            for h in 0..inside(1) {
                let at = ((d + plan.pad[0]) * sh + h + plan.pad[1]) * sw + plan.pad[2];
                out[at..at + inside(2)].copy_from_slice(&x[(d * ih + h) * iw..][..inside(2)]);
            }
        }
    }
    Some((Plan { input: size, pad: [0; 3], ..plan.clone() }, padded))
}

/// One image and one group: weights [rows, k] times patches [k, positions].
fn group_product(isa: Isa, plan: &Plan, x: &[f32], weights: &PackedLeft, y: &mut [f32], block: &mut Vec<f32>) {
    let (k, positions) = (plan.k(), plan.positions());
    // Where the patches are the image itself, few rows read it once in place sooner than it is packed.
    let direct = if plan.is_pointwise() && weights.m <= DIRECT_ROWS { positions / NR * NR } else { 0 };
    if direct > 0 {
        for k0 in (0..k).step_by(KC) {
            let right = Panels { data: &x[k0 * positions..], stride: NR, step: positions };
            gemm_block(isa, weights, k0, KC.min(k - k0), right, y, (direct, positions));
        }
    }
    for first in (direct..positions).step_by(COLUMNS) {
        let columns = COLUMNS.min(positions - first);
        for k0 in (0..k).step_by(KC) {
            let kc = KC.min(k - k0);
            block.resize(columns.div_ceil(NR) * kc * NR, 0.0);
            pack_patches(isa, plan, x, &(first..first + columns), &(k0..k0 + kc), block);
            let right = Panels { data: block, stride: kc * NR, step: NR };
            gemm_block(isa, weights, k0, kc, right, &mut y[first..], (columns, positions));
        }
    }
}

dual_kernel! {
    /// Packs the patches of some output positions for some steps of the chain, in panels of [`NR`] positions.
    fn pack_patches(plan: &Plan, x: &[f32], positions: &Range<usize>, steps: &Range<usize>, out: &mut [f32]) {
        let (depth, plane, kc) = (plan.depth(), plan.input_positions(), steps.len());
        for (panel, out) in out.chunks_exact_mut(kc * NR).enumerate() {
            let start = positions.start + panel * NR;
            let count = NR.min(positions.end - start);
            let mut rows = out.as_chunks_mut::<NR>().0.iter_mut();
            let mut step = steps.start;
            while step < steps.end {
                // All channels of one kernel tap read the same places of their planes.
                let (tap, first) = (step / depth, step % depth);
                let channels = (depth - first).min(steps.end - step);
                let sources = tap_sources(plan, tap, start, count);
                for (channel, row) in (first..first + channels).zip(&mut rows) {
                    sources.read(&x[channel * plane..][..plane], row);
                }
                step += channels;
            }
        }
    }
}

/// Where the positions of a panel read one tap from, within a (padded) plane.
enum Sources {
    /// Neighbouring elements from here on.
    Run(usize),
    /// So many neighbouring elements from here on, and the others from there on.
    Two(usize, usize, usize),
    /// One place for each of so many.
    Each([usize; NR], usize),
}

impl Sources {
    /// Reads a panel's row from one channel's plane.
    #[inline(always)]
    fn read(&self, x: &[f32], row: &mut [f32; NR]) {
        match self {
            Sources::Run(at) => *row = *x[*at..].first_chunk().expect("a run lies inside its plane"),
            Sources::Two(at, n, next) => {
                // Both runs whole where they lie inside the plane: a choice of lanes is sooner done than short copies.
                let second = next.checked_sub(*n).and_then(|begin| x[begin..].first_chunk::<NR>());
                if let (Some(one), Some(two)) = (x[*at..].first_chunk::<NR>(), second) {
                    *row = core::array::from_fn(|l| if l < *n { one[l] } else { two[l] });
                } else {
                    row[..*n].copy_from_slice(&x[*at..at + n]);
                    row[*n..].copy_from_slice(&x[*next..next + NR - n]);
                }
            }
            Sources::Each(at, n) => row.iter_mut().zip(&at[..*n]).for_each(|(o, &at)| *o = x[at]),
        }
    }
}

/// The places that `count` output positions from `start` on see through a kernel tap.
fn tap_sources(plan: &Plan, tap: usize, start: usize, count: usize) -> Sources {
    let [_, oh, ow] = plan.output;
    let [_, ih, iw] = plan.input;
    let [_, kh, kw] = plan.kernel;
    let tap = [tap / (kh * kw), tap / kw % kh, tap % kw];
    let along = |o: usize, i: usize| o * plan.stride[i] + tap[i] * plan.dilation[i];
    let (mut w, mut h, mut d) = (start % ow, start / ow % oh, start / ow / oh);
    let mut places = [0; NR];
    for place in places.iter_mut().take(count) {
        *place = (along(d, 0) * ih + along(h, 1)) * iw + along(w, 2);
        w += 1;
        if w == ow {
            (w, h) = (0, h + 1);
            if h == oh {
                (h, d) = (0, d + 1);
            }
        }
    }
    if count < NR {
        return Sources::Each(places, count);
    }
    let mut breaks = (1..NR).filter(|&i| places[i] != places[i - 1] + 1);
    match (breaks.next(), breaks.next()) {
        (None, _) => Sources::Run(places[0]),
        (Some(at), None) => Sources::Two(places[0], at, places[at]),
        _ => Sources::Each(places, count),
    }
}

/// Each output channel sees one input channel: no patches, the planes themselves are read.
fn depthwise(isa: Isa, plan: &Plan, x: &[f32], w: &[f32], y: &mut [f32]) {
    let (plane, positions) = (plan.input_positions(), plan.positions());
    let per_group = plan.outputs / plan.group;
    let [_, ih, iw] = plan.input;
    let [_, kh, kw] = plan.kernel;
    // How far from the first one each tap lies.
    let offset = |t: usize| {
        let tap = [t / (kh * kw), t / kw % kh, t % kw];
        (tap[0] * plan.dilation[0] * ih + tap[1] * plan.dilation[1]) * iw + tap[2] * plan.dilation[2]
    };
    let offsets: Vec<usize> = (0..plan.kernel.iter().product()).map(offset).collect();
    for (index, y) in y.chunks_exact_mut(positions).enumerate() {
        let (b, output) = (index / plan.outputs, index % plan.outputs);
        // Planes behind this one may be read, but never count.
        let x = &x[(b * plan.channels + output / per_group) * plane..];
        depthwise_plane(isa, plan, x, &w[output * offsets.len()..][..offsets.len()], &offsets, y);
    }
}

/// Sixteen chains over the taps, for positions `stride` apart.
#[inline(always)]
fn depthwise_lanes(x: &[f32], w: &[f32], offsets: &[usize], stride: usize) -> [f32; NR] {
    let mut acc = [0.0f32; NR];
    for (&w, &at) in w.iter().zip(offsets) {
        let x = &x[at..at + (NR - 1) * stride + 1];
        for l in 0..NR {
            acc[l] = w.mul_add(x[l * stride], acc[l]);
        }
    }
    acc
}

dual_kernel! {
    /// One output plane: for each position a chain over the taps, sixteen neighbouring positions at a time. `x` begins with
    /// the input plane; what lies behind it is read for positions past the end of a line, whose chains are dropped.
    fn depthwise_plane(plan: &Plan, x: &[f32], w: &[f32], offsets: &[usize], y: &mut [f32]) {
        let [_, oh, ow] = plan.output;
        let [_, ih, iw] = plan.input;
        let [sd, sh, sw] = plan.stride;
        let reach = offsets.last().map_or(0, |last| last + (NR - 1) * sw + 1);
        for (line, y) in y.chunks_exact_mut(ow).enumerate() {
            let x = &x[(line / oh * sd * ih + line % oh * sh) * iw..];
            for (chunk, y) in y.chunks_mut(NR).enumerate() {
                let x = &x[chunk * NR * sw..];
                if reach <= x.len() {
                    // Known strides become plain loads.
                    let acc = match sw {
                        1 => depthwise_lanes(x, w, offsets, 1),
                        2 => depthwise_lanes(x, w, offsets, 2),
                        _ => depthwise_lanes(x, w, offsets, sw),
                    };
                    match <&mut [f32; NR]>::try_from(&mut *y) {
                        Ok(whole) => *whole = acc,
                        Err(_) => y.copy_from_slice(&acc[..y.len()]),
                    }
                    continue;
                }
                for (i, y) in y.iter_mut().enumerate() {
                    *y = w.iter().zip(offsets).fold(0.0, |acc, (w, &at)| w.mul_add(x[i * sw + at], acc));
                }
            }
        }
    }
}

/// The definition, for f64 and as the oracle of the tests.
fn convolve_plain(plan: &Plan, x: &[f64], w: &[f64]) -> Vec<f64> {
    naive(plan, x, w, 0.0, |a, b, c| a.mul_add(b, c))
}

fn naive<T: Copy>(plan: &Plan, x: &[T], w: &[T], zero: T, fma: impl Fn(T, T, T) -> T) -> Vec<T> {
    let (depth, plane, positions) = (plan.depth(), plan.input_positions(), plan.positions());
    let taps = plan.kernel.iter().product::<usize>();
    let [_, kh, kw] = plan.kernel;
    let [_, oh, ow] = plan.output;
    let at = |index: usize| {
        let (image, position) = (index / positions, index % positions);
        let (b, output) = (image / plan.outputs, image % plan.outputs);
        let group = output / (plan.outputs / plan.group);
        let origin = [position / (oh * ow), position / ow % oh, position % ow];
        let mut acc = zero;
        for step in 0..taps * depth {
            let (tap, channel) = (step / depth, step % depth);
            let tap3 = [tap / (kh * kw), tap / kw % kh, tap % kw];
            let mut flat = 0;
            let mut inside = true;
            for i in 0..3 {
                let p = (origin[i] * plan.stride[i] + tap3[i] * plan.dilation[i]).wrapping_sub(plan.pad[i]);
                inside &= p < plan.input[i];
                flat = flat * plan.input[i] + if inside { p } else { 0 };
            }
            let v = if inside { x[(b * plan.channels + group * depth + channel) * plane + flat] } else { zero };
            acc = fma(w[(output * depth + channel) * taps + tap], v, acc);
        }
        acc
    };
    (0..plan.batch * plan.outputs * positions).map(at).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(120))]
        #[test]
        fn every_path_gives_the_bits_of_the_definition(
            (batch, group, depth, per_group) in (1usize..3, 1usize..4, 1usize..4, 1usize..9),
            spatial in proptest::collection::vec((0usize..14, 1usize..5, 1usize..4, 0usize..3, 0usize..3, 1usize..3), 1..=3),
            seed in any::<u32>(),
        ) {
            type Axis = (usize, usize, usize, usize, usize, usize);
            let pick = |f: fn(&Axis) -> usize| spatial.iter().map(f).collect::<Vec<_>>();
            let geometry = Geometry {
                strides: pick(|s| s.2), pads_before: pick(|s| s.3), pads_after: pick(|s| s.4), dilations: pick(|s| s.5), group,
            };
            let mut x_shape = vec![batch, group * depth];
            x_shape.extend(pick(|s| s.0));
            let mut w_shape = vec![group * per_group, depth];
            w_shape.extend(pick(|s| s.1));
            let Ok(plan) = Plan::new(&geometry, &x_shape, &w_shape) else { return Ok(()) };
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match state >> 24 {
                    0 => f32::INFINITY,
                    1 => -0.0,
                    2 => 1e-41,
                    _ => (state >> 8) as f32 / 8_388_608.0 - 1.0,
                }
            };
            let x: Vec<f32> = (0..x_shape.iter().product()).map(|_| next()).collect();
            let w: Vec<f32> = (0..w_shape.iter().product()).map(|_| next()).collect();
            let bits = |v: Vec<f32>| v.iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<u32>>();
            let want = bits(naive(&plan, &x, &w, 0.0, |a: f32, b, c| a.mul_add(b, c)));
            prop_assert_eq!(bits(convolve(&plan, &x, &prepare_weights(&plan, &w))), want);
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let geometry = |rank: usize, group| Geometry {
            strides: vec![1; rank],
            pads_before: vec![0; rank],
            pads_after: vec![0; rank],
            dilations: vec![1; rank],
            group,
        };
        let refused = |g: Geometry, x: &[usize], w: &[usize]| Plan::new(&g, x, w).unwrap_err();
        assert!(refused(geometry(2, 1), &[1, 3, 4, 4], &[8, 2, 3, 3]).contains("do not fit weights"));
        assert!(refused(geometry(2, 1), &[1, 3, 2, 4], &[8, 3, 3, 3]).contains("does not fit into 2"));
        assert!(refused(geometry(2, 2), &[1, 3, 4, 4], &[8, 1, 3, 3]).contains("groups"));
        assert!(refused(geometry(2, 1), &[1, 3, 4], &[8, 3, 3]).contains("entries"));
        assert!(refused(geometry(0, 1), &[1, 3], &[8, 3]).contains("spatial"));
        let mut zero = geometry(1, 1);
        zero.strides = vec![0];
        assert!(refused(zero, &[1, 1, 4], &[1, 1, 3]).contains("positive"));
    }
}
