//! Installed filters: clients that poll ask what is new since they asked last.

use super::logs;
use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    jsonrpc::{Answer, reply},
    params::{Params, Quantity},
};
use alloy_primitives::U64;
use alloy_rpc_types_eth::{Filter, FilterBlockOption};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Filters installed at a time.
const FILTERS_MAX: usize = 4_096;
/// A filter that nobody asks for this long is dropped.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Blocks that one poll covers; the next poll goes on.
const POLL_BLOCKS_MAX: u64 = 10_000;

pub(super) const METHODS: &[Row] = &[
    ("eth_newFilter", 1, Run::Quick(install_logs)),
    ("eth_newBlockFilter", 0, Run::Quick(install_blocks)),
    ("eth_getFilterChanges", 1, Run::Long(changes)),
    ("eth_getFilterLogs", 1, Run::Long(all_logs)),
    ("eth_uninstallFilter", 1, Run::Quick(uninstall)),
];

#[derive(Clone)]
enum Kind {
    Logs(Box<Filter>),
    Blocks,
}

struct Installed {
    kind: Kind,
    /// First block that was not reported yet.
    next: u64,
    used: Instant,
}

/// The filters of all clients.
#[derive(Default)]
pub(crate) struct Filters {
    state: Mutex<(u64, BTreeMap<u64, Installed>)>,
}

impl Filters {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Installed>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn install(&self, kind: Kind, next: u64) -> Result<u64, RpcError> {
        let mut state = self.lock();
        let (last_id, installed) = &mut *state;
        installed.retain(|_, filter| filter.used.elapsed() < IDLE_MAX);
        if installed.len() >= FILTERS_MAX {
            return Err(RpcError::limit(format!(
                "{FILTERS_MAX} filters are installed: uninstall some, or use eth_getLogs"
            )));
        }
        *last_id += 1;
        installed.insert(*last_id, Installed { kind, next, used: Instant::now() });
        Ok(*last_id)
    }

    /// What a filter selects, and the blocks to report now; they count as reported.
    fn advance(&self, id: u64, head: u64) -> Result<(Kind, std::ops::Range<u64>), RpcError> {
        let mut state = self.lock();
        let filter = state.1.get_mut(&id).ok_or_else(not_found)?;
        filter.used = Instant::now();
        // After a reorganisation the head may be lower than what was reported.
        let end = (head + 1).min(filter.next.saturating_add(POLL_BLOCKS_MAX)).max(filter.next);
        let range = filter.next..end;
        filter.next = end;
        Ok((filter.kind.clone(), range))
    }
}

fn not_found() -> RpcError {
    RpcError::server("filter not found: it was never installed, or nobody asked for it for five minutes")
}

fn install_logs(api: &Api, params: &mut Params<'_>) -> Answer {
    let filter: Filter = params.required("filter")?;
    if matches!(filter.block_option, FilterBlockOption::AtBlockHash(_)) {
        return Err(RpcError::params("a filter with blockHash never changes: use eth_getLogs"));
    }
    let next = api.view().head().header.number + 1;
    reply(&U64::from(api.filters.install(Kind::Logs(Box::new(filter)), next)?))
}

fn install_blocks(api: &Api, _: &mut Params<'_>) -> Answer {
    let next = api.view().head().header.number + 1;
    reply(&U64::from(api.filters.install(Kind::Blocks, next)?))
}

fn uninstall(api: &Api, params: &mut Params<'_>) -> Answer {
    let Quantity(id) = params.required("filter id")?;
    reply(&api.filters.lock().1.remove(&id).is_some())
}

fn changes(api: &Api, params: &mut Params<'_>) -> Answer {
    let Quantity(id) = params.required("filter id")?;
    let view = api.view();
    let (kind, range) = api.filters.advance(id, view.head().header.number)?;
    match kind {
        Kind::Blocks => {
            let mut hashes = Vec::new();
            for number in range {
                hashes.extend(view.block_by_number(number)?.map(|block| block.hash()));
            }
            reply(&hashes)
        }
        Kind::Logs(filter) if range.is_empty() => reply(&logs::search_range(api, &view, &filter, 1, 0)?),
        Kind::Logs(filter) => {
            let (first, last) = (range.start, range.end - 1);
            let from = filter.get_from_block().map_or(first, |from| from.max(first));
            let to = filter.get_to_block().map_or(last, |to| to.min(last));
            reply(&logs::search_range(api, &view, &filter, from, to)?)
        }
    }
}

fn all_logs(api: &Api, params: &mut Params<'_>) -> Answer {
    let Quantity(id) = params.required("filter id")?;
    let kind = {
        let mut state = api.filters.lock();
        let filter = state.1.get_mut(&id).ok_or_else(not_found)?;
        filter.used = Instant::now();
        filter.kind.clone()
    };
    match kind {
        Kind::Logs(filter) => reply(&logs::search(api, &api.view(), &filter)?),
        Kind::Blocks => Err(RpcError::params("this filter reports blocks, not logs")),
    }
}
