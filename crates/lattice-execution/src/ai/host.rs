//! What the precompiles need beyond the EVM: the engine, the AI gas of the transaction, the models loaded so far, and
//! the rules of stake.

use super::{
    lane::LanePrice,
    proofs::{NoProofs, ProofSystem},
};
use crate::error::{ExecutionError, InferenceError};
use alloy_primitives::B256;
use lattice_inference::Graph;
use std::{collections::BTreeSet, sync::Arc};

/// Runs models. An implementation holds the artifacts of all active models.
///
/// `run` must be a pure function of its arguments that is bit-equal on every node; only [`InferenceError::Missing`] and
/// [`InferenceError::Fault`] may depend on the node.
pub trait InferenceEngine: Send + Sync {
    /// Runs a model. `input`: all input tensors in graph order, row-major, little endian; its length is the one of the
    /// model's record. Output likewise.
    ///
    /// # Errors
    /// See [`InferenceError`].
    fn run(&self, model_id: &B256, input: &[u8]) -> Result<Arc<[u8]>, InferenceError>;

    /// The frozen graph of a model, or of a base with the adapters of that id merged in: disputes judge parts of a run.
    ///
    /// # Errors
    /// See [`InferenceError`].
    fn graph(&self, model_id: &B256) -> Result<Arc<Graph>, InferenceError>;

    /// What verifies proofs; none by default.
    fn proofs(&self) -> &dyn ProofSystem {
        &NoProofs
    }
}

/// What the door of the validators' account needs of the chain's parameters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StakeRules {
    /// Stake that a validator needs at least, wei.
    pub(crate) stake_min: u128,
    /// Slots from a withdrawal of stake to its payment.
    pub(crate) unbonding_slots: u64,
}

/// Host data behind revm's context, one for each EVM block.
pub struct AiHost<'a> {
    inference: &'a dyn InferenceEngine,
    /// Models touched in this block.
    loaded: BTreeSet<B256>,
    lane_price: LanePrice,
    /// The most AI gas that any transaction may have.
    ai_gas_limit_max: u64,
    /// Bound of the transaction on AI gas.
    ai_gas_limit: u64,
    /// AI gas of the transaction.
    ai_gas_used: u64,
    /// Whether the transaction wanted more AI gas than its bound.
    ai_gas_short: bool,
    /// AI gas before the lane price, of the whole block.
    work: u64,
    stake_rules: StakeRules,
    /// The epoch of the block's slot.
    epoch: u64,
    failure: Option<ExecutionError>,
}

impl<'a> AiHost<'a> {
    /// A host for one block.
    pub fn new(inference: &'a dyn InferenceEngine) -> Self {
        Self {
            inference,
            loaded: BTreeSet::new(),
            lane_price: LanePrice::ONE,
            ai_gas_limit_max: u64::MAX,
            ai_gas_limit: 0,
            ai_gas_used: 0,
            ai_gas_short: false,
            work: 0,
            stake_rules: StakeRules::default(),
            epoch: 0,
            failure: None,
        }
    }

    /// Sets what AI work costs from now on, and the most AI gas that any transaction may have.
    pub fn set_lane(&mut self, price: LanePrice, ai_gas_limit_max: u64) {
        self.lane_price = price;
        self.ai_gas_limit_max = ai_gas_limit_max;
    }

    /// What AI work costs.
    pub(crate) const fn lane_price(&self) -> LanePrice {
        self.lane_price
    }

    /// The most AI gas that any transaction may have.
    pub(crate) const fn ai_gas_limit_max(&self) -> u64 {
        self.ai_gas_limit_max
    }

    pub(crate) fn set_stake_rules(&mut self, rules: StakeRules) {
        self.stake_rules = rules;
    }

    pub(crate) fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The epoch of the block's slot.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) const fn stake_rules(&self) -> StakeRules {
        self.stake_rules
    }

    /// AI gas before the lane price that the block took so far.
    pub(crate) const fn work(&self) -> u64 {
        self.work
    }

    /// Whether the transaction was stopped by its bound on AI gas.
    pub(crate) const fn ai_gas_short(&self) -> bool {
        self.ai_gas_short
    }

    pub(crate) fn start_transaction(&mut self, ai_gas_limit: u64) {
        self.ai_gas_limit = ai_gas_limit;
        self.ai_gas_used = 0;
        self.ai_gas_short = false;
    }

    /// Gas that model work took in the transaction so far.
    pub(crate) const fn ai_gas_used(&self) -> u64 {
        self.ai_gas_used
    }

    /// Counts work, and the gas that is paid for it against the transaction's bound; false when the bound does not allow it.
    pub(crate) fn record_ai_gas(&mut self, work: u64, amount: u64) -> bool {
        if amount > self.ai_gas_limit - self.ai_gas_used {
            self.ai_gas_short = true;
            return false;
        }
        self.ai_gas_used += amount;
        self.work = self.work.saturating_add(work);
        true
    }

    pub(crate) fn is_loaded(&self, model_id: &B256) -> bool {
        self.loaded.contains(model_id)
    }

    pub(crate) fn mark_loaded(&mut self, model_id: B256) {
        self.loaded.insert(model_id);
    }

    pub(crate) const fn inference(&self) -> &'a dyn InferenceEngine {
        self.inference
    }

    /// Keeps the cause of a stop: revm's own error channel carries text only.
    pub(crate) fn fail(&mut self, error: ExecutionError) -> String {
        let text = error.to_string();
        self.failure.get_or_insert(error);
        text
    }

    pub(crate) fn take_failure(&mut self) -> Option<ExecutionError> {
        self.failure.take()
    }
}
