//! WebSocket: the same calls, and subscriptions.

use crate::{
    client::request,
    ethereum::{LOGGER, deploy, log_call},
    node::{Draft, Node},
};
use serde_json::{Value, json};

#[test]
fn calls_by_websocket_are_those_by_http() {
    let node = Node::start();
    let mut socket = node.client().websocket();
    assert_eq!(socket.call("eth_chainId", json!([]))["result"], "0x7a69");
    assert_eq!(socket.call("eth_nothing", json!([]))["error"]["code"], -32601);
    let error = socket.call("eth_getBalance", json!([]));
    assert_eq!(error["error"], node.client().try_call("eth_getBalance", json!([])).unwrap_err());
    socket.send("{");
    assert_eq!(socket.receive()["error"]["code"], -32700);
    socket.send(&json!([request("eth_chainId", json!([])), 1, request("eth_blockNumber", json!([]))]).to_string());
    let answers = socket.receive();
    assert_eq!(answers[0]["result"], "0x7a69");
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[2]["result"], "0x0");
}

#[test]
fn heads_arrive_in_order_until_unsubscribed() {
    let node = Node::start();
    let client = node.client();
    let mut socket = client.websocket();
    let id = socket.call("eth_subscribe", json!(["newHeads"]))["result"].clone();
    assert!(id.as_str().unwrap().starts_with("0x"), "{id}");
    for nonce in 0..3 {
        client.receipt(&client.send(&Draft::transfer(0, nonce).sign()));
        let told = socket.receive();
        assert_eq!(told["method"], "eth_subscription");
        assert_eq!(told["params"]["subscription"], id);
        let head = &told["params"]["result"];
        let block = client.call("eth_getBlockByNumber", json!([format!("{:#x}", nonce + 1), false]));
        for field in ["hash", "number", "parentHash", "stateRoot", "baseFeePerGas", "timestamp", "requestsHash"] {
            assert_eq!(head[field], block[field], "{field}");
            assert!(!head[field].is_null(), "{field}");
        }
    }
    assert_eq!(socket.call("eth_unsubscribe", json!([id]))["result"], true);
    assert_eq!(socket.call("eth_unsubscribe", json!([id]))["result"], false);
    client.receipt(&client.send(&Draft::transfer(0, 3).sign()));
    assert_eq!(socket.call("eth_blockNumber", json!([]))["result"], "0x4");
}

#[test]
fn logs_arrive_filtered() {
    let node = Node::start();
    let client = node.client();
    let contract = deploy(&client, 0, LOGGER);
    let mut socket = client.websocket();
    let wanted = format!("0x{:064x}", 2);
    let answer = socket.call("eth_subscribe", json!(["logs", { "address": contract, "topics": [wanted] }]));
    assert!(answer["result"].is_string(), "{answer}");
    for (nonce, topic) in [(1, 1), (2, 2), (3, 2)] {
        client.receipt(&client.send(&log_call(0, nonce, contract, topic, nonce)));
    }
    for block in ["0x3", "0x4"] {
        let log = socket.receive()["params"]["result"].clone();
        assert_eq!((&log["topics"], &log["blockNumber"]), (&json!([wanted]), &json!(block)));
        let same = client.call("eth_getLogs", json!([{ "fromBlock": block, "toBlock": block }]));
        assert_eq!(same, json!([log]));
    }
}

#[test]
fn unknown_subscriptions_are_refused() {
    let node = Node::start();
    let mut socket = node.client().websocket();
    let cases: [(Value, i64); 4] = [
        (json!(["nothing"]), -32601),
        (json!([]), -32602),
        (json!(["logs", { "address": "0x1" }]), -32602),
        (json!(["newHeads", {}, 1]), -32602),
    ];
    for (params, code) in cases {
        assert_eq!(socket.call("eth_subscribe", params)["error"]["code"], code);
    }
}
