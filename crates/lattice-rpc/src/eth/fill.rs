//! `eth_fillTransaction`: a transaction with everything but its signature. What the request leaves out is filled in: nonce,
//! fees, gas limit, and the declaration of AI gas, which no wallet knows of by itself.

use super::{blocks::state_number, call::CallJson, fees, state::next_nonce};
use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_consensus::{SignableTransaction, Signed, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, Signature, TxKind, U256};
use lattice_chain::{CallRequest, Overrides, View};
use lattice_types::{
    TxEnvelope, ai_gas, system,
    tx::{AiKind, Inference, Lora, ModelDeploy, ModelUpdate, Training, TxAi},
};
use serde::Serialize;
use std::marker::PhantomData;

pub(super) const METHODS: &[Row] = &[("eth_fillTransaction", 1, Run::Long(fill))];

/// EIP-2718 types of Ethereum.
const LEGACY: u8 = 0;
const EIP2930: u8 = 1;
const EIP1559: u8 = 2;
const EIP7702: u8 = 4;

/// geth's form. `raw` is the transaction's encoding with a signature of zeros.
#[derive(Serialize)]
struct FilledJson {
    raw: Bytes,
    tx: TxEnvelope,
}

fn fill(api: &Api, params: &mut Params<'_>) -> Answer {
    let call: CallJson = params.required("transaction")?;
    let view = api.view();
    let mut request = call.into_request(view.spec().chain_id)?;
    let ty = type_of(&request)?;
    if request.to.is_none() && request.data.is_empty() && ty <= EIP7702 {
        return Err(RpcError::params("a contract creation needs init code: set `to` or `input`"));
    }
    if request.nonce.is_none() {
        request.nonce = Some(next_nonce(api, view.head_state(), &request.from.unwrap_or_default()));
    }
    fill_fees(api, &view, ty, &mut request)?;
    if ty != LEGACY && ty <= EIP7702 {
        declare_ai_gas(&view, &mut request)?;
    }
    if request.gas.is_none() || (ty > EIP7702 && request.ai_gas_limit.is_none()) {
        let estimate = view.estimate_gas(state_number(&view, None)?, &request, &Overrides::default())?;
        request.gas.get_or_insert(estimate.gas);
        request.ai_gas_limit.get_or_insert(estimate.ai_gas);
    }
    let tx = build(&view, ty, request)?;
    reply(&FilledJson { raw: tx.encoded_2718().into(), tx })
}

/// The type asked for, or the one that has the given fields; EIP-1559 when there is a choice.
fn type_of(request: &CallRequest) -> Result<u8, RpcError> {
    let has_authorizations = request.authorization_list.as_ref().is_some_and(|list| !list.is_empty());
    let ty = request.tx_type.unwrap_or(match (has_authorizations, request.gas_price, &request.access_list) {
        (true, ..) => EIP7702,
        (false, Some(_), Some(_)) => EIP2930,
        (false, Some(_), None) => LEGACY,
        (false, None, _) => EIP1559,
    });
    let refuse =
        |what: &str| Err(RpcError::params(format!("a transaction of type {ty:#x} has no {what}: leave it out")));
    let is_dynamic = request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some();
    match ty {
        LEGACY if request.access_list.is_some() => refuse("accessList"),
        LEGACY | EIP2930 if is_dynamic => refuse("maxFeePerGas or maxPriorityFeePerGas"),
        LEGACY | EIP2930 => Ok(ty),
        3 => Err(RpcError::params("blob transactions (type 0x3, EIP-4844) are not supported")),
        _ if ty != EIP1559 && ty != EIP7702 && system::account_of(ty).is_none() => {
            Err(RpcError::params(format!("transaction type {ty:#x} is not enabled on this chain")))
        }
        _ if request.gas_price.is_some() => refuse("gasPrice"),
        EIP7702 if !has_authorizations => Err(RpcError::params("a transaction of type 0x4 needs an authorizationList")),
        _ if ty != EIP7702 && has_authorizations => refuse("authorizationList"),
        _ => Ok(ty),
    }
}

/// Twice the next base fee leaves room for the fee to grow while the transaction waits, as geth does.
fn fill_fees(api: &Api, view: &View, ty: u8, request: &mut CallRequest) -> Result<(), RpcError> {
    let base_fee = u128::from(fees::base_fee_next(view));
    let tip = fees::tip_now(api, view)?;
    if ty <= EIP2930 {
        request.gas_price.get_or_insert(base_fee.saturating_add(tip));
        return Ok(());
    }
    let tip = request.max_priority_fee_per_gas.unwrap_or_else(|| tip.min(request.max_fee_per_gas.unwrap_or(tip)));
    request.max_priority_fee_per_gas = Some(tip);
    request.max_fee_per_gas.get_or_insert(base_fee.saturating_mul(2).saturating_add(tip));
    Ok(())
}

/// Adds the declaration of AI gas to the access list, when the transaction runs models beyond what needs none.
fn declare_ai_gas(view: &View, request: &mut CallRequest) -> Result<(), RpcError> {
    let given = request.access_list.clone().unwrap_or_default();
    let declared = ai_gas::declared_in(&given).map_err(|error| RpcError::params(error.to_string()))?;
    if declared.is_some() || request.data.is_empty() {
        return Ok(());
    }
    // What the work takes is asked without a gas limit and without fees, which the sender would have to afford for it.
    let question = CallRequest {
        gas: None,
        gas_price: None,
        max_fee_per_gas: None,
        max_priority_fee_per_gas: None,
        ..request.clone()
    };
    let found = view.create_access_list(state_number(view, None)?, &question, &Overrides::default())?;
    let needed = found.outcome.ai_gas_used;
    if needed > view.spec().ai_gas_undeclared {
        request.access_list.get_or_insert_default().0.push(ai_gas::declaration(needed));
    }
    Ok(())
}

/// The envelope with a signature of zeros.
fn build(view: &View, ty: u8, request: CallRequest) -> Result<TxEnvelope, RpcError> {
    let chain_id = view.spec().chain_id;
    let (nonce, gas_limit) = (request.nonce.unwrap_or(0), request.gas.unwrap_or(0));
    let (gas_price, max_fee_per_gas) = (request.gas_price.unwrap_or(0), request.max_fee_per_gas.unwrap_or(0));
    let max_priority_fee_per_gas = request.max_priority_fee_per_gas.unwrap_or(0);
    let to = request.to.map_or(TxKind::Create, TxKind::Call);
    let (value, input) = (request.value.unwrap_or_default(), request.data.clone());
    let access_list = request.access_list.clone().unwrap_or_default();
    Ok(match ty {
        LEGACY => unsigned(TxLegacy { chain_id: Some(chain_id), nonce, gas_price, gas_limit, to, value, input }),
        EIP2930 => unsigned(TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }),
        EIP7702 => unsigned(TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: request.to.ok_or_else(|| RpcError::params("a transaction of type 0x4 calls an account: set `to`"))?,
            value,
            access_list,
            authorization_list: request.authorization_list.unwrap_or_default(),
            input,
        }),
        system::TX_MODEL_DEPLOY => unsigned(ai::<ModelDeploy>(chain_id, request)),
        system::TX_MODEL_UPDATE => unsigned(ai::<ModelUpdate>(chain_id, request)),
        system::TX_INFERENCE => unsigned(ai::<Inference>(chain_id, request)),
        system::TX_TRAINING => unsigned(ai::<Training>(chain_id, request)),
        system::TX_LORA => unsigned(ai::<Lora>(chain_id, request)),
        _ => unsigned(TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        }),
    })
}

fn ai<K: AiKind>(chain_id: u64, request: CallRequest) -> TxAi<K> {
    TxAi {
        chain_id,
        nonce: request.nonce.unwrap_or(0),
        max_priority_fee_per_gas: request.max_priority_fee_per_gas.unwrap_or(0),
        max_fee_per_gas: request.max_fee_per_gas.unwrap_or(0),
        gas_limit: request.gas.unwrap_or(0),
        ai_gas_limit: request.ai_gas_limit.unwrap_or(0),
        value: request.value.unwrap_or_default(),
        access_list: request.access_list.unwrap_or_default(),
        payload: request.data,
        kind: PhantomData,
    }
}

fn unsigned<T: SignableTransaction<Signature>>(tx: T) -> TxEnvelope
where
    TxEnvelope: From<Signed<T>>,
{
    tx.into_signed(Signature::new(U256::ZERO, U256::ZERO, false)).into()
}
