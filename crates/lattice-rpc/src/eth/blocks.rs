//! Blocks by number, tag and hash.

use super::{fees, transactions};
use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::{Params, Quantity},
};
use alloy_consensus::Sealed;
use alloy_primitives::{B256, U64, U256};
use alloy_rpc_types_eth::{Block, BlockId, BlockNumberOrTag, BlockTransactions, Header, Transaction};
use lattice_chain::View;
use lattice_types::{EvmBlock, TxEnvelope};
use serde_json::Value;
use std::sync::Arc;

pub(super) const METHODS: &[Row] = &[
    ("eth_blockNumber", 0, Run::Quick(number)),
    ("eth_getBlockByNumber", 2, Run::Long(by_number)),
    ("eth_getBlockByHash", 2, Run::Long(by_hash)),
    ("eth_getBlockTransactionCountByNumber", 1, Run::Quick(count_by_number)),
    ("eth_getBlockTransactionCountByHash", 1, Run::Quick(count_by_hash)),
    ("eth_getUncleCountByBlockNumber", 1, Run::Quick(uncles_by_number)),
    ("eth_getUncleCountByBlockHash", 1, Run::Quick(uncles_by_hash)),
    ("eth_getUncleByBlockNumberAndIndex", 2, Run::Quick(uncle_by_number)),
    ("eth_getUncleByBlockHashAndIndex", 2, Run::Quick(uncle_by_hash)),
];

/// The number that a tag stands for. Pending stands for the latest: waiting transactions have no state of their own.
/// Earliest is the oldest block that is kept.
pub(crate) fn number_of(view: &View, tag: BlockNumberOrTag) -> u64 {
    match tag {
        BlockNumberOrTag::Number(number) => number,
        BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => view.head().header.number,
        BlockNumberOrTag::Safe => view.safe_number(),
        BlockNumberOrTag::Finalized => view.finalized_number(),
        BlockNumberOrTag::Earliest => view.oldest_block(),
    }
}

/// The block of the selected chain that is asked for.
pub(crate) fn find(view: &View, block: BlockId) -> Result<Option<Arc<EvmBlock>>, RpcError> {
    Ok(match block {
        BlockId::Number(tag) => view.block_by_number(number_of(view, tag))?,
        BlockId::Hash(hash) => view.block_by_hash(&hash.block_hash)?,
    })
}

/// The number of the block whose state is asked for; the latest by default.
pub(crate) fn state_number(view: &View, block: Option<BlockId>) -> Result<u64, RpcError> {
    let head = view.head().header.number;
    match block.unwrap_or_default() {
        BlockId::Number(tag) => {
            let number = number_of(view, tag);
            let missing = || RpcError::server(format!("header not found: block {number} is beyond the latest, {head}"));
            (number <= head).then_some(number).ok_or_else(missing)
        }
        BlockId::Hash(hash) => {
            let found = view.block_by_hash(&hash.block_hash)?;
            let missing =
                || RpcError::server(format!("header for hash not found: no block {} on the chain", hash.block_hash));
            found.map(|block| block.header.number).ok_or_else(missing)
        }
    }
}

fn number(api: &Api, _: &mut Params<'_>) -> Answer {
    reply(&U64::from(api.view().head().header.number))
}

fn by_number(api: &Api, params: &mut Params<'_>) -> Answer {
    let tag: BlockNumberOrTag = params.required("block")?;
    let full = params.optional("full transactions")?.unwrap_or(false);
    let view = api.view();
    if tag.is_pending() {
        return reply(&pending(&view)?);
    }
    let found = view.block_by_number(number_of(&view, tag))?;
    found.map_or_else(|| reply(&()), |block| render(api, &view, &block, full))
}

fn by_hash(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("block hash")?;
    let full = params.optional("full transactions")?.unwrap_or(false);
    let view = api.view();
    let found = view.block_by_hash(&hash)?;
    found.map_or_else(|| reply(&()), |block| render(api, &view, &block, full))
}

fn render(api: &Api, view: &View, block: &EvmBlock, full: bool) -> Answer {
    let facts = api.facts.of(block);
    let transactions: BlockTransactions<Transaction<TxEnvelope>> = if full {
        let envelopes = view.envelopes(block)?.into_iter().enumerate();
        let one = |(index, tx)| transactions::transaction(block, facts.hash, index, tx);
        BlockTransactions::Full(envelopes.map(one).collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(|tx| tx.hash).collect())
    };
    let size = facts.size(view, block)?;
    let sealed = Sealed::new_unchecked(block.header.clone(), facts.hash);
    let header = Header::from_consensus(sealed, None, Some(U256::from(size)));
    let withdrawals = block.header.withdrawals_root.map(|_| block.withdrawals.clone());
    reply(&Block::new(header, transactions).with_withdrawals(withdrawals))
}

/// The block after the latest as far as it is known: without hash and nonce, as geth shows it, and without transactions.
fn pending(view: &View) -> Result<Value, RpcError> {
    let head = &view.head().header;
    let header = alloy_consensus::Header {
        parent_hash: view.head().hash(),
        number: head.number + 1,
        base_fee_per_gas: Some(fees::base_fee_next(view)),
        gas_limit: view.spec().gas_limit,
        gas_used: 0,
        logs_bloom: Default::default(),
        transactions_root: alloy_consensus::EMPTY_ROOT_HASH,
        receipts_root: alloy_consensus::EMPTY_ROOT_HASH,
        withdrawals_root: Some(alloy_consensus::EMPTY_ROOT_HASH),
        extra_data: Default::default(),
        ..head.clone()
    };
    let transactions: BlockTransactions<Transaction<TxEnvelope>> = BlockTransactions::Hashes(Vec::new());
    let block = Block::new(Header::new(header), transactions).with_withdrawals(Some(Default::default()));
    let mut block = serde_json::to_value(block).map_err(RpcError::internal)?;
    block["hash"] = Value::Null;
    block["nonce"] = Value::Null;
    Ok(block)
}

fn count_by_number(api: &Api, params: &mut Params<'_>) -> Answer {
    let tag: BlockNumberOrTag = params.required("block")?;
    let view = api.view();
    if tag.is_pending() {
        return reply(&U64::ZERO);
    }
    let found = view.block_by_number(number_of(&view, tag))?;
    reply(&found.map(|block| U64::from(block.transactions.len())))
}

fn count_by_hash(api: &Api, params: &mut Params<'_>) -> Answer {
    let found = api.view().block_by_hash(&params.required("block hash")?)?;
    reply(&found.map(|block| U64::from(block.transactions.len())))
}

fn uncles_by_number(api: &Api, params: &mut Params<'_>) -> Answer {
    let view = api.view();
    let found = view.block_by_number(number_of(&view, params.required("block")?))?;
    reply(&found.map(|_| U64::ZERO))
}

fn uncles_by_hash(api: &Api, params: &mut Params<'_>) -> Answer {
    let found = api.view().block_by_hash(&params.required("block hash")?)?;
    reply(&found.map(|_| U64::ZERO))
}

/// There are no uncles: red blocks are merged, and `lattice_getDag` shows them.
fn uncle_by_number(_: &Api, params: &mut Params<'_>) -> Answer {
    params.required::<BlockNumberOrTag>("block")?;
    params.required::<Quantity>("index")?;
    reply(&())
}

fn uncle_by_hash(_: &Api, params: &mut Params<'_>) -> Answer {
    params.required::<B256>("block hash")?;
    params.required::<Quantity>("index")?;
    reply(&())
}
