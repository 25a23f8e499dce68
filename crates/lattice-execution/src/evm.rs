//! The assembly of the EVM: revm under the Osaka rules with Lattice's precompiles.
//!
//! This is the only place that puts the machine together. Instructions, gas and the frame loop are revm's own; what
//! Lattice adds comes in through the precompile provider and the host data in `Context::chain`.

use crate::{
    ai::{AiHost, LatticePrecompiles},
    error::ExecutionError,
    overlay::{Overlay, OverlayFault},
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use lattice_types::ChainSpec;
use revm::{
    Context, ExecuteEvm, Journal, MainContext, SystemCallEvm,
    context::{
        BlockEnv, CfgEnv, Evm, TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction},
    },
    context_interface::block::BlobExcessGasAndPrice,
    handler::{EthFrame, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
    primitives::{eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE, hardfork::SpecId},
    state::EvmState,
};

/// The Ethereum rules of every Lattice block.
pub const SPEC: SpecId = SpecId::OSAKA;

/// What instructions and precompiles see.
pub type LatticeContext<'a> = Context<BlockEnv, TxEnv, CfgEnv, Overlay<'a>, Journal<Overlay<'a>>, AiHost<'a>>;

/// The machine.
pub type LatticeEvm<'a> = Evm<
    LatticeContext<'a>,
    (),
    EthInstructions<EthInterpreter, LatticeContext<'a>>,
    LatticePrecompiles,
    EthFrame<EthInterpreter>,
>;

/// Why a transaction did not run.
#[derive(Debug)]
pub enum TransactError {
    /// It is not valid here; nothing happened.
    Invalid(InvalidTransaction),
    /// Execution has to stop.
    Stopped(ExecutionError),
}

/// The block environment that a header describes.
pub fn block_env(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or(0),
        difficulty: header.difficulty,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice::new(
            header.excess_blob_gas.unwrap_or(0),
            BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE,
        )),
        slot_num: 0,
    }
}

/// The machine for one block on top of a state.
pub fn evm<'a>(spec: &ChainSpec, block: BlockEnv, overlay: Overlay<'a>, host: AiHost<'a>) -> LatticeEvm<'a> {
    evm_at(SPEC, spec.chain_id, block, overlay, host)
}

/// The machine under the rules of any fork, for Ethereum's own test suites and chains.
pub fn evm_at<'a>(
    fork: SpecId,
    chain_id: u64,
    block: BlockEnv,
    overlay: Overlay<'a>,
    host: AiHost<'a>,
) -> LatticeEvm<'a> {
    let mut cfg = CfgEnv::new_with_spec(fork);
    cfg.chain_id = chain_id;
    let ctx = Context::mainnet().with_db(overlay).with_cfg(cfg).with_block(block).with_chain(host);
    Evm::new(ctx, EthInstructions::new_mainnet_with_spec(fork), LatticePrecompiles::new(fork))
}

/// Runs one transaction. `gas_limit_max` is its cap by EIP-7825, `ai_gas_limit` bounds its model work.
///
/// The changes are returned, not committed: [`Overlay::commit`] takes them over.
pub fn transact(
    evm: &mut LatticeEvm<'_>,
    tx: TxEnv,
    gas_limit_max: u64,
    ai_gas_limit: u64,
) -> Result<(ExecutionResult, EvmState), TransactError> {
    evm.ctx.cfg.tx_gas_limit_cap = Some(gas_limit_max);
    evm.ctx.chain.start_transaction(ai_gas_limit);
    let done = evm.transact(tx);
    match done {
        Ok(done) => Ok((done.result, done.state)),
        Err(EVMError::Transaction(invalid)) => Err(TransactError::Invalid(invalid)),
        Err(error) => Err(TransactError::Stopped(stopped(evm, error))),
    }
}

/// Runs and commits a system call (EIP-4788, EIP-2935): no fee, no nonce, no block gas.
pub fn system_call(evm: &mut LatticeEvm<'_>, contract: Address, data: B256) -> Result<(), ExecutionError> {
    evm.ctx.chain.start_transaction(0);
    match evm.system_call(contract, Bytes::copy_from_slice(data.as_slice())) {
        Ok(done) => {
            evm.ctx.journaled_state.database.commit(done.state);
            Ok(())
        }
        Err(error) => Err(stopped(evm, error)),
    }
}

/// The real cause of an error that is not the transaction's fault.
fn stopped(evm: &mut LatticeEvm<'_>, error: EVMError<OverlayFault>) -> ExecutionError {
    let fault = || ExecutionError::Fault(error.to_string());
    evm.ctx.chain.take_failure().unwrap_or_else(fault)
}
