//! Scales as integers: a multiplier and a shift, made once when a model is frozen. `docs/spec/quantised.md` has the rules.

use super::isa::{Isa, integer_kernel};
use super::product::{MR, NR, Tile};
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

/// Shifts for which rescaling is the upper half of one 64-bit sum: no shift of 64 bits is left to do, and the zero point fits
/// below the sign.
const UPPER: core::ops::RangeInclusive<u32> = 32..=53;

/// What becomes of sums: store(scale(x + bias)), ready for the kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounding {
    pub(crate) bias: i32,
    scale: Scale,
    pub(crate) range: Range,
    /// Half of 2^shift and the zero point times 2^shift.
    addend: i64,
}

impl Rounding {
    pub(crate) fn new(bias: i32, scale: Scale, range: Range) -> Rounding {
        let addend = match UPPER.contains(&scale.shift) {
            true => (1 << (scale.shift - 1)) + (i64::from(range.zero) << scale.shift),
            false => 0,
        };
        Rounding { bias, scale, range, addend }
    }

    /// Whether [`Rounding::upper`] holds.
    #[inline(always)]
    fn is_upper(&self) -> bool {
        UPPER.contains(&self.scale.shift)
    }

    /// The stored integer for a shift within [`UPPER`]. floor(v / 2^shift) = floor(floor(v / 2^32) / 2^(shift - 32)), and
    /// |v| < 2^62 + 2^52 + 2^61.
    #[inline(always)]
    fn upper(&self, x: i32) -> u8 {
        let x = i64::from(x.wrapping_add(self.bias));
        let v = x.wrapping_mul(i64::from(self.scale.multiplier)).wrapping_add(self.addend);
        let rounded = ((v >> 32) as i32).wrapping_shr(self.scale.shift.wrapping_sub(32));
        rounded.clamp(self.range.low, self.range.high) as u8
    }

    /// The stored integer for any shift.
    #[inline(always)]
    pub(crate) fn any(&self, x: i32) -> u8 {
        self.range.store(self.scale.apply(x.wrapping_add(self.bias)))
    }

    /// The stored integers of a row.
    #[inline(always)]
    pub(crate) fn row(&self, x: &[i32], y: &mut [u8]) {
        let pairs = x.iter().zip(y.iter_mut());
        match self.is_upper() {
            true => pairs.for_each(|(x, y)| *y = self.upper(*x)),
            false => pairs.for_each(|(x, y)| *y = self.any(*x)),
        }
    }
}

/// `y[i] = rounding(x[i])`.
pub(crate) fn requantize_row(isa: Isa, x: &[i32], rounding: &Rounding, y: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Vnni && rounding.is_upper() {
        assert_eq!(x.len(), y.len());
        // SAFETY: the kind is only made after detection; the lengths were asserted.
        return unsafe { x86::row(x, rounding, y) };
    }
    requantize_plainly(isa, x, rounding, y);
}

integer_kernel! {
    fn requantize_plainly(x: &[i32], rounding: &Rounding, y: &mut [u8]) {
        rounding.row(x, y);
    }
}

/// Stores the rows of a tile, each by its own rounding; all have the same range.
pub(crate) fn requantize_tile(isa: Isa, tile: &Tile, roundings: &[Rounding], y: &mut [u8; MR * NR]) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Vnni && roundings.iter().all(Rounding::is_upper) {
        // SAFETY: the kind is only made after detection.
        return unsafe { x86::tile(tile, roundings, y) };
    }
    tile_plainly(isa, tile, roundings, y);
}

integer_kernel! {
    fn tile_plainly(tile: &Tile, roundings: &[Rounding], y: &mut [u8; MR * NR]) {
        let rows = tile.as_chunks::<NR>().0.iter().zip(y.as_chunks_mut::<NR>().0);
        for ((x, y), rounding) in rows.zip(roundings) {
            rounding.row(x, y);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{MR, NR, Range, Rounding, Tile};
    use core::arch::x86_64::*;

    /// A rounding in all lanes.
    #[derive(Clone, Copy)]
    struct Lanes {
        bias: __m512i,
        multiplier: __m512i,
        addend: __m512i,
        shift: __m128i,
    }

    /// What keeps results in their range. They are moved by 128 where they would not fit i8, so that signed saturation serves
    /// both types.
    #[derive(Clone, Copy)]
    struct Bounds {
        low: __m512i,
        high: __m512i,
        flip: __m512i,
    }

    fn moved(range: Range) -> i32 {
        if range.high > 127 { 128 } else { 0 }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn bounds(range: Range) -> Bounds {
        let moved = moved(range);
        let byte = |v: i32| _mm512_set1_epi8(v as i8);
        Bounds { low: byte(range.low - moved), high: byte(range.high - moved), flip: byte(moved) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn lanes(rounding: &Rounding) -> Lanes {
        let shift = rounding.scale.shift;
        Lanes {
            bias: _mm512_set1_epi32(rounding.bias),
            multiplier: _mm512_set1_epi64(rounding.scale.multiplier.into()),
            addend: _mm512_set1_epi64(rounding.addend - (i64::from(moved(rounding.range)) << shift)),
            shift: _mm_cvtsi32_si128(shift as i32 - 32),
        }
    }

    impl Lanes {
        /// [`Rounding::upper`] before it is clamped: the products of even and odd lanes apart, their upper halves together.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        fn upper(self, x: __m512i) -> __m512i {
            let x = _mm512_add_epi32(x, self.bias);
            let odd = _mm512_srli_epi64::<32>(x);
            let even = _mm512_add_epi64(_mm512_mul_epi32(x, self.multiplier), self.addend);
            let odd = _mm512_add_epi64(_mm512_mul_epi32(odd, self.multiplier), self.addend);
            let upper = _mm512_mask_shuffle_epi32::<0xf5>(odd, 0x5555, even);
            _mm512_sra_epi32(upper, self.shift)
        }
    }

    impl Bounds {
        /// Four times 16 results as bytes.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        fn pack(self, x: [__m512i; 4]) -> __m512i {
            // Packing works inside each quarter of a register.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let (low, high) = (_mm512_packs_epi32(x[0], x[1]), _mm512_packs_epi32(x[2], x[3]));
            let bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
            let bytes = _mm512_min_epi8(_mm512_max_epi8(bytes, self.low), self.high);
            _mm512_xor_si512(bytes, self.flip)
        }
    }

    /// # Safety
    /// AVX-512 with its byte instructions; `x` and `y` are equally long, and the rounding is an upper one.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn row(x: &[i32], rounding: &Rounding, y: &mut [u8]) {
        let (lanes, bounds) = (lanes(rounding), bounds(rounding.range));
        for (x, y) in x.chunks(64).zip(y.chunks_mut(64)) {
            let mask = u64::MAX >> (64 - x.len());
            let part = |i: usize| {
                let at = x.as_ptr().wrapping_add(16 * i).cast();
                // SAFETY: masked lanes are not read, the others lie in `x`.
                lanes.upper(unsafe { _mm512_maskz_loadu_epi32((mask >> (16 * i)) as u16, at) })
            };
            let bytes = bounds.pack([part(0), part(1), part(2), part(3)]);
            // SAFETY: masked lanes are not written, the others lie in `y`.
            unsafe { _mm512_mask_storeu_epi8(y.as_mut_ptr().cast(), mask, bytes) };
        }
    }

    /// # Safety
    /// AVX-512 with its byte instructions; all roundings are upper ones of the same range.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn tile(tile: &Tile, roundings: &[Rounding], y: &mut [u8; MR * NR]) {
        let Some(first) = roundings.first() else { return };
        let bounds = bounds(first.range);
        // Two rows fill a register; the last of an odd number comes with itself.
        let rows = tile.as_chunks::<{ 2 * NR }>().0.iter().zip(y.as_chunks_mut::<{ 2 * NR }>().0);
        for ((x, y), roundings) in rows.zip(roundings.chunks(2)) {
            let (one, two) = (lanes(&roundings[0]), lanes(&roundings[roundings.len() - 1]));
            // SAFETY: two rows are 64 words.
            let part = |i: usize| unsafe { _mm512_loadu_si512(x.as_ptr().wrapping_add(16 * i).cast()) };
            let bytes = bounds.pack([one.upper(part(0)), one.upper(part(1)), two.upper(part(2)), two.upper(part(3))]);
            // SAFETY: two rows are 64 bytes.
            unsafe { _mm512_storeu_si512(y.as_mut_ptr().cast(), bytes) };
        }
    }
}

/// The roundings of neighbouring columns.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    roundings: Vec<Rounding>,
    /// Their parts, where all are [`Rounding::upper`].
    parts: Option<Parts>,
}

/// The parts of roundings each by itself, so that lanes load them.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    biases: Vec<i32>,
    multipliers: Vec<i32>,
    addends: Vec<i64>,
    shifts: Vec<u32>,
}

impl Columns {
    pub(crate) fn new(roundings: Vec<Rounding>) -> Columns {
        let parts = roundings.iter().all(Rounding::is_upper).then(|| Parts {
            biases: roundings.iter().map(|r| r.bias).collect(),
            multipliers: roundings.iter().map(|r| r.scale.multiplier).collect(),
            addends: roundings.iter().map(|r| r.addend).collect(),
            shifts: roundings.iter().map(|r| r.scale.shift - 32).collect(),
        });
        Columns { roundings, parts }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.roundings.len() * (size_of::<Rounding>() + 20)
    }

    /// What becomes of the sums of column `at`; of all when there is one rounding.
    pub(crate) fn at(&self, at: usize) -> &Rounding {
        &self.roundings[if self.roundings.len() == 1 { 0 } else { at }]
    }

    /// What becomes of the sums of some columns, when each has its own.
    pub(crate) fn some(&self, at: core::ops::Range<usize>) -> &[Rounding] {
        &self.roundings[at]
    }

    /// `y[i] = rounding[i](x[i] + extra)` for some columns.
    pub(crate) fn row(&self, isa: Isa, x: &[i32], extra: i32, at: core::ops::Range<usize>, y: &mut [u8]) {
        match (&self.roundings[..], &self.parts) {
            ([one], _) => requantize_row(isa, x, &Rounding { bias: one.bias.wrapping_add(extra), ..*one }, y),
            (all, None) => {
                let pairs = x.iter().zip(&all[at]).zip(y);
                pairs.for_each(|((x, rounding), y)| *y = rounding.any(x.wrapping_add(extra)));
            }
            (all, Some(parts)) => upper_columns(isa, x, extra, parts, at, all[0].range, y),
        }
    }
}

integer_kernel! {
    /// [`Rounding::upper`] of neighbouring columns.
    fn upper_columns(x: &[i32], extra: i32, parts: &Parts, at: core::ops::Range<usize>, range: Range, y: &mut [u8]) {
        let Parts { biases, multipliers, addends, shifts } = parts;
        let (biases, multipliers) = (&biases[at.clone()], &multipliers[at.clone()]);
        let parts = biases.iter().zip(multipliers).zip(&addends[at.clone()]).zip(&shifts[at]);
        for ((x, y), (((bias, multiplier), addend), shift)) in x.iter().zip(y.iter_mut()).zip(parts) {
            let x = x.wrapping_add(extra).wrapping_add(*bias);
            let v = i64::from(x).wrapping_mul(i64::from(*multiplier)).wrapping_add(*addend);
            *y = ((v >> 32) as i32).wrapping_shr(*shift).clamp(range.low, range.high) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
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
            rows in proptest::collection::vec((any::<i32>(), any::<i32>(), 0..=i32::MAX, 1..=SHIFT_MAX), 1..80),
            (is_upper, is_signed) in (any::<bool>(), any::<bool>()),
            bounds in any::<[u8; 3]>(),
        ) {
            let [zero, low, high] = bounds.map(|v| i32::from(v) - if is_signed { 128 } else { 0 });
            let range = Range { zero, low: low.min(high), high: low.max(high) };
            let within = |shift: u32| if is_upper { UPPER.start() + shift % (UPPER.end() - UPPER.start() + 1) } else { shift };
            let rows: Vec<_> = rows.into_iter().map(|r| (r.0, r.1, r.2, within(r.3))).collect();
            let x: Vec<i32> = rows.iter().map(|r| r.0).collect();
            let roundings: Vec<Rounding> =
                rows.iter().map(|r| Rounding::new(r.1, Scale { multiplier: r.2, shift: r.3 }, range)).collect();
            let want: Vec<u8> = rows.iter().map(|&(x, bias, multiplier, shift)| {
                let exact = i128::from(x.wrapping_add(bias)) * i128::from(multiplier);
                let rounded = (2 * exact + (1i128 << shift)).div_euclid(2i128 << shift) + i128::from(zero);
                rounded.clamp(range.low.into(), range.high.into()) as u8
            }).collect();
            let columns = Columns::new(roundings.clone());
            for isa in Isa::all() {
                let mut y = vec![0; x.len()];
                columns.row(isa, &x, 0, 0..x.len(), &mut y);
                prop_assert_eq!(&y, &want);
                for i in 0..x.len() {
                    requantize_row(isa, &x[i..=i], &roundings[i], &mut y[i..=i]);
                }
                prop_assert_eq!(&y, &want);
                let (one, mut y) = (&roundings[0], vec![0; x.len()]);
                requantize_row(isa, &x, one, &mut y);
                prop_assert_eq!(y, x.iter().map(|&x| one.any(x)).collect::<Vec<u8>>());
                let (rows, mut y) = (&roundings[..x.len().min(MR)], [0; MR * NR]);
                let tile: Tile = core::array::from_fn(|i| x[i % x.len()]);
                requantize_tile(isa, &tile, rows, &mut y);
                for (i, (x, y)) in tile.iter().zip(y).enumerate().take(rows.len() * NR) {
                    prop_assert_eq!(y, rows[i / NR].any(*x));
                }
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
