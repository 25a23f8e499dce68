//! Calls that change nothing: `eth_call`, `eth_estimateGas`, `eth_createAccessList`.

use super::{
    blocks::state_number,
    overrides::{self, BlockOverridesJson, StateOverrides},
};
use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::{Argument, Params},
};
use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use alloy_rpc_types_eth::{AccessList, BlockId, SignedAuthorization};
use lattice_chain::{CallRequest, CallStatus, Overrides, View};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) const METHODS: &[Row] = &[
    ("eth_call", 4, Run::Long(call)),
    ("eth_estimateGas", 4, Run::Long(estimate_gas)),
    ("eth_createAccessList", 4, Run::Long(create_access_list)),
];

/// A call as clients write it. Unknown fields are ignored, as geth does; `aiGas` is Lattice's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CallJson {
    from: Option<Address>,
    to: Option<Address>,
    gas: Option<U64>,
    gas_price: Option<U128>,
    max_fee_per_gas: Option<U128>,
    max_priority_fee_per_gas: Option<U128>,
    value: Option<U256>,
    input: Option<Bytes>,
    data: Option<Bytes>,
    nonce: Option<U64>,
    chain_id: Option<U256>,
    access_list: Option<AccessList>,
    authorization_list: Option<Vec<SignedAuthorization>>,
    blob_versioned_hashes: Option<Vec<B256>>,
    #[serde(rename = "type")]
    tx_type: Option<U64>,
    ai_gas: Option<U64>,
}

impl Argument for CallJson {
    const EXPECTED: &'static str = "a call {from, to, gas, gasPrice or maxFeePerGas, value, input, …}";

    fn read(raw: &RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())
    }
}

impl CallJson {
    pub(crate) fn into_request(self, chain_id: u64) -> Result<CallRequest, RpcError> {
        if let Some(got) = self.chain_id
            && got != U256::from(chain_id)
        {
            return Err(RpcError::params(format!("chainId does not match the node's: have {got}, want {chain_id}")));
        }
        if self.blob_versioned_hashes.is_some_and(|hashes| !hashes.is_empty()) {
            return Err(RpcError::params(
                "blob transactions (EIP-4844) are not supported: put large data into an artifact",
            ));
        }
        let data = match (self.input, self.data) {
            (Some(input), Some(data)) if input != data => {
                return Err(RpcError::params("both \"data\" and \"input\" are set and not equal: send \"input\" only"));
            }
            (input, data) => input.or(data).unwrap_or_default(),
        };
        let tx_type = self.tx_type.map(|ty| {
            u8::try_from(ty.to::<u64>())
                .map_err(|_| RpcError::params(format!("transaction type {ty:#x} does not exist")))
        });
        Ok(CallRequest {
            from: self.from,
            to: self.to,
            gas: self.gas.map(|gas| gas.to()),
            gas_price: self.gas_price.map(|price| price.to()),
            max_fee_per_gas: self.max_fee_per_gas.map(|fee| fee.to()),
            max_priority_fee_per_gas: self.max_priority_fee_per_gas.map(|fee| fee.to()),
            value: self.value,
            data,
            nonce: self.nonce.map(|nonce| nonce.to()),
            access_list: self.access_list,
            authorization_list: self.authorization_list,
            tx_type: tx_type.transpose()?,
            ai_gas_limit: self.ai_gas.map(|gas| gas.to()),
        })
    }
}

/// A call as it is to be simulated: the request, the block whose state it runs on, what is different there.
struct Simulation {
    request: CallRequest,
    number: u64,
    overrides: Overrides,
}

/// Reads the call, the block and overrides.
fn read(view: &View, params: &mut Params<'_>) -> Result<Simulation, RpcError> {
    let call: CallJson = params.required("call")?;
    let block: Option<BlockId> = params.optional("block")?;
    let accounts: Option<StateOverrides> = params.optional("state overrides")?;
    let block_overrides: Option<BlockOverridesJson> = params.optional("block overrides")?;
    Ok(Simulation {
        request: call.into_request(view.spec().chain_id)?,
        number: state_number(view, block)?,
        overrides: overrides::of(accounts, block_overrides),
    })
}

fn call(api: &Api, params: &mut Params<'_>) -> Answer {
    let view = api.view();
    let Simulation { request, number, overrides } = read(&view, params)?;
    let outcome = view.call(number, &request, &overrides)?;
    match outcome.status {
        CallStatus::Success => reply(&outcome.output),
        CallStatus::Reverted(reason) => Err(RpcError::reverted(&outcome.output, reason.as_deref())),
        CallStatus::Halted(how) => Err(RpcError::server(how)),
    }
}

fn estimate_gas(api: &Api, params: &mut Params<'_>) -> Answer {
    let view = api.view();
    let Simulation { request, number, overrides } = read(&view, params)?;
    reply(&U64::from(view.estimate_gas(number, &request, &overrides)?.gas))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccessListJson {
    access_list: AccessList,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    gas_used: U64,
}

fn create_access_list(api: &Api, params: &mut Params<'_>) -> Answer {
    let view = api.view();
    let Simulation { request, number, overrides } = read(&view, params)?;
    let found = view.create_access_list(number, &request, &overrides)?;
    let error = match found.outcome.status {
        CallStatus::Success => None,
        CallStatus::Reverted(None) => Some("execution reverted".into()),
        CallStatus::Reverted(Some(reason)) => Some(format!("execution reverted: {reason}")),
        CallStatus::Halted(how) => Some(how),
    };
    reply(&AccessListJson { access_list: found.access_list, error, gas_used: U64::from(found.outcome.gas_used) })
}
