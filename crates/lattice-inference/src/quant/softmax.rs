//! Softmax over rows of 8-bit integers.

use super::bytes::bytes_of;
use super::isa::{Isa, integer_kernel};
use super::requantize::{into_data, put_range, read_range};
use super::scale::{Range, Rounding, Scale, requantize_row};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Tensor};

/// Over the last dimension: e = table[max - x], p = floor(e * 2^30 / sum of e + 1/2), and
/// clamp(zero + floor(p * multiplier / 2^shift + 1/2), low, high).
///
/// Operands: x i8 or u8, and an i32 table of 256 entries from 0 to 2^23, the first of them above 0. Attributes: multiplier (0
/// or more), shift (1 to 62), then those of the result: element type, zero, low, high.
pub(crate) static INTEGER_SOFTMAX: OpSpec =
    OpSpec { code: 0x0e08, name: "IntegerSoftmax", infer, work: |_, types, _| Work::steps(12, types[0]), run };

/// The table's entry for the real 1.
pub(crate) const ONE: i32 = 1 << 23;
/// Bits of a probability.
pub(crate) const PROBABILITY_BITS: u32 = 30;

pub(crate) fn attributes(scale: Scale, dtype: DType, range: Range) -> Attributes {
    put_range(Attributes::none().int(scale.multiplier.into()).int(scale.shift.into()), dtype, range)
}

fn read(attributes: &Attributes) -> OpResult<(Scale, DType, Range)> {
    attributes.expect_len(6)?;
    let (dtype, range) = read_range(attributes, 2)?;
    Ok((Scale::new(attributes.read_int(0)?, attributes.read_int(1)?)?, dtype, range))
}

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x, table] = operands(types)?;
    let is_byte = matches!(x.dtype, DType::I8 | DType::U8);
    if !is_byte || x.shape.is_empty() || table.dtype != DType::I32 || table.shape != [256] {
        return Err(format!("it is not defined for {x} and a table {table}"));
    }
    Ok(vec![TensorType::new(read(attributes)?.1, x.shape.clone())])
}

/// Errors unless a table's entries lie in their range.
pub(crate) fn check_table(table: &Tensor) -> OpResult<()> {
    let entries = table.as_i32().filter(|t| t.len() == 256).ok_or("the table must be 256 i32")?;
    if entries[0] == 0 || entries.iter().any(|e| !(0..=ONE).contains(e)) {
        return Err(format!("the table's entries must lie in 0..={ONE}, the first above 0"));
    }
    Ok(())
}

fn run(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, table] = operands(inputs)?;
    let (scale, dtype, range) = read(attributes)?;
    check_table(table)?;
    let entries = table.as_i32().and_then(|t| t.first_chunk()).ok_or("the table must be 256 i32")?;
    let bytes = bytes_of(x.data())?;
    let columns = x.shape().last().copied().unwrap_or(0).max(1);
    let (isa, rounding) = (Isa::detect(), Rounding::new(0, scale, range));
    let (mut shares, mut y) = (vec![0; columns], vec![0; bytes.values.len()]);
    for (row, y) in bytes.values.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        let top = row.iter().fold(0, |top, v| top.max(v ^ bytes.flip));
        // Below 2^23 times the length of a tensor, so i64 has room; the largest element's entry is above 0.
        let sum: i64 = row.iter().map(|v| i64::from(entries[usize::from(top - (v ^ bytes.flip))])).sum();
        probabilities(isa, row, bytes.flip, top, entries, sum, &mut shares);
        requantize_row(isa, &shares, &rounding, y);
    }
    Ok(vec![tensor(x.shape(), into_data(dtype, y)?)?])
}

integer_kernel! {
    /// floor((e * 2^30 + sum / 2) / sum) for each element of a row whose largest is `top`.
    fn probabilities(x: &[u8], flip: u8, top: u8, entries: &[i32; 256], sum: i64, shares: &mut [i32]) {
        for (x, share) in x.iter().zip(shares.iter_mut()) {
            let entry = i64::from(entries[usize::from(top.wrapping_sub(x ^ flip))]);
            let dividend = (entry << PROBABILITY_BITS).wrapping_add(sum >> 1);
            // The quotient is at most 2^30, so floats miss it by one at most, and the remainder tells: no integer division.
            // SAFETY: neither operand is NaN or negative, the divisor is above 0.
            let guess = unsafe { (dividend as f64 / sum as f64).to_int_unchecked::<i64>() };
            let rest = dividend.wrapping_sub(guess.wrapping_mul(sum));
            *share = guess.wrapping_add(i64::from(rest >= sum)).wrapping_sub(i64::from(rest < 0)) as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::quant::isa::forced;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_form_is_the_definition(
            x in proptest::collection::vec(any::<i8>(), 1..200),
            entries in proptest::collection::vec(prop_oneof![Just(0), Just(ONE), 0..=ONE], 256),
            first in prop_oneof![Just(1), Just(ONE), 1..=ONE],
            (multiplier, shift) in (0..=i32::MAX, 20u32..=62),
        ) {
            let entries: Vec<i32> = core::iter::once(first).chain(entries.into_iter().skip(1)).collect();
            let range = Range { zero: -128, low: -128, high: 127 };
            let scale = Scale { multiplier, shift };
            let top = i32::from(*x.iter().max().unwrap());
            let entry = |v: &i8| i128::from(entries[(top - i32::from(*v)) as usize]);
            let sum: i128 = x.iter().map(entry).sum();
            let want: Vec<i8> = x.iter().map(|v| {
                let share = ((entry(v) << 30) + sum / 2) / sum;
                let scaled = (2 * share * i128::from(multiplier) + (1i128 << shift)).div_euclid(2i128 << shift);
                (scaled - 128).clamp(-128, 127) as i8
            }).collect();
            let operands = [
                Tensor::from_i8([x.len()], x.clone()).unwrap(), Tensor::from_i32([256], entries.clone()).unwrap(),
            ];
            let attributes = attributes(scale, DType::I8, range);
            for (_, got) in forced::each(|| (INTEGER_SOFTMAX.run)(&attributes, &[&operands[0], &operands[1]]).unwrap()) {
                prop_assert_eq!(got[0].data(), &crate::tensor::Data::I8(want.clone()));
            }
        }
    }
}
