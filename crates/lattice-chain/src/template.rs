//! Our own blocks: parents, mergeset, picks from the pool, executed on the sink's state, roots into the header.
//!
//! The shell signs the template and hands it back as an ordinary block. What execution gave is kept by the header's
//! signing hash, so the block need not run a second time.

use crate::{
    advance::{Commitments, Execution, seal_evm},
    chain::{Chain, Effects},
    error::ChainError,
    pool::{Draw, Lane},
};
use alloy_consensus::Transaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256};
use lattice_execution::{BlockExecutor, Occurrence, Outcome, Payee, staking};
use lattice_storage::{StorageFault, Table};
use lattice_types::{
    AiGasSum, CheckedBlock, DagBlock, DagBody, DagHeader, RecoveredTx, SealKey, TxEnvelope, bls, limits,
};
use std::sync::Arc;

/// An unsigned block.
#[derive(Debug, Clone)]
pub struct Template {
    block: DagBlock,
    senders: Vec<Address>,
    epoch_seed: B256,
}

impl Template {
    /// The unsigned header.
    pub const fn header(&self) -> &DagHeader {
        &self.block.header
    }

    /// Signs the block: it can be handed to [`Chain::handle`](crate::Chain::handle) and to peers.
    pub fn seal(mut self, key: &bls::SecretKey, chain_id: u64) -> CheckedBlock {
        self.block.header.sign(key, chain_id);
        let seal = SealKey { public_key: key.public_key(), epoch_seed: self.epoch_seed };
        CheckedBlock::trusted(self.block, self.senders).with_seal(seal)
    }
}

/// Picks from the pool, with what they add up to.
#[derive(Default)]
struct Picks {
    transactions: Vec<TxEnvelope>,
    senders: Vec<Address>,
    bytes: usize,
    gas: u64,
    ai_gas: AiGasSum,
    unfit: Vec<Arc<RecoveredTx>>,
}

impl Chain {
    /// Builds a block for a slot that our validator won.
    pub(crate) fn build_template(
        &mut self,
        slot: u64,
        proposer: u32,
        vrf: bls::Signature,
    ) -> Result<Effects, ChainError> {
        let state = self.head_state()?;
        // Lighter tips of earlier slots are merged whatever their status: a disqualified block's transactions are nobody's
        // fault.
        let earlier = |hash: &B256| Ok(self.dag.slot(hash)?.is_some_and(|tip| tip < slot));
        let class = |tip: &B256| self.proven_class(tip);
        let parents = self.dag.select_parents(&self.fork.sink, earlier, class, self.spec.parents_max)?;
        let data = self.dag.virtual_data(&parents).map_err(|error| ChainError::Fault(error.to_string()))?;
        let merge = self.merge(&data)?;
        let standing = self.committee.standing(&data.selected_parent)?;
        let merged = self.after_merging(&standing, &data, &merge)?;
        let judged = standing.epoch.at(&self.committee.params().epochs, slot);
        let mut body = DagBody {
            transactions: Vec::new(),
            readiness: self.readiness_for(&judged, &state)?,
            certificates: self.certificates_for(&parents, &merged.finality)?,
            evidence: self.evidence_for(&state),
        };
        let pruning_point = self.dag.pruning_point_above(&data.selected_parent)?;
        let mut header = DagHeader {
            parents,
            slot,
            proposer,
            vrf,
            ai_class: self.spec.ai_class(staking::ai_gas_of(&state, proposer)),
            blue_score: data.blue_score,
            blue_work: data.blue_work,
            newest_pruning_point: pruning_point.unwrap_or_default(),
            body_root: B256::ZERO,
            evm_hash: B256::ZERO,
            model_root: B256::ZERO,
            inference_root: B256::ZERO,
            training_root: B256::ZERO,
            artifact_cid: Default::default(),
            signature: bls::Signature::ZERO,
        };
        let ahead = self.inferences_ahead(slot, &state);
        let execution = Execution {
            merge: &merge,
            slot,
            prev_randao: header.prev_randao(),
            proposer,
            body: &body,
            ahead: ahead.iter().map(|tx| tx.inner()).collect(),
        };
        let (picks, mut executed) =
            self.execute(&execution, |executor, payee| self.pick(executor, payee, slot, &state))?;
        // What we tried and left out is no part of the block.
        executed.evm.skipped.retain(|tx| !tx.carrier.is_zero());
        let commitments = Commitments::of(&executed);
        body.transactions = picks.transactions;
        header.body_root = body.root();
        header.model_root = commitments.model_root;
        header.inference_root = commitments.inference_root;
        header.training_root = commitments.training_root;
        header.artifact_cid = commitments.artifact_cid;
        // The EVM hash covers the header's commitment, which leaves the EVM hash out.
        header.evm_hash = seal_evm(executed.evm.clone(), B256::ZERO, &merge, &header).hash();
        self.fork.sealed = Some((header.signing_hash(), executed));
        self.pool.drop_unfit(&picks.unfit, &state);
        let template = Template { block: DagBlock { header, body }, senders: picks.senders, epoch_seed: judged.seed };
        Ok(Effects { seal: Some(Box::new(template)), ..Effects::default() })
    }

    /// The AI class that counts for a tip: the one that it claims, if the state that it follows from says so too and is at
    /// hand, else 0. Only chain candidates are executed, so a lie about the class of another block would go unnoticed.
    fn proven_class(&self, tip: &B256) -> Result<u8, StorageFault> {
        let Some(header) = self.fork.blocks.header(tip)? else { return Ok(0) };
        if header.ai_class == 0 {
            return Ok(0);
        }
        let Some(parent) = self.dag.selected_parent(tip)? else { return Ok(0) };
        let state = self.layers.state(&parent);
        let state = state.map_err(|fault| StorageFault::corrupt(Table::Layers, fault.to_string()))?;
        let proven = state.map(|state| self.spec.ai_class(staking::ai_gas_of(&state, header.proposer)));
        Ok(proven.filter(|class| *class == header.ai_class).unwrap_or(0))
    }

    /// The inferences that a block of this slot will most likely take, in as far as the AI lane holds them.
    fn inferences_ahead(&self, slot: u64, state: &lattice_state::State) -> Vec<Arc<RecoveredTx>> {
        if self.pool.index().lanes()[Lane::Inference as usize] < 2 {
            return Vec::new();
        }
        let base_fee = lattice_execution::base_fee_next(&self.spec, &self.fork.head.header);
        let mut ready = self.pool.ready(state, Draw { spec: &self.spec, base_fee, slot });
        let (mut found, mut gas, mut ai_gas) = (Vec::new(), 0u64, AiGasSum::default());
        while let Some(tx) = ready.pop() {
            let sum = ai_gas.with(tx.inner(), &self.spec);
            let gas_after = gas.saturating_add(tx.gas_limit());
            if gas_after <= self.spec.gas_limit && sum.fits(&self.spec) {
                (gas, ai_gas) = (gas_after, sum);
                ready.accept(tx);
                if Lane::of(tx.inner()) == Lane::Inference {
                    found.push(tx.clone());
                }
            }
        }
        found
    }

    /// Fills the block with the best transactions that fit and execute.
    fn pick(
        &self,
        executor: &mut BlockExecutor<'_>,
        payee: Payee,
        slot: u64,
        state: &lattice_state::State,
    ) -> Result<Picks, ChainError> {
        let mut picks = Picks::default();
        let draw = Draw { spec: &self.spec, base_fee: executor.base_fee(), slot };
        let mut ready = self.pool.ready(state, draw);
        while let Some(tx) = ready.pop() {
            let bytes = tx.inner().encode_2718_len();
            let ai_gas = picks.ai_gas.with(tx.inner(), &self.spec);
            let fits = ai_gas.fits(&self.spec)
                && picks.bytes + bytes <= limits::BLOCK_TX_BYTES_MAX
                && picks.gas.saturating_add(tx.gas_limit()) <= self.spec.gas_limit;
            if !fits {
                continue; // A smaller transaction of another sender may still fit.
            }
            let occurrence = Occurrence {
                tx: tx.inner(),
                sender: tx.signer(),
                carrier: B256::ZERO,
                index: picks.transactions.len() as u32,
                payee,
            };
            match executor.execute(occurrence)? {
                Outcome::Included { .. } => {
                    picks.transactions.push(tx.inner().clone());
                    picks.senders.push(tx.signer());
                    picks.bytes += bytes;
                    picks.gas += tx.gas_limit();
                    picks.ai_gas = ai_gas;
                    ready.accept(tx);
                }
                // A transaction of the mergeset may have used its nonce or its money: it does not fit here.
                Outcome::Skipped(_) => picks.unfit.push(tx.clone()),
            }
        }
        Ok(picks)
    }
}
