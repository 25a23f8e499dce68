//! Every method against parameters that make no sense: an answer or a clear error, never a fault of the node.

use crate::node::{Draft, Node};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The methods that the reference names.
fn documented() -> BTreeSet<&'static str> {
    let words = include_str!("../../../../docs/rpc.md").split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let namespaces = ["eth_", "net_", "web3_", "txpool_", "lattice_"];
    words.filter(|word| namespaces.iter().any(|space| word.starts_with(space) && word.len() > space.len())).collect()
}

fn is_subscription(method: &str) -> bool {
    matches!(method, "eth_subscribe" | "eth_unsubscribe")
}

fn check(node: &Node, method: &str, params: Value) {
    if let Err(error) = node.client().try_call(method, params.clone()) {
        let code = error["code"].as_i64().unwrap();
        let fine = [-32602, -32000, -32005, 3].contains(&code) || (code == -32601 && is_subscription(method));
        assert!(fine, "{method} {params}: {error}");
        assert!(error["message"].as_str().unwrap().len() < 1_000, "{method}: {error}");
    }
}

fn hostile() -> Vec<Value> {
    let hash = format!("0x{}", "ab".repeat(32));
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("0x"),
        json!("0x0"),
        json!("0xffffffffffffffff"),
        json!("0x10000000000000000"),
        json!("latest"),
        json!("pending"),
        json!(hash),
        json!(format!("0x{}", "cd".repeat(20))),
        json!("é".repeat(100_000)),
        json!([]),
        json!([[]]),
        json!([hash, hash]),
        json!([99.9, 100]),
        json!({}),
        json!({ "blockHash": hash }),
        json!({ "blockNumber": "0xffffffffffffffff" }),
        json!({ "fromBlock": "0xffffffffffffffff" }),
        json!({ "fromBlock": "earliest", "topics": [[null], null, [], [hash]] }),
        json!({ "gas": "0xffffffffffffffff", "gasPrice": "0xffffffffffffffffffffffffffffffff", "value": format!("0x{}", "f".repeat(64)) }),
        json!({ "type": "0x50", "aiGas": "0xffffffffffffffff", "input": "0x00" }),
        json!({ "type": "0xfff", "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2" }),
    ]
}

#[test]
fn the_reference_names_methods_that_exist() {
    let node = Node::start();
    let methods = documented();
    assert!(methods.len() > 50, "{}", methods.len());
    for method in methods.into_iter().filter(|method| !is_subscription(method)) {
        if let Err(error) = node.client().try_call(method, json!([])) {
            assert_eq!(error["code"], -32602, "{method}: {error}");
        }
    }
}

#[test]
fn wrong_parameters_are_no_fault() {
    let node = Node::start();
    node.client().receipt(&node.client().send(&Draft::transfer(0, 0).sign()));
    for method in documented() {
        for first in hostile() {
            check(&node, method, json!([first]));
            for second in [json!(null), json!("latest"), json!("0xffffffffffffffff"), json!([]), json!({})] {
                check(&node, method, json!([first, second, "latest"]));
            }
        }
    }
}

#[test]
fn random_parameters_are_no_fault() {
    let node = Node::start();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "0x[0-9a-f]{0,70}".prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!("latest")),
    ];
    let keys = prop::sample::select(vec![
        "to",
        "from",
        "input",
        "gas",
        "address",
        "topics",
        "fromBlock",
        "toBlock",
        "accessList",
        "x",
    ]);
    let value = leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..4)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    });
    let methods: Vec<_> = documented().into_iter().collect();
    let call = (prop::sample::select(methods), prop::collection::vec(value, 0..4));
    // The seed of a failure is printed by proptest; nothing is written into the source tree.
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&call, |(method, params)| {
        check(&node, method, Value::from(params));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn random_bytes_are_no_fault() {
    let node = Node::start();
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[\\[\\]{}\",:0-9a-z ]{0,80}".prop_map(String::into_bytes),
        r#"\{"jsonrpc":"2\.0","id":[0-9a-z"{}\[\]]{0,6},"method":"[a-z_]{0,8}","params":[0-9\[\]{}",x]{0,9}\}"#
            .prop_map(String::into_bytes),
    ];
    let result = TestRunner::new(config).run(&body, |body| {
        let response = node.client().http("POST", &[], &body);
        assert_eq!(response.status, 200);
        if !response.body.is_empty() {
            serde_json::from_str::<Value>(&response.body).unwrap();
        }
        Ok(())
    });
    result.unwrap();
}
