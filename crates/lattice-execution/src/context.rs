//! What the executor is told about a block and what it answers.

use crate::ai::InferenceEngine;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes};
use lattice_state::{State, StateDiff};
use lattice_types::{ChainSpec, Cid, EvmBlock, TxEnvelope, bls, cid::MaybeCid, finality::Offence};

/// A producer that is paid at the end of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payee {
    /// Its index in the validator registry.
    pub validator: u32,
    /// Its reward address.
    pub address: Address,
}

/// A validator that evidence convicts in this block. An unknown key, or one that was slashed before, changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slashing {
    /// Key of the offender.
    pub public_key: bls::PublicKey,
    /// What it did.
    pub offence: Offence,
    /// Producer of the block that carries the evidence.
    pub reporter: Payee,
}

/// A certificate of validators who hold a model's artifact. One for a model that does not wait for it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The model.
    pub model_id: B256,
    /// Whether two thirds of the stake stand behind it, and not only half.
    pub is_two_thirds: bool,
}

/// The environment of one EVM block: that of the chain block it belongs to.
#[derive(Clone, Copy)]
pub struct BlockContext<'a> {
    /// The chain's parameters.
    pub spec: &'a ChainSpec,
    /// Header of the parent EVM block.
    pub parent: &'a Header,
    /// Its hash.
    pub parent_hash: B256,
    /// DAG hash of the selected parent: parentBeaconBlockRoot of EIP-4788.
    pub selected_parent: B256,
    /// Slot of the chain block.
    pub slot: u64,
    /// prevRandao of the chain block.
    pub prev_randao: B256,
    /// DAG blocks executed in this EVM block; the gas limit is that of one DAG block times this. At least 1.
    pub dag_blocks: u64,
    /// Hashes of earlier EVM blocks by number, for BLOCKHASH: at least the last 256 on this chain.
    pub block_hashes: &'a dyn Fn(u64) -> Option<B256>,
    /// Producers of the blocks whose certificates of finality count for the first time here, one entry a certificate:
    /// each earns the issuance of one.
    pub certificates: &'a [Payee],
    /// Offences whose evidence executes here, in order.
    pub slashings: &'a [Slashing],
    /// Readiness certificates of the slot's epoch that this block executes, in order.
    pub readiness: &'a [Readiness],
    /// Producers of the blue blocks executed here, one entry a block: they share the issuance.
    pub blue_producers: &'a [Payee],
    /// Every DAG block executed here with its producer's index, in order. The chain block itself comes last, as
    /// [`B256::ZERO`]: the carrier of its own transactions.
    pub carriers: &'a [(B256, u32)],
    /// Runs models.
    pub inference: &'a dyn InferenceEngine,
}

/// One occurrence of a transaction in the DAG.
#[derive(Debug, Clone, Copy)]
pub struct Occurrence<'a> {
    /// The transaction. Its form was checked (`lattice_types::check_in_isolation`).
    pub tx: &'a TxEnvelope,
    /// Its recovered sender.
    pub sender: Address,
    /// Hash of the DAG block that carries it.
    pub carrier: B256,
    /// Its index in that block's body.
    pub index: u32,
    /// Who gets its tip.
    pub payee: Payee,
}

/// What became of an occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It executed and has a receipt, successful or not.
    Included {
        /// Whether it succeeded.
        success: bool,
        /// Gas it paid for, after refunds.
        gas_used: u64,
        /// The part of it that model work took: loading and runs.
        ai_gas_used: u64,
        /// Return data, or revert data.
        output: Bytes,
    },
    /// The EVM's validation failed at its place: it changed nothing and paid nothing. The text says why.
    Skipped(String),
}

/// An executed block.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The EVM block. `dag_hash` is zero, `executed` and the header's `extra_data` are empty: the chain knows the DAG
    /// and fills them in.
    pub evm: EvmBlock,
    /// The state after it.
    pub state: State,
    /// What it changed in the parent's state.
    pub diff: StateDiff,
    /// Artifacts that its successful transactions newly reference, in order, each once.
    pub new_artifacts: Vec<Cid>,
    /// Gas that model work took in the whole block.
    pub ai_gas_used: u64,
}

/// The header's `artifact_cid`: the CID of the RLP list of newly referenced artifacts, absent when there is none.
pub fn artifact_list_cid(artifacts: &[Cid]) -> MaybeCid {
    if artifacts.is_empty() {
        return MaybeCid(None);
    }
    let mut list = Vec::new();
    alloy_rlp::encode_list(artifacts, &mut list);
    MaybeCid(Some(Cid::raw(&list)))
}
