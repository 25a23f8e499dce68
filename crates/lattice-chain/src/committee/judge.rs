//! Holds a new block against its past: was its producer eligible, do its certificates hold, is what it finalises on its
//! own chain.

use super::{EpochSet, Standing};
use crate::{advance::Merge, chain::Chain, error::ChainError};
use alloy_primitives::{B256, keccak256};
use lattice_consensus::{
    GhostdagData,
    eligibility::InvalidBitmap,
    finality::{Finality, FinalityConflict, InvalidCertificate, TargetFacts, check_certificate},
};
use lattice_storage::{Batch, StorageFault};
use lattice_types::{
    Certificate, CheckedBlock, Checkpoint, DagBody, InvalidBlock, ReadinessCertificate, SealKey, SetVerdict,
    bls::{self, InvalidBls},
};
use std::sync::Arc;

/// Why a block has no standing: it breaks a rule of eligibility or finality.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStanding {
    /// The stake set that judges the block is read at a chain block that is disqualified, or older than this node keeps.
    #[error("the stake set of the block's epoch is read at {0}, whose state is disqualified or no longer kept")]
    UnknownSet(B256),
    /// The proposer may not produce in this epoch.
    #[error("proposer {0} is not in the stake set of the block's epoch")]
    NotInSet(u32),
    /// There is evidence against the proposer in the past of the block.
    #[error("proposer {0} is convicted of an offence and produces no more")]
    Convicted(u32),
    /// VRF or signature do not verify.
    #[error(transparent)]
    Seal(InvalidBlock),
    /// The VRF's output does not win the slot.
    #[error("proposer {proposer} did not win slot {slot}: H(VRF) is not below the threshold of its stake")]
    NotEligible {
        /// Of the block.
        proposer: u32,
        /// Of the block.
        slot: u64,
    },
    /// A certificate of finality does not hold.
    #[error("certificate for {target}: {error}")]
    Certificate {
        /// What the certificate justifies.
        target: Checkpoint,
        /// Why it does not.
        error: InvalidCertificate,
    },
    /// The aggregate signature of a certificate does not verify.
    #[error("certificate for {target}: {error}")]
    CertificateSignature {
        /// What the certificate justifies.
        target: Checkpoint,
        /// What is wrong with the signature.
        error: InvalidBls,
    },
    /// A readiness certificate is of another epoch.
    #[error("the readiness certificate of model {model} is of epoch {found}, the block is of epoch {expected}")]
    ReadinessEpoch {
        /// The model.
        model: B256,
        /// In the certificate.
        found: u64,
        /// Of the block.
        expected: u64,
    },
    /// The signers of a readiness certificate do not fit the stake set.
    #[error("readiness certificate of model {model}: {error}")]
    ReadinessSigners {
        /// The model.
        model: B256,
        /// What does not fit.
        error: InvalidBitmap,
    },
    /// Too little stake stands behind a readiness certificate.
    #[error("the readiness certificate of model {model} claims {}, it has {signed} of {total}", if *is_two_thirds { "two thirds of the stake" } else { "half of the stake" })]
    ReadinessStake {
        /// The model.
        model: B256,
        /// Whether it claims two thirds, else half.
        is_two_thirds: bool,
        /// Stake of the signers.
        signed: u128,
        /// Stake of the set.
        total: u128,
    },
    /// The aggregate signature of a readiness certificate does not verify.
    #[error("readiness certificate of model {model}: {error}")]
    ReadinessSignature {
        /// The model.
        model: B256,
        /// What is wrong with the signature.
        error: InvalidBls,
    },
    /// What the block's past finalises is not on its selected chain.
    #[error("the past of the block finalises {0}, which is not on its selected chain")]
    OffFinalisedChain(Checkpoint),
}

impl Chain {
    /// Judges a block whose header was checked in context; what follows from it for its children, and its producer's key.
    ///
    /// `data` is what GHOSTDAG says of it. Sets that had to be read are staged.
    pub(crate) fn judge(
        &mut self,
        block: &CheckedBlock,
        data: &GhostdagData,
        batch: &mut Batch,
    ) -> Result<(Standing, bls::PublicKey), ChainError> {
        let header = &block.block().header;
        let params = *self.committee.params();
        let parent = self.committee.standing(&data.selected_parent)?;
        // The last block of an epoch decides who is in a set to come: read it while its state is at hand.
        if let Some(source) = parent.epoch.set_read_before(&params.epochs, header.slot)
            && self.layers.contains(&source.block)
        {
            self.set_at(&source, batch)?;
        }
        let judged = parent.epoch.at(&params.epochs, header.slot);
        let set = self.set_at(&judged.set, batch)?.ok_or(InvalidStanding::UnknownSet(judged.set.block))?;
        let key = *set.key(header.proposer).ok_or(InvalidStanding::NotInSet(header.proposer))?;
        if parent.convicted.contains(&key) {
            return Err(InvalidStanding::Convicted(header.proposer).into());
        }
        let seal = SealKey { public_key: key, epoch_seed: judged.seed };
        let verdicts = block.verdicts();
        let known = verdicts.seal.as_ref().filter(|(with, _)| *with == seal).map(|(_, verdict)| verdict.clone());
        known.unwrap_or_else(|| seal.verify(header, self.spec.chain_id)).map_err(InvalidStanding::Seal)?;
        if !params.wins(&set, header.proposer, &header.vrf) {
            let (proposer, slot) = (header.proposer, header.slot);
            return Err(InvalidStanding::NotEligible { proposer, slot }.into());
        }
        for (at, certificate) in block.block().body.readiness.iter().enumerate() {
            let known = verdict_with(&verdicts.readiness, at, &judged.set.block);
            self.check_readiness(certificate, judged.epoch, &set, known)?;
        }
        for (at, certificate) in block.block().body.certificates.iter().enumerate() {
            let known = |set: &B256| verdict_with(&verdicts.certificates, at, set);
            self.check_certificate(certificate, &header.parents, &parent.finality, known, batch)?;
        }
        let mut standing = self.after_merging(&parent, data, &self.merge(data)?)?;
        standing.take(&block.block().body);
        let finalised = standing.finality.finalised();
        if !self.dag.is_chain_ancestor(&finalised.hash, &data.selected_parent)? {
            return Err(InvalidStanding::OffFinalisedChain(finalised).into());
        }
        standing.epoch =
            parent.epoch.after(&params.epochs, header.slot, block.hash(), &header.vrf_hash(), finalised.index);
        Ok((standing, key))
    }

    /// The selected parent's standing with what the mergeset carries, in the order of consensus.
    pub(crate) fn after_merging(
        &self,
        parent: &Standing,
        data: &GhostdagData,
        merge: &Merge,
    ) -> Result<Standing, ChainError> {
        let mut standing = parent.clone();
        for blue in &data.mergeset_blues {
            standing.ai_score += u64::from(self.fork.dag_block(blue)?.block().header.ai_class);
        }
        for merged in &merge.ordered {
            standing.take(&self.fork.dag_block(&merged.hash)?.block().body);
        }
        Ok(standing)
    }

    /// Whether a block with these parents has `hash` in its past.
    pub(crate) fn is_in_past(&self, hash: &B256, parents: &[B256]) -> Result<bool, StorageFault> {
        for parent in parents {
            if parent == hash || self.dag.is_ancestor(hash, parent)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check_certificate(
        &mut self,
        certificate: &Certificate,
        parents: &[B256],
        finality: &Finality,
        known: impl Fn(&B256) -> Option<Result<(), InvalidBls>>,
        batch: &mut Batch,
    ) -> Result<(), ChainError> {
        let target = certificate.vote.target;
        let refuse = |error| InvalidStanding::Certificate { target, error };
        // It would count for nothing, and whether it holds only those could tell who have pruned nothing.
        let (index, finalised) = (target.index, finality.finalised().index);
        if index <= finalised {
            return Err(refuse(InvalidCertificate::Overtaken { index, finalised }).into());
        }
        if !self.is_in_past(&target.hash, parents)? {
            return Err(refuse(InvalidCertificate::TargetNotInPast).into());
        }
        let facts = self.target_facts(&certificate.vote)?;
        let (source, set) = self.set_of_target(&target.hash, batch)?;
        check_certificate(certificate, &self.committee.params().checkpoints, set.set(), facts.as_ref())
            .map_err(refuse)?;
        let id = keccak256(alloy_rlp::encode(certificate));
        if self.committee.verified.contains(&id) {
            return Ok(());
        }
        known(&source)
            .unwrap_or_else(|| set.certificate_claim(certificate, self.spec.chain_id)?.verify())
            .map_err(|error| InvalidStanding::CertificateSignature { target, error })?;
        self.committee.verified.put(id, ());
        Ok(())
    }

    /// What is known of the target of a vote; `None` when the block is not known.
    pub(crate) fn target_facts(&self, vote: &lattice_types::Vote) -> Result<Option<TargetFacts>, ChainError> {
        let target = vote.target.hash;
        let Some(blue_score) = self.dag.blue_score(&target)? else { return Ok(None) };
        let header = &self.fork.dag_block(&target)?.block().header.clone();
        Ok(Some(TargetFacts {
            slot: header.slot,
            blue_score,
            evm_hash: header.evm_hash,
            descends_from_source: self.dag.is_chain_ancestor(&vote.source.hash, &target)?,
        }))
    }

    /// The stake set that votes for a block of the DAG, that of the epoch of its slot, and where it is read.
    pub(crate) fn set_of_target(
        &mut self,
        target: &B256,
        batch: &mut Batch,
    ) -> Result<(B256, Arc<EpochSet>), ChainError> {
        let source = self.committee.standing(target)?.epoch.set;
        let set = self.set_at(&source, batch)?.ok_or(InvalidStanding::UnknownSet(source.block))?;
        Ok((source.block, set))
    }

    fn check_readiness(
        &self,
        certificate: &ReadinessCertificate,
        epoch: u64,
        set: &EpochSet,
        known: Option<Result<(), InvalidBls>>,
    ) -> Result<(), InvalidStanding> {
        let model = certificate.model_id;
        if certificate.epoch != epoch {
            return Err(InvalidStanding::ReadinessEpoch { model, found: certificate.epoch, expected: epoch });
        }
        let signed = set.set().signed(&certificate.signers);
        let signed = signed.map_err(|error| InvalidStanding::ReadinessSigners { model, error })?;
        let is_two_thirds = certificate.is_two_thirds;
        if !(if is_two_thirds { set.set().is_quorum(signed) } else { set.set().is_half(signed) }) {
            return Err(InvalidStanding::ReadinessStake { model, is_two_thirds, signed, total: set.set().total() });
        }
        known
            .unwrap_or_else(|| set.readiness_claim(certificate, self.spec.chain_id)?.verify())
            .map_err(|error| InvalidStanding::ReadinessSignature { model, error })
    }

    /// Takes in what the past of a new block says of finality, and stages what this node then holds on to. A conflict
    /// changes nothing.
    pub(crate) fn observe(
        &mut self,
        standing: &Standing,
        batch: &mut Batch,
    ) -> Result<Option<FinalityConflict>, StorageFault> {
        let before = *self.committee.local();
        // A node that starts from a trusted checkpoint has not seen its block yet.
        if !self.dag.contains(&before.finalised().hash)? {
            return Ok(None);
        }
        let dag = &self.dag;
        let on_chain = |a: &Checkpoint, b: &Checkpoint| dag.is_chain_ancestor(&a.hash, &b.hash);
        let outcome = self.committee.local.observe(&standing.finality, on_chain)?;
        if *self.committee.local() != before {
            super::put_local(batch, self.committee.local());
        }
        Ok(outcome.err())
    }
}

/// What came of a certificate of a block, if it was verified with the set that is read there.
fn verdict_with(verdicts: &[Option<SetVerdict>], at: usize, set: &B256) -> Option<Result<(), InvalidBls>> {
    verdicts.get(at).copied().flatten().filter(|known| known.set == *set).map(|known| known.verdict)
}

impl Standing {
    /// Applies the certificates and the evidence of a body.
    fn take(&mut self, body: &DagBody) {
        apply(&mut self.finality, &body.certificates, |_| {});
        for evidence in &body.evidence {
            if !self.convicted.contains(evidence.offender()) {
                Arc::make_mut(&mut self.convicted).insert(*evidence.offender());
            }
        }
    }
}

impl super::CommitteeParams {
    /// Whether a VRF output wins its slot for a member of the set.
    pub fn wins(&self, set: &EpochSet, proposer: u32, vrf: &bls::Signature) -> bool {
        let stake = set.set().stake(proposer);
        match &self.lottery {
            None => stake > 0,
            Some(lottery) => lottery.is_winner(&bls::vrf_hash(vrf), stake, set.set().total()),
        }
    }
}

/// Applies certificates in order; `justified` is called for each that justifies its target.
pub(crate) fn apply(
    finality: &mut Arc<Finality>,
    certificates: &[Certificate],
    mut justified: impl FnMut(&Certificate),
) {
    for certificate in certificates {
        let target = &certificate.vote.target;
        let was = finality.is_justified(target) || target.index <= finality.finalised().index;
        Arc::make_mut(finality).apply(&certificate.vote);
        if !was && finality.is_justified(target) {
            justified(certificate);
        }
    }
}
