//! 8-bit tensors as bytes, whatever their sign: i8 and u8 differ by the top bit and by 128 in the zero point.

use super::isa::{Isa, integer_kernel};
use crate::ops::OpResult;
use crate::tensor::{Data, Tensor};

/// The stored bytes of an 8-bit tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    pub(crate) values: &'a [u8],
    /// What a byte is xored with to become u8: 0x80 for i8.
    pub(crate) flip: u8,
}

impl Bytes<'_> {
    /// Element `at` as u8; i8 is moved up by 128.
    #[inline(always)]
    pub(crate) fn as_u8(self, at: usize) -> u8 {
        self.values[at] ^ self.flip
    }

    /// Element `at` as i8; u8 is moved down by 128.
    #[inline(always)]
    pub(crate) fn as_i8(self, at: usize) -> i8 {
        (self.values[at] ^ self.flip ^ 0x80) as i8
    }
}

/// The bytes of an i8 or u8 tensor.
pub(crate) fn bytes_of(data: &Data) -> OpResult<Bytes<'_>> {
    match data {
        Data::U8(values) => Ok(Bytes { values, flip: 0 }),
        Data::I8(values) => {
            // SAFETY: i8 and u8 have the same size and alignment, and every byte is a value of both.
            let values = unsafe { core::slice::from_raw_parts(values.as_ptr().cast::<u8>(), values.len()) };
            Ok(Bytes { values, flip: 0x80 })
        }
        other => Err(format!("operands must be i8 or u8, got {}", other.dtype())),
    }
}

/// Zero points as i8, one repeated `count` times when there is only one.
pub(crate) fn zero_points(zero: &Tensor, count: usize) -> OpResult<Vec<i32>> {
    let bytes = bytes_of(zero.data())?;
    match bytes.values.len() {
        1 => Ok(vec![bytes.as_i8(0).into(); count]),
        len if len == count => Ok((0..count).map(|at| bytes.as_i8(at).into()).collect()),
        len => Err(format!("{len} zero points do not fit {count}")),
    }
}

/// The sums of rows as u8, less `moved` for each element, modulo 2^32.
pub(crate) fn row_sums(isa: Isa, x: Bytes<'_>, columns: usize, moved: i32, sums: &mut [i32]) {
    sums_of_rows(isa, x.values, x.flip, columns, (columns as i32).wrapping_mul(moved), sums);
}

integer_kernel! {
    fn sums_of_rows(x: &[u8], flip: u8, columns: usize, moved: i32, sums: &mut [i32]) {
        for (row, sum) in x.chunks_exact(columns).zip(sums.iter_mut()) {
            let total = row.iter().fold(0u32, |total, byte| total.wrapping_add(u32::from(byte ^ flip)));
            *sum = (total as i32).wrapping_sub(moved);
        }
    }
}

integer_kernel! {
    /// The sums of the columns of a matrix as u8, modulo 2^32.
    fn column_sums(x: &[u8], flip: u8, sums: &mut [i32]) {
        for row in x.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, byte)| *sum = sum.wrapping_add(i32::from(byte ^ flip)));
        }
    }
}
