//! The `lattice_` namespace.

use crate::{
    client::Client,
    node::{Draft, Node, signer},
};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use lattice_import::{ImportOptions, import_onnx};
use lattice_storage::Manifest;
use lattice_types::{
    TxEnvelope, system,
    tx::{AiKind, Inference, InferencePayload, ModelDeploy, ModelDeployPayload, RequestTerms, TxAi},
};
use serde_json::{Value, json};

#[test]
fn the_status_names_chain_head_and_dag() {
    let node = Node::start();
    let client = node.client();
    client.receipt(&client.send(&Draft::transfer(0, 0).sign()));
    let status = client.call("lattice_status", json!([]));
    let block = client.call("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!((&status["chainName"], &status["chainId"]), (&json!("lattice-dev"), &json!("0x7a69")));
    assert_eq!((&status["head"]["hash"], &status["head"]["number"]), (&block["hash"], &json!("0x1")));
    assert_eq!(status["head"]["dagHash"], status["sink"]);
    assert_eq!(status["tips"], json!([status["sink"]]));
    assert_eq!((&status["blueScore"], &status["models"]), (&json!("0x1"), &json!("0x0")));
    assert_eq!(status["aiScore"], json!("0x0"));
    let lanes = json!({ "standard": "0x0", "models": "0x0", "training": "0x0", "inference": "0x0" });
    assert_eq!(status["lanes"], lanes);
    assert_eq!(status["pool"], json!({ "pending": "0x0", "queued": "0x0" }));
}

#[test]
fn the_ai_lane_is_shown_and_malformed_declarations_are_refused() {
    let node = Node::start();
    let client = node.client();
    let lane = client.call("lattice_aiGas", json!([]));
    let expected = [
        ("price", "0x3b9aca00"),
        ("priceNext", "0x3b9aca00"),
        ("workLast", "0x0"),
        ("limit", "0x1c9c380"),
        ("target", "0x7270e0"),
        ("pool", "0x2dc6c0"),
        ("undeclared", "0x7a120"),
        ("declareAt", "0x000000000000000000000000000000000000a1f0"),
    ];
    for (field, value) in expected {
        assert_eq!(lane[field], json!(value), "{field}");
    }
    let list = json!([{ "address": system::AI_GAS, "storageKeys": [] }]);
    let call = json!([{ "to": system::MODEL_EXEC, "accessList": list }]);
    let error = client.try_call("eth_estimateGas", call).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("it must have one"), "{error}");
}

#[test]
fn the_dag_is_shown_newest_first() {
    let node = Node::start();
    let client = node.client();
    let mut hashes = Vec::new();
    for nonce in 0..4 {
        let hash = client.send(&Draft::transfer(0, nonce).sign());
        client.receipt(&hash);
        hashes.push(hash);
    }
    let dag = client.call("lattice_getDag", json!(["0x3"]));
    let blocks = dag["blocks"].as_array().unwrap();
    let scores: Vec<_> = blocks.iter().map(|block| block["blueScore"].as_str().unwrap()).collect();
    assert_eq!(scores, ["0x4", "0x3", "0x2"]);
    assert_eq!(blocks[0]["hash"], dag["sink"]);
    for block in blocks {
        let evm = client.call("eth_getBlockByNumber", json!([block["evmNumber"], false]));
        assert_eq!(block["evmHash"], evm["hash"]);
        assert_eq!(
            (&block["status"], &block["isChain"], &block["transactions"]),
            (&json!("valid"), &json!(true), &json!("0x1"))
        );
        assert_eq!(block["parents"], json!([block["selectedParent"]]));
        assert_eq!(block["artifactCid"], Value::Null);
    }
    let one = client.call("lattice_getDagBlock", json!([blocks[0]["hash"]]));
    assert_eq!(one["transactionHashes"], json!([hashes[3]]));
    assert_eq!(client.call("lattice_getDagBlock", json!([B256::ZERO])), Value::Null);
    let all = client.call("lattice_getDag", json!([]));
    let genesis = all["blocks"].as_array().unwrap().last().unwrap();
    assert_eq!((&genesis["parents"], &genesis["selectedParent"]), (&json!([]), &Value::Null));

    let execution = client.call("lattice_getExecution", json!(["latest"]));
    assert_eq!((&execution["number"], &execution["dagHash"]), (&json!("0x4"), &dag["sink"]));
    assert_eq!((&execution["executed"], &execution["skipped"]), (&json!([dag["sink"]]), &json!([])));
    assert_eq!(client.call("lattice_getExecution", json!(["0x99"])), Value::Null);
    let points = client.call("lattice_getPruningPoints", json!([]));
    assert_eq!(points["total"], "0x1", "genesis only");
    let header: Bytes = serde_json::from_value(points["points"][0]["header"].clone()).unwrap();
    assert_eq!(points["points"][0]["hash"], json!(keccak256(header)));
    let head: Bytes = serde_json::from_value(points["head"].clone()).unwrap();
    let genesis = &points["points"][0]["hash"];
    let named = |hash| client.call("lattice_getDagBlock", json!([hash]))["newestPruningPoint"].clone();
    assert_eq!(named(dag["sink"].clone()), *genesis, "every block names the newest");
    let head = json!(keccak256(head));
    assert!(head == *genesis || named(head) == *genesis);
}

#[test]
fn artifacts_arrive_in_chunks() {
    let node = Node::start();
    let client = node.client();
    let bytes: Vec<u8> = (0..(1 << 20) + 5).map(|i: u32| (i * 7) as u8).collect();
    let manifest = Manifest::of(&bytes);
    let cid = manifest.cid().to_string();
    assert_eq!(client.call("lattice_missingChunks", json!([cid])), json!([cid]));
    let stored = client.call("lattice_putManifest", json!([Bytes::from(manifest.encode())]));
    assert_eq!(stored, json!(cid));
    let chunks: Vec<_> = manifest.chunks().iter().map(ToString::to_string).collect();
    let missing = client.call("lattice_missingChunks", json!([cid]));
    assert_eq!(missing.as_array().unwrap().len(), 2);
    for (bytes, chunk) in bytes.chunks(1 << 20).zip(&chunks) {
        assert_eq!(client.call("lattice_putChunk", json!([Bytes::copy_from_slice(bytes)])), json!(chunk));
    }
    assert_eq!(client.call("lattice_missingChunks", json!([cid])), json!([]));
    let error = client.try_call("lattice_putChunk", json!([Bytes::from(vec![0; (1 << 20) + 1])])).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("a chunk has 1 to 1048576 bytes"), "{error}");
}

#[test]
fn nothing_is_made_up_of_models_that_are_not_there() {
    let node = Node::start();
    let client = node.client();
    let id = B256::repeat_byte(1);
    assert_eq!(client.call("lattice_getModels", json!([])), json!({ "total": "0x0", "models": [] }));
    assert_eq!(client.call("lattice_getModel", json!([id])), Value::Null);
    assert_eq!(client.call("lattice_getInference", json!([id, id])), Value::Null);
    for method in ["ModelVersions", "Adapter", "TrainingJob", "BondedRequest"] {
        assert_eq!(client.call(&format!("lattice_get{method}"), json!([id])), Value::Null, "{method}");
    }
    let nobody = signer(9).address();
    let expected =
        json!({ "address": nobody, "modelsOwned": "0x0", "reputation": 0, "credits": "0x0", "stake": "0x0" });
    assert_eq!(client.call("lattice_getAccount", json!([nobody])), expected);
    assert_eq!(client.call("lattice_getInferenceByTransaction", json!([id])), Value::Null);
    let transfer = client.send(&Draft::transfer(0, 0).sign());
    client.receipt(&transfer);
    assert_eq!(client.call("lattice_getInferenceByTransaction", json!([transfer])), Value::Null);
    let error = client.try_call("lattice_replayInference", json!([transfer])).unwrap_err();
    assert_eq!(error["code"], -32000);
}

/// The protobuf encoding of an ONNX file: `y = Relu(x)` on two floats.
fn relu_onnx() -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }
    let number = |field: u8, value: u8| vec![field << 3, value];
    let shape = field(2, &field(1, &number(1, 2)));
    let tensor = [number(1, 1), shape].concat();
    let value = |name: &[u8]| [field(1, name), field(2, &field(1, &tensor))].concat();
    let relu = [field(1, b"x"), field(2, b"y"), field(4, b"Relu")].concat();
    let graph = [field(1, &relu), field(2, b"g"), field(11, &value(b"x")), field(12, &value(b"y"))].concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}

/// The transaction of account 0 that registers that model.
fn relu_deployment(nonce: u64) -> TxEnvelope {
    let graph = import_onnx(&relu_onnx(), &ImportOptions::default()).unwrap();
    let (id, bytes) = (graph.model_id(), graph.encode());
    let payload = ModelDeployPayload {
        model_id: id,
        artifact: Manifest::of(&bytes).cid(),
        artifact_bytes: bytes.len() as u64,
        gas: graph.cost().gas(),
        input_bytes: 8,
        output_bytes: 8,
        name: "relu".into(),
        commitments: None,
    };
    ai::<ModelDeploy>(nonce, TxAi::<ModelDeploy>::encode_payload(&payload))
}

/// Registers that model, as the first transaction of account 0, and waits until it is active.
pub fn active_relu(node: &Node, client: &Client) -> B256 {
    client.receipt(&client.send(&relu_deployment(0)));
    let graph = import_onnx(&relu_onnx(), &ImportOptions::default()).unwrap();
    let (id, bytes) = (graph.model_id(), graph.encode());
    client.call("lattice_putChunk", json!([Bytes::copy_from_slice(&bytes)]));
    client.call("lattice_putManifest", json!([Bytes::from(Manifest::of(&bytes).encode())]));
    node.attest(id);
    for _ in 0..1_000 {
        if client.call("lattice_getModel", json!([id]))["status"] == "active" {
            return id;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("model {id} does not become active");
}

#[test]
fn a_model_goes_from_file_to_replayed_inference() {
    let node = Node::start();
    let client = node.client();
    let graph = import_onnx(&relu_onnx(), &ImportOptions::default()).unwrap();
    let (id, bytes) = (graph.model_id(), graph.encode());
    let manifest = Manifest::of(&bytes);
    let deploy = relu_deployment(0);
    let receipt = client.receipt(&client.send(&deploy));
    assert_eq!((&receipt["status"], &receipt["type"]), (&json!("0x1"), &json!("0x50")), "{receipt}");

    let model = client.call("lattice_getModel", json!([id]));
    assert_eq!((&model["version"], &model["line"]["modelId"]), (&json!("0x1"), &json!(id)));
    assert_eq!(model["line"]["permission"], "public");
    let versions = client.call("lattice_getModelVersions", json!([id]));
    assert_eq!((&versions["total"], &versions["versions"][0]["modelId"]), (&json!("0x1"), &json!(id)));
    assert_eq!(client.call("lattice_getAccount", json!([signer(0).address()]))["modelsOwned"], "0x1");
    let expected = [
        ("name", json!("relu")),
        ("status", json!("pending")),
        ("owner", json!(signer(0).address())),
        ("artifact", json!(manifest.cid().to_string())),
        ("artifactMissing", json!("0x1")),
        ("registeredAt", json!("0x1")),
        ("inputs", Value::Null),
        ("macs", Value::Null),
    ];
    for (field, value) in expected {
        assert_eq!(model.get(field), Some(&value), "{field}");
    }
    client.call("lattice_putChunk", json!([Bytes::copy_from_slice(&bytes)]));
    client.call("lattice_putManifest", json!([Bytes::from(manifest.encode())]));
    let model = client.call("lattice_getModel", json!([id]));
    let signature = json!([{ "name": "x", "dtype": "f32", "shape": [2] }]);
    assert_eq!((&model["inputs"], &model["artifactMissing"]), (&signature, &json!("0x0")));
    assert_eq!(model["operators"], json!({ "Relu": 1 }));

    node.attest(id);
    for _ in 0..1_000 {
        if client.call("lattice_getModel", json!([id]))["status"] == "active" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let listed = client.call("lattice_getModels", json!([]));
    assert_eq!((&listed["total"], &listed["models"][0]["status"]), (&json!("0x1"), &json!("active")));
    assert_eq!(client.call("lattice_getModels", json!(["0x1", "0x10"])), json!({ "total": "0x1", "models": [] }));

    let input = [(-1.5f32).to_le_bytes(), 2.5f32.to_le_bytes()].concat();
    let output = Bytes::from([0f32.to_le_bytes(), 2.5f32.to_le_bytes()].concat());
    let payload = InferencePayload { model_id: id, grade: 0, input: input.clone().into(), terms: None };
    let payload = TxAi::<Inference>::encode_payload(&payload);
    let by_type = ai::<Inference>(1, payload.clone());
    let by_call = Draft { gas: 2_000_000, ..Draft::call(1, 0, system::INFERENCE, payload) }.sign();
    for tx in [by_type, by_call] {
        let hash = client.send(&tx);
        let receipt = client.receipt(&hash);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let inference = client.call("lattice_getInferenceByTransaction", json!([hash]));
        assert_eq!(
            inference,
            json!({
                "modelId": id,
                "caller": receipt["from"],
                "inputHash": keccak256(&input),
                "input": Bytes::from(input.clone()),
                "output": output,
                "outputHash": keccak256(&output),
                "grade": "replay",
                "gasUsed": receipt["gasUsed"],
                "success": true,
            })
        );
        let replay = client.call("lattice_replayInference", json!([hash]));
        assert_eq!((&replay["matches"], &replay["recorded"]), (&json!(true), &json!(keccak256(&output))));
    }
    let record = client.call("lattice_getInference", json!([id, keccak256(&input)]));
    assert_eq!(record, json!({ "outputHash": keccak256(&output) }));
}

#[test]
fn an_inference_that_is_answered_later_tells_its_grade() {
    let node = Node::start();
    let client = node.client();
    let model_id = active_relu(&node, &client);
    let bonded = RequestTerms { answer_blocks: 100, bond: 1 };
    let grades = [("proof", InferencePayload::PROOF, None), ("bonded", InferencePayload::BONDED, Some(bonded))];
    for (nonce, (name, grade, terms)) in (0..).zip(grades) {
        let payload = InferencePayload { model_id, grade, input: vec![0; 8].into(), terms };
        let payload = TxAi::<Inference>::encode_payload(&payload);
        let call = Draft::call(1, nonce, system::INFERENCE, payload);
        let hash = client.send(&Draft { gas: 2_000_000, value: U256::from(1_000), ..call }.sign());
        assert_eq!(client.receipt(&hash)["status"], "0x1");
        let inference = client.call("lattice_getInferenceByTransaction", json!([hash]));
        assert_eq!(
            (&inference["grade"], &inference["success"], &inference["output"]),
            (&json!(name), &json!(true), &Value::Null),
            "{inference}"
        );
        let error = client.try_call("lattice_replayInference", json!([hash])).unwrap_err();
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
    }
}

/// An AI transaction of account 0.
fn ai<K: AiKind>(nonce: u64, payload: Bytes) -> TxEnvelope
where
    TxEnvelope: From<alloy_consensus::Signed<TxAi<K>>>,
{
    let tx = TxAi::<K> {
        chain_id: 31337,
        nonce,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        gas_limit: 3_000_000,
        ai_gas_limit: 1_000_000,
        payload,
        ..TxAi::default()
    };
    signer(0).sign(tx).into()
}
