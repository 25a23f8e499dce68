//! The first EVM block and its state.

use crate::{header, staking};
use alloy_consensus::Header;
use alloy_eips::{
    eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE},
    eip4788::{BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE},
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use lattice_state::{AccountDiff, State, StateDiff};
use lattice_types::{ChainSpec, EvmBlock, spec::GenesisAccount, system};

/// The genesis of a chain: block, state, and the diff that makes the state from nothing.
///
/// Beside the chain's own balances there are the contracts of EIP-4788 and EIP-2935, and six accounts without code
/// whose nonce is 1: EIP-161 would remove the system accounts and the fee vault otherwise, storage and all, and a CALL
/// that brings ZK_PROVE its fee would pay for a new account each time, which the instruction does not. The stake of the
/// chain's validators is made with them: the account STAKING holds it and its storage says whose it is.
pub fn genesis(spec: &ChainSpec) -> (EvmBlock, State, StateDiff) {
    let mut diff = StateDiff::default();
    for GenesisAccount { address, balance } in &spec.alloc {
        let account = fields(&mut diff, *address);
        account.balance = account.balance.saturating_add(*balance);
    }
    predeploy(&mut diff, BEACON_ROOTS_ADDRESS, &BEACON_ROOTS_CODE);
    predeploy(&mut diff, HISTORY_STORAGE_ADDRESS, &HISTORY_STORAGE_CODE);
    let system = [system::MODELS, system::TRAINING, system::INFERENCE, system::ZK_PROVE, system::STAKING];
    for address in system.into_iter().chain([system::FEE_VAULT]) {
        fields(&mut diff, address).nonce = 1;
    }
    let (registry, staked) = staking::genesis(&spec.validators);
    let account = fields(&mut diff, system::STAKING);
    account.balance = account.balance.saturating_add(staked);
    diff.accounts.entry(system::STAKING).or_default().storage = registry;
    let state = State::empty().apply(&diff);
    let header = Header {
        timestamp: spec.genesis_time_s,
        gas_limit: spec.gas_limit,
        base_fee_per_gas: Some(spec.base_fee_initial),
        state_root: state.root(),
        ..header::blank()
    };
    let block = EvmBlock {
        header,
        dag_hash: B256::ZERO,
        executed: Vec::new(),
        transactions: Vec::new(),
        receipts: Vec::new(),
        withdrawals: Default::default(),
        skipped: Vec::new(),
    };
    (block, state, diff)
}

fn fields(diff: &mut StateDiff, address: Address) -> &mut lattice_state::Account {
    let entry = diff
        .accounts
        .entry(address)
        .or_insert_with(|| AccountDiff { account: Some(Default::default()), ..AccountDiff::default() });
    entry.account.get_or_insert_default()
}

fn predeploy(diff: &mut StateDiff, address: Address, code: &Bytes) {
    let code_hash = keccak256(code);
    let account = fields(diff, address);
    account.nonce = 1;
    account.code_hash = code_hash;
    diff.codes.insert(code_hash, code.clone());
}
