//! The committee of validators: who may produce and vote, what their votes have made final, and who broke a rule.
//!
//! Everything that decides over a block is a function of its past and kept for each block as its [`Standing`]; rules
//! and arithmetic live in `lattice-consensus`, this room looks up what they ask for and checks signatures. What has
//! only been heard of (votes, certificates, evidence that no block carries yet) is kept in bounded pools.

mod early;
mod judge;
mod keyring;
mod offences;
mod readiness;
mod registry;
mod sets;
mod standing;
mod trusted;
mod votes;

pub use judge::InvalidStanding;
pub(crate) use judge::apply;
pub use keyring::{Keyring, Unchecked};
pub use offences::EvidenceRefused;
pub use readiness::AttestationRefused;
pub(crate) use readiness::readiness_of;
pub(crate) use registry::{Registered, registered};
pub(crate) use sets::EpochSet;
pub(crate) use standing::Standing;
pub use trusted::TrustRefused;
pub(crate) use trusted::trust;
pub use votes::VoteRefused;

use self::{readiness::Attestations, votes::Votes};
use crate::error::ChainError;
use alloy_primitives::B256;
use lattice_consensus::{
    Dag,
    eligibility::{EpochParams, Lottery, PPM, SetParams},
    finality::{CheckpointParams, EvidencePool, LocalFinality},
};
use lattice_storage::{Batch, Kv, StorageFault, Table};
use lattice_types::{ChainSpec, Checkpoint};
use lru::LruCache;
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Meta row with the checkpoints that this node holds on to.
const LOCAL: &[u8] = b"local-finality";
const STANDINGS_CACHED: NonZeroUsize = NonZeroUsize::new(8_192).expect("not zero");
const SETS_CACHED: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
const CERTIFICATES_CACHED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
/// Wei in a LAT.
const LAT: u128 = 1_000_000_000_000_000_000;

/// The chain specification in the words of `lattice-consensus`.
#[derive(Debug, Clone, Copy)]
pub struct CommitteeParams {
    /// Epochs.
    pub epochs: EpochParams,
    /// Checkpoints.
    pub checkpoints: CheckpointParams,
    /// Stake sets.
    pub sets: SetParams,
    /// The lottery; `None` when every member may use every slot.
    pub lottery: Option<Lottery>,
}

impl CommitteeParams {
    /// Reads a specification.
    ///
    /// # Errors
    /// When it holds values that no chain can have.
    pub fn of(spec: &ChainSpec) -> Result<Self, ChainError> {
        let bad = |what: &str| ChainError::Fault(format!("the chain specification {} is unusable: {what}", spec.name));
        if spec.epoch_slots < 3 || spec.checkpoint_slots == 0 {
            return Err(bad("an epoch has at least 3 slots, a checkpoint at least 1"));
        }
        if spec.pruning_depth < spec.merge_depth.saturating_mul(2) {
            return Err(bad("the pruning depth is at least twice the merge depth"));
        }
        let lottery = match spec.active_slot_ppm {
            PPM => None,
            ppm => Some(Lottery::new(ppm).map_err(|error| bad(&error.to_string()))?),
        };
        Ok(Self {
            epochs: EpochParams { epoch_slots: spec.epoch_slots },
            checkpoints: CheckpointParams {
                interval_slots: spec.checkpoint_slots,
                lag_slots: spec.checkpoint_lag_slots,
            },
            sets: SetParams {
                members_max: spec.staking.members_max,
                stake_min: u128::from(spec.staking.stake_min) * LAT,
                churn_divisor: spec.staking.churn_divisor,
            },
            lottery,
        })
    }
}

/// What this node knows of the validators' doings. See the module.
pub struct Committee {
    params: CommitteeParams,
    kv: Arc<dyn Kv>,
    local: LocalFinality,
    caches: Mutex<Caches>,
    /// Hashes of certificates whose signature was found good.
    verified: LruCache<B256, ()>,
    votes: Votes,
    evidence: EvidencePool,
    attestations: Attestations,
}

/// What was read from the store, or staged for it. Readers of the chain's thread only; the lock is never contended.
struct Caches {
    standings: LruCache<B256, Arc<Standing>>,
    sets: LruCache<B256, Arc<EpochSet>>,
}

impl Committee {
    /// Stages what the genesis block says.
    pub fn init(spec: &ChainSpec, genesis: B256, set: &EpochSet, batch: &mut Batch) {
        let standing = Standing::genesis(genesis, spec.epoch_seed);
        standing.stage(&genesis, None, batch);
        set.stage(&genesis, batch);
        put_local(batch, &LocalFinality::new(Checkpoint { index: 0, hash: genesis }));
    }

    /// Opens what [`Committee::init`] and later inputs have written.
    ///
    /// # Errors
    /// When the store fails or is damaged, or `trusted` contradicts what this node has finalised.
    pub fn open(spec: &ChainSpec, kv: Arc<dyn Kv>, dag: &Dag, trusted: Option<Checkpoint>) -> Result<Self, ChainError> {
        let bytes = kv.get(Table::Meta, LOCAL)?;
        let local = bytes.as_deref().and_then(read_local);
        let mut local =
            local.ok_or_else(|| StorageFault::corrupt(Table::Meta, "the finalised checkpoint is missing"))?;
        if let Some(trusted) = trusted {
            local = trust(dag, local, trusted)?;
        }
        Ok(Self {
            params: CommitteeParams::of(spec)?,
            kv,
            local,
            caches: Mutex::new(Caches { standings: LruCache::new(STANDINGS_CACHED), sets: LruCache::new(SETS_CACHED) }),
            verified: LruCache::new(CERTIFICATES_CACHED),
            votes: Votes::default(),
            evidence: EvidencePool::default(),
            attestations: Attestations::default(),
        })
    }

    /// The parameters.
    pub const fn params(&self) -> &CommitteeParams {
        &self.params
    }

    /// What this node holds on to.
    pub const fn local(&self) -> &LocalFinality {
        &self.local
    }

    /// What the past of a block says.
    ///
    /// # Errors
    /// When the store fails or has no such block.
    pub fn standing(&self, block: &B256) -> Result<Arc<Standing>, ChainError> {
        let mut caches = self.caches();
        if let Some(standing) = caches.standings.get(block) {
            return Ok(standing.clone());
        }
        let standing = Arc::new(Standing::load(&*self.kv, block)?);
        caches.standings.put(*block, standing.clone());
        Ok(standing)
    }

    /// Keeps and stages the standing of a new block, whose selected parent has the other.
    pub fn put_standing(&self, block: B256, standing: Standing, parent: &Standing, batch: &mut Batch) {
        standing.stage(&block, Some(parent), batch);
        self.caches().standings.put(block, Arc::new(standing));
    }

    /// The stake set read at a chain block, when it was read already.
    fn known_set(&self, source: &B256) -> Result<Option<Arc<EpochSet>>, ChainError> {
        let mut caches = self.caches();
        if let Some(set) = caches.sets.get(source) {
            return Ok(Some(set.clone()));
        }
        let Some(set) = EpochSet::load(&*self.kv, source)? else { return Ok(None) };
        let set = Arc::new(set);
        caches.sets.put(*source, set.clone());
        Ok(Some(set))
    }

    fn put_set(&self, source: B256, set: EpochSet, batch: &mut Batch) -> Arc<EpochSet> {
        set.stage(&source, batch);
        let set = Arc::new(set);
        self.caches().sets.put(source, set.clone());
        set
    }

    fn caches(&self) -> MutexGuard<'_, Caches> {
        // A panic while holding a cache leaves it usable: entries are replaced whole.
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_local(batch: &mut Batch, local: &LocalFinality) {
    let mut row = Vec::with_capacity(80);
    for checkpoint in [local.finalised(), local.justified()] {
        row.extend_from_slice(&checkpoint.index.to_be_bytes());
        row.extend_from_slice(checkpoint.hash.as_slice());
    }
    batch.put(Table::Meta, LOCAL, row);
}

fn read_local(row: &[u8]) -> Option<LocalFinality> {
    let read = |bytes: &[u8]| {
        let (index, hash) = bytes.split_first_chunk::<8>()?;
        Some(Checkpoint { index: u64::from_be_bytes(*index), hash: B256::try_from(hash).ok()? })
    };
    let (finalised, justified) = row.split_at_checked(40)?;
    Some(LocalFinality::restore(read(finalised)?, read(justified)?))
}

/// Votes and certificates by target index.
type ByIndex<T> = BTreeMap<u64, T>;
