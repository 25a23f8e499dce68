//! Withholding: the adversary builds in secret beside a block that it wants to see gone, and publishes when it is ahead.
//!
//! Everything is in its favour: it sees every honest block at once, honest ones see each other's only after the whole
//! delay; it hides blocks from before the victim was made, so that it starts with the greatest lead that k allows; it
//! merges every honest block but the victim and its future; it may wait as long as it likes.

use super::{
    arena::{Arena, Draft, Favour, NEVER, Party, VALIDATORS},
    view::View,
};
use alloy_primitives::B256;

/// Confirmations (blue score above the victim) after which the victim is believed.
pub const DEPTHS: [u64; 3] = [10, 20, 40];
/// Slots of hidden work before the victim is made.
const HEAD_START_SLOTS: u64 = 80;
/// Slots after the head start in which the adversary may still win.
const HORIZON_SLOTS: u64 = 480;
/// Blocks of deficit from which it gives up at the latest.
const DEFICIT_MAX: f64 = 80.0;
/// It gives up when its chance to catch up has fallen below this.
const HOPE_MIN: f64 = 1e-6;

/// How a race is run.
#[derive(Debug, Clone, Copy)]
pub struct Race {
    /// The adversary's share of the stake, hundredths.
    pub share: u32,
    /// What favours it.
    pub favour: Favour,
    /// Slots until an honest block is seen by the other honest ones.
    pub delay_slots: u64,
    /// Blocks that the adversary makes of each slot that it wins: more than one is an equivocation.
    pub copies: u32,
    /// Millionths by which the adversary wins more often than its share says (a ground seed).
    pub boost_ppm: u32,
}

/// Both sides of a race.
struct Sides {
    arena: Arena,
    honest: View,
    adversary: View,
    victim: Option<B256>,
}

impl Sides {
    fn new(race: &Race, seed: u64) -> Self {
        let arena = Arena::new(race.favour, seed);
        Self { arena, honest: View::new(), adversary: View::new(), victim: None }
    }

    /// Both sides see what a slot brings them; the adversary looks away from the victim and its future.
    fn advance(&mut self, slot: u64) {
        let Self { arena, honest, adversary, victim } = self;
        honest.advance(arena, slot, |_| false);
        let is_cursed = |hash: &B256| victim.is_some_and(|v| v == *hash || arena.is_ancestor(&v, hash));
        adversary.advance(arena, slot, is_cursed);
    }

    fn honest_blocks(&mut self, slot: u64, race: &Race) {
        for _ in 0..self.arena.wins(VALIDATORS - race.share) {
            let vrf_hash = self.arena.vrf_hash(Party::Honest);
            let draft = Draft { party: Party::Honest, slot, vrf_hash, seen: [NEVER; 2] };
            let parents = self.honest.parents(&self.arena);
            let hash = self.arena.add(draft, parents);
            self.honest.expect(slot + race.delay_slots, hash);
            self.adversary.expect(slot + 1, hash);
            if self.victim.is_none() && slot > HEAD_START_SLOTS {
                self.victim = Some(hash);
            }
        }
    }

    fn hidden_blocks(&mut self, slot: u64, race: &Race) {
        for _ in 0..self.arena.wins_boosted(race.share, race.boost_ppm) {
            let vrf_hash = self.arena.vrf_hash(Party::Adversary);
            let draft = Draft { party: Party::Adversary, slot, vrf_hash, seen: [NEVER; 2] };
            for _ in 0..race.copies {
                let parents = self.adversary.parents(&self.arena);
                let hash = self.arena.add(draft, parents);
                self.adversary.expect(slot + 1, hash);
            }
        }
    }
}

impl Race {
    /// Work of deficit from which the race is lost. Wins come as in two Poisson processes, one of rate p for it and one of
    /// rate q against it, so it ever makes up for d blocks with a chance of (p/q)^d (the gambler's ruin; nearly so when
    /// its blocks weigh more).
    fn deficit_max(&self) -> u128 {
        let (ours, theirs, unit) = if self.favour.work { (17.0, 16.0, 16.0) } else { (1.0, 1.0, 1.0) };
        let boost = 1.0 + f64::from(self.boost_ppm) / 1e6;
        let ratio = ours * boost * f64::from(self.share) / (theirs * f64::from(VALIDATORS - self.share));
        let blocks = if ratio < 1.0 { (HOPE_MIN.ln() / ratio.ln()).min(DEFICIT_MAX) } else { DEFICIT_MAX };
        // Honest blocks on their way count for it and not yet against it.
        let on_their_way = self.delay_slots as f64;
        ((blocks + on_their_way) * unit) as u128
    }

    /// Runs it. For each of [`DEPTHS`], whether the victim was reverted at some time after it had that many confirmations.
    pub fn run(&self, seed: u64) -> [bool; DEPTHS.len()] {
        let mut sides = Sides::new(self, seed);
        let mut reverted = [false; DEPTHS.len()];
        let deficit_max = self.deficit_max();
        for slot in 1..=HEAD_START_SLOTS + HORIZON_SLOTS {
            sides.advance(slot);
            if let Some(victim) = sides.victim {
                let arena = &sides.arena;
                let (public, hidden) = (sides.honest.sink(arena), sides.adversary.sink(arena));
                let (ours, theirs) = (arena.key(&public), arena.key(&hidden));
                let confirmations = arena.blue_score(&public).saturating_sub(arena.blue_score(&victim));
                for (depth, reverted) in DEPTHS.iter().zip(&mut reverted) {
                    *reverted |= confirmations >= *depth && theirs > ours;
                }
                if ours.blue_work.saturating_sub(theirs.blue_work) > deficit_max || reverted[DEPTHS.len() - 1] {
                    break;
                }
            }
            sides.honest_blocks(slot, self);
            sides.hidden_blocks(slot, self);
        }
        reverted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAIR: Favour = Favour { class: false, vrf: false, work: false };

    fn successes(race: Race, runs: u64) -> [usize; DEPTHS.len()] {
        let outcomes: Vec<_> = (0..runs).map(|seed| race.run(seed)).collect();
        std::array::from_fn(|depth| outcomes.iter().filter(|outcome| outcome[depth]).count())
    }

    #[test]
    fn a_majority_reverts_and_a_small_minority_does_not() {
        let race = Race { share: 60, favour: FAIR, delay_slots: 4, copies: 1, boost_ppm: 0 };
        assert!(successes(race, 8)[2] >= 7);
        assert_eq!(successes(Race { share: 10, ..race }, 40)[2], 0);
    }

    #[test]
    fn a_run_is_told_again_by_its_seed() {
        let race = Race { share: 40, favour: FAIR, delay_slots: 4, copies: 1, boost_ppm: 0 };
        assert_eq!(successes(race, 10), successes(race, 10));
    }
}
