//! Training on this machine, without a chain: what a trainer does between accepting a job and completing it, and what
//! whoever doubts the result does.

use crate::{
    cli::{Output, progress},
    failure::{Failure, read_file, write_file},
    import, tensors,
};
use alloy_primitives::B256;
use clap::ValueEnum;
use lattice_inference::{DType, Graph};
use lattice_training::{
    merkle::Bisection,
    train::{Dataset, Loss, Optimiser, Plan, State, Target, Trace, TrainError, Trained, Trainer},
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Files of a training's folder.
const JOB: &str = "job";
const TRACE: &str = "trace";

#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// Features, one record a row: .npy or JSON
    #[arg(long, value_name = "FILE")]
    features: String,
    /// Targets, one record a row: class numbers, or the wanted outputs
    #[arg(long, value_name = "FILE")]
    targets: String,
    /// Where to write the data set
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LossName {
    /// Cross-entropy of the softmax; targets are class numbers
    CrossEntropy,
    /// Mean squared error
    Mse,
}

/// How.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum OptimiserName {
    /// Gradient descent with momentum
    Sgd,
    /// Adam
    Adam,
}

#[derive(Debug, clap::Args)]
pub struct LocalArgs {
    /// The base: an ONNX file, a TensorFlow Lite file, or a frozen graph
    model: PathBuf,
    /// The data set, as `lattice train data` writes it
    data: PathBuf,
    /// Folder for job, trace, checkpoints and result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Optimiser steps
    #[arg(long)]
    steps: u64,
    /// Steps between two checkpoints, a divisor of the steps [default: the steps]
    #[arg(long)]
    interval: Option<u64>,
    /// Records of a step
    #[arg(long, default_value_t = 16)]
    batch: u32,
    /// Seed of the batches and of the adapter's first numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What is minimised
    #[arg(long, value_enum, default_value_t = LossName::CrossEntropy)]
    loss: LossName,
    /// How the weights follow the gradients
    #[arg(long, value_enum, default_value_t = OptimiserName::Adam)]
    optimiser: OptimiserName,
    /// Learning rate
    #[arg(long, default_value_t = 0.01)]
    rate: f32,
    /// Momentum of sgd
    #[arg(long, default_value_t = 0.9)]
    momentum: f32,
    /// Decay of Adam's first moment
    #[arg(long, default_value_t = 0.9)]
    beta1: f32,
    /// Decay of Adam's second moment
    #[arg(long, default_value_t = 0.999)]
    beta2: f32,
    /// Adam's epsilon
    #[arg(long, default_value_t = 1e-8)]
    epsilon: f32,
    /// Weight decay
    #[arg(long, default_value_t = 0.0)]
    decay: f32,
    /// Train an adapter of this rank instead of all weights
    #[arg(long, value_name = "RANK")]
    lora: Option<u32>,
    /// Numerator of the adapter's scale alpha / rank [default: the rank]
    #[arg(long, requires = "lora")]
    alpha: Option<f32>,
    /// A module to adapt; all dense layers without one
    #[arg(long = "module", value_name = "PATH", requires = "lora")]
    modules: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The base
    model: PathBuf,
    /// The data set
    data: PathBuf,
    /// The training's folder
    dir: PathBuf,
    /// Replay this step alone, from the checkpoint before it [default: all of them]
    #[arg(long)]
    step: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub struct BisectArgs {
    /// One training's folder
    one: PathBuf,
    /// The other's
    other: PathBuf,
}

pub(super) fn refused(path: &Path) -> impl Fn(TrainError) -> Failure + '_ {
    move |error| Failure::new(format!("{}: {error}", path.display()))
}

/// `lattice train data`.
pub fn data(args: &DataArgs, output: Output) -> Result<(), Failure> {
    let matrix = |arg: &str| -> Result<(Vec<f32>, usize, usize), Failure> {
        let tensor = tensors::inline_or_file(&format!("x={arg}"))?.to_tensor(DType::F32, None)?;
        let rows = tensor.shape().first().copied().unwrap_or(0);
        let width = tensor.len().checked_div(rows).unwrap_or(0);
        Ok((tensor.as_f32().unwrap_or_default().to_vec(), rows, width))
    };
    let (features, rows, width) = matrix(&args.features)?;
    let (targets, others, target_width) = matrix(&args.targets)?;
    if rows != others {
        return Err(Failure::new(format!("{rows} rows of features, but {others} of targets: give one for each")));
    }
    let data = Dataset::new(&features, width, &targets, target_width).map_err(refused(&args.out))?;
    write_file(&args.out, &data.encode())?;
    let facts = json!({
        "dataset_root": data.root(), "records": data.len(), "features": width, "targets": target_width,
        "file": args.out,
    });
    output.print(&facts, || {
        format!("data set {}\n{} records of {width} features and {target_width} targets", data.root(), data.len())
    })
}

pub(super) fn base_and_data(model: &Path, data: &Path) -> Result<(Graph, Dataset), Failure> {
    let graph = import::file(model, import::Shapes::new(), &[])?;
    Ok((graph, Dataset::decode(&read_file(data)?).map_err(refused(data))?))
}

/// `lattice train local`.
pub fn local(args: &LocalArgs, output: Output) -> Result<(), Failure> {
    let (graph, data) = base_and_data(&args.model, &args.data)?;
    let plan = plan(args, &graph, &data);
    let trainer = Trainer::new(plan.clone(), &graph).map_err(refused(&args.model))?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", args.out.display())))?;
    let file = |name: &str| args.out.join(name);
    write_file(&file(JOB), &plan.encode())?;
    let start = trainer.start();
    let whole = |state: &State| trainer.loss(state, &data.all()).map_err(refused(&args.data));
    trainer.check_dataset(&data).map_err(refused(&args.data))?;
    let before = whole(&start)?;
    let (mut hashes, mut unwritten) = (Vec::new(), None);
    let last = trainer.train(start, &data, |state| {
        hashes.push(state.hash());
        if state.step.is_multiple_of(plan.interval) {
            progress(&format!("step {} of {}: state {}", state.step, plan.steps, hashes[hashes.len() - 1]));
            let written = write_file(&checkpoint(&args.out, state.step), &state.encode());
            unwritten = unwritten.take().or(written.err());
        }
        Ok(())
    });
    let last = last.map_err(refused(&args.data))?;
    if let Some(failure) = unwritten {
        return Err(failure);
    }
    let trace = Trace { hashes };
    write_file(&file(TRACE), &trace.encode())?;
    let (name, bytes) = match trainer.result(&last).map_err(refused(&args.model))? {
        Trained::Model(graph) => ("result.graph", graph.encode()),
        Trained::Adapter(adapter) => ("result.lora", adapter.encode()),
    };
    write_file(&file(name), &bytes)?;
    let after = whole(&last)?;
    let facts = json!({
        "trace_root": trace.root(), "state_hash": last.hash(), "dataset_root": plan.dataset, "base_model": plan.base,
        "steps": plan.steps, "loss_before": before, "loss_after": after, "result": file(name), "job": file(JOB),
    });
    output.print(&facts, || {
        format!(
            "trace {}\nstate {}\ndata set {}\nloss {before:.4} -> {after:.4}\nresult {}",
            trace.root(),
            last.hash(),
            plan.dataset,
            file(name).display()
        )
    })
}

fn plan(args: &LocalArgs, graph: &Graph, data: &Dataset) -> Plan {
    let LocalArgs { rate, momentum, beta1, beta2, epsilon, decay, .. } = *args;
    Plan {
        base: graph.model_id(),
        dataset: data.root(),
        seed: args.seed,
        steps: args.steps,
        interval: args.interval.unwrap_or(args.steps),
        batch: args.batch,
        loss: match args.loss {
            LossName::CrossEntropy => Loss::CrossEntropy,
            LossName::Mse => Loss::MeanSquaredError,
        },
        optimiser: match args.optimiser {
            OptimiserName::Sgd => Optimiser::Sgd { rate, momentum, decay },
            OptimiserName::Adam => Optimiser::Adam { rate, beta1, beta2, epsilon, decay },
        },
        target: match args.lora {
            Some(rank) => {
                let scale = args.alpha.map_or(1.0, |alpha| alpha / rank as f32);
                Target::Lora { rank, scale, modules: args.modules.clone() }
            }
            None => Target::Whole,
        },
    }
}

fn checkpoint(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("step-{step}.state"))
}

fn read_trace(dir: &Path) -> Result<Trace, Failure> {
    let path = dir.join(TRACE);
    Trace::decode(&read_file(&path)?).map_err(refused(&path))
}

/// `lattice train verify`: replays, and names the first step that is not what the trace says.
pub fn verify(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    let (graph, data) = base_and_data(&args.model, &args.data)?;
    let job = args.dir.join(JOB);
    let plan = Plan::decode(&read_file(&job)?).map_err(refused(&job))?;
    let trainer = Trainer::new(plan.clone(), &graph).map_err(refused(&args.model))?;
    trainer.check_dataset(&data).map_err(refused(&args.data))?;
    let trace = read_trace(&args.dir)?;
    if trace.hashes.len() as u64 != plan.steps + 1 {
        let (got, wanted) = (trace.hashes.len(), plan.steps + 1);
        return Err(Failure::new(format!("the trace has {got} hashes; the job's has {wanted}")));
    }
    let (from, to) = match args.step {
        Some(step) if step == 0 || step > plan.steps => {
            return Err(Failure::usage(format!("--step {step}: the job has steps 1 to {}", plan.steps)));
        }
        // One step is judged from the state before it, which the nearest checkpoint leads to.
        Some(step) => ((step - 1) / plan.interval * plan.interval, step),
        None => (0, plan.steps),
    };
    let mut state = match from {
        0 => trainer.start(),
        _ => {
            let path = checkpoint(&args.dir, from);
            trainer.read_state(&read_file(&path)?).map_err(refused(&path))?
        }
    };
    let judged = args.step.map_or(0, |step| step - 1);
    loop {
        let (found, told) = (state.hash(), trace.hashes[state.step as usize]);
        if state.step >= judged && found != told {
            return Err(different(state.step, found, told));
        }
        if state.step == to {
            break;
        }
        state = trainer.step(&state, &trainer.batch(&data, state.step)).map_err(refused(&args.data))?;
    }
    let facts =
        json!({ "trace_root": trace.root(), "from": judged, "to": to, "state_hash": state.hash(), "right": true });
    output.print(&facts, || format!("steps {} to {to} are right: state {}", judged + 1, state.hash()))
}

fn different(step: u64, found: B256, told: B256) -> Failure {
    Failure::new(format!("step {step} is wrong: replay gives state {found}, the trace says {told}"))
        .facts(json!({ "step": step, "replayed": found, "told": told, "right": false }))
}

/// `lattice train bisect`.
pub fn bisect(args: &BisectArgs, output: Output) -> Result<(), Failure> {
    let (one, other) = (read_trace(&args.one)?, read_trace(&args.other)?);
    let step = Bisection::between(&one.hashes, &other.hashes);
    let facts = json!({ "one": one.root(), "other": other.root(), "step": step });
    output.print(&facts, || match step {
        Some(step) => {
            format!("the first difference is step {step}: decide with `lattice train verify … --step {step}`")
        }
        None if one == other => "the traces are equal".into(),
        None => "the traces are of different jobs, or end alike".into(),
    })
}
