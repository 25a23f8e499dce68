//! `lattice bench tps`: how many transactions a second a node mines, end to end through JSON-RPC.
//!
//! The rules, the same for every node and kind:
//! - Senders are funded and transactions signed before the clock starts.
//! - The clock runs from the first byte sent until the nonces of all senders say that everything is mined.
//! - Afterwards every receipt is read, one by one; what is refused, missing or reverted is an error, and any error is exit
//!   code 1.
//! - CPU time is that of the listening process, user and system, over the same interval as the clock.
//!
//! It drives any Ethereum node that mines by itself: Lattice, anvil (start it with `--max-transactions 1000000`) or
//! hardhat. Kinds that need models go to Lattice nodes only, and keep what waits within a block's gas target
//! ([`models::gas_in_flight`]).

pub mod drive;
mod models;
pub mod target;
pub mod work;

use self::{
    drive::{Load, Measured},
    target::Target,
    work::Kind,
};
use super::process;
use crate::{cli::Output, failure::Failure};
use serde::Serialize;
use std::time::Duration;

/// Arguments of `lattice bench tps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's RPC URL [default: a development node of its own, on a free port]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What the transactions do
    #[arg(long, value_enum, default_value_t = Kind::Transfer)]
    kind: Kind,
    /// Transactions
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    n: u32,
    /// Accounts that send them
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    senders: u32,
    /// Calls in one JSON-RPC batch
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// HTTP connections that send at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    /// Seconds after which what is not mined counts as lost
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// What one run found.
#[derive(Debug, Serialize)]
struct Report {
    kind: Kind,
    url: String,
    /// `web3_clientVersion`.
    client: String,
    chain_id: u64,
    n: u32,
    senders: u32,
    batch: u32,
    connections: u32,
    /// Signing everything, before the clock.
    sign_s: f64,
    #[serde(flatten)]
    measured: Measured,
    /// CPU time of the listening process a transaction; none when it is not on this machine.
    cpu_us_per_tx: Option<f64>,
    /// The machine's load average over the last minute, at the end.
    load_average: Option<f64>,
}

/// `lattice bench tps`.
pub fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let target = Target::open(args.url.as_deref())?;
    let (work, signing) = work::prepare(&target, args.kind, args.n, args.senders, args.batch)?;
    let mut load = Load::new(&target, &work, args.batch, args.connections, Duration::from_secs(args.timeout));
    let (measured, cpu) = load.run()?;
    let report = Report {
        kind: args.kind,
        url: target.client().url().to_owned(),
        client: target.version().to_owned(),
        chain_id: work.chain_id,
        n: args.n,
        senders: work.senders.len() as u32,
        batch: args.batch,
        connections: args.connections,
        sign_s: drive::seconds(signing),
        measured,
        cpu_us_per_tx: cpu.map(|cpu| (cpu.as_micros() as f64 / f64::from(args.n) * 10.0).round() / 10.0),
        load_average: process::load_average(),
    };
    if report.measured.errors > 0 {
        let (errors, n) = (report.measured.errors, args.n);
        let first = report.measured.first_error.clone().unwrap_or_else(|| "the node gave no reason".into());
        let facts = serde_json::to_value(&report).map_err(|error| Failure::new(error.to_string()))?;
        return Err(Failure::new(format!("{errors} of {n} transactions failed; the first: {first}")).facts(facts));
    }
    output.print(&report, || text(&report))
}

fn text(report: &Report) -> String {
    let Report { client, n, measured, .. } = report;
    let cpu = report.cpu_us_per_tx.map_or_else(|| "unknown".into(), |cpu| format!("{cpu} us"));
    format!(
        "{client}\n{} x {n}: {:.0} mined/s ({:.2} s, {} blocks), server CPU a transaction: {cpu}\n\
         submitted in {:.2} s, all {n} receipts read in {:.2} s, errors: {}",
        report.kind,
        measured.mined_tps,
        measured.mined_s,
        measured.blocks,
        measured.submit_s,
        measured.receipts_s,
        measured.errors,
    )
}
