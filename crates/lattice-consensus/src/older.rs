//! Records of blocks that are no longer in memory: read on demand, cached within a bound.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lattice_storage::{KvRead, StorageFault, Table};
use rustc_hash::FxHashMap;

/// What a table keeps of a block, by its insertion index.
pub(crate) trait Record: Sized {
    /// The table; its keys are insertion indices, 8 bytes big-endian.
    const TABLE: Table;

    /// The record of block `index`; none when the bytes are no such record.
    fn decode(index: u64, bytes: &[u8]) -> Option<Self>;
}

/// A record in memory, or one that was read.
#[derive(Debug)]
pub(crate) enum Held<'a, T> {
    Resident(&'a T),
    Loaded(Arc<T>),
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Resident(record) => record,
            Self::Loaded(record) => record,
        }
    }
}

/// Reads records from a store. The cache has two generations: what is asked for moves to the younger one, and when that
/// is full the elder one is dropped.
pub(crate) struct Older<T> {
    kv: Arc<dyn KvRead>,
    /// Records a generation may hold.
    generation_max: usize,
    cache: Mutex<Generations<T>>,
}

struct Generations<T> {
    younger: FxHashMap<u64, Arc<T>>,
    elder: FxHashMap<u64, Arc<T>>,
}

impl<T> Default for Generations<T> {
    fn default() -> Self {
        Self { younger: FxHashMap::default(), elder: FxHashMap::default() }
    }
}

impl<T> Clone for Older<T> {
    fn clone(&self) -> Self {
        Self { kv: self.kv.clone(), generation_max: self.generation_max, cache: Mutex::default() }
    }
}

impl<T> fmt::Debug for Older<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Older").field("generation_max", &self.generation_max).finish_non_exhaustive()
    }
}

impl<T: Record> Older<T> {
    /// At most `cached` records are held.
    pub(crate) fn new(kv: Arc<dyn KvRead>, cached: usize) -> Self {
        Self { kv, generation_max: (cached / 2).max(1), cache: Mutex::default() }
    }

    pub(crate) fn kv(&self) -> &dyn KvRead {
        &*self.kv
    }

    /// The record of a block; none when there is none.
    pub(crate) fn load(&self, index: u64) -> Result<Option<Arc<T>>, StorageFault> {
        if let Some(found) = self.lock().touch(index, self.generation_max) {
            return Ok(Some(found));
        }
        let Some(bytes) = self.kv.get(T::TABLE, &index.to_be_bytes())? else { return Ok(None) };
        let record = Arc::new(T::decode(index, &bytes).ok_or_else(|| undecodable::<T>(index))?);
        self.lock().put(index, record.clone(), self.generation_max);
        Ok(Some(record))
    }

    /// Takes in a record that the store has by now.
    pub(crate) fn keep(&self, index: u64, record: T) {
        let mut cache = self.lock();
        cache.elder.remove(&index);
        cache.put(index, Arc::new(record), self.generation_max);
    }

    /// Forgets a record that has changed or gone.
    pub(crate) fn forget(&self, index: u64) {
        let mut cache = self.lock();
        cache.younger.remove(&index);
        cache.elder.remove(&index);
    }

    // No code panics while it holds the lock; a cache would be right even then.
    fn lock(&self) -> MutexGuard<'_, Generations<T>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Generations<T> {
    fn touch(&mut self, index: u64, max: usize) -> Option<Arc<T>> {
        if let Some(found) = self.younger.get(&index) {
            return Some(found.clone());
        }
        let found = self.elder.remove(&index)?;
        self.put(index, found.clone(), max);
        Some(found)
    }

    fn put(&mut self, index: u64, record: Arc<T>, max: usize) {
        if self.younger.len() >= max {
            self.elder = std::mem::take(&mut self.younger);
        }
        self.younger.insert(index, record);
    }
}

/// The fault of a record that does not decode.
pub(crate) fn undecodable<T: Record>(index: u64) -> StorageFault {
    StorageFault::corrupt(T::TABLE, format!("the record of block number {index} does not decode"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lattice_storage::{Batch, Kv, MemoryKv};

    #[derive(Debug, PartialEq)]
    struct Byte(u8);

    impl Record for Byte {
        const TABLE: Table = Table::Ghostdag;

        fn decode(_: u64, bytes: &[u8]) -> Option<Self> {
            match bytes {
                [byte] => Some(Self(*byte)),
                _ => None,
            }
        }
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
        let kv = MemoryKv::new();
        let mut batch = Batch::new();
        for index in 0..100u64 {
            batch.put(Table::Ghostdag, index.to_be_bytes(), [index as u8]);
        }
        batch.put(Table::Ghostdag, 100u64.to_be_bytes(), [1, 2]);
        kv.write(batch).unwrap();
        let older = Older::<Byte>::new(Arc::new(kv.clone()), 8);
        for index in 0..100 {
            assert_eq!(*older.load(index).unwrap().unwrap(), Byte(index as u8));
            assert_eq!(*older.load(3).unwrap().unwrap(), Byte(3));
            let cache = older.lock();
            assert!(cache.younger.len() + cache.elder.len() <= 8);
            assert!(index < 3 || cache.younger.contains_key(&3) || cache.elder.contains_key(&3));
        }
        let mut batch = Batch::new();
        batch.put(Table::Ghostdag, 3u64.to_be_bytes(), [9]);
        kv.write(batch).unwrap();
        assert_eq!(*older.load(3).unwrap().unwrap(), Byte(3), "cached");
        older.forget(3);
        assert_eq!(*older.load(3).unwrap().unwrap(), Byte(9));
        assert!(older.load(101).unwrap().is_none());
        assert!(older.load(100).unwrap_err().to_string().contains("block number 100 does not decode"));
    }
}
