//! Becoming a validator, and what its owner does with its stake.

use crate::binary::{Node, write};
use lattice_types::{bls::SecretKey, spec::dev_validator_key};
use serde_json::json;

const OTHER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const FIRST: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const OTHER: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";

#[test]
fn a_validator_registers_and_takes_its_stake_out() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let listed = node.run(&["validator", "list"]).ok();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["public_key"], json!(dev_validator_key().public_key()));
    assert_eq!(listed[0]["stake"], "1000000000000000000000");

    let key = write(dir.path(), "key", format!("{}\n", "2a".repeat(32)).as_bytes());
    node.run(&["stake", "register", "999", "--validator-key", &key]).fails(1, &["a validator needs"]);
    let none = write(dir.path(), "none", b"0x2a2a");
    let refused = node.run(&["stake", "register", "1000", "--validator-key", &none]);
    refused.fails(2, &["holds no validator key", "openssl rand -hex 32"]);
    assert!(!refused.stderr.contains("2a2a"), "a key is never repeated");
    let done = node.run(&["stake", "register", "1500", "--validator-key", &key, "--reward", OTHER]).ok();
    assert_eq!(done["index"], 1);
    assert_eq!(done["public_key"], json!(SecretKey::from_seed(&[0x2a; 32]).public_key()));
    assert_eq!((&done["owner"], &done["reward"]), (&json!(FIRST), &json!(OTHER)));
    node.run(&["stake", "register", "1500", "--validator-key", &key]).fails(1, &["registered as validator 1"]);

    let added = node.run(&["stake", "add", "1", "0.5", "--key", OTHER_KEY]).ok();
    assert_eq!(added["stake"], "1500500000000000000000");
    node.run(&["stake", "add", "9", "1"]).fails(1, &["there is no validator 9"]);
    node.run(&["stake", "unstake", "1", "1", "--key", OTHER_KEY]).fails(1, &["its owner has to do this"]);
    node.run(&["stake", "unstake", "1", "600"]).fails(1, &["leave that, or unstake all"]);
    let first = node.run(&["stake", "unstake", "1", "500"]).ok();
    assert_eq!(first["amount"], "500000000000000000000");
    let rest = node.run(&["stake", "unstake", "1"]).ok();
    assert_eq!(rest["amount"], "1000500000000000000000");
    let release = first["release_slot"].as_u64().unwrap();
    node.run(&["stake", "withdraw", "1"]).fails(1, &[&format!("released at slot {release}")]);
    assert_eq!(node.run(&["stake", "reward", "1", FIRST]).ok()["reward"], FIRST);

    let shown = node.run(&["stake", "show", "1"]).ok();
    assert_eq!((&shown["stake"], &shown["unbonding"]), (&json!("0"), &json!("1500500000000000000000")));
    assert_eq!(shown["withdrawals"][0], json!({ "amount": "500000000000000000000", "release_slot": release }));
    assert_eq!((&shown["reward"], &shown["slashed"]), (&json!(FIRST), &json!(false)));
    node.run(&["stake", "show", "2"]).fails(1, &["there is no validator 2"]);
    assert_eq!(node.run(&["validator", "list"]).ok().as_array().map(Vec::len), Some(2));
}
