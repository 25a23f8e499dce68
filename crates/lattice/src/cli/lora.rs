//! `lattice lora`: adapters on a version of a model, and compositions of them. `lattice run` takes their ids as a model's.

use super::{
    NodeArgs, Output,
    chain::fields_text,
    model::version_of,
    progress,
    signing::{SignArgs, print_done},
};
use crate::{
    adapters,
    artifacts::Artifact,
    failure::{Failure, read_file, write_file},
    registry::{adapter as adapter_record, logged_id, wait_for_adapter},
    wallet::AiTerms,
};
use alloy_primitives::B256;
use clap::{Subcommand, ValueEnum};
use lattice_training::{AdapterDiff, Update};
use lattice_types::{
    system,
    tx::{Lora, LoraAdapter, LoraComposition, LoraPart, LoraPayload},
};
use serde_json::json;
use std::path::{Path, PathBuf};

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
    /// Upload an adapter, register it on a version of a model, and wait until it is active
    Register(RegisterArgs),
    /// Register a combination of adapters of one base version
    Compose(ComposeArgs),
    /// Show an adapter or a composition
    Show(ShowArgs),
    /// Write an adapter in canonical form, whose hash is its id
    Convert(ConvertArgs),
    /// Tell what changed between two versions of an adapter; write it as a file
    Diff(DiffArgs),
    /// Make the next version of an adapter from a diff
    Patch(PatchArgs),
}

#[derive(Debug, clap::Args)]
struct RegisterArgs {
    /// The base: the id of a model's version
    base: B256,
    /// The adapter: a folder as PEFT saves it, its safetensors file, or a canonical file
    #[arg(value_name = "DIR|FILE")]
    file: PathBuf,
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

#[derive(Debug, clap::Args)]
struct ConvertArgs {
    /// The adapter: a folder as PEFT saves it, or its safetensors file
    #[arg(value_name = "DIR|FILE")]
    file: PathBuf,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
struct DiffArgs {
    /// The old version
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The new version
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Where to write the diff
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct PatchArgs {
    /// The old version
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The diff
    #[arg(value_name = "DIFF")]
    diff: PathBuf,
    /// Where to write the new version
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
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
        Command::Convert(args) => {
            let adapter = adapters::read(&args.file)?;
            write_adapter(&args.out, &adapter.encode(), adapter.id(), output)
        }
        Command::Diff(args) => diff(&args, output),
        Command::Patch(args) => {
            let refused = |error| Failure::new(format!("{}: {error}", args.diff.display()));
            let diff = AdapterDiff::decode(&read_file(&args.diff)?).map_err(refused)?;
            let adapter = diff.apply(&adapters::read(&args.old)?).map_err(refused)?;
            write_adapter(&args.out, &adapter.encode(), adapter.id(), output)
        }
    }
}

fn register(args: &RegisterArgs, output: Output) -> Result<(), Failure> {
    let adapter = adapters::read(&args.file)?;
    // The scale is in the artifact, module by module; the record has the first one's as alpha / rank.
    let rank = adapter.rank() as u32;
    let first = &adapter.updates()[0];
    let alpha = (first.scale.abs() * first.rank() as f32).round().max(1.0) as u32;
    let artifact = Artifact::new(adapter.encode(), &args.file.display().to_string())?;
    let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    args.sign.with(|client, wallet| {
        let base_version = version_of(client, &args.base)?;
        artifact.upload(client, &progress)?;
        let adapter = LoraAdapter {
            base_model: args.base,
            base_version,
            artifact: artifact.cid(),
            artifact_bytes: artifact.bytes().len() as u64,
            rank,
            alpha,
            name: args.name.clone().or(stem).unwrap_or_default(),
        };
        let hash = wallet.send_ai::<Lora>(&LoraPayload::Adapter(adapter), &AiTerms::default())?;
        let receipt = wallet.confirm(hash)?;
        let id = logged_id(&receipt, system::MODELS, ADAPTER_REGISTERED)?;
        wait_for_adapter(client, &id)?;
        let cid = artifact.cid().to_string();
        let facts = json!({ "adapter_id": id, "base_model": args.base, "base_version": base_version, "cid": cid });
        print_done(output, &receipt, facts, &format!("adapter {id}\nartifact {cid}"))
    })
}

fn write_adapter(path: &Path, bytes: &[u8], id: B256, output: Output) -> Result<(), Failure> {
    write_file(path, bytes)?;
    let facts = json!({ "adapter_id": id, "bytes": bytes.len(), "file": path });
    output.print(&facts, || format!("adapter {id}\nwritten to {}, {} bytes", path.display(), bytes.len()))
}

/// Tells what changed, module by module.
fn diff(args: &DiffArgs, output: Output) -> Result<(), Failure> {
    let (old, new) = (adapters::read(&args.old)?, adapters::read(&args.new)?);
    let diff = AdapterDiff::between(&old, &new);
    let bytes = diff.encode();
    if let Some(path) = &args.out {
        write_file(path, &bytes)?;
    }
    let is_new = |update: &&Update| old.updates().iter().all(|other| other.module != update.module);
    let names = |added: bool| -> Vec<&str> {
        diff.put.iter().filter(|update| is_new(update) == added).map(|update| update.module.as_str()).collect()
    };
    let (added, changed) = (names(true), names(false));
    let facts = json!({
        "from": diff.from, "to": diff.to, "added": added, "changed": changed, "removed": diff.removed,
        "bytes": bytes.len(), "bytes_whole": new.encode().len(),
    });
    output.print(&facts, || {
        let mut lines = vec![format!("{} -> {}: {} bytes", diff.from, diff.to, bytes.len())];
        let removed: Vec<&str> = diff.removed.iter().map(String::as_str).collect();
        for (sign, modules) in [("+", &added), ("~", &changed), ("-", &removed)] {
            lines.extend(modules.iter().map(|module| format!("{sign} {module}")));
        }
        lines.join("\n")
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
    let Some(found) = adapter_record(&client, &args.id)? else {
        return Err(Failure::new(format!("no adapter or composition {} is registered at {}", args.id, client.url()))
            .next("register one with `lattice lora register BASE DIR`"));
    };
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
