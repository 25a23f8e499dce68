//! Blocks come in: checks in context, insertion into the DAG, orphans.

use crate::{
    blocks,
    chain::{Chain, Effects, facts},
    error::ChainError,
};
use alloy_primitives::B256;
use lattice_consensus::{CheckError, MissingParents};
use lattice_storage::Batch;
use lattice_types::CheckedBlock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Orphans kept at the same time; the oldest goes first.
const ORPHANS_MAX: usize = 512;
/// How far a producer's clock may be ahead of ours.
const CLOCK_SKEW_MS: u64 = 500;

/// Blocks that wait for their parents, bounded.
#[derive(Debug, Default)]
pub struct Orphans {
    blocks: BTreeMap<B256, (CheckedBlock, BTreeSet<B256>)>,
    arrival: VecDeque<B256>,
}

impl Orphans {
    fn insert(&mut self, block: CheckedBlock, missing: &[B256]) {
        let hash = block.hash();
        if self.blocks.insert(hash, (block, missing.iter().copied().collect())).is_some() {
            return;
        }
        self.arrival.push_back(hash);
        while self.arrival.len() > ORPHANS_MAX {
            if let Some(oldest) = self.arrival.pop_front() {
                self.blocks.remove(&oldest);
            }
        }
    }

    /// Takes out the orphans that waited for `parent` and now lack nothing.
    fn adopt(&mut self, parent: &B256) -> Vec<CheckedBlock> {
        let mut whole = Vec::new();
        for (hash, (_, missing)) in &mut self.blocks {
            if missing.remove(parent) && missing.is_empty() {
                whole.push(*hash);
            }
        }
        self.arrival.retain(|hash| !whole.contains(hash));
        whole.iter().filter_map(|hash| self.blocks.remove(hash)).map(|(block, _)| block).collect()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_types::ChainSpec;

    #[test]
    fn orphans_are_bounded_and_the_oldest_go_first() {
        let genesis = ChainSpec::dev().genesis_block(B256::ZERO, B256::ZERO, B256::ZERO, B256::ZERO);
        let block = |slot: u64| {
            let mut block = genesis.clone();
            (block.header.slot, block.header.parents) = (slot, vec![B256::repeat_byte(1)]);
            CheckedBlock::trusted(block, Vec::new())
        };
        let mut orphans = Orphans::default();
        let missing = B256::repeat_byte(1);
        for slot in 0..ORPHANS_MAX as u64 + 100 {
            orphans.insert(block(slot), &[missing]);
            orphans.insert(block(slot), &[missing]);
        }
        assert_eq!((orphans.blocks.len(), orphans.arrival.len()), (ORPHANS_MAX, ORPHANS_MAX));
        assert!(orphans.blocks.contains_key(&block(100).hash()) && !orphans.blocks.contains_key(&block(99).hash()));
        assert_eq!(orphans.adopt(&missing).len(), ORPHANS_MAX);
        assert!(orphans.blocks.is_empty() && orphans.arrival.is_empty());
    }
}
