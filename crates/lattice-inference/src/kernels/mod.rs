//! The loops that cost time, each in a portable form and in those of the CPU's vector instructions: AVX2 with FMA, AVX-512, NEON.
//!
//! All forms do the same correctly rounded operations in the same order for each output; lanes lie across outputs only. So
//! they give the same bits, and the tests hold them to it.

pub(crate) mod elementwise;
pub(crate) mod gemm;
pub(crate) mod program;
pub(crate) mod reduce;

/// Which instructions the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain Rust; right everywhere, slow where fused multiply-add is software.
    Portable,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 too.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The best this CPU offers.
    pub(crate) fn detect() -> Isa {
        #[cfg(test)]
        if let Some(isa) = test_isa::FORCED.get() {
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

    /// All that this CPU offers.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Isa> {
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
}

/// Makes a function that runs one body compiled for each instruction set. NEON needs no form of its own: every aarch64 has it.
macro_rules! dual_kernel {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name(isa: $crate::kernels::Isa, $($arg: $ty),*) {
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
                $crate::kernels::Isa::Portable => body($($arg),*),
                #[cfg(target_arch = "aarch64")]
                $crate::kernels::Isa::Neon => body($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Isa::Avx2` is only made after both features were detected.
                $crate::kernels::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Isa::Avx512` is only made after all five features were detected.
                $crate::kernels::Isa::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use dual_kernel;

/// True when this machine has fast fused multiply-add kernels; a validator needs them.
pub fn is_accelerated() -> bool {
    Isa::detect() != Isa::Portable
}

/// Lets a test run whole models on kernels of its choice, in its thread.
#[cfg(test)]
pub(crate) mod test_isa {
    use super::Isa;
    use core::cell::Cell;

    thread_local! {
        pub(crate) static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
    }

    /// Runs `f` with the kernels of `isa`, which this CPU must have.
    pub(crate) fn with<T>(isa: Isa, f: impl FnOnce() -> T) -> T {
        FORCED.set(Some(isa));
        let result = f();
        FORCED.set(None);
        result
    }
}
