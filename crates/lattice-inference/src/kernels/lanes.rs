//! Sixteen floats in the registers of an instruction set, for kernels whose accumulators must stay there.
//!
//! A kernel is written once over [`Lanes`] and inlined into a function for each instruction set.

/// Sixteen floats; lane by lane the same operations everywhere.
pub(crate) trait Lanes: Copy {
    /// Sixteen zeros.
    ///
    /// # Safety
    /// This and the others need the instruction set of the type.
    unsafe fn zero() -> Self;
    /// Sixteen floats from `x` on.
    ///
    /// # Safety
    /// The CPU has the instruction set, and `x` may be read so far.
    unsafe fn load(x: *const f32) -> Self;
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn store(self, y: &mut [f32; 16]);
    /// `w * x + self`, rounded once.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn add_product(self, w: f32, x: Self) -> Self;
}

/// Plain Rust, for every CPU.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 16]);

impl Lanes for Plain {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Plain([0.0; 16])
    }
    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self {
        // SAFETY: the caller promises that sixteen floats may be read; floats have no other need of alignment here.
        Plain(unsafe { x.cast::<[f32; 16]>().read() })
    }
    #[inline(always)]
    unsafe fn store(self, y: &mut [f32; 16]) {
        *y = self.0;
    }
    #[inline(always)]
    unsafe fn add_product(mut self, w: f32, x: Self) -> Self {
        for (acc, x) in self.0.iter_mut().zip(x.0) {
            *acc = w.mul_add(x, *acc);
        }
        self
    }
}

/// Implements [`Lanes`] by registers of `$width` floats.
#[allow(unused_macros)]
macro_rules! registers {
    ($name:ident, $register:ty, $width:literal, $zero:expr, $load:ident, $store:ident, |$w:ident, $x:ident, $acc:ident| $fma:expr) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name([$register; 16 / $width]);

        impl Lanes for $name {
            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller promises the instruction set.
                $name([unsafe { $zero }; 16 / $width])
            }
            #[inline(always)]
            unsafe fn load(x: *const f32) -> Self {
                // SAFETY: as above; the parts lie inside the sixteen floats. No closures, which might stay calls.
                unsafe {
                    let mut parts = [$zero; 16 / $width];
                    for (i, part) in parts.iter_mut().enumerate() {
                        *part = $load(x.add(i * $width));
                    }
                    $name(parts)
                }
            }
            #[inline(always)]
            unsafe fn store(self, y: &mut [f32; 16]) {
                for (i, part) in self.0.into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { $store(y.as_mut_ptr().add(i * $width), part) };
                }
            }
            #[inline(always)]
            unsafe fn add_product(mut self, $w: f32, x: Self) -> Self {
                for (part, $x) in self.0.iter_mut().zip(x.0) {
                    let $acc = *part;
                    // SAFETY: as above.
                    *part = unsafe { $fma };
                }
                self
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use core::arch::x86_64::*;

    registers!(Avx2, __m256, 8, _mm256_setzero_ps(), _mm256_loadu_ps, _mm256_storeu_ps, |w, x, acc| {
        _mm256_fmadd_ps(_mm256_set1_ps(w), x, acc)
    });
    registers!(Avx512, __m512, 16, _mm512_setzero_ps(), _mm512_loadu_ps, _mm512_storeu_ps, |w, x, acc| {
        _mm512_fmadd_ps(_mm512_set1_ps(w), x, acc)
    });
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Lanes;
    use core::arch::aarch64::*;

    registers!(Neon, float32x4_t, 4, vdupq_n_f32(0.0), vld1q_f32, vst1q_f32, |w, x, acc| vfmaq_n_f32(acc, x, w));
}
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::Neon;
