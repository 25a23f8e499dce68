//! The assembly of the EVM: revm under the Osaka rules with Lattice's precompiles and its second instruction table.
//!
//! This is the only place that puts the machine together. Instructions, gas and the frame loop are revm's own; what
//! Lattice adds comes in through the precompile provider, the host data in `Context::chain`, and the choice of the
//! instruction table for each frame in `machine`.

mod machine;

use crate::{
    ai::AiHost,
    error::ExecutionError,
    overlay::{Overlay, OverlayFault},
    staking,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use lattice_types::ChainSpec;
pub use machine::LatticeEvm;
use revm::{
    Context, Journal, MainContext,
    context::{
        BlockEnv, CfgEnv, ContextSetters, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction},
    },
    context_interface::block::BlobExcessGasAndPrice,
    handler::{Handler, MainnetHandler, system_call::SystemCallTx},
    inspector::InspectorHandler,
    primitives::{eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE, hardfork::SpecId},
    state::EvmState,
};

/// The Ethereum rules of every Lattice block.
pub const SPEC: SpecId = SpecId::OSAKA;

/// What instructions and precompiles see.
pub type LatticeContext<'a> = Context<BlockEnv, TxEnv, CfgEnv, Overlay<'a>, Journal<Overlay<'a>>, AiHost<'a>>;

/// Why a transaction did not run.
#[derive(Debug)]
pub enum TransactError {
    /// It is not valid here; nothing happened.
    Invalid(InvalidTransaction),
    /// Execution has to stop.
    Stopped(ExecutionError),
}

/// The block environment that a header describes. It knows no slot: whoever has one adds it.
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
pub fn evm<'a>(spec: &ChainSpec, block: BlockEnv, overlay: Overlay<'a>, mut host: AiHost<'a>) -> LatticeEvm<'a> {
    host.set_stake_rules(staking::rules(&spec.staking));
    host.set_epoch(spec.epoch_of(block.slot_num));
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
    // The machine re-imposes EIP-3541 with the one exception that this chain has.
    cfg.disable_eip3541 = true;
    let ctx = Context::mainnet().with_db(overlay).with_cfg(cfg).with_block(block).with_chain(host);
    LatticeEvm::new(fork, ctx)
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
    evm.ctx.set_tx(tx);
    let mut handler = MainnetHandler::default();
    let done = if evm.is_watched() { handler.inspect_run(evm) } else { handler.run(evm) };
    finished(evm, done)
}

/// What a run left in the journal, which is empty afterwards.
fn finished(
    evm: &mut LatticeEvm<'_>,
    done: Result<ExecutionResult, EVMError<OverlayFault>>,
) -> Result<(ExecutionResult, EvmState), TransactError> {
    let state = evm.ctx.journaled_state.finalize();
    match done {
        Ok(result) => Ok((result, state)),
        Err(EVMError::Transaction(invalid)) => Err(TransactError::Invalid(invalid)),
        Err(error) => Err(TransactError::Stopped(stopped(evm, error))),
    }
}

/// Runs and commits a system call (EIP-4788, EIP-2935): no fee, no nonce, no block gas.
pub fn system_call(evm: &mut LatticeEvm<'_>, contract: Address, data: B256) -> Result<(), ExecutionError> {
    system_call_output(evm, contract, Bytes::copy_from_slice(data.as_slice())).map(drop)
}

/// [`system_call`] with any input; how it ended.
pub(crate) fn system_call_output(
    evm: &mut LatticeEvm<'_>,
    contract: Address,
    data: Bytes,
) -> Result<ExecutionResult, ExecutionError> {
    evm.ctx.chain.start_transaction(0);
    evm.ctx.set_tx(TxEnv::new_system_tx(contract, data));
    let done = MainnetHandler::default().run_system_call(evm);
    let state = evm.ctx.journaled_state.finalize();
    match done {
        Ok(result) => {
            evm.ctx.journaled_state.database.commit(state);
            Ok(result)
        }
        Err(error) => Err(stopped(evm, error)),
    }
}

/// The real cause of an error that is not the transaction's fault.
fn stopped(evm: &mut LatticeEvm<'_>, error: EVMError<OverlayFault>) -> ExecutionError {
    let fault = || ExecutionError::Fault(error.to_string());
    evm.ctx.chain.take_failure().unwrap_or_else(fault)
}
