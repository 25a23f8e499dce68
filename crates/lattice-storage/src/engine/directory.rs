//! The directory of a store, the same for every disk engine.
//!
//! Layout: `FORMAT` (the layout's version, and the engine unless it is fjall, which came first and has no name there),
//! `LOCK` (held while a process has the store open, naming it) and `kv/` (the engine's own files).

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use crate::{Engine, StorageFault};

/// Version of the layout of all tables together. Raise it with every change that older data does not satisfy.
pub const FORMAT_VERSION: u32 = 6;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORDS: &str = "lattice storage format ";
const ENGINE_WORDS: &str = ", engine ";
const LOCK_FILE: &str = "LOCK";
const ENGINE_DIR: &str = "kv";
const ENGINE_DIR_NEW: &str = "kv.new";

/// A store's directory, owned by this handle until it is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing alone would not do while a child of the process is being started: until it executes its own program it has
        // the file open, too. An error leaves the lock to the close.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Takes a directory for an engine, creating it when it is not there. `create` makes an empty engine in the folder
    /// it is given and closes it; it is called when the directory has none yet.
    pub fn claim(
        path: &Path,
        engine: Engine,
        create: impl FnOnce(&Path) -> Result<(), StorageFault>,
    ) -> Result<Self, StorageFault> {
        fs::create_dir_all(path).map_err(StorageFault::io("create the data directory", path))?;
        let directory = Self { path: path.to_path_buf(), lock: lock(path)? };
        let engine_dir = directory.engine_dir();
        let is_new = !engine_dir.try_exists().map_err(StorageFault::io("look at", &engine_dir))?;
        match engine_of(path)? {
            Some(found) if found == engine => {}
            Some(found) => return Err(other_engine(path, found.name(), engine)),
            None if is_new => write_format(path, engine)?,
            None => return Err(other_format(path, "none (no FORMAT file)".to_string())),
        }
        if is_new {
            directory.create_engine(create)?;
        }
        Ok(directory)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine keeps its files.
    pub fn engine_dir(&self) -> PathBuf {
        self.path.join(ENGINE_DIR)
    }

    /// Builds an empty engine beside its place and moves it there, so that a kill during the very first start leaves no
    /// half-made engine behind.
    fn create_engine(&self, create: impl FnOnce(&Path) -> Result<(), StorageFault>) -> Result<(), StorageFault> {
        let building = self.path.join(ENGINE_DIR_NEW);
        if building.try_exists().map_err(StorageFault::io("look at", &building))? {
            fs::remove_dir_all(&building).map_err(StorageFault::io("remove the unfinished", &building))?;
        }
        create(&building)?;
        let engine_dir = self.engine_dir();
        fs::rename(&building, &engine_dir).map_err(StorageFault::io("move into place", &engine_dir))?;
        super::sync_dir(&self.path)
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

/// The engine that the format file names; `None` without a format file.
pub(super) fn engine_of(path: &Path) -> Result<Option<Engine>, StorageFault> {
    let file_path = path.join(FORMAT_FILE);
    let text = match fs::read_to_string(&file_path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StorageFault::io("read", &file_path)(source)),
    };
    let text = text.trim();
    let Some(found) = text.strip_prefix(FORMAT_WORDS) else {
        return Err(other_format(path, format!("{:?}", text.chars().take(40).collect::<String>())));
    };
    let (version, name) = found.split_once(ENGINE_WORDS).unwrap_or((found, Engine::Fjall.name()));
    if version.parse() != Ok(FORMAT_VERSION) {
        return Err(other_format(path, version.to_string()));
    }
    match Engine::ALL.into_iter().find(|engine| engine.name() == name) {
        Some(engine) => Ok(Some(engine)),
        None => Err(other_engine(path, name, Engine::default())),
    }
}

fn write_format(path: &Path, engine: Engine) -> Result<(), StorageFault> {
    let engine = match engine {
        Engine::Fjall => String::new(),
        other => format!("{ENGINE_WORDS}{other}"),
    };
    let text = format!("{FORMAT_WORDS}{FORMAT_VERSION}{engine}\n");
    super::write_atomically(&path.join(FORMAT_FILE), &path.join("FORMAT.new"), text.as_bytes())
}

fn other_format(path: &Path, found: String) -> StorageFault {
    StorageFault::Format { path: path.to_path_buf(), found, expected: FORMAT_VERSION }
}

fn other_engine(path: &Path, found: &str, asked: Engine) -> StorageFault {
    StorageFault::OtherEngine { path: path.to_path_buf(), found: found.to_string(), asked }
}
