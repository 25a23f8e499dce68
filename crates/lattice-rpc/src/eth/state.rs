//! Accounts: balance, nonce, code, storage, proofs.

use super::blocks::state_number;
use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::{Argument, Params, StorageKey},
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256};
use alloy_rpc_types_eth::BlockId;
use lattice_chain::{AccountProof, State, View};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Storage keys in one `eth_getProof`.
const PROOF_KEYS_MAX: usize = 1_024;
/// Storage keys in one `eth_getStorageValues`.
const STORAGE_VALUES_MAX: usize = 1_024;

pub(super) const METHODS: &[Row] = &[
    ("eth_getBalance", 2, Run::State(balance)),
    ("eth_getTransactionCount", 2, Run::State(nonce)),
    ("eth_getCode", 2, Run::State(code)),
    ("eth_getStorageAt", 3, Run::State(storage)),
    ("eth_getStorageValues", 2, Run::Long(storage_values)),
    ("eth_getProof", 3, Run::Long(proof)),
];

fn state(view: &View, block: Option<BlockId>) -> Result<State, RpcError> {
    Ok(view.state_at(state_number(view, block)?)?)
}

fn balance(api: &Api, params: &mut Params<'_>) -> Answer {
    let address: Address = params.required("address")?;
    let state = state(&api.view(), params.optional("block")?)?;
    reply(&state.account(&address).unwrap_or_default().balance)
}

fn nonce(api: &Api, params: &mut Params<'_>) -> Answer {
    let address: Address = params.required("address")?;
    let block: Option<BlockId> = params.optional("block")?;
    let state = state(&api.view(), block)?;
    reply(&U64::from(match block.is_some_and(|block| block.is_pending()) {
        true => next_nonce(api, &state, &address),
        false => state.account(&address).unwrap_or_default().nonce,
    }))
}

/// The nonce of the next transaction of an account, behind those that wait.
pub(super) fn next_nonce(api: &Api, state: &State, address: &Address) -> u64 {
    let mined = state.account(address).unwrap_or_default().nonce;
    api.backend().pool().pending_nonce(address).unwrap_or(0).max(mined)
}

fn code(api: &Api, params: &mut Params<'_>) -> Answer {
    let address: Address = params.required("address")?;
    let state = state(&api.view(), params.optional("block")?)?;
    let hash = state.account(&address).unwrap_or_default().code_hash;
    if hash == KECCAK256_EMPTY {
        return reply(&Bytes::new());
    }
    let code = state.code(&hash)?;
    reply(&code.ok_or_else(|| RpcError::internal(format!("the code {hash} of account {address} is missing")))?)
}

fn storage(api: &Api, params: &mut Params<'_>) -> Answer {
    let address: Address = params.required("address")?;
    let key: StorageKey = params.required("storage key")?;
    let state = state(&api.view(), params.optional("block")?)?;
    reply(&B256::from(state.storage(&address, key.slot)))
}

/// Slots by account.
struct StorageRequest(BTreeMap<Address, Vec<StorageKey>>);

impl Argument for StorageRequest {
    const EXPECTED: &'static str = "storage keys by account {address: [key, …]}";

    fn read(raw: &RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map(Self).map_err(|error| error.to_string())
    }
}

fn storage_values(api: &Api, params: &mut Params<'_>) -> Answer {
    let StorageRequest(accounts) = params.required("storage keys by account")?;
    let count: usize = accounts.values().map(Vec::len).sum();
    if count == 0 {
        return Err(RpcError::params("empty request: name at least one account with a storage key"));
    }
    if count > STORAGE_VALUES_MAX {
        return Err(RpcError::params(format!("{count} storage keys: at most {STORAGE_VALUES_MAX} in one call")));
    }
    let state = state(&api.view(), params.optional("block")?)?;
    let read = |(address, keys): (&Address, &Vec<StorageKey>)| {
        let values: Vec<B256> = keys.iter().map(|key| state.storage(address, key.slot).into()).collect();
        (*address, values)
    };
    reply(&accounts.iter().map(read).collect::<BTreeMap<_, _>>())
}

/// EIP-1186.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofJson {
    address: Address,
    balance: U256,
    code_hash: B256,
    nonce: U64,
    storage_hash: B256,
    account_proof: Vec<Bytes>,
    storage_proof: Vec<SlotProofJson>,
}

#[derive(Serialize)]
struct SlotProofJson {
    key: StorageKey,
    value: U256,
    proof: Vec<Bytes>,
}

fn proof(api: &Api, params: &mut Params<'_>) -> Answer {
    let address: Address = params.required("address")?;
    let keys: Vec<StorageKey> = params.required("storage keys")?;
    if keys.len() > PROOF_KEYS_MAX {
        return Err(RpcError::params(format!("{} storage keys: at most {PROOF_KEYS_MAX} in one call", keys.len())));
    }
    let state = state(&api.view(), params.optional("block")?)?;
    let slots: Vec<U256> = keys.iter().map(|key| key.slot).collect();
    let AccountProof { balance, nonce, code_hash, storage_root, account_proof, storage_proofs } =
        state.proof(&address, &slots);
    reply(&ProofJson {
        address,
        balance,
        code_hash,
        nonce: U64::from(nonce),
        storage_hash: storage_root,
        account_proof,
        storage_proof: keys
            .into_iter()
            .zip(storage_proofs)
            .map(|(key, found)| SlotProofJson { key, value: found.value, proof: found.proof })
            .collect(),
    })
}
