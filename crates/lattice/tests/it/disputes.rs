//! Disputes over a node: `lattice train challenge`, and `lattice infer challenge` of a traced answer.

use crate::{
    binary::{Node, digits_model, write},
    train::data,
};
use alloy_primitives::{B256, keccak256};
use lattice_import::{ImportOptions, import_onnx};
use lattice_training::dispute::ActivationTrace;
use lattice_types::tx::operation::{AnswerTraced, Operation};
use serde_json::{Value, json};
use std::path::Path;

/// Secret key of the second development account, who trains here.
const TRAINER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn a_training_is_ordered_with_a_bond_and_a_lie_about_it_is_slashed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let model = digits_model();
    let model = model.to_str().unwrap();
    let base = text(&node.run(&["model", "push", model]).ok()["model_id"]).to_owned();
    let data = data(dir.path(), 1);
    let out = dir.path().join("training");
    let file = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let learn = ["train", "local", model, &data, "--out", out.to_str().unwrap(), "--steps", "20", "--interval", "10"];
    let local = crate::binary::run(&[&learn[..], &["--lora", "2", "--batch", "4", "--json"]].concat()).ok();
    let root = text(&local["dataset_root"]).to_owned();
    let by_trainer = |args: &[&str]| node.run(&[args, &["--key", TRAINER_KEY]].concat());
    let job = file("job");
    let train = |trace: &str, result: &str| {
        let order = ["train", "order", &base, "--job", &job, "--dataset-root", &root, "--reward", "9wei"];
        let ordered = node.run(&[&order[..], &["--bond", "40wei"]].concat()).ok();
        let id = text(&ordered["job_id"]).to_owned();
        by_trainer(&["train", "accept", &id]).ok();
        let last = hash_at(trace, 20);
        for (step, hash) in [("10", hash_at(trace, 10)), ("20", last.clone())] {
            let cid = text(&node.run(&["train", "show", &id]).ok()["job"]).to_owned();
            let args = ["train", "checkpoint", &id, "--step", step, "--trace", trace, "--state-hash", &hash];
            by_trainer(&[&args[..], &["--artifact", &cid]].concat()).ok();
        }
        by_trainer(&["train", "complete", &id, result, "--bond", "39wei"]).fails(1, &["the job asks for 40"]);
        by_trainer(&["train", "complete", &id, result]).ok();
        assert_eq!(node.run(&["train", "show", &id]).ok()["bond"], "0x28");
        id
    };
    let challenge = |id: &str| node.run(&["train", "challenge", id, model, &data, "--job", &job]);

    let honest = train(&file("trace"), &file("result.lora"));
    assert_eq!(challenge(&honest).ok()["right"], true);
    assert_eq!(node.run(&["train", "show", &honest]).ok()["status"], "completed");

    let bytes = std::fs::read(file("trace")).unwrap();
    let mut lie = bytes.clone();
    for step in 13..=20 {
        lie[bytes.len() - 21 * 32 + step * 32] ^= 1;
    }
    let lie = write(dir.path(), "lie", &lie);
    let liar = train(&lie, &file("result.lora"));
    let slashed = challenge(&liar).ok();
    assert_eq!(
        (&slashed["kind"], &slashed["step"], &slashed["status"]),
        (&json!("step"), &json!(13), &json!("slashed"))
    );
    challenge(&liar).fails(1, &["only a completed job"]);

    let swapped = train(&file("trace"), &data);
    let slashed = challenge(&swapped).ok();
    assert_eq!((&slashed["kind"], &slashed["status"]), (&json!("result"), &json!("slashed")));

    node.run(&["train", "order", &base, "--job", &data, "--dataset-root", &root, "--reward", "9wei", "--bond", "1wei"])
        .fails(1, &["LATJ"]);
    challenge("0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e").fails(1, &["no training job"]);
}

/// The hash after a step of twenty, in a trace file.
fn hash_at(trace: &str, step: usize) -> String {
    let bytes = std::fs::read(Path::new(trace)).unwrap();
    let at = bytes.len() - (21 - step) * 32;
    alloy_primitives::hex::encode_prefixed(&bytes[at..at + 32])
}

#[test]
fn a_traced_answer_publishes_its_values_and_a_wrong_operator_is_slashed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let model = digits_model();
    let model = model.to_str().unwrap();
    let id = text(&node.run(&["model", "push", model]).ok()["model_id"]).to_owned();
    let tensor = crate::local::zero_tensor();
    let input = write(dir.path(), "zero.npy", &lattice_inference::npy::write(&tensor));
    let ask = || {
        let args = ["run", &id, "--input", &input, "--grade", "traced", "--fee", "10wei", "--bond", "8wei"];
        let asked = node.run(&args).ok();
        assert_eq!(asked["grade"], "traced");
        text(&asked["request_id"]).to_owned()
    };
    let by_provider = |args: &[&str]| node.run(&[args, &["--key", TRAINER_KEY]].concat());
    let challenge = |id: &str| node.run(&["infer", "challenge", id, "--model", model]);

    let honest = ask();
    by_provider(&["infer", "answer", &honest]).fails(2, &["--model"]);
    by_provider(&["infer", "answer", &honest, "--model", model]).ok();
    let shown = node.run(&["infer", "show", &honest]).ok();
    assert_eq!((&shown["status"], &shown["grade"]), (&json!("answered"), &json!("traced")));
    assert!(shown["outputs"][0]["data"].is_array(), "{shown}");
    assert_eq!(challenge(&honest).ok()["right"], true);
    node.run(&["infer", "challenge", &honest]).fails(2, &["--model"]);

    // A provider who changes the result of one node and is honest about the rest.
    let graph = import_onnx(&std::fs::read(model).unwrap(), &ImportOptions::default()).unwrap();
    assert_eq!(graph.model_id().to_string(), id);
    let (mut trace, output) = ActivationTrace::of(&graph, &tensor.to_bytes()).unwrap();
    trace.steps[3][0] = keccak256(b"another value");
    let lied = ask();
    let request_id: B256 = lied.parse().unwrap();
    let answer = AnswerTraced { request_id, output: output.into(), trace: trace.steps };
    let account = "0x00000000000000000000000000000000000a3000";
    let data = answer.input().to_string();
    by_provider(&["send", account, "--value", "8wei", "--data", &data]).ok();
    let slashed = challenge(&lied).ok();
    assert_eq!((&slashed["step"], &slashed["status"]), (&json!(3), &json!("slashed")));
    assert_eq!(node.run(&["infer", "show", &lied]).ok()["status"], "slashed");
    challenge(&lied).fails(1, &["only an answered one"]);
}
