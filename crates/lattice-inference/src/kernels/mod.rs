//! The loops that cost time, each in a portable form and in those of the CPU's vector instructions: AVX2 with FMA, AVX-512, NEON.
//!
//! All forms do the same correctly rounded operations in the same order for each output; lanes lie across outputs only. So
//! they give the same bits, and the tests hold them to it.

pub(crate) mod elementwise;
pub(crate) mod gemm;
pub(crate) mod lanes;
pub(crate) mod program;
pub(crate) mod reduce;

use core::cell::Cell;

thread_local! {
    static CHOSEN: Cell<Option<Isa>> = const { Cell::new(None) };
}

/// Sixteen floats in a cache line of their own: no vector load of packed operands straddles two lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [f32; 16]);

impl Line {
    pub(crate) const ZERO: Line = Line([0.0; 16]);

    /// The floats of lines.
    pub(crate) fn floats(lines: &[Line]) -> &[f32] {
        // SAFETY: a line is sixteen floats and nothing else, so the lines are that many floats on end.
        unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 16) }
    }

    /// The floats of lines, to be written.
    pub(crate) fn floats_mut(lines: &mut [Line]) -> &mut [f32] {
        // SAFETY: as above; the borrow of the lines is the floats'.
        unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 16) }
    }
}

/// Grows `lines` to at least `len`, with zeros; what is there stays.
pub(crate) fn grow(lines: &mut Vec<Line>, len: usize) {
    lines.resize(lines.len().max(len), Line::ZERO);
}

/// What a product does with outputs once they are whole: where they begin among all outputs, and they.
pub(crate) type Finish<'f> = dyn FnMut(usize, &mut [f32]) + 'f;
/// Outputs worth handing on together, where there are as many.
pub(crate) const FINISH_MIN: usize = 2048;

/// Which instructions the kernels use. Outside of this crate only [`Isa::detect`] and [`Isa::all`]
/// make the vector ones, so that they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust; right everywhere, slow where fused multiply-add is software.
    Portable,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    #[non_exhaustive]
    Avx2,
    /// x86-64 with AVX-512 too.
    #[cfg(target_arch = "x86_64")]
    #[non_exhaustive]
    Avx512,
    /// aarch64.
    #[cfg(target_arch = "aarch64")]
    #[non_exhaustive]
    Neon,
}

impl Isa {
    /// The best this CPU offers, or what [`Isa::run`] chose for this thread.
    pub fn detect() -> Isa {
        if let Some(isa) = CHOSEN.get() {
            return isa;
        }
        #[cfg(target_arch = "aarch64")]
        return Isa::Neon;
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            return if wide { Isa::Avx512 } else { Isa::Avx2 };
        }
        #[cfg(not(target_arch = "aarch64"))]
        Isa::Portable
    }

    /// All that this CPU offers, the portable one first.
    pub fn all() -> Vec<Isa> {
        let mut all = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        if Isa::detect() == Isa::Avx512 {
            all.push(Isa::Avx2);
        }
        if Isa::detect() != Isa::Portable {
            all.push(Isa::detect());
        }
        all
    }

    /// Runs `f` in this thread with these kernels: to compare bits, or to time what a lesser machine would take.
    pub fn run<T>(self, f: impl FnOnce() -> T) -> T {
        let before = CHOSEN.replace(Some(self));
        let result = f();
        CHOSEN.set(before);
        result
    }
}

/// Makes a function of the crate that runs one body compiled for each instruction set, its first argument the [`Isa`]. NEON needs
/// no form of its own: every aarch64 has it.
#[macro_export]
macro_rules! dual_kernel {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name(isa: $crate::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                body($($arg),*);
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq")]
            fn avx512($($arg: $ty),*) {
                body($($arg),*);
            }

            match isa {
                $crate::Isa::Portable => body($($arg),*),
                #[cfg(target_arch = "aarch64")]
                $crate::Isa::Neon { .. } => body($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Isa::Avx2` is only made after both features were detected.
                $crate::Isa::Avx2 { .. } => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Isa::Avx512` is only made after all five features were detected.
                $crate::Isa::Avx512 { .. } => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use dual_kernel;

/// True when this machine has fast fused multiply-add kernels; a validator needs them.
pub fn is_accelerated() -> bool {
    Isa::detect() != Isa::Portable
}

/// The product of row-major f32 matrices, `a` [m, k] and `b` [k, n]; each element is one ascending chain from +0.
pub fn matrix_product(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
    let mut c = vec![0.0; m * n];
    gemm::gemm(Isa::detect(), a, m, &gemm::PackedRight::new(b, k, n), &mut c);
    c
}
