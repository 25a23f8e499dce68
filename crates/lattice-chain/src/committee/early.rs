//! Votes that came before their target. Any key may have signed them, as often as it likes, so room goes to those that are
//! most likely to count.

use alloy_primitives::B256;
use lattice_types::{CheckedVote, bls::PublicKey};
use std::{cmp::Reverse, collections::BTreeMap};

/// Votes kept; as many as all validators have.
const EARLY_MAX: usize = 4_096;
/// Votes kept of one key, each for another checkpoint: targets come within seconds.
const EARLY_PER_KEY_MAX: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub struct EarlyVotes {
    /// By key and target index: a key has one vote a checkpoint.
    votes: BTreeMap<(PublicKey, u64), Early>,
}

#[derive(Debug)]
struct Early {
    vote: CheckedVote,
    /// The signer's in the set that most likely votes; 0 when the key is not that of a member.
    stake: u128,
}

impl EarlyVotes {
    /// Keeps a vote; gives back the one that the key has cast for the same checkpoint before, if it was another.
    ///
    /// When there is no room, the farthest vote of the key or of those with the least stake goes.
    pub fn keep(&mut self, vote: CheckedVote, stake: u128) -> Option<CheckedVote> {
        let (key, index) = (*vote.public_key(), vote.vote().vote.target.index);
        if let Some(known) = self.votes.get(&(key, index)) {
            return (known.vote.vote().vote != vote.vote().vote).then_some(known.vote);
        }
        self.votes.insert((key, index), Early { vote, stake });
        let mut of_key = self.votes.range((key, 0)..=(key, u64::MAX)).map(|(at, _)| *at);
        if let Some(farthest) = of_key.next_back()
            && of_key.count() >= EARLY_PER_KEY_MAX
        {
            self.votes.remove(&farthest);
        }
        if self.votes.len() > EARLY_MAX {
            let rank = |((key, index), early): &(&(PublicKey, u64), &Early)| (early.stake, Reverse(*index), *key);
            if let Some(last) = self.votes.iter().min_by_key(rank).map(|(at, _)| *at) {
                self.votes.remove(&last);
            }
        }
        None
    }

    /// Takes out the votes for a target.
    pub fn take(&mut self, target: &B256) -> Vec<CheckedVote> {
        let found = self.votes.extract_if(.., |_, early| early.vote.vote().vote.target.hash == *target);
        found.map(|(_, early)| early.vote).collect()
    }

    /// Forgets votes for checkpoints up to this one.
    pub fn forget(&mut self, finalised: u64) {
        self.votes.retain(|(_, index), _| *index > finalised);
    }

    /// Votes kept.
    pub fn len(&self) -> usize {
        self.votes.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lattice_types::{Checkpoint, Vote, bls::SecretKey};

    fn key(index: u32) -> SecretKey {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&index.to_be_bytes());
        SecretKey::from_seed(&seed)
    }

    fn vote(index: u64, mark: u8) -> Vote {
        let checkpoint = |index, mark| Checkpoint { index, hash: B256::repeat_byte(mark) };
        let (source, target) = (checkpoint(0, 0), checkpoint(index, mark));
        Vote { source, target, target_blue_score: 1, target_evm_hash: B256::ZERO }
    }

    fn signed(key: &SecretKey, index: u64, mark: u8) -> CheckedVote {
        CheckedVote::sign(vote(index, mark), 0, key, 1)
    }

    /// The checkpoints for which a key's votes are kept.
    fn kept(early: &EarlyVotes, key: &SecretKey) -> Vec<u64> {
        early.votes.keys().filter(|(of, _)| *of == key.public_key()).map(|(_, index)| *index).collect()
    }

    #[test]
    fn a_key_has_one_vote_a_checkpoint_and_keeps_the_nearest() {
        let (mut early, key) = (EarlyVotes::default(), key(0));
        for index in [9, 3, 8, 4, 7] {
            assert_eq!(early.keep(signed(&key, index, 1), 5), None);
        }
        assert_eq!(kept(&early, &key), [3, 4, 7, 8]);
        assert_eq!(early.keep(signed(&key, 4, 1), 5), None, "the same again");
        assert_eq!(early.keep(signed(&key, 4, 2), 5), Some(signed(&key, 4, 1)), "a double vote");
        early.forget(4);
        assert_eq!(kept(&early, &key), [7, 8]);
        assert_eq!(early.take(&B256::repeat_byte(1)).len(), 2);
        assert_eq!(early.len(), 0);
    }

    /// Signatures are dear and nobody looks at them here: one is enough for all.
    fn crowd(early: &mut EarlyVotes, from: u32, count: u32, index: u64, stake: u128) {
        let signature = signed(&key(0), 1, 1).vote().signature;
        for other in from..from + count {
            let vote = lattice_types::SignedVote { vote: vote(index, 1), signer: other, signature };
            let by = lattice_types::bls::CheckedKey::new(&key(other).public_key()).unwrap();
            early.keep(vote.verified_with(&by), stake);
        }
    }

    #[test]
    fn strangers_give_way_to_members_and_the_farthest_first() {
        let (mut early, member) = (EarlyVotes::default(), key(1_000_000));
        crowd(&mut early, 0, EARLY_MAX as u32 - 1, 5, 0);
        crowd(&mut early, 2_000_000, 1, 6, 0);
        assert_eq!((early.len(), kept(&early, &key(2_000_000))), (EARLY_MAX, vec![6]));
        early.keep(signed(&member, 30, 1), 1_000);
        assert_eq!(kept(&early, &member), [30], "however far it is");
        assert!(kept(&early, &key(2_000_000)).is_empty(), "the farthest of the strangers is gone");
        crowd(&mut early, 3_000_000, 50, 5, 0);
        crowd(&mut early, 4_000_000, 50, 6, 0);
        assert_eq!((early.len(), kept(&early, &member)), (EARLY_MAX, vec![30]));
        assert_eq!(early.votes.keys().filter(|(_, index)| *index == 6).count(), 0, "what is farther is not kept");
        // Members with little stake give way to those with more.
        crowd(&mut early, 5_000_000, EARLY_MAX as u32, 5, 1);
        assert_eq!(early.votes.values().map(|early| early.stake).min(), Some(1));
        crowd(&mut early, 0, 1, 5, 2);
        assert_eq!((early.len(), kept(&early, &key(0)), kept(&early, &member)), (EARLY_MAX, vec![5], vec![30]));
    }
}
