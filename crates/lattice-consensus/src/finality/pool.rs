//! Votes and evidence that are not in a block yet. Both are bounded whatever comes in.

use std::collections::BTreeMap;

use lattice_types::{Evidence, bls::PublicKey};

use crate::{
    eligibility::StakeSet,
    finality::{Bitmap, Vote},
};

/// Checkpoint indices above the floor for which votes are kept.
const WINDOW: u64 = 32;

/// Why a vote is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVote {
    /// The signer is not in the stake set.
    #[error("validator {0} is not in the stake set")]
    UnknownValidator(u32),
    /// A link leads forward.
    #[error("a vote leads from checkpoint {source_index} to {target_index}, which is not later")]
    NotForward {
        /// Index of the source.
        source_index: u64,
        /// Index of the target.
        target_index: u64,
    },
    /// Finality is already there, or the checkpoint is far ahead.
    #[error("the target index {index} is outside of {from}..={to}, for which votes are kept")]
    OutOfWindow {
        /// Index of the target.
        index: u64,
        /// Lowest index kept.
        from: u64,
        /// Highest index kept.
        to: u64,
    },
}

/// What a vote came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added<S> {
    /// It counts; the stake that now stands behind it is given.
    Counted(u128),
    /// It is known already.
    Known,
    /// It conflicts with an earlier vote of its signer, which goes on counting. The two are evidence.
    Conflict(Box<[(Vote, S); 2]>),
}

/// Votes by target index and signer, at most one of each: at most 32 times the stake set. `S` is the signature, which
/// has been checked.
#[derive(Debug, Clone)]
pub struct VotePool<S> {
    votes: BTreeMap<(u64, u32), (Vote, S)>,
    /// Votes are kept for indices above this.
    floor: u64,
}

impl<S: Clone> Default for VotePool<S> {
    fn default() -> Self {
        Self { votes: BTreeMap::new(), floor: 0 }
    }
}

impl<S: Clone> VotePool<S> {
    /// Adds a vote of a member of the set.
    pub fn add(&mut self, vote: Vote, signer: u32, signature: S, set: &StakeSet) -> Result<Added<S>, InvalidVote> {
        let (source_index, index) = (vote.source.index, vote.target.index);
        if set.stake(signer) == 0 {
            return Err(InvalidVote::UnknownValidator(signer));
        }
        if source_index >= index {
            return Err(InvalidVote::NotForward { source_index, target_index: index });
        }
        let (from, to) = self.in_window(&vote)?;
        for other in (from..=to).filter_map(|index| self.votes.get(&(index, signer))) {
            if other.0 == vote {
                return Ok(Added::Known);
            }
            if other.0.conflict(&vote).is_some() {
                return Ok(Added::Conflict(Box::new([other.clone(), (vote, signature)])));
            }
        }
        self.votes.insert((index, signer), (vote, signature));
        Ok(Added::Counted(self.voters(&vote).map(|(signer, _)| set.stake(signer)).sum()))
    }

    /// The lowest and the highest target index for which votes are kept, when that of this vote is one of them.
    ///
    /// # Errors
    /// [`InvalidVote::OutOfWindow`].
    pub const fn in_window(&self, vote: &Vote) -> Result<(u64, u64), InvalidVote> {
        let (index, from, to) = (vote.target.index, self.floor + 1, self.floor.saturating_add(WINDOW));
        if index < from || index > to { Err(InvalidVote::OutOfWindow { index, from, to }) } else { Ok((from, to)) }
    }

    /// Who cast this vote, with signatures, by rising registry index.
    fn voters(&self, vote: &Vote) -> impl Iterator<Item = (u32, &S)> {
        let index = vote.target.index;
        let votes = self.votes.range((index, 0)..=(index, u32::MAX));
        votes.filter(move |(_, (other, _))| other == vote).map(|(&(_, signer), (_, signature))| (signer, signature))
    }

    /// Who stands behind a vote, with the signatures to aggregate, once they hold two thirds of the set.
    pub fn quorum(&self, vote: &Vote, set: &StakeSet) -> Option<(Bitmap, Vec<S>)> {
        let voters: Vec<_> =
            self.voters(vote).filter_map(|(signer, signature)| Some((set.position(signer)?, signature))).collect();
        if !set.is_quorum(voters.iter().map(|&(position, _)| set.members()[position].stake).sum()) {
            return None;
        }
        let signers = Bitmap::of(set.members().len(), voters.iter().map(|&(position, _)| position));
        Some((signers, voters.into_iter().map(|(_, signature)| signature.clone()).collect()))
    }

    /// Forgets votes for indices up to this one (the finalised one, or older ones while finality stands still).
    pub fn raise_floor(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.votes = self.votes.split_off(&(floor + 1, 0));
        }
    }

    /// Votes held.
    pub fn len(&self) -> usize {
        self.votes.len()
    }

    /// Whether no vote is held.
    pub fn is_empty(&self) -> bool {
        self.votes.is_empty()
    }
}

/// A validator has evidence of this kind against it already; one is enough to slash it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is evidence of this kind against the validator with key {0} already")]
pub struct DuplicateEvidence(pub PublicKey);

/// Evidence that waits for a block: one piece for each offender and kind, because a second one would cost nothing more.
#[derive(Debug, Clone, Default)]
pub struct EvidencePool {
    evidence: BTreeMap<(PublicKey, u8), Evidence>,
}

impl EvidencePool {
    /// Adds checked evidence against a registered validator that has not paid for it yet. So the pool is never larger than
    /// twice the registry.
    ///
    /// # Errors
    /// When there is evidence of this kind against the same validator already.
    pub fn add(&mut self, evidence: Evidence) -> Result<(), DuplicateEvidence> {
        let offender = *evidence.offender();
        let key = (offender, evidence.kind());
        if self.evidence.contains_key(&key) {
            return Err(DuplicateEvidence(offender));
        }
        self.evidence.insert(key, evidence);
        Ok(())
    }

    /// What a new block may carry, by offender.
    pub fn iter(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence.values()
    }

    /// Forgets what is not wanted any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&Evidence) -> bool) {
        self.evidence.retain(|_, evidence| is_wanted(evidence));
    }
}
