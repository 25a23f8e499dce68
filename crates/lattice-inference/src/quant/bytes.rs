//! 8-bit tensors as bytes, whatever their sign: i8 and u8 differ by the top bit and by 128 in the zero point.

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
