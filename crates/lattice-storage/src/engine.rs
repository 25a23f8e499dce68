//! The engines behind [`crate::Kv`]: fjall on disk, memory and faults for tests. One conformance suite runs on each.

mod faulty;
mod fjall;
mod memory;

use std::{fs, io::Write, path::Path};

use crate::StorageFault;

pub use self::fjall::{FORMAT_VERSION, FjallKv};
pub use faulty::{FaultKind, FaultyKv};
pub use memory::MemoryKv;

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
