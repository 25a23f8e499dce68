//! A store that fails on order, for tests of what comes after a failure.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{Batch, Kv, KvRead, StorageFault, Table, Visitor};

/// What happens at the ordered write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// This write and all later ones are refused and leave nothing behind: a full or dead disk.
    Refuse,
    /// The write is applied, but reported as failed, and all later ones are refused: the error came after the data.
    RefuseAfter,
    /// The write is acknowledged but lost, later ones go through: a lying disk.
    Lose,
}

/// A [`Kv`] over another one that misbehaves at the n-th write (counted from 1).
#[derive(Debug)]
pub struct FaultyKv<K> {
    inner: K,
    kind: FaultKind,
    at: u64,
    writes: AtomicU64,
}

impl<K: Kv> FaultyKv<K> {
    /// Misbehaves in the way of `kind` at write number `at`, counted from 1; 0 never.
    pub const fn new(inner: K, kind: FaultKind, at: u64) -> Self {
        Self { inner, kind, at, writes: AtomicU64::new(0) }
    }

    /// Writes tried so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// The store beneath, as a restart would find it.
    pub fn into_inner(self) -> K {
        self.inner
    }
}

impl<K: Kv> KvRead for FaultyKv<K> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        self.inner.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        self.inner.scan(table, from, to, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        self.inner.scan_back(table, from, to, visit)
    }
}

impl<K: Kv> Kv for FaultyKv<K> {
    fn write(&self, batch: Batch) -> Result<(), StorageFault> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let reached = self.at != 0 && number >= self.at;
        match self.kind {
            FaultKind::Refuse if reached => Err(StorageFault::Injected(number)),
            FaultKind::RefuseAfter if reached => {
                if number == self.at {
                    self.inner.write(batch)?;
                }
                Err(StorageFault::Injected(number))
            }
            FaultKind::Lose if number == self.at => Ok(()),
            _ => self.inner.write(batch),
        }
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        self.inner.snapshot()
    }

    fn sync(&self) -> Result<(), StorageFault> {
        self.inner.sync()
    }
}
