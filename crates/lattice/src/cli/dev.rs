//! `lattice dev`: a development node in the foreground.

use crate::{
    amount,
    failure::Failure,
    node::{self, LocalNetwork, Node, NodeError, NodeOptions, SYNC_INTERVAL},
};
use lattice_storage::{Engine, StorageFault};
use lattice_types::{
    Checkpoint,
    spec::{DEV_ACCOUNTS, DEV_BALANCE, DEV_CHAIN_ID},
};
use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use tracing_subscriber::filter::LevelFilter;

/// The environment variable with the level of the log on stderr.
const LOG_VARIABLE: &str = "LATTICE_LOG";
const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Arguments of `lattice dev`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port of HTTP and WebSocket; 0 takes a free one
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Where chain and artifacts live, created when absent [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    datadir: Option<PathBuf>,
    /// Address to listen on; the keys are public, so let no stranger reach it
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Keep every block, and its state for eth_call, eth_getBalance, eth_getProof and the like, from now on; otherwise blocks
    /// of about a day and the states of the newest 256. A data directory that was an archive once stays one
    #[arg(long)]
    archive: bool,
    /// Follow only chains that hold this checkpoint, INDEX:HASH, as `lattice status` of a node that you trust shows it. It must be
    /// younger than the weak-subjectivity period (ten days) and agree with what this data directory holds as final
    #[arg(long, value_name = "INDEX:HASH", value_parser = checkpoint)]
    trusted_checkpoint: Option<Checkpoint>,
    /// The store's engine. A data directory stays with the engine that made it; docs/engines.md compares them
    #[arg(long, value_enum, default_value_t = Db::Fjall)]
    db: Db,
    /// Bring the store to the disk every so many milliseconds, which bounds what a power cut may take; 0 does so at a clean
    /// stop only. The death of the process takes nothing either way
    #[arg(long, value_name = "MS", default_value_t = SYNC_INTERVAL.as_millis() as u64)]
    sync_interval_ms: u64,
    /// Run this many equal validators instead of one, each with its own chain and key, with slots of 250 ms and votes: the
    /// rules of a network on one machine. Blocks then come by the clock, merge, and become final in about nine seconds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    producers: u32,
    /// How long a message between producers takes at most, in milliseconds; at least half of it
    #[arg(long, value_name = "MS", default_value_t = 200, requires = "producers")]
    delay_ms: u64,
}

/// An engine by the name that `--db` gives it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Db {
    /// Pure Rust, part of every build
    Fjall,
    /// C++, part of builds with `--features rocksdb`
    Rocksdb,
}

impl From<Db> for Engine {
    fn from(db: Db) -> Self {
        match db {
            Db::Fjall => Self::Fjall,
            Db::Rocksdb => Self::RocksDb,
        }
    }
}

/// `lattice dev`: runs until SIGTERM or SIGINT.
pub fn run(args: Args, json: bool) -> Result<(), Failure> {
    let engine = Engine::from(args.db);
    if !engine.is_built() {
        return Err(not_built(engine));
    }
    start_log()?;
    // Removed when this function ends, after the node has stopped.
    let temporary = match args.datadir {
        None => Some(temporary_dir()?),
        Some(_) => None,
    };
    let datadir = args.datadir.or_else(|| temporary.as_ref().map(|dir| dir.path().to_path_buf()));
    let datadir = datadir.expect("without a given directory there is a temporary one");
    let sync_interval = (args.sync_interval_ms > 0).then(|| Duration::from_millis(args.sync_interval_ms));
    let Args { host, port, archive, trusted_checkpoint: trusted, producers, delay_ms, .. } = args;
    let delay = Duration::from_millis(delay_ms);
    let network = (producers > 1).then_some(LocalNetwork { producers, delay });
    let options = NodeOptions { host, port, datadir, archive, trusted, engine, sync_interval, network };
    let data = match temporary {
        Some(_) => "temporary; keep it with --datadir DIR".to_owned(),
        None => options.datadir.display().to_string(),
    };
    let ready = |node: &Node| {
        let (addr, archive) = (node.addr(), node.archive_from());
        let text = if json { banner_json(addr, &options, archive) } else { banner(addr, &data, archive) };
        // The node serves on when nobody reads its banner.
        let _nobody_reads = writeln!(std::io::stdout(), "{text}");
    };
    node::run(&options, ready).map_err(|error| explain(&error, &options))
}

/// A checkpoint as its index and its block's hash.
fn checkpoint(text: &str) -> Result<Checkpoint, String> {
    let parsed = text
        .split_once(':')
        .and_then(|(index, hash)| Some(Checkpoint { index: index.parse().ok()?, hash: hash.parse().ok()? }));
    parsed.ok_or_else(|| "expected INDEX:HASH, a number and 32 bytes in hex, as `lattice status` shows it".into())
}

/// The log goes to stderr. Its level comes from LATTICE_LOG: error, warn (default), info, debug, trace or off.
pub fn start_log() -> Result<(), Failure> {
    let level = match std::env::var(LOG_VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse().map_err(|_| {
            Failure::usage(format!("{LOG_VARIABLE}={text} is no level: use off, error, warn, info, debug or trace"))
        })?,
        _ => LevelFilter::WARN,
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(ansi).init();
    Ok(())
}

/// A directory for a chain that nobody keeps.
pub fn temporary_dir() -> Result<tempfile::TempDir, Failure> {
    let dir = tempfile::Builder::new().prefix("lattice-").tempdir();
    dir.map_err(|error| Failure::new(format!("cannot create a temporary directory: {error}")).next("set TMPDIR"))
}

/// What to do about an engine that this program lacks.
pub fn not_built(engine: Engine) -> Failure {
    Failure::usage(StorageFault::NotBuilt(engine).to_string()).next(format!(
        "build it with `cargo build --release --features {engine}` (docs/engines.md says what that needs)"
    ))
}

/// A node's error with the step that helps.
pub fn explain(error: &NodeError, options: &NodeOptions) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        NodeError::Datadir { .. } => failure.next("choose another directory with --datadir"),
        NodeError::Rpc(_) => failure.next(format!(
            "choose another port with --port (0 takes a free one), or stop what uses {}:{}",
            options.host, options.port
        )),
        NodeError::Storage(StorageFault::OtherEngine { found, .. }) => failure.next(format!(
            "start it with --db {found}, or choose another directory with --datadir: data does not move between engines"
        )),
        NodeError::Storage(StorageFault::Locked { .. }) => failure.next(format!(
            "another node may use {}; stop it or choose another directory with --datadir",
            options.datadir.display()
        )),
        NodeError::Storage(_) => failure.next("choose another directory with --datadir"),
        _ => failure,
    }
}

fn banner(addr: SocketAddr, data: &str, archive: Option<u64>) -> String {
    let mut lines = vec![
        format!("Lattice {} development node", env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("RPC URL       http://{addr}"),
        format!("WebSocket URL ws://{addr}"),
        format!("Chain ID      {DEV_CHAIN_ID}"),
        format!("Data          {data}"),
    ];
    lines.extend(archive.map(|from| format!("Archive       every state from block {from} on")));
    lines.extend([String::new(), format!("Accounts ({} LAT each at genesis)", amount::to_lat(DEV_BALANCE))]);
    lines.extend(DEV_ACCOUNTS.iter().enumerate().map(|(i, (address, _))| format!("({i}) {address}")));
    lines.push(String::new());
    lines.push("Private keys (known to everybody: never use them elsewhere)".into());
    lines.extend(DEV_ACCOUNTS.iter().enumerate().map(|(i, (_, key))| format!("({i}) {key}")));
    lines.push(String::new());
    lines.push(format!("Mnemonic      {MNEMONIC}"));
    lines.push(String::new());
    lines.push(format!("Listening on {addr}"));
    lines.join("\n")
}

fn banner_json(addr: SocketAddr, options: &NodeOptions, archive: Option<u64>) -> String {
    let accounts: Vec<_> = DEV_ACCOUNTS
        .iter()
        .map(|(address, key)| serde_json::json!({ "address": address, "private_key": key }))
        .collect();
    let facts = serde_json::json!({
        "rpc_url": format!("http://{addr}"),
        "ws_url": format!("ws://{addr}"),
        "chain_id": DEV_CHAIN_ID,
        "datadir": options.datadir,
        "engine": options.engine.name(),
        "archive_from": archive,
        "mnemonic": MNEMONIC,
        "accounts": accounts,
    });
    facts.to_string()
}
