//! `lattice model`: from a file to a registered model, its versions, and what its owner does with it.

mod line;
mod update;

pub use line::{line_of, version_of};

use super::{NodeArgs, Output, progress, signing::SignArgs};
use crate::{
    adapters,
    client::quantity,
    failure::Failure,
    import,
    registry::{self, Package, Pushed},
    tensors::{self, Slot},
};
use alloy_primitives::B256;
use clap::Subcommand;
use lattice_inference::{Graph, ValueInfo};
use lattice_training::{Adapter, AdapterTarget, Update};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `lattice model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a model from its ONNX or TensorFlow Lite file, and wait until it is active
    Push(PushArgs),
    /// Register a file as the next version of a model, and wait until it is active
    Update(update::UpdateArgs),
    /// List the registered models
    List(ListArgs),
    /// Show a registered model
    Show(ShowArgs),
    /// List the versions of a model that are kept
    Versions(line::VersionsArgs),
    /// Tell what a model's or an adapter's file holds and costs, without a chain
    Inspect(InspectArgs),
    /// Show or set who may run a model
    Permissions(line::PermissionsArgs),
    /// Set what a run costs
    Price(line::PriceArgs),
    /// Offer a model to another owner
    Transfer(line::TransferArgs),
    /// Accept a model that was offered
    Accept(line::LineArgs),
    /// End a model for good: no version of it runs any more
    Retire(line::LineArgs),
}

/// How a file is turned into a frozen graph.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The model: an ONNX file, a TensorFlow Lite file, or a frozen graph
    file: PathBuf,
    /// Shape of an input with dynamic dimensions; a dynamic leading dimension becomes 1 by itself
    #[arg(long = "shape", value_name = "NAME=1,128", value_parser = import::parse_shape)]
    shapes: Vec<(String, Vec<usize>)>,
    /// Value of an input that becomes part of the model, as JSON or a .npy file
    #[arg(long = "constant", value_name = "NAME=FILE|JSON")]
    constants: Vec<String>,
}

impl ImportArgs {
    fn import(&self) -> Result<Graph, Failure> {
        import::file(&self.file, self.shapes.iter().cloned().collect(), &self.constants)
    }
}

#[derive(Debug, clap::Args)]
struct PushArgs {
    #[command(flatten)]
    import: ImportArgs,
    /// Name in the registry [default: the file's name without its extension]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    commitments: update::CommitmentArgs,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Skip that many of the oldest
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// List that many
    #[arg(long, default_value_t = 100)]
    limit: u64,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The model id
    id: B256,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, clap::Args)]
struct InspectArgs {
    #[command(flatten)]
    import: ImportArgs,
}

/// `lattice model`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Push(args) => push(&args, output),
        Command::List(args) => list(&args, output),
        Command::Show(args) => show(&args, output),
        Command::Inspect(args) => inspect(&args, output),
        Command::Update(args) => update::update(&args, output),
        Command::Versions(args) => line::versions(&args, output),
        Command::Permissions(args) => line::permissions(&args, output),
        Command::Price(args) => line::price(&args, output),
        Command::Transfer(args) => line::transfer(&args, output),
        Command::Accept(args) => line::accept(&args, output),
        Command::Retire(args) => line::retire(&args, output),
    }
}

fn push(args: &PushArgs, output: Output) -> Result<(), Failure> {
    let graph = args.import.import()?;
    let stem = args.import.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().or(stem).unwrap_or_default();
    let package = Package::new(&graph, &name)?.with_commitments(args.commitments.read()?);
    progress(&format!("model {} ({} bytes, {} gas a run)", package.model_id, package.size_bytes(), graph.cost().gas()));
    args.sign.with(|client, wallet| print_pushed(&package.push(client, wallet, &progress)?, output))
}

fn print_pushed(pushed: &Pushed, output: Output) -> Result<(), Failure> {
    output.print(pushed, || {
        let sent = pushed.tx_hash.map_or_else(|| "registered before".to_owned(), |hash| format!("transaction {hash}"));
        format!("model {}\n{sent}\nartifact {}\nstatus {}", pushed.model_id, pushed.cid, pushed.status)
    })
}

fn list(args: &ListArgs, output: Output) -> Result<(), Failure> {
    let listed = args.node.client()?.call("lattice_getModels", json!([args.offset, args.limit]))?;
    output.print(&listed, || {
        let models = listed["models"].as_array().cloned().unwrap_or_default();
        if models.is_empty() {
            return "no models are registered; register one with `lattice model push FILE`".into();
        }
        let lines: Vec<String> = models.iter().map(list_line).collect();
        lines.join("\n")
    })
}

fn list_line(model: &Value) -> String {
    let text = |field: &str| model[field].as_str().unwrap_or("?").to_owned();
    format!(
        "{}  {:8} {} ({} gas a run, {} bytes)",
        text("modelId"),
        text("status"),
        text("name"),
        number(&model["gas"]),
        number(&model["artifactBytes"])
    )
}

fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    let client = args.node.client()?;
    let model = registry::model(&client, &args.id)?.ok_or_else(|| registry::unknown_model(&client, &args.id))?;
    output.print(&model, || {
        let mut lines = vec![list_line(&model)];
        for (field, title) in [("owner", "owner"), ("artifact", "artifact")] {
            lines.push(format!("{title:10} {}", model[field].as_str().unwrap_or("?")));
        }
        lines.push(format!("{:10} block {}", "registered", number(&model["registeredAt"])));
        if let Some(epoch) = quantity(&model["freshUntil"]).filter(|_| model["status"] != "pending") {
            lines.push(format!("{:10} until epoch {epoch}, unless it is certified anew", "runs"));
        }
        if model["scheduled"] == true {
            lines.push(format!("{:10} in the next epoch", "begins"));
        }
        for (field, title) in [("inputs", "input"), ("outputs", "output")] {
            let slots = model[field].as_array().map(Vec::as_slice).unwrap_or_default();
            lines.extend(slots.iter().filter_map(Slot::from_json).map(|slot| format!("{title:10} {slot}")));
        }
        match number(&model["artifactMissing"]).as_str() {
            "0" | "?" => {}
            missing => {
                lines.push(format!("{missing} blocks of the artifact are missing at this node: push the file again"))
            }
        }
        lines.join("\n")
    })
}

fn number(value: &Value) -> String {
    quantity(value).or_else(|| value.as_u64()).map_or_else(|| "?".into(), |number| number.to_string())
}

fn inspect(args: &InspectArgs, output: Output) -> Result<(), Failure> {
    if adapters::is_adapter(&args.import.file) {
        return inspect_adapter(&adapters::read(&args.import.file)?, output);
    }
    let graph = args.import.import()?;
    let facts = inspection(&graph);
    output.print(&facts, || {
        let mut lines = vec![format!("{:10} {}", "model id", graph.model_id())];
        for (slots, title) in [(graph.inputs(), "input"), (graph.outputs(), "output")] {
            let text =
                |info: &ValueInfo| format!("{title:10} {} {}", info.name, tensors::type_text(info.dtype, &info.shape));
            lines.extend(slots.iter().map(text));
        }
        lines.push(format!("{:10} {}", "class", graph.class()));
        let operators: Vec<String> = graph.operators().iter().map(|(name, count)| format!("{name} x{count}")).collect();
        lines.push(format!("{:10} {}", "operators", operators.join(", ")));
        let cost = graph.cost();
        let modules: Vec<String> = AdapterTarget::all(&graph).into_iter().map(|target| target.module).collect();
        if !modules.is_empty() {
            lines.push(format!("{:10} {}", "modules", modules.join(", ")));
        }
        lines.push(format!(
            "{:10} {} gas a run: {} MACs, {} steps, {} bytes moved, {} bytes of memory, {} bytes of weights",
            "cost",
            cost.gas(),
            cost.macs,
            cost.steps,
            cost.bytes,
            cost.memory_bytes,
            cost.weights_bytes
        ));
        lines.join("\n")
    })
}

/// Tells what an adapter updates.
fn inspect_adapter(adapter: &Adapter, output: Output) -> Result<(), Failure> {
    let (id, bytes) = (adapter.id(), adapter.encode().len());
    let one = |update: &Update| {
        json!({
            "module": update.module, "rank": update.rank(), "scale": update.scale, "inputs": update.inputs(),
            "outputs": update.outputs(), "dtype": update.dtype().name(),
        })
    };
    let updates: Vec<Value> = adapter.updates().iter().map(one).collect();
    output.print(&json!({ "adapter_id": id, "bytes": bytes, "rank": adapter.rank(), "updates": updates }), || {
        let mut lines = vec![format!("{:10} {id}, {bytes} bytes in canonical form", "adapter")];
        lines.extend(adapter.updates().iter().map(|update| {
            let (inputs, outputs, dtype) = (update.inputs(), update.outputs(), update.dtype());
            let (module, rank, scale) = (&update.module, update.rank(), update.scale);
            format!("{:10} {module} [{outputs}, {inputs}] rank {rank}, scale {scale}, {dtype}", "update")
        }));
        lines.join("\n")
    })
}

/// What `model inspect --json` prints.
pub fn inspection(graph: &Graph) -> Value {
    let slots = |infos: &[ValueInfo]| -> Vec<Value> {
        let slot = |info: &ValueInfo| json!({ "name": info.name, "dtype": info.dtype.name(), "shape": info.shape });
        infos.iter().map(slot).collect()
    };
    let target =
        |target: &AdapterTarget| json!({ "module": target.module, "inputs": target.inputs, "outputs": target.outputs });
    let cost = graph.cost();
    json!({
        "model_id": graph.model_id(),
        "inputs": slots(graph.inputs()),
        "outputs": slots(graph.outputs()),
        "class": graph.class().to_string(),
        "operators": graph.operators(),
        "modules": AdapterTarget::all(graph).iter().map(target).collect::<Vec<_>>(),
        "cost": {
            "gas": cost.gas(),
            "macs": cost.macs,
            "steps": cost.steps,
            "bytes": cost.bytes,
            "nodes": cost.nodes,
            "weights_bytes": cost.weights_bytes,
            "memory_bytes": cost.memory_bytes,
        },
        "input_bytes": graph.input_bytes(),
        "output_bytes": graph.output_bytes(),
    })
}
