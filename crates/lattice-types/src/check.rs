//! Checks of a block in isolation: everything that needs neither the DAG nor any state. They are the expensive ones
//! (signatures), so they run in a pool before the chain's thread, which accepts only [`CheckedBlock`]. The seal (VRF and
//! signature) needs the block's past to name its key; it is tried here with the key that is most likely.

use crate::{
    ai_gas::AiGasSum,
    block::{DagBlock, DagHeader},
    bls::{self, CheckedKey, Claim, Domain, InvalidBls},
    evidence::InvalidEvidence,
    limits,
    spec::ChainSpec,
    tx::{self, InvalidTx, TxEnvelope},
};
use alloy_consensus::Transaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256};
use rayon::prelude::*;
use std::{collections::BTreeSet, sync::Arc};

/// Why a block is refused for good, whatever the DAG looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// The bytes are not a block.
    #[error("malformed block: {0}")]
    Malformed(String),
    /// Only the genesis has no parents.
    #[error("the block names no parents")]
    NoParents,
    /// Parents are not strictly ascending.
    #[error("the block's parents are not strictly ascending by hash")]
    ParentsOrder,
    /// More parents than the chain allows.
    #[error("the block has {got} parents, at most {max} are allowed")]
    TooManyParents {
        /// Parents named.
        got: usize,
        /// Chain's limit.
        max: usize,
    },
    /// No such class of AI work.
    #[error("the block claims AI class {0}, classes are 0 to 3")]
    AiClass(u8),
    /// The VRF does not verify.
    #[error("the block's VRF does not verify for its proposer and slot")]
    Vrf,
    /// The signature does not verify.
    #[error("the block's signature does not verify for its proposer")]
    Signature,
    /// The body is not the one that the header commits to.
    #[error("the body's root is {got}, the header commits to {expected}")]
    BodyRoot {
        /// Root of the body.
        got: B256,
        /// The header's.
        expected: B256,
    },
    /// Too many bytes of transactions.
    #[error("the block's transactions have {got} bytes, at most {} are allowed", limits::BLOCK_TX_BYTES_MAX)]
    TooLarge {
        /// Bytes of the transactions.
        got: usize,
    },
    /// Too much declared gas.
    #[error("the block's transactions declare {got} gas, at most {max} are allowed")]
    TooMuchGas {
        /// Sum of the gas limits.
        got: u64,
        /// The chain's limit a block.
        max: u64,
    },
    /// Too much declared AI gas.
    #[error(
        "the block's transactions may use {got} AI gas (declared bounds and the pool for the others), at most {max} are allowed"
    )]
    TooMuchAiGas {
        /// Sum of the declared bounds, and what the others may draw from the block's pool.
        got: u64,
        /// The AI lane's limit a block.
        max: u64,
    },
    /// A transaction is malformed.
    #[error("transaction {index} of the block: {error}")]
    Transaction {
        /// Index in the body.
        index: usize,
        /// What is wrong with it.
        error: InvalidTx,
    },
    /// Too many items of one kind besides transactions.
    #[error("the block has {got} {what}, at most {max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// Items in the body.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// Evidence that convicts nobody.
    #[error(transparent)]
    Evidence(#[from] InvalidEvidence),
    /// Of each kind one piece of evidence against a validator is enough.
    #[error("the block has more than one piece of evidence of one kind against the validator with key {0}")]
    DuplicateEvidence(bls::PublicKey),
}

/// What VRF and signature of a header are verified with. Both depend on the past of the block, so only the chain knows
/// them for certain; but mostly they are those of the newest head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealKey {
    /// Key of the proposer.
    pub public_key: bls::PublicKey,
    /// Seed of the epoch of the block's slot.
    pub epoch_seed: B256,
}

impl SealKey {
    /// Verifies VRF and signature of a header.
    ///
    /// # Errors
    /// [`InvalidBlock::Vrf`] or [`InvalidBlock::Signature`].
    pub fn verify(&self, header: &DagHeader, chain_id: u64) -> Result<(), InvalidBlock> {
        let key = CheckedKey::new(&self.public_key).map_err(|_| InvalidBlock::Vrf)?;
        let found = bls::verify_each(&self.claims(&key, header, chain_id));
        Self::verdict([found[0], found[1]])
    }

    /// What a header claims of this key, which was checked: VRF, then signature.
    pub fn claims(&self, key: &CheckedKey, header: &DagHeader, chain_id: u64) -> [Claim; 2] {
        let slot = bls::vrf_content(&self.epoch_seed, header.slot);
        let vrf = Claim::new(key, Domain::Vrf, chain_id, &slot, &header.vrf);
        [vrf, Claim::new(key, Domain::Block, chain_id, header.signing_hash().as_slice(), &header.signature)]
    }

    /// What came of these claims, as one.
    ///
    /// # Errors
    /// [`InvalidBlock::Vrf`] or [`InvalidBlock::Signature`].
    pub fn verdict([vrf, signature]: [Result<(), InvalidBls>; 2]) -> Result<(), InvalidBlock> {
        vrf.map_err(|_| InvalidBlock::Vrf)?;
        signature.map_err(|_| InvalidBlock::Signature)
    }
}

/// What came of an aggregate signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetVerdict {
    /// DAG hash of the chain block at which the stake set is read whose members it was verified with.
    pub set: B256,
    /// Whether it is theirs.
    pub verdict: Result<(), InvalidBls>,
}

/// What is known of a block's signatures before its past is, each with what it was verified with: it counts only where the
/// past says the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Of VRF and signature.
    pub seal: Option<(SealKey, Result<(), InvalidBlock>)>,
    /// Of the body's certificates, in order; those that are missing are not known.
    pub certificates: Vec<Option<SetVerdict>>,
    /// Of the body's readiness certificates, in the same way.
    pub readiness: Vec<Option<SetVerdict>>,
}

/// A block whose checks in isolation passed, with its hash and its transactions' senders.
#[derive(Debug, Clone)]
pub struct CheckedBlock {
    block: Arc<DagBlock>,
    hash: B256,
    senders: Vec<Address>,
    verdicts: Verdicts,
}

impl CheckedBlock {
    /// The block.
    pub fn block(&self) -> &Arc<DagBlock> {
        &self.block
    }

    /// Its hash.
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// The senders of its transactions, in order.
    pub fn senders(&self) -> &[Address] {
        &self.senders
    }

    /// What is known of its signatures.
    pub const fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// The key and seed with which VRF and signature were found good; `None` when nobody looked yet, or it was not this
    /// key.
    pub fn sealed_with(&self) -> Option<&SealKey> {
        self.verdicts.seal.as_ref().filter(|(_, verdict)| verdict.is_ok()).map(|(seal, _)| seal)
    }

    /// A block that needs no second look: this node has just built it from recovered transactions, or reads it back from
    /// its own store.
    pub fn trusted(block: DagBlock, senders: Vec<Address>) -> Self {
        assert_eq!(block.body.transactions.len(), senders.len(), "one sender a transaction");
        let hash = block.header.hash();
        Self { block: Arc::new(block), hash, senders, verdicts: Verdicts::default() }
    }

    /// The same block, of whose signatures this was found.
    #[must_use]
    pub fn with_verdicts(self, verdicts: Verdicts) -> Self {
        Self { verdicts, ..self }
    }

    /// The same block, known to be sealed with this: by the node that has just signed it.
    #[must_use]
    pub fn with_seal(self, seal: SealKey) -> Self {
        self.with_verdicts(Verdicts { seal: Some((seal, Ok(()))), ..Verdicts::default() })
    }
}

/// Checks a block in isolation: form, limits, signatures; recovers all senders in parallel.
///
/// `likely` is what its seal should verify with, as far as the caller can tell. When it does not, or nothing is given, the
/// chain verifies the seal with what follows from the block's past.
///
/// # Errors
/// See [`InvalidBlock`].
pub fn check_in_isolation(
    block: DagBlock,
    spec: &ChainSpec,
    likely: Option<&SealKey>,
) -> Result<CheckedBlock, InvalidBlock> {
    let checked = check_without_seal(block, spec, &|_| None)?;
    let seal = likely.map(|key| (*key, key.verify(&checked.block().header, spec.chain_id)));
    Ok(checked.with_verdicts(Verdicts { seal, ..Verdicts::default() }))
}

/// [`check_in_isolation`] but for VRF and signature. `known` gives the senders of transactions that were recovered before, by
/// the hash of transaction and signature.
///
/// # Errors
/// See [`InvalidBlock`].
pub fn check_without_seal(
    block: DagBlock,
    spec: &ChainSpec,
    known: &(dyn Fn(&B256) -> Option<Address> + Sync),
) -> Result<CheckedBlock, InvalidBlock> {
    check_header(&block, spec)?;
    let got = block.body.root();
    if got != block.header.body_root {
        return Err(InvalidBlock::BodyRoot { got, expected: block.header.body_root });
    }
    check_counts(&block)?;
    let senders = check_transactions(&block, spec, known)?;
    check_evidence(&block, spec)?;
    Ok(CheckedBlock::trusted(block, senders))
}

fn check_counts(block: &DagBlock) -> Result<(), InvalidBlock> {
    let body = &block.body;
    let counts = [
        ("readiness certificates", body.readiness.len(), limits::READINESS_PER_BLOCK_MAX),
        ("certificates of finality", body.certificates.len(), limits::CERTIFICATES_PER_BLOCK_MAX),
        ("pieces of evidence", body.evidence.len(), limits::EVIDENCE_PER_BLOCK_MAX),
    ];
    match counts.into_iter().find(|(_, got, max)| got > max) {
        Some((what, got, max)) => Err(InvalidBlock::TooMany { what, got, max }),
        None => Ok(()),
    }
}

fn check_evidence(block: &DagBlock, spec: &ChainSpec) -> Result<(), InvalidBlock> {
    let mut offenders = BTreeSet::new();
    for evidence in &block.body.evidence {
        if !offenders.insert((*evidence.offender(), evidence.kind())) {
            return Err(InvalidBlock::DuplicateEvidence(*evidence.offender()));
        }
        evidence.check(spec.chain_id)?;
    }
    Ok(())
}

fn check_header(block: &DagBlock, spec: &ChainSpec) -> Result<(), InvalidBlock> {
    let header = &block.header;
    if header.parents.is_empty() {
        return Err(InvalidBlock::NoParents);
    }
    if header.parents.len() > spec.parents_max {
        return Err(InvalidBlock::TooManyParents { got: header.parents.len(), max: spec.parents_max });
    }
    if !header.parents.is_sorted_by(|a, b| a < b) {
        return Err(InvalidBlock::ParentsOrder);
    }
    if header.ai_class > 3 {
        return Err(InvalidBlock::AiClass(header.ai_class));
    }
    Ok(())
}

fn check_transactions(
    block: &DagBlock,
    spec: &ChainSpec,
    known: &(dyn Fn(&B256) -> Option<Address> + Sync),
) -> Result<Vec<Address>, InvalidBlock> {
    let transactions = &block.body.transactions;
    let mut bytes = 0;
    let mut gas = 0u64;
    let mut ai_gas = AiGasSum::default();
    for (index, tx) in transactions.iter().enumerate() {
        let length = tx.encode_2718_len();
        let too_large = length > limits::TX_BYTES_MAX;
        let form = if too_large { Err(InvalidTx::TooLarge { got: length }) } else { tx::check_form(tx, spec) };
        form.map_err(|error| InvalidBlock::Transaction { index, error })?;
        bytes += length;
        gas = gas.saturating_add(tx.gas_limit());
        ai_gas = ai_gas.with(tx, spec);
    }
    if bytes > limits::BLOCK_TX_BYTES_MAX {
        return Err(InvalidBlock::TooLarge { got: bytes });
    }
    if gas > spec.gas_limit {
        return Err(InvalidBlock::TooMuchGas { got: gas, max: spec.gas_limit });
    }
    if !ai_gas.fits(spec) {
        return Err(InvalidBlock::TooMuchAiGas { got: ai_gas.total(), max: spec.ai_gas_limit });
    }
    let sender = |tx: &TxEnvelope| known(tx.hash()).map_or_else(|| tx::sender(tx), Ok);
    let senders = transactions.par_iter().enumerate();
    senders.map(|(index, tx)| sender(tx).map_err(|error| InvalidBlock::Transaction { index, error })).collect()
}
