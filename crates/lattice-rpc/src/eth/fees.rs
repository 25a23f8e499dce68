//! Fees: the next base fee, a suggested tip, and their history (EIP-1559).

use super::blocks::number_of;
use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::{Params, Quantity},
};
use alloy_consensus::Transaction;
use alloy_primitives::{U64, U128};
use alloy_rpc_types_eth::{BlockNumberOrTag, FeeHistory};
use lattice_chain::View;
use lattice_types::EvmBlock;

/// Tip suggested when no recent block has a transaction: 1 gwei.
const TIP_DEFAULT: u128 = 1_000_000_000;
/// Tips above this are never suggested: 500 gwei, as geth.
const TIP_MAX: u128 = 500_000_000_000;
/// Recent blocks whose tips count.
const TIP_BLOCKS: u64 = 20;
/// Transactions of a block whose tips count: its cheapest.
const TIPS_PER_BLOCK: usize = 3;
/// The suggested tip is this percentile of those.
const TIP_PERCENTILE: usize = 60;
/// Blocks in one `eth_feeHistory`, without and with rewards, as geth: more are cut.
const HISTORY_BLOCKS_MAX: u64 = 1_024;
const HISTORY_REWARD_BLOCKS_MAX: u64 = 128;
const PERCENTILES_MAX: usize = 100;

pub(super) const METHODS: &[Row] = &[
    ("eth_gasPrice", 0, Run::Quick(gas_price)),
    ("eth_maxPriorityFeePerGas", 0, Run::Quick(max_priority_fee)),
    ("eth_baseFee", 0, Run::Quick(base_fee)),
    ("eth_blobBaseFee", 0, Run::Quick(blob_base_fee)),
    ("eth_feeHistory", 3, Run::Long(history)),
];

/// The base fee of the block after the latest.
pub(super) fn base_fee_next(view: &View) -> u64 {
    base_fee_after(view, view.head())
}

fn base_fee_after(view: &View, block: &EvmBlock) -> u64 {
    lattice_chain::base_fee_next(view.spec(), &block.header)
}

/// A tip that recent blocks included: a percentile of the lowest tips of the last blocks.
fn suggested_tip(view: &View) -> Result<u128, RpcError> {
    let head = view.head().header.number;
    let mut lowest = Vec::new();
    for number in head.saturating_sub(TIP_BLOCKS - 1)..=head {
        let Some(block) = view.block_by_number(number)? else { continue };
        // The order of a block is by nonce, not by tip, but a sample of a big one is enough.
        let mut tips = Vec::with_capacity(block.transactions.len().min(64));
        for tx in block.transactions.iter().take(64) {
            tips.push(tip(&view.envelope(tx)?, &block));
        }
        tips.sort_unstable();
        lowest.extend(tips.into_iter().filter(|tip| *tip > 0).take(TIPS_PER_BLOCK));
    }
    if lowest.is_empty() {
        return Ok(TIP_DEFAULT);
    }
    lowest.sort_unstable();
    Ok(lowest[(lowest.len() - 1) * TIP_PERCENTILE / 100].min(TIP_MAX))
}

/// Tip that a transaction paid, wei a gas.
fn tip(tx: &impl Transaction, block: &EvmBlock) -> u128 {
    let base_fee = block.header.base_fee_per_gas;
    tx.effective_gas_price(base_fee).saturating_sub(u128::from(base_fee.unwrap_or(0)))
}

/// [`suggested_tip`], computed once a block.
pub(super) fn tip_now(api: &Api, view: &View) -> Result<u128, RpcError> {
    api.facts.tip(view.sink(), || suggested_tip(view))
}

/// The base fee and a tip. Calls are simulated in the latest block, whose base fee may be above the next one's: the price
/// pays both, so that what a tool asks here can be estimated at once.
fn gas_price(api: &Api, _: &mut Params<'_>) -> Answer {
    let view = api.view();
    let base_fee = base_fee_next(&view).max(view.head().header.base_fee_per_gas.unwrap_or(0));
    reply(&U128::from(u128::from(base_fee) + tip_now(api, &view)?))
}

fn max_priority_fee(api: &Api, _: &mut Params<'_>) -> Answer {
    reply(&U128::from(tip_now(api, &api.view())?))
}

fn base_fee(api: &Api, _: &mut Params<'_>) -> Answer {
    reply(&U64::from(base_fee_next(&api.view())))
}

fn blob_base_fee(api: &Api, _: &mut Params<'_>) -> Answer {
    let view = api.view();
    reply(&U128::from(blob_gas(&view, view.head().header.number + 1).0))
}

/// Price of blob gas in a block, and how much of it the block may have. Lattice has no blobs, so their price stays at its
/// minimum (EIP-4844).
fn blob_gas(view: &View, number: u64) -> (u128, u64) {
    view.ethereum().map_or((1, 0), |facts| facts.blob_gas.get(&number).copied().unwrap_or((0, 0)))
}

fn history(api: &Api, params: &mut Params<'_>) -> Answer {
    let Quantity(count) = params.required("block count")?;
    let newest: BlockNumberOrTag = params.required("newest block")?;
    let percentiles: Vec<f64> = params.optional("reward percentiles")?.unwrap_or_default();
    check_percentiles(&percentiles)?;
    let view = api.view();
    let head = view.head().header.number;
    let newest = number_of(&view, newest);
    if newest > head {
        return Err(RpcError::server(format!("request beyond head block: requested {newest}, head {head}")));
    }
    let max = if percentiles.is_empty() { HISTORY_BLOCKS_MAX } else { HISTORY_REWARD_BLOCKS_MAX };
    // Where pruned blocks begin, the history begins.
    let count = count.min(max).min((newest + 1).saturating_sub(view.oldest_block()).max(1));
    if count == 0 {
        return reply(&FeeHistory::default());
    }
    let oldest = newest + 1 - count;
    let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
    let mut rewards = Vec::new();
    let mut last = None;
    for number in oldest..=newest {
        let block =
            view.block_by_number(number)?.ok_or_else(|| RpcError::internal(format!("block {number} is missing")))?;
        history.base_fee_per_gas.push(u128::from(block.header.base_fee_per_gas.unwrap_or(0)));
        history.gas_used_ratio.push(block.header.gas_used as f64 / block.header.gas_limit as f64);
        let (blob_price, blob_limit) = blob_gas(&view, number);
        history.base_fee_per_blob_gas.push(blob_price);
        let blob_gas_used = block.header.blob_gas_used.unwrap_or(0);
        history.blob_gas_used_ratio.push(if blob_limit == 0 { 0.0 } else { blob_gas_used as f64 / blob_limit as f64 });
        if !percentiles.is_empty() {
            rewards.push(reward_percentiles(&view, &block, &percentiles)?);
        }
        last = Some(block);
    }
    if let Some(block) = last {
        history.base_fee_per_gas.push(u128::from(base_fee_after(&view, &block)));
        history.base_fee_per_blob_gas.push(blob_gas(&view, block.header.number + 1).0);
    }
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    reply(&history)
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), RpcError> {
    if percentiles.len() > PERCENTILES_MAX {
        let given = percentiles.len();
        return Err(RpcError::params(format!("invalid reward percentiles: {given} given, at most {PERCENTILES_MAX}")));
    }
    let in_range = percentiles.iter().all(|percentile| (0.0..=100.0).contains(percentile));
    if !in_range || !percentiles.is_sorted() {
        return Err(RpcError::params("invalid reward percentiles: they must be from 0 to 100 and ascending"));
    }
    Ok(())
}

/// Tips of a block at percentiles of its gas, as geth: sorted by tip, weighted by gas.
fn reward_percentiles(view: &View, block: &EvmBlock, percentiles: &[f64]) -> Result<Vec<u128>, RpcError> {
    let mut paid = Vec::with_capacity(block.transactions.len());
    let mut before = 0;
    for (tx, receipt) in view.envelopes(block)?.iter().zip(&block.receipts) {
        paid.push((tip(tx, block), receipt.cumulative_gas_used - before));
        before = receipt.cumulative_gas_used;
    }
    paid.sort_unstable();
    Ok(weighted_percentiles(&paid, before, percentiles))
}

/// `paid`: (tip, gas) ascending by tip; `total` gas.
fn weighted_percentiles(paid: &[(u128, u64)], total: u64, percentiles: &[f64]) -> Vec<u128> {
    let mut rest = paid.iter();
    let mut current = rest.next();
    let mut gas = current.map_or(0, |(_, gas)| *gas);
    let at = |percentile: &f64| {
        let threshold = (total as f64 * percentile / 100.0) as u64;
        while gas < threshold
            && let Some(next) = rest.next()
        {
            current = Some(next);
            gas += next.1;
        }
        current.map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_weighted_by_gas() {
        let paid = [(1, 21_000), (2, 21_000), (10, 58_000)];
        let got = weighted_percentiles(&paid, 100_000, &[0.0, 21.0, 22.0, 42.0, 43.0, 100.0]);
        assert_eq!(got, [1, 1, 2, 2, 10, 10]);
        assert_eq!(weighted_percentiles(&[], 0, &[5.0, 50.0]), [0, 0]);
    }

    #[test]
    fn percentiles_ascend_within_their_range() {
        assert!(check_percentiles(&[0.0, 50.0, 50.0, 100.0]).is_ok());
        for wrong in [&[-1.0][..], &[101.0], &[50.0, 10.0], &[f64::NAN], &[1.0; 101]] {
            assert!(check_percentiles(wrong).is_err(), "{wrong:?}");
        }
    }
}
