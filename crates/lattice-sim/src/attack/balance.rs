//! Balancing: two honest halves, each on a branch of its own, and an adversary that keeps the two equally heavy.
//!
//! Within a half blocks are seen in the next slot, across only after the whole delay. The adversary keeps its wins in
//! reserve; when a half is about to leave its branch, it makes just as many blocks upon it as hold it there, shown to
//! that half first. A win serves once (or on both branches, when it equivocates).

use super::arena::{Arena, Draft, Favour, Party, VALIDATORS};
use alloy_primitives::B256;
use std::collections::VecDeque;

/// Slots of a run: two minutes.
const SLOTS: u64 = 480;
/// Checkpoints and their lag, in slots: the default network's.
const CHECKPOINT_SLOTS: u64 = 12;
/// Wins that are kept; older ones would be made below too much.
const RESERVE_MAX: usize = 64;

/// How a run of balancing is set up.
#[derive(Debug, Clone, Copy)]
pub struct Balance {
    /// The adversary's share of the stake, hundredths.
    pub share: u32,
    /// What favours it.
    pub favour: Favour,
    /// Slots until a block of one half is seen by the other.
    pub delay_slots: u64,
    /// Whether a win serves on both branches.
    pub equivocates: bool,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disagreement {
    /// Checkpoints at which the halves would vote for different blocks.
    pub split: u64,
    /// Checkpoints in all.
    pub checkpoints: u64,
    /// The longest row of split checkpoints.
    pub longest: u64,
}

/// A win that is not used yet.
#[derive(Debug, Clone, Copy)]
struct Win {
    slot: u64,
    vrf_hash: B256,
    used_by: Option<usize>,
}

impl Balance {
    /// Runs it.
    pub fn run(&self, seed: u64) -> Disagreement {
        let mut arena = Arena::new(self.favour, seed);
        let mut reserve: VecDeque<Win> = VecDeque::new();
        let mut found = Disagreement { split: 0, checkpoints: 0, longest: 0 };
        let mut row = 0;
        for slot in 1..=SLOTS {
            let before = [0, 1].map(|group| arena.sink(group, slot));
            if slot % CHECKPOINT_SLOTS == 0 && slot > 2 * CHECKPOINT_SLOTS {
                let target = |sink: &B256| arena.chain_block_at_slot(sink, slot - CHECKPOINT_SLOTS);
                let is_split = target(&before[0]) != target(&before[1]);
                row = if is_split { row + 1 } else { 0 };
                found.checkpoints += 1;
                found.split += u64::from(is_split);
                found.longest = found.longest.max(row);
            }
            for _ in 0..arena.wins(self.share) {
                let vrf_hash = arena.vrf_hash(Party::Adversary);
                reserve.push_back(Win { slot, vrf_hash, used_by: None });
            }
            while reserve.len() > RESERVE_MAX {
                reserve.pop_front();
            }
            self.honest_blocks(&mut arena, slot);
            for (group, branch) in before.iter().enumerate() {
                self.hold(&mut arena, &mut reserve, slot, group, *branch);
            }
        }
        found
    }

    fn honest_blocks(&self, arena: &mut Arena, slot: u64) {
        let honest = VALIDATORS - self.share;
        for (group, validators) in [honest / 2, honest - honest / 2].into_iter().enumerate() {
            for _ in 0..arena.wins(validators) {
                let mut seen = [slot + self.delay_slots; 2];
                seen[group] = slot + 1;
                let vrf_hash = arena.vrf_hash(Party::Honest);
                arena.make_in(group, Draft { party: Party::Honest, slot, vrf_hash, seen });
            }
        }
    }

    /// Makes blocks upon a half's branch for as long as it would leave it in the next slot and wins are left.
    fn hold(&self, arena: &mut Arena, reserve: &mut VecDeque<Win>, slot: u64, group: usize, branch: B256) {
        loop {
            let next = arena.sink(group, slot + 1);
            if arena.is_chain_ancestor(&branch, &next) {
                return;
            }
            let base_slot = arena.slot(&branch);
            let fits = |win: &Win| win.slot > base_slot && win.used_by != Some(group);
            let Some(place) = reserve.iter().position(fits) else { return };
            let Win { slot: win_slot, vrf_hash, used_by } = reserve[place];
            if self.equivocates && used_by.is_none() {
                reserve[place].used_by = Some(group);
            } else {
                reserve.remove(place);
            }
            let mut seen = [slot + self.delay_slots; 2];
            seen[group] = slot + 1;
            let draft = Draft { party: Party::Adversary, slot: win_slot, vrf_hash, seen };
            // On the branch and on what of its half extends or joins it, nothing of the other branch.
            arena.make(draft, |arena, hash| {
                arena.is_seen(group, slot + 1, hash)
                    && (*hash == branch || arena.is_ancestor(hash, &branch) || arena.is_chain_ancestor(&branch, hash))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAINST_US: Favour = Favour { class: true, vrf: true, work: false };

    #[test]
    fn without_an_adversary_the_halves_mostly_agree() {
        let balance = Balance { share: 0, favour: AGAINST_US, delay_slots: 4, equivocates: false };
        let found = balance.run(1);
        assert!(found.checkpoints == 38 && found.split <= 8, "{found:?}");
    }

    #[test]
    fn an_adversary_with_a_large_share_splits_more() {
        let split = |share| {
            let balance = Balance { share, favour: AGAINST_US, delay_slots: 4, equivocates: false };
            (0..4).map(|seed| balance.run(seed).split).sum::<u64>()
        };
        assert!(split(45) > split(0));
    }
}
