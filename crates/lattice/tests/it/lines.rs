//! What owners, providers and trainers do: versions, permissions, prices, bonded requests, adapters, training jobs.

use crate::{
    binary::{Node, digits_model, write},
    onnx::{Dim, FLOAT, model, value},
};
use lattice_inference::{Tensor, npy};
use lattice_training::{Adapter, Update};
use lattice_types::ChainSpec;
use serde_json::{Value, json};
use std::path::Path;

/// Secret key of the second development account, who does not own the models here.
const OTHER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const OTHER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const NOBODY: &str = "0x5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// A file of a model of one operator on two floats.
fn file(dir: &Path, operator: &str) -> String {
    let bytes = model(operator, &["x"], &[value("x", FLOAT, &[Dim::Fixed(2)])]);
    write(dir, &format!("{operator}.onnx"), &bytes)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn push(node: &Node, dir: &Path, operator: &str) -> String {
    text(&node.run(&["model", "push", &file(dir, operator)]).ok()["model_id"]).to_owned()
}

/// Runs as the second account.
fn other(node: &Node, args: &[&str]) -> crate::binary::Ran {
    node.run(&[args, &["--key", OTHER_KEY]].concat())
}

/// Makes that many blocks.
fn blocks(node: &Node, count: usize) {
    for _ in 0..count {
        node.run(&["send", OTHER, "--value", "1wei"]).ok();
    }
}

fn input(dir: &Path) -> String {
    write(dir, "x.json", b"[-2.5, 3.0]")
}

#[test]
fn a_model_grows_by_versions_and_changes_hands() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let (first, input) = (push(&node, dir.path(), "Relu"), input(dir.path()));
    let delta = write(dir.path(), "delta.bin", b"what changes from Relu to Abs");
    let abs = file(dir.path(), "Abs");
    let updated = node.run(&["model", "update", &first, &abs, "--delta", &delta, "--metadata", &delta]).ok();
    assert_eq!(updated["status"], "active");
    let second = text(&updated["model_id"]).to_owned();
    assert_eq!(node.run(&["run", &second, "--input", &input]).ok()["outputs"][0]["data"], json!([2.5, 3.0]));
    // The same file again sends nothing; as a version of itself, or of nothing, it is refused.
    assert_eq!(node.run(&["model", "update", &second, &abs]).ok()["tx_hash"], Value::Null);
    node.run(&["model", "update", &second, &file(dir.path(), "Relu")]).fails(1, &["version 1 of model"]);
    node.run(&["model", "update", NOBODY, &abs]).fails(1, &["no model", NOBODY]);
    // Versions and bases are numbers that exist.
    node.run(&["model", "update", &first, &file(dir.path(), "Neg"), "--parent", "9"]).fails(1, &["9"]);

    let versions = node.run(&["model", "versions", &second]).ok();
    assert_eq!((&versions["modelId"], &versions["total"]), (&json!(first), &json!("0x2")));
    let newest = &versions["versions"][1];
    assert_eq!((&newest["parentVersion"], &newest["delta"]["baseVersion"]), (&json!("0x1"), &json!("0x1")));
    assert!(newest["metadata"].is_string() && text(&newest["delta"]["artifact"]).starts_with("bafk"), "{newest}");

    // Permissions: a list without the second account, then with it.
    node.run(&["model", "permissions", &second, "--allow-list"]).ok();
    assert_eq!(node.run(&["model", "permissions", &first]).ok()["permission"], "allowList");
    let run_second = ["run", second.as_str(), "--input", input.as_str()];
    other(&node, &run_second).fails(1, &["allow list", OTHER]);
    other(&node, &["model", "permissions", &first, "--public"]).fails(1, &["owner"]);
    node.run(&["model", "permissions", &first, "--allow", OTHER]).ok();
    other(&node, &run_second).ok();
    node.run(&["model", "permissions", &first, "--deny", OTHER]).ok();
    other(&node, &run_second).fails(1, &["allow list"]);

    // A price, paid out of credits.
    node.run(&["model", "price", &first, "5wei"]).ok();
    other(&node, &run_second).fails(1, &["5 wei of compute credits"]);
    other(&node, &["account", "deposit", "12wei"]).ok();
    other(&node, &run_second).ok();
    let account = node.run(&["account", OTHER]).ok();
    assert_eq!((&account["credits"], &account["modelsOwned"]), (&json!("0x7"), &json!("0x0")));
    other(&node, &["account", "withdraw", "8wei"]).fails(1, &["7 wei of credits"]);
    other(&node, &["account", "withdraw", "7wei"]).ok();

    // Stake, ownership, the end.
    other(&node, &["account", "stake", &first, "9wei"]).ok();
    other(&node, &["account", "unstake", &second, "4wei"]).ok();
    other(&node, &["account", "collect", &first]).fails(1, &["released at block"]);
    assert_eq!(node.run(&["account", OTHER]).ok()["stake"], "0x9");
    other(&node, &["model", "accept", &first]).fails(1, &["not offered"]);
    node.run(&["model", "transfer", &first, OTHER]).ok();
    assert_eq!(other(&node, &["model", "accept", &first]).ok()["owner"].as_str(), Some(&*OTHER.to_lowercase()));
    node.run(&["model", "retire", &first]).fails(1, &["owner"]);
    other(&node, &["model", "retire", &first]).ok();
    other(&node, &run_second).fails(1, &["retired"]);
}

#[test]
fn bonded_requests_are_answered_challenged_and_settled() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let (id, input) = (push(&node, dir.path(), "Neg"), input(dir.path()));
    let relu = file(dir.path(), "Relu");
    let ask = |blocks: &str| {
        let args = ["run", &id, "--input", &input, "--grade", "bonded", "--fee", "10wei", "--bond", "8wei"];
        let asked = node.run(&[&args[..], &["--answer-blocks", blocks]].concat()).ok();
        assert_eq!(asked["grade"], "bonded");
        text(&asked["request_id"]).to_owned()
    };
    node.run(&["run", &id, "--input", &input, "--fee", "1wei"]).fails(2, &["--grade"]);

    // Answered rightly by the node, which no challenge shakes.
    let first = ask("1000");
    assert_eq!(node.run(&["infer", "show", &first]).ok()["status"], "open");
    node.run(&["infer", "settle", &first]).fails(1, &["can be settled after block"]);
    other(&node, &["infer", "answer", &first, "--bond", "7wei"]).fails(1, &["the request asks for 8"]);
    other(&node, &["infer", "answer", &first, "--model", &relu]).fails(1, &["is model", "the request asks for"]);
    other(&node, &["infer", "answer", &first]).ok();
    let shown = node.run(&["infer", "show", &first]).ok();
    assert_eq!((&shown["status"], &shown["outputs"][0]["data"]), (&json!("answered"), &json!([2.5, -3.0])));
    node.run(&["infer", "challenge", &first]).fails(1, &["is right"]);
    other(&node, &["infer", "answer", &first]).fails(1, &["is answered"]);

    // Computed here from the file: the same answer.
    let second = ask("1000");
    other(&node, &["infer", "answer", &second, "--model", &file(dir.path(), "Neg")]).ok();
    assert_eq!(node.run(&["infer", "show", &second]).ok()["outputs"], shown["outputs"]);

    // A lie is slashed.
    let third = ask("1000");
    let lie = write(dir.path(), "lie.json", b"[0, 0]");
    other(&node, &["infer", "answer", &third, "--output", &lie]).ok();
    assert_eq!(node.run(&["infer", "challenge", &third]).ok()["status"], "slashed");
    assert_eq!(node.run(&["account", OTHER]).ok()["reputation"], -1);

    // Nobody answers: the fee comes back.
    let fourth = ask("1");
    blocks(&node, 2);
    assert_eq!(node.run(&["infer", "settle", &fourth]).ok()["status"], "expired");

    // A proof is asked for; nobody proves.
    let asked = node.run(&["run", &id, "--input", &input, "--grade", "proof", "--fee", "3wei"]).ok();
    let shown = node.run(&["infer", "show", text(&asked["request_id"])]).ok();
    assert_eq!((&shown["grade"], &shown["status"], &shown["fee"]), (&json!("proof"), &json!("pending"), &json!("0x3")));
    node.run(&["infer", "show", NOBODY]).fails(1, &["no bonded or proof request"]);
    node.run(&["infer", "answer", NOBODY]).fails(1, &["no bonded request"]);
}

/// An adapter of that rank in canonical form, scale 1/2.
fn adapter_file(dir: &std::path::Path, name: &str, rank: usize) -> String {
    let ones = |rows: usize, columns: usize| Tensor::from_f32([rows, columns], vec![1.0; rows * columns]).unwrap();
    let update = Update { module: "w0".into(), scale: 0.5, a: ones(rank, 64), b: ones(64, rank) };
    write(dir, name, &Adapter::new(vec![update]).unwrap().encode())
}

#[test]
fn adapters_are_registered_and_composed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let model = crate::binary::digits_model();
    let pushed = node.run(&["model", "push", model.to_str().unwrap()]).ok();
    let base = text(&pushed["model_id"]).to_owned();
    let register = |name: &str, rank: usize| {
        let file = adapter_file(dir.path(), name, rank);
        let done = node.run(&["lora", "register", &base, &file]).ok();
        text(&done["adapter_id"]).to_owned()
    };
    let (a, b) = (register("style.lora", 4), register("tone.lora", 8));
    let shown = node.run(&["lora", "show", &a]).ok();
    assert_eq!(
        (&shown["kind"], &shown["name"], &shown["rank"], &shown["alpha"]),
        (&json!("adapter"), &json!("style"), &json!("0x4"), &json!("0x2"))
    );
    let half = format!("{b}=-0.5");
    let composed = node.run(&["lora", "compose", &a, &half, "--name", "both"]).ok();
    let shown = node.run(&["lora", "show", text(&composed["adapter_id"])]).ok();
    assert_eq!(shown["status"], "active");
    assert_eq!((&shown["kind"], &shown["parts"][1]["weight"]), (&json!("composition"), &json!(-32768)));
    // On the chain the base runs with them as it does here.
    let zero = write(dir.path(), "zero.npy", &npy::write(&crate::local::zero_tensor()));
    let [style, tone] =
        ["style", "tone"].map(|name| dir.path().join(format!("{name}.lora")).to_str().unwrap().to_owned());
    let local = |adapters: &[&str]| {
        let adapters: Vec<&str> = adapters.iter().flat_map(|one| ["--adapter", one]).collect();
        let args = ["run", "--local", model.to_str().unwrap(), "--input", &zero, "--json"];
        crate::binary::run(&[&args[..], &adapters[..]].concat()).ok()["outputs"].clone()
    };
    let on_chain = |id: &str| node.run(&["run", id, "--input", &zero]).ok()["outputs"].clone();
    assert_eq!(on_chain(&a), local(&[&style]));
    assert_eq!(on_chain(text(&composed["adapter_id"])), local(&[&style, &format!("{tone}:-0.5")]));
    assert_ne!(on_chain(&a), on_chain(&base));
    node.run(&["lora", "compose", &a, &b, "--method", "linear"]).fails(1, &["rank 8"]);
    node.run(&["lora", "compose", &a, &format!("{b}=0")]).fails(2, &["weight"]);
    node.run(&["lora", "register", &base, &half]).fails(1, &["cannot read"]);
    let file = adapter_file(dir.path(), "other.lora", 1);
    node.run(&["lora", "register", NOBODY, &file]).fails(1, &["no model"]);
    node.run(&["lora", "show", NOBODY]).fails(1, &["lora register"]);
}

#[test]
fn a_training_job_goes_through_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let base = push(&node, dir.path(), "Relu");
    let plan = write(dir.path(), "plan.json", b"{\"optimiser\": \"sgd\"}");
    let order = |more: &[&str]| {
        let args = ["train", "order", &base, "--job", &plan, "--dataset-root", NOBODY, "--steps", "20"];
        node.run(&[&args[..], &["--interval", "10"], more].concat())
    };
    order(&["--reward", "0"]).fails(1, &["reward"]);
    order(&["--reward", "5wei", "--deadline", "0"]).fails(2, &["deadline_blocks is 0"]);
    let ordered = order(&["--reward", "5wei", "--trainer", OTHER]).ok();
    let job = text(&ordered["job_id"]).to_owned();
    let state = write(dir.path(), "state.bin", b"weights after some steps");
    let checkpoint = ["train", "checkpoint", &job, &state, "--step"];
    other(&node, &[&checkpoint[..], &["10"]].concat()).fails(1, &["accept it first"]);
    node.run(&["train", "accept", &job]).fails(1, &["is for", OTHER]);
    assert_eq!(other(&node, &["train", "accept", &job]).ok()["status"], "accepted");
    other(&node, &[&checkpoint[..], &["15"]].concat()).fails(1, &["step 15"]);
    other(&node, &[&checkpoint[..], &["10"]].concat()).ok();
    other(&node, &["train", "complete", &job, &state]).fails(1, &["the last checkpoint is step 10"]);
    let last = other(&node, &[&checkpoint[..], &["20"]].concat()).ok();
    // A checkpoint can name what is stored already.
    let cid = text(&last["cid"]);
    other(&node, &["train", "checkpoint", &job, "--step", "30", "--state-hash", NOBODY, "--artifact", cid])
        .fails(1, &["up to 20"]);
    assert_eq!(other(&node, &["train", "complete", &job, cid]).ok()["status"], "completed");
    let shown = node.run(&["train", "show", &job]).ok();
    assert_eq!((&shown["step"], &shown["checkpoints"]), (&json!("0x14"), &json!("0x2")));
    node.run(&["train", "claim", &job]).fails(1, &["challenge window", "ends with block"]);
    node.run(&["train", "cancel", &job]).fails(1, &["nothing can be cancelled"]);

    let open = text(&order(&["--reward", "5wei"]).ok()["job_id"]).to_owned();
    other(&node, &["train", "cancel", &open]).fails(1, &["only they can cancel"]);
    assert_eq!(node.run(&["train", "cancel", &open]).ok()["status"], "cancelled");
    node.run(&["train", "show", NOBODY]).fails(1, &["no training job"]);
}

/// Init code that runs the model named behind it on the 256 bytes that follow, 200 times, whatever comes of it.
const RUN_OFTEN: &str = "61012060205f3960c85b5f5f6101205f5f61a1f25af150600190038060095700";

#[test]
fn a_transaction_that_runs_models_declares_it_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let pushed = node.run(&["model", "push", digits_model().to_str().unwrap()]).ok();
    let data = format!("0x{RUN_OFTEN}{}{}", &text(&pushed["model_id"])[2..], "00".repeat(256));
    let list_of = |sent: &Value| node.run(&["tx", text(&sent["tx_hash"])]).ok()["accessList"].clone();
    let sent = node.run(&["send", "create", "--data", &data]).ok();
    let list = list_of(&sent);
    assert_eq!(list.as_array().map(Vec::len), Some(1), "the declaration and nothing else: {list}");
    assert_eq!(list[0]["address"], "0x000000000000000000000000000000000000a1f0");
    let undeclared = ChainSpec::dev().ai_gas_undeclared;
    assert!(sent["gas_used"].as_u64().unwrap() > undeclared, "{sent}");
    // A gas limit of one's own changes nothing about that.
    assert_eq!(list_of(&node.run(&["send", "create", "--data", &data, "--gas", "15000000"]).ok()), list);
    let plain = node.run(&["send", OTHER, "--value", "1wei"]).ok();
    assert_eq!(list_of(&plain), json!([]));
}
