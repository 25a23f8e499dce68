//! `lattice infer`: inferences that are answered later. `lattice run --grade bonded` and `--grade proof` ask for them.

use super::{
    NodeArgs, Output,
    chain::fields_text,
    progress,
    signing::{SignArgs, operate, print_done},
};
use crate::{
    amount,
    bonded::BondedRequest,
    client::{Client, ClientError, decode},
    failure::Failure,
    import,
    registry::{self, Callable},
    tensors::{self, RawInput, Slot},
    wallet::{Receipt, Wallet},
};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use clap::Subcommand;
use lattice_inference::{Graph, Model};
use lattice_training::dispute::{self, ActivationTrace, DisputeError};
use lattice_types::{
    system,
    tx::operation::{AnswerRequest, AnswerTraced, ChallengeAnswer, ChallengeOperator, SettleRequest},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Arguments of `lattice infer`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer a bonded request and put up the bond
    Answer(AnswerArgs),
    /// Have every validator replay an answer, or judge the first wrong operator of a traced one; a wrong answer loses its bond
    Challenge(ChallengeArgs),
    /// End a bonded request whose time is over: pay the answer, or refund
    Settle(RequestArgs),
    /// Show a request, and its output once there is one
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct AnswerArgs {
    /// The request's id
    id: B256,
    /// Compute the answer here from the model's file [default: the node computes it]
    #[arg(long, value_name = "FILE", conflicts_with = "outputs")]
    model: Option<PathBuf>,
    /// An output tensor that was computed elsewhere: x.npy, file.json, or -, each with NAME= before it if need be
    #[arg(long = "output", value_name = "[NAME=]FILE|-")]
    outputs: Vec<String>,
    /// The bond, at least what the request asks for [default: that]
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse)]
    bond: Option<U256>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct RequestArgs {
    /// The request's id
    id: B256,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct ChallengeArgs {
    /// The request's id
    id: B256,
    /// The model's file, for a traced answer: it is run here, and compared with the values that the provider published
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The request's id, bonded or proof
    id: B256,
    #[command(flatten)]
    node: NodeArgs,
}

/// `lattice infer`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Answer(args) => answer(&args, output),
        Command::Challenge(args) => challenge(&args, output),
        Command::Settle(args) => settle(&args, output),
        Command::Show(args) => show(&args, output),
    }
}

fn answer(args: &AnswerArgs, output: Output) -> Result<(), Failure> {
    let raw = tensors::read_all(&args.outputs)?;
    args.sign.with(|client, wallet| {
        let request = BondedRequest::require(client, args.id)?;
        if request.status() != "open" {
            return Err(Failure::new(format!(
                "request {} is {}: only an open one can be answered",
                args.id,
                request.status()
            )));
        }
        let bond = args.bond.unwrap_or(request.bond_asked);
        if request.is_traced() {
            return answer_traced(args, client, wallet, &request, bond, output);
        }
        let bytes = match &args.model {
            _ if !raw.is_empty() => given(client, &request, &raw)?,
            Some(file) => compute(file, &request, &request.input(client)?)?,
            None => request.replay(client)?,
        };
        progress(&format!("the answer has {} bytes", bytes.len()));
        let output_hash = keccak256(&bytes);
        let operation = AnswerRequest { request_id: args.id, output: bytes.into() };
        let receipt = operate(wallet, system::INFERENCE, &operation, bond)?;
        print_answered(args.id, &receipt, output_hash, bond, output)
    })
}

/// Runs a traced request here and publishes the hashes of all its values.
fn answer_traced(
    args: &AnswerArgs,
    client: &Client,
    wallet: &Wallet<'_>,
    request: &BondedRequest,
    bond: U256,
    output: Output,
) -> Result<(), Failure> {
    let file = args.model.as_deref().ok_or_else(|| traced_needs_model(args.id))?;
    let graph = graph(file, request)?;
    let (trace, bytes) = ActivationTrace::of(&graph, &request.input(client)?)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    progress(&format!("the answer has {} bytes, the trace {} steps", bytes.len(), trace.steps.len()));
    let output_hash = keccak256(&bytes);
    let operation = AnswerTraced { request_id: args.id, output: bytes.into(), trace: trace.steps };
    let receipt = operate(wallet, system::INFERENCE, &operation, bond)?;
    print_answered(args.id, &receipt, output_hash, bond, output)
}

fn traced_needs_model(id: B256) -> Failure {
    Failure::usage(format!("request {id} is traced: name the model's file with --model, which is run here"))
}

fn print_answered(id: B256, receipt: &Receipt, hash: B256, bond: U256, output: Output) -> Result<(), Failure> {
    let facts = json!({ "request_id": id, "output_hash": hash, "bond": bond.to_string() });
    print_done(output, receipt, facts, &format!("request {id} is answered, bond {} LAT", amount::to_lat(bond)))
}

/// The output tensors of the command line as the model declares them.
fn given(client: &Client, request: &BondedRequest, raw: &[RawInput]) -> Result<Vec<u8>, Failure> {
    let model = Callable::find(client, request.model_id)?;
    Ok(tensors::concat_bytes(&tensors::bind(raw, &model.outputs)?))
}

/// The graph of the model's file, which has to be the one that the request asks for.
fn graph(file: &Path, request: &BondedRequest) -> Result<Graph, Failure> {
    let graph = import::file(file, Default::default(), &[])?;
    if graph.model_id() != request.model_id {
        let (found, asked) = (graph.model_id(), request.model_id);
        return Err(Failure::new(format!("{} is model {found}, the request asks for {asked}", file.display()))
            .next("name the file of that version, as it was pushed"));
    }
    Ok(graph)
}

/// Runs the model's file on the request's input.
fn compute(file: &Path, request: &BondedRequest, input: &[u8]) -> Result<Vec<u8>, Failure> {
    let graph = graph(file, request)?;
    let slots: Vec<Slot> = graph.inputs().iter().map(Slot::of).collect();
    let inputs: Vec<_> = tensors::split_bytes(input, &slots)?.into_iter().map(|named| named.tensor).collect();
    let failed = |error: String| Failure::new(format!("{}: {error}", file.display()));
    let model = Model::load(graph).map_err(|error| failed(error.to_string()))?;
    let outputs = model.run(&inputs).map_err(|error| failed(error.to_string()))?;
    Ok(tensors::concat_bytes(&outputs))
}

fn challenge(args: &ChallengeArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        let request = BondedRequest::require(client, args.id)?;
        let input = request.input(client)?.into();
        if request.is_traced() {
            return challenge_operator(args, client, wallet, &request, &input, output);
        }
        // A right answer makes the challenge revert: the estimate finds that out before anything is paid.
        let operation = ChallengeAnswer { request_id: args.id, input };
        let receipt = operate(wallet, system::INFERENCE, &operation, U256::ZERO)?;
        let facts = json!({ "request_id": args.id, "status": "slashed" });
        print_done(
            output,
            &receipt,
            facts,
            &format!("the answer to request {} was wrong: its bond is slashed", args.id),
        )
    })
}

/// Runs a traced request here and opens the first operator whose values are not what its provider published.
fn challenge_operator(
    args: &ChallengeArgs,
    client: &Client,
    wallet: &Wallet<'_>,
    request: &BondedRequest,
    input: &Bytes,
    output: Output,
) -> Result<(), Failure> {
    let file = args.model.as_deref().ok_or_else(|| traced_needs_model(args.id))?;
    let graph = graph(file, request)?;
    if request.status() != "answered" {
        let (id, status) = (args.id, request.status());
        return Err(Failure::new(format!("request {id} is {status}: only an answered one can be challenged")));
    }
    let trace = request.trace(client)?;
    let failed = |error: DisputeError| Failure::new(format!("{}: {error}", file.display()));
    let (opening, step) = match trace.steps.len() == dispute::steps(&graph) {
        true => match dispute::doubt(&graph, &trace, input).map_err(failed)? {
            Some(opened) => (opened.encode(), Some(opened.claim.proof.index)),
            None => {
                let facts = json!({ "request_id": args.id, "right": true });
                return output.print(&facts, || format!("the answer to request {} is right", args.id));
            }
        },
        // A trace of another length speaks for itself.
        false => (Vec::new(), None),
    };
    let operation = ChallengeOperator { request_id: args.id, opening: opening.into() };
    let receipt = operate(wallet, system::INFERENCE, &operation, U256::ZERO)?;
    let operator = step.and_then(|step| graph.nodes().get(step as usize - 1)).map(|node| node.op.name);
    let facts = json!({
        "request_id": args.id, "right": false, "step": step, "operator": operator, "status": "slashed",
    });
    let place =
        step.map_or_else(|| "its length".to_owned(), |step| format!("step {step} ({})", operator.unwrap_or("output")));
    let text = format!("the answer to request {} was wrong at {place}: its bond is slashed", args.id);
    print_done(output, &receipt, facts, &text)
}

fn settle(args: &RequestArgs, output: Output) -> Result<(), Failure> {
    args.sign.with(|client, wallet| {
        BondedRequest::require(client, args.id)?;
        let receipt = operate(wallet, system::INFERENCE, &SettleRequest { request_id: args.id }, U256::ZERO)?;
        let status = BondedRequest::require(client, args.id)?.status().to_owned();
        let facts = json!({ "request_id": args.id, "status": status });
        print_done(output, &receipt, facts, &format!("request {} is {status}", args.id))
    })
}

fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    let client = args.node.client()?;
    let (mut facts, bytes) = match BondedRequest::find(&client, args.id)? {
        Some(request) => {
            let bytes = request.output(&client)?;
            let mut facts = request.record;
            facts["grade"] = json!(if facts["traced"].is_null() { "bonded" } else { "traced" });
            (facts, bytes.map(|bytes| (request.model_id, bytes)))
        }
        None => (proof_request(&client, args.id)?, None),
    };
    // The record of the model may be pruned by now, or its artifact elsewhere: the raw output tells all the same.
    let mut shown = Vec::new();
    if let Some((model_id, bytes)) = bytes {
        facts["output"] = json!(Bytes::copy_from_slice(&bytes));
        let model = registry::model(&client, &model_id)?.unwrap_or_default();
        let slots = model["outputs"].as_array().map(|list| list.iter().filter_map(Slot::from_json).collect::<Vec<_>>());
        if let Some(slots) = slots {
            let outputs = tensors::split_bytes(&bytes, &slots)?;
            shown = outputs.iter().map(tensors::summary).collect();
            facts["outputs"] = serde_json::to_value(&outputs).map_err(|error| Failure::new(error.to_string()))?;
        }
    }
    output.print(&facts, || {
        let mut record = facts.clone();
        if let Some(fields) = record.as_object_mut() {
            fields.remove("outputs");
        }
        shown.insert(0, fields_text(&record, "request"));
        shown.join("\n")
    })
}

/// What ZK_PROVE tells of a proof request.
fn proof_request(client: &Client, id: B256) -> Result<Value, Failure> {
    let unknown = || {
        Failure::new(format!("there is no bonded or proof request {id} at {}", client.url()))
            .next("check the id: `lattice run MODEL --grade bonded` or `--grade proof` prints it")
    };
    let answer = match client.call("eth_call", json!([{ "to": system::ZK_PROVE, "input": id }, "latest"])) {
        Ok(answer) => answer,
        Err(ClientError::Refused { code: 3, .. }) => return Err(unknown()),
        Err(error) => return Err(error.into()),
    };
    let bytes: Bytes = decode("eth_call", answer)?;
    let Some((words, output)) = bytes.split_at_checked(96) else { return Err(unknown()) };
    let word = |index: usize| U256::from_be_slice(&words[32 * index..][..32]);
    let status = match u8::try_from(word(0)) {
        Ok(0) => "pending",
        Ok(1) => "ok",
        _ => "expired",
    };
    let proven = (status == "ok").then(|| Bytes::copy_from_slice(output));
    Ok(json!({
        "requestId": id, "grade": "proof", "status": status, "fee": word(1), "expires": word(2), "output": proven,
    }))
}
