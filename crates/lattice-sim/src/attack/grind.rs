//! Grinding: what can be chosen is chosen. A VRF is unique, so the only choice is which of one's last blocks of a seed's
//! window to publish: t of them at the window's end give 2^t seeds, of which the adversary takes the one under which it
//! wins most slots of the next epoch.

use super::{
    arena::{Arena, Draft, Favour, NEVER, Party, VALIDATORS},
    view::View,
};

/// Slots before the end of the window that are played: long enough to forget how they began.
const WINDOW_SLOTS: u64 = 80;
/// Slots of the epoch that the seed rules.
const EPOCH_SLOTS: u64 = 1_200;
/// Bits of choice from which more no longer matters for what a laptop can try.
const BITS_MAX: u32 = 12;

/// How often the adversary wins in an epoch whose seed it ground, over how often its share says. Every block of the
/// adversary that is a chain block at the end of the window counts as a bit of choice, whether it is published or not.
pub fn gain(share: u32, favour: Favour, delay_slots: u64, seed: u64) -> f64 {
    let mut arena = Arena::new(favour, seed);
    let mut view = View::new();
    for slot in 1..=WINDOW_SLOTS {
        view.advance(&arena, slot, |_| false);
        for (party, validators) in [(Party::Honest, VALIDATORS - share), (Party::Adversary, share)] {
            for _ in 0..arena.wins(validators) {
                let vrf_hash = arena.vrf_hash(party);
                let parents = view.parents(&arena);
                let hash = arena.add(Draft { party, slot, vrf_hash, seen: [NEVER; 2] }, parents);
                view.expect(slot + if party == Party::Honest { delay_slots } else { 1 }, hash);
            }
        }
    }
    let sink = view.sink(&arena);
    let tail = arena.selected_chain(&sink).take_while(|hash| arena.party(hash) == Party::Adversary).count();
    let seeds = 1u32 << BITS_MAX.min(tail as u32);
    let draws = EPOCH_SLOTS * u64::from(share);
    let best = (0..seeds).map(|_| arena.wins_of_draws(draws)).max().unwrap_or(0);
    best as f64 / (draws as f64 * arena.chance()) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_share_gains_a_little() {
        let favour = Favour { class: true, vrf: true, work: false };
        let mean = |share| (0..12).map(|seed| gain(share, favour, 4, seed)).sum::<f64>() / 12.0;
        let (small, large) = (mean(10), mean(45));
        assert!(small.abs() < 0.1 && large > 0.0 && large < 0.3, "{small} {large}");
    }
}
