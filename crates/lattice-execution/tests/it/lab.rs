//! A chain of EVM blocks without a DAG: one call executes one block on the last one.

use alloy_consensus::{Header, TxEip1559, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use lattice_execution::{
    BlockContext, BlockExecutor, CallOutcome, CallRequest, Executed, ExecutionError, InferenceEngine, InferenceError,
    Occurrence, Outcome, Payee, Readiness, SimulationContext, SimulationError, Slashing,
    ai::proofs::{ProofError, ProofRef, ProofShape, ProofStatement, ProofSystem},
    genesis, simulate,
    trace::TraceOptions,
};
use lattice_inference::Graph;
use lattice_state::State;
use lattice_types::{
    ChainSpec, Cid, TxEnvelope,
    spec::DEV_ACCOUNTS,
    tx::{Inference, InferencePayload, ModelDeploy, ModelDeployPayload, TxAi, TxSigner},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub const GWEI: u128 = 1_000_000_000;
pub const PRODUCER: Payee = Payee { validator: 0, address: Address::repeat_byte(0xaa) };

pub fn signer(index: usize) -> TxSigner {
    TxSigner::new(DEV_ACCOUNTS[index].1).unwrap()
}

pub fn address(index: usize) -> Address {
    DEV_ACCOUNTS[index].0
}

type Model = fn(&[u8]) -> Result<Vec<u8>, InferenceError>;

/// Models are functions, and every run is counted.
#[derive(Default)]
pub struct TestEngine {
    models: BTreeMap<B256, Model>,
    pub graphs: BTreeMap<B256, Arc<Graph>>,
    pub runs: AtomicU64,
    pub proofs: TestProofs,
}

/// A proof is right when its hash is that of the statement's output hash and payee, and the switch is on.
#[derive(Default)]
pub struct TestProofs {
    pub enabled: bool,
}

pub fn test_proof(output: &[u8], payee: Address) -> B256 {
    keccak256([keccak256(output).as_slice(), payee.as_slice()].concat())
}

impl ProofSystem for TestProofs {
    fn shape(&self, _: &B256) -> Option<ProofShape> {
        self.enabled.then_some(ProofShape { queries: 5, columns: 10, log_heights: 10, bytes_max: 700_000 })
    }

    fn verify(&self, statement: &ProofStatement, proof: &ProofRef) -> Result<bool, ProofError> {
        if proof.hash == B256::repeat_byte(0xff) {
            return Err(ProofError::Missing(proof.hash));
        }
        Ok(proof.hash == keccak256([statement.output_hash.as_slice(), statement.payee.as_slice()].concat()))
    }
}

impl InferenceEngine for TestEngine {
    fn run(&self, model_id: &B256, input: &[u8]) -> Result<Arc<[u8]>, InferenceError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let model = self.models.get(model_id).ok_or(InferenceError::Missing(*model_id))?;
        model(input).map(Arc::from)
    }

    fn graph(&self, model_id: &B256) -> Result<Arc<Graph>, InferenceError> {
        self.graphs.get(model_id).cloned().ok_or(InferenceError::Missing(*model_id))
    }

    fn proofs(&self) -> &dyn ProofSystem {
        &self.proofs
    }
}

/// Input reversed, then each byte plus one.
pub fn reverse(input: &[u8]) -> Result<Vec<u8>, InferenceError> {
    Ok(input.iter().rev().map(|byte| byte.wrapping_add(1)).collect())
}

pub fn model_id() -> B256 {
    keccak256(b"a reversing model")
}

pub fn deploy_payload(id: B256) -> ModelDeployPayload {
    ModelDeployPayload {
        model_id: id,
        artifact: Cid::raw(id.as_slice()),
        artifact_bytes: 10_000,
        gas: 50_000,
        input_bytes: 8,
        output_bytes: 8,
        name: "reverser".into(),
        commitments: None,
    }
}

pub struct Lab {
    pub spec: ChainSpec,
    pub state: State,
    pub header: Header,
    pub hashes: Vec<B256>,
    pub engine: TestEngine,
    pub nonces: BTreeMap<usize, u64>,
    /// Slot of the head.
    pub slot: u64,
    /// Whether blocks are executed under the struct logger.
    pub watched: bool,
}

/// Everything about a block that a test may want to choose.
pub struct Block<'t> {
    pub txs: &'t [TxEnvelope],
    pub payees: &'t [Payee],
    pub dag_blocks: u64,
    /// Models certified by two thirds of the stake, and by half.
    pub activations: &'t [B256],
    pub refreshes: &'t [B256],
    pub blue_producers: &'t [Payee],
    pub certificates: &'t [Payee],
    pub slashings: &'t [Slashing],
    pub carriers: &'t [(B256, u32)],
    /// DAG block that carries each transaction; one and the same where there is none.
    pub carried_by: &'t [B256],
}

impl Default for Block<'_> {
    fn default() -> Self {
        Self {
            txs: &[],
            payees: &[],
            dag_blocks: 1,
            activations: &[],
            refreshes: &[],
            blue_producers: &[],
            certificates: &[],
            slashings: &[],
            carriers: &[],
            carried_by: &[],
        }
    }
}

impl Lab {
    pub fn new() -> Self {
        Self::with_spec(ChainSpec::dev())
    }

    pub fn with_spec(spec: ChainSpec) -> Self {
        let (block, state, diff) = genesis(&spec);
        assert_eq!(State::empty().apply(&diff).root(), state.root());
        assert_eq!(block.header.state_root, state.root());
        let mut engine = TestEngine::default();
        engine.models.insert(model_id(), reverse);
        let hashes = vec![block.hash()];
        Self { spec, state, header: block.header, hashes, engine, nonces: BTreeMap::new(), slot: 0, watched: false }
    }

    pub fn add_model(&mut self, id: B256, model: Model) {
        self.engine.models.insert(id, model);
    }

    pub fn forget_model(&mut self, id: B256) {
        self.engine.models.remove(&id);
    }

    /// Executes a block and makes it the head.
    pub fn execute(&mut self, block: &Block<'_>) -> Result<(Vec<Outcome>, Executed), ExecutionError> {
        self.slot += 1;
        let hashes = self.hashes.clone();
        let block_hashes = move |number: u64| hashes.get(number as usize).copied();
        let certified = |is_two_thirds| move |id: &B256| Readiness { model_id: *id, is_two_thirds };
        let full = block.activations.iter().map(certified(true));
        let readiness: Vec<_> = full.chain(block.refreshes.iter().map(certified(false))).collect();
        let ctx = BlockContext {
            spec: &self.spec,
            parent: &self.header,
            parent_hash: *self.hashes.last().unwrap(),
            selected_parent: keccak256(self.slot.to_be_bytes()),
            slot: self.slot,
            prev_randao: B256::repeat_byte(0x11),
            dag_blocks: block.dag_blocks,
            block_hashes: &block_hashes,
            readiness: &readiness,
            blue_producers: block.blue_producers,
            certificates: block.certificates,
            slashings: block.slashings,
            carriers: block.carriers,
            inference: &self.engine,
        };
        let mut executor = BlockExecutor::begin(ctx, &self.state)?;
        if self.watched {
            executor.watch(TraceOptions { memory: true, return_data: true, ..TraceOptions::default() });
        }
        let mut outcomes = Vec::new();
        for (index, tx) in block.txs.iter().enumerate() {
            let sender = alloy_consensus::transaction::SignerRecoverable::recover_signer(tx).unwrap();
            let payee = block.payees.get(index).copied().unwrap_or(PRODUCER);
            let carrier = block.carried_by.get(index).copied().unwrap_or(B256::repeat_byte(1));
            let occurrence = Occurrence { tx, sender, carrier, index: index as u32, payee };
            outcomes.push(executor.execute(occurrence)?);
        }
        let executed = executor.finish()?;
        assert_eq!(self.state.apply(&executed.diff).root(), executed.state.root(), "the diff leads to the state");
        assert_eq!(executed.evm.header.state_root, executed.state.root());
        self.state = executed.state.clone();
        self.header = executed.evm.header.clone();
        self.hashes.push(executed.evm.hash());
        Ok((outcomes, executed))
    }

    pub fn block(&mut self, txs: &[TxEnvelope]) -> (Vec<Outcome>, Executed) {
        self.execute(&Block { txs, ..Block::default() }).unwrap()
    }

    /// One transaction that must be included.
    pub fn one(&mut self, tx: TxEnvelope) -> (bool, u64, Bytes, Executed) {
        let (outcomes, executed) = self.block(&[tx]);
        match outcomes.into_iter().next().unwrap() {
            Outcome::Included { success, gas_used, output, .. } => (success, gas_used, output, executed),
            Outcome::Skipped(reason) => panic!("skipped: {reason}"),
        }
    }

    fn next_nonce(&mut self, from: usize) -> u64 {
        let nonce = self.nonces.entry(from).or_default();
        *nonce += 1;
        *nonce - 1
    }

    pub fn transfer(&mut self, from: usize, to: Address, value: u128, tip: u128) -> TxEnvelope {
        self.tx(from, TxKind::Call(to), value, Bytes::new(), 21_000, tip)
    }

    pub fn call_tx(&mut self, from: usize, to: Address, data: impl Into<Bytes>, gas_limit: u64) -> TxEnvelope {
        self.tx(from, TxKind::Call(to), 0, data.into(), gas_limit, 0)
    }

    pub fn tx(&mut self, from: usize, to: TxKind, value: u128, input: Bytes, gas_limit: u64, tip: u128) -> TxEnvelope {
        let tx = TxEip1559 {
            chain_id: self.spec.chain_id,
            nonce: self.next_nonce(from),
            gas_limit,
            max_fee_per_gas: 100 * GWEI,
            max_priority_fee_per_gas: tip,
            to,
            value: U256::from(value),
            access_list: Default::default(),
            input,
        };
        signer(from).sign(tx).into()
    }

    pub fn legacy(&mut self, from: usize, to: Address, value: u128, gas_price: u128) -> TxEnvelope {
        let tx = TxLegacy {
            chain_id: Some(self.spec.chain_id),
            nonce: self.next_nonce(from),
            gas_price,
            gas_limit: 21_000,
            to: TxKind::Call(to),
            value: U256::from(value),
            input: Bytes::new(),
        };
        signer(from).sign(tx).into()
    }

    /// Creates a contract with this runtime code in a block of its own.
    pub fn deploy(&mut self, from: usize, runtime: &[u8]) -> Address {
        let nonce = self.nonces.get(&from).copied().unwrap_or(0);
        let tx = self.tx(from, TxKind::Create, 0, init_code(runtime), 2_000_000, 0);
        let (success, ..) = self.one(tx);
        assert!(success);
        address(from).create(nonce)
    }

    pub fn deploy_model_tx(&mut self, from: usize, payload: &ModelDeployPayload) -> TxEnvelope {
        self.ai_tx::<ModelDeploy>(from, alloy_rlp::encode(payload), 2_000_000, 0)
    }

    pub fn inference_tx(&mut self, from: usize, id: B256, input: &[u8], gas: u64, ai_gas: u64) -> TxEnvelope {
        self.ai_tx::<Inference>(from, inference_payload(id, input), gas, ai_gas)
    }

    pub fn ai_tx<K: lattice_types::tx::AiKind>(
        &mut self,
        from: usize,
        payload: Vec<u8>,
        gas: u64,
        ai: u64,
    ) -> TxEnvelope
    where
        TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
    {
        self.ai_tx_with_value::<K>(from, payload, gas, ai, 0)
    }

    pub fn ai_tx_with_value<K: lattice_types::tx::AiKind>(
        &mut self,
        from: usize,
        payload: Vec<u8>,
        gas: u64,
        ai: u64,
        value: u128,
    ) -> TxEnvelope
    where
        TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
    {
        let tx = TxAi::<K> {
            chain_id: self.spec.chain_id,
            nonce: self.next_nonce(from),
            max_fee_per_gas: 100 * GWEI,
            gas_limit: gas,
            ai_gas_limit: ai,
            value: U256::from(value),
            payload: payload.into(),
            ..TxAi::default()
        };
        signer(from).sign(tx).into()
    }

    /// Registers and activates the reversing model.
    pub fn ready_model(&mut self) -> B256 {
        let tx = self.deploy_model_tx(0, &deploy_payload(model_id()));
        let (success, _, output, _) = self.one(tx);
        assert!(success, "{}", simulate_reason(&output));
        self.activate(model_id());
        model_id()
    }

    pub fn activate(&mut self, id: B256) {
        self.execute(&Block { activations: &[id], ..Block::default() }).unwrap();
    }

    /// Makes the next block that number: the blocks between are not executed.
    pub fn skip_to(&mut self, number: u64) {
        self.header.number = number - 1;
        let head = self.header.hash_slow();
        self.hashes.resize(number as usize, head);
    }

    pub fn balance(&self, account: Address) -> U256 {
        self.state.account(&account).unwrap_or_default().balance
    }

    pub fn simulate<T>(&self, act: impl FnOnce(&SimulationContext<'_>, &State) -> T) -> T {
        let block_hashes = |number: u64| self.hashes.get(number as usize).copied();
        let env = SimulationContext {
            spec: &self.spec,
            header: &self.header,
            block_hashes: &block_hashes,
            inference: &self.engine,
            precompiles: simulate::PrecompileMoves::NONE,
        };
        act(&env, &self.state)
    }

    pub fn try_call(&self, request: &CallRequest) -> Result<CallOutcome, SimulationError> {
        self.simulate(|env, state| simulate::call(env, state, request))
    }

    /// `eth_call` of an address with data.
    pub fn call(&self, to: Address, data: impl Into<Bytes>) -> CallOutcome {
        self.try_call(&CallRequest { to: Some(to), data: data.into(), ..CallRequest::default() }).unwrap()
    }
}

pub fn inference_payload(id: B256, input: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(InferencePayload {
        model_id: id,
        grade: InferencePayload::REPLAY,
        input: Bytes::copy_from_slice(input),
        terms: None,
    })
}

pub fn simulate_reason(output: &[u8]) -> String {
    lattice_execution::ai::revert_reason(output).unwrap_or_else(|| format!("{}", Bytes::copy_from_slice(output)))
}

/// Init code that returns `runtime`: PUSH2 len, DUP1, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 0, RETURN.
pub fn init_code(runtime: &[u8]) -> Bytes {
    let [high, low] = (runtime.len() as u16).to_be_bytes();
    let mut code = vec![0x61, high, low, 0x80, 0x60, 0x0c, 0x60, 0x00, 0x39, 0x60, 0x00, 0xf3];
    code.extend_from_slice(runtime);
    code.into()
}

pub const CALL: u8 = 0xf1;
pub const CALLCODE: u8 = 0xf2;
pub const DELEGATECALL: u8 = 0xf4;
pub const STATICCALL: u8 = 0xfa;
pub const RETURN: u8 = 0xf3;
pub const REVERT: u8 = 0xfd;

/// A contract that calls the address in its first word of call data with the rest, by `op`, and ends by `end` with
/// success flag and return data.
pub fn forwarder(op: u8, end: u8) -> Vec<u8> {
    let mut code = forwarded_call(op);
    code.extend([0x60, 0x00, 0x52]); // MSTORE(0, success)
    code.extend([0x3d, 0x60, 0x00, 0x60, 0x20, 0x3e]); // RETURNDATACOPY(32, 0, size)
    code.extend([0x3d, 0x60, 0x20, 0x01, 0x60, 0x00, end]);
    code
}

/// A forwarder that fails when its call fails, as Solidity's do.
pub fn strict_forwarder() -> Vec<u8> {
    let mut code = forwarded_call(CALL);
    let after = code.len() as u8 + 6;
    code.extend([0x60, after, 0x57, 0x5f, 0x5f, REVERT, 0x5b, 0x00]); // JUMPI(after, success); REVERT; JUMPDEST; STOP
    code
}

fn forwarded_call(op: u8) -> Vec<u8> {
    let mut code = vec![
        0x60, 0x20, 0x36, 0x03, // CALLDATASIZE - 32
        0x80, 0x60, 0x20, 0x60, 0x00, 0x37, // CALLDATACOPY(0, 32, size)
        0x60, 0x00, 0x60, 0x00, 0x82, 0x60, 0x00, // return area, arguments
    ];
    if op == CALL || op == CALLCODE {
        code.extend([0x60, 0x00]); // value
    }
    code.extend([0x60, 0x00, 0x35, 0x5a, op]); // address, gas
    code
}

/// Call data for a forwarder.
pub fn forward(to: Address, data: &[u8]) -> Vec<u8> {
    [to.into_word().as_slice(), data].concat()
}
