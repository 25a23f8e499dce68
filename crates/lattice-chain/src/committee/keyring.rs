//! Checks before the chain's thread: of form, of transactions, of all signatures.
//!
//! Whose key a signature needs follows from the past of what is signed, which only the chain knows. But mostly it is what
//! the newest head says too, so that many signatures are verified together ahead of the chain, which then looks whether the
//! key was the right one, and verifies by itself only what nobody did.

use super::{CommitteeParams, EpochSet};
use crate::{
    chain::{Chain, Input},
    error::{ChainError, CheckRefused},
    pool::PoolIndex,
};
use alloy_primitives::{B256, Bytes};
use lattice_consensus::eligibility::EpochState;
use lattice_types::{
    Attestation, Certificate, ChainSpec, CheckedAttestation, CheckedBlock, DagBlock, Evidence, InvalidBlock,
    ReadinessCertificate, SealKey, SetVerdict, SignedVote, Verdicts,
    bls::{self, CheckedKey, Claim, Domain, InvalidBls},
    check_without_seal, limits, readiness,
};
use rayon::prelude::*;
use std::sync::Arc;

/// What somebody says, before anybody has looked at it.
#[derive(Debug, Clone)]
pub enum Unchecked {
    /// A block, encoded.
    Block(Bytes),
    /// A vote.
    Vote(SignedVote),
    /// A validator's word that it holds a pending model.
    Attestation(Attestation),
    /// Evidence of an offence.
    Evidence(Evidence),
}

/// What blocks, votes and attestations most likely verify with, as a head sees it.
#[derive(Debug, Clone)]
pub struct Keyring {
    spec: Arc<ChainSpec>,
    params: CommitteeParams,
    epoch: EpochState,
    /// The stake sets of this epoch and the next, as far as they are known, by where they are read.
    sets: Vec<(B256, Arc<EpochSet>)>,
    /// Whose transactions have their senders.
    pool: Arc<PoolIndex>,
}

impl Chain {
    /// What most likely verifies what comes next.
    ///
    /// # Errors
    /// When the store fails.
    pub fn keyring(&self) -> Result<Keyring, ChainError> {
        let epoch = self.committee.standing(&self.fork.sink)?.epoch;
        let mut sets = Vec::new();
        for source in [epoch.set, epoch.next_set()] {
            if let Some(set) = self.committee.known_set(&source.block)? {
                sets.push((source.block, set));
            }
        }
        let (spec, params, pool) = (self.spec.clone(), *self.committee.params(), self.pool_index().clone());
        Ok(Keyring { spec, params, epoch, sets, pool })
    }
}

/// Something whose form is good, and what is still to be verified of it, in the order of the claims.
struct Opened {
    what: What,
    claims: Vec<Claim>,
}

enum What {
    Block {
        block: Box<CheckedBlock>,
        seal: Option<SealKey>,
        /// For each certificate, where the set is read that it is verified with.
        certificates: Vec<Option<B256>>,
        readiness: Vec<Option<B256>>,
    },
    Vote(SignedVote, CheckedKey),
    Attestation(Attestation, Option<CheckedKey>),
    Evidence(Evidence),
}

impl Keyring {
    /// Things of which one thread verifies the signatures together. More would save little and be told late.
    pub const TOGETHER_MAX: usize = 32;

    /// Checks what was said, in rayon's pool; for each what the chain is to be told, in the same order.
    ///
    /// # Errors
    /// See [`CheckRefused`].
    pub fn check(&self, said: Vec<Unchecked>) -> Vec<Result<Input, CheckRefused>> {
        let share = said.len().div_ceil(rayon::current_num_threads()).clamp(1, Self::TOGETHER_MAX);
        said.into_par_iter().chunks(share).flat_map_iter(|share| self.check_together(share)).collect()
    }

    fn check_together(&self, said: Vec<Unchecked>) -> Vec<Result<Input, CheckRefused>> {
        let mut claims = Vec::new();
        let open = |said| {
            let opened = self.open(said)?;
            claims.extend(opened.claims);
            Ok(opened.what)
        };
        let opened: Vec<Result<What, CheckRefused>> = said.into_iter().map(open).collect();
        let mut verdicts = bls::verify_each(&claims).into_iter();
        let mut next = || verdicts.next().expect("each claim has its verdict");
        opened.into_iter().map(|what| what?.after(&mut next)).collect()
    }

    /// Key and seed with which a block of `proposer` in `slot` is sealed, if it follows this head; `None` when it may not
    /// produce.
    pub fn seal_key(&self, slot: u64, proposer: u32) -> Option<SealKey> {
        self.sealer(slot, proposer).map(|(seal, _)| seal)
    }

    fn sealer(&self, slot: u64, proposer: u32) -> Option<(SealKey, CheckedKey)> {
        let judged = self.epoch.at(&self.params.epochs, slot);
        let key = self.set(slot)?.1.checked_key(proposer)?;
        Some((SealKey { public_key: *key.bytes(), epoch_seed: judged.seed }, key))
    }

    /// The stake set of a slot, and where it is read.
    fn set(&self, slot: u64) -> Option<&(B256, Arc<EpochSet>)> {
        let source = self.epoch.at(&self.params.epochs, slot).set.block;
        self.sets.iter().find(|(block, _)| *block == source)
    }

    /// The stake set that votes at a checkpoint.
    fn set_of_checkpoint(&self, index: u64) -> Option<&(B256, Arc<EpochSet>)> {
        self.set(self.params.checkpoints.slot_max(index)?)
    }

    fn open(&self, said: Unchecked) -> Result<Opened, CheckRefused> {
        match said {
            Unchecked::Block(bytes) => self.open_block(&bytes),
            Unchecked::Vote(vote) => {
                let key = self.set_of_checkpoint(vote.vote.target.index);
                let key = key.and_then(|(_, set)| set.checked_key(vote.signer));
                let key = key.ok_or(CheckRefused::UnknownSigner(vote.signer))?;
                Ok(Opened { claims: vec![vote.claim(&key, self.spec.chain_id)], what: What::Vote(vote, key) })
            }
            Unchecked::Attestation(given) => {
                let slot = given.epoch.saturating_mul(self.params.epochs.epoch_slots);
                let key = self.set(slot).and_then(|(_, set)| set.checked_key(given.signer));
                let claims = key.iter().map(|key| given.claim(key, self.spec.chain_id)).collect();
                Ok(Opened { claims, what: What::Attestation(given, key) })
            }
            Unchecked::Evidence(evidence) => {
                evidence.check(self.spec.chain_id)?;
                Ok(Opened { claims: Vec::new(), what: What::Evidence(evidence) })
            }
        }
    }

    fn open_block(&self, bytes: &Bytes) -> Result<Opened, CheckRefused> {
        if bytes.len() > limits::BLOCK_BYTES_MAX {
            let reason = format!("{} bytes, at most {} are allowed", bytes.len(), limits::BLOCK_BYTES_MAX);
            return Err(InvalidBlock::Malformed(reason).into());
        }
        let block: DagBlock =
            alloy_rlp::decode_exact(bytes).map_err(|error| InvalidBlock::Malformed(error.to_string()))?;
        let sender = |hash: &B256| self.pool.transaction(hash).map(|tx| tx.signer());
        let block = Box::new(check_without_seal(block, &self.spec, &sender)?);
        let (header, body) = (&block.block().header, &block.block().body);
        let mut claims = Vec::new();
        let sealer = self.sealer(header.slot, header.proposer);
        let seal = sealer.map(|(seal, key)| {
            claims.extend(seal.claims(&key, header, self.spec.chain_id));
            seal
        });
        let mut claim = |set: Option<&(B256, Arc<EpochSet>)>, of: &dyn Fn(&EpochSet) -> Result<Claim, InvalidBls>| {
            let (source, set) = set?;
            claims.push(of(set).ok()?);
            Some(*source)
        };
        let certificates = body.certificates.iter().map(|certificate| {
            let set = self.set_of_checkpoint(certificate.vote.target.index);
            claim(set, &|set| set.certificate_claim(certificate, self.spec.chain_id))
        });
        let certificates = certificates.collect();
        let readiness = body.readiness.iter().map(|certificate| {
            claim(self.set(header.slot), &|set| set.readiness_claim(certificate, self.spec.chain_id))
        });
        let readiness = readiness.collect();
        Ok(Opened { claims, what: What::Block { block, seal, certificates, readiness } })
    }
}

impl What {
    /// What the chain is told when `next` gives what came of the claims, one after another.
    fn after(self, next: &mut impl FnMut() -> Result<(), InvalidBls>) -> Result<Input, CheckRefused> {
        match self {
            Self::Block { block, seal, certificates, readiness } => {
                let seal = seal.map(|seal| (seal, SealKey::verdict([next(), next()])));
                let mut of = |sets: Vec<Option<B256>>| {
                    sets.into_iter().map(|set| set.map(|set| SetVerdict { set, verdict: next() })).collect()
                };
                let verdicts = Verdicts { seal, certificates: of(certificates), readiness: of(readiness) };
                Ok(Input::Block(block.with_verdicts(verdicts)))
            }
            Self::Vote(vote, key) => {
                next()?;
                Ok(Input::Vote(vote.verified_with(&key)))
            }
            Self::Attestation(attestation, key) => {
                let verdict = key.map(|key| (*key.bytes(), next()));
                Ok(Input::Attestation(CheckedAttestation { attestation, verdict }))
            }
            Self::Evidence(evidence) => Ok(Input::Evidence(evidence)),
        }
    }
}

impl EpochSet {
    /// What a certificate of finality claims of this set.
    ///
    /// # Errors
    /// As [`EpochSet::keys`].
    pub fn certificate_claim(&self, certificate: &Certificate, chain_id: u64) -> Result<Claim, InvalidBls> {
        let keys = self.keys(&certificate.signers)?;
        Ok(Claim::of_all(&keys, Domain::Vote, chain_id, &certificate.vote.encode(), &certificate.signature))
    }

    /// What a certificate of readiness claims of this set.
    ///
    /// # Errors
    /// As [`EpochSet::keys`].
    pub fn readiness_claim(&self, certificate: &ReadinessCertificate, chain_id: u64) -> Result<Claim, InvalidBls> {
        let keys = self.keys(&certificate.signers)?;
        let content = readiness::content(&certificate.model_id, certificate.epoch);
        Ok(Claim::of_all(&keys, Domain::Readiness, chain_id, &content, &certificate.signature))
    }
}
