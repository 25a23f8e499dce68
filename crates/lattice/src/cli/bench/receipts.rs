//! `lattice bench receipts`: how fast a node hands out the receipts of transfers that lie together in as few blocks as the
//! gas limit allows, over one connection: one call each, in batches, and by whole blocks.
//!
//! One account sends them all, its first one last: all others wait for it, so blocks are full.

use super::{
    process,
    tps::{
        drive::{Load, seconds},
        target::Target,
        work::{self, Kind, Work},
    },
};
use crate::{
    cli::Output,
    client::{Client, quantity},
    failure::Failure,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Calls in a batch.
const BATCH: usize = 100;
const MINED_TIMEOUT: Duration = Duration::from_secs(300);

/// Arguments of `lattice bench receipts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's RPC URL [default: a development node of its own, on a free port]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Transfers
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    n: u32,
    /// How often everything is read; the medians are told
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
}

/// Times of reading all receipts, seconds.
#[derive(Debug, Serialize)]
struct Report {
    url: String,
    /// `web3_clientVersion`.
    client: String,
    n: u32,
    rounds: u32,
    /// Blocks that hold the transfers.
    blocks: usize,
    /// Transfers in the largest of them.
    largest_block: usize,
    /// By `eth_getTransactionReceipt`, one call a request.
    one_by_one: Times,
    /// The same in batches of 100.
    batched: Times,
    /// By `eth_getBlockReceipts`.
    by_block: Times,
    /// The machine's load average over the last minute, at the end.
    load_average: Option<f64>,
}

/// Seconds.
#[derive(Debug, Serialize)]
struct Times {
    median_s: f64,
    min_s: f64,
    max_s: f64,
    /// CPU time of the listening process, mean; none when it is not on this machine.
    cpu_s: Option<f64>,
}

/// `lattice bench receipts`.
pub fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let target = Target::open(args.url.as_deref())?;
    let client = target.client();
    let (work, _) = work::prepare(&target, Kind::Transfer, args.n, 1, BATCH as u32)?;
    mine(&target, &work)?;
    let hashes: Vec<Value> = work.senders[0].hashes.iter().map(|hash| json!([hash])).collect();
    let mut blocks: BTreeMap<u64, usize> = BTreeMap::new();
    for receipt in batched(client, &hashes)? {
        *blocks.entry(quantity(&receipt["blockNumber"]).unwrap_or_default()).or_default() += 1;
    }
    let time = |read: &dyn Fn() -> Result<Vec<Value>, Failure>| times(args, &target, read);
    let report = Report {
        url: client.url().to_owned(),
        client: target.version().to_owned(),
        n: args.n,
        rounds: args.rounds,
        blocks: blocks.len(),
        largest_block: blocks.values().max().copied().unwrap_or_default(),
        one_by_one: time(&|| {
            let one = |hash: &Value| Ok(client.call("eth_getTransactionReceipt", hash.clone())?);
            hashes.iter().map(one).collect()
        })?,
        batched: time(&|| batched(client, &hashes))?,
        by_block: time(&|| {
            let mut all = Vec::new();
            for number in blocks.keys() {
                match client.call("eth_getBlockReceipts", json!([format!("{number:#x}")]))? {
                    Value::Array(receipts) => all.extend(receipts),
                    other => return Err(Failure::new(format!("eth_getBlockReceipts answered {other}"))),
                }
            }
            Ok(all)
        })?,
        load_average: process::load_average(),
    };
    output.print(&report, || text(&report))
}

fn text(report: &Report) -> String {
    let Report { client, n, blocks, largest_block, rounds, .. } = report;
    let ms = |times: &Times| format!("{:.0} ms", times.median_s * 1e3);
    format!(
        "{client}\n{n} receipts of {blocks} blocks, the largest of {largest_block} transfers, medians of {rounds}:\n\
         one by one {}, in batches of {BATCH} {}, by block {}",
        ms(&report.one_by_one),
        ms(&report.batched),
        ms(&report.by_block),
    )
}

/// Sends everything, the first transfer last, and waits until it is mined.
fn mine(target: &Target, work: &Work) -> Result<(), Failure> {
    let mut raw: Vec<Value> = work.senders[0].raw.iter().map(|raw| json!([raw])).collect();
    raw.rotate_left(1);
    let (first, rest) = raw.split_last().expect("there is at least one transfer");
    for part in rest.chunks(BATCH).chain([std::slice::from_ref(first)]) {
        target.client().batch("eth_sendRawTransaction", part)?;
    }
    match Load::new(target, work, BATCH as u32, 1, MINED_TIMEOUT).wait(Instant::now())? {
        0 => Ok(()),
        missing => Err(Failure::new(format!("{missing} transfers are not mined after {} s", MINED_TIMEOUT.as_secs()))),
    }
}

fn batched(client: &Client, hashes: &[Value]) -> Result<Vec<Value>, Failure> {
    let mut receipts = Vec::with_capacity(hashes.len());
    for part in hashes.chunks(BATCH) {
        receipts.extend(client.batch("eth_getTransactionReceipt", part)?);
    }
    Ok(receipts)
}

/// Reads everything again and again; every transfer must have succeeded each time.
fn times(args: &Args, target: &Target, read: &dyn Fn() -> Result<Vec<Value>, Failure>) -> Result<Times, Failure> {
    let before = target.cpu_time();
    let mut taken = Vec::new();
    for _ in 0..args.rounds {
        let start = Instant::now();
        let receipts = read()?;
        taken.push(seconds(start.elapsed()));
        let succeeded = receipts.iter().filter(|receipt| receipt["status"] == "0x1").count();
        if succeeded < args.n as usize {
            return Err(Failure::new(format!("only {succeeded} of {} transfers have a receipt of success", args.n)));
        }
    }
    let cpu = target.cpu_time().zip(before).map(|(after, before)| after.saturating_sub(before));
    taken.sort_by(f64::total_cmp);
    Ok(Times {
        median_s: taken[taken.len() / 2],
        min_s: taken[0],
        max_s: taken[taken.len() - 1],
        cpu_s: cpu.map(|cpu| seconds(cpu / args.rounds)),
    })
}
