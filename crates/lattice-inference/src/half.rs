//! binary16 and bfloat16 as storage: exact widening to f32, and rounding to nearest even on the way back.

/// Widens a binary16 bit pattern exactly.
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x03ff);
    match exponent {
        // Subnormal: fraction * 2^-24, exact in f32.
        0 => {
            let magnitude = fraction as f32 * f32::from_bits(0x3380_0000);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Widens a bfloat16 bit pattern exactly.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds to binary16, ties to even; overflow gives infinity, NaN the canonical NaN.
pub fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return crate::tensor::NAN_F16_BITS;
    }
    // 65520 and above round to infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    let exponent = (magnitude >> 23) as i32 - 127;
    // The fraction with its implicit one, and how many of its low bits do not fit.
    let (significand, shift, base) = if exponent >= -14 {
        (magnitude & 0x007f_ffff, 13, ((exponent + 15) as u32) << 10)
    } else if exponent >= -25 {
        (magnitude & 0x007f_ffff | 0x0080_0000, (13 + (-14 - exponent)) as u32, 0)
    } else {
        return sign;
    };
    let kept = significand >> shift;
    let dropped = significand & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    let up = dropped > half || dropped == half && kept & 1 == 1;
    // A carry out of the fraction moves into the exponent, as it should.
    sign | (base + kept + u32::from(up)) as u16
}

/// Rounds to bfloat16, ties to even; NaN gives the canonical NaN.
pub fn f32_to_bf16(x: f32) -> u16 {
    if x.is_nan() {
        return crate::tensor::NAN_BF16_BITS;
    }
    let bits = x.to_bits();
    let up = 0x7fff + (bits >> 16 & 1);
    ((bits + up) >> 16) as u16
}

/// Rounds to binary16 from f64 in one step (through f32 rounded to odd, so that there is no double rounding).
pub fn f64_to_f16(x: f64) -> u16 {
    f32_to_f16(round_to_odd(x))
}

/// Rounds to bfloat16 from f64 in one step.
pub fn f64_to_bf16(x: f64) -> u16 {
    f32_to_bf16(round_to_odd(x))
}

/// f64 to f32 with the last bit set when inexact, which keeps a later rounding to fewer bits correct.
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    if x.is_nan() || f64::from(nearest) == x {
        return nearest;
    }
    if nearest.is_infinite() {
        return nearest;
    }
    let truncated = if f64::from(nearest).abs() > x.abs() { f32::from_bits(nearest.to_bits() - 1) } else { nearest };
    f32::from_bits(truncated.to_bits() | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let is_nan = bits & 0x7fff > 0x7c00;
            assert_eq!(f32_to_f16(f16_to_f32(bits)), if is_nan { 0x7e00 } else { bits });
            let is_nan = bits & 0x7fff > 0x7f80;
            assert_eq!(f32_to_bf16(bf16_to_f32(bits)), if is_nan { 0x7fc0 } else { bits });
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_even() {
        // For each neighbouring pair of positive halves: the midpoint goes to the even one, its neighbours to the nearer one.
        for low in 0..0x7bffu16 {
            let (a, b) = (f16_to_f32(low), f16_to_f32(low + 1));
            let middle = (a + b) / 2.0;
            let even = if low & 1 == 0 { low } else { low + 1 };
            assert_eq!(f32_to_f16(middle), even);
            assert_eq!(f32_to_f16(f32::from_bits(middle.to_bits() - 1)), low);
            assert_eq!(f32_to_f16(f32::from_bits(middle.to_bits() + 1)), low + 1);
            assert_eq!(f64_to_f16(f64::from_bits(f64::from(middle).to_bits() + 1)), low + 1);
        }
        assert_eq!(f32_to_f16(65519.9), 0x7bff);
        assert_eq!(f32_to_f16(65520.0), 0x7c00);
        assert_eq!(f32_to_f16(-1e9), 0xfc00);
    }
}
