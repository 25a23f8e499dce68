//! Checks of what peers say, before the chain's thread: a queue with a bound, and a pool of as many threads as the machine
//! has processors.
//!
//! Whatever waits is checked together, because many signatures cost less than as many times one; what comes alone is checked
//! at once. The outcome is handed over in the order in which it was said.

use lattice_chain::{CheckRefused, Input, Keyring, Unchecked};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{
    io,
    sync::{
        Arc, PoisonError, RwLock,
        mpsc::{self, SyncSender, TrySendError},
    },
};

/// What the chain would most likely verify with, as its newest head sees it.
#[derive(Debug)]
pub struct Keys(RwLock<Arc<Keyring>>);

impl Keys {
    pub fn new(keyring: Keyring) -> Self {
        Self(RwLock::new(Arc::new(keyring)))
    }

    /// Shows the keys of a new head.
    pub fn show(&self, keyring: Keyring) {
        // A panic while the lock is held leaves a whole value behind: it guards one assignment.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }

    fn newest(&self) -> Arc<Keyring> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The threads that check, for every chain of the process.
#[derive(Debug, Clone)]
pub struct CheckPool(Arc<ThreadPool>);

impl CheckPool {
    /// A pool of its own: what the chain's threads give to rayon must not wait behind signatures.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new() -> io::Result<Self> {
        let pool = ThreadPoolBuilder::new().thread_name(|at| format!("check-{at}")).build();
        pool.map(|pool| Self(Arc::new(pool))).map_err(io::Error::other)
    }

    /// Its threads.
    pub fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Things that are checked together at most, and that may wait: what every thread can take.
    pub fn batch(&self) -> usize {
        self.threads() * Keyring::TOGETHER_MAX
    }
}

/// The queue of one chain. Its thread ends when this is dropped, or when nobody takes the outcome any more.
#[derive(Debug)]
pub struct Checks<T> {
    queue: SyncSender<(T, Unchecked)>,
}

impl<T: Send + 'static> Checks<T> {
    /// Starts checking; `deliver` is given each outcome with the tag that what was said came with, may block, and says whether
    /// it wants more.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        pool: CheckPool,
        keys: Arc<Keys>,
        mut deliver: impl FnMut(T, Result<Input, CheckRefused>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let batch = pool.batch();
        let (queue, said) = mpsc::sync_channel(batch);
        std::thread::Builder::new().name("checks".into()).spawn(move || {
            while let Ok(first) = said.recv() {
                let waiting = std::iter::once(first).chain(said.try_iter());
                let (tags, waiting): (Vec<T>, Vec<_>) = waiting.take(batch).unzip();
                let keyring = keys.newest();
                let checked = pool.0.install(|| keyring.check(waiting));
                if !tags.into_iter().zip(checked).all(|(tag, checked)| deliver(tag, checked)) {
                    break;
                }
            }
        })?;
        Ok(Self { queue })
    }

    /// Queues what was said, and waits while the queue is full. Whether it will be checked: not when the thread has ended.
    pub fn say(&self, tag: T, said: Unchecked) -> bool {
        self.queue.send((tag, said)).is_ok()
    }

    /// Queues what was said unless the queue is full, for a thread that takes the outcome itself and must not wait. Whether it
    /// will be checked.
    pub fn offer(&self, tag: T, said: Unchecked) -> bool {
        match self.queue.try_send((tag, said)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lattice_chain::{ArtifactStore, Chain, ModelStore};
    use lattice_storage::MemoryKv;
    use lattice_types::{Attestation, ChainSpec, spec::dev_validator_key};

    fn keys() -> Arc<Keys> {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Arc::new(ArtifactStore::open(dir.path(), 1 << 20).unwrap());
        let models = Arc::new(ModelStore::new(artifacts));
        let chain = Chain::open(ChainSpec::dev(), Arc::new(MemoryKv::new()), models).unwrap();
        Arc::new(Keys::new(chain.keyring().unwrap()))
    }

    /// Good and forged attestations of the only validator, and bytes that are no block.
    fn said(at: u64) -> Unchecked {
        let key = dev_validator_key();
        let mut given = Attestation::sign(Default::default(), 0, 0, &key, ChainSpec::dev().chain_id + at % 3 % 2);
        given.epoch = at % 2;
        if at % 5 == 4 { Unchecked::Block(at.to_be_bytes().to_vec().into()) } else { Unchecked::Attestation(given) }
    }

    #[test]
    fn outcomes_come_in_the_order_in_which_things_were_said() {
        let (keys, pool) = (keys(), CheckPool::new().unwrap());
        let (sender, outcomes) = mpsc::channel();
        let deliver = move |at, outcome| sender.send((at, format!("{outcome:?}"))).is_ok();
        let checks = Checks::start(pool, keys.clone(), deliver).unwrap();
        for at in 0..200 {
            assert!(checks.say(at, said(at)));
        }
        drop(checks);
        let alone = |at| format!("{:?}", keys.newest().check(vec![said(at)]).remove(0));
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), (0..200).map(|at| (at, alone(at))).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_refuses_and_what_was_taken_comes_out() {
        let pool = CheckPool::new().unwrap();
        let batch = pool.batch();
        let (sender, outcomes) = mpsc::sync_channel(0);
        let checks = Checks::start(pool, keys(), move |at, _| sender.send(at).is_ok()).unwrap();
        let taken = (0..).take_while(|at| checks.offer(*at, said(4))).count();
        assert!((batch..=2 * batch).contains(&taken), "{taken} of {batch} a batch");
        assert_eq!(outcomes.iter().take(taken).collect::<Vec<_>>(), (0..taken).collect::<Vec<_>>());
        drop(outcomes);
        while checks.say(0, said(4)) {}
    }
}
