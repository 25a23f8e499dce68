//! Batches: answered in order, sends together, reads after sends see them.

use crate::{
    client::request,
    node::{Draft, Node, raw},
};
use serde_json::{Value, json};

fn post_batch(node: &Node, calls: Vec<Value>) -> Vec<Value> {
    let (status, answer) = node.client().post(&Value::from(calls).to_string());
    assert_eq!(status, 200);
    answer.as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

fn with_id(id: usize, method: &str, params: Value) -> Value {
    let mut call = request(method, params);
    call["id"] = json!(id);
    call
}

#[test]
fn each_call_has_its_own_answer_in_order() {
    let node = Node::start();
    let answers = post_batch(
        &node,
        vec![
            with_id(7, "eth_chainId", json!([])),
            json!(1),
            json!({ "jsonrpc": "2.0", "method": "eth_chainId" }),
            with_id(3, "eth_nothing", json!([])),
            with_id(9, "eth_getBalance", json!([])),
            json!({ "jsonrpc": "2.0", "id": "x" }),
            with_id(2, "eth_blockNumber", json!([])),
        ],
    );
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(7), Value::Null, json!(3), json!(9), json!("x"), json!(2)]);
    let codes: Vec<_> = answers.iter().map(|answer| answer["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [None, Some(-32600), Some(-32601), Some(-32602), Some(-32600), None]);
    assert_eq!(answers[5]["result"], "0x0");
}

#[test]
fn notifications_get_no_answer() {
    let node = Node::start();
    let silent = node.client().http("POST", &[], br#"{"jsonrpc":"2.0","method":"eth_chainId"}"#);
    assert_eq!((silent.status, silent.body.as_str()), (200, ""));
    let silent = node.client().http("POST", &[], br#"[{"jsonrpc":"2.0","method":"eth_chainId"}]"#);
    assert_eq!((silent.status, silent.body.as_str()), (200, ""));
}

#[test]
fn a_batch_has_at_most_a_thousand_calls() {
    let node = Node::start();
    let calls = |count: usize| (0..count).map(|id| with_id(id, "net_listening", json!([]))).collect::<Vec<_>>();
    assert_eq!(post_batch(&node, calls(1_000)).len(), 1_000);
    let (status, answer) = node.client().post(&Value::from(calls(1_001)).to_string());
    assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32600)));
    assert_eq!(answer["id"], Value::Null);
}

#[test]
fn sends_of_a_batch_go_together_and_in_order() {
    let node = Node::start();
    node.seal(false);
    let transactions: Vec<_> = (0..200).map(|nonce| Draft::transfer(1, nonce).sign()).collect();
    let mut calls: Vec<_> = transactions
        .iter()
        .enumerate()
        .map(|(id, tx)| with_id(id, "eth_sendRawTransaction", json!([raw(tx)])))
        .collect();
    // One among them is wrong: it is refused alone.
    calls.insert(50, with_id(1_000, "eth_sendRawTransaction", json!(["0x02"])));
    let sender = crate::node::signer(1).address();
    calls.push(with_id(2_000, "eth_getTransactionCount", json!([sender, "pending"])));
    calls.push(with_id(2_001, "eth_getTransactionCount", json!([sender, "latest"])));
    let answers = post_batch(&node, calls);
    assert_eq!(answers[50]["error"]["code"], -32000);
    let sent = answers.iter().filter(|answer| answer["id"].as_u64().unwrap() < 1_000);
    for (answer, tx) in sent.zip(&transactions) {
        assert_eq!(answer["result"], tx.hash().to_string(), "{answer}");
    }
    assert_eq!(answers[201]["result"], "0xc8");
    assert_eq!(answers[202]["result"], "0x0");
    node.seal(true);
    let receipt = node.client().receipt(&transactions[199].hash().to_string());
    assert_eq!(receipt["blockNumber"], "0x1");
    let receipts = node.client().call("eth_getBlockReceipts", json!(["latest"]));
    assert_eq!(receipts.as_array().unwrap().len(), 200);
    assert_eq!(receipts[199], receipt);
    assert_eq!(receipts[199]["cumulativeGasUsed"], format!("{:#x}", 200 * 21_000));
}
