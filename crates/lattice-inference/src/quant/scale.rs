//! Scales as integers: a multiplier and a shift, made once when a model is frozen. `docs/spec/quantised.md` has the rules.

use super::isa::integer_kernel;
use crate::ops::OpResult;

/// Largest shift.
pub(crate) const SHIFT_MAX: u32 = 62;

/// The real factor `multiplier / 2^shift`, with 0 <= multiplier < 2^31 and 1 <= shift <= 62.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) multiplier: i32,
    pub(crate) shift: u32,
}

impl Scale {
    /// The nearest scale to a real factor, ties to even: 31 bits, fewer for factors below 2^-32.
    pub(crate) fn of(factor: f64) -> OpResult<Scale> {
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(format!("the factor between scales must be above 0 and finite, got {factor:e}"));
        }
        // factor = mantissa * 2^exponent with the mantissa in [1/2, 1); scaling by powers of two is exact.
        let (mantissa, exponent) = libm::frexp(factor);
        let shift = 31 - exponent;
        let (mantissa, shift) = match shift {
            63.. => (libm::ldexp(mantissa, 62 - shift), 62),
            _ => (mantissa, shift),
        };
        let multiplier = libm::rint(mantissa * f64::from(1u32 << 31)) as i64;
        let (multiplier, shift) = if multiplier == 1 << 31 { (1 << 30, shift - 1) } else { (multiplier, shift) };
        match u32::try_from(shift) {
            Ok(shift @ 1..) => Ok(Scale { multiplier: multiplier as i32, shift }),
            _ => Err(format!("the factor between scales is {factor:e}; at most 2^30 is supported")),
        }
    }

    /// A scale from its parts, checked.
    pub(crate) fn new(multiplier: i64, shift: i64) -> OpResult<Scale> {
        match (i32::try_from(multiplier), u32::try_from(shift)) {
            (Ok(multiplier @ 0..), Ok(shift @ 1..=SHIFT_MAX)) => Ok(Scale { multiplier, shift }),
            _ => Err(format!("multiplier {multiplier} and shift {shift} must lie in 0..2^31 and 1..={SHIFT_MAX}")),
        }
    }

    /// floor(x * multiplier / 2^shift + 1/2).
    #[inline(always)]
    pub(crate) fn apply(self, x: i32) -> i64 {
        // Nothing leaves i64: |x| <= 2^31, multiplier < 2^31, half of 2^shift <= 2^61. Unchecked forms vectorise.
        let half = 1i64.wrapping_shl(self.shift.wrapping_sub(1));
        i64::from(x).wrapping_mul(i64::from(self.multiplier)).wrapping_add(half).wrapping_shr(self.shift)
    }

    /// The scale of this one's n-th part, by integers: the multiplier is divided, rounded half up, and widened to 31 bits.
    pub(crate) fn part(self, n: u32) -> Scale {
        let n = u64::from(n.max(1));
        let extra = (64 - n.leading_zeros()).min(SHIFT_MAX - self.shift);
        let multiplier = ((self.multiplier as u64) << extra).wrapping_add(n / 2) / n;
        match i32::try_from(multiplier) {
            Ok(multiplier) => Scale { multiplier, shift: self.shift + extra },
            Err(_) => Scale { multiplier: multiplier.div_ceil(2) as i32, shift: self.shift + extra - 1 },
        }
    }
}

/// Where results of a quantised operator may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Stored integer of the real 0.
    pub(crate) zero: i32,
    /// Smallest and largest stored integer.
    pub(crate) low: i32,
    pub(crate) high: i32,
}

impl Range {
    /// A number on top of the zero point, saturated; as the byte that stores it.
    #[inline(always)]
    pub(crate) fn store(self, value: i64) -> u8 {
        value.wrapping_add(i64::from(self.zero)).clamp(i64::from(self.low), i64::from(self.high)) as u8
    }
}

integer_kernel! {
    /// `y[i] = store(scale(x[i] + bias))`.
    fn requantize_row(x: &[i32], bias: i32, scale: Scale, range: Range, y: &mut [u8]) {
        for (x, y) in x.iter().zip(y.iter_mut()) {
            *y = range.store(scale.apply(x.wrapping_add(bias)));
        }
    }
}

integer_kernel! {
    /// `y[i] = store(scale[i](x[i] + bias[i]))`.
    fn requantize_columns(x: &[i32], bias: &[i32], scales: &[Scale], range: Range, y: &mut [u8]) {
        for (((x, y), bias), scale) in x.iter().zip(y.iter_mut()).zip(bias).zip(scales) {
            *y = range.store(scale.apply(x.wrapping_add(*bias)));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::quant::isa::Isa;
    use proptest::prelude::*;

    /// A finite f64 as an exact ratio: numerator and the power of two that divides it.
    fn ratio(x: f64) -> (i128, i32) {
        let bits = x.to_bits();
        let exponent = (bits >> 52) as i32;
        let fraction = (bits & ((1 << 52) - 1)) as i128;
        if exponent == 0 { (fraction, 1074) } else { (fraction | 1 << 52, 1075 - exponent) }
    }

    proptest! {
        #[test]
        fn a_scale_is_the_nearest_of_its_width(mantissa in 1u64..1 << 53, exponent in -80i32..-23) {
            let factor = mantissa as f64 * 2f64.powi(exponent);
            let Ok(scale) = Scale::of(factor) else {
                prop_assert!(factor >= 2f64.powi(30) * (1.0 - 2f64.powi(-31)));
                return Ok(());
            };
            prop_assert!(scale.multiplier >= 1 << 30 || scale.shift == SHIFT_MAX);
            // |multiplier / 2^shift - factor| <= 2^-shift / 2, in integers over 2^(down + 1).
            let (numerator, down) = ratio(factor);
            if down >= 100 { return Ok(()); }
            let shift = scale.shift as i32;
            let lift = (down - shift).max(0);
            let wanted = numerator << (shift + lift - down);
            let got = i128::from(scale.multiplier) << lift;
            prop_assert!(2 * (got - wanted).abs() <= 1 << lift, "{factor:e} {scale:?}");
        }

        #[test]
        fn rounding_is_exact_half_up(x in any::<i32>(), multiplier in 0..=i32::MAX, shift in 1..=SHIFT_MAX) {
            let scale = Scale { multiplier, shift };
            let exact = i128::from(x) * i128::from(multiplier);
            // floor(exact / 2^shift + 1/2)
            let want = (2 * exact + (1i128 << shift)).div_euclid(2i128 << shift);
            prop_assert_eq!(i128::from(scale.apply(x)), want);
        }

        #[test]
        fn a_part_is_near_the_rational(multiplier in 1i32 << 30..=i32::MAX, shift in 1u32..40, n in 1u32..1 << 20) {
            let part = Scale { multiplier, shift }.part(n);
            // |part * n - whole| / whole <= 2^-29, without floats.
            let whole = i128::from(multiplier) << (part.shift - shift);
            let got = i128::from(part.multiplier) * i128::from(n);
            prop_assert!((got - whole).abs() << 29 <= whole, "{part:?}");
            prop_assert!(part.shift <= SHIFT_MAX);
        }

        #[test]
        fn every_form_rounds_alike(
            rows in proptest::collection::vec((any::<i32>(), any::<i32>(), 0..=i32::MAX, 1..=SHIFT_MAX), 0..80),
            zero in -128i32..128,
        ) {
            let range = Range { zero, low: -128, high: 127 };
            let x: Vec<i32> = rows.iter().map(|r| r.0).collect();
            let bias: Vec<i32> = rows.iter().map(|r| r.1).collect();
            let scales: Vec<Scale> = rows.iter().map(|r| Scale { multiplier: r.2, shift: r.3 }).collect();
            let want: Vec<u8> = rows.iter().map(|&(x, bias, multiplier, shift)| {
                let exact = i128::from(x.wrapping_add(bias)) * i128::from(multiplier);
                let rounded = (2 * exact + (1i128 << shift)).div_euclid(2i128 << shift) + i128::from(zero);
                rounded.clamp(-128, 127) as i8 as u8
            }).collect();
            for isa in Isa::all() {
                let mut y = vec![0; x.len()];
                requantize_columns(isa, &x, &bias, &scales, range, &mut y);
                prop_assert_eq!(&y, &want);
                for i in 0..x.len() {
                    requantize_row(isa, &x[i..=i], bias[i], scales[i], range, &mut y[i..=i]);
                }
                prop_assert_eq!(&y, &want);
            }
        }
    }

    #[test]
    fn hostile_factors_are_refused() {
        for factor in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2f64.powi(31), f64::MAX] {
            Scale::of(factor).unwrap_err();
        }
        assert_eq!(Scale::of(f64::MIN_POSITIVE).unwrap(), Scale { multiplier: 0, shift: 62 });
        assert_eq!(Scale::of(0.5).unwrap(), Scale { multiplier: 1 << 30, shift: 31 });
        // The mantissa rounds up to 1.
        assert_eq!(Scale::of(1.0 - 2f64.powi(-40)).unwrap(), Scale { multiplier: 1 << 30, shift: 30 });
        for (multiplier, shift) in [(-1, 1), (1 << 31, 1), (1, 0), (1, 63), (i64::MIN, i64::MAX)] {
            Scale::new(multiplier, shift).unwrap_err();
        }
    }
}
