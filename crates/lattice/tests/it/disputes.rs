//! Disputes over a node: `lattice train challenge`.

use crate::{
    binary::{Node, digits_model, write},
    train::data,
};
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
