//! Matrix products of 8-bit integers with exact sums.

use super::bytes::{Bytes, bytes_of, zero_points};
use super::conv::{check_length, check_operand};
use super::isa::{Isa, integer_kernel};
use super::product::{Left, NR, Right, multiply};
use super::requantize::{Follower, Rule, into_data};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::broadcast::Loops;
use crate::ops::matmul::{Sizes, sizes};
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Data, Tensor};

/// The sums of (a - zero a) (b - zero b) as i32 for a [.., m, k] and b [.., k, n], the other dimensions broadcast.
///
/// Operands: a and b, each i8 or u8 and followed by its zero point of the same type: one element, or for a one for each of
/// its rows, for b one for each of its columns.
pub static INTEGER_MATMUL: OpSpec = OpSpec { code: 0x0e02, name: "IntegerMatMul", infer, work, run };

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [a, a_zero, b, b_zero] = operands(types)?;
    let Sizes { m, k, n, mut batch } = sizes(&a.shape, &b.shape)?;
    check_operand("a", a, a_zero, m)?;
    check_operand("b", b, b_zero, n)?;
    check_length(k)?;
    batch.extend([m, n]);
    Ok(vec![TensorType::new(DType::I32, batch)])
}

fn work(_: &Attributes, types: &[&TensorType], results: &[TensorType]) -> Work {
    let k = types[0].shape.last().copied().unwrap_or(1);
    // Both operands may be packed beside the originals, in whole panels.
    let packed = |ty: &TensorType| (ty.elements() as u64).saturating_mul(2);
    let panels = (k as u64).saturating_mul(4 * NR as u64).saturating_add(1 << 16);
    let scratch_bytes = packed(types[0]).saturating_add(packed(types[2])).saturating_add(panels);
    Work { scratch_bytes, ..Work::macs(&[results[0].elements(), k]) }
}

fn run(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, a_zero, b, b_zero] = operands(inputs)?;
    let Sizes { m, k, n, batch } = sizes(a.shape(), b.shape())?;
    let (left, right) = (bytes_of(a.data())?, bytes_of(b.data())?);
    let (left_zeros, zero) = (zero_points(a_zero, m)?, bytes_of(b_zero.data())?);
    let zeros: Vec<u8> = (0..zero.values.len()).map(|at| zero.as_u8(at)).collect();
    let mut sums = vec![0; batch.iter().product::<usize>() * m * n];
    let loops = Loops::new(&batch, &[&a.shape()[..a.rank() - 2], &b.shape()[..b.rank() - 2]]);
    let mut out = sums.chunks_exact_mut((m * n).max(1));
    let (isa, mut packed) = (Isa::detect(), None::<(usize, Right)>);
    loops.rows(|[a_at, b_at]| {
        for i in 0..loops.inner() {
            let Some(out) = out.next() else { return };
            let (ia, ib) = (a_at + i * loops.inner_stride(0), b_at + i * loops.inner_stride(1));
            if packed.as_ref().is_none_or(|(index, _)| *index != ib) {
                let right = Bytes { values: &right.values[ib * k * n..][..k * n], ..right };
                packed = Some((ib, Right::new(isa, k, n, right)));
            }
            if let Some((_, right)) = &packed {
                let left = Left::rows(isa, m, k, Bytes { values: &left.values[ia * m * k..][..m * k], ..left });
                product(isa, &left, &left_zeros, right, &Terms::new(right, &zeros), &mut Target::Sums(out));
            }
        }
    });
    let mut shape = batch;
    shape.extend([m, n]);
    Ok(vec![tensor(&shape, Data::I32(sums))?])
}

/// What the columns add to the plain sums: for each the factor of the row's sum, and that of the row's zero point.
#[derive(Clone, Debug)]
struct Terms {
    of_sum: Vec<i32>,
    of_zero: Vec<i32>,
    /// The factor of the row's sum, where it is one.
    one_of_sum: Option<i32>,
}

impl Terms {
    fn new(right: &Right, zeros: &[u8]) -> Terms {
        let zero = |column: usize| i32::from(zeros[if zeros.len() == 1 { 0 } else { column }]);
        let k = right.k as i32;
        Terms {
            of_sum: (0..right.n).map(|c| -zero(c)).collect(),
            of_zero: (0..right.n).map(|c| k * zero(c) - right.sums[c]).collect(),
            one_of_sum: (zeros.len() == 1).then(|| -zero(0)),
        }
    }
}

integer_kernel! {
    /// Adds the terms of zero points to sums.
    fn correct(sums: &mut [i32], sum: i32, of_sum: &[i32], zero: i32, of_zero: &[i32]) {
        for ((s, u), v) in sums.iter_mut().zip(of_sum).zip(of_zero) {
            *s = s.wrapping_add(sum.wrapping_mul(*u)).wrapping_add(zero.wrapping_mul(*v));
        }
    }
}

enum Target<'a> {
    Sums(&'a mut [i32]),
    Stored(&'a Rule, &'a mut [u8]),
}

fn product(isa: Isa, left: &Left, left_zeros: &[i32], right: &Right, terms: &Terms, target: &mut Target<'_>) {
    let n = right.n;
    multiply(isa, left, right.columns(), &mut |rows, columns, tile| {
        for (row, sums) in rows.zip(tile.chunks_exact_mut(NR)) {
            let (sums, at) = (&mut sums[..columns.len()], row * n + columns.start..row * n + columns.end);
            let zero = left_zeros[if left_zeros.len() == 1 { 0 } else { row }];
            match (&mut *target, terms.one_of_sum) {
                // What is the same for all columns is added where sums are stored, the zero point's terms are part of the rule.
                (Target::Stored(rule, out), Some(of_sum)) => {
                    rule.columns.row(isa, sums, left.sums[row].wrapping_mul(of_sum), columns.clone(), &mut out[at]);
                }
                (target, _) => {
                    let (of_sum, of_zero) = (&terms.of_sum[columns.clone()], &terms.of_zero[columns.clone()]);
                    match target {
                        Target::Sums(out) => {
                            correct(isa, sums, left.sums[row], of_sum, zero, of_zero);
                            out[at].copy_from_slice(sums);
                        }
                        Target::Stored(rule, out) => {
                            correct(isa, sums, left.sums[row], of_sum, 0, of_zero);
                            rule.columns.row(isa, sums, 0, columns.clone(), &mut out[at]);
                        }
                    }
                }
            }
        }
    });
}

/// A product by a constant matrix, packed, and what becomes of its sums.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    right: Right,
    terms: Terms,
    zero: i32,
    rule: Option<Rule>,
}

impl Prepared {
    /// Packs a right operand of rank 2; nothing when the operands are not of the kind that is prepared.
    pub(crate) fn new(
        a_zero: &Tensor,
        b: &Tensor,
        b_zero: &Tensor,
        follower: Option<Follower<'_>>,
    ) -> OpResult<Option<Prepared>> {
        let ([k, n], 1) = (b.shape(), a_zero.len()) else { return Ok(None) };
        let zero = bytes_of(b_zero.data())?;
        let zeros: Vec<u8> = (0..zero.values.len()).map(|at| zero.as_u8(at)).collect();
        let right = Right::new(Isa::detect(), *k, *n, bytes_of(b.data())?);
        let terms = Terms::new(&right, &zeros);
        let zero = i32::from(bytes_of(a_zero.data())?.as_i8(0));
        let constants: Vec<i32> = terms.of_zero.iter().map(|of_zero| zero.wrapping_mul(*of_zero)).collect();
        let rule = follower.map(|follower| Rule::new(follower, &constants)).transpose()?;
        Ok(Some(Prepared { terms, right, zero, rule }))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.right.bytes() + self.right.n * 8 + self.rule.as_ref().map_or(0, Rule::bytes)
    }

    /// The product of one left operand.
    pub(crate) fn run(&self, a: &Tensor) -> OpResult<Tensor> {
        let bytes = bytes_of(a.data())?;
        let [rows @ .., k] = a.shape() else { return Err("the left operand must have rank 2 or more".into()) };
        if *k != self.right.k {
            return Err("inner dimensions differ".into());
        }
        let (isa, m, n) = (Isa::detect(), rows.iter().product::<usize>(), self.right.n);
        let left = Left::rows(isa, m, *k, bytes);
        let product = |mut target| product(isa, &left, &[self.zero], &self.right, &self.terms, &mut target);
        let data = match &self.rule {
            None => {
                let mut sums = vec![0; m * n];
                product(Target::Sums(&mut sums));
                Data::I32(sums)
            }
            Some(rule) => {
                let mut stored = vec![0; m * n];
                product(Target::Stored(rule, &mut stored));
                rule.look_up(isa, &mut stored);
                into_data(rule.dtype, stored)?
            }
        };
        tensor(&[rows, &[n]].concat(), data)
    }
}
