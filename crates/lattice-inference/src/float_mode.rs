//! The thread's floating-point mode: results are only everyone's results under IEEE 754's default.

use crate::error::RunError;

/// Errors when the thread rounds otherwise than to nearest even, or flushes subnormals to zero.
pub(crate) fn check() -> Result<(), RunError> {
    let (mode, wrong) = read();
    if mode & wrong == 0 { Ok(()) } else { Err(RunError::FloatMode(mode)) }
}

/// The control register and the bits of it that must be clear.
#[cfg(target_arch = "x86_64")]
fn read() -> (u64, u64) {
    let mut mxcsr = 0u32;
    // SAFETY: stmxcsr writes four bytes to the given address and touches nothing else.
    unsafe { core::arch::asm!("stmxcsr [{}]", in(reg) &mut mxcsr, options(nostack, preserves_flags)) };
    // Denormals-are-zero, rounding control, flush-to-zero.
    (u64::from(mxcsr), 1 << 6 | 0b11 << 13 | 1 << 15)
}

/// The control register and the bits of it that must be clear.
#[cfg(target_arch = "aarch64")]
fn read() -> (u64, u64) {
    let fpcr: u64;
    // SAFETY: reading FPCR has no effect.
    unsafe { core::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
    // Rounding mode, flush-to-zero, and the alternative behaviours of newer cores.
    (fpcr, 0b111 | 0b11 << 22 | 1 << 24)
}

/// Other architectures have no such switch that Rust code could meet.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read() -> (u64, u64) {
    (0, 0)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn set(mxcsr: u32) {
        // SAFETY: the value is a valid MXCSR: the default with one mode bit changed.
        unsafe { core::arch::asm!("ldmxcsr [{}]", in(reg) &mxcsr, options(nostack, readonly)) };
    }

    #[test]
    fn flush_to_zero_and_other_roundings_are_refused() {
        assert_eq!(check(), Ok(()));
        for bit in [6, 13, 14, 15] {
            set(0x1f80 | 1 << bit);
            let refused = check();
            set(0x1f80);
            assert!(matches!(refused, Err(RunError::FloatMode(_))), "bit {bit}");
        }
        assert_eq!(check(), Ok(()));
    }
}
