//! Which instructions the integer kernels use.

use crate::kernels::Isa as Floats;

/// Integer sums are exact, so every choice gives the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2: bytes widened to 16 bits, because `vpmaddubsw` saturates.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 and its VNNI: `vpdpbusd`, which does not saturate.
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Isa {
    /// The best this CPU offers.
    pub(crate) fn detect() -> Isa {
        #[cfg(test)]
        if let Some(isa) = forced::ISA.get() {
            return isa;
        }
        match Floats::detect() {
            #[cfg(target_arch = "x86_64")]
            Floats::Avx512 if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") => {
                Isa::Vnni
            }
            #[cfg(target_arch = "x86_64")]
            Floats::Avx512 | Floats::Avx2 => Isa::Avx2,
            _ => Isa::Portable,
        }
    }

    /// Whether the kernels take the left operand's bytes widened to 16 bits.
    pub(crate) fn widens(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self == Isa::Avx2;
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// All that this CPU can run.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Isa> {
        #[cfg(not(target_arch = "x86_64"))]
        let all = [Some(Isa::Portable)];
        #[cfg(target_arch = "x86_64")]
        let all = [
            Some(Isa::Portable),
            is_x86_feature_detected!("avx2").then_some(Isa::Avx2),
            (Isa::detect() == Isa::Vnni).then_some(Isa::Vnni),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Makes a function that runs one body compiled plainly, for AVX2 and for AVX-512.
macro_rules! integer_kernel {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name(isa: $crate::quant::isa::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $ty),*) {
                body($($arg),*);
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $ty),*) {
                body($($arg),*);
            }

            match isa {
                $crate::quant::isa::Isa::Portable => body($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Isa::Avx2` is only made after the feature was detected.
                $crate::quant::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Isa::Vnni` is only made after these features were detected.
                $crate::quant::isa::Isa::Vnni => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use integer_kernel;

/// Lets a test run whole operators on one kind of kernel.
#[cfg(test)]
pub(crate) mod forced {
    use super::Isa;
    use core::cell::Cell;

    thread_local! {
        pub(super) static ISA: Cell<Option<Isa>> = const { Cell::new(None) };
    }

    /// The results of `f` on every kind of kernel that this CPU has.
    pub(crate) fn each<T>(f: impl Fn() -> T) -> Vec<(Isa, T)> {
        let run = |isa| {
            ISA.set(Some(isa));
            let result = f();
            ISA.set(None);
            (isa, result)
        };
        Isa::all().into_iter().map(run).collect()
    }
}
