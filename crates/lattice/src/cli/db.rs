//! `lattice db`: what a stopped node's data directory holds, and giving back what it does not need.

use super::{Output, dev::not_built, progress};
use crate::failure::Failure;
use alloy_primitives::Address;
use lattice_storage::{DiskKv, Engine, StorageFault, Table};
use lattice_types::system;
use serde::Serialize;
use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Length of an account's key in the state table; those of storage slots are longer.
const ACCOUNT_KEY_BYTES: usize = 20;
/// Rows of the canonical index for each block: one by number, one by hash.
const CANONICAL_ROWS: u64 = 2;
/// The system accounts whose storage is the records of AI, by what they keep.
const SYSTEM_ACCOUNTS: [(&str, Address); 3] =
    [("models", system::MODELS), ("training", system::TRAINING), ("inference", system::INFERENCE)];

/// Arguments of `lattice db`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Rows and bytes of each table, and how the chain grows
    Stats(DirArgs),
    /// Merge the engine's files, so that deleted and replaced records give their room back
    Compact(DirArgs),
}

#[derive(Debug, clap::Args)]
struct DirArgs {
    /// The data directory of a stopped node, as given to `lattice dev --datadir`
    #[arg(long, value_name = "DIR")]
    datadir: PathBuf,
}

/// `lattice db`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Stats(args) => stats(&args.datadir, output),
        Command::Compact(args) => compact(&args.datadir, output),
    }
}

/// Opens the store of a directory that has one, with the engine that made it: looking at it creates nothing.
fn open(datadir: &Path) -> Result<Arc<dyn DiskKv>, Failure> {
    let dir = datadir.join("db");
    let Some(engine) = Engine::of_dir(&dir).map_err(failed)? else {
        let cause = format!("{} holds no chain: there is no {}", datadir.display(), dir.join("FORMAT").display());
        return Err(Failure::new(cause).next("name the directory that was given to lattice dev --datadir"));
    };
    engine.open(&dir).map_err(failed)
}

fn failed(fault: StorageFault) -> Failure {
    let failure = Failure::new(fault.to_string());
    match fault {
        StorageFault::NotBuilt(engine) => not_built(engine),
        StorageFault::Locked { .. } => {
            failure.next("stop the node first: lattice db works on a stopped node's directory")
        }
        _ => failure,
    }
}

#[derive(Serialize)]
struct Stats {
    engine: &'static str,
    datadir: PathBuf,
    /// Bytes of the engine's files.
    disk_bytes: u64,
    /// Blocks of the DAG, the genesis included.
    dag_blocks: u64,
    /// Blocks of the selected chain, the genesis included.
    blocks: u64,
    /// Transactions executed on it.
    transactions: u64,
    /// Accounts of the base state.
    accounts: u64,
    /// Storage slots of the base state.
    slots: u64,
    /// First block of the archive; none without.
    archive_from: Option<u64>,
    growth: Growth,
    /// Their part of the state table.
    system_accounts: Vec<SystemAccount>,
    artifacts: Artifacts,
    tables: Vec<TableStats>,
}

/// Averages over all that is there, in bytes of records (keys and values, before the engine compresses them).
#[derive(Serialize)]
struct Growth {
    bytes_per_block: f64,
    bytes_per_transaction: f64,
    /// Of the state table: an account with its slots.
    bytes_per_account: f64,
    /// Of the archive's table, per block of the chain.
    history_bytes_per_block: f64,
}

/// Records of AI in the base state.
#[derive(Serialize)]
struct SystemAccount {
    name: &'static str,
    address: Address,
    slots: u64,
    bytes: u64,
}

/// Weights, beside the store: manifests and chunks.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Artifacts {
    files: u64,
    bytes: u64,
}

#[derive(Default, Serialize)]
struct TableStats {
    name: &'static str,
    rows: u64,
    key_bytes: u64,
    value_bytes: u64,
    /// Bytes of its files; records that were written last may still be in the engine's log.
    disk_bytes: u64,
    /// What it grows with; none when it has a fixed number of rows.
    grows_with: Option<&'static str>,
    /// Bytes of records for each of those.
    bytes_each: f64,
}

impl TableStats {
    const fn bytes(&self) -> u64 {
        self.key_bytes + self.value_bytes
    }
}

fn stats(datadir: &Path, output: Output) -> Result<(), Failure> {
    let kv = open(datadir)?;
    let mut stats = gather(&*kv, datadir).map_err(failed)?;
    let dir = datadir.join("artifacts");
    stats.artifacts = artifacts(&dir)
        .map_err(|error| Failure::new(format!("cannot measure the artifacts in {}: {error}", dir.display())))?;
    output.print(&stats, || text(&stats))
}

/// Counts what lies below a directory; none when it is not there.
fn artifacts(dir: &Path) -> io::Result<Artifacts> {
    let mut found = Artifacts::default();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let below = match metadata.is_dir() {
            true => artifacts(&entry.path())?,
            false => Artifacts { files: 1, bytes: metadata.len() },
        };
        found = Artifacts { files: found.files + below.files, bytes: found.bytes + below.bytes };
    }
    Ok(found)
}

fn gather(kv: &dyn DiskKv, datadir: &Path) -> Result<Stats, StorageFault> {
    let mut accounts = 0;
    let mut system_accounts =
        SYSTEM_ACCOUNTS.map(|(name, address)| SystemAccount { name, address, slots: 0, bytes: 0 });
    let mut tables = Vec::with_capacity(Table::ALL.len());
    for table in Table::ALL {
        let mut found =
            TableStats { name: table.name(), disk_bytes: kv.table_disk_bytes(table)?, ..TableStats::default() };
        kv.scan(table, &[], None, &mut |key, value| {
            found.rows += 1;
            found.key_bytes += key.len() as u64;
            found.value_bytes += value.len() as u64;
            if table == Table::State {
                let is_account = key.len() == ACCOUNT_KEY_BYTES;
                accounts += u64::from(is_account);
                if let Some(of) = system_accounts.iter_mut().find(|of| key.starts_with(of.address.as_slice())) {
                    of.slots += u64::from(!is_account);
                    of.bytes += (key.len() + value.len()) as u64;
                }
            }
            ControlFlow::Continue(())
        })?;
        tables.push(found);
    }
    let of = |table: Table| &tables[table.index()];
    let blocks = of(Table::Canonical).rows / CANONICAL_ROWS;
    let transactions = of(Table::TxIndex).rows;
    let total: u64 = tables.iter().map(TableStats::bytes).sum();
    let (state_bytes, slots) = (of(Table::State).bytes(), of(Table::State).rows - accounts);
    let carried: u64 =
        [Table::Bodies, Table::Executed, Table::TxIndex].into_iter().map(|table| of(table).bytes()).sum();
    let growth = Growth {
        bytes_per_block: ratio(total - state_bytes, blocks),
        bytes_per_transaction: ratio(carried, transactions),
        bytes_per_account: ratio(state_bytes, accounts),
        history_bytes_per_block: ratio(of(Table::History).bytes(), blocks),
    };
    let dag_blocks = of(Table::Headers).rows;
    let count_of = |unit: Unit, rows| match unit {
        Unit::DagBlock => dag_blocks,
        Unit::ChainBlock => blocks,
        Unit::Transaction => transactions,
        Unit::Account => accounts,
        Unit::Contract | Unit::Checkpoint | Unit::StakeSet | Unit::RecentBlock | Unit::ArchivedRow => rows,
    };
    for (table, found) in Table::ALL.into_iter().zip(&mut tables) {
        if let Some(unit) = unit_of(table) {
            found.grows_with = Some(unit.name());
            found.bytes_each = ratio(found.bytes(), count_of(unit, found.rows));
        }
    }
    Ok(Stats {
        engine: kv.engine().name(),
        datadir: datadir.to_path_buf(),
        disk_bytes: kv.disk_bytes()?,
        dag_blocks,
        blocks,
        transactions,
        accounts,
        slots,
        archive_from: lattice_chain::archive_from(kv)?,
        growth,
        system_accounts: system_accounts.into(),
        artifacts: Artifacts::default(),
        tables,
    })
}

/// What makes a table grow.
#[derive(Debug, Clone, Copy)]
enum Unit {
    DagBlock,
    ChainBlock,
    Transaction,
    Account,
    Contract,
    Checkpoint,
    StakeSet,
    /// A chain block above the base: their number is bounded once finality advances.
    RecentBlock,
    /// A row of the archive, which leads over one or more blocks.
    ArchivedRow,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::DagBlock => "DAG block",
            Self::ChainBlock => "chain block",
            Self::Transaction => "transaction",
            Self::Account => "account",
            Self::Contract => "code",
            Self::Checkpoint => "checkpoint",
            Self::StakeSet => "stake set",
            Self::RecentBlock => "block above the base",
            Self::ArchivedRow => "archived row",
        }
    }
}

const fn unit_of(table: Table) -> Option<Unit> {
    match table {
        Table::Headers | Table::Bodies | Table::Relations | Table::Ghostdag => Some(Unit::DagBlock),
        Table::Reachability | Table::Status | Table::Wins | Table::Standings => Some(Unit::DagBlock),
        Table::Finality => Some(Unit::Checkpoint),
        Table::StakeSets => Some(Unit::StakeSet),
        Table::Executed | Table::Canonical => Some(Unit::ChainBlock),
        Table::TxIndex => Some(Unit::Transaction),
        Table::State => Some(Unit::Account),
        Table::Code => Some(Unit::Contract),
        Table::Layers | Table::LayerLinks => Some(Unit::RecentBlock),
        Table::History => Some(Unit::ArchivedRow),
        Table::Meta => None,
    }
}

fn ratio(bytes: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { (bytes as f64 / count as f64 * 10.0).round() / 10.0 }
}

fn text(stats: &Stats) -> String {
    let records = |of: &SystemAccount| format!("{} {} slots, {} bytes", of.name, of.slots, of.bytes);
    let records: Vec<String> = stats.system_accounts.iter().map(records).collect();
    let mut lines = vec![
        format!("Engine        {}, {} bytes on disk", stats.engine, stats.disk_bytes),
        format!(
            "Chain         {} blocks, {} transactions, {} blocks of the DAG",
            stats.blocks, stats.transactions, stats.dag_blocks
        ),
        format!("Base state    {} accounts, {} storage slots", stats.accounts, stats.slots),
        format!("  AI records  {}", records.join("; ")),
        format!("Artifacts     {} files, {} bytes", stats.artifacts.files, stats.artifacts.bytes),
        match stats.archive_from {
            Some(from) => format!("Archive       from block {from} on"),
            None => "Archive       no: states of the newest blocks only".into(),
        },
        format!(
            "Growth        {} bytes a block, {} a transaction, {} an account, {} of history a block (before compression)",
            stats.growth.bytes_per_block,
            stats.growth.bytes_per_transaction,
            stats.growth.bytes_per_account,
            stats.growth.history_bytes_per_block
        ),
        String::new(),
        format!("{:<14}{:>12}{:>16}{:>16}{:>16}  growth", "table", "rows", "key bytes", "value bytes", "disk bytes"),
    ];
    lines.extend(stats.tables.iter().map(|table| {
        let TableStats { name, rows, key_bytes, value_bytes, disk_bytes, grows_with, bytes_each } = table;
        let growth = grows_with.map_or("none".into(), |unit| format!("{bytes_each} bytes per {unit}"));
        format!("{name:<14}{rows:>12}{key_bytes:>16}{value_bytes:>16}{disk_bytes:>16}  {growth}")
    }));
    lines.join("\n")
}

#[derive(Serialize)]
struct Compacted {
    disk_bytes_before: u64,
    disk_bytes: u64,
}

fn compact(datadir: &Path, output: Output) -> Result<(), Failure> {
    let kv = open(datadir)?;
    let disk_bytes_before = kv.disk_bytes().map_err(failed)?;
    for table in Table::ALL {
        progress(&format!("compacting {}", table.name()));
        kv.compact(table).map_err(failed)?;
    }
    let compacted = Compacted { disk_bytes_before, disk_bytes: kv.disk_bytes().map_err(failed)? };
    output.print(&compacted, || format!("{} bytes before, {} after", compacted.disk_bytes_before, compacted.disk_bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use lattice_storage::{Batch, Kv};

    fn filled(datadir: &Path) -> Arc<dyn DiskKv> {
        let kv = Engine::default().open(datadir.join("db")).unwrap();
        let mut batch = Batch::new();
        batch.put(Table::State, [1; 20], *b"account");
        batch.put(Table::State, [2; 20], *b"account");
        batch.put(Table::State, [2; 52], *b"slot");
        batch.put(Table::State, [system::MODELS.as_slice(), &[3; 32]].concat(), *b"record");
        for row in 0..6_u8 {
            batch.put(Table::Canonical, [row], [row; 32]);
        }
        batch.put(Table::TxIndex, [7; 32], [0; 36]);
        batch.put(Table::Meta, *b"history", 17_u64.to_be_bytes());
        kv.write(batch).unwrap();
        kv
    }

    #[test]
    fn stats_count_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let kv = filled(dir.path());
        let stats = gather(&*kv, dir.path()).unwrap();
        assert_eq!((stats.blocks, stats.transactions, stats.accounts, stats.slots), (3, 1, 2, 2));
        assert_eq!(stats.archive_from, Some(17));
        assert_eq!(stats.growth.bytes_per_transaction, 68.0);
        assert_eq!(stats.growth.bytes_per_account, ((20 + 7) * 2 + 52 + 4 + 52 + 6) as f64 / 2.0);
        let state = &stats.tables[Table::State.index()];
        assert_eq!((state.rows, state.key_bytes, state.value_bytes), (4, 144, 24));
        assert_eq!((state.grows_with, state.bytes_each), (Some("account"), 84.0));
        let index = &stats.tables[Table::TxIndex.index()];
        assert_eq!((index.grows_with, index.bytes_each), (Some("transaction"), 68.0));
        assert_eq!(stats.tables[Table::Meta.index()].grows_with, None);
        let records: Vec<_> = stats.system_accounts.iter().map(|of| (of.name, of.slots, of.bytes)).collect();
        assert_eq!(records, [("models", 1, 58), ("training", 0, 0), ("inference", 0, 0)]);
        let text = text(&stats);
        for words in ["from block 17 on", "84 bytes per account", "models 1 slots, 58 bytes", "fjall"] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn artifacts_are_counted_in_all_folders() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(artifacts(&dir.path().join("absent")).unwrap(), Artifacts::default());
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/one"), [0; 10]).unwrap();
        fs::write(dir.path().join("a/two"), [0; 5]).unwrap();
        assert_eq!(artifacts(dir.path()).unwrap(), Artifacts { files: 2, bytes: 15 });
    }

    #[test]
    fn compaction_keeps_the_records_and_gives_room_back() {
        let dir = tempfile::tempdir().unwrap();
        let kv = filled(dir.path());
        let large = |seed: u8| {
            (0..20_000_u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect::<Vec<_>>()
        };
        for round in 0..40 {
            let mut batch = Batch::new();
            batch.put(Table::Bodies, *b"same key", large(round));
            kv.write(batch).unwrap();
        }
        for table in Table::ALL {
            kv.compact(table).unwrap();
        }
        assert!(kv.table_disk_bytes(Table::Bodies).unwrap() < 2 * 20_000);
        assert_eq!(kv.get(Table::Bodies, b"same key").unwrap(), Some(large(39)));
        assert_eq!(gather(&*kv, dir.path()).unwrap().accounts, 2);
    }

    #[test]
    fn absent_and_busy_directories_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let absent = open(dir.path()).unwrap_err().to_text();
        assert!(absent.contains("holds no chain") && absent.contains("next:"), "{absent}");
        assert!(!dir.path().join("db").exists(), "looking creates nothing");
        let _busy = filled(dir.path());
        let busy = open(dir.path()).unwrap_err().to_text();
        assert!(busy.contains("in use by another process") && busy.contains("stop the node first"), "{busy}");
    }
}
