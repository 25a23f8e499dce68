//! A model's way: deployed, attested, active, run.

use crate::net::{Node, key, nodes, signer, spec};
use alloy_primitives::{B256, Bytes, keccak256};
use lattice_chain::{AttestationRefused, ChainError, Input, ModelError, ModelStatus, ReadinessNeed};
use lattice_import::{ImportOptions, import_onnx};
use lattice_inference::{Model, Tensor};
use lattice_training::{Adapter, Composition, Update};
use lattice_types::{
    Attestation, InvalidTx, RecoveredTx, TxEnvelope, recover,
    spec::DEV_CHAIN_ID,
    tx::{
        AiKind, Inference, InferencePayload, Lora, LoraAdapter, LoraComposition, LoraPart, LoraPayload, ModelDeploy,
        ModelDeployPayload, TxAi,
    },
};

const DIGITS: &[u8] = include_bytes!("../../../../models/digits.onnx");

/// The bundled model as registered: its artifact lies in the node's store.
pub fn put_digits(node: &Node) -> ModelDeployPayload {
    let graph = import_onnx(DIGITS, &ImportOptions::default()).unwrap();
    let bytes = graph.encode();
    let (artifact, _) = node.models.artifacts().put(&bytes).unwrap();
    ModelDeployPayload {
        model_id: graph.model_id(),
        artifact,
        artifact_bytes: bytes.len() as u64,
        gas: graph.cost().gas(),
        input_bytes: graph.input_bytes() as u64,
        output_bytes: graph.output_bytes() as u64,
        name: "digits".into(),
        commitments: None,
    }
}

pub fn ai<K: AiKind>(nonce: u64, payload: &K::Payload) -> TxEnvelope
where
    TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
{
    ai_by::<K>(0, nonce, payload, 4_000_000)
}

pub fn ai_by<K: AiKind>(account: usize, nonce: u64, payload: &K::Payload, ai_gas_limit: u64) -> TxEnvelope
where
    TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
{
    let tx = TxAi::<K> {
        chain_id: DEV_CHAIN_ID,
        nonce,
        max_priority_fee_per_gas: 1_000_000_000,
        max_fee_per_gas: 100_000_000_000,
        gas_limit: 5_000_000,
        ai_gas_limit,
        payload: TxAi::<K>::encode_payload(payload),
        ..Default::default()
    };
    signer(account).sign(tx).into()
}

/// The first `signers` validators say that they hold a model.
pub fn attest(node: &mut Node, model_id: B256, signers: u32) {
    for validator in 0..signers {
        let attestation = Attestation::sign(model_id, 0, validator, &key(validator), DEV_CHAIN_ID);
        node.chain.handle(0, Input::Attestation(attestation.into())).unwrap();
    }
}

fn status(node: &Node, model_id: &B256) -> Option<ModelStatus> {
    node.chain.view().unwrap().model(model_id).map(|record| record.status)
}

#[test]
fn pending_until_certified_then_the_same_answer_everywhere() {
    let mut nodes = nodes(2);
    let payload = put_digits(&nodes[0]);
    put_digits(&nodes[1]);
    let id = payload.model_id;
    let deploy = nodes[0].seal([ai::<ModelDeploy>(0, &payload)]);
    assert_eq!(status(&nodes[0], &id), Some(ModelStatus::Pending));
    assert_eq!(deploy.block().header.artifact_cid.0.map(|cid| cid.is_raw()), Some(true));
    nodes[1].give(&deploy).unwrap();

    let input = InferencePayload {
        model_id: id,
        grade: 0,
        input: Bytes::from(vec![0; payload.input_bytes as usize]),
        terms: None,
    };
    let early = nodes[0].seal([ai::<Inference>(1, &input)]);
    assert!(!nodes[0].chain.head().receipts[0].success, "a pending model does not run");

    let record = nodes[0].chain.view().unwrap().model(&id).unwrap();
    nodes[0].models.verify(&id, &record).unwrap();
    attest(&mut nodes[0], id, 3);
    assert!(nodes[0].chain.has_work(0).unwrap(), "a certificate alone is worth a block");
    let activate = nodes[0].seal([]);
    assert_eq!(activate.block().body.readiness.len(), 1);
    assert_eq!(status(&nodes[0], &id), Some(ModelStatus::Active));
    assert!(!nodes[0].chain.has_work(0).unwrap());

    let run = nodes[0].seal([ai::<Inference>(2, &input)]);
    nodes[1].give_all([&early, &activate, &run]);
    assert_eq!(nodes[1].head(), nodes[0].head(), "the second node ran the model itself");
    let view = nodes[1].chain.view().unwrap();
    assert!(view.head().receipts[0].success);
    let output = view.run_model(&id, &input.input).unwrap();
    assert_eq!(output.len() as u64, payload.output_bytes);
    assert_eq!(view.inference_record(&id, &keccak256(&input.input)), Some(keccak256(&output)));
    let signature = view.model_graph(&id).unwrap().unwrap();
    assert_eq!((signature.inputs[0].name.as_str(), signature.cost.gas()), ("image", payload.gas));
    assert!(matches!(view.run_model(&id, &[1]), Err(ModelError::Run { .. })));
    assert!(matches!(view.run_model(&B256::ZERO, &[]), Err(ModelError::Unknown(_))));
}

#[test]
fn attestations_count_once_and_from_members_only() {
    let mut nodes = nodes(1);
    let node = &mut nodes[0];
    let payload = put_digits(node);
    let id = payload.model_id;
    let give =
        |node: &mut Node, given: Attestation| node.chain.handle(0, Input::Attestation(given.into())).unwrap_err();
    let sign = |epoch, validator, by| Attestation::sign(id, epoch, validator, &key(by), DEV_CHAIN_ID);
    let early = give(node, sign(0, 0, 0));
    assert!(
        matches!(early, ChainError::Attestation(AttestationRefused::NotNeeded { model, .. }) if model == id),
        "{early}"
    );
    node.seal([ai::<ModelDeploy>(0, &payload)]);
    let late = give(node, sign(2, 0, 0));
    assert!(
        matches!(late, ChainError::Attestation(AttestationRefused::Epoch { found: 2, now: 0 })),
        "nobody may roll an epoch far ahead: {late}"
    );
    let stranger = give(node, sign(0, 9, 9));
    assert!(matches!(stranger, ChainError::Attestation(AttestationRefused::UnknownValidator(9))), "{stranger}");
    let forged = give(node, sign(0, 1, 2));
    assert!(matches!(forged, ChainError::Attestation(AttestationRefused::Signature(_))), "{forged}");
    attest(node, id, 2);
    attest(node, id, 2);
    assert!(!node.chain.has_work(0).unwrap(), "two of four validators are no two thirds, however often they say it");
    attest(node, id, 3);
    assert!(node.chain.has_work(0).unwrap());
}

#[test]
fn a_node_without_the_artifact_stops_instead_of_guessing() {
    let mut nodes = nodes(2);
    let payload = put_digits(&nodes[0]);
    let id = payload.model_id;
    let deploy = nodes[0].seal([ai::<ModelDeploy>(0, &payload)]);
    attest(&mut nodes[0], id, 4);
    let activate = nodes[0].seal([]);
    let input = InferencePayload {
        model_id: id,
        grade: 0,
        input: Bytes::from(vec![0; payload.input_bytes as usize]),
        terms: None,
    };
    let run = nodes[0].seal([ai::<Inference>(1, &input)]);
    nodes[1].give_all([&deploy, &activate]);
    assert!(matches!(nodes[1].give(&run), Err(ChainError::MissingArtifact(model)) if model == id));
    // It fetches the artifact, opens its store again and goes on.
    put_digits(&nodes[1]);
    nodes[1].reopen();
    nodes[1].give(&run).unwrap();
    assert_eq!(nodes[1].head(), nodes[0].head());
}

#[test]
fn a_registration_that_lies_is_not_attested() {
    let mut node = Node::new(0);
    let honest = put_digits(&node);
    let lies = [
        ModelDeployPayload { gas: honest.gas - 1, ..honest.clone() },
        ModelDeployPayload { input_bytes: 1, ..honest.clone() },
        ModelDeployPayload { output_bytes: 1, ..honest.clone() },
    ];
    for (nonce, lie) in lies.into_iter().enumerate() {
        node = Node::new(0);
        put_digits(&node);
        node.seal([ai::<ModelDeploy>(0, &lie)]);
        let record = node.chain.view().unwrap().model(&lie.model_id).unwrap();
        let error = node.models.verify(&lie.model_id, &record).unwrap_err();
        assert!(matches!(error, ModelError::Mismatch { .. }), "lie {nonce}: {error}");
    }
    let other = ModelDeployPayload { model_id: B256::repeat_byte(7), ..honest };
    node.seal([ai::<ModelDeploy>(1, &other)]);
    let record = node.chain.view().unwrap().model(&other.model_id).unwrap();
    let error = node.models.verify(&other.model_id, &record).unwrap_err().to_string();
    assert!(error.contains("its hash is"), "{error}");
}

#[test]
fn payloads_that_break_a_rule_of_form_are_refused_at_admission() {
    let checkpoint = lattice_types::tx::TrainingCheckpoint {
        job_id: B256::ZERO,
        step: 0,
        state_hash: B256::ZERO,
        artifact: lattice_types::Cid::raw(b"state"),
        trace: None,
    };
    let payload = lattice_types::tx::TrainingPayload::Checkpoint(checkpoint);
    let refused: Result<RecoveredTx, InvalidTx> = recover(ai::<lattice_types::tx::Training>(0, &payload), &spec());
    assert!(matches!(refused, Err(InvalidTx::Payload { ty: 0x53, .. })));
}

#[test]
fn a_model_update_is_admitted_mined_and_activated() {
    let mut node = Node::new(0);
    let honest = put_digits(&node);
    let id = honest.model_id;
    // The first version is a registration whose artifact nobody has; the second is the real one.
    let first = ModelDeployPayload { model_id: B256::repeat_byte(7), ..honest.clone() };
    node.seal([ai::<ModelDeploy>(0, &first)]);
    let update = lattice_types::tx::ModelUpdatePayload {
        model_id: first.model_id,
        parent_version: 1,
        version: ModelDeployPayload { name: String::new(), ..honest },
        delta: None,
    };
    let tx = ai::<lattice_types::tx::ModelUpdate>(1, &update);
    node.seal([tx]);
    let view = node.chain.view().unwrap();
    let record = view.model(&id).unwrap();
    assert_eq!((record.version, record.parent_version, record.line.versions), (2, 1, 2));
    assert_eq!(record.line.id, first.model_id);
    assert_eq!(record.name, "digits");
    assert_eq!(view.registrations(0, 10).1, [first.model_id, id]);
    node.models.verify(&id, &record).unwrap();
}

#[test]
fn many_inputs_of_one_model_give_the_bits_and_gas_of_single_runs() {
    let mut nodes = nodes(3);
    let payload = put_digits(&nodes[0]);
    let id = payload.model_id;
    put_digits(&nodes[1]);
    put_digits(&nodes[2]);
    let deploy = nodes[0].seal([ai::<ModelDeploy>(0, &payload)]);
    attest(&mut nodes[0], id, 4);
    let activate = nodes[0].seal([]);

    let ask = |account, byte: u8, length: u64, bound| {
        let input = Bytes::from(vec![byte; length as usize]);
        ai_by::<Inference>(account, 0, &InferencePayload { model_id: id, grade: 0, input, terms: None }, bound)
    };
    let whole = payload.input_bytes;
    // Two inputs, one of them twice; an input that is too short; a bound that does not cover the run.
    let txs = [
        ask(1, 1, whole, 2_000_000),
        ask(2, 2, whole, 2_000_000),
        ask(3, 1, whole, 2_000_000),
        ask(4, 3, whole - 1, 2_000_000),
        ask(5, 4, whole, 1),
    ];
    let batch = nodes[0].seal(txs.clone());
    nodes[1].give_all([&deploy, &activate, &batch]);
    assert_eq!(nodes[1].head(), nodes[0].head(), "whoever seals and whoever follows agree");

    let head = nodes[1].chain.head().clone();
    let at = |tx: &TxEnvelope| head.transactions.iter().position(|included| included.hash == *tx.hash()).unwrap();
    let success: Vec<bool> = txs.iter().map(|tx| head.receipts[at(tx)].success).collect();
    assert_eq!(success, [true, true, true, false, false]);
    // A store that has run nothing runs one by one: the same bits.
    let view = nodes[1].chain.view().unwrap();
    for byte in [1, 2] {
        let input = vec![byte; whole as usize];
        let single = nodes[2].models.run_model(&id, &payload.artifact, &input).unwrap();
        assert_eq!(view.inference_record(&id, &keccak256(&input)), Some(keccak256(&single)));
        assert_eq!(view.run_model(&id, &input).unwrap(), single);
    }
    // A hit in the cache costs what a miss does: all runs but the block's first, which loads the model, cost the same.
    let gas = |index: usize| {
        let before = index.checked_sub(1).map_or(0, |previous| head.receipts[previous].cumulative_gas_used);
        head.receipts[index].cumulative_gas_used - before
    };
    let mut costs: Vec<u64> = txs[..3].iter().map(|tx| gas(at(tx))).collect();
    costs.sort_unstable();
    assert_eq!(costs[0], costs[1], "{costs:?}");
    // A third node that executes them in blocks of one agrees on what is recorded.
    nodes[2].give_all([&deploy, &activate]);
    for tx in &txs[..3] {
        nodes[2].seal([tx.clone()]);
    }
    let single = nodes[2].chain.view().unwrap();
    for byte in [1, 2] {
        let hash = keccak256(vec![byte; whole as usize]);
        assert_eq!(single.inference_record(&id, &hash), view.inference_record(&id, &hash));
    }
}

/// An adapter on the last layer of digits, and its registration.
fn put_adapter(nodes: &[Node], base: B256, strength: f32) -> (Adapter, LoraPayload) {
    let a = Tensor::from_f32([1, 32], vec![0.25; 32]).unwrap();
    let b = Tensor::from_f32([10, 1], (0..10).map(|i| i as f32 * strength).collect()).unwrap();
    let adapter = Adapter::new(vec![Update { module: "w2".into(), scale: 1.0, a, b }]).unwrap();
    let bytes = adapter.encode();
    let artifact =
        nodes.iter().map(|node| node.models.artifacts().put(&bytes).unwrap().0).fold(None, |_, cid| Some(cid));
    let artifact = artifact.unwrap();
    let (artifact_bytes, name) = (bytes.len() as u64, "ramp".into());
    let payload = LoraAdapter { base_model: base, base_version: 1, artifact, artifact_bytes, rank: 1, alpha: 1, name };
    (adapter, LoraPayload::Adapter(payload))
}

#[test]
fn adapters_are_attested_and_run_merged_with_the_same_bits_everywhere() {
    let mut nodes = nodes(2);
    let payload = put_digits(&nodes[0]);
    put_digits(&nodes[1]);
    let base = payload.model_id;
    let (first, first_payload) = put_adapter(&nodes, base, 0.5);
    let (second, second_payload) = put_adapter(&nodes, base, -0.1);
    let id = |payload: &LoraPayload| keccak256(alloy_rlp::encode(payload));
    let parts = vec![
        LoraPart { adapter: id(&first_payload), weight: 49_152 },
        LoraPart { adapter: id(&second_payload), weight: 131_072 },
    ];
    let mix = LoraPayload::Compose(LoraComposition { method: LoraComposition::CAT, parts, name: "mix".into() });
    let LoraPayload::Adapter(honest) = &first_payload else { unreachable!() };
    let lie = LoraPayload::Adapter(LoraAdapter { rank: 2, ..honest.clone() });
    let mut blocks = vec![nodes[0].seal([
        ai::<ModelDeploy>(0, &payload),
        ai::<Lora>(1, &first_payload),
        ai::<Lora>(2, &second_payload),
        ai::<Lora>(3, &mix),
        ai::<Lora>(4, &lie),
    ])];
    let view = nodes[0].chain.view().unwrap();
    for payload in [&first_payload, &second_payload] {
        assert_eq!(view.readiness_need(&id(payload), 0), ReadinessNeed::TwoThirds);
        view.verify(&nodes[0].models, &id(payload)).unwrap();
    }
    assert_eq!(view.readiness_need(&id(&mix), 0), ReadinessNeed::None);
    let error = view.verify(&nodes[0].models, &id(&lie)).unwrap_err().to_string();
    assert!(error.contains("rank: registered as 2"), "{error}");
    for id in [base, id(&first_payload), id(&second_payload)] {
        attest(&mut nodes[0], id, 3);
    }
    blocks.push(nodes[0].seal([]));
    assert_eq!(blocks[1].block().body.readiness.len(), 3);

    let input: Vec<u8> = (0..64).flat_map(|i| (i as f32 % 17.0).to_le_bytes()).collect();
    let ask = |nonce: u64, model_id: B256| {
        let input = Bytes::from(input.clone());
        ai::<Inference>(nonce, &InferencePayload { model_id, grade: 0, input, terms: None })
    };
    blocks.push(nodes[0].seal([ask(5, base), ask(6, id(&first_payload)), ask(7, id(&mix))]));
    let head = nodes[0].chain.head().clone();
    assert!(head.receipts.iter().all(|receipt| receipt.success));
    nodes[1].give_all(blocks.iter());
    assert_eq!(nodes[1].head(), nodes[0].head(), "the second node merged and ran by itself");

    let graph = import_onnx(DIGITS, &ImportOptions::default()).unwrap();
    let both = Adapter::compose(Composition::Cat, &[(&first, 0.75), (&second, 2.0)]).unwrap();
    let view = nodes[1].chain.view().unwrap();
    for (called, adapter) in [(id(&first_payload), &first), (id(&mix), &both)] {
        let model = Model::load(adapter.merge(&graph).unwrap()).unwrap();
        let expected = model.run_bytes(&input).unwrap();
        assert_eq!(view.inference_record(&called, &keccak256(&input)), Some(keccak256(&expected)));
        assert_eq!(view.run_model(&called, &input).unwrap()[..], expected);
    }
    assert_ne!(view.run_model(&base, &input).unwrap(), view.run_model(&id(&mix), &input).unwrap());
}

#[test]
fn a_composition_called_in_its_own_block_is_refused_and_stops_nobody() {
    let mut nodes = nodes(2);
    let payload = put_digits(&nodes[0]);
    put_digits(&nodes[1]);
    let base = payload.model_id;
    let (_, adapter) = put_adapter(&nodes, base, 0.5);
    let id = |payload: &LoraPayload| keccak256(alloy_rlp::encode(payload));
    let mut blocks = vec![nodes[0].seal([ai::<ModelDeploy>(0, &payload), ai::<Lora>(1, &adapter)])];
    attest(&mut nodes[0], base, 3);
    attest(&mut nodes[0], id(&adapter), 3);
    blocks.push(nodes[0].seal([]));
    let parts = vec![LoraPart { adapter: id(&adapter), weight: 32_768 }];
    let half = LoraPayload::Compose(LoraComposition { method: LoraComposition::CAT, parts, name: "half".into() });
    let input = Bytes::from(vec![0; payload.input_bytes as usize]);
    let ask = InferencePayload { model_id: id(&half), grade: 0, input, terms: None };
    blocks.push(nodes[0].seal([ai::<Lora>(2, &half), ai::<Inference>(3, &ask)]));
    let success: Vec<bool> = nodes[0].chain.head().receipts.iter().map(|receipt| receipt.success).collect();
    assert_eq!(success, [true, false]);
    blocks.push(nodes[0].seal([ai::<Inference>(4, &ask)]));
    assert!(nodes[0].chain.head().receipts[0].success);
    nodes[1].give_all(blocks.iter());
    assert_eq!(nodes[1].head(), nodes[0].head());
}
