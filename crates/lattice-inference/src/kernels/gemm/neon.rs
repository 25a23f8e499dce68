//! Micro-kernels for aarch64, whose NEON has fused multiply-add everywhere.

use super::{MR, NR};
use core::arch::aarch64::*;

/// Vectors in a row of a right panel.
const VECTORS: usize = NR / 4;

/// The 6 x 16 micro-kernel: 24 of the 32 registers accumulate.
///
/// # Safety
/// `a` holds `kc * MR` floats, `b` `kc` rows of 16 with its step, and `c` six rows of 16 with stride `ldc`.
pub(super) unsafe fn micro(
    a: *const f32,
    (b, b_step): (*const f32, usize),
    kc: usize,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    // SAFETY: all reads and writes stay inside the lengths that the caller promises.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); VECTORS]; MR];
        if !first {
            for (r, acc) in acc.iter_mut().enumerate() {
                for (i, acc) in acc.iter_mut().enumerate() {
                    *acc = vld1q_f32(c.add(r * ldc + i * 4));
                }
            }
        }
        let (mut a, mut b) = (a, b);
        for _ in 0..kc {
            let columns: [float32x4_t; VECTORS] = core::array::from_fn(|i| vld1q_f32(b.add(i * 4)));
            for (r, acc) in acc.iter_mut().enumerate() {
                let v = vld1q_dup_f32(a.add(r));
                for (acc, column) in acc.iter_mut().zip(columns) {
                    *acc = vfmaq_f32(*acc, v, column);
                }
            }
            // Past the last step these point behind the operands and are not read.
            (a, b) = (a.wrapping_add(MR), b.wrapping_add(b_step));
        }
        for (r, acc) in acc.iter().enumerate() {
            for (i, acc) in acc.iter().enumerate() {
                vst1q_f32(c.add(r * ldc + i * 4), *acc);
            }
        }
    }
}

/// One row against one panel.
///
/// # Safety
/// `b` holds `a.len() * NR` floats, `c` 16.
pub(super) unsafe fn row(a: &[f32], b: *const f32, c: *mut f32) {
    // SAFETY: all reads and writes stay inside the lengths that the caller promises.
    unsafe {
        let mut acc = [vdupq_n_f32(0.0); VECTORS];
        for (k, a) in a.iter().enumerate() {
            let v = vdupq_n_f32(*a);
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = vfmaq_f32(*acc, v, vld1q_f32(b.add(k * NR + i * 4)));
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            vst1q_f32(c.add(i * 4), *acc);
        }
    }
}
