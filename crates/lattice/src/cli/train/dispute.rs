//! Disputes of trainings on the chain: what a trainer publishes, and what whoever doubts it does.

use super::{
    call, job,
    local::{base_and_data, refused},
};
use crate::{
    artifacts::ArtifactRef,
    cli::{
        Output, progress,
        signing::{SignArgs, print_done, wei},
    },
    client::{Client, decode, quantity},
    failure::{Failure, read_file},
    registry::abi_bytes,
    wallet::LogEntry,
};
use alloy_primitives::{B256, U256, keccak256};
use lattice_training::train::{Opening, Plan, Trace, Trainer};
use lattice_types::{
    Cid, system,
    tx::{DisputeTerms, TrainingChallenge, TrainingPayload},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Signature of the log of a checkpoint's part of the trace: topics are the job and its first step, the data its hashes.
const JOB_TRACED: &[u8] = b"TrainingTraced(bytes32,uint256,bytes)";

#[derive(Debug, clap::Args)]
pub struct ChallengeArgs {
    /// The job's id
    id: B256,
    /// The base: an ONNX file, a TensorFlow Lite file, or a frozen graph
    model: PathBuf,
    /// The data set, as `lattice train data` writes it
    data: PathBuf,
    /// The job's description, as `lattice train local` writes it
    #[arg(long, value_name = "FILE")]
    job: PathBuf,
    #[command(flatten)]
    sign: SignArgs,
}

/// The description of a job that can be disputed, and the terms of its order.
pub fn terms(job: &ArtifactRef, bond: U256) -> Result<(Plan, DisputeTerms), Failure> {
    let ArtifactRef::File(path) = job else {
        return Err(Failure::usage("--bond: name the job's file, whose content goes along with the order"));
    };
    let bytes = read_file(path)?;
    let plan = Plan::decode(&bytes).map_err(refused(path))?;
    Ok((plan, DisputeTerms { plan: bytes.into(), bond: wei(bond, "the bond")? }))
}

/// The hashes of a trace file from one step to another, both included.
pub fn part(file: &Path, from: u64, to: u64) -> Result<Vec<B256>, Failure> {
    let trace = Trace::decode(&read_file(file)?).map_err(refused(file))?;
    let hashes = trace.hashes.get(from as usize..=to as usize).map(<[B256]>::to_vec);
    hashes.ok_or_else(|| {
        let steps = trace.hashes.len().saturating_sub(1);
        Failure::new(format!("{} has no steps {from} to {to}: it ends with step {steps}", file.display()))
    })
}

/// What a job's trainer has published, in the order of its steps.
fn published(client: &Client, id: &B256, record: &Value) -> Result<Vec<Trace>, Failure> {
    let from = record["createdAt"].clone();
    let filter = json!({
        "address": system::TRAINING, "topics": [keccak256(JOB_TRACED), id], "fromBlock": from, "toBlock": "latest",
    });
    let logs: Vec<LogEntry> = decode("eth_getLogs", client.call("eth_getLogs", json!([filter]))?)?;
    let one = |log: &LogEntry| {
        let hashes = abi_bytes(&log.data)?.chunks_exact(32).map(B256::from_slice).collect();
        Some(Trace { hashes })
    };
    let parts: Option<Vec<Trace>> = logs.iter().map(one).collect();
    parts.ok_or_else(|| Failure::new(format!("the logs of job {id} have another form than this build knows")))
}

/// `lattice train challenge`.
pub fn challenge(args: &ChallengeArgs, output: Output) -> Result<(), Failure> {
    let (graph, data) = base_and_data(&args.model, &args.data)?;
    let bytes = read_file(&args.job)?;
    let plan = Plan::decode(&bytes).map_err(refused(&args.job))?;
    let trainer = Trainer::new(plan, &graph).map_err(refused(&args.model))?;
    args.sign.with(|client, wallet| {
        let record = job(client, &args.id)?;
        let status = record["status"].as_str().unwrap_or("?");
        if status != "completed" || record["dispute"].is_null() {
            return Err(Failure::new(format!("job {} is {status}, with terms {}", args.id, record["dispute"]))
                .next("only a completed job that was ordered with --bond can be challenged"));
        }
        if record["job"].as_str() != Some(&Cid::artifact(&bytes).to_string()) {
            return Err(Failure::new(format!("{} is not the description of job {}", args.job.display(), args.id)));
        }
        let digest: B256 = decode("lattice_getTrainingJob", record["artifactDigest"].clone())?;
        let is_result = |bytes: &[u8]| Cid::artifact(bytes).digest() == digest.as_slice();
        let parts = published(client, &args.id, &record)?;
        progress(&format!("replaying {} steps", quantity(&record["steps"]).unwrap_or_default()));
        let Some((from, opening)) = trainer.doubt(&data, &parts, &is_result).map_err(refused(&args.data))? else {
            let facts = json!({ "job_id": args.id, "right": true });
            return output.print(&facts, || format!("job {} is right: there is nothing to challenge", args.id));
        };
        let (kind, step) = match &opening {
            Opening::Start { .. } => ("start", 0),
            Opening::Step { after_proof, .. } => ("step", from + after_proof.index),
            Opening::Result { .. } => ("result", quantity(&record["steps"]).unwrap_or_default()),
        };
        progress(&format!("wrong: {kind} {step}"));
        let opening = opening.encode().into();
        let challenge = TrainingChallenge { job_id: args.id, plan: bytes.clone().into(), from, opening };
        let receipt = call(wallet, &TrainingPayload::Challenge(challenge), U256::ZERO)?;
        let status = job(client, &args.id)?["status"].clone();
        let facts = json!({ "job_id": args.id, "right": false, "kind": kind, "step": step, "status": status });
        let text = format!("the training of job {} was wrong at step {step} ({kind}): its bond is slashed", args.id);
        print_done(output, &receipt, facts, &text)
    })
}
