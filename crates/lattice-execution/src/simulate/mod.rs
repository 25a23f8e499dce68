//! Runs that change nothing: `eth_call`, `eth_estimateGas`, `eth_createAccessList`.
//!
//! The semantics are geth's, which Ethereum tools expect: no signature, no nonce check, senders with code allowed
//! (EIP-3607 off), no cap by EIP-7825 on a call; without a gas price the gas is free and the base fee reads as zero.
//! A value is never conjured up: the sender must have it.

mod access_list;
mod estimate;
mod overrides;
mod request;

pub use access_list::{AccessListOutcome, create_access_list};
pub use estimate::{GasEstimate, estimate_gas};
pub use overrides::{AccountOverride, BlockOverrides, Overrides, PrecompileMoves, StorageOverride};
pub use request::CallRequest;

use crate::{
    ai::{AiHost, InferenceEngine, revert_reason},
    error::ExecutionError,
    evm::{self, LatticeEvm, TransactError},
    header,
    overlay::Overlay,
    trace::{Trace, TraceOptions},
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, Log, U256};
use lattice_state::State;
use lattice_types::{ChainSpec, system};
use request::Prepared;
use revm::{
    context::result::{ExecutionResult, HaltReason, InvalidTransaction},
    state::EvmState,
};

/// Where a simulation takes place: in the environment of a block, on the state after it.
#[derive(Clone, Copy)]
pub struct SimulationContext<'a> {
    /// The chain's parameters.
    pub spec: &'a ChainSpec,
    /// The block whose environment the call sees: an executed one, or [`pending_header`].
    pub header: &'a Header,
    /// Hashes of earlier EVM blocks by number, for BLOCKHASH.
    pub block_hashes: &'a dyn Fn(u64) -> Option<B256>,
    /// Runs models.
    pub inference: &'a dyn InferenceEngine,
    /// Precompiles that overrides moved.
    pub precompiles: &'a PrecompileMoves,
}

/// The header of a block after `parent` that nobody has made yet: the environment of the tag `pending`.
pub fn pending_header(spec: &ChainSpec, parent: &Header, timestamp: u64) -> Header {
    Header {
        parent_hash: parent.hash_slow(),
        number: parent.number + 1,
        timestamp: timestamp.max(parent.timestamp),
        gas_limit: spec.gas_limit,
        base_fee_per_gas: Some(header::base_fee_next(spec, parent)),
        ..header::blank()
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallStatus {
    /// It returned.
    Success,
    /// It reverted; the output is the revert data, the text what it says when it is a Solidity error.
    Reverted(Option<String>),
    /// It stopped exceptionally, for example out of gas. The text says how.
    Halted(String),
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOutcome {
    /// How it ended.
    pub status: CallStatus,
    /// Return data, or revert data.
    pub output: Bytes,
    /// Gas used, intrinsic gas included, after refunds.
    pub gas_used: u64,
    /// The part of it that model work took.
    pub ai_gas_used: u64,
    /// Logs of a successful call.
    pub logs: Vec<Log>,
    /// The contract that a creation made.
    pub created: Option<Address>,
}

impl CallOutcome {
    /// Whether it returned.
    pub fn success(&self) -> bool {
        self.status == CallStatus::Success
    }
}

/// Why a simulation gives no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// The request cannot be a transaction here.
    #[error("{0}")]
    Invalid(String),
    /// Estimation only: the call reverts whatever the gas.
    #[error("execution reverted{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Reverted {
        /// Revert data.
        output: Bytes,
        /// What it says when it is a Solidity error.
        reason: Option<String>,
    },
    /// Estimation only: the call halts whatever the gas.
    #[error("{0}")]
    Halted(String),
    /// Estimation only: the highest allowed gas is not enough.
    #[error("gas required exceeds allowance ({0})")]
    GasExceedsAllowance(u64),
    /// Estimation only: the bound on AI gas is not enough.
    #[error("{}", ai_gas_text(*.bound, *.declared, *.needed))]
    AiGas {
        /// The bound that applied.
        bound: u64,
        /// Whether the request declared it.
        declared: bool,
        /// What the call takes with headroom; `None` when it fails within the whole AI lane too.
        needed: Option<u64>,
    },
    /// Execution had to stop.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

fn ai_gas_text(bound: u64, declared: bool, needed: Option<u64>) -> String {
    let account = system::AI_GAS;
    let limit = match declared {
        true => format!("the declared bound of {bound} AI gas is too small"),
        false => format!("a transaction that declares no AI gas may use {bound}, which is too small"),
    };
    match needed {
        Some(needed) if declared => format!("out of AI gas: {limit}: declare {needed}"),
        Some(needed) => format!(
            "out of AI gas: {limit}: declare {needed} by an access list entry with address {account} and the one storage key {}, as eth_createAccessList returns it",
            B256::from(U256::from(needed))
        ),
        None => format!("out of AI gas: {limit}, and so is the whole AI lane of a block: use a smaller model"),
    }
}

/// Runs a call on a state (`eth_call`).
///
/// # Errors
/// When the request is no valid transaction or execution has to stop. A revert is an outcome, not an error.
pub fn call(env: &SimulationContext<'_>, state: &State, request: &CallRequest) -> Result<CallOutcome, SimulationError> {
    let prepared = request.prepare(env, state)?;
    Ok(run(env, state, &prepared)?.outcome)
}

/// Runs a call on a state and logs its steps (`debug_traceCall`).
///
/// # Errors
/// As [`call`].
pub fn trace_call(
    env: &SimulationContext<'_>,
    state: &State,
    request: &CallRequest,
    options: TraceOptions,
) -> Result<(CallOutcome, Trace), SimulationError> {
    let prepared = request.prepare(env, state)?;
    let mut machine = machine(env, state, &prepared);
    machine.watch(options);
    let outcome = run_on(&mut machine, env, &prepared)?.outcome;
    Ok((outcome, machine.take_trace()))
}

/// A finished run with what the callers in this module look at.
struct Run {
    outcome: CallOutcome,
    /// Whether it failed for want of gas.
    out_of_gas: bool,
    /// Whether an AI operation in it wanted more than the bound on AI gas.
    ai_gas_short: bool,
    /// Gas used before refunds: what the gas limit must cover.
    gas_spent: u64,
    /// All accounts and slots that it touched.
    touched: EvmState,
}

fn run(env: &SimulationContext<'_>, state: &State, prepared: &Prepared) -> Result<Run, SimulationError> {
    run_on(&mut machine(env, state, prepared), env, prepared)
}

/// A machine with the rules of a simulation.
fn machine<'a>(env: &SimulationContext<'a>, state: &State, prepared: &Prepared) -> LatticeEvm<'a> {
    let mut block = evm::block_env(env.header);
    // The header tells seconds only: of the slots that it may stand for, the first, so that nothing matures too early.
    block.slot_num = env.spec.slot_at(env.header.timestamp);
    if prepared.is_free() {
        block.basefee = 0;
    }
    let overlay = Overlay::new(state.clone(), env.block_hashes);
    let mut host = AiHost::new(env.inference);
    host.set_lane(prepared.lane_price, env.spec.ai_gas_limit);
    let mut machine = evm::evm(env.spec, block, overlay, host);
    machine.precompiles.set_moves(env.precompiles);
    let cfg = &mut machine.ctx.cfg;
    cfg.disable_nonce_check = true;
    cfg.disable_eip3607 = true;
    cfg.disable_block_gas_limit = true;
    machine
}

fn run_on(
    machine: &mut LatticeEvm<'_>,
    env: &SimulationContext<'_>,
    prepared: &Prepared,
) -> Result<Run, SimulationError> {
    match evm::transact(machine, prepared.tx.clone(), u64::MAX, prepared.ai_gas_limit) {
        Ok((result, touched)) => {
            let out_of_gas = matches!(&result, ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. });
            let gas_spent = result.gas().total_gas_spent().max(result.tx_gas_used());
            let host = &machine.ctx.chain;
            let outcome = outcome(result, host.ai_gas_used());
            Ok(Run { outcome, out_of_gas, ai_gas_short: host.ai_gas_short(), gas_spent, touched })
        }
        Err(TransactError::Invalid(invalid)) => Err(SimulationError::Invalid(describe(&invalid, env, prepared))),
        Err(TransactError::Stopped(error)) => Err(error.into()),
    }
}

fn outcome(result: ExecutionResult, ai_gas_used: u64) -> CallOutcome {
    let gas_used = result.tx_gas_used();
    let created = result.created_address();
    let (status, output, logs) = match result {
        ExecutionResult::Success { output, logs, .. } => (CallStatus::Success, output.into_data(), logs),
        ExecutionResult::Revert { output, .. } => (CallStatus::Reverted(revert_reason(&output)), output, Vec::new()),
        ExecutionResult::Halt { reason, .. } => (CallStatus::Halted(reason.to_string()), Bytes::new(), Vec::new()),
    };
    CallOutcome { status, output, gas_used, ai_gas_used, logs, created }
}

/// A refused request in the words that Ethereum tools look for.
fn describe(invalid: &InvalidTransaction, env: &SimulationContext<'_>, prepared: &Prepared) -> String {
    let from = prepared.tx.caller;
    match invalid {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: address {from} have {balance} want {fee}")
        }
        InvalidTransaction::GasPriceLessThanBasefee => format!(
            "max fee per gas less than block base fee: address {from}, maxFeePerGas: {}, baseFee: {}",
            prepared.tx.gas_price,
            env.header.base_fee_per_gas.unwrap_or(0)
        ),
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        other => other.to_string(),
    }
}

/// Wei that the sender of a call has.
fn balance(state: &State, address: Address) -> U256 {
    state.account(&address).unwrap_or_default().balance
}
