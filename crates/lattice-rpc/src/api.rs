//! The table of methods and how calls run.
//!
//! Quick reads run where they arrive. Work that may take long runs on threads of its own, a bounded number at a time. In a
//! batch, consecutive `eth_sendRawTransaction` calls go together: senders are recovered in parallel and all reach the
//! chain's queue before the first verdict is awaited. Reads of a batch see what was sent before them.

use crate::{
    cache::FactsCache,
    debug,
    error::{RpcError, TIMEOUT},
    eth::{self, filters::Filters},
    jsonrpc::{self, Answer, Call, Message},
    lattice,
    params::Params,
    send,
};
use lattice_chain::{Backend, View};
use lattice_types::EvmBlock;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, broadcast};

/// Long-running jobs at a time, for each processor.
const JOBS_PER_CPU: usize = 8;
/// Time after which the rest of a batch's reads is refused.
const BATCH_TIME_MAX: Duration = Duration::from_secs(30);
/// Heads that a slow subscriber may lag behind.
const HEADS_BUFFERED: usize = 256;

/// A read: parameters in, JSON out.
pub(crate) type Handler = fn(&Api, &mut Params<'_>) -> Answer;

/// How a method runs.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// Takes microseconds: runs at once.
    Quick(Handler),
    /// Reads the state of a block: at once, except on an archive, where old states are rebuilt.
    State(Handler),
    /// May take long: runs on a thread of its own.
    Long(Handler),
    /// A signed transaction for the chain.
    Send,
}

/// A method.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// How it runs.
    pub run: Run,
    /// Parameters it takes at most.
    pub params_max: usize,
}

/// A call without its id.
type Job = (Result<Entry, RpcError>, Option<Box<RawValue>>);

/// A row of a namespace's table: name, parameters at most, how it runs.
pub(crate) type Row = (&'static str, usize, Run);

/// What all methods share.
pub(crate) struct Api {
    backend: Arc<dyn Backend>,
    methods: BTreeMap<&'static str, Entry>,
    jobs: Arc<Semaphore>,
    heads: broadcast::Sender<Arc<EvmBlock>>,
    /// Derived facts of recent blocks.
    pub(crate) facts: FactsCache,
    /// Installed filters.
    pub(crate) filters: Filters,
}

impl Api {
    /// The methods over a backend.
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Arc<Self> {
        let (heads, _) = broadcast::channel(HEADS_BUFFERED);
        let sender = heads.clone();
        // Sending fails only when nobody subscribes.
        backend.heads(Box::new(move |head| drop(sender.send(head.clone()))));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let rows = eth::methods().chain(lattice::methods()).chain(debug::methods());
        Arc::new(Self {
            backend,
            methods: rows.map(|&(name, params_max, run)| (name, Entry { run, params_max })).collect(),
            jobs: Arc::new(Semaphore::new(cpus * JOBS_PER_CPU)),
            heads,
            facts: FactsCache::default(),
            filters: Filters::default(),
        })
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.backend.view()
    }

    pub(crate) fn entry(&self, name: &str) -> Option<Entry> {
        self.methods.get(name).copied()
    }

    /// New heads from now on.
    pub(crate) fn subscribe_heads(&self) -> broadcast::Receiver<Arc<EvmBlock>> {
        self.heads.subscribe()
    }

    /// Answers a message in bytes; `None` when nothing is to be answered.
    pub(crate) async fn answer(self: &Arc<Self>, body: &[u8]) -> Option<String> {
        match jsonrpc::parse(self, body) {
            Err(error) => Some(jsonrpc::write_failure(error)),
            Ok(Message::Single(call)) => {
                let (id, answer) = self.clone().run_one(call).await;
                id.map(|id| {
                    let mut out = String::new();
                    jsonrpc::write_answer(&mut out, &id, &answer);
                    out
                })
            }
            Ok(Message::Batch(calls)) => jsonrpc::write_batch(self.clone().run_batch(calls).await),
        }
    }

    /// Runs one call.
    pub(crate) async fn run_one(self: Arc<Self>, call: Call) -> (Option<Box<RawValue>>, Answer) {
        let Call { id, entry, params } = call;
        let answer = match entry {
            Err(error) => Err(error),
            Ok(Entry { run: Run::Quick(_), .. }) => self.read(entry, params.as_deref()),
            Ok(Entry { run: Run::State(_), .. }) if !self.view().is_archive() => self.read(entry, params.as_deref()),
            Ok(Entry { run: Run::Long(_) | Run::State(_), .. }) => {
                let mut answers = self.read_apart(vec![(entry, params)]).await;
                answers.pop().expect("one answer a call")
            }
            Ok(Entry { run: Run::Send, .. }) => {
                let mut answers = send::send(self, vec![params]).await;
                answers.pop().expect("one answer a call")
            }
        };
        (id, answer)
    }

    /// Runs a batch: runs of sends together, reads in order between them.
    pub(crate) async fn run_batch(self: Arc<Self>, calls: Vec<Call>) -> Vec<(Option<Box<RawValue>>, Answer)> {
        let is_send = |call: &Call| matches!(call.entry, Ok(Entry { run: Run::Send, .. }));
        let mut done = Vec::with_capacity(calls.len());
        let mut rest = calls.into_iter().peekable();
        while let Some(first) = rest.next() {
            let sends = is_send(&first);
            let mut ids = vec![first.id];
            let mut work = vec![(first.entry, first.params)];
            while let Some(call) = rest.next_if(|call| is_send(call) == sends) {
                ids.push(call.id);
                work.push((call.entry, call.params));
            }
            let answers = if sends {
                send::send(self.clone(), work.into_iter().map(|(_, params)| params).collect()).await
            } else {
                self.clone().read_apart(work).await
            };
            done.extend(ids.into_iter().zip(answers));
        }
        done
    }

    /// Reads in order on a thread that may block.
    async fn read_apart(self: Arc<Self>, work: Vec<Job>) -> Vec<Answer> {
        let count = work.len();
        let permit = self.jobs.clone().acquire_owned().await.expect("the semaphore is never closed");
        let job = move || {
            let _permit = permit;
            let started = Instant::now();
            let one = |(entry, params): Job| {
                if started.elapsed() > BATCH_TIME_MAX {
                    let message = "the batch takes too long: its remaining calls were not run; send smaller batches";
                    return Err(RpcError::new(TIMEOUT, message));
                }
                self.read(entry, params.as_deref())
            };
            work.into_iter().map(one).collect()
        };
        let joined = tokio::task::spawn_blocking(job).await;
        joined.unwrap_or_else(|error| vec![Err(RpcError::internal(error)); count])
    }

    fn read(&self, entry: Result<Entry, RpcError>, params: Option<&RawValue>) -> Answer {
        let entry = entry?;
        match entry.run {
            Run::Quick(handler) | Run::State(handler) | Run::Long(handler) => {
                handler(self, &mut Params::parse(params, entry.params_max)?)
            }
            Run::Send => Err(RpcError::internal("a transaction among reads")),
        }
    }
}
