//! binary16 and bfloat16 as the bits that tensors hold, for JSON: widened exactly, narrowed to the nearest, ties to even.

/// Significand bits of binary16 behind the point.
const F16_DIGITS: i32 = 10;
/// The least exponent of normal binary16 numbers.
const F16_EXPONENT_MIN: i32 = -14;

/// The value of binary16 bits.
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, digits) = (i32::from(bits >> F16_DIGITS & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0x1f if digits == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        0 => sign * digits * 2f32.powi(F16_EXPONENT_MIN - F16_DIGITS),
        _ => sign * (digits + 1024.0) * 2f32.powi(exponent - 1 + F16_EXPONENT_MIN - F16_DIGITS),
    }
}

/// The nearest binary16.
pub fn f64_to_f16(x: f64) -> u16 {
    let sign = u16::from(x.is_sign_negative()) << 15;
    let size = x.abs();
    if x.is_nan() {
        return 0x7e00;
    }
    // From halfway between the greatest number and 2^16 on.
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(F16_EXPONENT_MIN);
    let units = (size / 2f64.powi(exponent - F16_DIGITS)).round_ties_even();
    // A significand that rounds up to 2^11 carries into the exponent by itself.
    sign | ((((exponent - F16_EXPONENT_MIN) as u16) << F16_DIGITS) + units as u16)
}

/// The value of bfloat16 bits.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bfloat16 of the nearest f32.
pub fn f64_to_bf16(x: f64) -> u16 {
    let bits = (x as f32).to_bits();
    if x.is_nan() {
        return 0x7fc0;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back() {
        for bits in 0..=u16::MAX {
            let (f16, bf16) = (f16_to_f32(bits), bf16_to_f32(bits));
            assert!(f16.is_nan() || f64_to_f16(f64::from(f16)) == bits, "{bits:#x}");
            assert!(bf16.is_nan() || f64_to_bf16(f64::from(bf16)) == bits, "{bits:#x}");
        }
        assert_eq!((f64_to_f16(f64::NAN), f64_to_bf16(f64::NAN)), (0x7e00, 0x7fc0));
    }

    #[test]
    fn halfway_goes_to_even() {
        for bits in (0..0x7bffu16).step_by(7) {
            let middle = (f64::from(f16_to_f32(bits)) + f64::from(f16_to_f32(bits + 1))) / 2.0;
            assert_eq!(f64_to_f16(middle), bits + (bits & 1), "{bits:#x}");
            assert_eq!(f64_to_f16(-middle), 0x8000 | (bits + (bits & 1)), "{bits:#x}");
            assert_eq!(f64_to_f16(middle * (1.0 + 1e-12)), bits + 1, "{bits:#x}");
        }
        assert_eq!((f64_to_f16(65519.9), f64_to_f16(65520.0)), (0x7bff, 0x7c00));
    }
}
