//! The second engine: RocksDB, a log-structured merge tree in C++ that operators know from many other chains.
//!
//! One of its column families is a [`Table`]. They share one write-ahead log (WAL), so a batch across tables is one log
//! record with a checksum. Before the files of a flushed table count, the log behind them is synced, so a power cut
//! leaves the tables at one common batch too.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use ::rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    DBCompressionType, LogLevel, Options, ReadOptions, Snapshot, WriteBatch,
};

use super::{CACHE_BYTES, MEMTABLE_BYTES, directory::Directory, unsynced::Unsynced};
use crate::{Batch, DiskKv, Engine, Kv, KvRead, StorageFault, Table, Visitor};

/// Size of all logs together above which tables are flushed, so that the oldest can go, in bytes. It bounds how much a
/// start after a kill reads again.
const LOG_BYTES: u64 = 256 << 20;
/// Files that the engine keeps open at most; a process may have 1,024 by default.
const OPEN_FILES: i32 = 512;
/// Threads that flush and compact.
const BACKGROUND_JOBS: i32 = 2;
/// Bits a key of the filters that spare a lookup the files without the key: one in a hundred is read in vain.
const FILTER_BITS: f64 = 10.0;
/// The engine's own log, `kv/LOG`: size in bytes, and how many older ones are kept.
const INFO_LOG_BYTES: usize = 1 << 20;
const INFO_LOGS: usize = 2;

/// A [`Kv`] in a directory of the disk.
pub struct RocksKv {
    shared: Arc<Shared>,
}

struct Shared {
    db: DB,
    unsynced: Unsynced,
    // Declared last: the directory is free for others only after the engine has closed.
    directory: Directory,
}

impl std::fmt::Debug for RocksKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksKv").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl RocksKv {
    /// Opens the store in a data directory, creating it when it is not there.
    ///
    /// Errors: see [`Engine::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageFault> {
        let create = |dir: &Path| open_engine(dir).map(drop);
        let directory = Directory::claim(path.as_ref(), Engine::RocksDb, create)?;
        let db = open_engine(&directory.engine_dir())?;
        Ok(Self { shared: Arc::new(Shared { db, unsynced: Unsynced::default(), directory }) })
    }
}

/// Opens the engine's files, creating what is not there; a new engine is on the disk when this returns.
fn open_engine(dir: &Path) -> Result<DB, StorageFault> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(LOG_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_keep_log_file_num(INFO_LOGS);

    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    blocks.set_bloom_filter(FILTER_BITS, false);
    let mut table = Options::default();
    table.set_write_buffer_size(MEMTABLE_BYTES);
    table.set_compression_type(DBCompressionType::Lz4);
    table.set_block_based_table_factory(&blocks);
    // The engine opens all families or none: a table of another version of this program is opened and left alone. A
    // new store has no list yet.
    let found = DB::list_cf(&options, dir).unwrap_or_default();
    let names: BTreeSet<String> = found.into_iter().chain(Table::ALL.map(|table| table.name().to_string())).collect();
    let tables = names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, table.clone()));
    DB::open_cf_descriptors(&options, dir, tables).map_err(StorageFault::engine("open the data files"))
}

impl DiskKv for RocksKv {
    fn engine(&self) -> Engine {
        Engine::RocksDb
    }

    fn path(&self) -> &Path {
        self.shared.directory.path()
    }

    fn table_disk_bytes(&self, table: Table) -> Result<u64, StorageFault> {
        let Shared { db, .. } = &*self.shared;
        let bytes = db.property_int_value_cf(self.shared.table(table), "rocksdb.total-sst-files-size");
        Ok(bytes.map_err(StorageFault::engine("measure a table"))?.unwrap_or(0))
    }

    fn disk_bytes(&self) -> Result<u64, StorageFault> {
        let dir = self.shared.directory.engine_dir();
        let measure = || {
            fs::read_dir(&dir)?.try_fold(0, |sum, entry| match entry?.metadata() {
                Ok(file) => Ok(sum + file.len()),
                // The engine deletes files whenever it likes.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(sum),
                Err(error) => Err(error),
            })
        };
        measure().map_err(StorageFault::io("measure the files in", &dir))
    }

    fn compact(&self, table: Table) -> Result<(), StorageFault> {
        let Shared { db, .. } = &*self.shared;
        let family = self.shared.table(table);
        let mut options = CompactOptions::default();
        // The last level has no other reason to be written again than the records that were removed from it.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        db.flush_cf(family).map_err(StorageFault::engine("flush a table"))?;
        db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
        // The call above tells no error; one stops the engine's writes, and then this fails.
        db.flush_cf(family).map_err(StorageFault::engine("compact a table"))
    }
}

impl KvRead for RocksKv {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        self.shared.db.get_cf(self.shared.table(table), key).map_err(StorageFault::engine("read a record"))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        // An iterator sees the moment of its making.
        self.shared.scan(ReadOptions::default(), table, (from, to), false, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        self.shared.scan(ReadOptions::default(), table, (from, to), true, visit)
    }
}

impl Kv for RocksKv {
    fn write(&self, batch: Batch) -> Result<(), StorageFault> {
        let mut engine_batch = WriteBatch::default();
        for op in batch.into_ops() {
            let table = self.shared.table(op.table);
            match op.value {
                Some(value) => engine_batch.put_cf(table, op.key, value),
                None => engine_batch.delete_cf(table, op.key),
            }
        }
        // The log record has reached the operating system when this returns.
        self.shared.db.write(engine_batch).map_err(StorageFault::engine("write a batch"))?;
        self.shared.unsynced.note_batch();
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(RocksSnapshot::new(&self.shared))
    }

    fn sync(&self) -> Result<(), StorageFault> {
        // The disk is waited for without the lock that writers need.
        self.shared.unsynced.sync(|| self.shared.db.flush_wal(true).map_err(StorageFault::engine("sync its log")))
    }
}

/// One moment of all tables. Holds the store open.
struct RocksSnapshot {
    // Declared first, so that it is dropped before the database it belongs to.
    snapshot: Snapshot<'static>,
    shared: Arc<Shared>,
}

impl RocksSnapshot {
    fn new(shared: &Arc<Shared>) -> Self {
        let snapshot = shared.db.snapshot();
        // SAFETY: only the lifetime changes. The snapshot refers to the database inside the `Arc`, which does not move and
        // which this value keeps alive longer than the snapshot, as its fields are dropped in their order. The snapshot
        // leaves this value nowhere.
        let snapshot = unsafe { std::mem::transmute::<Snapshot<'_>, Snapshot<'static>>(snapshot) };
        Self { snapshot, shared: Arc::clone(shared) }
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }
}

impl KvRead for RocksSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        self.snapshot.get_cf(self.shared.table(table), key).map_err(StorageFault::engine("read a record"))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        self.shared.scan(self.options(), table, (from, to), false, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        self.shared.scan(self.options(), table, (from, to), true, visit)
    }
}

impl Shared {
    fn table(&self, table: Table) -> &ColumnFamily {
        self.db.cf_handle(table.name()).expect("every table was opened with the store")
    }

    fn scan(
        &self,
        mut options: ReadOptions,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        back: bool,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        options.set_iterate_lower_bound(from);
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let mut records = self.db.raw_iterator_cf_opt(self.table(table), options);
        if back {
            records.seek_to_last()
        } else {
            records.seek_to_first()
        }
        while let Some((key, value)) = records.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            if back { records.prev() } else { records.next() }
        }
        // An iterator also ends where it failed.
        records.status().map_err(StorageFault::engine("scan a table"))
    }
}
