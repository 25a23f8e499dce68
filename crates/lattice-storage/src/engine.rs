//! The engines behind [`crate::Kv`]: fjall and RocksDB on disk, memory and faults for tests. One conformance suite runs
//! on each.

mod directory;
mod faulty;
mod fjall;
mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;
mod unsynced;

use std::{fs, io::Write, path::Path, sync::Arc};

use crate::{Kv, StorageFault, Table};

pub use self::fjall::FjallKv;
pub use directory::FORMAT_VERSION;
pub use faulty::{FaultKind, FaultyKv};
pub use memory::MemoryKv;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksKv;

/// Block cache shared by all tables of a disk engine, in bytes.
const CACHE_BYTES: usize = 64 << 20;
/// Unflushed writes that a disk engine keeps in memory for a table, in bytes.
const MEMTABLE_BYTES: usize = 16 << 20;

/// An engine that keeps a store on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// fjall, in pure Rust: part of every build.
    #[default]
    Fjall,
    /// RocksDB, in C++: part of builds with the feature `rocksdb`.
    RocksDb,
}

impl Engine {
    /// Every engine, built in or not.
    pub const ALL: [Self; 2] = [Self::Fjall, Self::RocksDb];

    /// The name in commands and in data directories. A name on disk is forever.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fjall => "fjall",
            Self::RocksDb => "rocksdb",
        }
    }

    /// Whether this program can open stores of the engine.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Fjall => true,
            Self::RocksDb => cfg!(feature = "rocksdb"),
        }
    }

    /// The engine that made the store in a directory; `None` when there is no store. Looking changes nothing.
    ///
    /// Errors: [`StorageFault::Format`] when the store has another layout, [`StorageFault::OtherEngine`] when an
    /// engine made it that this program does not know, and faults of the disk.
    pub fn of_dir(path: impl AsRef<Path>) -> Result<Option<Self>, StorageFault> {
        directory::engine_of(path.as_ref())
    }

    /// Opens the store in a directory, creating it when it is not there.
    ///
    /// Errors: [`StorageFault::NotBuilt`] when this program lacks the engine, [`StorageFault::Locked`] while another
    /// process (or another handle of this one) has the store open, [`StorageFault::OtherEngine`] when another engine
    /// made it, [`StorageFault::Format`] when it has another layout, and faults of the disk.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Arc<dyn DiskKv>, StorageFault> {
        match self {
            Self::Fjall => Ok(Arc::new(FjallKv::open(path)?)),
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Ok(Arc::new(RocksKv::open(path)?)),
            #[cfg(not(feature = "rocksdb"))]
            Self::RocksDb => Err(StorageFault::NotBuilt(self)),
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A [`Kv`] in a directory, and what its operator asks about the files.
pub trait DiskKv: Kv + std::fmt::Debug {
    /// The engine.
    fn engine(&self) -> Engine;

    /// The store's directory.
    fn path(&self) -> &Path;

    /// Bytes that the files of one table take, without what only the log (fjall's journal, RocksDB's WAL) has yet.
    fn table_disk_bytes(&self, table: Table) -> Result<u64, StorageFault>;

    /// Bytes that all files of the engine take, the log included.
    fn disk_bytes(&self) -> Result<u64, StorageFault>;

    /// Merges all files of a table, so that removed and replaced records give their room back. Takes the time of reading
    /// and writing the table once.
    fn compact(&self, table: Table) -> Result<(), StorageFault>;
}

/// Writes a file that is whole or absent after any crash: its bytes reach the disk under another name first.
pub(crate) fn write_atomically(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), StorageFault> {
    let mut file = fs::File::create(temporary).map_err(StorageFault::io("create", temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(StorageFault::io("write", temporary))?;
    fs::rename(temporary, path).map_err(StorageFault::io("move into place", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes renames inside a folder survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageFault> {
    fs::File::open(dir).and_then(|handle| handle.sync_all()).map_err(StorageFault::io("sync the folder", dir))
}
