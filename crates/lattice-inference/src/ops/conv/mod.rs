//! Convolution over one to three spatial dimensions.
//!
//! Each output is one chain over the kernel positions in row-major order and, inside, over the channels of its group; padding
//! enters the chain as +0. That is a matrix product with the patches as columns (im2col), which are packed block by block
//! and never stored whole.

use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::kernels::gemm::{MR, PackedLeft};
use crate::kernels::{Finish, Isa, Line};
use crate::tensor::{DType, Data, Tensor};

mod depthwise;
mod patches;

/// x [batch, channels, spatial..] and w [outputs, channels / group, kernel..].
///
/// Attributes: strides, pads before, pads after, dilations (each a list over the spatial dimensions), group.
pub static CONV: OpSpec = OpSpec { code: 0x0601, name: "Conv", infer, work, run };

pub(super) const ALL: &[&OpSpec] = &[&CONV];

/// Columns of patches packed at a time at most: what the declared memory counts.
const COLUMNS: usize = 1024;

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

    /// Input places, padding counted, that the windows along one dimension reach. A file may choose strides, dilations and
    /// padding as it likes, so the number saturates.
    pub(crate) fn reach(&self, i: usize) -> usize {
        let windows = self.output[i].saturating_sub(1).saturating_mul(self.stride[i]);
        let taps = self.kernel[i].saturating_sub(1).saturating_mul(self.dilation[i]);
        windows.saturating_add(taps).saturating_add(1)
    }

    /// Columns of an input row that lie in the first `size` places of its padded row.
    fn columns_inside(&self, size: usize) -> usize {
        self.input[2].min(size.saturating_sub(self.pad[2]))
    }

    /// How far behind the first one a kernel tap sees, in a plane that holds its padding.
    fn tap_offset(&self, tap: usize) -> usize {
        let [_, ih, iw] = self.input;
        let [_, kh, kw] = self.kernel;
        let tap = [tap / (kh * kw), tap / kw % kh, tap % kw];
        (tap[0] * self.dilation[0] * ih + tap[1] * self.dilation[1]) * iw + tap[2] * self.dilation[2]
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
    // A block of patches, and the images with their padding written out; one plane of them where each is done by itself.
    let patches = (per_output as u64).saturating_mul(COLUMNS as u64 * 4);
    let plan = Geometry::read(attributes).and_then(|geometry| Plan::new(&geometry, &types[0].shape, &types[1].shape));
    let padded = match plan {
        Ok(plan) if is_direct && types[0].dtype == DType::F32 => depthwise::plane_bytes(&plan),
        _ => padded_bytes(attributes, types),
    };
    Work { scratch_bytes: patches.saturating_add(padded), ..Work::macs(&[outputs_done, per_output, slow]) }
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
        (Data::F32(x), Data::F32(w)) => {
            let mut y = vec![0.0; plan.shape.iter().product()];
            convolve(&plan, x, &prepare_weights(&plan, w), &mut y, &mut Scratch::default(), &mut |_, _| {});
            Data::F32(y)
        }
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

    /// The convolution of one input into `y`; `finish` takes on stretches of one channel each.
    pub(crate) fn run(
        &self,
        x: &Tensor,
        y: &mut [f32],
        scratch: &mut Scratch,
        finish: &mut Finish<'_>,
    ) -> OpResult<()> {
        let values = x.as_f32().ok_or("the input must be f32")?;
        if values.len() != self.plan.batch * self.plan.channels * self.plan.input_positions() {
            return Err("the input does not have the shape it was prepared for".into());
        }
        convolve(&self.plan, values, &self.weights, y, scratch, finish);
        Ok(())
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

/// Memory that convolutions work in.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    patches: Vec<Line>,
    padded: Vec<Line>,
}

impl Scratch {
    /// Lines that are kept for the next run at most: 4 MiB, what the planes and blocks of usual models take.
    const KEPT: usize = 1 << 16;

    /// Frees what is larger than usual: nobody counts it between runs.
    pub(crate) fn free_large(&mut self) {
        for lines in [&mut self.patches, &mut self.padded] {
            if lines.len() > Scratch::KEPT {
                *lines = Vec::new();
            }
        }
    }
}

/// Computes all outputs into `y`; `finish` takes on stretches of one channel each.
fn convolve(plan: &Plan, x: &[f32], weights: &Weights, y: &mut [f32], scratch: &mut Scratch, finish: &mut Finish<'_>) {
    let isa = Isa::detect();
    match weights {
        _ if y.is_empty() => {}
        Weights::Plain(w) => depthwise::depthwise(isa, plan, x, w, y, (&mut scratch.padded, finish)),
        Weights::Packed(groups) => patches::products(isa, plan, x, groups, y, (scratch, finish)),
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
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_path_gives_the_bits_of_the_definition(
            (batch, group, depth, per_group) in (1usize..3, 1usize..4, 1usize..4, 1usize..9),
            spatial in proptest::collection::vec(
                (prop_oneof![0usize..14, 14usize..40], 1usize..6, 1usize..4, 0usize..3, 0usize..3, 1usize..3), 1..=3),
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
            let weights = prepare_weights(&plan, &w);
            let mut scratch = Scratch::default();
            for isa in Isa::all() {
                // Twice, as memory that is used again must not show; the outputs are handed on once each.
                for _ in 0..2 {
                    let mut y = vec![f32::NAN; want.len()];
                    let mut finished = vec![0; want.len()];
                    let mut finish = |at: usize, y: &mut [f32]| {
                        finished[at..at + y.len()].iter_mut().for_each(|count| *count += 1);
                        y.iter_mut().for_each(|v| *v = -*v);
                    };
                    isa.run(|| convolve(&plan, &x, &weights, &mut y, &mut scratch, &mut finish));
                    prop_assert!(finished.iter().all(|&count| count == 1));
                    prop_assert_eq!(&bits(y.iter().map(|v| -v).collect()), &want);
                }
            }
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
