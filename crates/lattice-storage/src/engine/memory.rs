//! A store in memory, for tests and the simulator.
//!
//! Multi-version: every record keeps the versions that some live snapshot can still see, so a snapshot costs nothing to
//! take and writes after it do not copy the store.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{Batch, Kv, KvRead, StorageFault, Table, Visitor};

/// Records copied out under one lock during a scan; the visitor runs without the lock so that it may read again.
const SCAN_CHUNK: usize = 64;

/// An in-memory [`Kv`]. A clone is another handle on the same store: dropping one and using the other is a restart.
#[derive(Debug, Clone, Default)]
pub struct MemoryKv {
    shared: Arc<RwLock<Store>>,
}

impl MemoryKv {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records in a table.
    pub fn table_len(&self, table: Table) -> usize {
        read(&self.shared).tables[table.index()].values().filter(|versions| versions.newest().is_some()).count()
    }

    fn open_snapshot(&self) -> MemorySnapshot {
        let mut store = write(&self.shared);
        let moment = store.moment;
        *store.live.entry(moment).or_default() += 1;
        MemorySnapshot { shared: Arc::clone(&self.shared), moment }
    }
}

impl KvRead for MemoryKv {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        let store = read(&self.shared);
        Ok(store.tables[table.index()].get(key).and_then(|versions| versions.newest().map(<[u8]>::to_vec)))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        self.open_snapshot().scan(table, from, to, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        self.open_snapshot().scan_back(table, from, to, visit)
    }
}

impl Kv for MemoryKv {
    fn write(&self, batch: Batch) -> Result<(), StorageFault> {
        write(&self.shared).apply(batch);
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(self.open_snapshot())
    }

    fn sync(&self) -> Result<(), StorageFault> {
        Ok(())
    }
}

/// The store at one moment; registered so that its versions are kept.
struct MemorySnapshot {
    shared: Arc<RwLock<Store>>,
    moment: u64,
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        let mut store = write(&self.shared);
        if let Some(holders) = store.live.get_mut(&self.moment) {
            *holders -= 1;
            if *holders == 0 {
                store.live.remove(&self.moment);
            }
        }
    }
}

impl MemorySnapshot {
    /// The next records of a scan from either end, copied out under the lock.
    fn chunk(&self, table: Table, range: (Bound<&[u8]>, Bound<&[u8]>), back: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let store = read(&self.shared);
        let seen = |(key, versions): (&Vec<u8>, &Versions)| Some((key.clone(), versions.at(self.moment)?.to_vec()));
        let records = store.tables[table.index()].range::<[u8], _>(range);
        if back {
            records.rev().filter_map(seen).take(SCAN_CHUNK).collect()
        } else {
            records.filter_map(seen).take(SCAN_CHUNK).collect()
        }
    }
}

impl KvRead for MemorySnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        let store = read(&self.shared);
        Ok(store.tables[table.index()].get(key).and_then(|versions| versions.at(self.moment).map(<[u8]>::to_vec)))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut records = self.chunk(table, (Bound::Included(from), end), false);
        while let Some((last, _)) = records.last().cloned() {
            for (key, value) in &records {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            // The bounds (x, x) would be refused by the map.
            if to.is_some_and(|to| to <= last.as_slice()) {
                break;
            }
            records = self.chunk(table, (Bound::Excluded(&last), end), false);
        }
        Ok(())
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let start = Bound::Included(from);
        let mut records = self.chunk(table, (start, to.map_or(Bound::Unbounded, Bound::Excluded)), true);
        while let Some((last, _)) = records.last().cloned() {
            for (key, value) in &records {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            records = self.chunk(table, (start, Bound::Excluded(&last)), true);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Store {
    tables: [BTreeMap<Vec<u8>, Versions>; Table::ALL.len()],
    /// Batches written so far: the time of this store.
    moment: u64,
    /// Moments that snapshots hold, with how many hold each.
    live: BTreeMap<u64, usize>,
    /// Records with more than one version, by the moment from which on nobody needs the older ones.
    stale: VecDeque<(u64, Table, Vec<u8>)>,
}

impl Store {
    fn apply(&mut self, batch: Batch) {
        self.moment += 1;
        for op in batch.into_ops() {
            let versions = self.tables[op.table.index()].entry(op.key.clone()).or_default();
            versions.0.push((self.moment, op.value));
            self.stale.push_back((self.moment, op.table, op.key));
        }
        let oldest = self.live.keys().next().copied().unwrap_or(self.moment);
        while self.stale.front().is_some_and(|(moment, ..)| *moment <= oldest) {
            let Some((moment, table, key)) = self.stale.pop_front() else {
                break;
            };
            let records = &mut self.tables[table.index()];
            if let Some(versions) = records.get_mut(&key) {
                versions.drop_before(moment);
                if matches!(versions.0.as_slice(), [(_, None)]) {
                    records.remove(&key);
                }
            }
        }
    }
}

/// Versions of one record, oldest first: (moment, value or none when deleted).
#[derive(Debug, Default)]
struct Versions(Vec<(u64, Option<Vec<u8>>)>);

impl Versions {
    fn newest(&self) -> Option<&[u8]> {
        self.0.last()?.1.as_deref()
    }

    fn at(&self, moment: u64) -> Option<&[u8]> {
        self.0.iter().rev().find(|(written, _)| *written <= moment)?.1.as_deref()
    }

    /// Drops what only readers before `moment` could see.
    fn drop_before(&mut self, moment: u64) {
        let keep_from = self.0.iter().rposition(|(written, _)| *written <= moment).unwrap_or(0);
        self.0.drain(..keep_from);
    }
}

// A panic while the lock is held can only come from a failed allocation; the maps stay whole, so poison is ignored.
fn read(shared: &RwLock<Store>) -> RwLockReadGuard<'_, Store> {
    shared.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shared: &RwLock<Store>) -> RwLockWriteGuard<'_, Store> {
    shared.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_live_only_as_long_as_a_snapshot_needs_them() {
        let kv = MemoryKv::new();
        let put = |value: u8| {
            let mut batch = Batch::new();
            batch.put(Table::Meta, *b"key", [value]);
            kv.write(batch).expect("memory writes do not fail");
        };
        let versions = || read(&kv.shared).tables[Table::Meta.index()].get(b"key".as_slice()).map_or(0, |v| v.0.len());
        put(1);
        put(2);
        assert_eq!(versions(), 1);
        let snapshot = kv.snapshot();
        put(3);
        put(4);
        assert_eq!(versions(), 3);
        drop(snapshot);
        put(5);
        assert_eq!(versions(), 1);
        let mut batch = Batch::new();
        batch.delete(Table::Meta, *b"key");
        kv.write(batch).expect("memory writes do not fail");
        assert_eq!(versions(), 0);
    }
}
