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

    /// Applies the link of a certificate that passed [`crate::finality::check_certificate`] and whose signature is good.
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

    /// Fixed form: the finalised checkpoint, the number of justified ones (u32) and these, then (source, target) of waiting
    /// links. A checkpoint is its index (u64) and its hash; integers are big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(44 + 40 * self.justified.len() + 80 * self.waiting.len());
        let put = |out: &mut Vec<u8>, checkpoint: &Checkpoint| {
            out.extend_from_slice(&checkpoint.index.to_be_bytes());
            out.extend_from_slice(checkpoint.hash.as_slice());
        };
        put(&mut out, &self.finalised);
        out.extend_from_slice(&(self.justified.len() as u32).to_be_bytes());
        for checkpoint in &self.justified {
            put(&mut out, checkpoint);
        }
        for (source, target) in &self.waiting {
            put(&mut out, source);
            put(&mut out, target);
        }
        out
    }

    /// Reads [`Finality::encode`]; none when the bytes are no such state.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (finalised, rest) = bytes.split_at_checked(40)?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (justified, waiting) = rest.split_at_checked((u32::from_be_bytes(*count) as usize).checked_mul(40)?)?;
        if waiting.len() % 80 != 0 {
            return None;
        }
        let read = |bytes: &[u8]| {
            Some(Checkpoint {
                index: u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?),
                hash: B256::from_slice(bytes.get(8..40)?),
            })
        };
        let state = Self {
            finalised: read(finalised)?,
            justified: justified.chunks_exact(40).map(read).collect::<Option<_>>()?,
            waiting: waiting
                .chunks_exact(80)
                .map(|link| Some((read(link)?, read(link.get(40..)?)?)))
                .collect::<Option<_>>()?,
        };
        // One state has one form, and it holds what the other methods rely on.
        (state.justified.contains(&state.finalised) && state.encode() == bytes).then_some(state)
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
    #[allow(clippy::unwrap_used)]
    fn states_come_back_and_spoilt_ones_are_refused() {
        let mut state = Finality::genesis(checkpoint(0).hash);
        for (source, target) in [(0, 2), (2, 3), (3, 7), (9, 11), (12, 13)] {
            state.apply(&link(source, target));
        }
        assert_eq!((state.finalised().index, state.justified().index, state.waiting.len()), (2, 7, 2));
        let bytes = state.encode();
        assert_eq!(Finality::decode(&bytes).unwrap(), state);
        for cut in 0..bytes.len() {
            // What is cut off between two waiting links is a state of fewer links.
            assert!(bytes.len() - cut == 80 || bytes.len() - cut == 160 || Finality::decode(&bytes[..cut]).is_none());
        }
        let mut other = bytes.clone();
        other[7] ^= 1;
        assert_eq!(Finality::decode(&other), None, "the finalised one must be justified");
        let mut swapped = bytes;
        swapped[44..124].rotate_left(40);
        assert_eq!(Finality::decode(&swapped), None, "the justified ones ascend");
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
