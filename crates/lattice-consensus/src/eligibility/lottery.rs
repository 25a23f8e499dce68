//! The lottery: `H(y) / 2^256 < 1 - (1-f)^(stake/total)`, in integers.
//!
//! With this threshold a stake wins equally often whether it is held in one piece or split among many validators,
//! because the chances not to win multiply (Ouroboros Praos, independent aggregation).

use alloy_primitives::{B256, U256, U512};

/// Millionths in one.
pub const PPM: u32 = 1_000_000;

/// Fraction bits of the fixed-point numbers here.
const BITS: usize = 192;
/// The exponent is halved this often before the series, and the result doubled as often.
const HALVINGS: usize = 6;

/// The active-slot coefficient is no probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the active-slot coefficient is {0} millionths, it must be between 1 and 999,999")]
pub struct InvalidRate(pub u32);

/// The lottery of one chain: the active-slot coefficient f, which is the chance that somebody wins a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lottery {
    /// `-ln(1-f)`, scaled by 2^192. Less than 14.
    exponent: U512,
}

fn one() -> U512 {
    U512::from(1) << BITS
}

fn multiply(a: U512, b: U512) -> U512 {
    (a * b) >> BITS
}

/// `ln(numerator / denominator)` for a quotient in 1..=2, scaled: twice the area tangent of z = (n-d)/(n+d) <= 1/3.
fn ln_to_two(numerator: U512, denominator: U512) -> U512 {
    let z = ((numerator - denominator) << BITS) / (numerator + denominator);
    let square = multiply(z, z);
    let (mut power, mut sum, mut divisor) = (z, U512::ZERO, 1u64);
    while !power.is_zero() {
        sum += power / U512::from(divisor);
        power = multiply(power, square);
        divisor += 2;
    }
    sum << 1
}

impl Lottery {
    /// A lottery with f in millionths.
    pub fn new(active_slot_ppm: u32) -> Result<Self, InvalidRate> {
        if active_slot_ppm == 0 || active_slot_ppm >= PPM {
            return Err(InvalidRate(active_slot_ppm));
        }
        // -ln(1-f) = ln(1,000,000 / left), with the quotient brought to 1..2 by halving.
        let mut left = U512::from(PPM - active_slot_ppm);
        let whole = U512::from(PPM);
        let mut halvings = 0u64;
        while left << 1 <= whole {
            left <<= 1;
            halvings += 1;
        }
        let ln_two = ln_to_two(U512::from(2), U512::from(1));
        Ok(Self { exponent: ln_to_two(whole, left) + ln_two * U512::from(halvings) })
    }

    /// `2^256 * (1 - (1-f)^(stake/total))`, at most 2^80 away from the true value (2^-176 as a chance).
    ///
    /// Stakes may be in any unit. No stake and an empty total give zero: nobody wins. A stake above the total counts as
    /// the total.
    pub fn threshold(&self, stake: u128, total: u128) -> U256 {
        if total == 0 {
            return U256::ZERO;
        }
        let share = U512::from(stake.min(total));
        // x <= 14, so y <= 14/64 and the terms of the alternating series fall from the first one on.
        let y = (self.exponent * share / U512::from(total)) >> HALVINGS;
        let (mut term, mut plus, mut minus, mut n) = (y, U512::ZERO, U512::ZERO, 1u64);
        while !term.is_zero() {
            *(if n % 2 == 1 { &mut plus } else { &mut minus }) += term;
            n += 1;
            term = multiply(term, y) / U512::from(n);
        }
        // u = 1 - e^-y; doubling the exponent makes it u (2 - u).
        let mut chance = plus - minus;
        for _ in 0..HALVINGS {
            chance = multiply(chance, (one() << 1) - chance);
        }
        // f is at most 0.999999, far enough below one that rounding cannot reach it.
        U256::from(chance) << (256 - BITS)
    }

    /// Whether a VRF output with this hash wins for this stake.
    pub fn is_winner(&self, vrf_hash: &B256, stake: u128, total: u128) -> bool {
        U256::from_be_bytes(vrf_hash.0) < self.threshold(stake, total)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// (f in millionths, stake, total, true value rounded down), the last one computed with 120 decimal digits:
    /// `int((1 - ((1-f).ln() * s/t).exp()) * 2**256)` in Python's `decimal`.
    const TRUE_VALUES: [(u32, u128, u128, &str); 13] = [
        (632_000, 1, 1, "a1cac083126e978d4fdf3b645a1cac083126e978d4fdf3b645a1cac083126e97"),
        (632_000, 1, 2, "64b3e4dca70ec33e86227abc46985a37b807c3669211ed2e413fb70784b2cece"),
        (632_000, 1, 1024, "3ff2a3b49a8f516887948bb501cebf6c226f778eeb5c7ac4a66d92327c11d1"),
        (632_000, 333, 1000, "487c9f75d470fda98f88330e1b3b59fbc831602160d5c47878eae649b6b4490d"),
        (632_000, 10u128.pow(18), 10u128.pow(28), "6dea465ec3375808fab8bbe1f9cc61c539e9d83747a730cf791ccfdd"),
        (632_000, 1, 1 << 64, "ffea86ca822c2940a3d895ada24d95145630c22fc0ffc76c"),
        (50_000, 1, 7, "1de77a2955d9357a3f7f819461507bc5544809d2d643dc91098c81691d3a019"),
        (999_999, 1, 1, "ffffef39085f4a1272c94b380cb6c7a7c9de050374ff865d7cb2d905c0336156"),
        (999_999, 2, 3, "fff972474538ef34d6a161e4f765fd8adab9f559b3d07c84b5dcc63f141205bc"),
        (1, 1, 1, "10c6f7a0b5ed8d36b4c7f34938583621fafc8b0079a2834d26fa3fcc9ea9"),
        (1, 1, 1_000_000, "11979a14c0d5666031c7ae7c92446b6cafe8930f9fd123e0994b507"),
        (500_000, 1, 1, "8000000000000000000000000000000000000000000000000000000000000000"),
        (500_000, 123_456_789, 987_654_321, "153f391506cd3807675ca31d73f4c63cf387825d31d936323f695bcc5229c6ad"),
    ];

    fn error_max() -> U256 {
        U256::from(1) << 80
    }

    #[test]
    fn thresholds_are_true_to_176_bits() {
        for (ppm, stake, total, expected) in TRUE_VALUES {
            let expected = U256::from_str_radix(expected, 16).unwrap();
            let found = Lottery::new(ppm).unwrap().threshold(stake, total);
            let error = found.abs_diff(expected);
            assert!(error <= error_max(), "{ppm} {stake}/{total}: {found:x} is {error:x} away");
        }
    }

    #[test]
    fn rates_are_probabilities() {
        for ppm in [0, PPM, u32::MAX] {
            assert_eq!(Lottery::new(ppm), Err(InvalidRate(ppm)));
        }
    }

    #[test]
    fn nothing_staked_never_wins_and_nothing_overflows() {
        let lottery = Lottery::new(632_000).unwrap();
        assert!(!lottery.is_winner(&B256::ZERO, 0, 1000) && !lottery.is_winner(&B256::ZERO, 5, 0));
        assert!(lottery.is_winner(&B256::ZERO, 1, u128::from(u64::MAX)));
        assert!(!lottery.is_winner(&B256::repeat_byte(0xff), u128::MAX, u128::MAX));
        assert_eq!(lottery.threshold(u128::MAX, u128::MAX), lottery.threshold(1, 1));
        assert_eq!(lottery.threshold(9, 3), lottery.threshold(3, 3));
        let hash = B256::from(lottery.threshold(1, 3));
        assert!(!lottery.is_winner(&hash, 1, 3), "the threshold itself does not win");
        assert!(lottery.is_winner(&B256::from(lottery.threshold(1, 3) - U256::from(1)), 1, 3));
    }

    proptest::proptest! {
        /// Splitting a stake neither helps nor hurts, and more stake never wins less.
        #[test]
        fn splitting_a_stake_changes_nothing(ppm in 1..PPM, a in 0u64.., b in 0u64.., rest in 1u64..) {
            let lottery = Lottery::new(ppm).unwrap();
            let (a, b) = (u128::from(a), u128::from(b));
            let total = a + b + u128::from(rest);
            let [one, two, whole] = [a, b, a + b].map(|stake| U512::from(lottery.threshold(stake, total)));
            let scale = U512::from(1) << 256;
            // 1 - (1-p)(1-q) = p + q - pq
            let joined: U512 = one + two - ((one * two) / scale);
            proptest::prop_assert!(joined.abs_diff(whole) <= U512::from(1) << 83);
            proptest::prop_assert!(one <= whole && two <= whole);
        }
    }
}
