//! Ethereum's own rules, fork by fork, on the machine that Lattice's blocks use: for conformance suites.
//!
//! A Lattice block knows one set of rules ([`evm::SPEC`]). Ethereum's state tests and chains name
//! others, so this module puts the same overlay, instruction tables and precompile provider under the rules of any
//! fork, and gives a test bench the names of revm that it needs: no other crate declares revm.

use crate::{
    ai::{AiHost, InferenceEngine},
    error::{ExecutionError, InferenceError},
    evm::{self, LatticeEvm},
    overlay::Overlay,
};
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, Bytes};
use lattice_inference::Graph;
use lattice_types::TxEnvelope;
use revm::context_interface::{cfg::gas_params::GasParams, either::Either, transaction::RecoveredAuthorization};
use std::sync::Arc;

pub use revm::{
    context::{BlockEnv, TxEnv, result::ExecutionResult},
    context_interface::{
        block::BlobExcessGasAndPrice,
        transaction::{AccessList, AccessListItem},
    },
    primitives::hardfork::SpecId,
};

/// EIP-7825's cap of a transaction's gas limit, from Osaka on.
const TX_GAS_LIMIT_MAX_OSAKA: u64 = 1 << 24;
/// Blobs that a transaction may carry: EIP-4844, EIP-7691 and EIP-7594.
const BLOBS_PER_TX_CANCUN: u64 = 6;
const BLOBS_PER_TX_PRAGUE: u64 = 9;
const BLOBS_PER_TX_OSAKA: u64 = 6;
/// BLOB_BASE_FEE_UPDATE_FRACTION of EIP-4844 and of EIP-7691.
const BLOB_FEE_FRACTION_CANCUN: u64 = 3_338_477;
const BLOB_FEE_FRACTION_PRAGUE: u64 = 5_007_716;

/// The rules of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthereumRules {
    /// Instructions, gas and validity.
    pub fork: SpecId,
    /// For EIP-155 and CHAINID.
    pub chain_id: u64,
    /// Blobs that one transaction may carry.
    pub blobs_per_tx_max: u64,
    /// How fast the blob base fee moves (EIP-4844).
    pub blob_fee_fraction: u64,
}

impl EthereumRules {
    /// Mainnet's rules at a fork.
    pub fn new(fork: SpecId, chain_id: u64) -> Self {
        let (blobs_per_tx_max, blob_fee_fraction) = if fork >= SpecId::OSAKA {
            (BLOBS_PER_TX_OSAKA, BLOB_FEE_FRACTION_PRAGUE)
        } else if fork >= SpecId::PRAGUE {
            (BLOBS_PER_TX_PRAGUE, BLOB_FEE_FRACTION_PRAGUE)
        } else {
            (BLOBS_PER_TX_CANCUN, BLOB_FEE_FRACTION_CANCUN)
        };
        Self { fork, chain_id, blobs_per_tx_max, blob_fee_fraction }
    }

    /// The same with a schedule of EIP-7840: `blobs_max` a block and the update fraction.
    #[must_use = "the rules with the schedule are the result"]
    pub fn with_blob_schedule(mut self, blobs_max: u64, fee_fraction: u64) -> Self {
        let osaka = if self.fork >= SpecId::OSAKA { BLOBS_PER_TX_OSAKA } else { u64::MAX };
        self.blobs_per_tx_max = blobs_max.min(osaka);
        self.blob_fee_fraction = fee_fraction;
        self
    }

    /// The highest gas limit of one transaction.
    pub fn tx_gas_limit_max(&self) -> u64 {
        if self.fork >= SpecId::OSAKA { TX_GAS_LIMIT_MAX_OSAKA } else { u64::MAX }
    }

    /// The overlay of a block under these rules: before EIP-161 touched empty accounts stay.
    pub fn overlay<'a>(
        &self,
        base: lattice_state::State,
        block_hashes: &'a dyn Fn(u64) -> Option<B256>,
    ) -> Overlay<'a> {
        let overlay = Overlay::new(base, block_hashes);
        if self.fork >= SpecId::SPURIOUS_DRAGON { overlay } else { overlay.keeping_empty_accounts() }
    }

    /// The machine of a block under these rules.
    pub fn machine<'a>(&self, block: BlockEnv, overlay: Overlay<'a>, host: AiHost<'a>) -> LatticeEvm<'a> {
        let mut machine = evm::evm_at(self.fork, self.chain_id, block, overlay, host);
        machine.ctx.cfg.max_blobs_per_tx = Some(self.blobs_per_tx_max);
        machine.ctx.cfg.blob_base_fee_update_fraction = Some(self.blob_fee_fraction);
        machine
    }

    /// The least gas limit that a transaction needs: its intrinsic gas, and the floor by its calldata (EIP-7623, zero
    /// before Prague).
    pub fn initial_gas(
        &self,
        input: &[u8],
        is_create: bool,
        accounts: u64,
        slots: u64,
        authorizations: u64,
    ) -> [u64; 2] {
        let params = GasParams::new_spec(self.fork);
        let gas = params.initial_tx_gas(input, is_create, accounts, slots, authorizations, None);
        [gas.initial_total_gas(), gas.floor_gas]
    }
}

/// A signed transaction as the machine takes it.
pub fn tx_env(tx: &TxEnvelope, sender: Address) -> TxEnv {
    crate::tx::tx_env(tx, sender)
}

/// An EIP-7702 list as the machine takes it, authorities recovered.
pub fn authorizations(list: &[SignedAuthorization]) -> Vec<Either<SignedAuthorization, RecoveredAuthorization>> {
    crate::tx::authorizations(list)
}

/// Runs and commits a system call whose output matters (EIP-7002, EIP-7251).
///
/// # Errors
/// When the state cannot be read.
pub fn system_call_output(
    machine: &mut LatticeEvm<'_>,
    contract: Address,
    data: Bytes,
) -> Result<ExecutionResult, ExecutionError> {
    evm::system_call_output(machine, contract, data)
}

/// An engine without models: Ethereum's chains have none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoModels;

impl InferenceEngine for NoModels {
    fn run(&self, model_id: &B256, _: &[u8]) -> Result<Arc<[u8]>, InferenceError> {
        Err(InferenceError::Missing(*model_id))
    }

    fn graph(&self, model_id: &B256) -> Result<Arc<Graph>, InferenceError> {
        Err(InferenceError::Missing(*model_id))
    }
}
