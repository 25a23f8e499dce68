//! `debug_`: traces in geth's shape, of calls and of transactions in blocks.

use crate::{
    ethereum::deploy,
    node::{Draft, Node},
};
use alloy_primitives::{hex, keccak256};
use serde_json::{Value, json};

/// Stores 7 in slot 1, reads it back, and stops: ordinary code.
const STORER: &[u8] = &hex!("6007600155600154500000");
/// A container: MODEL_EXEC of model 9 with nothing, then STOP.
const CONTAINER: &[u8] = &hex!("efa1015f5f5f5f6009f25000");

fn names(trace: &Value) -> Vec<&str> {
    trace["structLogs"].as_array().unwrap().iter().map(|step| step["op"].as_str().unwrap()).collect()
}

#[test]
fn transactions_are_traced_where_they_ran() {
    let node = Node::start();
    let client = node.client();
    let storer = deploy(&client, 0, STORER);
    let container = deploy(&client, 1, CONTAINER);
    let hash = client.send(&Draft::call(0, 2, storer, Default::default()).sign());
    let receipt = client.receipt(&hash);
    let trace = client.call("debug_traceTransaction", json!([hash]));
    assert_eq!(names(&trace), ["PUSH1", "PUSH1", "SSTORE", "PUSH1", "SLOAD", "POP", "STOP"]);
    assert_eq!(format!("{:#x}", trace["gas"].as_u64().unwrap()), receipt["gasUsed"].as_str().unwrap());
    assert_eq!((&trace["failed"], &trace["returnValue"]), (&json!(false), &json!("0x")));
    let steps = &trace["structLogs"];
    assert_eq!(steps[2]["stack"], json!(["0x7", "0x1"]));
    let word = |low: &str| format!("{low:0>64}");
    assert_eq!(steps[4]["storage"], json!({ word("1"): word("7") }));
    assert_eq!(steps[0]["memory"], Value::Null);
    // What a slot held before the transaction decides SSTORE's price: the second run is cheaper, the first still traces.
    let second = client.send(&Draft::call(0, 3, storer, Default::default()).sign());
    client.receipt(&second);
    let cost = |trace: &Value| trace["structLogs"][2]["gasCost"].as_u64().unwrap();
    assert!(cost(&client.call("debug_traceTransaction", json!([second]))) < cost(&trace));
    assert_eq!(client.call("debug_traceTransaction", json!([hash])), trace);

    let call = json!({ "to": container });
    let trace = client.call("debug_traceCall", json!([call, "latest", { "enableMemory": true, "limit": 7 }]));
    assert_eq!(names(&trace), ["HEADER", "PUSH0", "PUSH0", "PUSH0", "PUSH0", "PUSH1", "MODEL_EXEC"]);
}

#[test]
fn what_is_not_supported_says_so() {
    let node = Node::start();
    let client = node.client();
    let hash = keccak256("nothing");
    for (method, params, words) in [
        ("debug_traceTransaction", json!([hash]), "is not in any block"),
        ("debug_traceTransaction", json!([hash, { "tracer": "callTracer" }]), "callTracer"),
        ("debug_traceTransaction", json!([hash, 5]), "trace configuration"),
        ("debug_traceCall", json!([{}, "latest", { "stateOverrides": { "0x00": {} } }]), "trace configuration"),
        ("debug_traceCall", json!([{}, "latest", { "blockOverrides": { "moon": 1 } }]), "unknown field `moon`"),
        ("debug_traceTransaction", json!([hash, { "blockOverrides": { "number": "0x1" } }]), "debug_traceCall"),
        ("debug_traceCall", json!([]), "call"),
    ] {
        let message = client.try_call(method, params).unwrap_err()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{method}: {message}");
    }
}
