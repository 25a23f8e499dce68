//! A model on a chain: pushed, listed, run, and still there after a kill.

use crate::{
    binary::{Node, digits_model, run, write},
    local::zero_tensor,
};
use lattice_inference::{Tensor, npy};
use serde_json::Value;

fn push(node: &Node) -> Value {
    node.run(&["model", "push", digits_model().to_str().unwrap()]).ok()
}

#[test]
fn a_pushed_model_runs_as_it_does_without_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let pushed = push(&node);
    assert_eq!(pushed["status"], "active");
    assert!(pushed["tx_hash"].is_string() && pushed["cid"].as_str().unwrap().starts_with("bafk"), "{pushed}");
    let inspected = run(&["model", "inspect", digits_model().to_str().unwrap(), "--json"]).ok();
    assert_eq!(pushed["model_id"], inspected["model_id"]);
    let id = pushed["model_id"].as_str().unwrap();

    let again = push(&node);
    assert_eq!(
        (&again["model_id"], &again["tx_hash"], &again["status"]),
        (&pushed["model_id"], &Value::Null, &pushed["status"])
    );

    let listed = node.run(&["model", "list"]).ok();
    assert_eq!(listed["models"][0]["modelId"], pushed["model_id"]);
    assert_eq!(listed["models"][0]["name"], "digits");
    let shown = node.run(&["model", "show", id]).ok();
    assert_eq!(shown["inputs"], inspected["inputs"]);

    let input = write(dir.path(), "zero.npy", &npy::write(&zero_tensor()));
    let on_chain = node.run(&["run", id, "--input", &input]).ok();
    let local = run(&["run", "--local", digits_model().to_str().unwrap(), "--input", &input, "--json"]).ok();
    assert_eq!(on_chain["outputs"], local["outputs"]);
    assert_eq!(on_chain["grade"], "replay");
    assert!(on_chain["gas_used"].as_u64().unwrap() > local["gas_used"].as_u64().unwrap());
    assert_eq!(node.run(&["receipt", on_chain["tx_hash"].as_str().unwrap()]).ok()["type"], "0x52");
}

#[test]
fn what_cannot_run_is_told_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let unknown = format!("0x{}", "00".repeat(32));
    let input = write(dir.path(), "zero.npy", &npy::write(&zero_tensor()));
    node.run(&["run", &unknown, "--input", &input]).fails(1, &["no model", "model push"]);
    node.run(&["model", "show", &unknown]).fails(1, &["no model"]);

    let id = push(&node)["model_id"].as_str().unwrap().to_owned();
    let head = node.run(&["block"]).ok();
    let elements = zero_tensor().len();
    let ints = Tensor::from_i32(zero_tensor().shape(), vec![0; elements]).unwrap();
    let ints = write(dir.path(), "ints.npy", &npy::write(&ints));
    node.run(&["run", &id, "--input", &ints]).fails(1, &["f32", "i32"]);
    node.run(&["run", &id]).fails(1, &["missing"]);
    node.run(&["run", &id, "--input", &format!("nobody={input}")]).fails(1, &["no input 'nobody'"]);
    assert_eq!(node.run(&["block"]).ok(), head, "nothing was sent");

    // Enough for the transaction itself, not for the model: it is included, fails and costs its gas.
    let failed = node.run(&["run", &id, "--input", &input, "--gas", "60000"]);
    failed.fails(1, &["gas"]);
}

/// Registered by its owner before anybody has its weights: it becomes active as soon as they arrive, long before the
/// next epoch.
#[test]
fn a_late_artifact_activates_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let inspected = run(&["model", "inspect", digits_model().to_str().unwrap(), "--json"]).ok();
    let elsewhere = Node::start(&dir.path().join("elsewhere"));
    let registered = elsewhere.run(&["tx", push(&elsewhere)["tx_hash"].as_str().unwrap()]).ok();
    let input = registered["input"].as_str().unwrap();
    // The registry's door takes the payload of a ModelDeploy as it is.
    node.run(&["send", registered["to"].as_str().unwrap(), "--data", input]).ok();
    let id = inspected["model_id"].as_str().unwrap();
    assert_eq!(node.run(&["model", "show", id]).ok()["status"], "pending");
    let pushed = push(&node);
    assert_eq!((&pushed["model_id"], &pushed["tx_hash"]), (&inspected["model_id"], &Value::Null));
    assert_eq!(pushed["status"], "active");
}

#[test]
fn models_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("node");
    let node = Node::start(&datadir);
    let id = push(&node)["model_id"].as_str().unwrap().to_owned();
    let input = write(dir.path(), "zero.npy", &npy::write(&zero_tensor()));
    let before = node.run(&["run", &id, "--input", &input]).ok();
    node.kill();
    let node = Node::start(&datadir);
    let after = node.run(&["run", &id, "--input", &input]).ok();
    assert_eq!(after["outputs"], before["outputs"]);
}
