//! Which writes a power cut could still take.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::StorageFault;

/// Counts a store's batches, so that a sync without a batch before it costs nothing: an idle node lets its disk rest.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    written: AtomicU64,
    /// How many of the written batches are synced. Held during a sync: one that finds nothing to do has waited for the
    /// one that did it.
    synced: Mutex<u64>,
}

impl Unsynced {
    /// Notes a batch that the engine has taken.
    pub fn note_batch(&self) {
        self.written.fetch_add(1, Ordering::SeqCst);
    }

    /// Runs the engine's sync when a batch was noted since the last one that succeeded.
    pub fn sync(&self, engine_sync: impl FnOnce() -> Result<(), StorageFault>) -> Result<(), StorageFault> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the sync: what is written meanwhile may or may not be in it.
        let written = self.written.load(Ordering::SeqCst);
        if *synced < written {
            engine_sync()?;
            *synced = written;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_batches_are_synced_and_a_failed_sync_is_owed() {
        let unsynced = Unsynced::default();
        let refuse = || Err(StorageFault::Injected(0));
        assert!(unsynced.sync(refuse).is_ok(), "there is nothing to sync");
        unsynced.note_batch();
        assert!(unsynced.sync(refuse).is_err());
        assert!(unsynced.sync(refuse).is_err(), "a failed sync is owed");
        unsynced
            .sync(|| {
                unsynced.note_batch();
                Ok(())
            })
            .expect("the engine's sync succeeds");
        assert!(unsynced.sync(refuse).is_err(), "a batch during the sync is not in it");
        unsynced.sync(|| Ok(())).expect("the engine's sync succeeds");
        assert!(unsynced.sync(refuse).is_ok());
    }
}
