//! What readers see: a snapshot of the store and the head, taken together. Reading never waits for the chain's thread.

use crate::{
    blocks::BlockReader,
    chain::Chain,
    committee::{Standing, readiness_of},
    error::{ChainError, ModelError, ViewError},
    linear::EthereumFacts,
    models::{ModelSignature, ModelStore, readiness_need},
};
use alloy_primitives::{Address, B256, Bytes};
use lattice_consensus::GhostdagData;
use lattice_execution::{
    AiLane, BlockContext, BlockExecutor, CallOutcome, CallRequest, GasEstimate, ModelRecord, Occurrence, Outcome,
    Payee, ReadinessNeed, SimulationContext, SimulationError,
    ai::AdapterRecord,
    simulate::{self, Overrides, PrecompileMoves},
    trace::{Trace, TraceOptions},
};
use lattice_state::{History, State};
use lattice_storage::{KvRead, StorageFault, Table};
use lattice_types::{ChainSpec, CheckedBlock, Checkpoint, DagHeader, EvmBlock, IncludedTx, TxEnvelope};
use std::{collections::BTreeSet, sync::Arc};

pub use crate::blocks::BlockStatus;

/// A consistent view of the chain at one moment.
pub struct View {
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) kv: Arc<dyn KvRead>,
    pub(crate) blocks: BlockReader,
    pub(crate) head: Arc<EvmBlock>,
    /// Number of the oldest block that is kept whole.
    pub(crate) oldest: u64,
    pub(crate) tips: Vec<B256>,
    /// States of the newest chain blocks, newest first: the head's number is the first one's.
    pub(crate) states: Vec<State>,
    /// Older states, of an archive.
    pub(crate) history: Option<History>,
    pub(crate) models: Arc<ModelStore>,
    pub(crate) finality: FinalityFacts,
    pub(crate) ethereum: Option<Arc<EthereumFacts>>,
}

/// The newest checkpoints that a node holds on to, with the numbers of their EVM blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalityFacts {
    /// The newest justified checkpoint.
    pub justified: Checkpoint,
    /// Number of its EVM block.
    pub safe: u64,
    /// The newest finalised checkpoint.
    pub finalised: Checkpoint,
    /// Number of its EVM block.
    pub finalized: u64,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("head", &self.head.header.number).finish_non_exhaustive()
    }
}

/// What is known of a DAG block.
#[derive(Debug, Clone)]
pub struct DagFacts {
    /// Its hash.
    pub hash: B256,
    /// Its header.
    pub header: DagHeader,
    /// Its selected parent; `None` for the genesis.
    pub selected_parent: Option<B256>,
    /// Blue blocks of its mergeset, the selected parent first.
    pub mergeset_blues: Vec<B256>,
    /// Red blocks of its mergeset.
    pub mergeset_reds: Vec<B256>,
    /// Whether its commitments held.
    pub status: BlockStatus,
    /// Number of its EVM block, when it lies on the selected chain.
    pub evm_number: Option<u64>,
    /// Sum of the AI classes of the blues in its past.
    pub ai_score: u64,
    /// Transactions in its body.
    pub tx_count: usize,
}

impl View {
    pub(crate) fn new(chain: &Chain) -> Result<Self, ChainError> {
        let kv = chain.kv.snapshot();
        let mut states = Vec::new();
        let mut next = Some(chain.fork.sink);
        while let Some(hash) = next
            && let Some(state) = chain.layers.resident(&hash)
            && states.len() as u64 <= chain.spec.state_window
        {
            states.push(state.clone());
            next = chain.layers.parent(&hash);
        }
        Ok(Self {
            spec: chain.spec.clone(),
            blocks: BlockReader::new(kv.clone(), chain.fork.blocks.cache().clone()),
            kv,
            head: chain.fork.head.clone(),
            // Of the bottom itself some carriers are gone.
            oldest: Some(chain.dag.bottom()?.1).filter(|&bottom| bottom > 0).map_or(0, |bottom| bottom + 1),
            tips: chain.dag.tips(),
            states,
            history: chain.layers.history(),
            models: chain.models.clone(),
            finality: chain.finality_facts(),
            ethereum: None,
        })
    }

    /// The chain's specification.
    pub fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    /// The latest EVM block.
    pub const fn head(&self) -> &Arc<EvmBlock> {
        &self.head
    }

    /// What only Ethereum's own chains have, when this is one of them.
    pub fn ethereum(&self) -> Option<&EthereumFacts> {
        self.ethereum.as_deref()
    }

    /// Number of the newest justified block.
    pub fn safe_number(&self) -> u64 {
        self.finality.safe
    }

    /// Number of the newest finalised block.
    pub fn finalized_number(&self) -> u64 {
        self.finality.finalized
    }

    /// What the node holds on to.
    pub const fn finality(&self) -> &FinalityFacts {
        &self.finality
    }

    /// Number of the oldest block that is kept with its transactions and receipts. Of those before, only the genesis is.
    pub const fn oldest_block(&self) -> u64 {
        self.oldest
    }

    /// The EVM block at a height of the selected chain.
    ///
    /// # Errors
    /// [`ViewError::BlockPruned`] for those before the oldest kept, and faults.
    pub fn block_by_number(&self, number: u64) -> Result<Option<Arc<EvmBlock>>, ViewError> {
        if number == self.head.header.number {
            return Ok(Some(self.head.clone()));
        }
        if (1..self.oldest).contains(&number) {
            return Err(ViewError::BlockPruned { number, kept_from: self.oldest });
        }
        Ok(self.chain_block(self.blocks.canonical_by_number(number)?)?)
    }

    /// The EVM block of the selected chain with this hash.
    pub fn block_by_hash(&self, evm_hash: &B256) -> Result<Option<Arc<EvmBlock>>, StorageFault> {
        self.chain_block(self.blocks.canonical_by_hash(evm_hash)?)
    }

    /// The EVM block that the execution of a DAG block gave, on the selected chain or off it.
    pub fn block_by_dag_hash(&self, dag_hash: &B256) -> Result<Option<Arc<EvmBlock>>, StorageFault> {
        self.blocks.executed(dag_hash)
    }

    fn chain_block(&self, dag_hash: Option<B256>) -> Result<Option<Arc<EvmBlock>>, StorageFault> {
        dag_hash.map_or(Ok(None), |hash| self.blocks.executed(&hash))
    }

    /// The block that executed a transaction, and its index there.
    pub fn transaction(&self, tx_hash: &B256) -> Result<Option<(Arc<EvmBlock>, usize)>, StorageFault> {
        let Some((dag_hash, index)) = self.blocks.transaction(tx_hash)? else { return Ok(None) };
        Ok(self.blocks.executed(&dag_hash)?.map(|block| (block, index)))
    }

    /// The transaction itself, from the DAG block that carried it.
    pub fn envelope(&self, tx: &IncludedTx) -> Result<TxEnvelope, StorageFault> {
        let carrier = self.carrier(&tx.carrier)?;
        let envelope = carrier.block().body.transactions.get(tx.index as usize);
        envelope
            .cloned()
            .ok_or_else(|| StorageFault::corrupt(Table::Bodies, format!("transaction {} is missing", tx.hash)))
    }

    /// All transactions of an EVM block, in order.
    pub fn envelopes(&self, block: &EvmBlock) -> Result<Vec<TxEnvelope>, StorageFault> {
        block.transactions.iter().map(|tx| self.envelope(tx)).collect()
    }

    fn carrier(&self, hash: &B256) -> Result<Arc<CheckedBlock>, StorageFault> {
        let block = self.blocks.dag_block(hash)?;
        block.ok_or_else(|| StorageFault::corrupt(Table::Bodies, format!("block {hash} is missing")))
    }

    /// The state after a block of the selected chain. Within the window that is a clone; an archive rebuilds older ones,
    /// which may take long: see [`History::state`].
    ///
    /// # Errors
    /// [`ViewError::UnknownBlock`] beyond the head, [`ViewError::StatePruned`] when the state is not kept, and faults.
    pub fn state_at(&self, number: u64) -> Result<State, ViewError> {
        let back = self.head.header.number.checked_sub(number).ok_or(ViewError::UnknownBlock(number))?;
        if let Some(state) = usize::try_from(back).ok().and_then(|back| self.states.get(back)) {
            return Ok(state.clone());
        }
        let Some(history) = &self.history else {
            let (window, kept_from) = (self.spec.state_window, self.oldest_state());
            return Err(ViewError::StatePruned { number, window, kept_from });
        };
        let block = self.block_by_number(number)?;
        let missing = || StorageFault::corrupt(Table::Canonical, format!("block {number} is missing"));
        let state = history.state(&*self.kv, number, block.ok_or_else(missing)?.dag_hash)?;
        state.ok_or(ViewError::StateNotArchived { number, kept_from: history.oldest() })
    }

    /// Whether this node keeps the states before the window.
    pub const fn is_archive(&self) -> bool {
        self.history.is_some()
    }

    /// The state after the latest block.
    pub fn head_state(&self) -> &State {
        self.states.first().expect("the head's state is always kept")
    }

    /// A DAG block.
    pub fn dag_block(&self, dag_hash: &B256) -> Result<Option<Arc<CheckedBlock>>, StorageFault> {
        self.blocks.dag_block(dag_hash)
    }

    /// What is known of a DAG block.
    pub fn dag_facts(&self, dag_hash: &B256) -> Result<Option<DagFacts>, StorageFault> {
        let (Some(block), Some(data)) = (self.blocks.dag_block(dag_hash)?, GhostdagData::load(&*self.kv, dag_hash)?)
        else {
            return Ok(None);
        };
        let executed = self.blocks.executed(dag_hash)?;
        let evm_number = match executed.map(|block| block.header.number) {
            Some(number) if self.blocks.canonical_by_number(number)? == Some(*dag_hash) => Some(number),
            _ => None,
        };
        let GhostdagData { selected_parent, mergeset_blues, mergeset_reds, .. } = data;
        let header = block.block().header.clone();
        Ok(Some(DagFacts {
            hash: *dag_hash,
            selected_parent: (!header.parents.is_empty()).then_some(selected_parent),
            header,
            mergeset_blues,
            mergeset_reds,
            status: self.blocks.status(dag_hash)?,
            evm_number,
            ai_score: Standing::load(&*self.kv, dag_hash)?.ai_score,
            tx_count: block.block().body.transactions.len(),
        }))
    }

    /// Headers of the pruning points of the newest finalised block's chain, genesis first, and that block's header, which names
    /// the newest of them. They are kept for good, and [`lattice_consensus::check_pruning_proof`] verifies them.
    pub fn pruning_proof(&self) -> Result<(Vec<DagHeader>, DagHeader), StorageFault> {
        let missing = |hash: &B256| StorageFault::corrupt(Table::Headers, format!("pruning point {hash} is missing"));
        let header = |hash: &B256| self.blocks.header(hash)?.ok_or_else(|| missing(hash));
        let head = self.blocks.canonical_by_number(self.finalized_number())?.unwrap_or(self.sink());
        let head = header(&head)?;
        let mut points = Vec::new();
        let mut next = if head.parents.is_empty() { head.hash() } else { head.newest_pruning_point };
        loop {
            let point = header(&next)?;
            next = point.newest_pruning_point;
            let is_genesis = point.parents.is_empty();
            points.push(point);
            if is_genesis {
                points.reverse();
                return Ok((points, head));
            }
        }
    }

    /// Blocks without children.
    pub fn tips(&self) -> &[B256] {
        &self.tips
    }

    /// The tip of the selected chain.
    pub fn sink(&self) -> B256 {
        self.head.dag_hash
    }

    /// The newest DAG blocks by blue score, newest first.
    pub fn recent_dag(&self, limit: usize) -> Result<Vec<DagFacts>, StorageFault> {
        let mut found = Vec::new();
        let mut seen: BTreeSet<B256> = self.tips.iter().copied().collect();
        let mut queue = BTreeSet::new();
        for tip in &self.tips {
            queue.extend(self.blocks.header(tip)?.map(|header| (header.blue_score, header.slot, *tip)));
        }
        while found.len() < limit
            && let Some((_, _, hash)) = queue.pop_last()
        {
            let Some(facts) = self.dag_facts(&hash)? else { continue };
            for parent in &facts.header.parents {
                if seen.insert(*parent) {
                    queue.extend(self.blocks.header(parent)?.map(|header| (header.blue_score, header.slot, *parent)));
                }
            }
            found.push(facts);
        }
        Ok(found)
    }

    /// Number of the oldest block whose state is kept.
    pub fn oldest_state(&self) -> u64 {
        let window = self.head.header.number + 1 - self.states.len() as u64;
        self.history.as_ref().map_or(window, |history| history.oldest().min(window))
    }

    /// Runs `body` with the context of the block at `number`, on the state after it, both as the overrides have them.
    fn simulate<T>(
        &self,
        number: u64,
        overrides: &Overrides,
        body: impl FnOnce(&SimulationContext<'_>, &State) -> Result<T, SimulationError>,
    ) -> Result<T, ViewError> {
        let block = self.block_by_number(number)?.ok_or(ViewError::UnknownBlock(number))?;
        let state = overrides.state(&self.state_at(number)?);
        // A block of another number has predecessors that nobody made.
        let unknown = overrides.block.number.map(|_| B256::ZERO);
        let hashes = |wanted: u64| self.block_by_number(wanted).ok().flatten().map(|block| block.hash()).or(unknown);
        let mut precompiles = PrecompileMoves::default();
        precompiles.extend(&overrides.accounts)?;
        let context = SimulationContext {
            spec: &self.spec,
            header: &overrides.header(&block.header),
            block_hashes: &hashes,
            inference: &self.models.engine(&state),
            precompiles: &precompiles,
        };
        Ok(body(&context, &state)?)
    }

    /// eth_call on the state after a block.
    pub fn call(&self, number: u64, request: &CallRequest, overrides: &Overrides) -> Result<CallOutcome, ViewError> {
        self.simulate(number, overrides, |context, state| simulate::call(context, state, request))
    }

    /// debug_traceCall on the state after a block.
    pub fn trace_call(
        &self,
        number: u64,
        request: &CallRequest,
        overrides: &Overrides,
        options: TraceOptions,
    ) -> Result<(CallOutcome, Trace), ViewError> {
        self.simulate(number, overrides, |context, state| simulate::trace_call(context, state, request, options))
    }

    /// debug_traceTransaction: executes the transaction's block again up to it, and logs its steps. Gas used, success,
    /// output and steps; `None` when the selected chain has no such transaction.
    pub fn trace_transaction(
        &self,
        tx_hash: &B256,
        options: TraceOptions,
    ) -> Result<Option<(u64, bool, Bytes, Trace)>, ViewError> {
        let Some((block, index)) = self.transaction(tx_hash)? else { return Ok(None) };
        let number = block.header.number;
        let before = number.saturating_sub(1);
        let parent = self.block_by_number(before)?.ok_or(ViewError::UnknownBlock(before))?;
        let state = self.state_at(before)?;
        let own = self.carrier(&block.dag_hash)?;
        let epoch = self.spec.epoch_of(own.block().header.slot);
        let mut readiness = Vec::new();
        for hash in &block.executed {
            let carrier = self.carrier(hash)?;
            readiness.extend(readiness_of(&carrier.block().body, epoch));
        }
        let hashes = |wanted: u64| self.block_by_number(wanted).ok().flatten().map(|block| block.hash());
        let context = BlockContext {
            spec: &self.spec,
            parent: &parent.header,
            parent_hash: block.header.parent_hash,
            selected_parent: block.header.parent_beacon_block_root.unwrap_or_default(),
            slot: own.block().header.slot,
            prev_randao: block.header.mix_hash,
            dag_blocks: block.executed.len() as u64,
            block_hashes: &hashes,
            readiness: &readiness,
            blue_producers: &[],
            // Rewards and slashings move no step of a transaction.
            certificates: &[],
            slashings: &[],
            carriers: &[],
            inference: &self.models.engine(&state),
        };
        // Whom the tips go to shows at the end of the block only.
        let payee = Payee { validator: 0, address: Address::ZERO };
        let mut executor = BlockExecutor::begin(context, &state).map_err(SimulationError::from)?;
        for tx in block.transactions.iter().take(index) {
            let envelope = self.envelope(tx)?;
            let occurrence =
                Occurrence { tx: &envelope, sender: tx.sender, carrier: tx.carrier, index: tx.index, payee };
            executor.execute(occurrence).map_err(SimulationError::from)?;
        }
        let tx = &block.transactions[index];
        let envelope = self.envelope(tx)?;
        executor.watch(options);
        let occurrence = Occurrence { tx: &envelope, sender: tx.sender, carrier: tx.carrier, index: tx.index, payee };
        match executor.execute(occurrence).map_err(SimulationError::from)? {
            Outcome::Included { success, gas_used, output, .. } => {
                Ok(Some((gas_used, success, output, executor.take_trace())))
            }
            Outcome::Skipped(reason) => {
                Err(StorageFault::corrupt(Table::Bodies, format!("{tx_hash} does not run again: {reason}")).into())
            }
        }
    }

    /// eth_estimateGas on the state after a block.
    pub fn estimate_gas(
        &self,
        number: u64,
        request: &CallRequest,
        overrides: &Overrides,
    ) -> Result<GasEstimate, ViewError> {
        self.simulate(number, overrides, |context, state| simulate::estimate_gas(context, state, request))
    }

    /// eth_createAccessList on the state after a block.
    pub fn create_access_list(
        &self,
        number: u64,
        request: &CallRequest,
        overrides: &Overrides,
    ) -> Result<simulate::AccessListOutcome, ViewError> {
        self.simulate(number, overrides, |context, state| simulate::create_access_list(context, state, request))
    }

    /// The AI lane after the latest block: its price and its last use.
    pub fn ai_lane(&self) -> AiLane {
        AiLane::read(self.head_state(), &self.spec)
    }

    /// Registered models in order of registration: how many there are, and those from `offset` on.
    pub fn models(&self, offset: u64, limit: u64) -> (u64, Vec<(B256, ModelRecord)>) {
        let total = lattice_execution::model_count(self.head_state());
        let ids = lattice_execution::models(self.head_state(), offset, limit);
        (total, ids.into_iter().filter_map(|id| self.model(&id).map(|record| (id, record))).collect())
    }

    /// Ids of registrations, versions included: how many there ever were, and the remembered ones of the `limit` from
    /// number `offset` on.
    pub fn registrations(&self, offset: u64, limit: u64) -> (u64, Vec<B256>) {
        let state = self.head_state();
        (lattice_execution::registration_count(state), lattice_execution::registrations(state, offset, limit))
    }

    /// The kept versions of a model's line, oldest first.
    pub fn model_versions(&self, line_id: &B256) -> Vec<(B256, ModelRecord)> {
        lattice_execution::model_versions(self.head_state(), line_id)
    }

    /// The epoch of the head.
    pub fn epoch(&self) -> u64 {
        self.spec.epoch_of(self.spec.slot_at(self.head.header.timestamp))
    }

    /// One model's record.
    pub fn model(&self, model_id: &B256) -> Option<ModelRecord> {
        ModelRecord::read(self.head_state(), model_id)
    }

    /// What readiness certificates of an epoch are good for, for a model or an adapter.
    pub fn readiness_need(&self, id: &B256, epoch: u64) -> ReadinessNeed {
        readiness_need(self.head_state(), id, epoch)
    }

    /// Checks the artifact of a model or an adapter against its record.
    pub fn verify(&self, models: &ModelStore, id: &B256) -> Result<(), ModelError> {
        match AdapterRecord::read(self.head_state(), id) {
            Some(adapter) => models.verify_adapter(id, &adapter, &self.known_model(&adapter.base_model)?),
            None => models.verify(id, &self.known_model(id)?),
        }
    }

    fn known_model(&self, model_id: &B256) -> Result<ModelRecord, ModelError> {
        self.model(model_id).ok_or(ModelError::Unknown(*model_id))
    }

    /// Inputs, outputs, operators and cost of a model, from the artifact on this machine; `None` when it is not here.
    pub fn model_graph(&self, model_id: &B256) -> Result<Option<ModelSignature>, ModelError> {
        let record = self.known_model(model_id)?;
        if !self.models.artifacts().missing(&record.artifact)?.is_empty() {
            return Ok(None);
        }
        self.models.signature(model_id, &record.artifact).map(Some)
    }

    /// The recorded output hash of a model for an input.
    pub fn inference_record(&self, model_id: &B256, input_hash: &B256) -> Option<B256> {
        lattice_execution::inference_record(self.head_state(), model_id, input_hash)
    }

    /// Runs a model, or a base with the adapter or composition of that id, here, without any transaction: to read, or to check a recorded result by replay.
    pub fn run_model(&self, model_id: &B256, input: &[u8]) -> Result<Arc<[u8]>, ModelError> {
        self.models.run_registered(self.head_state(), model_id, input)
    }
}
