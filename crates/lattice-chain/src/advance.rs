//! The sink moves: fork choice, execution of the blocks that join the selected chain, disqualification, reorganisation.
//!
//! A block is executed only when it becomes a chain candidate, on the state of its selected parent. A candidate whose
//! commitments are wrong is *disqualified from chain*, with all that have it as selected parent; fork choice goes on
//! among the others. The blocks stay in the DAG: their transactions execute when somebody merges them.

use crate::{
    blocks::{self, BlockReader, BlockStatus},
    chain::{Chain, Effects, put_sink},
    committee,
    error::ChainError,
    orphans::Orphans,
};
use alloy_primitives::B256;
use lattice_consensus::{GhostdagData, Merged};
use lattice_execution::{
    BlockContext, BlockExecutor, Executed, Occurrence, Payee, Readiness, Slashing, artifact_list_cid, staking,
};
use lattice_state::State;
use lattice_storage::Batch;
use lattice_types::{CheckedBlock, DagBody, DagHeader, EvmBlock, TxEnvelope, cid::MaybeCid};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Layers beyond the window that gather before the base moves, so that flattening is not paid for at every block.
pub const FLATTEN_SLACK: u64 = 32;
/// Blocks that the base moves at most in one input: after a long wait it catches up in bounded steps.
const FLATTEN_STEP: u64 = 256;

/// Where the chain stands, and what one input has staged but not yet committed.
pub struct Fork {
    /// The tip of the selected chain.
    pub sink: B256,
    /// Its EVM block.
    pub head: Arc<EvmBlock>,
    /// Chain candidates that failed.
    pub disqualified: BTreeSet<B256>,
    /// Blocks on disk and in the cache.
    pub blocks: BlockReader,
    /// What executing our own last template gave, by the header's commitment: it need not run twice.
    pub sealed: Option<(B256, Executed)>,
    /// Blocks that wait for their parents.
    pub orphans: Orphans,
    /// Blocks of this input, which are not on disk yet.
    staged: BTreeMap<B256, Arc<CheckedBlock>>,
    /// Executed blocks of this input.
    staged_executed: BTreeMap<B256, Arc<EvmBlock>>,
}

impl Fork {
    pub fn new(sink: B256, head: Arc<EvmBlock>, disqualified: BTreeSet<B256>, blocks: BlockReader) -> Self {
        let (orphans, staged, staged_executed) = Default::default();
        Self { sink, head, disqualified, blocks, sealed: None, orphans, staged, staged_executed }
    }

    /// Makes a block of this input readable before it is on disk.
    pub fn stage_block(&mut self, block: CheckedBlock) {
        self.staged.insert(block.hash(), Arc::new(block));
    }

    /// The batch is on disk: from now on everything can be read from there, or from the cache.
    pub fn committed(&mut self) {
        for block in std::mem::take(&mut self.staged).into_values() {
            self.blocks.cache().put_dag(block);
        }
        for block in std::mem::take(&mut self.staged_executed).into_values() {
            self.blocks.cache().put_executed(block);
        }
    }

    pub fn dag_block(&self, hash: &B256) -> Result<Arc<CheckedBlock>, ChainError> {
        if let Some(block) = self.staged.get(hash) {
            return Ok(block.clone());
        }
        self.blocks.dag_block(hash)?.ok_or_else(|| ChainError::Fault(format!("block {hash} is missing from the store")))
    }

    pub fn executed(&self, hash: &B256) -> Result<Arc<EvmBlock>, ChainError> {
        if let Some(block) = self.staged_executed.get(hash) {
            return Ok(block.clone());
        }
        let found = self.blocks.executed(hash)?;
        found.ok_or_else(|| ChainError::Fault(format!("EVM block of {hash} is missing from the store")))
    }
}

/// The mergeset of a chain block: everything that it executes before its own transactions.
pub struct Merge {
    /// Blocks in GHOSTDAG order, the selected parent and later copies excluded.
    pub ordered: Vec<Merged>,
    /// The selected parent.
    pub selected_parent: B256,
}

/// One block to execute, as its header or our template describes it.
pub struct Execution<'a> {
    pub merge: &'a Merge,
    pub slot: u64,
    pub prev_randao: B256,
    pub proposer: u32,
    /// The block's own certificates and evidence; of a template, before there are transactions in it.
    pub body: &'a DagBody,
    /// Transactions that the block itself will most likely execute: their inferences run ahead, together.
    pub ahead: Vec<&'a TxEnvelope>,
}

/// What the blocks that a chain block executes bring besides transactions.
#[derive(Default)]
struct Dues {
    /// Readiness certificates that count.
    readiness: Vec<Readiness>,
    /// Whoever carried a certificate that justified its target.
    certificates: Vec<Payee>,
    /// Who is to be slashed.
    slashings: Vec<Slashing>,
}

impl Dues {
    fn add(
        &mut self,
        body: &DagBody,
        epoch: u64,
        payee: Payee,
        finality: &mut Arc<lattice_consensus::finality::Finality>,
    ) {
        self.readiness.extend(committee::readiness_of(body, epoch));
        committee::apply(finality, &body.certificates, |_| self.certificates.push(payee));
        self.slashings.extend(body.evidence.iter().filter_map(|evidence| {
            let offence = evidence.offence().ok()?;
            Some(Slashing { public_key: *evidence.offender(), offence, reporter: payee })
        }));
    }
}

impl Chain {
    /// Moves the sink to the best usable block, staging all that changes.
    pub(crate) fn advance(&mut self, batch: &mut Batch) -> Result<Effects, ChainError> {
        let mut effects = Effects::default();
        loop {
            let best = self.best()?;
            if best == self.fork.sink {
                return Ok(effects);
            }
            let path = self.dag.chain_path(&self.fork.sink, &best)?;
            if self.execute_path(&path.added, batch, &mut effects)? {
                self.switch(best, &path.removed, &path.added, batch, &mut effects)?;
                return Ok(effects);
            }
        }
    }

    /// Fork choice: among the usable blocks whose selected chain holds the newest justified checkpoint, the one with the
    /// greatest key; the present sink when there is none.
    fn best(&self) -> Result<B256, ChainError> {
        let (base, disqualified, dag) = (self.layers.base(), &self.fork.disqualified, &self.dag);
        let usable = |hash: &B256| Ok(!disqualified.contains(hash) && dag.is_chain_ancestor(&base, hash)?);
        let justified = self.committee.local().justified().hash;
        if dag.contains(&justified)? {
            Ok(dag.best_justified(&justified, usable)?.unwrap_or(self.fork.sink))
        } else {
            // The node starts from a trusted checkpoint, and its blocks have not come that far.
            Ok(dag.best(usable)?)
        }
    }

    /// Executes the selected chain up to a block, on the sink's or off it. `false` when it has none that holds, or it
    /// leaves ours before the oldest state kept.
    pub(crate) fn ensure_executed(&mut self, block: &B256, batch: &mut Batch) -> Result<bool, ChainError> {
        if self.layers.contains(block) {
            return Ok(true);
        }
        if !self.dag.is_chain_ancestor(&self.layers.base(), block)? {
            return Ok(false);
        }
        let path = self.dag.chain_path(&self.fork.sink, block)?;
        self.execute_path(&path.added, batch, &mut Effects::default())
    }

    /// Executes the blocks of a path that were not executed before. `false`: one was disqualified, choose again.
    fn execute_path(&mut self, path: &[B256], batch: &mut Batch, effects: &mut Effects) -> Result<bool, ChainError> {
        for (at, hash) in path.iter().enumerate() {
            if self.layers.contains(hash) {
                continue;
            }
            let known = self.fork.disqualified.contains(hash);
            if !known {
                let Err(reason) = self.execute_candidate(hash, batch)? else { continue };
                self.disqualify(*hash, reason, batch, effects);
            }
            for child in &path[at + 1..] {
                self.disqualify(
                    *child,
                    format!("its selected chain holds {hash}, which is disqualified"),
                    batch,
                    effects,
                );
            }
            return Ok(false);
        }
        Ok(true)
    }

    fn disqualify(&mut self, hash: B256, reason: String, batch: &mut Batch, effects: &mut Effects) {
        self.fork.disqualified.insert(hash);
        blocks::put_status(batch, &hash, BlockStatus::Disqualified);
        effects.disqualified.push((hash, reason));
    }

    /// Executes one chain candidate and compares its commitments. The inner error says which one is wrong.
    fn execute_candidate(&mut self, hash: &B256, batch: &mut Batch) -> Result<Result<(), String>, ChainError> {
        let block = self.fork.dag_block(hash)?;
        let header = &block.block().header;
        let data =
            self.dag.ghostdag(hash)?.ok_or_else(|| ChainError::Fault(format!("block {hash} is not in the DAG")))?;
        let merge = self.merge(&data)?;
        let class = self.spec.ai_class(staking::ai_gas_of(&self.parent_state(&merge)?, header.proposer));
        if header.ai_class != class {
            return Ok(Err(format!("ai_class: the header claims {}, the state gives {class}", header.ai_class)));
        }
        let executed = match self.fork.sealed.take() {
            Some((signed, executed)) if signed == header.signing_hash() => executed,
            _ => {
                let execution = Execution {
                    merge: &merge,
                    slot: header.slot,
                    prev_randao: header.prev_randao(),
                    proposer: header.proposer,
                    body: &block.block().body,
                    ahead: block.block().body.transactions.iter().collect(),
                };
                let run = |executor: &mut BlockExecutor<'_>, own: Payee| {
                    // Its hash is filled in afterwards: a template has none yet.
                    for occurrence in occurrences(&block, own) {
                        executor.execute(Occurrence { carrier: B256::ZERO, ..occurrence })?;
                    }
                    Ok(())
                };
                self.execute(&execution, run)?.1
            }
        };
        let commitments = Commitments::of(&executed);
        let evm = seal_evm(executed.evm, *hash, &merge, header);
        if let Err(reason) = commitments.compare(header, &evm) {
            return Ok(Err(reason));
        }
        self.layers.insert(*hash, merge.selected_parent, &executed.diff, executed.state, batch)?;
        blocks::put_status(batch, hash, BlockStatus::Valid);
        blocks::put_executed(batch, &evm);
        self.fork.staged_executed.insert(*hash, Arc::new(evm));
        Ok(Ok(()))
    }

    /// The mergeset that GHOSTDAG data describes, without later copies: of the blocks that a producer made for one slot,
    /// the one in the past of the selected parent stands, or that parent itself, else the first in order. What later
    /// ones carry counts for nothing.
    pub(crate) fn merge(&self, data: &GhostdagData) -> Result<Merge, ChainError> {
        let selected_parent = data.selected_parent;
        let mut ordered: Vec<Merged> = Vec::new();
        for block in self.dag.consensus_order_of_mergeset(data)? {
            let merged = self.fork.dag_block(&block.hash)?;
            let mut stands = true;
            for copy in self.fork.blocks.copies(&merged.block().header)? {
                stands &= copy == block.hash
                    || (copy != selected_parent
                        && !ordered.iter().any(|earlier| earlier.hash == copy)
                        && !self.dag.is_ancestor(&copy, &selected_parent)?);
            }
            if stands {
                ordered.push(block);
            }
        }
        Ok(Merge { ordered, selected_parent })
    }

    /// The state that a block with this mergeset is executed on.
    pub(crate) fn parent_state(&self, merge: &Merge) -> Result<State, ChainError> {
        let state = self.layers.state(&merge.selected_parent)?;
        state.ok_or_else(|| ChainError::Fault(format!("the state of {} is missing", merge.selected_parent)))
    }

    /// Executes a block: what comes before transactions, the mergeset's transactions, then `own`, which is told who earns
    /// for them, then what comes after.
    pub(crate) fn execute<T>(
        &self,
        execution: &Execution<'_>,
        own: impl FnOnce(&mut BlockExecutor<'_>, Payee) -> Result<T, ChainError>,
    ) -> Result<(T, Executed), ChainError> {
        let merge = execution.merge;
        let parent = self.fork.executed(&merge.selected_parent)?;
        let state = self.parent_state(merge)?;
        let mut finality = self.committee.standing(&merge.selected_parent)?.finality.clone();
        let producer = payee(&state, execution.proposer);
        let mut merged = Vec::with_capacity(merge.ordered.len());
        let epoch = self.spec.epoch_of(execution.slot);
        let mut dues = Dues::default();
        let mut blue_producers = vec![producer];
        let mut carriers = Vec::with_capacity(merge.ordered.len() + 1);
        for block in &merge.ordered {
            let checked = self.fork.dag_block(&block.hash)?;
            let proposer = checked.block().header.proposer;
            // The tips of a red block go to the producer of the chain block.
            let payee = if block.is_blue { payee(&state, proposer) } else { producer };
            if block.is_blue {
                blue_producers.push(payee);
            }
            dues.add(&checked.block().body, epoch, payee, &mut finality);
            carriers.push((block.hash, proposer));
            merged.push((checked, payee));
        }
        dues.add(execution.body, epoch, producer, &mut finality);
        carriers.push((B256::ZERO, execution.proposer));
        let engine = self.models.engine(&state);
        let merged_transactions = merged.iter().flat_map(|(block, _)| &block.block().body.transactions);
        engine.run_ahead(merged_transactions.chain(execution.ahead.iter().copied()), epoch);
        let context = BlockContext {
            spec: &self.spec,
            parent: &parent.header,
            parent_hash: parent.hash(),
            selected_parent: merge.selected_parent,
            slot: execution.slot,
            prev_randao: execution.prev_randao,
            dag_blocks: merged.len() as u64 + 1,
            block_hashes: &|number| self.ancestor_hash(&parent, number),
            readiness: &dues.readiness,
            certificates: &dues.certificates,
            slashings: &dues.slashings,
            carriers: &carriers,
            blue_producers: &blue_producers,
            inference: &engine,
        };
        let mut executor = BlockExecutor::begin(context, &state)?;
        for (block, payee) in &merged {
            for occurrence in occurrences(block, *payee) {
                executor.execute(occurrence)?;
            }
        }
        let own = own(&mut executor, producer)?;
        Ok((own, executor.finish()?))
    }

    /// EVM hash of the ancestor of `block` with this number, for BLOCKHASH: at most 256 steps back.
    fn ancestor_hash(&self, block: &Arc<EvmBlock>, number: u64) -> Option<B256> {
        let mut block = block.clone();
        while block.header.number > number {
            let parent = self.dag.selected_parent(&block.dag_hash).ok()??;
            block = self.fork.executed(&parent).ok()?;
        }
        (block.header.number == number).then(|| block.hash())
    }

    /// Makes `sink` the tip of the selected chain.
    fn switch(
        &mut self,
        sink: B256,
        removed: &[B256],
        added: &[B256],
        batch: &mut Batch,
        effects: &mut Effects,
    ) -> Result<(), ChainError> {
        for hash in removed {
            let block = self.fork.executed(hash)?;
            blocks::unindex_canonical(batch, &block);
            effects.removed.push(block);
        }
        for hash in added {
            let block = self.fork.executed(hash)?;
            blocks::index_canonical(batch, &block);
            effects.added.push(block);
        }
        self.fork.sink = sink;
        self.fork.head = self.fork.executed(&sink)?;
        put_sink(batch, &sink);
        self.flatten(batch)
    }

    /// Moves the state's flat base forward when it lies further back than it has to (and some slack).
    fn flatten(&mut self, batch: &mut Batch) -> Result<(), ChainError> {
        let (base, target) = (self.layers.base_height(), self.flatten_height()?);
        if target <= base + FLATTEN_SLACK {
            return Ok(());
        }
        let target = target.min(base + FLATTEN_STEP);
        let block = self.layers.ancestor(self.fork.sink, target);
        let block =
            block.ok_or_else(|| ChainError::Fault(format!("the chain block at height {target} has no layer")))?;
        Ok(self.layers.flatten_to(block, batch)?)
    }

    /// Height of the chain block below which no reorganisation goes and no state is asked for without an archive: where
    /// the window begins, or the finalised block when that is older.
    fn flatten_height(&self) -> Result<u64, ChainError> {
        let window = self.fork.head.header.number.saturating_sub(self.spec.state_window);
        let finalised = self.committee.local().finalised().hash;
        // Before a trusted checkpoint has arrived, nothing is final.
        let finalised = self.layers.height(&finalised);
        Ok(window.min(finalised.unwrap_or_else(|| self.layers.base_height())))
    }

    /// Brings the pool up to the new head: what was executed goes, what was orphaned or skipped comes back.
    pub(crate) fn settle_pool(&mut self, effects: &Effects, state: &State) -> Result<(), ChainError> {
        let executed = effects.added.iter().flat_map(|block| block.transactions.iter().map(|tx| tx.sender));
        self.pool.advance(executed, state);
        let orphaned =
            effects.removed.iter().flat_map(|block| block.transactions.iter().map(|tx| (tx.carrier, tx.index)));
        let skipped = effects.added.iter().flat_map(|block| block.skipped.iter().map(|tx| (tx.carrier, tx.index)));
        for (carrier, index) in orphaned.chain(skipped) {
            let block = self.fork.dag_block(&carrier)?;
            let at = index as usize;
            let tx = block.block().body.transactions[at].clone();
            let tx = lattice_types::RecoveredTx::new_unchecked(tx, block.senders()[at]);
            // Most come back only to be refused (executed elsewhere, nonce used): that is what admission is for.
            let _refused = self.pool.admit(tx, state, &self.spec);
        }
        Ok(())
    }
}

/// Who earns for a block of this proposer.
fn payee(state: &State, proposer: u32) -> Payee {
    Payee { validator: proposer, address: staking::reward_address(state, proposer) }
}

/// The transactions of a block as they will be executed.
fn occurrences(block: &CheckedBlock, payee: Payee) -> impl Iterator<Item = Occurrence<'_>> {
    let txs = block.block().body.transactions.iter().zip(block.senders());
    txs.enumerate().map(move |(index, (tx, sender))| Occurrence {
        tx,
        sender: *sender,
        carrier: block.hash(),
        index: index as u32,
        payee,
    })
}

/// What a header commits to besides the EVM block.
pub struct Commitments {
    pub model_root: B256,
    pub inference_root: B256,
    pub training_root: B256,
    pub artifact_cid: MaybeCid,
}

impl Commitments {
    pub fn of(executed: &Executed) -> Self {
        Self {
            model_root: lattice_execution::model_root(&executed.state),
            inference_root: lattice_execution::inference_root(&executed.state),
            training_root: lattice_execution::training_root(&executed.state),
            artifact_cid: artifact_list_cid(&executed.new_artifacts),
        }
    }

    fn compare(&self, header: &DagHeader, evm: &EvmBlock) -> Result<(), String> {
        let pairs = [
            ("model_root", header.model_root, self.model_root),
            ("inference_root", header.inference_root, self.inference_root),
            ("training_root", header.training_root, self.training_root),
            ("evm_hash", header.evm_hash, evm.hash()),
        ];
        for (name, claimed, found) in pairs {
            if claimed != found {
                return Err(format!("{name}: the header claims {claimed}, execution gives {found}"));
            }
        }
        if header.artifact_cid != self.artifact_cid {
            return Err(format!(
                "artifact_cid: the header claims {:?}, execution gives {:?}",
                header.artifact_cid.0, self.artifact_cid.0
            ));
        }
        Ok(())
    }
}

/// Ties an executed EVM block to its DAG block: extraData commits to the DAG header.
pub fn seal_evm(mut evm: EvmBlock, dag_hash: B256, merge: &Merge, header: &DagHeader) -> EvmBlock {
    evm.header.extra_data = header.commitment().into();
    evm.dag_hash = dag_hash;
    evm.executed = merge.ordered.iter().map(|block| block.hash).chain([dag_hash]).collect();
    // Execution does not know the hash of the block whose own transactions it runs.
    for tx in &mut evm.transactions {
        if tx.carrier.is_zero() {
            tx.carrier = dag_hash;
        }
    }
    for tx in &mut evm.skipped {
        if tx.carrier.is_zero() {
            tx.carrier = dag_hash;
        }
    }
    evm
}
