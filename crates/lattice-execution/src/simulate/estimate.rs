//! `eth_estimateGas`: the lowest gas limit that lets a call succeed, by the steps of geth's `gasestimator`.

use super::{CallRequest, CallStatus, Prepared, Run, SimulationContext, SimulationError, balance, run};
use alloy_primitives::{KECCAK256_EMPTY, U256};
use lattice_state::State;
use lattice_types::limits::TX_GAS_LIMIT_MAX;

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;
/// Gas that a call with value hands to the callee for free; a frame may need it though it is not spent.
const CALL_STIPEND: u64 = 2_300;
/// The search ends when the bounds are this close, in thousandths of the upper one: a run more would save little.
const TOLERANCE_PERMILLE: u64 = 15;

/// A gas limit to put into a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GasEstimate {
    /// Gas limit.
    pub gas: u64,
    /// The part of it that model work takes: `aiGas` of an AI transaction.
    pub ai_gas: u64,
}

/// Finds the gas limit that a call needs.
///
/// # Errors
/// When the call fails at the highest gas it may have; a revert comes with its data.
pub fn estimate_gas(
    env: &SimulationContext<'_>,
    state: &State,
    request: &CallRequest,
) -> Result<GasEstimate, SimulationError> {
    let mut prepared = request.prepare(env, state)?;
    prepared.for_estimate(env, request.is_ai());
    let mut high = highest(env, state, request, &prepared)?;
    let unbounded = prepared.clone();
    let mut attempt = |gas: u64| -> Result<Option<Run>, SimulationError> {
        prepared.tx.gas_limit = gas;
        match run(env, state, &prepared) {
            // A limit below the intrinsic gas is only too low.
            Err(SimulationError::Invalid(text)) if is_gas_too_low(&text) => Ok(None),
            other => other.map(Some),
        }
    };
    if is_plain_transfer(state, request)
        && high >= TRANSFER_GAS
        && let Some(run) = attempt(TRANSFER_GAS)?
        && run.outcome.success()
    {
        return Ok(GasEstimate { gas: TRANSFER_GAS, ai_gas: 0 });
    }
    let first = attempt(high)?.ok_or(SimulationError::GasExceedsAllowance(high))?;
    let ai_gas = first.outcome.ai_gas_used;
    let (used, spent) = (first.outcome.gas_used, first.gas_spent);
    if first.ai_gas_short && !first.outcome.success() {
        return Err(explain_ai_gas(env, state, unbounded)?);
    }
    fail_early(first, high)?;

    let mut low = used.saturating_sub(1);
    let optimistic = (spent + CALL_STIPEND).saturating_mul(64) / 63;
    if optimistic < high {
        match attempt(optimistic)? {
            Some(run) if run.outcome.success() => high = optimistic,
            _ => low = optimistic,
        }
    }
    while low + 1 < high && (high - low) * 1000 >= high * TOLERANCE_PERMILLE {
        // Most calls need little more than they use: do not jump far up.
        let middle = low.midpoint(high).min(low.saturating_mul(2).max(1));
        match attempt(middle)? {
            Some(run) if run.outcome.success() => high = middle,
            _ => low = middle,
        }
    }
    Ok(GasEstimate { gas: high, ai_gas })
}

/// Why a call stopped at its bound on AI gas, with the bound that would do.
fn explain_ai_gas(
    env: &SimulationContext<'_>,
    state: &State,
    mut prepared: Prepared,
) -> Result<SimulationError, SimulationError> {
    let (bound, declared) = (prepared.ai_gas_limit, prepared.declared);
    prepared.lift_ai_bound(env);
    prepared.tx.gas_limit = CallRequest::gas_max(env);
    // The question is what the work takes, not whether the sender can pay for this limit.
    prepared.tx.gas_price = 0;
    prepared.tx.gas_priority_fee = prepared.tx.gas_priority_fee.map(|_| 0);
    let run = run(env, state, &prepared)?;
    let needed = run.outcome.success().then_some(run.outcome.ai_gas_used);
    Ok(SimulationError::AiGas { bound, declared, needed })
}

/// The highest gas limit that the call may have: block, cap, and what the sender can pay.
fn highest(
    env: &SimulationContext<'_>,
    state: &State,
    request: &CallRequest,
    prepared: &Prepared,
) -> Result<u64, SimulationError> {
    let asked = request.gas.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(u64::MAX);
    // EIP-7825's cap does not count declared AI gas; an AI transaction will declare what this estimate says.
    let declared = if prepared.declared || request.is_ai() { prepared.ai_gas_limit } else { 0 };
    let block = CallRequest::gas_max(env).min(env.header.gas_limit);
    let high = asked.min(TX_GAS_LIMIT_MAX.saturating_add(declared)).min(block);
    let tx = &prepared.tx;
    if tx.gas_price == 0 {
        return Ok(high);
    }
    let available = balance(state, tx.caller)
        .checked_sub(tx.value)
        .ok_or_else(|| SimulationError::Invalid("insufficient funds for transfer".into()))?;
    let allowance: u64 = (available / U256::from(tx.gas_price)).saturating_to();
    Ok(high.min(allowance))
}

fn is_plain_transfer(state: &State, request: &CallRequest) -> bool {
    let Some(to) = request.to else { return false };
    request.data.is_empty()
        && request.access_list.is_none()
        && request.authorization_list.is_none()
        && request.tx_type.is_none_or(|ty| ty <= 2)
        && state.account(&to).is_none_or(|account| account.code_hash == KECCAK256_EMPTY)
}

fn is_gas_too_low(text: &str) -> bool {
    text.starts_with("intrinsic gas too low") || text.starts_with("insufficient gas for floor data gas cost")
}

/// What fails at the highest gas fails at any.
fn fail_early(run: Run, high: u64) -> Result<(), SimulationError> {
    if run.out_of_gas {
        return Err(SimulationError::GasExceedsAllowance(high));
    }
    match run.outcome.status {
        CallStatus::Success => Ok(()),
        CallStatus::Reverted(reason) => Err(SimulationError::Reverted { output: run.outcome.output, reason }),
        CallStatus::Halted(reason) => Err(SimulationError::Halted(reason)),
    }
}
