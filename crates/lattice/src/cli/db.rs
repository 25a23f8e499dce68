//! `lattice db`: what a stopped node's data directory holds, and giving back what it does not need.

use super::{Output, progress};
use crate::failure::Failure;
use lattice_storage::{FjallKv, KvRead, StorageFault, Table};
use serde::Serialize;
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// Length of an account's key in the state table; those of storage slots are longer.
const ACCOUNT_KEY_BYTES: usize = 20;
/// Rows of the canonical index for each block: one by number, one by hash.
const CANONICAL_ROWS: u64 = 2;

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

/// Opens the store of a directory that has one: looking at it creates nothing.
fn open(datadir: &Path) -> Result<FjallKv, Failure> {
    let dir = datadir.join("db");
    if !dir.join("FORMAT").exists() {
        let cause = format!("{} holds no chain: there is no {}", datadir.display(), dir.join("FORMAT").display());
        return Err(Failure::new(cause).next("name the directory that was given to lattice dev --datadir"));
    }
    FjallKv::open(&dir).map_err(failed)
}

fn failed(fault: StorageFault) -> Failure {
    let failure = Failure::new(fault.to_string());
    match fault {
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

#[derive(Default, Serialize)]
struct TableStats {
    name: &'static str,
    rows: u64,
    key_bytes: u64,
    value_bytes: u64,
    /// Bytes of its files; records that were written last may still be in the journal.
    disk_bytes: u64,
}

impl TableStats {
    const fn bytes(&self) -> u64 {
        self.key_bytes + self.value_bytes
    }
}

fn stats(datadir: &Path, output: Output) -> Result<(), Failure> {
    let kv = open(datadir)?;
    let stats = gather(&kv, datadir).map_err(failed)?;
    output.print(&stats, || text(&stats))
}

fn gather(kv: &FjallKv, datadir: &Path) -> Result<Stats, StorageFault> {
    let mut accounts = 0;
    let mut tables = Vec::with_capacity(Table::ALL.len());
    for table in Table::ALL {
        let mut found =
            TableStats { name: table.name(), disk_bytes: kv.table_disk_bytes(table), ..TableStats::default() };
        kv.scan(table, &[], None, &mut |key, value| {
            found.rows += 1;
            found.key_bytes += key.len() as u64;
            found.value_bytes += value.len() as u64;
            accounts += u64::from(table == Table::State && key.len() == ACCOUNT_KEY_BYTES);
            ControlFlow::Continue(())
        })?;
        tables.push(found);
    }
    let of = |table: Table| &tables[table.index()];
    let blocks = of(Table::Canonical).rows / CANONICAL_ROWS;
    let transactions = of(Table::TxIndex).rows;
    let total: u64 = tables.iter().map(TableStats::bytes).sum();
    let state = of(Table::State);
    let carried: u64 =
        [Table::Bodies, Table::Executed, Table::TxIndex].into_iter().map(|table| of(table).bytes()).sum();
    let growth = Growth {
        bytes_per_block: ratio(total - state.bytes(), blocks),
        bytes_per_transaction: ratio(carried, transactions),
        bytes_per_account: ratio(state.bytes(), accounts),
        history_bytes_per_block: ratio(of(Table::History).bytes(), blocks),
    };
    Ok(Stats {
        engine: "fjall",
        datadir: datadir.to_path_buf(),
        disk_bytes: kv.disk_bytes()?,
        blocks,
        transactions,
        accounts,
        slots: state.rows - accounts,
        archive_from: lattice_chain::archive_from(kv)?,
        growth,
        tables,
    })
}

fn ratio(bytes: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { (bytes as f64 / count as f64 * 10.0).round() / 10.0 }
}

fn text(stats: &Stats) -> String {
    let mut lines = vec![
        format!("Engine        {}, {} bytes on disk", stats.engine, stats.disk_bytes),
        format!("Chain         {} blocks, {} transactions", stats.blocks, stats.transactions),
        format!("Base state    {} accounts, {} storage slots", stats.accounts, stats.slots),
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
        format!("{:<14}{:>12}{:>16}{:>16}{:>16}", "table", "rows", "key bytes", "value bytes", "disk bytes"),
    ];
    lines.extend(stats.tables.iter().map(|table| {
        let TableStats { name, rows, key_bytes, value_bytes, disk_bytes } = table;
        format!("{name:<14}{rows:>12}{key_bytes:>16}{value_bytes:>16}{disk_bytes:>16}")
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

    fn filled(datadir: &Path) -> FjallKv {
        let kv = FjallKv::open(datadir.join("db")).unwrap();
        let mut batch = Batch::new();
        batch.put(Table::State, [1; 20], *b"account");
        batch.put(Table::State, [2; 20], *b"account");
        batch.put(Table::State, [2; 52], *b"slot");
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
        let stats = gather(&kv, dir.path()).unwrap();
        assert_eq!((stats.blocks, stats.transactions, stats.accounts, stats.slots), (3, 1, 2, 1));
        assert_eq!(stats.archive_from, Some(17));
        assert_eq!(stats.growth.bytes_per_transaction, 68.0);
        assert_eq!(stats.growth.bytes_per_account, ((20 + 7) * 2 + 52 + 4) as f64 / 2.0);
        let state = &stats.tables[Table::State.index()];
        assert_eq!((state.rows, state.key_bytes, state.value_bytes), (3, 92, 18));
        assert!(text(&stats).contains("from block 17 on"));
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
        assert!(kv.table_disk_bytes(Table::Bodies) < 2 * 20_000, "{}", kv.table_disk_bytes(Table::Bodies));
        assert_eq!(kv.get(Table::Bodies, b"same key").unwrap(), Some(large(39)));
        assert_eq!(gather(&kv, dir.path()).unwrap().accounts, 2);
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
