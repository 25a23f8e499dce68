//! Checks of a block in isolation: everything that needs neither the DAG nor any state. They are the expensive ones
//! (signatures), so they run in a pool before the chain's thread, which accepts only [`CheckedBlock`].

use crate::{
    ai_gas::AiGasSum,
    block::DagBlock,
    bls::{self, Domain},
    limits,
    readiness::InvalidReadiness,
    spec::ChainSpec,
    tx::{self, InvalidTx},
};
use alloy_consensus::Transaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256};
use rayon::prelude::*;
use std::sync::Arc;

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
    /// The proposer is no validator.
    #[error("proposer {0} is not in the validator registry")]
    UnknownProposer(u32),
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
    /// Too many readiness certificates.
    #[error("the block has {0} readiness certificates, at most {max} are allowed", max = limits::READINESS_PER_BLOCK_MAX)]
    TooManyCertificates(usize),
    /// A readiness certificate does not hold.
    #[error(transparent)]
    Readiness(#[from] InvalidReadiness),
}

/// A block whose checks in isolation passed, with its hash and its transactions' senders.
#[derive(Debug, Clone)]
pub struct CheckedBlock {
    block: Arc<DagBlock>,
    hash: B256,
    senders: Vec<Address>,
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

    /// A block that needs no second look: this node has just built it from recovered transactions and signed it, or
    /// reads it back from its own store.
    pub fn trusted(block: DagBlock, senders: Vec<Address>) -> Self {
        assert_eq!(block.body.transactions.len(), senders.len(), "one sender a transaction");
        let hash = block.header.hash();
        Self { block: Arc::new(block), hash, senders }
    }
}

/// Checks a block in isolation: form, limits, VRF, signatures; recovers all senders in parallel.
pub fn check_in_isolation(block: DagBlock, spec: &ChainSpec) -> Result<CheckedBlock, InvalidBlock> {
    check_header(&block, spec)?;
    let got = block.body.root();
    if got != block.header.body_root {
        return Err(InvalidBlock::BodyRoot { got, expected: block.header.body_root });
    }
    let senders = check_transactions(&block, spec)?;
    if block.body.readiness.len() > limits::READINESS_PER_BLOCK_MAX {
        return Err(InvalidBlock::TooManyCertificates(block.body.readiness.len()));
    }
    for certificate in &block.body.readiness {
        certificate.check(spec)?;
    }
    let hash = block.header.hash();
    Ok(CheckedBlock { block: Arc::new(block), hash, senders })
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
    let proposer =
        spec.validators.get(header.proposer as usize).ok_or(InvalidBlock::UnknownProposer(header.proposer))?;
    let content = bls::vrf_content(&spec.epoch_seed, header.slot);
    bls::verify(&proposer.public_key, Domain::Vrf, spec.chain_id, &content, &header.vrf)
        .map_err(|_| InvalidBlock::Vrf)?;
    let signed = header.signing_hash();
    bls::verify(&proposer.public_key, Domain::Block, spec.chain_id, signed.as_slice(), &header.signature)
        .map_err(|_| InvalidBlock::Signature)
}

fn check_transactions(block: &DagBlock, spec: &ChainSpec) -> Result<Vec<Address>, InvalidBlock> {
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
    transactions
        .par_iter()
        .enumerate()
        .map(|(index, tx)| tx::sender(tx).map_err(|error| InvalidBlock::Transaction { index, error }))
        .collect()
}
