//! Forgetting: what lies below the pruning point leaves the store, a bounded step an input. An archive forgets nothing.
//!
//! Consensus says which blocks nobody needs any more ([`lattice_consensus::Dag::prune`]). With each goes all that is kept
//! under its hash: body, win, verdict, standing, a stake set that was read at it, and its EVM block with receipts and
//! indexes, since that cannot be shown without the bodies of the blocks that carried its transactions. Past pruning points
//! leave their headers, and the genesis its EVM block. Whatever else the state keeps follows the rule of its window.

use crate::{blocks, chain::Chain, committee::Standing, error::ChainError};
use alloy_primitives::B256;
use lattice_consensus::eligibility::EpochState;
use lattice_storage::{Batch, Table};
use std::collections::BTreeSet;

/// EVM blocks below a chain block that its execution may name (BLOCKHASH).
const BLOCK_HASHES: u64 = 256;

impl Chain {
    /// One step. The pruning point is that of the newest chain block which no execution can need: it is final, and lies
    /// below every state kept and every block that these can name.
    pub(crate) fn prune(&mut self, batch: &mut Batch) -> Result<(), ChainError> {
        if self.layers.history().is_some() {
            return Ok(());
        }
        let Some(height) = self.layers.base_height().checked_sub(BLOCK_HASHES) else { return Ok(()) };
        let Some(settled) = self.fork.blocks.canonical_by_number(height)? else { return Ok(()) };
        let before = self.dag.bottom()?.0;
        let pruned = self.dag.prune(&settled, batch)?;
        let gone: BTreeSet<B256> = pruned.blocks.iter().chain(&pruned.points).copied().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let sets = |epoch: &EpochState| [epoch.set.block, epoch.next_set().block];
        let left = sets(&self.committee.standing(&before)?.epoch);
        let held = sets(&self.committee.standing(&self.dag.bottom()?.0)?.epoch);
        for source in gone.iter().chain(&left) {
            if !held.contains(source)
                && !self.dag.contains(source)?
                && self.kv.contains(Table::StakeSets, &source[..])?
            {
                batch.delete(Table::StakeSets, source.as_slice());
            }
        }
        for hash in pruned.blocks {
            self.forget(&hash, batch)?;
            batch.delete(Table::Headers, hash.as_slice());
        }
        for hash in pruned.points {
            self.forget(&hash, batch)?;
        }
        Standing::forget(&*self.kv, &gone, batch)?;
        Ok(())
    }

    /// Stages the removal of what is kept of one block, but for its header and standing.
    fn forget(&mut self, hash: &B256, batch: &mut Batch) -> Result<(), ChainError> {
        let reader = &self.fork.blocks;
        let header =
            reader.header(hash)?.ok_or_else(|| ChainError::Fault(format!("the header of {hash} is missing")))?;
        blocks::delete_block(batch, hash, &header);
        self.fork.disqualified.remove(hash);
        let executed = if header.parents.is_empty() { None } else { reader.executed(hash)? };
        if let Some(block) = executed {
            if reader.canonical_by_number(block.header.number)? == Some(*hash) {
                blocks::unindex_canonical(batch, &block);
            }
            batch.delete(Table::Executed, hash.as_slice());
        }
        reader.cache().forget(hash);
        Ok(())
    }
}
