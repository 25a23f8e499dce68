//! The thread that bounds what a power cut may take.
//!
//! A batch has reached the operating system when its write returns, which is all that the chain's thread waits for. This
//! thread brings it to the disk soon afterwards, beside the writers. See `docs/decisions/0003-durability.md`.

use lattice_storage::{Kv, StorageFault};
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

/// Syncs the stores once an interval until the channel is closed. Without a write since the last time the disk rests.
///
/// # Errors
/// When the disk refuses: what it has is not known then, so the node must stop.
pub fn run<K: Kv>(stores: &[K], interval: Duration, stopped: &Receiver<()>) -> Result<(), StorageFault> {
    let mut slow = false;
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let started = Instant::now();
        stores.iter().try_for_each(Kv::sync)?;
        let took = started.elapsed();
        tracing::debug!("synced the store in {took:?}");
        // Once a slow time, not once a second of it.
        if took > interval && !slow {
            tracing::warn!(
                "the disk takes {took:?} to sync the store: a power cut may cost that much more than the interval"
            );
        }
        slow = took > interval;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use lattice_storage::{Batch, KvRead, MemoryKv, Table, Visitor};
    use std::sync::{Arc, mpsc};

    /// A store whose syncs are counted by a channel, and refused from the third on.
    struct Watched {
        inner: MemoryKv,
        syncs: mpsc::Sender<u64>,
        count: std::sync::atomic::AtomicU64,
    }

    impl KvRead for Watched {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
            self.inner.get(table, key)
        }

        fn scan(&self, t: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
            self.inner.scan(t, from, to, visit)
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

    impl Kv for Watched {
        fn write(&self, batch: Batch) -> Result<(), StorageFault> {
            self.inner.write(batch)
        }

        fn snapshot(&self) -> Arc<dyn KvRead> {
            self.inner.snapshot()
        }

        fn sync(&self) -> Result<(), StorageFault> {
            let count = 1 + self.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            self.syncs.send(count).unwrap();
            if count < 3 { Ok(()) } else { Err(StorageFault::Injected(count)) }
        }
    }

    fn start(
        interval: Duration,
    ) -> (mpsc::Receiver<u64>, mpsc::Sender<()>, std::thread::JoinHandle<Result<(), StorageFault>>) {
        let (syncs, seen) = mpsc::channel();
        let (running, stopped) = mpsc::channel();
        let kv = Watched { inner: MemoryKv::new(), syncs, count: 0.into() };
        (seen, running, std::thread::spawn(move || run(&[kv], interval, &stopped)))
    }

    #[test]
    fn it_syncs_again_and_again_and_ends_with_the_disk() {
        let (seen, _running, thread) = start(Duration::from_millis(5));
        assert_eq!(seen.iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(matches!(thread.join().unwrap(), Err(StorageFault::Injected(3))));
    }

    #[test]
    fn it_ends_at_once_when_the_node_stops() {
        let (seen, running, thread) = start(Duration::from_secs(3_600));
        drop(running);
        thread.join().unwrap().unwrap();
        assert_eq!(seen.iter().count(), 0);
    }
}
