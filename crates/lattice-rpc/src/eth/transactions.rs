//! Transactions and receipts.

use super::{
    blocks,
    logs::{self, LogJson},
};
use crate::{
    api::{Api, Row, Run},
    cache::BlockFacts,
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::{Params, Quantity},
};
use alloy_consensus::{Transaction as _, Typed2718, transaction::Recovered};
use alloy_primitives::{Address, B256, Bloom, U64, U128};
use alloy_rpc_types_eth::{BlockId, Transaction, TransactionInfo};
use lattice_chain::View;
use lattice_types::{EvmBlock, TxEnvelope};
use serde::Serialize;

pub(super) const METHODS: &[Row] = &[
    ("eth_getTransactionByHash", 1, Run::Quick(by_hash)),
    ("eth_getTransactionByBlockHashAndIndex", 2, Run::Quick(by_block_hash)),
    ("eth_getTransactionByBlockNumberAndIndex", 2, Run::Quick(by_block_number)),
    ("eth_getRawTransactionByHash", 1, Run::Quick(raw_by_hash)),
    ("eth_getTransactionReceipt", 1, Run::Quick(receipt_by_hash)),
    ("eth_getBlockReceipts", 1, Run::Long(block_receipts)),
];

/// A transaction of a block in its JSON form.
pub(crate) fn transaction(block: &EvmBlock, block_hash: B256, index: usize, tx: TxEnvelope) -> Transaction<TxEnvelope> {
    let included = &block.transactions[index];
    let info = TransactionInfo {
        hash: Some(included.hash),
        index: Some(index as u64),
        block_hash: Some(block_hash),
        block_number: Some(block.header.number),
        base_fee: block.header.base_fee_per_gas,
        block_timestamp: Some(block.header.timestamp),
    };
    Transaction::from_transaction(Recovered::new_unchecked(tx, included.sender), info)
}

fn in_block(api: &Api, view: &View, block: &EvmBlock, index: u64) -> Answer {
    let Some(included) = usize::try_from(index).ok().and_then(|index| block.transactions.get(index)) else {
        return reply(&());
    };
    let tx = view.envelope(included)?;
    reply(&transaction(block, api.facts.of(block).hash, index as usize, tx))
}

fn by_hash(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("transaction hash")?;
    // The pool first: a transaction that leaves it in between is in the view that is taken then.
    let waiting = api.backend().pool().transaction(&hash);
    let view = api.view();
    if let Some((block, index)) = view.transaction(&hash)? {
        return in_block(api, &view, &block, index as u64);
    }
    reply(&waiting.map(|tx| Transaction::from_transaction((*tx).clone(), TransactionInfo::default())))
}

fn by_block_hash(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("block hash")?;
    let Quantity(index) = params.required("index")?;
    let view = api.view();
    view.block_by_hash(&hash)?.map_or_else(|| reply(&()), |block| in_block(api, &view, &block, index))
}

fn by_block_number(api: &Api, params: &mut Params<'_>) -> Answer {
    let tag = params.required("block")?;
    let Quantity(index) = params.required("index")?;
    let view = api.view();
    let found = view.block_by_number(blocks::number_of(&view, tag))?;
    found.map_or_else(|| reply(&()), |block| in_block(api, &view, &block, index))
}

fn raw_by_hash(api: &Api, params: &mut Params<'_>) -> Answer {
    use alloy_eips::eip2718::Encodable2718;
    let hash: B256 = params.required("transaction hash")?;
    let waiting = api.backend().pool().transaction(&hash);
    let view = api.view();
    let tx = match view.transaction(&hash)? {
        Some((block, index)) => Some(view.envelope(&block.transactions[index])?),
        None => waiting.map(|tx| tx.inner().clone()),
    };
    reply(&tx.map(|tx| alloy_primitives::Bytes::from(tx.encoded_2718())))
}

/// A receipt in its JSON form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptJson<'a> {
    #[serde(rename = "type")]
    ty: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<U64>,
    /// Before EIP-658, on chains of Ethereum.
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<B256>,
    transaction_hash: B256,
    transaction_index: U64,
    block_hash: B256,
    block_number: U64,
    from: Address,
    to: Option<Address>,
    contract_address: Option<Address>,
    gas_used: U64,
    cumulative_gas_used: U64,
    effective_gas_price: U128,
    /// EIP-4844, on chains of Ethereum.
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_price: Option<U128>,
    logs_bloom: Bloom,
    logs: Vec<LogJson<'a>>,
}

/// The receipt of the transaction at `index`.
fn receipt<'a>(
    view: &View,
    block: &'a EvmBlock,
    facts: &BlockFacts,
    index: usize,
    tx: &TxEnvelope,
) -> Result<ReceiptJson<'a>, RpcError> {
    let (Some(included), Some(receipt)) = (block.transactions.get(index), block.receipts.get(index)) else {
        return Err(RpcError::internal(format!("block {} has no receipt {index}", block.header.number)));
    };
    let before = index.checked_sub(1).map_or(0, |previous| block.receipts[previous].cumulative_gas_used);
    let ethereum = view.ethereum();
    let root = ethereum.and_then(|facts| facts.receipt_roots.get(&included.hash).copied());
    let blob_gas_price = ethereum.and_then(|facts| facts.blob_gas.get(&block.header.number)).map(|(price, _)| *price);
    Ok(ReceiptJson {
        ty: U64::from(tx.ty()),
        status: root.is_none().then(|| U64::from(u64::from(receipt.success))),
        root,
        transaction_hash: included.hash,
        transaction_index: U64::from(index),
        block_hash: facts.hash,
        block_number: U64::from(block.header.number),
        from: included.sender,
        to: tx.to(),
        contract_address: tx.is_create().then(|| included.sender.create(tx.nonce())),
        gas_used: U64::from(receipt.cumulative_gas_used - before),
        cumulative_gas_used: U64::from(receipt.cumulative_gas_used),
        effective_gas_price: U128::from(tx.effective_gas_price(block.header.base_fee_per_gas)),
        blob_gas_used: tx.blob_gas_used().map(U64::from),
        blob_gas_price: tx.blob_gas_used().and(blob_gas_price).map(U128::from),
        logs_bloom: receipt.bloom(),
        logs: logs::of_receipt(block, facts, index).collect(),
    })
}

fn receipt_by_hash(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("transaction hash")?;
    let view = api.view();
    let Some((block, index)) = view.transaction(&hash)? else { return reply(&()) };
    let tx = view.envelope(&block.transactions[index])?;
    reply(&receipt(&view, &block, &api.facts.of(&block), index, &tx)?)
}

fn block_receipts(api: &Api, params: &mut Params<'_>) -> Answer {
    let block: BlockId = params.required("block")?;
    let view = api.view();
    let Some(block) = blocks::find(&view, block)? else { return reply(&()) };
    let facts = api.facts.of(&block);
    let envelopes = view.envelopes(&block)?;
    let receipts = envelopes.iter().enumerate().map(|(index, tx)| receipt(&view, &block, &facts, index, tx));
    reply(&receipts.collect::<Result<Vec<_>, _>>()?)
}
