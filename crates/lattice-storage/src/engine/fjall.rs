//! The default engine: fjall, a log-structured merge tree in pure Rust.
//!
//! One of its keyspaces is a [`Table`]. All keyspaces share one journal, so a batch across tables is one journal record
//! with a checksum: found whole at recovery or cut off.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, ErrorKind},
    ops::Bound,
    path::Path,
    sync::Arc,
};

use ::fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{CACHE_BYTES, MEMTABLE_BYTES, directory::Directory, unsynced::Unsynced};
use crate::{Batch, DiskKv, Engine, Kv, KvRead, StorageFault, Table, Visitor};

/// Ending of the names of journal files, which lie in the engine's folder.
const JOURNAL_EXTENSION: &str = "jnl";

/// A [`Kv`] in a directory of the disk.
pub struct FjallKv {
    shared: Arc<Shared>,
}

struct Shared {
    tables: Vec<Keyspace>,
    db: Database,
    unsynced: Unsynced,
    // Declared last: the directory is free for others only after the engine has closed.
    directory: Directory,
}

impl std::fmt::Debug for FjallKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallKv").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl FjallKv {
    /// Opens the store in a data directory, creating it when it is not there.
    ///
    /// Errors: see [`Engine::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageFault> {
        let directory = Directory::claim(path.as_ref(), Engine::Fjall, create_engine)?;
        let (db, tables) = open_engine(&directory.engine_dir())?;
        Ok(Self { shared: Arc::new(Shared { tables, db, unsynced: Unsynced::default(), directory }) })
    }
}

impl DiskKv for FjallKv {
    fn engine(&self) -> Engine {
        Engine::Fjall
    }

    fn path(&self) -> &Path {
        self.shared.directory.path()
    }

    fn table_disk_bytes(&self, table: Table) -> Result<u64, StorageFault> {
        Ok(self.shared.tables[table.index()].disk_space())
    }

    fn disk_bytes(&self) -> Result<u64, StorageFault> {
        self.shared.db.disk_space().map_err(StorageFault::engine("measure its files"))
    }

    fn compact(&self, table: Table) -> Result<(), StorageFault> {
        let keyspace = &self.shared.tables[table.index()];
        keyspace.rotate_memtable_and_wait().map_err(StorageFault::engine("flush a table"))?;
        keyspace.major_compact().map_err(StorageFault::engine("compact a table"))
    }
}

fn create_engine(dir: &Path) -> Result<(), StorageFault> {
    let (db, _tables) = open_engine(dir)?;
    db.persist(PersistMode::SyncAll).map_err(StorageFault::engine("sync its first journal"))
}

fn open_engine(dir: &Path) -> Result<(Database, Vec<Keyspace>), StorageFault> {
    let db = Database::builder(dir)
        .cache_size(CACHE_BYTES as u64)
        .open()
        .map_err(StorageFault::engine("open the data files"))?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES as u64);
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
        engine_batch.commit().map_err(StorageFault::engine("write a batch"))?;
        self.shared.unsynced.note_batch();
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(FjallSnapshot { snapshot: self.shared.db.snapshot(), shared: Arc::clone(&self.shared) })
    }

    fn sync(&self) -> Result<(), StorageFault> {
        self.shared.unsynced.sync(|| {
            let dir = self.shared.directory.engine_dir();
            let synced = sync_journals(&dir).map_err(StorageFault::io("sync the journals in", &dir))?;
            if synced == 0 {
                // Another layout than the one above: the engine's own way, which keeps writers waiting.
                self.shared.db.persist(PersistMode::SyncAll).map_err(StorageFault::engine("sync the journal"))?;
            }
            Ok(())
        })
    }
}

/// Brings the journals in the engine's folder to the disk; returns how many there are.
///
/// fjall's own sync holds the journal's lock, so that every writer waits for the disk. Each batch has reached the
/// operating system when its write returns, so a second handle of the same files syncs it too, and writers go on.
/// A journal that the engine deletes meanwhile is one whose batches are all in synced table files.
fn sync_journals(dir: &Path) -> io::Result<usize> {
    let mut synced = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension() != Some(OsStr::new(JOURNAL_EXTENSION)) {
            continue;
        }
        match File::open(&path).and_then(|file| file.sync_all()) {
            Ok(()) => synced += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(synced)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn journals_are_where_the_sync_looks_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let kv = FjallKv::open(folder.path()).unwrap();
        assert!(sync_journals(&kv.shared.directory.engine_dir()).unwrap() >= 1);
    }
}
