//! The chain itself: its fields, its one entry, and opening it.

use crate::{
    advance::{FLATTEN_SLACK, Fork},
    blocks::{self, BlockCache, BlockReader, BlockStatus},
    committee::{Committee, CommitteeParams, EpochSet},
    error::ChainError,
    models::ModelStore,
    pool::{Pool, PoolIndex},
    template::Template,
    view::{FinalityFacts, View},
};
use alloy_primitives::B256;
use lattice_consensus::{
    BlockFacts, Dag, DagParams, Residency, TieRule,
    finality::{FinalityConflict, LocalFinality},
};
use lattice_state::{Layers, Retention, State, StateDiff};
use lattice_storage::{Batch, Kv, KvRead, StorageFault, Table};
use lattice_types::{
    Certificate, ChainSpec, CheckedAttestation, CheckedBlock, CheckedVote, Checkpoint, DagHeader, Evidence, EvmBlock,
    RecoveredTx, bls,
};
use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

/// Meta row that names the sink.
const SINK: &[u8] = b"sink";
/// Meta row that names the genesis block, so that a store of another chain is refused.
const GENESIS: &[u8] = b"genesis";

/// What the chain is told.
#[derive(Debug)]
pub enum Input {
    /// A transaction asks for admission.
    Transaction(Box<RecoveredTx>),
    /// A block arrived, from a peer or from our own sealing.
    Block(CheckedBlock),
    /// Our validator won a slot: build a template.
    Slot {
        /// The slot.
        slot: u64,
        /// Our index in the registry.
        proposer: u32,
        /// The slot's VRF.
        vrf: bls::Signature,
    },
    /// A validator's word that it holds a pending model; blocks carry a certificate once two thirds have given it.
    Attestation(CheckedAttestation),
    /// A vote, ours or a peer's.
    Vote(CheckedVote),
    /// Evidence of an offence, which [`Evidence::check`] found good.
    Evidence(Evidence),
}

/// What the shell has to do after an input. All of it is already durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// The transaction that was admitted.
    pub admitted: Option<B256>,
    /// A block to sign and to hand back as [`Input::Block`].
    pub seal: Option<Box<Template>>,
    /// EVM blocks that left the selected chain, newest first.
    pub removed: Vec<Arc<EvmBlock>>,
    /// EVM blocks that joined it, oldest first.
    pub added: Vec<Arc<EvmBlock>>,
    /// Blocks that were disqualified, with the reason.
    pub disqualified: Vec<(B256, String)>,
    /// Orphans whose parents are all known now: hand them in again.
    pub adopted: Vec<CheckedBlock>,
    /// Evidence that is new: tell the peers.
    pub evidence: Vec<Evidence>,
    /// A certificate that a vote has just completed; the next block of ours carries it.
    pub certificate: Option<Certificate>,
    /// Another checkpoint was finalised than this node holds: an operator must look.
    pub conflict: Option<FinalityConflict>,
}

/// What a node may choose for itself: nobody else can tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChainOptions {
    /// Keep every block, and its state, from now on, not only what the pruning depth and the window span. A store that did so
    /// once goes on.
    pub archive: bool,
    /// A checkpoint that the operator trusts (weak subjectivity): only chains that hold it are followed. What the node
    /// has finalised beyond it weighs more.
    pub trusted: Option<Checkpoint>,
}

/// The chain of one node.
pub struct Chain {
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) dag: Dag,
    pub(crate) layers: Layers,
    pub(crate) pool: Pool,
    pub(crate) models: Arc<ModelStore>,
    pub(crate) fork: Fork,
    pub(crate) committee: Committee,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("spec", &self.spec.name).field("sink", &self.fork.sink).finish_non_exhaustive()
    }
}

/// What consensus needs of a header.
pub(crate) fn facts(spec: &ChainSpec, hash: B256, header: &DagHeader) -> BlockFacts {
    BlockFacts {
        hash,
        parents: header.parents.clone(),
        slot: header.slot,
        vrf_hash: header.vrf_hash(),
        ai_class: header.ai_class,
        work: spec.work(header.ai_class),
        blue_score: header.blue_score,
        blue_work: header.blue_work,
        newest_pruning_point: header.newest_pruning_point,
    }
}

impl Chain {
    /// Opens the chain of `spec` in a store; an empty store gets the genesis.
    ///
    /// # Errors
    /// When the store fails, is damaged, or holds another chain.
    pub fn open(spec: ChainSpec, kv: Arc<dyn Kv>, models: Arc<ModelStore>) -> Result<Self, ChainError> {
        Self::open_with(spec, kv, models, ChainOptions::default())
    }

    /// [`Chain::open`] with what a node may choose for itself.
    ///
    /// # Errors
    /// As [`Chain::open`].
    pub fn open_with(
        spec: ChainSpec,
        kv: Arc<dyn Kv>,
        models: Arc<ModelStore>,
        options: ChainOptions,
    ) -> Result<Self, ChainError> {
        let (mut evm, state, diff) = lattice_execution::genesis(&spec);
        let block = spec.genesis_block(
            evm.hash(),
            lattice_execution::model_root(&state),
            lattice_execution::inference_root(&state),
            lattice_execution::training_root(&state),
        );
        let block = CheckedBlock::trusted(block, Vec::new());
        let genesis = block.hash();
        evm.dag_hash = genesis;
        evm.executed = vec![genesis];
        match kv.get(Table::Meta, GENESIS)? {
            None => Self::init(&spec, &kv, &block, (&evm, &state, &diff), options)?,
            Some(found) if found != genesis.as_slice() => {
                let found = alloy_primitives::hex::encode_prefixed(found);
                return Err(ChainError::Fault(format!(
                    "the data directory holds the chain with genesis {found}, expected {genesis} ({}): use another directory, or remove it",
                    spec.name
                )));
            }
            Some(_) => {}
        }
        Self::restore(spec, kv, models, genesis, options)
    }

    fn restore(
        spec: ChainSpec,
        kv: Arc<dyn Kv>,
        models: Arc<ModelStore>,
        genesis: B256,
        options: ChainOptions,
    ) -> Result<Self, ChainError> {
        let layers = Layers::open(kv.clone(), retention(&spec, options))?;
        let params = params(&spec);
        // What the pruning depth spans need not be in memory: it could not be pruned.
        let residency =
            Residency { blocks: Residency::default().blocks.min(params.pruning_depth), ..Default::default() };
        let dag = Dag::open_with(kv.clone(), params, residency)?
            .ok_or_else(|| StorageFault::corrupt(Table::Relations, "the DAG is missing"))?;
        let cache = Arc::new(BlockCache::new());
        let reader = BlockReader::new(kv.clone(), cache);
        let sink = kv.get(Table::Meta, SINK)?;
        let sink = sink.and_then(|sink| B256::try_from(sink.as_slice()).ok()).unwrap_or(genesis);
        let head = reader
            .executed(&sink)?
            .ok_or_else(|| StorageFault::corrupt(Table::Executed, format!("the sink {sink} is missing")))?;
        let disqualified = read_disqualified(&kv)?;
        let fork = Fork::new(sink, head, disqualified, reader);
        let committee = Committee::open(&spec, kv.clone(), &dag, options.trusted)?;
        Ok(Self { spec: Arc::new(spec), kv, dag, layers, pool: Pool::new(), models, fork, committee })
    }

    fn init(
        spec: &ChainSpec,
        kv: &Arc<dyn Kv>,
        block: &CheckedBlock,
        (evm, state, diff): (&EvmBlock, &State, &StateDiff),
        options: ChainOptions,
    ) -> Result<(), ChainError> {
        let set = EpochSet::first(&CommitteeParams::of(spec)?, state);
        let genesis = block.hash();
        let mut batch = Batch::new();
        Dag::new(&facts(spec, genesis, &block.block().header), params(spec), &mut batch);
        Committee::init(spec, genesis, &set, &mut batch);
        Layers::init(kv.clone(), genesis, diff, retention(spec, options), &mut batch)?;
        blocks::put_block(&mut batch, block);
        blocks::put_status(&mut batch, &genesis, BlockStatus::Valid);
        blocks::put_executed(&mut batch, evm);
        blocks::index_canonical(&mut batch, evm);
        batch.put(Table::Meta, GENESIS, genesis.as_slice());
        put_sink(&mut batch, &genesis);
        Ok(kv.write(batch)?)
    }

    /// Takes one input at time `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// See [`ChainError`]. After a fault the chain must be dropped and opened again: memory may be ahead of the disk.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Result<Effects, ChainError> {
        match input {
            Input::Transaction(tx) => {
                let state = self.head_state()?;
                let hash = self.pool.admit(*tx, &state, &self.spec)?;
                Ok(Effects { admitted: Some(hash), ..Effects::default() })
            }
            Input::Block(block) => self.take_block(now_ms, block),
            Input::Slot { slot, proposer, vrf } => self.build_template(slot, proposer, vrf),
            Input::Attestation(attestation) => self.take_attestation(now_ms, &attestation),
            Input::Vote(vote) => self.take_vote(now_ms, vote),
            Input::Evidence(evidence) => self.take_evidence(evidence),
        }
    }

    /// Writes what an input has staged; from then on it can be read from the store.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<(), ChainError> {
        if !batch.is_empty() {
            self.kv.write(batch)?;
        }
        self.fork.committed();
        Ok(())
    }

    /// The chain's parameters.
    pub const fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// The latest EVM block.
    pub const fn head(&self) -> &Arc<EvmBlock> {
        &self.fork.head
    }

    /// The pool's lookups.
    pub const fn pool_index(&self) -> &Arc<PoolIndex> {
        self.pool.index()
    }

    /// The DAG.
    pub const fn dag(&self) -> &Dag {
        &self.dag
    }

    /// What this node holds on to: its newest finalised and justified checkpoints.
    pub const fn finality(&self) -> &LocalFinality {
        self.committee.local()
    }

    pub(crate) fn finality_facts(&self) -> FinalityFacts {
        let (finalised, justified) = (self.finality().finalised(), self.finality().justified());
        // A checkpoint has a layer, but before a trusted one has arrived.
        let number = |checkpoint: &Checkpoint| self.layers.height(&checkpoint.hash).unwrap_or(0);
        FinalityFacts { justified, safe: number(&justified), finalised, finalized: number(&finalised) }
    }

    /// A DAG block that this node holds.
    ///
    /// # Errors
    /// When the store fails.
    pub fn block(&self, hash: &B256) -> Result<Option<Arc<CheckedBlock>>, ChainError> {
        Ok(self.fork.blocks.dag_block(hash)?)
    }

    /// The slot that a block on the current tips needs at least.
    pub fn next_slot(&self) -> Result<u64, ChainError> {
        let mut newest = 0;
        for tip in self.dag.tips() {
            newest = newest.max(self.dag.slot(&tip)?.unwrap_or(0));
        }
        Ok(newest + 1)
    }

    /// Whether a block of ours made at this time would have something to carry.
    pub fn has_work(&self, now_ms: u64) -> Result<bool, ChainError> {
        let state = self.head_state()?;
        let slot = self.next_slot()?.max(self.slot_at(now_ms));
        let judged = self.committee.standing(&self.fork.sink)?.epoch.at(&self.committee.params().epochs, slot);
        let base_fee = lattice_execution::base_fee_next(&self.spec, &self.fork.head.header);
        Ok(!self.readiness_for(&judged, &state)?.is_empty()
            || !self.evidence_for(&state).is_empty()
            || self.pool.has_ready(&state, base_fee))
    }

    /// Number of the oldest block whose state is kept for good; `None` when this node is no archive.
    pub fn archive_from(&self) -> Option<u64> {
        self.layers.history().map(|history| history.oldest())
    }

    /// What readers see now.
    pub fn view(&self) -> Result<View, ChainError> {
        View::new(self)
    }

    pub(crate) fn head_state(&self) -> Result<State, ChainError> {
        let sink = self.fork.sink;
        self.layers.state(&sink)?.ok_or_else(|| ChainError::Fault(format!("the state of the sink {sink} is missing")))
    }
}

pub(crate) fn put_sink(batch: &mut Batch, sink: &B256) {
    batch.put(Table::Meta, SINK, sink.as_slice());
}

fn retention(spec: &ChainSpec, options: ChainOptions) -> Retention {
    // Side branches have layers of their own: room for as many again as the selected chain needs.
    let window = usize::try_from(spec.state_window + FLATTEN_SLACK).unwrap_or(usize::MAX);
    Retention { resident_max: window.saturating_mul(2), archive: options.archive }
}

fn params(spec: &ChainSpec) -> DagParams {
    DagParams {
        k: spec.k,
        parents_max: spec.parents_max,
        mergeset_max: spec.mergeset_max,
        merge_depth: spec.merge_depth,
        pruning_depth: spec.pruning_depth,
        tie_rule: TieRule::LowerVrfHash,
    }
}

fn read_disqualified(kv: &Arc<dyn Kv>) -> Result<BTreeSet<B256>, ChainError> {
    let mut found = BTreeSet::new();
    kv.scan(Table::Status, &[], None, &mut |key, value| {
        if value == [2]
            && let Ok(hash) = B256::try_from(key)
        {
            found.insert(hash);
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
