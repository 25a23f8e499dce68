//! Blocks come in: checks in context, insertion into the DAG.

use crate::{
    blocks,
    chain::{Chain, Effects, facts},
    error::ChainError,
};
use lattice_consensus::{CheckError, MissingParents};
use lattice_storage::Batch;
use lattice_types::CheckedBlock;

/// How far a producer's clock may be ahead of ours.
const CLOCK_SKEW_MS: u64 = 500;

impl Chain {
    /// Inserts a block whose checks in isolation passed, and moves the sink when it should move. A known block is
    /// nothing new.
    pub(crate) fn take_block(&mut self, now_ms: u64, block: CheckedBlock) -> Result<Effects, ChainError> {
        let hash = block.hash();
        let slot = block.block().header.slot;
        let begins_ms = (self.spec.genesis_time_s * 1000).saturating_add(slot.saturating_mul(self.spec.slot_ms));
        if begins_ms > now_ms.saturating_add(CLOCK_SKEW_MS) {
            return Err(ChainError::FutureSlot { slot, wait_ms: begins_ms - now_ms });
        }
        let prepared = match self.dag.check(&facts(&self.spec, hash, &block.block().header)) {
            Ok(prepared) => prepared,
            Err(CheckError::Known(_)) => return Ok(Effects::default()),
            Err(CheckError::Missing(MissingParents { parents })) => {
                self.fork.orphans.insert(block, &parents);
                return Err(ChainError::MissingParents(parents));
            }
            Err(CheckError::Invalid(error)) => return Err(error.into()),
            Err(CheckError::Fault(fault)) => return Err(fault.into()),
        };
        let data = self.dag.data_of(&prepared)?;
        let mut batch = Batch::new();
        let (standing, key) = match self.judge(&block, &data, &mut batch) {
            Ok(judged) => judged,
            Err(refusal @ ChainError::InvalidStanding(_)) => {
                // What had to be executed or read to judge the block is true whatever came of it.
                self.commit(batch)?;
                return Err(refusal);
            }
            Err(other) => return Err(other),
        };
        self.dag.insert(prepared, &mut batch)?;
        self.prune(&mut batch)?;
        blocks::put_block(&mut batch, &block);
        self.fork.stage_block(block.clone());
        let conflict = self.observe(&standing, &mut batch)?;
        let parent = self.committee.standing(&data.selected_parent)?;
        self.committee.put_standing(hash, standing, &parent, &mut batch);
        let mut effects = self.advance(&mut batch)?;
        self.commit(batch)?;
        effects.conflict = conflict;
        self.look_for_copies(&block, key, &mut effects)?;
        self.settle(&mut effects)?;
        for vote in self.votes_waiting_for(&hash) {
            if let Ok(counted) = self.take_vote(now_ms, vote) {
                effects.certificate = counted.certificate.or(effects.certificate);
                effects.evidence.extend(counted.evidence);
            }
        }
        effects.adopted = self.fork.orphans.adopt(&hash);
        Ok(effects)
    }

    /// Brings what waits for a block up to the new head.
    fn settle(&mut self, effects: &mut Effects) -> Result<(), ChainError> {
        if effects.added.is_empty() {
            return Ok(());
        }
        let state = self.head_state()?;
        self.settle_pool(effects, &state)?;
        self.settle_votes();
        self.settle_evidence(&state);
        Ok(())
    }
}
