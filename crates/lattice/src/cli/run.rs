//! `lattice run`: a registered model by a transaction, or a file by the same executor without a chain.

use super::{NodeArgs, Output, progress, signing::wei};
use crate::{
    adapters::{self, Weighted},
    amount,
    failure::{Failure, read_file},
    import,
    registry::{Callable, RunReport},
    tensors::{self, NamedTensor, RawInput, Slot},
    wallet::{AiTerms, KeyArgs, Wallet},
};
use alloy_primitives::{B256, U256};
use clap::ValueEnum;
use lattice_inference::{Model, RunLimits};
use lattice_types::tx::{InferencePayload, RequestTerms};
use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

/// Arguments of `lattice run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registered model's id, or that of an adapter or a composition, which runs its base with it
    #[arg(required_unless_present = "local", conflicts_with = "local")]
    model_id: Option<B256>,
    /// Run this file (ONNX, TensorFlow Lite or a frozen graph) here, without a chain
    #[arg(long, value_name = "FILE")]
    local: Option<PathBuf>,
    /// An input tensor: x.npy, file.json, or - for stdin, each with NAME= before it if need be; without a name it is
    /// the next input in graph order
    #[arg(long = "input", value_name = "[NAME=]FILE|-")]
    inputs: Vec<String>,
    /// A LoRA adapter to run with, as PEFT saves it or in canonical form; several are added up in their order
    #[arg(long = "adapter", value_name = "DIR|FILE[:WEIGHT]", requires = "local")]
    adapters: Vec<Weighted>,
    /// Gas limit of the transaction [default: estimated]
    #[arg(long, conflicts_with = "local")]
    gas: Option<u64>,
    /// Whom the answer is trusted to
    #[arg(long, value_enum, default_value_t = Grade::Replay, conflicts_with = "local")]
    grade: Grade,
    /// What the provider or the prover gets, with a grade that is answered later: 1.5 (LAT), 20gwei, 7wei
    #[arg(long, value_name = "AMOUNT", default_value = "0", value_parser = amount::parse, conflicts_with = "local")]
    fee: U256,
    /// What a bonded answer has to put at stake
    #[arg(long, value_name = "AMOUNT", default_value = "1", value_parser = amount::parse, conflicts_with = "local")]
    bond: U256,
    /// EVM blocks that a bonded answer may take
    #[arg(long, value_name = "BLOCKS", default_value_t = 1_000, conflicts_with = "local")]
    answer_blocks: u64,
    /// Memory that a local run may use for weights and activations, MiB
    #[arg(long, default_value_t = 4096, requires = "local", value_name = "MIB")]
    memory_mb: u64,
    /// Time that a local run may take, import included, seconds
    #[arg(long, default_value_t = 60, requires = "local", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout_s: u64,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    node: NodeArgs,
}

/// How an inference is made sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Grade {
    /// Every validator runs the model: the answer is in the receipt
    Replay,
    /// A provider answers later under a bond, which a challenge can slash: `lattice infer`
    Bonded,
    /// As bonded; the answer publishes the hashes of all values, and a challenge opens one operator
    Traced,
    /// A proof answers later
    Proof,
}

/// `lattice run`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    let raw = tensors::read_all(&args.inputs)?;
    if args.grade == Grade::Replay && !args.fee.is_zero() {
        return Err(Failure::usage("--fee pays for an answer that comes later: add --grade bonded, traced or proof"));
    }
    if let (Some(id), false) = (args.model_id, args.grade == Grade::Replay) {
        return request(&args, id, &raw, output);
    }
    let report = match (&args.local, args.model_id) {
        (Some(file), _) => run_local(file, raw, args.adapters.clone(), args.memory_mb, args.timeout_s)?,
        (None, Some(id)) => run_on_chain(&args, id, &raw)?,
        (None, None) => return Err(Failure::usage("name a MODEL_ID, or a file with --local")),
    };
    output.print(&report, || {
        let mut lines: Vec<String> = report.outputs.iter().map(tensors::summary).collect();
        lines.push(match report.tx_hash {
            Some(hash) => format!("transaction {hash}, gas used {}, grade {}", report.gas_used, report.grade),
            None => format!("ran here, {} gas on a chain", report.gas_used),
        });
        lines.join("\n")
    })
}

fn run_on_chain(args: &Args, id: B256, raw: &[RawInput]) -> Result<RunReport, Failure> {
    let client = args.node.client()?;
    let model = Callable::find(&client, id)?;
    let bound = tensors::bind(raw, &model.inputs)?;
    let wallet = Wallet::open(&client, &args.key)?;
    progress(&format!("inference by {}", wallet.address()));
    model.infer(&wallet, &bound, args.gas)
}

/// Asks for an answer that comes later.
fn request(args: &Args, id: B256, raw: &[RawInput], output: Output) -> Result<(), Failure> {
    let bonded = match args.grade {
        Grade::Bonded | Grade::Traced => {
            Some(RequestTerms { answer_blocks: args.answer_blocks, bond: wei(args.bond, "a bond")? })
        }
        _ => None,
    };
    let client = args.node.client()?;
    let model = Callable::find(&client, id)?;
    let bound = tensors::bind(raw, &model.inputs)?;
    let wallet = Wallet::open(&client, &args.key)?;
    progress(&format!("request by {}", wallet.address()));
    let terms = AiTerms { value: args.fee, gas: args.gas, ..AiTerms::default() };
    let grade = match args.grade {
        Grade::Bonded => InferencePayload::BONDED,
        Grade::Traced => InferencePayload::TRACED,
        _ => InferencePayload::PROOF,
    };
    let requested = model.request(&wallet, &bound, grade, bonded, &terms)?;
    output.print(&requested, || {
        let request = requested.request_id;
        format!(
            "request {request}\ntransaction {}, gas used {}, grade {}\nlook at it with `lattice infer show {request}`",
            requested.tx_hash, requested.gas_used, requested.grade
        )
    })
}

/// Runs in a thread of its own, so that a limit on time can be kept: whatever still computes ends with the process.
fn run_local(
    file: &Path,
    raw: Vec<RawInput>,
    adapters: Vec<Weighted>,
    memory_mb: u64,
    timeout_s: u64,
) -> Result<RunReport, Failure> {
    let (sender, receiver) = mpsc::channel();
    let path = file.to_path_buf();
    let limits = RunLimits { memory_bytes_max: memory_mb.saturating_mul(1 << 20), gas_max: u64::MAX };
    let worker = std::thread::Builder::new()
        .name("run".into())
        // The main thread's size: importers recurse over nested graphs.
        .stack_size(8 << 20)
        .spawn(move || {
            let _receiver_gone = sender.send(compute(&path, raw, &adapters, &limits));
        })
        .map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
    match receiver.recv_timeout(Duration::from_secs(timeout_s)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(Failure::new(format!("the run is not done after {timeout_s} s")).next("allow more with --timeout-s"))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panicked = worker.join().is_err();
            let how = if panicked { "panicked; this is a bug, please report it with the model" } else { "ended early" };
            Err(Failure::new(format!("the run {how}")))
        }
    }
}

fn compute(path: &Path, raw: Vec<RawInput>, adapters: &[Weighted], limits: &RunLimits) -> Result<RunReport, Failure> {
    let too_large =
        |what: String| Failure::new(format!("{}: {what}", path.display())).next("allow more with --memory-mb");
    let max = limits.memory_bytes_max;
    if let Some(bytes) = std::fs::metadata(path).ok().map(|meta| meta.len()).filter(|&bytes| bytes > max) {
        return Err(too_large(format!("the file has {bytes} bytes; the limit on memory is {max}")));
    }
    let bytes = read_file(path)?;
    let (mut graph, raw) = import::for_inputs(path, &bytes, raw)?;
    if !adapters.is_empty() {
        graph = adapters::merge(&graph, adapters)?;
    }
    let cost = graph.cost();
    limits.check(&cost).map_err(|error| too_large(error.to_string()))?;
    let slots: Vec<Slot> = graph.inputs().iter().map(Slot::of).collect();
    let bound = tensors::bind(&raw, &slots)?;
    let names: Vec<String> = graph.outputs().iter().map(|info| info.name.clone()).collect();
    let failed = |error: String| Failure::new(format!("{}: {error}", path.display()));
    let model = Model::load(graph).map_err(|error| failed(error.to_string()))?;
    let results = model.run(&bound).map_err(|error| failed(error.to_string()))?;
    let outputs = names.into_iter().zip(results).map(|(name, tensor)| NamedTensor { name, tensor }).collect();
    Ok(RunReport { outputs, tx_hash: None, gas_used: cost.gas(), grade: "local" })
}
