//! What the past of one block says of epochs and finality.

use alloy_primitives::{B256, keccak256};
use lattice_consensus::{eligibility::EpochState, finality::Finality};
use lattice_storage::{Batch, KvRead, StorageFault, Table};
use lattice_types::bls;
use std::{collections::BTreeSet, sync::Arc};

/// What follows for the children of a block from its past, itself included.
///
/// `Standings`: DAG hash -> epoch state, AI score (8 bytes BE), hash of the finality, hash of the convicted. `Finality`:
/// these hashes -> the finality, the keys of the convicted; both change rarely, so that most blocks share their parent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Epoch, seed, and where stake sets are read.
    pub epoch: EpochState,
    /// Sum of the AI classes of the blues in the past.
    pub ai_score: u64,
    /// Justified and finalised checkpoints.
    pub finality: Arc<Finality>,
    /// Keys against which there was evidence: they produce no more.
    pub convicted: Arc<BTreeSet<bls::PublicKey>>,
}

impl Standing {
    /// The genesis block's.
    pub fn genesis(genesis: B256, seed: B256) -> Self {
        Self {
            epoch: EpochState::genesis(genesis, seed),
            ai_score: 0,
            finality: Arc::new(Finality::genesis(genesis)),
            convicted: Arc::default(),
        }
    }

    pub(super) fn stage(&self, block: &B256, batch: &mut Batch) {
        let mut row = self.epoch.encode().to_vec();
        row.extend_from_slice(&self.ai_score.to_be_bytes());
        for shared in [self.finality.encode(), self.convicted.iter().flat_map(|key| key.0).collect()] {
            let key = keccak256(&shared);
            row.extend_from_slice(key.as_slice());
            batch.put(Table::Finality, key.as_slice(), shared);
        }
        batch.put(Table::Standings, block.as_slice(), row);
    }

    /// Reads a block's standing from the store or a snapshot of it.
    ///
    /// # Errors
    /// When the store fails or has no such block.
    pub fn load(kv: &dyn KvRead, block: &B256) -> Result<Self, StorageFault> {
        let corrupt =
            || StorageFault::corrupt(Table::Standings, format!("the standing of {block} is missing or damaged"));
        let row = kv.get(Table::Standings, block.as_slice())?.ok_or_else(corrupt)?;
        let (epoch, rest) = row.split_at_checked(EpochState::ENCODED_LEN).ok_or_else(corrupt)?;
        let (ai_score, keys) = rest.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let (finality, convicted) = keys.split_at_checked(32).ok_or_else(corrupt)?;
        let finality = kv.get(Table::Finality, finality)?.as_deref().and_then(Finality::decode);
        let convicted = kv.get(Table::Finality, convicted)?.ok_or_else(corrupt)?;
        Ok(Self {
            epoch: EpochState::decode(epoch).ok_or_else(corrupt)?,
            ai_score: u64::from_be_bytes(*ai_score),
            finality: Arc::new(finality.ok_or_else(corrupt)?),
            convicted: Arc::new(convicted.chunks_exact(48).map(bls::PublicKey::from_slice).collect()),
        })
    }
}
