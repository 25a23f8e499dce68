//! Checks in isolation, once for each content: a signature is good or bad whoever looks, so that N nodes need not look N
//! times.

use alloy_primitives::B256;
use lattice_types::{ChainSpec, CheckedBlock, DagBlock, Evidence, InvalidBlock, SealKey, check_in_isolation};
use std::{collections::BTreeMap, sync::Arc};

/// Results of checks by what was checked.
#[derive(Debug, Default)]
pub struct Verifier {
    blocks: BTreeMap<B256, Arc<CheckedBlock>>,
    evidence: BTreeMap<B256, bool>,
}

impl Verifier {
    /// Checks a block as every peer would.
    ///
    /// # Errors
    /// As [`check_in_isolation`].
    pub fn block(
        &mut self,
        block: &DagBlock,
        spec: &ChainSpec,
        likely: Option<&SealKey>,
    ) -> Result<Arc<CheckedBlock>, InvalidBlock> {
        let hash = block.header.hash();
        if let Some(known) = self.blocks.get(&hash) {
            return Ok(known.clone());
        }
        let checked = Arc::new(check_in_isolation(block.clone(), spec, likely)?);
        self.blocks.insert(hash, checked.clone());
        Ok(checked)
    }

    /// A block that was found good.
    pub fn known(&self, hash: &B256) -> Option<Arc<CheckedBlock>> {
        self.blocks.get(hash).cloned()
    }

    /// Whether evidence convicts.
    pub fn evidence(&mut self, evidence: &Evidence, chain_id: u64) -> bool {
        *self.evidence.entry(evidence.hash()).or_insert_with(|| evidence.check(chain_id).is_ok())
    }
}
