//! `lattice lora`: adapters on a version of a model, and compositions of them. Records only: no run applies them yet.

use super::{
    NodeArgs, Output,
    chain::fields_text,
    model::version_of,
    progress,
    signing::{SignArgs, print_done},
};
use crate::{
    artifacts::Artifact,
    failure::{Failure, read_file},
    registry::logged_id,
    wallet::AiTerms,
};
use alloy_primitives::B256;
use clap::{Subcommand, ValueEnum};
use lattice_types::{
    system,
    tx::{Lora, LoraAdapter, LoraComposition, LoraPart, LoraPayload},
};
use serde_json::json;
use std::path::PathBuf;

/// Signatures of the logs; the first topic is the adapter's id.
const ADAPTER_REGISTERED: &[u8] = b"AdapterRegistered(bytes32,bytes32,address,bytes,string)";
const ADAPTERS_COMPOSED: &[u8] = b"AdaptersComposed(bytes32,bytes32,address,bytes,string)";
/// A weight of 1.
const WEIGHT_ONE: f64 = 65_536.0;

/// Arguments of `lattice lora`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Upload an adapter and register it on a version of a model
    Register(RegisterArgs),
    /// Register a combination of adapters of one base version
    Compose(ComposeArgs),
    /// Show an adapter or a composition
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct RegisterArgs {
    /// The base: the id of a model's version
    base: B256,
    /// The adapter's file (safetensors or any other form): it becomes an artifact
    file: PathBuf,
    /// Rank of the update, 1 to 1024
    #[arg(long)]
    rank: u32,
    /// Numerator of the scale alpha / rank [default: the rank]
    #[arg(long)]
    alpha: Option<u32>,
    /// A short name [default: the file's name without its extension]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    sign: SignArgs,
}

/// How adapters are combined.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    /// Concatenate the ranks: the sum of the weighted updates, exactly
    Cat,
    /// Sum the factors with weights: all ranks must be equal
    Linear,
}

#[derive(Debug, clap::Args)]
struct ComposeArgs {
    /// The adapters, each with =WEIGHT behind it unless it is 1: 0x…=0.5
    #[arg(required = true, value_name = "ADAPTER[=WEIGHT]", value_parser = parse_part)]
    parts: Vec<LoraPart>,
    /// How they are combined
    #[arg(long, value_enum, default_value_t = Method::Cat)]
    method: Method,
    /// A short name
    #[arg(long, default_value = "")]
    name: String,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The id of an adapter or a composition
    id: B256,
    #[command(flatten)]
    node: NodeArgs,
}

/// Reads `0x…=0.5`. A weight is kept in units of 1/65,536.
fn parse_part(text: &str) -> Result<LoraPart, String> {
    let (id, weight) = text.split_once('=').unwrap_or((text, "1"));
    let adapter = id.parse().map_err(|error| format!("{id:?} is no adapter's id: {error}"))?;
    let value: f64 = weight.parse().map_err(|_| format!("{weight:?} is no weight: write one like 0.5 or -1"))?;
    let units = (value * WEIGHT_ONE).round();
    if !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&units) || units == 0.0 {
        return Err(format!("a weight of {weight} cannot be kept: allowed are 1/65536 to 32767 and their negatives"));
    }
    Ok(LoraPart { adapter, weight: (units as i32).cast_unsigned() })
}

/// `lattice lora`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Register(args) => register(&args, output),
        Command::Compose(args) => compose(args, output),
        Command::Show(args) => show(&args, output),
    }
}

fn register(args: &RegisterArgs, output: Output) -> Result<(), Failure> {
    let artifact = Artifact::new(read_file(&args.file)?, &args.file.display().to_string())?;
    let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    args.sign.with(|client, wallet| {
        let base_version = version_of(client, &args.base)?;
        artifact.upload(client, &progress)?;
        let adapter = LoraAdapter {
            base_model: args.base,
            base_version,
            artifact: artifact.cid(),
            artifact_bytes: artifact.bytes().len() as u64,
            rank: args.rank,
            alpha: args.alpha.unwrap_or(args.rank),
            name: args.name.clone().or(stem).unwrap_or_default(),
        };
        let hash = wallet.send_ai::<Lora>(&LoraPayload::Adapter(adapter), &AiTerms::default())?;
        let receipt = wallet.confirm(hash)?;
        let id = logged_id(&receipt, system::MODELS, ADAPTER_REGISTERED)?;
        let cid = artifact.cid().to_string();
        let facts = json!({ "adapter_id": id, "base_model": args.base, "base_version": base_version, "cid": cid });
        print_done(output, &receipt, facts, &format!("adapter {id}\nartifact {cid}"))
    })
}

fn compose(args: ComposeArgs, output: Output) -> Result<(), Failure> {
    let method = match args.method {
        Method::Cat => LoraComposition::CAT,
        Method::Linear => LoraComposition::LINEAR,
    };
    let composition = LoraComposition { method, parts: args.parts, name: args.name };
    args.sign.with(|_, wallet| {
        let hash = wallet.send_ai::<Lora>(&LoraPayload::Compose(composition), &AiTerms::default())?;
        let receipt = wallet.confirm(hash)?;
        let id = logged_id(&receipt, system::MODELS, ADAPTERS_COMPOSED)?;
        print_done(output, &receipt, json!({ "adapter_id": id }), &format!("composition {id}"))
    })
}

fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    let client = args.node.client()?;
    let found = client.call("lattice_getAdapter", json!([args.id]))?;
    if found.is_null() {
        return Err(Failure::new(format!("no adapter or composition {} is registered at {}", args.id, client.url()))
            .next("register one with `lattice lora register BASE FILE --rank RANK`"));
    }
    output.print(&found, || fields_text(&found, "adapter"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn weights_are_kept_in_their_units() {
        let id = B256::repeat_byte(7);
        for (text, weight) in [
            (format!("{id}"), 65_536),
            (format!("{id}=0.5"), 32_768),
            (format!("{id}=-1"), (-65_536i32).cast_unsigned()),
        ] {
            assert_eq!(parse_part(&text).unwrap(), LoraPart { adapter: id, weight }, "{text}");
        }
        for weight in ["0", "0.000001", "32768", "nan", "inf", "half", ""] {
            assert!(parse_part(&format!("{id}={weight}")).is_err(), "{weight}");
        }
        assert!(parse_part("0x12=1").unwrap_err().contains("0x12"));
    }
}
