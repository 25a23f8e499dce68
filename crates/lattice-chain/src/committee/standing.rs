//! What the past of one block says of epochs and finality.

use alloy_primitives::{B256, keccak256};
use lattice_consensus::{eligibility::EpochState, finality::Finality};
use lattice_storage::{Batch, KvRead, StorageFault, Table};
use lattice_types::bls;
use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

/// What follows for the children of a block from its past, itself included.
///
/// `Standings`: DAG hash -> epoch state, AI score (8 bytes BE), hash of the finality, hash of the convicted. `Finality`:
/// these hashes -> the finality, the keys of the convicted; both change rarely, so that most blocks share their parent's.
/// Hash of a finality ++ DAG hash -> nothing, for each block that shares it: it goes with the last one. The convicted stay:
/// there are no more than validators.
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

    pub(super) fn stage(&self, block: &B256, parent: Option<&Self>, batch: &mut Batch) {
        let finality = self.finality.encode();
        let convicted: Vec<u8> = self.convicted.iter().flat_map(|key| key.0).collect();
        let (of_finality, of_convicted) = (keccak256(&finality), keccak256(&convicted));
        if parent.is_none_or(|parent| !Arc::ptr_eq(&parent.finality, &self.finality)) {
            batch.put(Table::Finality, of_finality.as_slice(), finality);
        }
        if parent.is_none_or(|parent| !Arc::ptr_eq(&parent.convicted, &self.convicted)) {
            batch.put(Table::Finality, of_convicted.as_slice(), convicted);
        }
        batch.put(Table::Finality, [of_finality, *block].concat(), []);
        let keys = [&self.ai_score.to_be_bytes()[..], of_finality.as_slice(), of_convicted.as_slice()].concat();
        batch.put(Table::Standings, block.as_slice(), [&self.epoch.encode()[..], &keys].concat());
    }

    /// Stages the removal of pruned blocks' standings, and of the finalities that none but they shared.
    pub fn forget(kv: &dyn KvRead, blocks: &BTreeSet<B256>, batch: &mut Batch) -> Result<(), StorageFault> {
        let mut shared = BTreeSet::new();
        for block in blocks {
            let row = kv.get(Table::Standings, block.as_slice())?.unwrap_or_default();
            let key = row.get(EpochState::ENCODED_LEN + 8..).and_then(|keys| keys.first_chunk::<32>());
            let key = key.ok_or_else(|| missing(block))?;
            batch.delete(Table::Standings, block.as_slice());
            batch.delete(Table::Finality, [&key[..], block.as_slice()].concat());
            shared.insert(*key);
        }
        for key in shared {
            let mut is_kept = false;
            kv.scan(Table::Finality, &key, None, &mut |row, _| match row.strip_prefix(&key) {
                None => ControlFlow::Break(()),
                Some(block) if block.is_empty() || B256::try_from(block).is_ok_and(|block| blocks.contains(&block)) => {
                    ControlFlow::Continue(())
                }
                Some(_) => {
                    is_kept = true;
                    ControlFlow::Break(())
                }
            })?;
            if !is_kept {
                batch.delete(Table::Finality, key);
            }
        }
        Ok(())
    }

    /// Reads a block's standing from the store or a snapshot of it.
    ///
    /// # Errors
    /// When the store fails or has no such block.
    pub fn load(kv: &dyn KvRead, block: &B256) -> Result<Self, StorageFault> {
        let corrupt = || missing(block);
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

fn missing(block: &B256) -> StorageFault {
    StorageFault::corrupt(Table::Standings, format!("the standing of {block} is missing or damaged"))
}
