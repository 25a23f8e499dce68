//! Contract code by hash, shared by all versions of the state.
//!
//! Sharing is safe because an entry is named by the keccak of its bytes: two versions that both know a hash can only
//! mean the same bytes, and having code here gives it to no account; only an account's `code_hash`, which belongs to a
//! version, does. So nothing is ever undone on a reorg, and the table of codes only grows.
//!
//! Codes of a version that is in no batch yet travel with that version ([`FreshCodes`]) and vanish with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY};
use lattice_storage::{Kv, StorageFault, Table};

/// Bytes of code kept in memory before the oldest are left to the store.
const CACHED_BYTES_MAX: usize = 64 << 20;

/// Codes that a version brought and no layer has taken over yet, on top of those of the version it came from.
#[derive(Debug)]
pub(crate) struct FreshCodes {
    codes: BTreeMap<B256, Bytes>,
    earlier: Option<Arc<FreshCodes>>,
}

impl FreshCodes {
    /// `codes` on top of `earlier`; adds no link when there are none.
    pub(crate) fn stack(codes: &BTreeMap<B256, Bytes>, earlier: Option<Arc<Self>>) -> Option<Arc<Self>> {
        if codes.is_empty() {
            return earlier;
        }
        Some(Arc::new(Self { codes: codes.clone(), earlier }))
    }

    fn code(&self, hash: &B256) -> Option<&Bytes> {
        let mut fresh = Some(self);
        while let Some(FreshCodes { codes, earlier }) = fresh {
            if let Some(code) = codes.get(hash) {
                return Some(code);
            }
            fresh = earlier.as_deref();
        }
        None
    }
}

/// The codes in the store, with a cache in front.
pub(crate) struct CodeStore {
    kv: Option<Arc<dyn Kv>>,
    cache: Mutex<Cache>,
    cached_bytes_max: usize,
}

#[derive(Default)]
struct Cache {
    codes: BTreeMap<B256, Bytes>,
    /// Hashes in the order they came.
    order: VecDeque<B256>,
    bytes: usize,
}

impl CodeStore {
    /// Codes of `kv`; without one, nothing but the empty code is known.
    pub(crate) fn new(kv: Option<Arc<dyn Kv>>) -> Self {
        Self { kv, cache: Mutex::default(), cached_bytes_max: CACHED_BYTES_MAX }
    }

    /// The code under `hash`, from `fresh`, the cache or the store.
    pub(crate) fn code(&self, hash: &B256, fresh: Option<&FreshCodes>) -> Result<Option<Bytes>, StorageFault> {
        if *hash == KECCAK256_EMPTY {
            return Ok(Some(Bytes::new()));
        }
        if let Some(code) = fresh.and_then(|fresh| fresh.code(hash)) {
            return Ok(Some(code.clone()));
        }
        if let Some(code) = self.cache().codes.get(hash) {
            return Ok(Some(code.clone()));
        }
        let Some(kv) = &self.kv else {
            return Ok(None);
        };
        let Some(code) = kv.get(Table::Code, hash.as_slice())?.map(Bytes::from) else {
            return Ok(None);
        };
        self.keep(*hash, code.clone())?;
        Ok(Some(code))
    }

    /// Adds a code that the batch at hand writes, or that was just read.
    pub(crate) fn keep(&self, hash: B256, code: Bytes) -> Result<(), StorageFault> {
        let mut cache = self.cache();
        let len = code.len();
        if cache.codes.insert(hash, code).is_some() {
            return Ok(());
        }
        cache.order.push_back(hash);
        cache.bytes += len;
        while cache.bytes > self.cached_bytes_max {
            let Some(oldest) = cache.order.pop_front() else {
                break;
            };
            // The batch that writes a code may still be open: such a code is not let go.
            let stored = match &self.kv {
                Some(kv) => kv.get(Table::Code, oldest.as_slice())?.is_some(),
                None => false,
            };
            if !stored {
                cache.order.push_front(oldest);
                break;
            }
            if let Some(code) = cache.codes.remove(&oldest) {
                cache.bytes -= code.len();
            }
        }
        Ok(())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Every change leaves the cache usable, so a reader that panicked does no harm.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloy_primitives::keccak256;
    use lattice_storage::{Batch, MemoryKv};

    use super::*;

    fn store(kv: &MemoryKv, cached_bytes_max: usize) -> CodeStore {
        CodeStore { cached_bytes_max, ..CodeStore::new(Some(Arc::new(kv.clone()))) }
    }

    fn codes() -> Vec<(B256, Bytes)> {
        (0..10_u8).map(|seed| Bytes::from(vec![seed; 10])).map(|code| (keccak256(&code), code)).collect()
    }

    #[test]
    fn stored_codes_leave_the_cache_and_come_back() {
        let kv = MemoryKv::new();
        let mut batch = Batch::new();
        for (hash, code) in codes() {
            batch.put(Table::Code, hash.as_slice(), code.to_vec());
        }
        kv.write(batch).unwrap();
        let store = store(&kv, 35);
        for _ in 0..2 {
            for (hash, code) in codes() {
                assert_eq!(store.code(&hash, None).unwrap(), Some(code));
                let cache = store.cache();
                assert!(cache.bytes <= 35);
                assert_eq!(cache.codes.len(), cache.order.len());
            }
        }
        assert_eq!(store.cache().codes.len(), 3);
    }

    #[test]
    fn codes_of_an_open_batch_are_kept_beyond_the_bound() {
        let kv = MemoryKv::new();
        let store = store(&kv, 35);
        for (hash, code) in codes() {
            store.keep(hash, code).unwrap();
        }
        for (hash, code) in codes() {
            assert_eq!(store.code(&hash, None).unwrap(), Some(code));
        }
    }

    #[test]
    fn fresh_codes_stack() {
        let codes = codes();
        let (first, second) = (&codes[0], &codes[1]);
        let below = FreshCodes::stack(&[first.clone()].into(), None);
        let same = FreshCodes::stack(&BTreeMap::new(), below.clone());
        assert!(Arc::ptr_eq(below.as_ref().unwrap(), same.as_ref().unwrap()));
        let above = FreshCodes::stack(&[second.clone()].into(), below.clone()).unwrap();
        assert_eq!(above.code(&first.0), Some(&first.1));
        assert_eq!(above.code(&second.0), Some(&second.1));
        assert_eq!(below.unwrap().code(&second.0), None);
    }
}
