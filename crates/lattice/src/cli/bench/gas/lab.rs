//! One EVM block after another through the node's own executor, and the CPU time that each takes.

use crate::{failure::Failure, registry::Package};
use alloy_consensus::{Header, Signed, TxEip1559};
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use lattice_execution::{
    BlockContext, BlockExecutor, InferenceEngine, InferenceError, Occurrence, Outcome, Payee, Readiness,
    ai::revert_reason, genesis,
};
use lattice_inference::{Graph, Model};
use lattice_state::{AccountDiff, State, StateDiff};
use lattice_types::{ChainSpec, ai_gas, spec::DEV_ACCOUNTS, system};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Gas of a transaction beside its AI gas: the cap of EIP-7825.
pub const GAS_MAX: u64 = 1 << 24;
const PAYEE: Payee = Payee { validator: 0, address: Address::repeat_byte(0xaa) };

/// CPU time of this process, user and system, all threads.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time of an act.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = cpu_time();
    let result = act();
    (result, cpu_time().saturating_sub(start))
}

/// Packed models without a cache of results: every run runs.
#[derive(Default)]
struct Models(BTreeMap<B256, (Model, Arc<Graph>)>);

impl InferenceEngine for Models {
    fn run(&self, model_id: &B256, input: &[u8]) -> Result<Arc<[u8]>, InferenceError> {
        let (model, _) = self.0.get(model_id).ok_or(InferenceError::Missing(*model_id))?;
        model.run_bytes(input).map(Arc::from).map_err(|error| InferenceError::Refused(error.to_string()))
    }

    fn graph(&self, model_id: &B256) -> Result<Arc<Graph>, InferenceError> {
        self.0.get(model_id).map(|(_, graph)| graph.clone()).ok_or(InferenceError::Missing(*model_id))
    }
}

/// A call of one of the development accounts.
#[derive(Debug, Clone)]
pub struct Call {
    /// Index of the account.
    pub from: usize,
    pub to: Address,
    pub value: u128,
    pub input: Bytes,
}

impl Call {
    pub fn new(from: usize, to: Address, input: impl Into<Bytes>) -> Self {
        Self { from, to, value: 0, input: input.into() }
    }

    pub fn value(self, value: u128) -> Self {
        Self { value, ..self }
    }
}

/// What a block of one transaction took.
#[derive(Debug, Clone)]
pub struct Done {
    pub cpu: Duration,
    pub gas: u64,
    pub output: Bytes,
}

/// A chain without a DAG: a state, and blocks on it.
#[derive(Clone)]
pub struct Lab {
    pub spec: ChainSpec,
    pub state: State,
    pub header: Header,
    models: Arc<Models>,
}

impl Lab {
    /// The development chain; its nodes hold these models, none is registered yet.
    pub fn new(graphs: Vec<Graph>) -> Result<Self, Failure> {
        let spec = ChainSpec::dev();
        let (block, state, _) = genesis(&spec);
        let mut models = Models::default();
        for graph in graphs {
            let id = graph.model_id();
            let model = Model::load(graph.clone()).map_err(|error| Failure::new(format!("model {id}: {error}")))?;
            models.0.insert(id, (model, Arc::new(graph)));
        }
        Ok(Self { spec, state, header: block.header, models: Arc::new(models) })
    }

    /// Registers a graph for account 0 and makes it active.
    pub fn deploy(&mut self, graph: &Graph, name: &str) -> Result<(), Failure> {
        let package = Package::new(graph, name)?;
        self.act(&Call::new(0, system::MODELS, alloy_rlp::encode(package.payload())))?;
        self.activate(package.model_id)
    }

    /// Makes a registered model active.
    pub fn activate(&mut self, model_id: B256) -> Result<(), Failure> {
        self.state = self.block(None, &[Readiness { model_id, is_two_thirds: true }])?.1;
        Ok(())
    }

    /// Puts code at an address, whatever its length.
    pub fn put_code(&mut self, address: Address, code: &[u8]) {
        let mut account = self.state.account(&address).unwrap_or_default();
        (account.nonce, account.code_hash) = (1, keccak256(code));
        let mut diff = StateDiff::default();
        diff.codes.insert(account.code_hash, Bytes::copy_from_slice(code));
        diff.accounts.insert(address, AccountDiff { account: Some(account), ..AccountDiff::default() });
        self.state = self.state.apply(&diff);
    }

    /// Makes the next block that much later.
    pub fn skip(&mut self, blocks: u64) {
        self.header.number += blocks;
    }

    /// A block of this call, which has to succeed and becomes the head; its output.
    pub fn act(&mut self, call: &Call) -> Result<Bytes, Failure> {
        let (done, state) = self.block(Some(call), &[])?;
        (self.state, self.header.number) = (state, self.header.number + 1);
        Ok(done.output)
    }

    /// A block of this call, thrown away.
    pub fn try_act(&self, call: &Call) -> Result<Done, Failure> {
        self.block(Some(call), &[]).map(|(done, _)| done)
    }

    /// CPU time of a block without a transaction.
    pub fn empty(&self) -> Result<Duration, Failure> {
        self.block(None, &[]).map(|(done, _)| done.cpu)
    }

    fn block(&self, call: Option<&Call>, readiness: &[Readiness]) -> Result<(Done, State), Failure> {
        let tx = call.map(|call| self.transaction(call).into());
        let failure = |error: &dyn std::fmt::Display| Failure::new(format!("the executor stopped: {error}"));
        let block_hashes = |_| Some(B256::ZERO);
        let context = BlockContext {
            spec: &self.spec,
            parent: &self.header,
            parent_hash: B256::ZERO,
            selected_parent: B256::ZERO,
            slot: self.header.number + 1,
            prev_randao: B256::ZERO,
            dag_blocks: 1,
            block_hashes: &block_hashes,
            certificates: &[],
            slashings: &[],
            readiness,
            blue_producers: &[],
            carriers: &[],
            inference: self.models.as_ref(),
        };
        let run = || {
            let mut executor = BlockExecutor::begin(context, &self.state)?;
            let outcome = match (&tx, call) {
                (Some(tx), Some(call)) => {
                    let sender = DEV_ACCOUNTS[call.from].0;
                    let occurrence = Occurrence { tx, sender, carrier: B256::ZERO, index: 0, payee: PAYEE };
                    Some(executor.execute(occurrence)?)
                }
                _ => None,
            };
            executor.finish().map(|executed| (outcome, executed))
        };
        let (result, cpu) = timed(run);
        let (outcome, executed) = result.map_err(|error: lattice_execution::ExecutionError| failure(&error))?;
        let (gas, output) = match outcome {
            None => (0, Bytes::new()),
            Some(Outcome::Included { success: true, gas_used, output, .. }) => (gas_used, output),
            Some(Outcome::Included { output, gas_used, .. }) => {
                let reason = revert_reason(&output).unwrap_or_else(|| format!("no reason, {gas_used} gas"));
                return Err(Failure::new(format!("a call of the measurement failed: {reason}")));
            }
            Some(Outcome::Skipped(reason)) => return Err(failure(&reason)),
        };
        Ok((Done { cpu, gas, output }, executed.state))
    }

    /// The senders are given, so nothing needs a signature.
    fn transaction(&self, call: &Call) -> Signed<TxEip1559> {
        let nonce = self.state.account(&DEV_ACCOUNTS[call.from].0).unwrap_or_default().nonce;
        let tx = TxEip1559 {
            chain_id: self.spec.chain_id,
            nonce,
            gas_limit: GAS_MAX + self.spec.ai_gas_limit,
            max_fee_per_gas: 100_000_000_000,
            to: TxKind::Call(call.to),
            value: U256::from(call.value),
            access_list: AccessList(vec![ai_gas::declaration(self.spec.ai_gas_limit)]),
            input: call.input.clone(),
            ..TxEip1559::default()
        };
        Signed::new_unhashed(tx, Signature::test_signature())
    }
}
