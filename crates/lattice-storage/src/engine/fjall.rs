//! The default engine: fjall, a log-structured merge tree in pure Rust.
//!
//! Layout of a data directory: `FORMAT` (the layout's version), `LOCK` (held while a process has it open, naming it) and
//! `kv/` (the engine's own files, one of its keyspaces a [`Table`]). All keyspaces share one journal, so a batch
//! across tables is one journal record with a checksum: found whole at recovery or cut off.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Write},
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::{Batch, Kv, KvRead, StorageFault, Table, Visitor};

/// Version of the layout of all tables together. Raise it with every change that older data does not satisfy.
pub const FORMAT_VERSION: u32 = 3;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORDS: &str = "lattice storage format ";
const LOCK_FILE: &str = "LOCK";
const ENGINE_DIR: &str = "kv";
const ENGINE_DIR_NEW: &str = "kv.new";

/// Block cache shared by all tables, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
/// Unflushed writes a table keeps in memory, in bytes.
const MEMTABLE_BYTES: u64 = 16 << 20;

/// A [`Kv`] in a directory of the disk.
pub struct FjallKv {
    shared: Arc<Shared>,
}

struct Shared {
    tables: Vec<Keyspace>,
    db: Database,
    path: PathBuf,
    // Declared last: the directory is free for others only after the engine has closed.
    _lock: File,
}

impl std::fmt::Debug for FjallKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallKv").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl FjallKv {
    /// Opens the store in a data directory, creating it when it is not there.
    ///
    /// Errors: [`StorageFault::Locked`] while another process (or another handle of this one) has it open,
    /// [`StorageFault::Format`] when the data has another layout, and faults of the disk.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageFault> {
        let path = path.as_ref();
        fs::create_dir_all(path).map_err(StorageFault::io("create the data directory", path))?;
        let lock = lock(path)?;
        let engine_dir = path.join(ENGINE_DIR);
        let is_new = !engine_dir.try_exists().map_err(StorageFault::io("look at", &engine_dir))?;
        check_format(path, is_new)?;
        if is_new {
            create_engine(path)?;
        }
        let (db, tables) = open_engine(&engine_dir)?;
        Ok(Self { shared: Arc::new(Shared { tables, db, path: path.to_path_buf(), _lock: lock }) })
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Bytes that the files of one table take on disk, without what is still in the journal only.
    pub fn table_disk_bytes(&self, table: Table) -> u64 {
        self.shared.tables[table.index()].disk_space()
    }

    /// Merges all files of a table, so that removed and replaced records give their room back. Takes the time of reading
    /// and writing the table once.
    pub fn compact(&self, table: Table) -> Result<(), StorageFault> {
        let keyspace = &self.shared.tables[table.index()];
        keyspace.rotate_memtable_and_wait().map_err(StorageFault::engine("flush a table"))?;
        keyspace.major_compact().map_err(StorageFault::engine("compact a table"))
    }

    /// Bytes the engine's files take on disk.
    pub fn disk_bytes(&self) -> Result<u64, StorageFault> {
        self.shared.db.disk_space().map_err(StorageFault::engine("measure its files"))
    }
}

/// Takes the lock file, or tells who has it.
fn lock(path: &Path) -> Result<File, StorageFault> {
    let file_path = path.join(LOCK_FILE);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file_path)
        .map_err(StorageFault::io("open the lock file", &file_path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: a lock file that cannot be read is still a held lock.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "unknown process" } else { holder.trim() };
            return Err(StorageFault::Locked { path: path.to_path_buf(), holder: holder.to_string() });
        }
        Err(TryLockError::Error(source)) => {
            return Err(StorageFault::io("lock", &file_path)(source));
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "process {}", std::process::id()))
        .map_err(StorageFault::io("write the lock file", &file_path))?;
    Ok(file)
}

/// Compares the format file with our version; a new directory gets one.
fn check_format(path: &Path, is_new: bool) -> Result<(), StorageFault> {
    let file_path = path.join(FORMAT_FILE);
    let wrong = |found: String| StorageFault::Format { path: path.to_path_buf(), found, expected: FORMAT_VERSION };
    match fs::read_to_string(&file_path) {
        Ok(text) => {
            let found = text.trim();
            match found.strip_prefix(FORMAT_WORDS) {
                Some(version) if version.parse() == Ok(FORMAT_VERSION) => Ok(()),
                Some(version) => Err(wrong(version.to_string())),
                None => Err(wrong(format!("{:?}", found.chars().take(40).collect::<String>()))),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_new => {
            let text = format!("{FORMAT_WORDS}{FORMAT_VERSION}\n");
            super::write_atomically(&file_path, &path.join("FORMAT.new"), text.as_bytes())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(wrong("none (no FORMAT file)".to_string())),
        Err(source) => Err(StorageFault::io("read", &file_path)(source)),
    }
}

/// Builds an empty engine beside its place and moves it there, so that a kill during the very first start leaves no
/// half-made engine behind.
fn create_engine(path: &Path) -> Result<(), StorageFault> {
    let building = path.join(ENGINE_DIR_NEW);
    if building.try_exists().map_err(StorageFault::io("look at", &building))? {
        fs::remove_dir_all(&building).map_err(StorageFault::io("remove the unfinished", &building))?;
    }
    let (db, tables) = open_engine(&building)?;
    db.persist(PersistMode::SyncAll).map_err(StorageFault::engine("sync its first journal"))?;
    drop(tables);
    drop(db);
    let engine_dir = path.join(ENGINE_DIR);
    fs::rename(&building, &engine_dir).map_err(StorageFault::io("move into place", &engine_dir))?;
    super::sync_dir(path)
}

fn open_engine(dir: &Path) -> Result<(Database, Vec<Keyspace>), StorageFault> {
    let db =
        Database::builder(dir).cache_size(CACHE_BYTES).open().map_err(StorageFault::engine("open the data files"))?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let tables = Table::ALL
        .into_iter()
        .map(|table| db.keyspace(table.name(), options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StorageFault::engine("open a table"))?;
    Ok((db, tables))
}

impl KvRead for FjallKv {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        let value = self.shared.tables[table.index()].get(key).map_err(StorageFault::engine("read a record"))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        self.shared.scan(&self.shared.db.snapshot(), table, (from, to), false, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        self.shared.scan(&self.shared.db.snapshot(), table, (from, to), true, visit)
    }
}

impl Kv for FjallKv {
    fn write(&self, batch: Batch) -> Result<(), StorageFault> {
        // A fjall batch hands its journal record to the operating system before it returns (PersistMode::Buffer).
        let mut engine_batch = self.shared.db.batch().durability(Some(PersistMode::Buffer));
        for op in batch.into_ops() {
            let table = &self.shared.tables[op.table.index()];
            match op.value {
                Some(value) => engine_batch.insert(table, op.key, value),
                None => engine_batch.remove(table, op.key),
            }
        }
        engine_batch.commit().map_err(StorageFault::engine("write a batch"))
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(FjallSnapshot { snapshot: self.shared.db.snapshot(), shared: Arc::clone(&self.shared) })
    }

    fn sync(&self) -> Result<(), StorageFault> {
        self.shared.db.persist(PersistMode::SyncAll).map_err(StorageFault::engine("sync the journal"))
    }
}

/// One moment of all tables. Holds the store open.
struct FjallSnapshot {
    snapshot: Snapshot,
    shared: Arc<Shared>,
}

impl KvRead for FjallSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        let value = self
            .snapshot
            .get(&self.shared.tables[table.index()], key)
            .map_err(StorageFault::engine("read a record"))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        self.shared.scan(&self.snapshot, table, (from, to), false, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        self.shared.scan(&self.snapshot, table, (from, to), true, visit)
    }
}

impl Shared {
    fn scan(
        &self,
        snapshot: &Snapshot,
        table: Table,
        (from, to): (&[u8], Option<&[u8]>),
        back: bool,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let mut records = snapshot.range::<&[u8], _>(&self.tables[table.index()], range);
        let mut next = || {
            if back { records.next_back() } else { records.next() }
        };
        while let Some((key, value)) =
            next().map(Guard::into_inner).transpose().map_err(StorageFault::engine("scan a table"))?
        {
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
