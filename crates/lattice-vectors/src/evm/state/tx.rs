//! The transaction of a state test, as the machine takes it.

use crate::{
    evm::transaction::S_MAX,
    json::{self, Fault},
};
use alloy_consensus::{TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::{
    eip2718::Decodable2718,
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, TxKind};
use lattice_execution::ethereum::{self, AccessList, AccessListItem, SpecId, TxEnv};
use lattice_types::tx::TxSigner;
use serde_json::Value;

/// The highest transaction type of any fork here (EIP-7702).
const TX_TYPE_MAX: u64 = 4;

/// A transaction, or why no transaction type can express it: a block that carries it does not decode.
pub(super) enum Built {
    Tx(Box<TxEnv>),
    Inexpressible(String),
}

/// Unwraps a field's value, or ends with [`Built::Inexpressible`].
macro_rules! fits {
    ($value:expr, $field:expr, $bits:expr) => {
        match json::wide($value)?.and_then(|number| number.try_into().ok()) {
            Some(number) => number,
            None => return Ok(Built::Inexpressible(format!("{} does not fit {} bits", $field, $bits))),
        }
    };
}

/// Why the signed bytes of a case (`txbytes`) are no transaction that anybody signed; `None` when they are one, or when
/// there are none. Only cases that expect a refusal are asked: our decoder has narrower fees than Ethereum's encoding.
pub(super) fn unreadable(post: &Value, fork: SpecId) -> Option<String> {
    let bytes = json::bytes(post.get("txbytes")?).ok().filter(|bytes| !bytes.is_empty())?;
    let mut rest: &[u8] = &bytes;
    let tx = match TxEnvelope::decode_2718(&mut rest) {
        Ok(tx) if rest.is_empty() => tx,
        Ok(_) => return Some(format!("{} bytes follow the transaction", rest.len())),
        Err(error) => return Some(error.to_string()),
    };
    if fork >= SpecId::HOMESTEAD && tx.signature().s() > S_MAX {
        return Some("s is in the upper half (EIP-2)".into());
    }
    tx.recover_signer_unchecked().err().map(|_| "the signature is nobody's".into())
}

/// An entry that `indexes` picks from a list, or the one value where there is no list.
fn pick<'v>(tx: &'v Value, field: &str, post: &Value, index: &str) -> Result<&'v Value, Fault> {
    let Some(list) = tx[field].as_array() else { return Ok(&tx[field]) };
    let place = json::small(&post["indexes"][index])?;
    let entry = usize::try_from(place).ok().and_then(|place| list.get(place));
    entry.ok_or_else(|| format!("transaction.{field} has no entry {place}"))
}

/// The type that the fields make, unless the vector names one.
fn tx_type(tx: &Value, has_access_list: bool) -> Result<u64, Fault> {
    let is_there = |field: &str| tx.get(field).is_some_and(|value| !value.is_null());
    if is_there("type") {
        return json::small(&tx["type"]);
    }
    Ok(if is_there("authorizationList") {
        4
    } else if is_there("blobVersionedHashes") || is_there("maxFeePerBlobGas") {
        3
    } else if is_there("maxFeePerGas") {
        2
    } else {
        u64::from(has_access_list)
    })
}

/// Builds the transaction of a case.
pub(super) fn build(tx: &Value, post: &Value, chain_id: u64) -> Result<Built, Fault> {
    let access_list = tx.get("accessLists").map(|_| pick(tx, "accessLists", post, "data")).transpose()?;
    let access_list = access_list.or_else(|| tx.get("accessList")).filter(|list| list.is_array());
    let list_of = |field: &str| tx.get(field).filter(|list| list.is_array());
    let (blob_hashes, authorizations) = (list_of("blobVersionedHashes"), list_of("authorizationList"));
    let is_dynamic = tx.get("maxFeePerGas").is_some_and(|fee| !fee.is_null());
    let gas_price: u128 = fits!(if is_dynamic { &tx["maxFeePerGas"] } else { &tx["gasPrice"] }, "gas price", 128);
    let tx_type = match tx_type(tx, access_list.is_some())? {
        unknown if unknown > TX_TYPE_MAX => {
            return Ok(Built::Inexpressible(format!("type {unknown} is of no fork")));
        }
        known => known as u8,
    };
    let to = json::text(&tx["to"]);
    if to.is_empty() && tx_type > 2 {
        return Ok(Built::Inexpressible(format!("type {tx_type} creates no contracts")));
    }
    let signed = match authorizations.map(authorization_list).transpose()? {
        Some(Err(reason)) => return Ok(Built::Inexpressible(reason)),
        Some(Ok(list)) => list,
        None => Vec::new(),
    };
    let chain_id: u64 = match tx.get("chainId").filter(|id| !id.is_null()) {
        Some(id) => fits!(id, "chain id", 64),
        None => chain_id,
    };
    Ok(Built::Tx(Box::new(TxEnv {
        tx_type,
        caller: sender(tx)?,
        gas_limit: fits!(pick(tx, "gasLimit", post, "gas")?, "gas limit", 64),
        gas_price,
        kind: if to.is_empty() { TxKind::Create } else { TxKind::Call(json::address(to)?) },
        value: fits!(pick(tx, "value", post, "value")?, "value", 256),
        data: json::bytes(pick(tx, "data", post, "data")?)?,
        nonce: fits!(&tx["nonce"], "nonce", 64),
        chain_id: Some(chain_id),
        access_list: access_list.map(access_list_of).transpose()?.unwrap_or_default(),
        gas_priority_fee: if is_dynamic { Some(fits!(&tx["maxPriorityFeePerGas"], "priority fee", 128)) } else { None },
        blob_hashes: blob_hashes.map(hashes).transpose()?.unwrap_or_default(),
        max_fee_per_blob_gas: fits!(&tx["maxFeePerBlobGas"], "blob fee", 128),
        authorization_list: ethereum::authorizations(&signed),
    })))
}

fn sender(tx: &Value) -> Result<Address, Fault> {
    if let Some(sender) = tx["sender"].as_str() {
        return json::address(sender);
    }
    let key = B256::from(json::number(&tx["secretKey"])?);
    Ok(TxSigner::new(key).ok_or("neither `sender` nor a usable `secretKey`")?.address())
}

fn hashes(list: &Value) -> Result<Vec<B256>, Fault> {
    list.as_array().into_iter().flatten().map(|hash| json::number(hash).map(B256::from)).collect()
}

fn access_list_of(list: &Value) -> Result<AccessList, Fault> {
    let item = |item: &Value| {
        let storage_keys = hashes(&item["storageKeys"])?;
        Ok(AccessListItem { address: json::address(json::text(&item["address"]))?, storage_keys })
    };
    list.as_array().into_iter().flatten().map(item).collect::<Result<_, Fault>>().map(AccessList)
}

/// An EIP-7702 list; the inner error says which field no encoding can hold.
fn authorization_list(list: &Value) -> Result<Result<Vec<SignedAuthorization>, String>, Fault> {
    let mut signed = Vec::new();
    for item in list.as_array().into_iter().flatten() {
        let parity = item.get("yParity").or_else(|| item.get("v")).unwrap_or(&Value::Null);
        let numbers = [&item["chainId"], &item["r"], &item["s"], &item["nonce"], parity];
        if numbers.iter().any(|number| number.is_array() || number.is_object()) {
            return Ok(Err("an authorization's field is a list".into()));
        }
        let numbers = numbers.into_iter().map(json::wide).collect::<Result<Vec<_>, _>>()?;
        let [Some(chain_id), Some(r), Some(s), nonce, parity] = numbers[..] else {
            return Ok(Err("an authorization's field does not fit 256 bits".into()));
        };
        let nonce = nonce.and_then(|nonce| u64::try_from(nonce).ok());
        let (Some(nonce), Some(parity)) = (nonce, parity.and_then(|parity| u8::try_from(parity).ok())) else {
            return Ok(Err("an authorization's nonce or parity is too large".into()));
        };
        let address = json::bytes(&item["address"])?;
        let Ok(address) = Address::try_from(&address[..]) else {
            return Ok(Err(format!("an authorization's address has {} bytes", address.len())));
        };
        let authorization = Authorization { chain_id, address, nonce };
        signed.push(SignedAuthorization::new_unchecked(authorization, parity, r, s));
    }
    Ok(Ok(signed))
}
