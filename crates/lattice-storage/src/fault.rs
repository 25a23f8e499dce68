//! What can go wrong with the node's own disk.

use std::path::PathBuf;

use crate::{Engine, Table};

/// A fault of this node: its disk, its data directory or a bug. Never the doing of a peer, so the node stops instead of
/// guessing.
#[derive(Debug, thiserror::Error)]
pub enum StorageFault {
    /// Another process has the data directory open.
    #[error("data directory {path} is in use by another process ({holder}); stop it or choose another directory")]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// What the lock file says about the process that holds it.
        holder: String,
    },
    /// The data was written by a version with another layout.
    #[error(
        "data directory {path} has storage format {found}, this program reads format {expected}; \
         use the matching program version, or another directory to synchronise anew"
    )]
    Format {
        /// The data directory.
        path: PathBuf,
        /// The format the directory names.
        found: String,
        /// The format this program reads.
        expected: u32,
    },
    /// Another engine made the store.
    #[error("data directory {path} was made by the storage engine {found}, not by {asked}")]
    OtherEngine {
        /// The data directory.
        path: PathBuf,
        /// The engine that the directory names.
        found: String,
        /// The engine that was to open it.
        asked: Engine,
    },
    /// This program was built without the engine.
    #[error("this program was built without the storage engine {0}")]
    NotBuilt(Engine),
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The storage engine failed.
    #[error("the storage engine failed to {action}: {source}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// The engine's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored record does not decode or contradicts another one.
    #[error("corrupt record in table {}: {reason}; restore the data directory or synchronise anew", table.name())]
    Corrupt {
        /// Where.
        table: Table,
        /// What is wrong with which record.
        reason: String,
    },
    /// A stored artifact chunk is not what its name says.
    #[error("artifact file {path} is corrupt: {reason}; delete it and it will be fetched again")]
    CorruptArtifact {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A fault that a test ordered ([`crate::FaultyKv`]).
    #[error("injected fault at write {0}")]
    Injected(u64),
}

impl StorageFault {
    /// For `map_err` on a file operation.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on an engine's operation.
    pub(crate) fn engine<E>(action: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Engine { action, source: Box::new(source) }
    }

    /// A record that does not decode.
    pub fn corrupt(table: Table, reason: impl Into<String>) -> Self {
        Self::Corrupt { table, reason: reason.into() }
    }
}
