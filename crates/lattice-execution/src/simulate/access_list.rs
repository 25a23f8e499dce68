//! `eth_createAccessList` (EIP-2930): what a call touches beyond what is warm anyway.

use super::{CallOutcome, CallRequest, SimulationContext, SimulationError, request::Prepared, run};
use crate::{ai::LatticePrecompiles, evm::SPEC};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, TxKind};
use lattice_state::State;
use lattice_types::ai_gas;
use revm::state::EvmState;
use std::collections::BTreeMap;

/// Warming slots changes gas, gas can change what a call touches; a call that still differs then is taken as it is.
const ROUNDS_MAX: usize = 8;

/// An access list and the call under it. When the call takes AI gas, the list declares it, with headroom for the lane price
/// of two full blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessListOutcome {
    /// Accounts and slots in ascending order, the declaration of AI gas among them.
    pub access_list: AccessList,
    /// The call with this list; a failed call has a list too.
    pub outcome: CallOutcome,
}

/// Finds the access list of a call: runs it with the list found so far until the list stays the same.
///
/// # Errors
/// As [`super::call`].
pub fn create_access_list(
    env: &SimulationContext<'_>,
    state: &State,
    request: &CallRequest,
) -> Result<AccessListOutcome, SimulationError> {
    let with_list =
        CallRequest { access_list: Some(request.access_list.clone().unwrap_or_default()), ..request.clone() };
    let mut prepared = with_list.prepare(env, state)?;
    prepared.for_estimate(env, request.is_ai());
    // The list will declare what the call takes, whatever the one that was sent says.
    if !request.is_ai() {
        prepared.lift_ai_bound(env);
    }
    let mut done = run(env, state, &prepared)?;
    for _ in 0..ROUNDS_MAX {
        let mut found = touched(env.header.beneficiary, &prepared, state, &done.touched);
        if done.outcome.ai_gas_used > 0 && !request.is_ai() {
            found.0.push(ai_gas::declaration(done.outcome.ai_gas_used));
            found.0.sort_by_key(|item| item.address);
        }
        if found == prepared.tx.access_list {
            break;
        }
        prepared.tx.access_list = found;
        done = run(env, state, &prepared)?;
    }
    Ok(AccessListOutcome { access_list: prepared.tx.access_list, outcome: done.outcome })
}

/// The accounts and slots of the journal, less what every transaction finds warm: sender, callee, precompiles, the
/// beneficiary. A callee whose slots are touched is listed for them.
fn touched(beneficiary: Address, prepared: &Prepared, state: &State, journal: &EvmState) -> AccessList {
    let precompiles = LatticePrecompiles::new(SPEC);
    let sender = prepared.tx.caller;
    let callee = match prepared.tx.kind {
        TxKind::Call(to) => to,
        TxKind::Create => sender.create(state.account(&sender).unwrap_or_default().nonce),
    };
    let mut items: BTreeMap<Address, Vec<B256>> = BTreeMap::new();
    for (address, account) in journal {
        if precompiles.contains(address) {
            continue;
        }
        let mut slots: Vec<B256> = account.storage.keys().map(|slot| B256::from(*slot)).collect();
        slots.sort_unstable();
        let is_warm_anyway = [sender, callee, beneficiary].contains(address);
        if slots.is_empty() && (is_warm_anyway || account.is_created()) {
            continue;
        }
        items.insert(*address, slots);
    }
    let items = items.into_iter().map(|(address, storage_keys)| AccessListItem { address, storage_keys });
    AccessList(items.collect())
}
