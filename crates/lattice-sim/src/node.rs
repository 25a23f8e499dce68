//! One node: a chain over its disk, a validator's key, and what the node remembers beside the chain.

use crate::{
    message::NodeId,
    plan::{Plan, Role},
    signer::Signer,
};
use alloy_primitives::B256;
use lattice_chain::{Chain, ChainError, ChainOptions, ModelStore};
use lattice_storage::{ArtifactStore, FaultKind, FaultyKv, Kv, MemoryKv};
use lattice_types::{ChainSpec, CheckedBlock, Checkpoint, EvmBlock, Vote};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    sync::Arc,
};

/// One block of a node's selected chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// DAG hash.
    pub dag: B256,
    /// Hash of the EVM block.
    pub evm: B256,
    /// Root of the state after it.
    pub root: B256,
}

impl Link {
    /// Of an EVM block.
    pub fn of(block: &EvmBlock) -> Self {
        Self { dag: block.dag_hash, evm: block.hash(), root: block.header.state_root }
    }
}

/// A node.
pub struct Node {
    /// Its place.
    pub id: NodeId,
    /// How it behaves.
    pub role: Role,
    /// `None` while it is down.
    pub chain: Option<Chain>,
    /// What its disk holds; survives crashes.
    disk: Arc<dyn Kv>,
    models: Arc<ModelStore>,
    /// Its validator.
    pub signer: Signer,
    /// Which validator that is: its index in the registry.
    pub validator: u32,
    /// Whether it forgets nothing.
    pub is_archive: bool,
    /// The checkpoint that its operator trusts.
    pub trusted: Option<Checkpoint>,
    /// How far its clock is ahead, ms.
    pub clock_ms: i64,
    /// How often it was started: events of an earlier life mean nothing.
    pub life: u32,
    /// Gossip that it has passed on.
    pub seen: BTreeSet<B256>,
    /// Blocks that it has heard of and lacks, with how often it has asked for them.
    pub wanted: BTreeMap<B256, u32>,
    /// Its selected chain by height, as its effects tell.
    pub canonical: BTreeMap<u64, Link>,
    /// Height of each of these blocks.
    pub height_of: BTreeMap<B256, u64>,
    /// What it had finalised when it was last looked at.
    pub finalised: Checkpoint,
    /// The height up to which its finalised chain was compared with the others'.
    pub compared: u64,
    /// Blocks that an adversary holds back.
    pub hidden: Vec<Arc<CheckedBlock>>,
    /// Slots that an adversary has won and not used: slot, VRF.
    pub wins: Vec<(u64, lattice_types::bls::Signature)>,
    /// Votes that an adversary has cast.
    pub cast: Vec<Vote>,
}

impl Node {
    /// A new node of a plan, with an empty disk; it is down.
    pub fn new(id: NodeId, plan: &Plan, artifacts: &Arc<ArtifactStore>) -> Self {
        Self {
            id,
            role: plan.roles[id],
            chain: None,
            disk: Arc::new(MemoryKv::new()),
            models: Arc::new(ModelStore::new(artifacts.clone())),
            signer: Signer::new(plan.validators[id], plan.spec.chain_id),
            validator: plan.validators[id],
            is_archive: plan.archives.contains(&id),
            trusted: None,
            clock_ms: plan.clocks_ms[id],
            life: 0,
            seen: BTreeSet::new(),
            wanted: BTreeMap::new(),
            canonical: BTreeMap::new(),
            height_of: BTreeMap::new(),
            finalised: Checkpoint { index: 0, hash: B256::ZERO },
            compared: 0,
            hidden: Vec::new(),
            wins: Vec::new(),
            cast: Vec::new(),
        }
    }

    /// Validator index.
    pub const fn index(&self) -> u32 {
        self.validator
    }

    /// What it holds in its artifact store.
    pub const fn models(&self) -> &Arc<ModelStore> {
        &self.models
    }

    /// Unix time of its clock, ms.
    pub fn clock(&self, spec: &ChainSpec, now: u64) -> u64 {
        (spec.genesis_time_s * 1_000 + now).saturating_add_signed(self.clock_ms)
    }

    /// Opens the chain from the disk, which fails as ordered: at which write from now on, and how.
    ///
    /// # Errors
    /// When the store does not hold a chain that opens.
    pub fn start(&mut self, spec: &ChainSpec, fault: Option<(FaultKind, u64)>) -> Result<(), ChainError> {
        let kv: Arc<dyn Kv> = match fault {
            Some((kind, at)) => Arc::new(FaultyKv::new(self.disk.clone(), kind, at)),
            None => self.disk.clone(),
        };
        let options = ChainOptions { archive: self.is_archive, trusted: self.trusted };
        let chain = Chain::open_with(spec.clone(), kv, self.models.clone(), options)?;
        self.canonical.clear();
        self.height_of.clear();
        let view = chain.view()?;
        for number in iter::once(0).chain(view.oldest_block().max(1)..=chain.head().header.number) {
            let block = view.block_by_number(number).map_err(|error| ChainError::Fault(error.to_string()))?;
            if let Some(block) = block {
                self.link(&block);
            }
        }
        self.finalised = chain.finality().finalised();
        self.chain = Some(chain);
        self.signer.restart();
        self.life += 1;
        Ok(())
    }

    /// Loses everything but the disk.
    pub fn crash(&mut self) {
        self.chain = None;
        self.life += 1;
        self.seen.clear();
        self.wanted.clear();
        self.hidden.clear();
        self.wins.clear();
    }

    /// Takes a block into the selected chain.
    pub fn link(&mut self, block: &EvmBlock) {
        self.canonical.insert(block.header.number, Link::of(block));
        self.height_of.insert(block.dag_hash, block.header.number);
    }

    /// Takes a block out of the selected chain.
    pub fn unlink(&mut self, block: &EvmBlock) {
        self.canonical.remove(&block.header.number);
        self.height_of.remove(&block.dag_hash);
    }

    /// Whether it is up.
    pub const fn is_up(&self) -> bool {
        self.chain.is_some()
    }

    /// The next start finds an empty disk.
    #[cfg(test)]
    pub fn lose_disk(&mut self) {
        self.disk = Arc::new(MemoryKv::new());
    }
}
