//! The loops that cost time, each in a portable form and, on x86-64, one for AVX2 and FMA.
//!
//! Both forms do the same correctly rounded operations in the same order for each output; lanes lie across outputs only. So
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
}

impl Isa {
    /// The best this CPU offers.
    pub(crate) fn detect() -> Isa {
        #[cfg(test)]
        if test_isa::PORTABLE.get() {
            return Isa::Portable;
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Isa::Avx2;
        }
        Isa::Portable
    }
}

/// Makes a function that runs one body compiled twice: plainly, and with AVX2 and FMA enabled.
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

            match isa {
                $crate::kernels::Isa::Portable => body($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Isa::Avx2` is only made after both features were detected.
                $crate::kernels::Isa::Avx2 => unsafe { avx2($($arg),*) },
            }
        }
    };
}
pub(crate) use dual_kernel;

/// True when this machine has fast fused multiply-add kernels; a validator needs them.
pub fn is_accelerated() -> bool {
    cfg!(target_arch = "aarch64") || Isa::detect() != Isa::Portable
}

/// Lets a test run whole models on the portable kernels of its thread.
#[cfg(test)]
pub(crate) mod test_isa {
    use core::cell::Cell;

    thread_local! {
        pub(crate) static PORTABLE: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `f` with the portable kernels only.
    pub(crate) fn portable<T>(f: impl FnOnce() -> T) -> T {
        PORTABLE.set(true);
        let result = f();
        PORTABLE.set(false);
        result
    }
}
