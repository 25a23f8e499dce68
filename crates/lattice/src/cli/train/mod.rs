//! `lattice train`: the life of a training job. The chain sees commitments; the training happens on a trainer's machine.

mod dispute;
mod local;

use super::{
    NodeArgs, Output,
    chain::fields_text,
    model::version_of,
    progress,
    send::parse_address,
    signing::{SignArgs, print_done},
};
use crate::{
    amount,
    artifacts::{Artifact, ArtifactRef},
    client::{Client, quantity},
    failure::{Failure, read_file},
    registry::logged_id,
    wallet::{AiTerms, Call, Receipt, Wallet},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use clap::Subcommand;
use lattice_types::{
    Cid, system,
    tx::{AiKind, Training, TrainingCheckpoint, TrainingCompletion, TrainingJob, TrainingPayload},
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Signature of the log of an order; the first topic is the job's id.
const JOB_CREATED: &[u8] = b"TrainingJobCreated(bytes32,bytes32,address,bytes)";

/// Arguments of `lattice train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Order a training on a version of a model; the reward is held until the job ends
    Order(OrderArgs),
    /// Take an open job as its trainer
    Accept(JobArgs),
    /// Commit to the training state after a step
    Checkpoint(CheckpointArgs),
    /// Commit to the result of the last step; the challenge window begins
    Complete(CompleteArgs),
    /// Take the reward back: of a job nobody took, or past its deadline
    Cancel(JobArgs),
    /// Have the reward paid after the challenge window
    Claim(JobArgs),
    /// Replay the training of a completed job here, and have every validator judge what its trainer lied about
    Challenge(dispute::ChallengeArgs),
    /// Show a job
    Show(ShowArgs),
    /// Make a data set of features and targets; its root is what an order names
    Data(local::DataArgs),
    /// Train here: writes the job's description, checkpoints, the trace of state hashes, and the result
    Local(local::LocalArgs),
    /// Replay a training, or one step of it, and compare with its trace
    Verify(local::VerifyArgs),
    /// Find the first step at which two trainings differ
    Bisect(local::BisectArgs),
}

#[derive(Debug, clap::Args)]
struct OrderArgs {
    /// The base: the id of a model's active version
    base: B256,
    /// Description of the job (adapter shape, optimiser constants): a file to upload, or the CID of a stored artifact
    #[arg(long, value_name = "FILE|CID")]
    job: ArtifactRef,
    /// Merkle root of the data set
    #[arg(long, value_name = "HASH")]
    dataset_root: B256,
    /// Optimiser steps [default: the description's]
    #[arg(long, required_unless_present = "bond")]
    steps: Option<u64>,
    /// Steps between two checkpoints, a divisor of the steps [default: the description's, or the steps]
    #[arg(long)]
    interval: Option<u64>,
    /// Seed of the batch order [default: the description's, or 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Anybody can challenge the training: what the trainer has to put at stake. The job is then a file that `train local` wrote
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse)]
    bond: Option<U256>,
    /// EVM blocks from now on that the training has to be completed in
    #[arg(long, default_value_t = 100_000)]
    deadline: u64,
    /// What the trainer gets: 1.5 (LAT), 20gwei, 7wei
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse)]
    reward: U256,
    /// Only this account may take the job [default: the first who accepts]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    trainer: Option<Address>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct JobArgs {
    /// The job's id
    id: B256,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct CheckpointArgs {
    /// The job's id
    id: B256,
    /// The step, a multiple of the interval and higher than the last checkpoint's
    #[arg(long)]
    step: u64,
    /// The training state: a file whose keccak is committed to and which is uploaded
    #[arg(required_unless_present_all = ["state_hash", "artifact"], conflicts_with_all = ["state_hash", "artifact"])]
    state: Option<PathBuf>,
    /// keccak of a training state that is kept elsewhere
    #[arg(long, value_name = "HASH", requires = "artifact")]
    state_hash: Option<B256>,
    /// CID of that state's artifact
    #[arg(long, value_name = "CID", requires = "state_hash")]
    artifact: Option<Cid>,
    /// The trace that `train local` wrote, of a job with a bond: the hash of every step is published
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct CompleteArgs {
    /// The job's id
    id: B256,
    /// What came out, a version's or an adapter's artifact: a file to upload, or the CID of a stored one
    #[arg(value_name = "FILE|CID")]
    result: ArtifactRef,
    /// keccak of the training state after the last step [default: the last checkpoint's]
    #[arg(long, value_name = "HASH")]
    state_hash: Option<B256>,
    /// What is put at stake, of a job that asks for it [default: what it asks for]
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse)]
    bond: Option<U256>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The job's id
    id: B256,
    #[command(flatten)]
    node: NodeArgs,
}

/// `lattice train`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Order(args) => order(&args, output),
        Command::Accept(args) => step(&args, TrainingPayload::Accept(args.id), output),
        Command::Checkpoint(args) => checkpoint(&args, output),
        Command::Complete(args) => complete(&args, output),
        Command::Cancel(args) => step(&args, TrainingPayload::Cancel(args.id), output),
        Command::Challenge(args) => dispute::challenge(&args, output),
        Command::Claim(args) => step(&args, TrainingPayload::Claim(args.id), output),
        Command::Data(args) => local::data(&args, output),
        Command::Local(args) => local::local(&args, output),
        Command::Verify(args) => local::verify(&args, output),
        Command::Bisect(args) => local::bisect(&args, output),
        Command::Show(args) => {
            let client = args.node.client()?;
            let found = job(&client, &args.id)?;
            output.print(&found, || fields_text(&found, "job"))
        }
    }
}

fn job(client: &Client, id: &B256) -> Result<Value, Failure> {
    let found = client.call("lattice_getTrainingJob", json!([id]))?;
    if found.is_null() {
        return Err(Failure::new(format!("there is no training job {id} at {}", client.url()))
            .next("check the id: `lattice train order` prints it"));
    }
    Ok(found)
}

fn order(args: &OrderArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let base_version = version_of(client, &args.base)?;
        let described = match args.bond {
            Some(bond) => Some(dispute::terms(&args.job, bond)?),
            None => None,
        };
        let plan = described.as_ref().map(|(plan, _)| plan);
        let steps = args.steps.or(plan.map(|plan| plan.steps)).unwrap_or_default();
        let order = TrainingJob {
            base_model: args.base,
            base_version,
            dataset_root: args.dataset_root,
            job: args.job.store(client, &progress)?,
            seed: args.seed.or(plan.map(|plan| plan.seed)).unwrap_or_default(),
            steps,
            checkpoint_interval: args.interval.or(plan.map(|plan| plan.interval)).unwrap_or(steps),
            deadline_blocks: args.deadline,
            trainer: args.trainer.unwrap_or_default(),
            dispute: described.map(|(_, terms)| terms),
        };
        let cid = order.job.to_string();
        let receipt = call(wallet, &TrainingPayload::Create(order), args.reward)?;
        let id = logged_id(&receipt, system::TRAINING, JOB_CREATED)?;
        let facts = json!({
            "job_id": id, "status": "open", "base_model": args.base, "base_version": base_version, "cid": cid,
            "reward": args.reward.to_string(),
        });
        print_done(output, &receipt, facts, &format!("job {id}\nreward {} LAT", amount::to_lat(args.reward)))
    })
}

/// Calls the account of trainings, as a transaction of the class would; the AI work that it takes is declared.
fn call(wallet: &Wallet<'_>, payload: &TrainingPayload, value: U256) -> Result<Receipt, Failure> {
    Training::check(payload).map_err(Failure::usage)?;
    let data = [&[system::TX_TRAINING], alloy_rlp::encode(payload).as_slice()].concat().into();
    wallet.confirm(wallet.send(&Call { to: Some(system::TRAINING), value, data, gas: None })?)
}

/// Sends a step in the life of a job and tells where the job stands.
fn send(
    client: &Client,
    wallet: &Wallet<'_>,
    id: &B256,
    payload: &TrainingPayload,
    value: U256,
    facts: Value,
    output: Output,
) -> Result<(), Failure> {
    let terms = AiTerms { value, ..AiTerms::default() };
    let receipt = wallet.confirm(wallet.send_ai::<Training>(payload, &terms)?)?;
    let status = job(client, id)?["status"].clone();
    let mut all = facts;
    all["job_id"] = json!(id);
    all["status"] = status.clone();
    print_done(output, &receipt, all, &format!("job {id} is {}", status.as_str().unwrap_or("?")))
}

fn step(args: &JobArgs, payload: TrainingPayload, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        job(client, &args.id)?;
        send(client, wallet, &args.id, &payload, U256::ZERO, json!({}), output)
    })
}

fn checkpoint(args: &CheckpointArgs, output: Output) -> Result<(), Failure> {
    let state = match &args.state {
        Some(path) => Some(Artifact::new(read_file(path)?, &path.display().to_string())?),
        None => None,
    };
    args.sign.with(|client, wallet| {
        let found = job(client, &args.id)?;
        let trace = match &args.trace {
            Some(file) => Some(dispute::part(file, quantity(&found["step"]).unwrap_or_default(), args.step)?),
            None => None,
        };
        let (state_hash, artifact) = match (&state, args.state_hash, args.artifact) {
            (Some(state), ..) => {
                state.upload(client, &progress)?;
                (keccak256(state.bytes()), state.cid())
            }
            (None, Some(hash), Some(cid)) => (hash, cid),
            _ => return Err(Failure::usage("give the state's file, or --state-hash and --artifact")),
        };
        let payload = TrainingCheckpoint { job_id: args.id, step: args.step, state_hash, artifact, trace };
        let facts = json!({ "step": args.step, "state_hash": state_hash, "cid": artifact.to_string() });
        send(client, wallet, &args.id, &TrainingPayload::Checkpoint(payload), U256::ZERO, facts, output)
    })
}

fn complete(args: &CompleteArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let found = job(client, &args.id)?;
        let last: Option<B256> = found["stateHash"].as_str().and_then(|text| text.parse().ok());
        let state_hash = args.state_hash.or(last).unwrap_or_default();
        let artifact = args.result.store(client, &progress)?;
        let asked = found["dispute"]["bond"].as_str().and_then(|text| text.parse().ok());
        let bond = args.bond.or(asked).unwrap_or_default();
        let payload = TrainingCompletion { job_id: args.id, state_hash, artifact };
        let facts = json!({ "state_hash": state_hash, "cid": artifact.to_string() });
        send(client, wallet, &args.id, &TrainingPayload::Complete(payload), bond, facts, output)
    })
}
