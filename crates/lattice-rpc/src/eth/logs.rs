//! Logs, by address, topics and blocks.

use super::blocks;
use crate::{
    api::{Api, Row, Run},
    cache::BlockFacts,
    error::{RpcError, TIMEOUT},
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_primitives::{Address, B256, Bytes, U64};
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, FilterBlockOption};
use lattice_chain::View;
use lattice_types::EvmBlock;
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::{Duration, Instant};

/// Logs in one answer.
const LOGS_MAX: usize = 20_000;
/// Blocks that one query may cover.
const BLOCKS_MAX: u64 = 100_000;
/// Time that one query may take.
const TIME_MAX: Duration = Duration::from_secs(20);

pub(super) const METHODS: &[Row] = &[("eth_getLogs", 1, Run::Long(get))];

/// A log in its JSON form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogJson<'a> {
    address: Address,
    topics: &'a [B256],
    data: &'a Bytes,
    block_number: U64,
    block_hash: B256,
    block_timestamp: U64,
    transaction_hash: B256,
    transaction_index: U64,
    log_index: U64,
    removed: bool,
}

/// The logs of the transaction at `index`.
pub(super) fn of_receipt<'a>(
    block: &'a EvmBlock,
    facts: &BlockFacts,
    index: usize,
) -> impl Iterator<Item = LogJson<'a>> {
    let start = facts.log_starts[index];
    let block_hash = facts.hash;
    let transaction_hash = block.transactions[index].hash;
    block.receipts[index].logs.iter().zip(start..).map(move |(log, log_index)| LogJson {
        address: log.address,
        topics: log.topics(),
        data: &log.data.data,
        block_number: U64::from(block.header.number),
        block_hash,
        block_timestamp: U64::from(block.header.timestamp),
        transaction_hash,
        transaction_index: U64::from(index),
        log_index: U64::from(log_index),
        removed: false,
    })
}

/// The logs of a block that pass a filter's addresses and topics.
pub(crate) fn of_block<'a>(block: &'a EvmBlock, facts: &BlockFacts, filter: &Filter) -> Vec<LogJson<'a>> {
    if !filter.matches_bloom(block.header.logs_bloom) {
        return Vec::new();
    }
    let passes = |log: &LogJson<'_>| filter.matches_address(log.address) && filter.matches_topics(log.topics);
    (0..block.receipts.len()).flat_map(|index| of_receipt(block, facts, index)).filter(passes).collect()
}

fn get(api: &Api, params: &mut Params<'_>) -> Answer {
    let filter: Filter = params.required("filter")?;
    let found = search(api, &api.view(), &filter)?;
    reply(&found)
}

/// All logs that a filter selects, as JSON, oldest first.
pub(super) fn search(api: &Api, view: &View, filter: &Filter) -> Result<Vec<Box<RawValue>>, RpcError> {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = view.block_by_hash(&hash)?;
            let block = block.ok_or_else(|| RpcError::server(format!("unknown block {hash}")))?;
            let mut out = Vec::new();
            append(api, &mut out, &block, filter)?;
            Ok(out)
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let head = view.head().header.number;
            match range(view, from_block, to_block, head)? {
                Some((from, to)) => search_range(api, view, filter, from, to),
                None => Ok(Vec::new()),
            }
        }
    }
}

/// The range of blocks; `None` when it is empty because it begins after the latest block.
fn range(
    view: &View,
    from: Option<BlockNumberOrTag>,
    to: Option<BlockNumberOrTag>,
    head: u64,
) -> Result<Option<(u64, u64)>, RpcError> {
    let from = blocks::number_of(view, from.unwrap_or_default());
    let to = to.unwrap_or_default();
    if let BlockNumberOrTag::Number(number) = to {
        if from > number {
            return Err(RpcError::params("invalid block range params"));
        }
        if number > head {
            return Err(RpcError::params("block range extends beyond current head block"));
        }
    }
    let to = blocks::number_of(view, to);
    if from > to {
        return Ok(None);
    }
    if to - from >= BLOCKS_MAX {
        let blocks = to - from + 1;
        return Err(RpcError::limit(format!("the range covers {blocks} blocks: at most {BLOCKS_MAX} in one query")));
    }
    Ok(Some((from, to)))
}

pub(super) fn search_range(
    api: &Api,
    view: &View,
    filter: &Filter,
    from: u64,
    to: u64,
) -> Result<Vec<Box<RawValue>>, RpcError> {
    let started = Instant::now();
    let mut out = Vec::new();
    for number in from..=to {
        if started.elapsed() > TIME_MAX {
            let message =
                format!("the query takes too long: it came to block {number} of {from} to {to}; ask for fewer blocks");
            return Err(RpcError::new(TIMEOUT, message));
        }
        if let Some(block) = view.block_by_number(number)? {
            append(api, &mut out, &block, filter)?;
        }
    }
    Ok(out)
}

fn append(api: &Api, out: &mut Vec<Box<RawValue>>, block: &EvmBlock, filter: &Filter) -> Result<(), RpcError> {
    // Most blocks fail here: their facts are not even derived.
    if !filter.matches_bloom(block.header.logs_bloom) {
        return Ok(());
    }
    for log in of_block(block, &api.facts.of(block), filter) {
        if out.len() == LOGS_MAX {
            let number = block.header.number;
            let message = format!(
                "query returned more than {LOGS_MAX} results, the limit is reached in block {number}: ask for fewer blocks"
            );
            return Err(RpcError::limit(message));
        }
        out.push(reply(&log)?);
    }
    Ok(())
}
