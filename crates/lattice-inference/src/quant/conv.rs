//! Convolutions of 8-bit integers with exact sums.

use super::bytes::{bytes_of, zero_points};
use super::isa::Isa;
use super::patches::Layout;
use super::product::{Left, NR, multiply};
use super::requantize::{Rule, into_data};
use super::scale::requantize_row;
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
    check_length(w.shape[1..].iter().product())?;
    Ok(vec![TensorType::new(DType::I32, plan.shape)])
}

fn work(attributes: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let w = types[2];
    let per_output: usize = w.shape[1..].iter().product();
    let slow = if w.shape[1] == 1 { 4 } else { 1 };
    let plan = Geometry::read(attributes).and_then(|geometry| Plan::new(&geometry, &types[0].shape, &w.shape));
    let scratch_bytes = plan.map_or(0, |plan| Layout::new(&plan).scratch_bytes());
    Work { scratch_bytes, ..Work::macs(&[results[0].elements(), per_output, slow]) }
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, x_zero, w, w_zero] = operands(inputs)?;
    let prepared = Prepared::new(attributes, x.shape(), x_zero, w, w_zero, None)?;
    Ok(vec![prepared.run(x)?])
}

/// A convolution with its weights packed, and what becomes of its sums.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    plan: Plan,
    layout: Layout,
    groups: Vec<Left>,
    /// One row of ones, where the sums of patches are needed.
    ones: Option<Left>,
    x_type: DType,
    /// The zero point of x as it is stored.
    x_zero: u8,
    /// For each output the zero point of its weights as i8.
    w_zeros: Vec<i32>,
    /// For each output what its sums lack: -zero x * sum of w + k * zero x * zero w.
    constants: Vec<i32>,
    rule: Option<Rule>,
}

impl Prepared {
    /// Packs weights for inputs of shape `x`.
    pub(crate) fn new(
        attributes: &Attributes,
        x: &[usize],
        x_zero: &Tensor,
        w: &Tensor,
        w_zero: &Tensor,
        rule: Option<Rule>,
    ) -> OpResult<Prepared> {
        let plan = Plan::new(&Geometry::read(attributes)?, x, w.shape())?;
        let layout = Layout::new(&plan);
        let weights = bytes_of(w.data())?;
        let (depth, rows) = (plan.depth(), plan.outputs / plan.group);
        let taps = plan.kernel.iter().product::<usize>();
        let groups: Vec<Left> = (0..plan.group)
            .map(|g| {
                layout.left(rows, |row, channel, tap| weights.as_i8(((g * rows + row) * depth + channel) * taps + tap))
            })
            .collect();
        let zero = bytes_of(x_zero.data())?;
        let w_zeros = zero_points(w_zero, plan.outputs)?;
        let ones = w_zeros.iter().any(|&z| z != 0).then(|| layout.left(1, |_, _, _| 1));
        let x_zero_u8 = i32::from(zero.as_u8(0));
        let sums = groups.iter().flat_map(|left| &left.sums);
        let k = (depth * taps) as i32;
        let constants = sums.zip(&w_zeros).map(|(sum, zero)| x_zero_u8.wrapping_mul(k * zero - sum)).collect();
        let (x_type, x_zero) = (x_zero.dtype(), zero.values[0]);
        Ok(Prepared { plan, layout, groups, ones, x_type, x_zero, w_zeros, constants, rule })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.groups.iter().map(Left::bytes).sum::<usize>() + self.constants.len() * 8
    }

    /// The sums, or what the rule makes of them.
    pub(crate) fn run(&self, x: &Tensor) -> OpResult<Tensor> {
        let (isa, plan) = (Isa::detect(), &self.plan);
        let bytes = bytes_of(x.data())?;
        let (group, positions) = (plan.depth() * plan.input_positions(), plan.positions());
        if x.dtype() != self.x_type || bytes.values.len() != plan.batch * plan.group * group {
            return Err("the input does not have the type and shape it was prepared for".into());
        }
        let count = plan.batch * plan.outputs * positions;
        let (mut sums, mut stored) = match &self.rule {
            None => (vec![0; count], Vec::new()),
            Some(_) => (Vec::new(), vec![0; count]),
        };
        let mut planes = Vec::new();
        let images = bytes.values.chunks_exact(group.max(1)).enumerate();
        for (index, x) in images.filter(|_| count > 0) {
            let g = index % plan.group;
            self.layout.planes(isa, x, bytes.flip, self.x_zero, &mut planes);
            let rows = plan.outputs / plan.group;
            let at = index * rows * positions..(index + 1) * rows * positions;
            let target = match &self.rule {
                None => Target::Sums(&mut sums[at]),
                Some(rule) => Target::Stored(rule, &mut stored[at]),
            };
            self.group(isa, g, &planes, target);
        }
        let data = match &self.rule {
            None => Data::I32(sums),
            Some(rule) => into_data(rule.dtype, stored)?,
        };
        tensor(&plan.shape, data)
    }

    fn group(&self, isa: Isa, g: usize, words: &[u32], mut target: Target<'_>) {
        let (positions, rows) = (self.plan.positions(), self.plan.outputs / self.plan.group);
        let columns = self.layout.columns(words);
        let mut patch_sums = Vec::new();
        if let Some(ones) = &self.ones {
            multiply(isa, ones, columns, &mut |_, places, tile| patch_sums.extend_from_slice(&tile[..places.len()]));
        }
        multiply(isa, &self.groups[g], columns, &mut |outputs, places, tile| {
            for (row, sums) in outputs.zip(tile.as_chunks_mut::<NR>().0) {
                let output = g * rows + row;
                let (zero, constant) = (self.w_zeros[output], self.constants[output]);
                if zero != 0 {
                    let patches = &patch_sums[places.clone()];
                    sums.iter_mut().zip(patches).for_each(|(s, p)| *s = s.wrapping_sub(zero.wrapping_mul(*p)));
                }
                let out = row * positions;
                match &mut target {
                    Target::Sums(sum) => self.layout.outputs(places.clone(), |from, to, count| {
                        let sums = sum[out + to..][..count].iter_mut().zip(&sums[from..]);
                        sums.for_each(|(o, s)| *o = s.wrapping_add(constant));
                    }),
                    Target::Stored(rule, stored) => {
                        let mut bytes = [0; NR];
                        let bias = rule.bias(output).wrapping_add(constant);
                        requantize_row(isa, sums, bias, rule.scale(output), rule.range, &mut bytes);
                        self.layout.outputs(places.clone(), |from, to, count| {
                            stored[out + to..][..count].copy_from_slice(&bytes[from..from + count]);
                        });
                    }
                }
            }
        });
    }
}

/// Where a group's results go.
enum Target<'a> {
    Sums(&'a mut [i32]),
    Stored(&'a Rule, &'a mut [u8]),
}
