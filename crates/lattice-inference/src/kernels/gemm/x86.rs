//! Micro-kernels for x86-64: AVX2 with FMA, and AVX-512.

use super::{MR, NR};
use core::arch::x86_64::*;

/// The 6 x 16 micro-kernel: twelve accumulators, two right vectors, a broadcast.
///
/// # Safety
/// Needs AVX2 and FMA; `a` holds `kc * MR` floats, `b` `kc` rows of 16 with its step, and `c` six rows of 16 with stride `ldc`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn avx2(
    a: *const f32,
    (b, b_step): (*const f32, usize),
    kc: usize,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    // SAFETY: all reads and writes stay inside the lengths that the caller promises.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 2]; MR];
        if !first {
            for (r, acc) in acc.iter_mut().enumerate() {
                acc[0] = _mm256_loadu_ps(c.add(r * ldc));
                acc[1] = _mm256_loadu_ps(c.add(r * ldc + 8));
            }
        }
        for k in 0..kc {
            let b = b.add(k * b_step);
            let b0 = _mm256_loadu_ps(b);
            let b1 = _mm256_loadu_ps(b.add(8));
            for (r, acc) in acc.iter_mut().enumerate() {
                let v = _mm256_broadcast_ss(&*a.add(k * MR + r));
                acc[0] = _mm256_fmadd_ps(v, b0, acc[0]);
                acc[1] = _mm256_fmadd_ps(v, b1, acc[1]);
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            _mm256_storeu_ps(c.add(r * ldc), acc[0]);
            _mm256_storeu_ps(c.add(r * ldc + 8), acc[1]);
        }
    }
}

/// Two left panels by two right ones (12 x 32) keep 24 accumulators, which hides the latency of fma; fewer panels are
/// for the edges. Each operand is its first panel and the distance to the next, the right one with its step.
///
/// # Safety
/// Needs AVX-512F; `DOWN` left panels hold `kc * MR` floats each, `ACROSS` right ones `kc` rows of `NR`, and `c` holds `DOWN * MR`
/// rows of `ACROSS * NR` with stride `ldc`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn avx512<const DOWN: usize, const ACROSS: usize>(
    (a, a_stride): (*const f32, usize),
    (b, b_stride, b_step): (*const f32, usize, usize),
    kc: usize,
    c: *mut f32,
    ldc: usize,
    first: bool,
) {
    // SAFETY: all reads and writes stay inside the lengths that the caller promises.
    unsafe {
        let mut acc = [[[_mm512_setzero_ps(); ACROSS]; MR]; DOWN];
        let at = |q: usize, r: usize, p: usize| (q * MR + r) * ldc + p * NR;
        if !first {
            for (q, acc) in acc.iter_mut().enumerate() {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (p, acc) in acc.iter_mut().enumerate() {
                        *acc = _mm512_loadu_ps(c.add(at(q, r, p)));
                    }
                }
            }
        }
        for k in 0..kc {
            let (left, right) = (a.add(k * MR), b.add(k * b_step));
            let mut columns = [_mm512_setzero_ps(); ACROSS];
            for (p, column) in columns.iter_mut().enumerate() {
                *column = _mm512_loadu_ps(right.add(p * b_stride));
            }
            for (q, acc) in acc.iter_mut().enumerate() {
                for (r, acc) in acc.iter_mut().enumerate() {
                    let v = _mm512_set1_ps(*left.add(q * a_stride + r));
                    for (acc, column) in acc.iter_mut().zip(&columns) {
                        *acc = _mm512_fmadd_ps(v, *column, *acc);
                    }
                }
            }
        }
        for (q, acc) in acc.iter().enumerate() {
            for (r, acc) in acc.iter().enumerate() {
                for (p, acc) in acc.iter().enumerate() {
                    _mm512_storeu_ps(c.add(at(q, r, p)), *acc);
                }
            }
        }
    }
}

/// One row against four panels.
///
/// # Safety
/// Needs AVX2 and FMA; four panels of `a.len() * NR` floats lie `stride` apart at `b`, and `c` holds 64 floats.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn row4(a: &[f32], b: *const f32, stride: usize, c: *mut f32) {
    // SAFETY: all reads and writes stay inside the lengths that the caller promises.
    unsafe {
        let mut acc = [_mm256_setzero_ps(); 8];
        for (k, a) in a.iter().enumerate() {
            let v = _mm256_broadcast_ss(a);
            for (i, acc) in acc.iter_mut().enumerate() {
                let b = _mm256_loadu_ps(b.add(i / 2 * stride + k * NR + i % 2 * 8));
                *acc = _mm256_fmadd_ps(v, b, *acc);
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            _mm256_storeu_ps(c.add(i * 8), *acc);
        }
    }
}

/// One row against one panel.
///
/// # Safety
/// Needs AVX2 and FMA; `b` holds `a.len() * NR` floats, `c` 16.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn row1(a: &[f32], b: *const f32, c: *mut f32) {
    // SAFETY: all reads and writes stay inside the lengths that the caller promises.
    unsafe {
        let mut acc = [_mm256_setzero_ps(); 2];
        for (k, a) in a.iter().enumerate() {
            let v = _mm256_broadcast_ss(a);
            acc[0] = _mm256_fmadd_ps(v, _mm256_loadu_ps(b.add(k * NR)), acc[0]);
            acc[1] = _mm256_fmadd_ps(v, _mm256_loadu_ps(b.add(k * NR + 8)), acc[1]);
        }
        _mm256_storeu_ps(c, acc[0]);
        _mm256_storeu_ps(c.add(8), acc[1]);
    }
}
