//! Executes one EVM block, occurrence by occurrence.

use crate::{
    ai::{self, AiHost},
    context::{BlockContext, Executed, Occurrence, Outcome},
    error::ExecutionError,
    evm::{self, LatticeEvm, TransactError},
    header,
    overlay::Overlay,
    rewards::Rewards,
    staking,
    trace::{Trace, TraceOptions},
    tx,
};
use alloy_consensus::{Header, Transaction, Typed2718, proofs};
use alloy_eips::{eip2718::Encodable2718, eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS};
use alloy_primitives::{B256, U256};
use alloy_rlp::BufMut;
use lattice_state::State;
use lattice_types::{ChainSpec, EvmBlock, IncludedTx, SkippedTx, TxEnvelope, TxReceipt, evm::receipts_root};
use revm::context::{BlockEnv, result::ExecutionResult};
use std::collections::BTreeMap;

/// An EVM block in the making.
///
/// `begin` runs what comes before transactions, `execute` one occurrence after the other, `finish` what comes after
/// them. After an [`ExecutionError`] the executor only repeats it: the block has to be executed again from its parent.
pub struct BlockExecutor<'a> {
    ctx: BlockContext<'a>,
    evm: LatticeEvm<'a>,
    header: Header,
    ai_gas_used: u64,
    /// The same by the DAG block that carries the transactions.
    ai_gas_by_carrier: BTreeMap<B256, u64>,
    pool: UndeclaredPool,
    rewards: Rewards,
    /// EIP-2718 bytes of the executed transactions.
    encoded: Vec<Vec<u8>>,
    transactions: Vec<IncludedTx>,
    receipts: Vec<TxReceipt>,
    skipped: Vec<SkippedTx>,
    failure: Option<ExecutionError>,
}

/// The AI gas that transactions of one DAG block may take without declaring any. An EVM block executes its DAG blocks one
/// after the other, so one counter is enough.
#[derive(Debug, Default)]
struct UndeclaredPool {
    carrier: B256,
    used: u64,
}

impl UndeclaredPool {
    /// What is left for a transaction that this DAG block carries.
    fn left(&mut self, carrier: &B256, spec: &ChainSpec) -> u64 {
        if *carrier != self.carrier {
            *self = Self { carrier: *carrier, used: 0 };
        }
        spec.ai_gas_pool.saturating_sub(self.used)
    }
}

impl<'a> BlockExecutor<'a> {
    /// Opens a block on the parent's state and runs its start: EIP-4788, EIP-2935, then what certificates of finality
    /// earn, then slashings, then models that begin to run and readiness, then refunds of expired proof requests, then the AI lane's price.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn begin(ctx: BlockContext<'a>, state: &State) -> Result<Self, ExecutionError> {
        let header = header::open(&ctx);
        let overlay = Overlay::new(state.clone(), ctx.block_hashes);
        let host = AiHost::new(ctx.inference);
        let mut evm = evm::evm(ctx.spec, BlockEnv { slot_num: ctx.slot, ..evm::block_env(&header) }, overlay, host);
        evm::system_call(&mut evm, BEACON_ROOTS_ADDRESS, ctx.selected_parent)?;
        evm::system_call(&mut evm, HISTORY_STORAGE_ADDRESS, ctx.parent_hash)?;
        let mut rewards = Rewards::default();
        for payee in ctx.certificates {
            rewards.add_gwei(*payee, ctx.spec.staking.issuance_certificate_gwei);
        }
        for slashing in ctx.slashings {
            if let Some(wei) = staking::slash(&mut evm.ctx.journaled_state.database, &ctx.spec.staking, slashing) {
                rewards.add(slashing.reporter, wei);
            }
        }
        let epoch = ctx.spec.epoch_of(ctx.slot);
        ai::begin_epoch(&mut evm.ctx.journaled_state.database, epoch, header.number);
        for certificate in ctx.readiness {
            let renewed = ctx.spec.readiness_renewed;
            ai::certify(&mut evm.ctx.journaled_state.database, certificate, renewed, epoch, header.number);
        }
        ai::expire(&mut evm.ctx.journaled_state.database, header.number);
        let lane_price = ai::open_lane(&mut evm.ctx.journaled_state.database, ctx.spec);
        evm.ctx.chain.set_lane(lane_price, ctx.spec.ai_gas_limit);
        Ok(Self {
            ctx,
            evm,
            header,
            ai_gas_used: 0,
            ai_gas_by_carrier: BTreeMap::new(),
            pool: UndeclaredPool::default(),
            rewards,
            encoded: Vec::new(),
            transactions: Vec::new(),
            receipts: Vec::new(),
            skipped: Vec::new(),
            failure: None,
        })
    }

    /// Logs the steps of the occurrences executed from now on, until [`Self::take_trace`]. The results are the same.
    pub fn watch(&mut self, options: TraceOptions) {
        self.evm.watch(options);
    }

    /// Ends the logging; what was logged.
    pub fn take_trace(&mut self) -> Trace {
        self.evm.take_trace()
    }

    /// Gas that the block has left.
    pub const fn gas_left(&self) -> u64 {
        self.header.gas_limit - self.header.gas_used
    }

    /// The block's base fee, wei a gas.
    pub fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or(0)
    }

    /// Executes one occurrence if the EVM's validation passes at its place; otherwise it is recorded as skipped and
    /// changes nothing.
    ///
    /// # Errors
    /// When execution has to stop; see [`ExecutionError`].
    pub fn execute(&mut self, occurrence: Occurrence<'_>) -> Result<Outcome, ExecutionError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let tx = occurrence.tx;
        if let Some(reason) = self.refuse(tx) {
            return Ok(self.skip(occurrence, reason));
        }
        let declared = tx.ai_gas_limit();
        let ai_gas_limit = match declared {
            Some(declared) => declared.min(self.ctx.spec.ai_gas_limit),
            None => self.pool.left(&occurrence.carrier, self.ctx.spec).min(self.ctx.spec.ai_gas_undeclared),
        };
        let gas_limit_max = tx::gas_limit_max(tx, self.ctx.spec);
        match evm::transact(&mut self.evm, tx::tx_env(tx, occurrence.sender), gas_limit_max, ai_gas_limit) {
            Ok((result, changes)) => {
                self.evm.ctx.journaled_state.database.commit(changes);
                if declared.is_none() {
                    self.pool.used += self.evm.ctx.chain.ai_gas_used();
                }
                Ok(self.include(occurrence, result))
            }
            Err(TransactError::Invalid(invalid)) => Ok(self.skip(occurrence, invalid.to_string())),
            Err(TransactError::Stopped(error)) => {
                self.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Reasons to skip that are not revm's: what the block has left.
    fn refuse(&self, tx: &TxEnvelope) -> Option<String> {
        let (needed, left) = (tx.gas_limit(), self.gas_left());
        (needed > left).then(|| format!("gas limit {needed} exceeds the {left} gas left in the block"))
    }

    fn skip(&mut self, Occurrence { tx, carrier, index, .. }: Occurrence<'_>, reason: String) -> Outcome {
        self.skipped.push(SkippedTx { carrier, index, hash: *tx.hash(), reason: reason.clone() });
        Outcome::Skipped(reason)
    }

    fn include(&mut self, occurrence: Occurrence<'_>, result: ExecutionResult) -> Outcome {
        let Occurrence { tx, sender, carrier, index, payee } = occurrence;
        let gas_used = result.tx_gas_used();
        let ai_gas_used = self.evm.ctx.chain.ai_gas_used();
        self.header.gas_used += gas_used;
        self.ai_gas_used += ai_gas_used;
        *self.ai_gas_by_carrier.entry(carrier).or_default() += ai_gas_used;

        let base_fee = self.base_fee();
        let tip = tx.effective_gas_price(Some(base_fee)).saturating_sub(u128::from(base_fee));
        self.rewards.add(payee, U256::from(tip) * U256::from(gas_used));

        let success = result.is_success();
        let output = result.output().cloned().unwrap_or_default();
        self.transactions.push(IncludedTx { carrier, index, hash: *tx.hash(), sender });
        self.encoded.push(tx.encoded_2718());
        self.receipts.push(TxReceipt {
            tx_type: tx.ty(),
            success,
            cumulative_gas_used: self.header.gas_used,
            // revm hands out logs of failed transactions too; receipts have none of those.
            logs: if success { result.into_logs() } else { Vec::new() },
        });
        Outcome::Included { success, gas_used, ai_gas_used, output }
    }

    /// Closes the block: withdrawals, the state after it, roots, header.
    ///
    /// # Errors
    /// When an earlier call failed already, or the validators' account holds less than it owes.
    pub fn finish(self) -> Result<Executed, ExecutionError> {
        let Self {
            ctx, evm, mut header, ai_gas_by_carrier, mut rewards, encoded, transactions, receipts, skipped, ..
        } = self;
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        for payee in ctx.blue_producers {
            rewards.add_gwei(*payee, ctx.spec.staking.issuance_block_gwei);
        }
        let work = evm.ctx.chain.work();
        let mut overlay = evm.into_overlay();
        ai::close_lane(&mut overlay, work, ctx.dag_blocks);
        staking::record_ai_gas(&mut overlay, ctx.carriers, &ai_gas_by_carrier);
        let withdrawals = rewards.pay(&mut overlay);
        staking::sweep(&mut overlay)?;
        let (base, diff) = overlay.into_diff();
        let state = base.apply(&diff);

        header.state_root = state.root();
        header.transactions_root = proofs::ordered_trie_root_with_encoder(&encoded, |tx, out| out.put_slice(tx));
        header.receipts_root = receipts_root(&receipts);
        header.withdrawals_root = Some(proofs::calculate_withdrawals_root(&withdrawals));
        for receipt in &receipts {
            header.logs_bloom |= receipt.bloom();
        }
        let new_artifacts = ai::new_artifacts(&receipts);
        let evm = EvmBlock {
            header,
            dag_hash: B256::ZERO,
            executed: Vec::new(),
            transactions,
            receipts,
            withdrawals: withdrawals.into(),
            skipped,
        };
        Ok(Executed { evm, state, diff, new_artifacts, ai_gas_used: self.ai_gas_used })
    }
}
