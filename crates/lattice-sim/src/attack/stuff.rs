//! Stuffing: many blocks side by side upon an old one, let go at once, so that honest blocks find no place among the
//! parents, in the mergeset or in the k-cluster.

use super::arena::{Arena, Draft, Favour, NEVER, Party, VALIDATORS};
use alloy_primitives::B256;

/// Slots of a run: two minutes.
const SLOTS: u64 = 480;
/// Slots between two bursts.
const BURST_SLOTS: u64 = 60;
/// Slots after which an unmerged block counts as starved: more than a checkpoint's lag.
const STARVED_SLOTS: u64 = 24;

/// How a run of stuffing is set up.
#[derive(Debug, Clone, Copy)]
pub struct Stuffing {
    /// The adversary's share of the stake, hundredths.
    pub share: u32,
    /// What favours it.
    pub favour: Favour,
    /// Slots until a block is seen by the others.
    pub delay_slots: u64,
    /// Blocks that the adversary makes of each slot that it wins.
    pub copies: u32,
}

/// What became of the honest blocks of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Harm {
    /// Share of the honest blocks that are blue on the final selected chain.
    pub blue: f64,
    /// Share of the honest blocks that nobody had merged into the selected chain after `STARVED_SLOTS` slots.
    pub starved: f64,
}

impl Stuffing {
    /// Runs it.
    pub fn run(&self, seed: u64) -> Harm {
        let mut arena = Arena::new(self.favour, seed);
        let mut honest: Vec<(u64, B256)> = Vec::new();
        let mut reserve: Vec<(u64, B256)> = Vec::new();
        let mut starved = 0;
        for slot in 1..=SLOTS {
            starved += self.starved(&arena, &honest, slot);
            for _ in 0..arena.wins(VALIDATORS - self.share) {
                let vrf_hash = arena.vrf_hash(Party::Honest);
                let seen = [slot + self.delay_slots; 2];
                honest.push((slot, arena.make_in(0, Draft { party: Party::Honest, slot, vrf_hash, seen })));
            }
            for _ in 0..arena.wins(self.share) {
                reserve.push((slot, arena.vrf_hash(Party::Adversary)));
            }
            if slot % BURST_SLOTS == 0 {
                self.burst(&mut arena, &mut reserve, slot);
            }
        }
        let end = SLOTS + self.delay_slots;
        let sink = arena.sink(0, end);
        let blue = arena.blues(&sink);
        let settled: Vec<_> = honest.iter().filter(|(slot, _)| slot + STARVED_SLOTS < SLOTS).collect();
        let count = settled.len().max(1) as f64;
        let kept = settled.iter().filter(|(_, hash)| blue.contains(hash)).count();
        Harm { blue: kept as f64 / count, starved: starved as f64 / count }
    }

    /// Honest blocks whose time is over now and that the sink does not have in its past.
    fn starved(&self, arena: &Arena, honest: &[(u64, B256)], slot: u64) -> usize {
        let Some(due) = slot.checked_sub(STARVED_SLOTS) else { return 0 };
        let sink = arena.sink(0, slot);
        let due = honest.iter().filter(|(made, _)| *made == due);
        due.filter(|(_, hash)| *hash != sink && !arena.is_ancestor(hash, &sink)).count()
    }

    /// All kept wins at once, each upon the block that was the sink's chain block before the first of them.
    fn burst(&self, arena: &mut Arena, reserve: &mut Vec<(u64, B256)>, slot: u64) {
        let Some(first) = reserve.first().map(|win| win.0) else { return };
        let sink = arena.sink(0, slot);
        let base = arena.chain_block_at_slot(&sink, first - 1);
        for (win_slot, vrf_hash) in reserve.drain(..) {
            let draft = Draft { party: Party::Adversary, slot: win_slot, vrf_hash, seen: [NEVER; 2] };
            for _ in 0..self.copies {
                let hash = arena.add(draft, vec![base]);
                arena.show(&hash, slot + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_the_honest_are_blue_and_merged() {
        let favour = Favour { class: true, vrf: true, work: false };
        let harm = Stuffing { share: 0, favour, delay_slots: 4, copies: 1 }.run(3);
        assert!(harm.blue > 0.99 && harm.starved == 0.0, "{harm:?}");
    }
}
