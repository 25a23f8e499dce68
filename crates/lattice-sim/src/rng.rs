//! The only source of chance: a small generator with a seed, so that a run can be told again from its seed alone.

/// xoshiro256** (Blackman, Vigna, 2018), seeded by SplitMix64. Not for keys.
#[derive(Debug, Clone)]
pub struct Rng([u64; 4]);

/// One step of SplitMix64, which turns any seed into well-mixed words.
const fn split_mix(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, mixed ^ (mixed >> 31))
}

impl Rng {
    /// A generator for this seed.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            let (next, word) = split_mix(state);
            state = next;
            word
        }))
    }

    /// A generator of its own for one purpose: what one part draws never shifts what another part sees.
    pub fn of_purpose(seed: u64, purpose: u64) -> Self {
        Self::new(split_mix(seed ^ split_mix(purpose).1).1)
    }

    /// 64 random bits.
    pub const fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`; 0 when the bound is 0. The bias of at most bound / 2^64 does not matter here.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True this often in a million.
    pub const fn chance(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < ppm as u64
    }

    /// One of the items, or none of an empty list.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Puts the items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_are_those_of_the_reference() {
        // SplitMix64 from 0, as in Vigna's reference implementation.
        let mut state = 0;
        let words: Vec<u64> = (0..3)
            .map(|_| {
                let (next, word) = split_mix(state);
                state = next;
                word
            })
            .collect();
        assert_eq!(words, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn bounds_hold_and_chances_come_true() {
        let mut rng = Rng::new(1);
        let mut hits = [0u32; 5];
        for _ in 0..50_000 {
            hits[rng.below(5) as usize] += 1;
        }
        assert!(hits.iter().all(|&count| (9_600..10_400).contains(&count)), "{hits:?}");
        let rare = (0..100_000).filter(|_| rng.chance(10_000)).count();
        assert!((850..1_150).contains(&rare), "{rare}");
        assert_eq!(rng.below(0), 0);
        assert!((0..1_000).all(|_| (3..=4).contains(&rng.between(3, 4))));
    }

    #[test]
    fn purposes_do_not_share_a_stream() {
        assert_ne!(Rng::of_purpose(7, 1).next(), Rng::of_purpose(7, 2).next());
        assert_eq!(Rng::of_purpose(7, 1).next(), Rng::of_purpose(7, 1).next());
    }
}
