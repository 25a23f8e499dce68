//! Transcendental functions with one answer everywhere.
//!
//! Only correctly rounded operations (+, -, *, /, fma, integer steps on the bits) in a fixed order, so every CPU gives the
//! same bits; the platform's own `exp` and friends are never called. The hot ones are branch-free so that the compiler can
//! lay them across SIMD lanes without changing a bit; the rest come from the `libm` crate, which is plain Rust arithmetic.
//! Accuracy is stated with each function and checked against f64 in the tests.

// The constants are written to nine digits, which name each f32 exactly.
#![allow(clippy::excessive_precision)]

/// Adding and subtracting this rounds to the nearest integer, ties to even, for |x| < 2^22.
const ROUND_MAGIC: f32 = 12_582_912.0;
const LN_2_HI: f32 = 0.693_145_75;
const LN_2_LO: f32 = 1.428_606_8e-6;

/// e^x, within 1 ulp of the true value where it is normal; overflows to infinity, underflows gradually to 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is infinity or zero anyway; NaN passes both comparisons untouched. Zero is chosen, not
    // computed: an underflow takes a CPU a hundred times as long, and masked scores of attention are full of them.
    let vanishes = x < -104.0;
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if vanishes { 0.0 } else { x };
    let shifted = x.mul_add(core::f32::consts::LOG2_E, ROUND_MAGIC);
    let n = shifted - ROUND_MAGIC;
    let r = n.mul_add(-LN_2_HI, x);
    let r = n.mul_add(-LN_2_LO, r);
    // Minimax polynomial of e^r on [-ln2/2, ln2/2].
    let p = 1.377_700_2e-3_f32;
    let p = p.mul_add(r, 8.368_561_5e-3);
    let p = p.mul_add(r, 4.166_985_3e-2);
    let p = p.mul_add(r, 1.666_652_6e-1);
    let p = p.mul_add(r, 4.999_999_1e-1);
    let p = p.mul_add(r, 1.0);
    let p = p.mul_add(r, 1.0);
    // 2^n in two factors, so that results below the normal range are rounded once.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND_MAGIC.to_bits() as i32);
    let low = n >> 1;
    let high = n.wrapping_sub(low);
    let value = p * power_of_two(low) * power_of_two(high);
    if vanishes { 0.0 } else { value }
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// tanh x by a rational approximation (numerator of degree 13, denominator of degree 6), within 6 ulp, odd, in [-1, 1].
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let clamped = if x > 9.0 { 9.0 } else { x };
    let clamped = if clamped < -9.0 { -9.0 } else { clamped };
    let s = clamped * clamped;
    let p = -2.760_768_4e-16_f32;
    let p = p.mul_add(s, 2.000_188e-13);
    let p = p.mul_add(s, -8.604_672e-11);
    let p = p.mul_add(s, 5.122_297e-8);
    let p = p.mul_add(s, 1.485_722_4e-5);
    let p = p.mul_add(s, 6.372_619e-4);
    let p = p.mul_add(s, 4.893_524_6e-3);
    let p = p * clamped;
    let q = 1.198_258_4e-6_f32;
    let q = q.mul_add(s, 1.185_347_1e-4);
    let q = q.mul_add(s, 2.268_434_6e-3);
    let q = q.mul_add(s, 4.893_525_2e-3);
    let t = p / q;
    // The quotient may pass 1 by a unit of the last place, and does not reach it at 9, where tanh does.
    let t = if t > 1.0 { 1.0 } else { t };
    let t = if t < -1.0 { -1.0 } else { t };
    let t = if x >= 9.0 { 1.0 } else { t };
    let t = if x <= -9.0 { -1.0 } else { t };
    // For tiny arguments tanh x = x to the last bit, and a subnormal x must not lose bits on the way.
    if x.abs() < 4e-4 { x } else { t }
}

/// 1 / (1 + e^-x), within 3 ulp where it is normal.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, within 2 ulp.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let large = {
        let r = (-1.728_534_7e-5_f32).mul_add(t, 3.831_972e-4);
        let u = (-3.883_963_8e-3_f32).mul_add(t, 2.425_462_2e-2);
        let r = r.mul_add(s, u);
        let r = r.mul_add(t, -1.067_778_8e-1);
        let r = r.mul_add(t, -6.348_468_7e-1);
        let r = r.mul_add(t, -1.287_175_1e-1);
        let r = r.mul_add(t, -t);
        // Past 10 the polynomial itself overflows; erf is 1 long before.
        let r = if t > 10.0 { -104.0 } else { r };
        let magnitude = 1.0 - exp(r);
        f32::from_bits(magnitude.to_bits() | (x.to_bits() & 0x8000_0000))
    };
    let small = {
        let r = -5.967_617e-4_f32;
        let r = r.mul_add(s, 4.991_194_2e-3);
        let r = r.mul_add(s, -2.676_813_5e-2);
        let r = r.mul_add(s, 1.128_199_3e-1);
        let r = r.mul_add(s, -3.761_253_4e-1);
        let r = r.mul_add(s, 1.283_791_7e-1);
        r.mul_add(x, x)
    };
    let value = if t > 0.927_734_4 { large } else { small };
    if x.is_nan() { x } else { value }
}

/// ln(1 + e^x), without overflow.
pub fn softplus(x: f32) -> f32 {
    let positive = if x > 0.0 { x } else { 0.0 };
    if x.is_nan() { x } else { positive + libm::log1pf(exp(-x.abs())) }
}

/// Natural logarithm (libm).
pub fn ln(x: f32) -> f32 {
    libm::logf(x)
}

/// x^y (libm).
pub fn pow(x: f32, y: f32) -> f32 {
    libm::powf(x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place of the true value, over a sweep of all magnitudes.
    fn worst_ulp(f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, range: core::ops::RangeInclusive<f32>) -> f64 {
        let mut worst = 0.0f64;
        for bits in (0..=u32::MAX).step_by(997) {
            let x = f32::from_bits(bits);
            if !range.contains(&x) {
                continue;
            }
            let (got, want) = (f64::from(f(x)), truth(f64::from(x)));
            let ulp = f64::from(f32::from_bits((want.abs() as f32).max(f32::MIN_POSITIVE).to_bits() + 1))
                - f64::from((want.abs() as f32).max(f32::MIN_POSITIVE));
            worst = worst.max((got - want).abs() / ulp);
        }
        worst
    }

    #[test]
    fn accuracy_is_as_stated() {
        let report = |name: &str, worst: f64, bar: f64| assert!(worst <= bar, "{name}: {worst} ulp, bar {bar}");
        report("exp", worst_ulp(exp, libm::exp, -104.0..=88.72), 1.1);
        report("tanh", worst_ulp(tanh, libm::tanh, -20.0..=20.0), 6.0);
        report("sigmoid", worst_ulp(sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), -80.0..=80.0), 3.0);
        report("erf", worst_ulp(erf, libm::erf, -12.0..=12.0), 2.0);
        report("softplus", worst_ulp(softplus, |x| libm::log1p(libm::exp(x)), -80.0..=80.0), 3.0);
    }

    #[test]
    fn special_values() {
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-103.0).to_bits(), 1);
        assert_eq!(exp(-104.0).to_bits(), 0);
        assert_eq!(exp(-104.1).to_bits(), 0);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(-50.0), -1.0);
        assert!((0..9_000_000u32).all(|i| tanh(i as f32 * 1e-6).abs() <= 1.0));
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(erf(f32::INFINITY), 1.0);
        assert_eq!(erf(f32::MIN), -1.0);
        assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        for f in [exp, tanh, sigmoid, erf, softplus, ln] {
            assert!(f(f32::NAN).is_nan());
            assert!(f(-f32::NAN).is_nan());
        }
    }
}
