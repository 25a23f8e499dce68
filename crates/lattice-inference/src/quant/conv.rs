//! Convolutions of 8-bit integers with exact sums.

use super::bytes::{bytes_of, zero_points};
use super::depthwise::Depthwise;
use super::isa::Isa;
use super::patches::Layout;
use super::product::{Aligned, Left, MR, NR, multiply};
use super::requantize::{Follower, Rule, into_data};
use super::scale::{requantize_row, requantize_tile};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::conv::{Geometry, Plan};
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Data, Tensor};

/// The sums of (x - zero x) (w - zero w) as i32; padding stands for zero x.
///
/// Operands: x [batch, channels, spatial..] and w [outputs, channels / group, kernel..], each i8 or u8 and followed by its
/// zero point of the same type: one element, or for w one for each output. Attributes as those of a float convolution.
pub static INTEGER_CONV: OpSpec = OpSpec { code: 0x0e01, name: "IntegerConv", infer, work, run };

/// The longest sum of products of two 9-bit differences that an i32 holds.
pub(crate) const K_MAX: usize = i32::MAX as usize / (255 * 255);

/// Checks an operand and its zero point: their types, and one zero point or `many`.
pub(super) fn check_operand(what: &str, x: &TensorType, zero: &TensorType, many: usize) -> OpResult<()> {
    if !matches!(x.dtype, DType::I8 | DType::U8) || zero.dtype != x.dtype {
        return Err(format!(
            "{what} and its zero point must be both i8 or both u8, got {} and {}",
            x.dtype, zero.dtype
        ));
    }
    let fits = zero.shape.len() <= 1 && (zero.elements() == 1 || zero.elements() == many);
    if fits { Ok(()) } else { Err(format!("zero points {:?} of {what} are neither one nor {many}", zero.shape)) }
}

/// Refuses sums that could leave i32.
pub(super) fn check_length(k: usize) -> OpResult<()> {
    if k <= K_MAX { Ok(()) } else { Err(format!("sums of {k} products may leave i32; at most {K_MAX} are supported")) }
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x, x_zero, w, w_zero] = operands(types)?;
    check_operand("x", x, x_zero, 1)?;
    let plan = Plan::new(&Geometry::read(attributes)?, &x.shape, &w.shape)?;
    check_operand("w", w, w_zero, plan.outputs)?;
    check_padded(&plan)?;
    check_length(w.shape[1..].iter().product())?;
    Ok(vec![TensorType::new(DType::I32, plan.shape)])
}

/// Most places of a padded channel: kernels write it out.
const PADDED_MAX: usize = 1 << 28;

/// Errors when a stride, dilation or padding, which a file may choose as it likes, makes a channel too large.
fn check_padded(plan: &Plan) -> OpResult<()> {
    let places = (0..3).fold(1usize, |all, i| all.saturating_mul(plan.reach(i)));
    if places <= PADDED_MAX {
        return Ok(());
    }
    Err(format!("with its padding a channel has {places} places; at most {PADDED_MAX} are supported"))
}

fn work(attributes: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let w = types[2];
    let per_output: usize = w.shape[1..].iter().product();
    let slow = if w.shape[1] == 1 { 4 } else { 1 };
    let plan = Geometry::read(attributes).and_then(|geometry| Plan::new(&geometry, &types[0].shape, &w.shape));
    let scratch_bytes = plan.map_or(0, |plan| Layout::new(&plan).scratch_bytes().max(Depthwise::scratch_bytes(&plan)));
    Work { scratch_bytes, ..Work::macs(&[results[0].elements(), per_output, slow]) }
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, x_zero, w, w_zero] = operands(inputs)?;
    let prepared = Prepared::new(attributes, x.shape(), x_zero, w, w_zero, None)?;
    Ok(vec![prepared.run(x, &mut Scratch::default())?])
}

/// A convolution with its weights packed, and what becomes of its sums.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    plan: Plan,
    weights: Weights,
    x_type: DType,
    /// The zero point of x as it is stored.
    x_zero: u8,
    end: End,
}

#[derive(Clone, Debug)]
enum Weights {
    Depthwise(Depthwise),
    Panels(Panels),
}

/// The weights of all groups as left operands.
#[derive(Clone, Debug)]
struct Panels {
    layout: Layout,
    groups: Vec<Left>,
    /// One row of ones, where the sums of patches are needed.
    ones: Option<Left>,
    /// For each output the zero point of its weights as i8.
    w_zeros: Vec<i32>,
}

/// What becomes of the sums of stored integers.
#[derive(Clone, Debug)]
enum End {
    /// For each output what its sums lack: -zero x * sum of w + k * zero x * zero w.
    Sums(Vec<i32>),
    /// The same is part of the rule's biases.
    Stored(Rule),
}

/// What the kernels work in; old contents do not matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    planes: Vec<u32>,
    pub(super) padded: Vec<u8>,
    pub(super) sums: Vec<i32>,
}

/// The results of one image.
enum Target<'a> {
    Sums(&'a [i32], &'a mut [i32]),
    Stored(&'a Rule, &'a mut [u8]),
}

impl Prepared {
    /// Packs weights for inputs of shape `x`.
    pub(crate) fn new(
        attributes: &Attributes,
        x: &[usize],
        x_zero: &Tensor,
        w: &Tensor,
        w_zero: &Tensor,
        follower: Option<Follower<'_>>,
    ) -> OpResult<Prepared> {
        let plan = Plan::new(&Geometry::read(attributes)?, x, w.shape())?;
        let values = bytes_of(w.data())?;
        let zero = bytes_of(x_zero.data())?;
        let w_zeros = zero_points(w_zero, plan.outputs)?;
        let k = plan.depth() * plan.kernel.iter().product::<usize>();
        let sum = |output: usize| (output * k..(output + 1) * k).map(|at| i32::from(values.as_i8(at))).sum::<i32>();
        let lack = |output: usize| i32::from(zero.as_u8(0)).wrapping_mul(k as i32 * w_zeros[output] - sum(output));
        let constants: Vec<i32> = (0..plan.outputs).map(lack).collect();
        let end = match follower {
            None => End::Sums(constants),
            Some(follower) => End::Stored(Rule::new(follower, &constants)?),
        };
        let is_symmetric = w_zeros.iter().all(|&zero| zero == 0);
        let depthwise = if is_symmetric {
            Depthwise::new(&plan, zero.as_u8(0), |output, tap| values.as_i8(output * k + tap))
        } else {
            None
        };
        let weights = match depthwise {
            Some(depthwise) => Weights::Depthwise(depthwise),
            None => Weights::Panels(Panels::new(&plan, w_zeros, |output, channel, tap| {
                values.as_i8((output * plan.depth() + channel) * (k / plan.depth()) + tap)
            })),
        };
        Ok(Prepared { plan, weights, x_type: x_zero.dtype(), x_zero: zero.values[0], end })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let end = match &self.end {
            End::Sums(constants) => constants.len() * 4,
            End::Stored(rule) => rule.bytes(),
        };
        end + match &self.weights {
            Weights::Depthwise(depthwise) => depthwise.bytes(),
            Weights::Panels(panels) => panels.groups.iter().map(Left::bytes).sum::<usize>() + panels.w_zeros.len() * 4,
        }
    }

    /// The sums, or what the rule makes of them.
    pub(crate) fn run(&self, x: &Tensor, scratch: &mut Scratch) -> OpResult<Tensor> {
        let (isa, plan) = (Isa::detect(), &self.plan);
        let bytes = bytes_of(x.data())?;
        let (image, results) = (plan.channels * plan.input_positions(), plan.outputs * plan.positions());
        if x.dtype() != self.x_type || bytes.values.len() != plan.batch * image {
            return Err("the input does not have the type and shape it was prepared for".into());
        }
        let count = plan.batch * results;
        let (mut sums, mut stored) = match &self.end {
            End::Sums(_) => (vec![0; count], Vec::new()),
            End::Stored(_) => (Vec::new(), vec![0; count]),
        };
        for index in (0..plan.batch).filter(|_| count > 0) {
            let at = index * results..(index + 1) * results;
            let mut target = match &self.end {
                End::Sums(constants) => Target::Sums(constants, &mut sums[at]),
                End::Stored(rule) => Target::Stored(rule, &mut stored[at]),
            };
            let x = &bytes.values[index * image..(index + 1) * image];
            match &self.weights {
                Weights::Depthwise(depthwise) => {
                    let positions = plan.positions();
                    depthwise.run(isa, x, bytes.flip, scratch, |output, first, sums| {
                        target.row(isa, output, output * positions + first, sums);
                    });
                }
                Weights::Panels(panels) => {
                    let group = plan.depth() * plan.input_positions();
                    for g in 0..plan.group {
                        let x = &x[g * group..(g + 1) * group];
                        let planes = &mut scratch.planes;
                        panels.layout.planes(isa, x, bytes.flip, self.x_zero, planes);
                        panels.group(isa, g, plan.positions(), planes, &mut target);
                    }
                }
            }
        }
        let data = match &self.end {
            End::Sums(_) => Data::I32(sums),
            End::Stored(rule) => into_data(rule.dtype, stored)?,
        };
        tensor(&plan.shape, data)
    }
}

impl Target<'_> {
    /// Plain sums of neighbouring places of one output, which lie from `at` on.
    fn row(&mut self, isa: Isa, output: usize, at: usize, sums: &[i32]) {
        match self {
            Target::Sums(constants, out) => {
                let constant = constants[output];
                out[at..].iter_mut().zip(sums).for_each(|(out, sum)| *out = sum.wrapping_add(constant));
            }
            Target::Stored(rule, out) => {
                let out = &mut out[at..at + sums.len()];
                requantize_row(isa, sums, rule.columns.at(output), out);
                rule.look_up(isa, out);
            }
        }
    }
}

impl Panels {
    fn new(plan: &Plan, w_zeros: Vec<i32>, at: impl Fn(usize, usize, usize) -> i8) -> Panels {
        let (layout, rows) = (Layout::new(plan), plan.outputs / plan.group);
        let left = |g: usize| layout.left(rows, |row, channel, tap| at(g * rows + row, channel, tap));
        let groups = (0..plan.group).map(left).collect();
        let ones = w_zeros.iter().any(|&z| z != 0).then(|| layout.left(1, |_, _, _| 1));
        Panels { layout, groups, ones, w_zeros }
    }

    fn group(&self, isa: Isa, g: usize, positions: usize, words: &[u32], target: &mut Target<'_>) {
        let (left, columns) = (&self.groups[g], self.layout.columns(words));
        let mut patch_sums = Vec::new();
        if let Some(ones) = &self.ones {
            multiply(isa, ones, columns, &mut |_, places, tile| patch_sums.extend_from_slice(&tile[..places.len()]));
        }
        // Neighbouring outputs among the places of a panel: first place, first output, how many.
        let mut runs: Vec<[usize; 3]> = Vec::new();
        // A run is copied by whole panels, which reach behind the last row.
        let Aligned(bytes) = &mut Aligned([0; (MR + 1) * NR]);
        multiply(isa, left, columns, &mut |rows, places, tile| {
            if rows.start == 0 {
                runs.clear();
                self.layout.outputs(places.clone(), |from, to, count| runs.push([from, to, count]));
            }
            let outputs = g * left.m + rows.start..g * left.m + rows.end;
            if self.ones.is_some() {
                for (output, sums) in outputs.clone().zip(tile.as_chunks_mut::<NR>().0) {
                    let (zero, patches) = (self.w_zeros[output], &patch_sums[places.clone()]);
                    sums.iter_mut().zip(patches).for_each(|(s, p)| *s = s.wrapping_sub(zero.wrapping_mul(*p)));
                }
            }
            match target {
                Target::Sums(constants, out) => {
                    for (output, sums) in outputs.zip(tile.as_chunks::<NR>().0) {
                        for &[from, to, count] in &runs {
                            let out = out[output * positions + to..][..count].iter_mut();
                            out.zip(&sums[from..]).for_each(|(o, s)| *o = s.wrapping_add(constants[output]));
                        }
                    }
                }
                Target::Stored(rule, out) => {
                    if let Some(rows) = bytes.first_chunk_mut() {
                        requantize_tile(isa, tile, rule.columns.some(outputs.clone()), rows);
                        rule.look_up(isa, &mut rows[..outputs.len() * NR]);
                    }
                    for (row, output) in outputs.enumerate() {
                        let out = &mut out[output * positions..(output + 1) * positions];
                        for &[from, to, count] in &runs {
                            copy_run(&bytes[row * NR + from..], &mut out[to..], count);
                        }
                    }
                }
            }
        });
    }
}

/// Copies at least `count` bytes, a whole panel's where there is room: what is too much, later runs overwrite, because they
/// lie behind.
fn copy_run(bytes: &[u8], out: &mut [u8], count: usize) {
    match (bytes.first_chunk::<NR>(), out.first_chunk_mut::<NR>()) {
        (Some(bytes), Some(out)) => *out = *bytes,
        _ => out[..count].copy_from_slice(&bytes[..count]),
    }
}
