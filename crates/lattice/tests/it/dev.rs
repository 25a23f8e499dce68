//! `lattice dev`: starting, ending, refusing, surviving.

use crate::binary::{Node, lattice, port_of};
use serde_json::Value;

const RECEIVER: &str = "0x1111111111111111111111111111111111111111";

#[test]
fn a_node_serves_and_ends_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("made/on/the/way");
    let node = Node::start(&datadir);
    let status = node.run(&["status"]).ok();
    assert_eq!(status["chainId"], "0x7a69", "{status}");
    let balance = node.run(&["balance", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"]).ok();
    assert_eq!(balance["lat"], "10000");
    assert!(datadir.is_dir());
    // A client that keeps its connection open must not keep the node.
    let _idle = std::net::TcpStream::connect(("127.0.0.1", port_of(&node.url).parse().unwrap())).unwrap();
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn money_moves_and_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let sent = node.run(&["send", RECEIVER, "--value", "1.5"]).ok();
    let hash = sent["tx_hash"].as_str().unwrap();
    assert_eq!(sent["gas_used"], 21_000);
    assert_eq!(node.run(&["balance", RECEIVER]).ok()["lat"], "1.5");
    assert_eq!(node.run(&["tx", hash]).ok()["hash"], hash);
    assert_eq!(node.run(&["receipt", hash]).ok()["status"], "0x1");
    let block = node.run(&["block"]).ok();
    assert_eq!(block["transactions"][0], hash);
    assert_eq!(node.run(&["block", block["hash"].as_str().unwrap()]).ok(), block);
    let dag = node.run(&["dag"]).ok();
    assert!(dag["blocks"].as_array().unwrap().len() >= 2, "{dag}");

    // Init code that returns one byte of code: 00.
    let created = node.run(&["send", "create", "--data", "0x60005f5360015ff3"]).ok();
    let contract = created["contract"].as_str().unwrap().to_owned();
    assert_eq!(node.run(&["call", &contract]).ok()["result"], "0x");

    let key = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let by_key = node.run(&["send", RECEIVER, "--value", "7wei", "--key", key]).ok();
    assert_eq!(by_key["from"].as_str().unwrap().to_lowercase(), "0x70997970c51812dc3a010c7d01b50e0d17dc79c8");

    node.run(&["send", RECEIVER, "--value", "100000"]).fails(1, &["insufficient funds"]);
    node.run(&["send", RECEIVER, "--key", "0x1234"]).fails(2, &["--key"]);
    node.run(&["tx", &format!("0x{}", "ab".repeat(32))]).fails(1, &["no transaction"]);
    node.run(&["block", "1000000"]).fails(1, &["no block"]);
}

#[test]
fn text_is_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    node.run(&["send", RECEIVER, "--value", "1"]).ok();
    for (args, words) in [
        (&["dag"] as &[&str], &["genesis", "sink", "█"] as &[&str]),
        (&["status"], &["chainId", "31337"]),
        (&["block"], &["baseFeePerGas", "hash"]),
        (&["balance", RECEIVER], &["1 LAT", "wei"]),
        (&["model", "list"], &["no models", "push"]),
    ] {
        let ran = crate::binary::run(&[args, &["--rpc-url", &node.url]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        words.iter().for_each(|word| assert!(ran.stdout.contains(word), "{word} in {ran:?}"));
    }
}

#[test]
fn what_the_node_says_at_the_start() {
    use std::io::{BufRead, BufReader};
    let mut child = lattice().args(["dev", "--port", "0"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut banner = String::new();
    for line in lines {
        let line = line.unwrap();
        banner.push_str(&line);
        banner.push('\n');
        if line.starts_with("Listening on") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for word in ["http://127.0.0.1:", "ws://127.0.0.1:", "31337", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "junk"]
    {
        assert!(banner.contains(word), "{word} in {banner}");
    }
}

#[test]
fn a_taken_port_and_a_taken_directory_are_clear_errors() {
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::start(first_dir.path());
    let dev = |port: &str, dir: &std::path::Path| {
        let output = lattice().args(["dev", "--port", port, "--datadir"]).arg(dir).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = dev(port_of(&node.url), second_dir.path());
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains(port_of(&node.url)) && message.contains("--port"), "{message}");
    let (code, message) = dev("0", first_dir.path());
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("--datadir") && message.contains(first_dir.path().to_str().unwrap()), "{message}");
    // The node that was there first is not disturbed.
    node.run(&["status"]).ok();
}

/// Two thirds of three need what others say: blocks and votes that went through the checks.
#[test]
fn producers_of_one_process_finalise_what_they_say_to_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_with(dir.path(), &["--producers", "3", "--delay-ms", "100"]);
    let status = (0..600).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        Some(node.run(&["status"]).ok()).filter(|status| status["finalized"] != "0x0")
    });
    let status = status.expect("a block is final within two minutes");
    assert_ne!(status["safe"], "0x0", "{status}");
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_killed_node_comes_back_with_the_same_chain() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let hashes: Vec<Value> =
        (0..5).map(|_| node.run(&["send", RECEIVER, "--value", "1"]).ok()["tx_hash"].take()).collect();
    let last = hashes[4].as_str().unwrap().to_owned();
    let before = (node.run(&["block"]).ok(), node.run(&["receipt", &last]).ok(), node.run(&["balance", RECEIVER]).ok());
    node.kill();
    let node = Node::start(dir.path());
    let after = (node.run(&["block"]).ok(), node.run(&["receipt", &last]).ok(), node.run(&["balance", RECEIVER]).ok());
    assert_eq!(after, before);
    node.run(&["send", RECEIVER, "--value", "1"]).ok();
    assert_eq!(node.run(&["balance", RECEIVER]).ok()["lat"], "6");
}
