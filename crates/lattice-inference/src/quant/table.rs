//! Functions of one 8-bit integer as tables.

use super::bytes::bytes_of;
use super::isa::Isa;
use super::requantize::into_data;
use crate::cost::Work;
use crate::graph::TensorType;
use crate::ops::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::tensor::{DType, Tensor};

/// `table[x]` for x i8 or u8 and a table of 256 entries, i8 or u8; entry i belongs to the stored byte i, so an i8 of -1 reads
/// entry 255.
pub(crate) static TABLE: OpSpec =
    OpSpec { code: 0x0e04, name: "Table", infer, work: |_, _, results| Work::steps(2, &results[0]), run };

fn infer(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [x, table] = operands(types)?;
    let is_byte = |ty: &TensorType| matches!(ty.dtype, DType::I8 | DType::U8);
    if !is_byte(x) || !is_byte(table) || table.shape != [256] {
        return Err(format!("it is not defined for {x} and a table {table}"));
    }
    Ok(vec![TensorType::new(table.dtype, x.shape.clone())])
}

fn run(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x, table] = operands(inputs)?;
    Ok(vec![run_table(x, table)?])
}

/// [`TABLE`] of one operand.
pub(crate) fn run_table(x: &Tensor, table: &Tensor) -> OpResult<Tensor> {
    let mut y = bytes_of(x.data())?.values.to_vec();
    look_up(Isa::detect(), entries(table)?, &mut y);
    tensor(x.shape(), into_data(table.dtype(), y)?)
}

/// The entries of a table as bytes.
pub(crate) fn entries(table: &Tensor) -> OpResult<&[u8; 256]> {
    bytes_of(table.data())?.values.try_into().map_err(|_| "a table has 256 entries".into())
}

/// Every byte becomes its entry.
pub(crate) fn look_up(isa: Isa, entries: &[u8; 256], bytes: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Vnni && is_x86_feature_detected!("avx512vbmi") {
        let (blocks, rest) = bytes.as_chunks_mut::<64>();
        // SAFETY: `Isa::Vnni` is only made after AVX-512 was detected, and VBMI was just now.
        unsafe { x86::look_up(entries, blocks) };
        return each(entries, rest);
    }
    let _ = isa;
    each(entries, bytes);
}

fn each(entries: &[u8; 256], bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = entries[usize::from(*byte)]);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    /// The table fills four registers; two of them are one operand of `vpermi2b`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn look_up(entries: &[u8; 256], blocks: &mut [[u8; 64]]) {
        // SAFETY: every pointer is to a whole array of 64 bytes, and loads and stores need no alignment.
        unsafe {
            let part = |i: usize| _mm512_loadu_si512(entries.as_ptr().add(64 * i).cast());
            let (t0, t1, t2, t3) = (part(0), part(1), part(2), part(3));
            for block in blocks {
                let x = _mm512_loadu_si512(block.as_ptr().cast());
                let (low, high) = (_mm512_permutex2var_epi8(t0, x, t1), _mm512_permutex2var_epi8(t2, x, t3));
                let y = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
                _mm512_storeu_si512(block.as_mut_ptr().cast(), y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_form_reads_the_table(
            x in proptest::collection::vec(any::<u8>(), 0..300),
            table in proptest::collection::vec(any::<u8>(), 256),
        ) {
            let entries: &[u8; 256] = table[..].try_into().unwrap();
            let want: Vec<u8> = x.iter().map(|&v| table[usize::from(v)]).collect();
            for isa in Isa::all() {
                let mut y = x.clone();
                look_up(isa, entries, &mut y);
                prop_assert_eq!(&y, &want);
            }
        }
    }
}
