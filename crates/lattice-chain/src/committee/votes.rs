//! Votes: what our validator should say, what others have said, and the certificates that come of it.

use super::{ByIndex, EpochSet, early::EarlyVotes};
use crate::{
    chain::{Chain, Effects},
    error::ChainError,
};
use alloy_primitives::B256;
use lattice_consensus::finality::{Added, Finality, InvalidVote, VotePool};
use lattice_storage::{Batch, StorageFault};
use lattice_types::{Certificate, CheckedVote, Evidence, SealKey, SignedVote, Vote, bls, limits};
use std::sync::Arc;

/// Checkpoints behind the newest one for which votes are kept while finality stands still.
const VOTES_KEPT: u64 = 16;

/// Why a vote is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefused {
    /// The rules of the vote pool.
    #[error(transparent)]
    Invalid(#[from] InvalidVote),
    /// It was signed with another key than its signer's.
    #[error("the vote is signed with key {found}, validator {signer} has another one")]
    Key {
        /// The validator named in the vote.
        signer: u32,
        /// The key that verified the signature.
        found: bls::PublicKey,
    },
    /// Its target is not known yet; it is kept for a while.
    #[error("the target {0} of the vote is not known yet")]
    UnknownTarget(B256),
}

/// Votes and certificates that no block carries yet.
#[derive(Debug, Default)]
pub struct Votes {
    pool: VotePool<bls::Signature>,
    /// Certificates that wait for a block, by target index.
    certificates: ByIndex<Certificate>,
    early: EarlyVotes,
}

impl Chain {
    /// The vote that a validator should cast at this time: for the last block of the selected chain that is old enough,
    /// from the newest justified checkpoint below it. `None` when there is nothing to vote for, or it is no member.
    ///
    /// # Errors
    /// When the store fails.
    pub fn vote(&mut self, now_ms: u64, validator: u32) -> Result<Option<Vote>, ChainError> {
        let checkpoints = self.committee.params().checkpoints;
        let index = checkpoints.index_at(self.slot_at(now_ms));
        let Some(slot_max) = checkpoints.slot_max(index) else { return Ok(None) };
        if !self.has_trusted()? {
            return Ok(None);
        }
        let sink = self.fork.sink;
        let target = self.dag.chain_block_at_slot(&sink, slot_max)?;
        let target = target.ok_or_else(|| ChainError::Fault(format!("the sink {sink} is not in the DAG")))?;
        let finality = self.committee.standing(&sink)?.finality.clone();
        let source = finality.source_for(index, |block| self.dag.is_chain_ancestor(block, &target))?;
        let Some(source) = source else { return Ok(None) };
        // While nothing new is built on a block, one certificate for it is enough.
        let mut waiting = self.committee.votes.certificates.values();
        if target == finality.finalised().hash || waiting.any(|certificate| certificate.vote.target.hash == target) {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let (_, set) = self.set_of_target(&target, &mut batch)?;
        self.commit(batch)?;
        if set.set().position(validator).is_none() {
            return Ok(None);
        }
        let header = &self.fork.dag_block(&target)?.block().header.clone();
        Ok(Some(Vote {
            source,
            target: lattice_types::Checkpoint { index, hash: target },
            target_blue_score: header.blue_score,
            target_evm_hash: header.evm_hash,
        }))
    }

    /// Slot that has begun at this time.
    pub fn slot_at(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.spec.genesis_time_s * 1000) / self.spec.slot_ms
    }

    /// Key and seed with which a block of `proposer` in `slot` on the present sink is sealed; `None` when it may not
    /// produce.
    ///
    /// # Errors
    /// When the store fails.
    pub fn seal_key(&mut self, slot: u64, proposer: u32) -> Result<Option<SealKey>, ChainError> {
        Ok(self.producer(slot, proposer)?.map(|(seal, _)| seal))
    }

    /// Whether a VRF wins a slot for a proposer on the present sink.
    ///
    /// # Errors
    /// When the store fails.
    pub fn wins(&mut self, slot: u64, proposer: u32, vrf: &bls::Signature) -> Result<bool, ChainError> {
        let producer = self.producer(slot, proposer)?;
        Ok(producer.is_some_and(|(_, set)| self.committee.params().wins(&set, proposer, vrf)))
    }

    /// Whether the block is here that this node starts from: before, its sink may be on any chain.
    fn has_trusted(&self) -> Result<bool, StorageFault> {
        self.dag.contains(&self.committee.local().finalised().hash)
    }

    fn producer(&mut self, slot: u64, proposer: u32) -> Result<Option<(SealKey, Arc<EpochSet>)>, ChainError> {
        if !self.has_trusted()? {
            return Ok(None);
        }
        let standing = self.committee.standing(&self.fork.sink)?;
        let judged = standing.epoch.at(&self.committee.params().epochs, slot);
        let mut batch = Batch::new();
        let set = self.set_at(&judged.set, &mut batch)?;
        self.commit(batch)?;
        let Some(set) = set else { return Ok(None) };
        let key = set.key(proposer).filter(|key| !standing.convicted.contains(*key)).copied();
        Ok(key.map(|public_key| (SealKey { public_key, epoch_seed: judged.seed }, set)))
    }

    /// Counts a vote; makes a certificate when it completes two thirds, and evidence when it contradicts an earlier one.
    pub(crate) fn take_vote(&mut self, now_ms: u64, checked: CheckedVote) -> Result<Effects, ChainError> {
        let vote = checked.vote().vote;
        let signer = checked.vote().signer;
        let newest = self.committee.params().checkpoints.index_at(self.slot_at(now_ms));
        let floor = self.committee.local().finalised().index.max(newest.saturating_sub(VOTES_KEPT));
        self.committee.votes.pool.raise_floor(floor);
        self.committee.votes.pool.in_window(&vote).map_err(VoteRefused::from)?;
        if !self.dag.contains(&vote.target.hash)? {
            return self.keep_early(checked);
        }
        let mut batch = Batch::new();
        let (_, set) = self.set_of_target(&vote.target.hash, &mut batch)?;
        self.commit(batch)?;
        let key = set.key(signer).ok_or(VoteRefused::Invalid(InvalidVote::UnknownValidator(signer)))?;
        if key != checked.public_key() {
            return Err(VoteRefused::Key { signer, found: *checked.public_key() }.into());
        }
        let votes = &mut self.committee.votes;
        let mut effects = Effects::default();
        match votes.pool.add(vote, signer, checked.vote().signature, set.set()).map_err(VoteRefused::from)? {
            Added::Known => {}
            Added::Conflict(pair) => {
                let [first, second] = *pair;
                self.suspect(Evidence::of_votes(*key, first, second), &mut effects)?;
            }
            Added::Counted(_) => {
                let known = votes.certificates.get(&vote.target.index).is_some_and(|other| other.vote == vote);
                if !known && let Some((signers, signatures)) = votes.pool.quorum(&vote, set.set()) {
                    let signature = bls::aggregate(&signatures)
                        .map_err(|error| ChainError::Fault(format!("verified votes do not aggregate: {error}")))?;
                    let certificate = Certificate { vote, signers, signature };
                    votes.certificates.insert(vote.target.index, certificate.clone());
                    effects.certificate = Some(certificate);
                }
            }
        }
        Ok(effects)
    }

    /// Keeps a vote whose target is not known. The second vote of a key for one checkpoint is evidence whatever they name.
    fn keep_early(&mut self, checked: CheckedVote) -> Result<Effects, ChainError> {
        let SignedVote { vote, signer, .. } = *checked.vote();
        let params = *self.committee.params();
        let slot = params.checkpoints.slot_max(vote.target.index).unwrap_or(0);
        let likely = self.committee.standing(&self.fork.sink)?.epoch.at(&params.epochs, slot).set;
        let set = self.committee.known_set(&likely.block)?;
        let member = set.filter(|set| set.key(signer) == Some(checked.public_key()));
        let stake = member.map_or(0, |set| set.set().stake(signer));
        let Some(other) = self.committee.votes.early.keep(checked, stake) else {
            return Err(VoteRefused::UnknownTarget(vote.target.hash).into());
        };
        let mut effects = Effects::default();
        let signed = |checked: &CheckedVote| (checked.vote().vote, checked.vote().signature);
        self.suspect(Evidence::of_votes(*checked.public_key(), signed(&other), signed(&checked)), &mut effects)?;
        Ok(effects)
    }

    /// Votes that wait for their target.
    pub fn early_votes(&self) -> usize {
        self.committee.votes.early.len()
    }

    /// Votes that waited for this block.
    pub(crate) fn votes_waiting_for(&mut self, block: &B256) -> Vec<CheckedVote> {
        self.committee.votes.early.take(block)
    }

    /// Forgets votes and certificates that finality has overtaken.
    pub(crate) fn settle_votes(&mut self) {
        let finalised = self.committee.local().finalised().index;
        let votes = &mut self.committee.votes;
        votes.certificates = votes.certificates.split_off(&(finalised + 1));
        votes.early.forget(finalised);
    }

    /// The certificates that a block with these parents should carry: those that its past, whose finality is given, lacks.
    pub(crate) fn certificates_for(
        &self,
        parents: &[B256],
        finality: &Finality,
    ) -> Result<Vec<Certificate>, StorageFault> {
        let mut lacking = Vec::new();
        for certificate in self.committee.votes.certificates.values() {
            let target = &certificate.vote.target;
            if target.index > finality.finalised().index
                && !finality.is_justified(target)
                && self.is_in_past(&target.hash, parents)?
            {
                lacking.push(certificate.clone());
                if lacking.len() == limits::CERTIFICATES_PER_BLOCK_MAX {
                    break;
                }
            }
        }
        Ok(lacking)
    }
}
