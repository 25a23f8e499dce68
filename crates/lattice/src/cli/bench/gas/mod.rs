//! `lattice bench gas`: what each AI operation costs in gas and in time, beside Ethereum's own operations.
//!
//! - Everything goes through the node's executor, one block at a time: begin, execute, trie and roots.
//! - Operations that compute run many times in a contract's loop; a row is one turn of it, the call included. That is
//!   how somebody who wants to slow a node down would do it.
//! - Operations on records run once in a block on a state made for them; a row is the block less an empty one.
//! - Time is CPU time of the process, all threads. The median of all runs counts; gas is the same in each.
//!
//! What matters is gas a second, and for AI work that it is no less than what the slowest of Ethereum's operations give
//! on the same machine: then no block of AI work takes longer than a block of those.

mod computing;
mod disputes;
mod lab;
mod records;
mod reference;

use self::lab::{Call, Lab};
use crate::{cli::Output, failure::Failure, import};
use alloy_primitives::Address;
use lattice_execution::asm;
use lattice_types::ChainSpec;
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Arguments of `lattice bench gas`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model's file to run beside the digits classifier: ONNX, TensorFlow Lite or a frozen graph
    #[arg(long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// Shape of a model's input that its file leaves open: ids=1,128
    #[arg(long = "shape", value_name = "NAME=DIMS", value_parser = import::parse_shape)]
    shapes: Vec<(String, Vec<usize>)>,
    /// Runs of each operation; the median counts
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    n: u32,
    /// Only operations whose name contains this, and the references
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// One operation.
#[derive(Debug, Serialize)]
struct Row {
    /// `compute`, `load`, `record` or `reference`.
    kind: &'static str,
    name: String,
    /// CPU milliseconds of one operation: median, least and most of the runs.
    ms: f64,
    ms_min: f64,
    ms_max: f64,
    gas: u64,
    /// Gas for each second of CPU time, in millions.
    mgas_s: f64,
}

impl Row {
    fn new(kind: &'static str, name: impl Into<String>, gas: u64, mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let (least, most) = (ms.first().copied().unwrap_or(0.0), ms.last().copied().unwrap_or(0.0));
        let median = ms.get(ms.len() / 2).copied().unwrap_or(0.0);
        let mgas_s = gas as f64 / 1e3 / median.max(1e-6);
        Self { kind, name: name.into(), ms: median, ms_min: least, ms_max: most, gas, mgas_s }
    }
}

/// What the rows say of a full AI lane.
#[derive(Debug, Serialize)]
struct Lane {
    /// AI gas of one block.
    ai_gas_limit: u64,
    /// Length of a slot on a network.
    slot_ms: u64,
    /// The AI operation that gives the least gas a second.
    slowest: String,
    slowest_mgas_s: f64,
    /// CPU time of a block full of it.
    full_lane_ms: f64,
    /// Ethereum's operation that gives the least gas a second, and what it gives.
    slowest_reference: String,
    slowest_reference_mgas_s: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    n: u32,
    /// Whether the CPU has the instructions that validators need.
    accelerated: bool,
    rows: Vec<Row>,
    lane: Lane,
    load_average: Option<f64>,
}

/// What is to be measured, and how often.
struct Plan {
    n: u32,
    only: Option<String>,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Milliseconds of `n` runs after one that warms up.
    fn samples(&self, mut run: impl FnMut() -> Result<Duration, Failure>) -> Result<Vec<f64>, Failure> {
        run()?;
        (0..self.n).map(|_| run().map(|cpu| cpu.as_secs_f64() * 1e3)).collect()
    }
}

/// `lattice bench gas`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    let shapes: import::Shapes = args.shapes.into_iter().collect();
    let mut graphs = vec![("digits".to_owned(), import::digits()?)];
    for path in &args.models {
        let name = path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned());
        graphs.push((name, import::file(path, shapes.clone(), &[])?));
    }
    let plan = Plan { n: args.n, only: args.only };
    let mut rows = computing::tensors(&plan)?;
    rows.extend(computing::models(&plan, &graphs)?);
    rows.extend(records::rows(&plan, &graphs[0].1)?);
    rows.extend(reference::rows(&plan)?);
    let report = Report {
        n: plan.n,
        accelerated: lattice_inference::is_accelerated(),
        lane: lane(&rows)?,
        rows,
        load_average: super::process::load_average(),
    };
    output.print(&report, || text(&report))
}

fn lane(rows: &[Row]) -> Result<Lane, Failure> {
    let slowest = |of: &dyn Fn(&Row) -> bool| {
        let least = rows.iter().filter(|row| of(row)).min_by(|a, b| a.mgas_s.total_cmp(&b.mgas_s));
        least.ok_or_else(|| Failure::usage("no operation has such a name: leave --only out to see all"))
    };
    let (work, reference) = (slowest(&|row| row.kind != "reference")?, slowest(&|row| row.kind == "reference")?);
    let spec = ChainSpec::network(Vec::new());
    Ok(Lane {
        ai_gas_limit: spec.ai_gas_limit,
        slot_ms: spec.slot_ms,
        slowest: work.name.clone(),
        slowest_mgas_s: work.mgas_s,
        full_lane_ms: spec.ai_gas_limit as f64 / 1e3 / work.mgas_s,
        slowest_reference: reference.name.clone(),
        slowest_reference_mgas_s: reference.mgas_s,
    })
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!("{:<10} {:<42} {:>11} {:>11} {:>9}", "kind", "operation", "ms", "gas", "Mgas/s")];
    for Row { kind, name, ms, gas, mgas_s, .. } in &report.rows {
        lines.push(format!("{kind:<10} {name:<42} {ms:>11.5} {gas:>11} {mgas_s:>9.0}"));
    }
    let lane = &report.lane;
    lines.push(format!(
        "a full AI lane ({} gas) of {}: {:.0} ms of one core; the slot has {} ms\n\
         slowest of Ethereum's: {} at {:.0} Mgas/s; medians of {} runs, CPU time",
        lane.ai_gas_limit,
        lane.slowest,
        lane.full_lane_ms,
        lane.slot_ms,
        lane.slowest_reference,
        lane.slowest_reference_mgas_s,
        report.n
    ));
    lines.join("\n")
}

/// Where the code under measurement lies.
const LOOP: Address = Address::repeat_byte(0x10);

/// Turns of a loop that are worth this much gas are measured at once.
const LOOP_GAS: u64 = 6_000_000;

/// A contract that runs `body` so many times with `data` in memory from 0 on. The count of turns left is on the stack.
fn looped(body: &str, turns: u64, data: &[u8]) -> Result<Vec<u8>, Failure> {
    let program = |offset: usize| {
        let len = data.len();
        asm::assemble(&format!(
            "PUSH4 {len}\nPUSH4 {offset}\nPUSH 0\nCODECOPY\nPUSH4 {turns}\nagain:\nJUMPDEST\n{body}\nPUSH 1\nSWAP1\nSUB\nDUP1\n\
             PUSH @again\nJUMPI\nSTOP\nfailed:\nJUMPDEST\nINVALID"
        ))
        .map_err(|error| Failure::new(format!("the measurement's own code: {error}")))
    };
    let code = program(0)?;
    Ok([&program(code.len())?[..], data].concat())
}

/// Calls an address with what lies in memory, all of it, and fails when the call fails.
fn calling(to: Address, input_bytes: usize) -> String {
    format!("PUSH 0\nPUSH 0\nPUSH4 {input_bytes}\nPUSH 0\nPUSH {to}\nGAS\nSTATICCALL\nISZERO\nPUSH @failed\nJUMPI")
}

/// The row of a loop: one turn of it, by the difference of two numbers of turns.
fn turn(
    plan: &Plan,
    lab: &Lab,
    kind: &'static str,
    name: impl Into<String>,
    body: &str,
    data: &[u8],
) -> Result<Row, Failure> {
    let mut lab = lab.clone();
    let call = Call::new(1, LOOP, Vec::new());
    let mut gas_of = |turns: u64| {
        lab.put_code(LOOP, &looped(body, turns, data)?);
        lab.try_act(&call).map(|done| done.gas)
    };
    let (one, two) = (gas_of(1)?, gas_of(2)?);
    let gas = two - one;
    let turns = (LOOP_GAS / gas).max(1);
    let mut bare = lab.clone();
    bare.put_code(LOOP, &looped("", 1, data)?);
    lab.put_code(LOOP, &looped(body, turns, data)?);
    let around = plan.samples(|| bare.try_act(&call).map(|done| done.cpu))?;
    let around = Row::new("", "", 1, around).ms;
    let ms = plan.samples(|| lab.try_act(&call).map(|done| done.cpu))?;
    Ok(Row::new(kind, name, gas, ms.into_iter().map(|ms| (ms - around).max(0.0) / turns as f64).collect()))
}
