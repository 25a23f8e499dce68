//! The thread's floating-point mode: results are only everyone's results under IEEE 754's default.

use crate::error::RunError;

/// Errors when the thread rounds otherwise than to nearest even, or flushes subnormals to zero.
pub fn check() -> Result<(), RunError> {
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

/// Sets the control register of a test's thread.
#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod test_mode {
    #[cfg(target_arch = "x86_64")]
    const DEFAULT: u64 = 0x1f80;
    #[cfg(target_arch = "aarch64")]
    const DEFAULT: u64 = 0;
    /// Rounding and flushing, one bit at a time.
    #[cfg(target_arch = "x86_64")]
    pub(super) const BITS: [u32; 4] = [6, 13, 14, 15];
    #[cfg(target_arch = "aarch64")]
    pub(super) const BITS: [u32; 3] = [22, 23, 24];

    fn set(mode: u64) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the value is a valid MXCSR: the default with one mode bit changed.
        unsafe {
            core::arch::asm!("ldmxcsr [{}]", in(reg) &(mode as u32), options(nostack, readonly));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the value is a valid FPCR: the default with one mode bit changed.
        unsafe {
            core::arch::asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack));
        }
    }

    /// Runs `f` with one bit of the control register changed.
    pub(super) fn with_bit<T>(bit: u32, f: impl FnOnce() -> T) -> T {
        set(DEFAULT | 1 << bit);
        let result = f();
        set(DEFAULT);
        result
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ops::elementwise::RELU;
    use crate::{DType, GraphBuilder, Model, Tensor, ValueInfo};

    #[test]
    fn a_thread_in_another_mode_runs_nothing() {
        let mut builder = GraphBuilder::default();
        let x = builder.input(ValueInfo { name: "x".into(), dtype: DType::F32, shape: vec![2] });
        let y = builder.unary(&RELU, x).unwrap();
        let model = Model::load(builder.finish(vec![("y".into(), y)]).unwrap()).unwrap();
        let inputs = [Tensor::from_f32([2], vec![1e-41, -1.0]).unwrap()];
        for bit in test_mode::BITS {
            let refused = test_mode::with_bit(bit, || model.run(&inputs));
            assert!(matches!(refused, Err(RunError::FloatMode(_))), "bit {bit}: {refused:?}");
        }
        assert!(model.run(&inputs).is_ok());
    }

    #[test]
    fn flush_to_zero_and_other_roundings_are_refused() {
        assert_eq!(check(), Ok(()));
        for bit in test_mode::BITS {
            let refused = test_mode::with_bit(bit, check);
            assert!(matches!(refused, Err(RunError::FloatMode(_))), "bit {bit}");
        }
        assert_eq!(check(), Ok(()));
    }
}
