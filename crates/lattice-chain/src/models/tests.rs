//! Inputs that a model itself refuses, run ahead together and one by one: the same results, receipts and gas.

#![allow(clippy::unwrap_used)]

#[path = "../../../lattice-import/tests/it/onnx_file.rs"]
#[allow(dead_code)]
mod onnx_file;

use super::*;
use alloy_consensus::Header;
use lattice_execution::{BlockContext, BlockExecutor, Executed, Occurrence, Outcome, Payee, Readiness, genesis};
use lattice_import::{ImportOptions, import_onnx};
use lattice_types::{
    ChainSpec,
    spec::DEV_ACCOUNTS,
    tx::{AiKind, Inference, ModelDeploy, ModelDeployPayload, TxAi, TxSigner},
};
use onnx_file::{graph, model, node, tensor, value};
use proptest::prelude::*;

/// ONNX's codes of f32, i64 and bool.
const F32: i64 = 1;
const I64: i64 = 7;
const BOOL: i64 = 9;

/// Picks two of four numbers by the indices that are its input: an index out of range is refused at run time.
fn gather() -> Vec<u8> {
    let table = tensor("table", F32, &[4], &[1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat());
    let pick = node("Gather", &["table", "at"], &["y"], &[]);
    model(&graph(&[pick], &[value("at", I64, &[2])], &[value("y", F32, &[2])], &[table]))
}

/// Negates two truth values: a byte that is neither 0 nor 1 is no bool.
fn not() -> Vec<u8> {
    model(&graph(&[node("Not", &["x"], &["y"], &[])], &[value("x", BOOL, &[2])], &[value("y", BOOL, &[2])], &[]))
}

struct Bench {
    spec: ChainSpec,
    state: State,
    header: Header,
    folder: tempfile::TempDir,
    models: Vec<(B256, usize)>,
}

fn store(folder: &tempfile::TempDir) -> ModelStore {
    ModelStore::new(Arc::new(ArtifactStore::open(folder.path(), 1 << 30).unwrap()))
}

fn sign<K: AiKind>(account: usize, nonce: u64, payload: &K::Payload, ai_gas_limit: u64) -> TxEnvelope
where
    TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
{
    let tx = TxAi::<K> {
        chain_id: ChainSpec::dev().chain_id,
        nonce,
        max_fee_per_gas: 100_000_000_000,
        gas_limit: 2_000_000,
        ai_gas_limit,
        payload: TxAi::<K>::encode_payload(payload),
        ..Default::default()
    };
    TxSigner::new(DEV_ACCOUNTS[account].1).unwrap().sign(tx).into()
}

impl Bench {
    /// Both models registered and active.
    fn new() -> Self {
        let spec = ChainSpec::dev();
        let (block, state, _) = genesis(&spec);
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let payloads: Vec<_> = [gather(), not()].iter().map(|file| register(&store, file)).collect();
        let models = payloads.iter().map(|payload| (payload.model_id, payload.input_bytes as usize)).collect();
        let mut bench = Self { spec, state, header: block.header, folder, models };
        let deploy = |(nonce, payload)| sign::<ModelDeploy>(0, nonce, payload, 0);
        let deploys: Vec<_> = (0..).zip(&payloads).map(deploy).collect();
        let ids: Vec<B256> = payloads.iter().map(|payload| payload.model_id).collect();
        for (txs, activations) in [(&deploys[..], &[][..]), (&[], &ids)] {
            let (outcomes, executed, _) = bench.run(&store, txs, activations, false);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Included { success: true, .. })));
            (bench.state, bench.header) = (executed.state, executed.evm.header);
        }
        bench
    }

    /// The next block, with its inferences run ahead or not; what it gave, and how many results lay in the cache before
    /// the first transaction.
    fn run(
        &self,
        store: &ModelStore,
        txs: &[TxEnvelope],
        activations: &[B256],
        ahead: bool,
    ) -> (Vec<Outcome>, Executed, usize) {
        let engine = store.engine(&self.state);
        if ahead {
            engine.run_ahead(txs.iter(), 0);
        }
        let kept = lock(&store.results).entries.len();
        let certified = |id: &B256| Readiness { model_id: *id, is_two_thirds: true };
        let readiness: Vec<_> = activations.iter().map(certified).collect();
        let ctx = BlockContext {
            spec: &self.spec,
            parent: &self.header,
            parent_hash: self.header.hash_slow(),
            selected_parent: B256::ZERO,
            slot: self.header.number + 1,
            prev_randao: B256::ZERO,
            dag_blocks: 1,
            block_hashes: &|_| None,
            readiness: &readiness,
            certificates: &[],
            slashings: &[],
            carriers: &[],
            blue_producers: &[],
            inference: &engine,
        };
        let mut executor = BlockExecutor::begin(ctx, &self.state).unwrap();
        let payee = Payee { validator: 0, address: Default::default() };
        let mut outcomes = Vec::new();
        for (index, tx) in (0..).zip(txs) {
            let sender = alloy_consensus::transaction::SignerRecoverable::recover_signer(tx).unwrap();
            outcomes.push(executor.execute(Occurrence { tx, sender, carrier: B256::ZERO, index, payee }).unwrap());
        }
        (outcomes, executor.finish().unwrap(), kept)
    }

    /// Together on one fresh store, one by one on another.
    fn compare(&self, txs: &[TxEnvelope]) -> (Vec<Outcome>, usize) {
        let (together, batch, kept) = self.run(&store(&self.folder), txs, &[], true);
        let (single, one_by_one, none) = self.run(&store(&self.folder), txs, &[], false);
        assert_eq!(none, 0);
        assert_eq!(together, single);
        assert_eq!(batch.evm, one_by_one.evm, "receipts, logs, gas and roots");
        assert_eq!((batch.diff, batch.ai_gas_used), (one_by_one.diff, one_by_one.ai_gas_used));
        // Nor does it matter whether results of an earlier block lie in the cache.
        let warm = store(&self.folder);
        self.run(&warm, txs, &[], true);
        assert_eq!(self.run(&warm, txs, &[], true).1.evm, batch.evm);
        (together, kept)
    }

    fn ask(&self, account: usize, model: usize, input: Vec<u8>, ai_gas: u64) -> TxEnvelope {
        let payload =
            InferencePayload { model_id: self.models[model].0, grade: 0, input: Bytes::from(input), terms: None };
        sign::<Inference>(account, if account == 0 { 2 } else { 0 }, &payload, ai_gas)
    }
}

/// Puts a model's artifact into the store; its registration.
fn register(store: &ModelStore, file: &[u8]) -> ModelDeployPayload {
    let graph = import_onnx(file, &ImportOptions::default()).unwrap();
    let bytes = graph.encode();
    let (artifact, _) = store.artifacts().put(&bytes).unwrap();
    ModelDeployPayload {
        model_id: graph.model_id(),
        artifact,
        artifact_bytes: bytes.len() as u64,
        gas: graph.cost().gas(),
        input_bytes: graph.input_bytes() as u64,
        output_bytes: graph.output_bytes() as u64,
        name: "model".into(),
        commitments: None,
    }
}

fn indices(a: i64, b: i64) -> Vec<u8> {
    [a, b].map(i64::to_le_bytes).concat()
}

fn reason(outcome: &Outcome) -> String {
    let Outcome::Included { success: false, output, .. } = outcome else { panic!("{outcome:?}") };
    lattice_execution::ai::revert_reason(output).unwrap_or_default()
}

#[test]
fn inputs_that_the_model_refuses_end_alike_in_a_batch_and_alone() {
    let bench = Bench::new();
    let enough = 1_000_000;
    let txs = [
        bench.ask(0, 0, indices(0, 3), enough),
        bench.ask(1, 0, indices(0, 900), enough), // a value that the model refuses
        bench.ask(2, 0, indices(0, 900), enough), // once more
        bench.ask(3, 0, indices(-1, 2), enough),
        bench.ask(4, 0, vec![0; 15], enough), // a wrong length
        bench.ask(5, 1, vec![0, 1], enough),
        bench.ask(6, 1, vec![1, 7], enough), // no element of the type
        bench.ask(7, 1, vec![0; 2], 3),      // beyond its bound
    ];
    let (outcomes, kept) = bench.compare(&txs);
    let success: Vec<bool> =
        outcomes.iter().map(|outcome| matches!(outcome, Outcome::Included { success: true, .. })).collect();
    assert_eq!(success, [true, false, false, true, false, true, false, false]);
    assert_eq!(kept, 5, "three inputs of one model, two of the other, refusals among them");
    assert!(reason(&outcomes[1]).contains("index 900 is out of range"), "{}", reason(&outcomes[1]));
    assert_eq!(reason(&outcomes[1]), reason(&outcomes[2]));
    assert!(reason(&outcomes[4]).contains("the input has 15 bytes"), "{}", reason(&outcomes[4]));
    assert!(reason(&outcomes[6]).contains('7'), "{}", reason(&outcomes[6]));
    // A refused run is paid like one that succeeds: all but the first of a model, which loads it.
    let gas = |outcome: &Outcome| match outcome {
        Outcome::Included { ai_gas_used, .. } => *ai_gas_used,
        Outcome::Skipped(reason) => panic!("{reason}"),
    };
    assert!(gas(&outcomes[1]) > 0 && gas(&outcomes[4]) == 0, "what never runs pays for no run");
    assert_eq!([gas(&outcomes[1]), gas(&outcomes[2])], [gas(&outcomes[3]); 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_mixture_of_inputs_ends_alike(
        asks in prop::collection::vec((0usize..2, -6i64..6, prop::collection::vec(0u8..3, 0..4), any::<bool>()), 1..8)
    ) {
        let bench = Bench::new();
        let txs: Vec<_> = asks.iter().enumerate().map(|(account, (model, index, bytes, is_covered))| {
            let input = if *model == 0 { indices(*index, 1) } else { bytes.clone() };
            bench.ask(account, *model, input, if *is_covered { 1_000_000 } else { 2 })
        }).collect();
        bench.compare(&txs);
    }
}
