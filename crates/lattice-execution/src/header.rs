//! The Ethereum header of an EVM block.

use crate::context::BlockContext;
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::{eip1559::BaseFeeParams, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::B256;
use lattice_state::State;
use lattice_types::{ChainSpec, system};

/// EIP-1559's BASE_FEE_MAX_CHANGE_DENOMINATOR.
const BASE_FEE_CHANGE_DENOMINATOR: u128 = 8;

/// The base fee of the block after `parent`: EIP-1559 with the chain's elasticity. The parent's gas limit grows with
/// the DAG blocks it executed, and so does its target: the fee follows the gas of one DAG block.
pub fn base_fee_next(spec: &ChainSpec, parent: &Header) -> u64 {
    let params = BaseFeeParams::new(BASE_FEE_CHANGE_DENOMINATOR, u128::from(spec.elasticity));
    parent.next_block_base_fee(params).unwrap_or(spec.base_fee_initial)
}

/// The header before execution: everything that the context decides. Roots, bloom and gas used come later.
pub(crate) fn open(ctx: &BlockContext<'_>) -> Header {
    Header {
        parent_hash: ctx.parent_hash,
        number: ctx.parent.number + 1,
        timestamp: ctx.spec.timestamp(ctx.slot).max(ctx.parent.timestamp),
        gas_limit: ctx.spec.gas_limit.saturating_mul(ctx.dag_blocks.max(1)),
        base_fee_per_gas: Some(base_fee_next(ctx.spec, ctx.parent)),
        mix_hash: ctx.prev_randao,
        parent_beacon_block_root: Some(ctx.selected_parent),
        ..blank()
    }
}

/// What all headers have in common.
pub(crate) fn blank() -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: system::FEE_VAULT,
        withdrawals_root: Some(alloy_consensus::EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// Storage root of the models account.
pub fn model_root(state: &State) -> B256 {
    state.storage_root(&system::MODELS)
}

/// Storage root of the inference account.
pub fn inference_root(state: &State) -> B256 {
    state.storage_root(&system::INFERENCE)
}

/// Storage root of the training account.
pub fn training_root(state: &State) -> B256 {
    state.storage_root(&system::TRAINING)
}
