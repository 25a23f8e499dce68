//! What the certificates in a past say: justified and finalised checkpoints.

use std::collections::BTreeSet;

use alloy_primitives::B256;

use crate::finality::{Checkpoint, Vote};

/// Justified checkpoints kept above the finalised one: three hours and more of stalled finality. Older ones no longer
/// serve as sources.
const JUSTIFIED_MAX: usize = 4_096;
/// Links kept that wait for their source to be justified.
const WAITING_MAX: usize = 64;

/// The finality that certificates in the past of a block give.
///
/// A function of the past, because certificates are applied along the selected chain, in order of consensus. Order does
/// not even matter, unless a third of the stake breaks the rules or a bound is reached. The chain keeps one for each chain block: genesis has [`Finality::genesis`]; a block takes over that
/// of its selected parent and applies the certificates that the blocks of its mergeset and it itself carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finality {
    finalised: Checkpoint,
    /// The finalised one and those with a higher index.
    justified: BTreeSet<Checkpoint>,
    /// (source, target) of certified links whose source is not justified yet.
    waiting: BTreeSet<(Checkpoint, Checkpoint)>,
}

impl Finality {
    /// Genesis is finalised, as checkpoint 0.
    pub fn genesis(hash: B256) -> Self {
        let genesis = Checkpoint { index: 0, hash };
        Self { finalised: genesis, justified: BTreeSet::from([genesis]), waiting: BTreeSet::new() }
    }

    /// The newest finalised checkpoint. A block is valid only if this one, taken over its own past, is on its selected
    /// chain.
    pub const fn finalised(&self) -> Checkpoint {
        self.finalised
    }

    /// The newest justified checkpoint.
    pub fn justified(&self) -> Checkpoint {
        *self.justified.last().expect("the finalised checkpoint is justified")
    }

    /// Whether a checkpoint is justified. Those below the finalised one are no longer known.
    pub fn is_justified(&self, checkpoint: &Checkpoint) -> bool {
        self.justified.contains(checkpoint)
    }

    /// The source for a vote with this target index: the newest justified checkpoint before it that lies on the selected
    /// chain of the target, as `is_on_chain` says. None when not even the finalised one does: then there is nothing to
    /// vote for.
    pub fn source_for<E>(
        &self,
        index: u64,
        mut is_on_chain: impl FnMut(&B256) -> Result<bool, E>,
    ) -> Result<Option<Checkpoint>, E> {
        for checkpoint in self.justified.iter().rev().filter(|checkpoint| checkpoint.index < index) {
            if is_on_chain(&checkpoint.hash)? {
                return Ok(Some(*checkpoint));
            }
        }
        Ok(None)
    }

    /// Applies the link of a certificate that passed [`crate::finality::Certificate::check`] and whose signature is good.
    pub fn apply(&mut self, vote: &Vote) {
        let mut open = vec![(vote.source, vote.target)];
        while let Some((source, target)) = open.pop() {
            if source.index < self.finalised.index || target.index <= self.finalised.index {
                continue;
            }
            if !self.justified.contains(&source) {
                self.waiting.insert((source, target));
                continue;
            }
            if self.justified.insert(target) {
                // Links from here: all that lie between (target, lowest) and (target, greatest).
                let from = (target, Checkpoint { index: 0, hash: B256::ZERO });
                let to = (target, Checkpoint { index: u64::MAX, hash: B256::repeat_byte(0xff) });
                let ready: Vec<_> = self.waiting.range(from..=to).copied().collect();
                for link in ready {
                    self.waiting.remove(&link);
                    open.push(link);
                }
            }
            if target.index == source.index + 1 && source.index > self.finalised.index {
                self.finalised = source;
            }
        }
        self.trim();
    }

    fn trim(&mut self) {
        let finalised = self.finalised;
        self.justified.retain(|checkpoint| checkpoint.index > finalised.index || *checkpoint == finalised);
        self.waiting.retain(|(source, _)| source.index >= finalised.index);
        while self.justified.len() > JUSTIFIED_MAX {
            let oldest = *self.justified.iter().find(|&&checkpoint| checkpoint != finalised).expect("there are many");
            self.justified.remove(&oldest);
        }
        while self.waiting.len() > WAITING_MAX {
            self.waiting.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(index: u64) -> Checkpoint {
        Checkpoint { index, hash: B256::left_padding_from(&index.to_be_bytes()) }
    }

    fn link(source: u64, target: u64) -> Vote {
        Vote {
            source: checkpoint(source),
            target: checkpoint(target),
            target_blue_score: 0,
            target_evm_hash: B256::ZERO,
        }
    }

    #[test]
    fn a_long_stall_is_bounded() {
        let mut state = Finality::genesis(checkpoint(0).hash);
        for index in 1..6_000 {
            state.apply(&link(0, 2 * index));
            state.apply(&link(2 * index + 1, 2 * index + 3));
        }
        assert_eq!((state.justified.len(), state.waiting.len()), (JUSTIFIED_MAX, WAITING_MAX));
        assert_eq!((state.finalised().index, state.justified().index), (0, 11_998));
        state.apply(&link(11_998, 11_999));
        assert_eq!(state.finalised().index, 11_998);
        // The link from 11,999 was waiting.
        assert_eq!((state.justified.len(), state.justified().index), (3, 12_001));
    }
}
