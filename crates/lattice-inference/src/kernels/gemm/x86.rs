//! Micro-kernels for x86-64: AVX2 with FMA, and AVX-512.

use super::{MR, NR};
use core::arch::x86_64::*;

/// Writes a block once for each row of a left panel, so that every accumulator has a name at compile time and stays in a register.
macro_rules! each_row {
    ($row:ident => $body:block) => {
        each_row!(@ $row $body 0 1 2 3 4 5);
    };
    (@ $row:ident $body:block $($number:literal)*) => {
        $({
            const $row: usize = $number;
            $body
        })*
    };
}
const _: () = assert!(MR == 6 && NR == 16);

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
        let row = |r: usize| c.add(r.wrapping_mul(ldc));
        if !first {
            each_row!(R => {
                acc[R] = [_mm256_loadu_ps(row(R)), _mm256_loadu_ps(row(R).add(8))];
            });
        }
        let (mut a, mut b) = (a, b);
        for _ in 0..kc {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            each_row!(R => {
                let v = _mm256_broadcast_ss(&*a.add(R));
                acc[R][0] = _mm256_fmadd_ps(v, b0, acc[R][0]);
                acc[R][1] = _mm256_fmadd_ps(v, b1, acc[R][1]);
            });
            // Past the last step this points behind the operands and is not read.
            (a, b) = (a.wrapping_add(MR), b.wrapping_add(b_step));
        }
        each_row!(R => {
            _mm256_storeu_ps(row(R), acc[R][0]);
            _mm256_storeu_ps(row(R).add(8), acc[R][1]);
        });
    }
}

/// Steps of k that right panels are fetched ahead.
const AHEAD: usize = 16;

/// Two left panels by two right ones (12 x 32) keep 24 accumulators, which hides the latency of fma; fewer panels are
/// for the edges. Each operand is its first panel and the distance to the next, the right one with its step.
///
/// # Safety
/// Needs AVX-512F; `DOWN` left panels hold `kc * MR` floats each, `ACROSS` right ones `kc` rows of `NR`, and `c` holds `DOWN * MR`
/// rows of `ACROSS * NR` with stride `ldc`; both numbers are 1 or 2.
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
        // Each row is the vectors of the first and the second right panel.
        let mut upper = [[_mm512_setzero_ps(); 2]; MR];
        let mut lower = upper;
        let row = |r: usize| c.wrapping_add(r.wrapping_mul(ldc));
        let load = |at: *const f32| {
            let second = if ACROSS == 2 { _mm512_loadu_ps(at.add(NR)) } else { _mm512_setzero_ps() };
            [_mm512_loadu_ps(at), second]
        };
        if !first {
            each_row!(R => {
                upper[R] = load(row(R));
                if DOWN == 2 {
                    lower[R] = load(row(MR + R));
                }
            });
        }
        let (mut a0, mut a1, mut b0, mut b1) = (a, a.wrapping_add(a_stride), b, b.wrapping_add(b_stride));
        for _ in 0..kc {
            // Weights come from far away when there are few rows; a prefetch past the end is no read.
            _mm_prefetch::<_MM_HINT_T0>(b0.wrapping_add(AHEAD * b_step).cast());
            _mm_prefetch::<_MM_HINT_T0>(b1.wrapping_add(AHEAD * b_step).cast());
            let left = _mm512_loadu_ps(b0);
            let right = if ACROSS == 2 { _mm512_loadu_ps(b1) } else { left };
            each_row!(R => {
                let v = _mm512_set1_ps(*a0.add(R));
                upper[R][0] = _mm512_fmadd_ps(v, left, upper[R][0]);
                if ACROSS == 2 {
                    upper[R][1] = _mm512_fmadd_ps(v, right, upper[R][1]);
                }
                if DOWN == 2 {
                    let v = _mm512_set1_ps(*a1.add(R));
                    lower[R][0] = _mm512_fmadd_ps(v, left, lower[R][0]);
                    if ACROSS == 2 {
                        lower[R][1] = _mm512_fmadd_ps(v, right, lower[R][1]);
                    }
                }
            });
            // Past the last step these point behind the operands and are not read.
            (a0, a1) = (a0.wrapping_add(MR), a1.wrapping_add(MR));
            (b0, b1) = (b0.wrapping_add(b_step), b1.wrapping_add(b_step));
        }
        let store = |at: *mut f32, values: [__m512; 2]| {
            _mm512_storeu_ps(at, values[0]);
            if ACROSS == 2 {
                _mm512_storeu_ps(at.add(NR), values[1]);
            }
        };
        each_row!(R => {
            store(row(R), upper[R]);
            if DOWN == 2 {
                store(row(MR + R), lower[R]);
            }
        });
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
