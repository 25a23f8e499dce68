//! When checkpoints are.

/// When checkpoints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointParams {
    /// Slots from one checkpoint to the next.
    pub interval_slots: u64,
    /// The voted block is at least this many slots older than the checkpoint, so that all have settled on it.
    pub lag_slots: u64,
}

impl CheckpointParams {
    /// The newest checkpoint whose time has come at this slot.
    pub const fn index_at(&self, slot: u64) -> u64 {
        slot / self.interval_slots
    }

    /// The last slot that the block of a checkpoint may have; none while the chain is too young for it.
    pub const fn slot_max(&self, index: u64) -> Option<u64> {
        index.saturating_mul(self.interval_slots).checked_sub(self.lag_slots)
    }
}
