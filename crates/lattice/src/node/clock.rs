//! The clock of this machine, as the chain is told it.

use lattice_types::ChainSpec;
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

/// The slot that has begun at this time.
pub fn slot_at(spec: &ChainSpec, now_ms: u64) -> u64 {
    now_ms.saturating_sub(spec.genesis_time_s * 1000) / spec.slot_ms
}
