//! Every wrong request is HTTP 200 with an error object that says what is wrong.

use crate::{
    client::request,
    node::{Draft, Node, raw, signer},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use lattice_types::tx::TxEnvelope;
use serde_json::{Value, json};

/// The error to a body, which must be the whole answer.
fn error_of(node: &Node, body: &str) -> (i64, String, Value) {
    let (status, answer) = node.client().post(body);
    assert_eq!(status, 200, "{body}");
    assert_eq!(answer["jsonrpc"], "2.0");
    let error = &answer["error"];
    (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned(), answer["id"].clone())
}

#[test]
fn what_is_no_request_is_refused() {
    let node = Node::start();
    for broken in [
        "",
        "{",
        "hello",
        "{]",
        "[1,",
        r#"{"method": 1, bad}"#,
        "\u{feff}{}",
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}}"#,
    ] {
        let (code, message, id) = error_of(&node, broken);
        assert_eq!((code, id), (-32700, Value::Null), "{broken}: {message}");
    }
    let invalid = [
        ("{}", Value::Null),
        (r#"{"jsonrpc":"1.0","id":3,"method":"eth_chainId"}"#, json!(3)),
        (r#"{"id":"a","method":"eth_chainId"}"#, json!("a")),
        (r#"{"jsonrpc":"2.0","id":4,"method":5}"#, json!(4)),
        (r#"{"jsonrpc":"2.0","id":4}"#, json!(4)),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, Value::Null),
        ("[]", Value::Null),
    ];
    for (body, id) in invalid {
        let (code, message, got) = error_of(&node, body);
        assert_eq!((code, got), (-32600, id), "{body}: {message}");
    }
    let not_utf8 = node.client().http("POST", &[], b"{\"jsonrpc\": \"\xff\"}");
    assert_eq!(not_utf8.status, 200);
    assert!(not_utf8.body.contains("-32700"), "{}", not_utf8.body);
}

#[test]
fn ids_are_echoed_as_they_are() {
    let node = Node::start();
    for id in ["1", "0", "-7", "1.5", "\"x\\u00e9\"", "null", "12345678901234567890123"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"net_listening"}}"#);
        let response = node.client().http("POST", &[], body.as_bytes());
        assert_eq!(response.body, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":true}}"#));
    }
}

#[test]
fn unknown_methods_are_told_at_once() {
    let node = Node::start();
    for method in ["eth_nothing", "debug_traceBlock", "", "eth_subscribe", "eth_sendTransaction", "lattice_"] {
        let error = node.client().try_call(method, json!([])).unwrap_err();
        assert_eq!(error["code"], -32601, "{method}");
    }
    let error = node.client().try_call("eth_sendTransaction", json!([{}])).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("eth_sendRawTransaction"), "{error}");
}

#[test]
fn parameters_are_named_in_errors() {
    let node = Node::start();
    let account = Address::repeat_byte(1);
    let cases = [
        ("eth_getBalance", json!([]), "missing parameter 1 (address)"),
        ("eth_getBalance", json!(["0x12"]), "invalid parameter 1 (address)"),
        ("eth_getBalance", json!([account, "newest"]), "invalid parameter 2 (block)"),
        ("eth_getBalance", json!([account, "latest", 1]), "too many parameters"),
        ("eth_getBalance", json!({ "address": account }), "must be an array"),
        ("eth_getStorageAt", json!([account]), "missing parameter 2 (storage key)"),
        (
            "eth_getStorageAt",
            json!([account, format!("0x{}", "0".repeat(65))]),
            "storage key too long (want at most 32 bytes)",
        ),
        ("eth_getProof", json!([account, "0x0"]), "invalid parameter 2 (storage keys)"),
        ("eth_getTransactionByHash", json!([1]), "invalid parameter 1 (transaction hash)"),
        ("eth_getBlockByNumber", json!([]), "missing parameter 1 (block)"),
        ("eth_getBlockByNumber", json!(["latest", "yes"]), "invalid parameter 2 (full transactions)"),
        ("eth_call", json!([]), "missing parameter 1 (call)"),
        ("eth_call", json!([{ "to": "x" }]), "invalid parameter 1 (call)"),
        ("eth_call", json!([{}, "latest", { account.to_string(): { "none": "0x0" } }]), "unknown field `none`"),
        ("eth_call", json!([{}, "latest", { "0x00": {} }]), "invalid parameter 3 (state overrides)"),
        ("eth_call", json!([{}, "latest", {}, { "withdrawals": [] }]), "unknown field `withdrawals`"),
        (
            "eth_estimateGas",
            json!([{}, "latest", { account.to_string(): { "state": {}, "stateDiff": {} } }]),
            "both 'state' and 'stateDiff'",
        ),
        ("eth_getStorageValues", json!([{}]), "empty request"),
        ("eth_getStorageValues", json!([{ account.to_string(): ["zz"] }]), "storage key is not hex"),
        ("eth_fillTransaction", json!([{}]), "a contract creation needs init code"),
        ("eth_fillTransaction", json!([{ "to": account, "type": "0x3" }]), "blob transactions"),
        ("eth_fillTransaction", json!([{ "to": account, "type": "0x60" }]), "0x60 is not enabled"),
        ("eth_fillTransaction", json!([{ "to": account, "type": "0x4" }]), "authorizationList"),
        ("eth_fillTransaction", json!([{ "to": account, "type": "0x2", "gasPrice": "0x1" }]), "has no gasPrice"),
        (
            "eth_fillTransaction",
            json!([{ "to": account, "type": "0x0", "maxFeePerGas": "0x1" }]),
            "has no maxFeePerGas",
        ),
        ("eth_call", json!([{ "data": "0x01", "input": "0x02" }]), "both \"data\" and \"input\""),
        ("eth_call", json!([{ "chainId": "0x1" }]), "chainId does not match"),
        ("eth_getLogs", json!([]), "missing parameter 1 (filter)"),
        ("eth_getLogs", json!([{ "fromBlock": "0x1", "toBlock": "0x0" }]), "invalid block range params"),
        ("eth_getLogs", json!([{ "toBlock": "0x10" }]), "block range extends beyond current head block"),
        ("eth_feeHistory", json!(["0x1", "latest", [50, 10]]), "invalid reward percentiles"),
        ("eth_sendRawTransaction", json!([]), "missing parameter 1 (transaction)"),
        ("eth_sendRawTransaction", json!(["0xzz"]), "invalid parameter 1 (transaction)"),
        ("lattice_getModel", json!(["0x1"]), "invalid parameter 1 (model id)"),
        ("lattice_missingChunks", json!(["Qm"]), "invalid parameter 1 (artifact)"),
        ("lattice_putChunk", json!(["0x"]), "a chunk has 1 to"),
        ("lattice_putManifest", json!(["0x00"]), "malformed manifest"),
    ];
    for (method, params, expected) in cases {
        let error = node.client().try_call(method, params.clone()).unwrap_err();
        assert_eq!(error["code"], -32602, "{method} {params}: {error}");
        assert!(error["message"].as_str().unwrap().contains(expected), "{method} {params}: {error}");
    }
}

#[test]
fn transactions_are_refused_with_the_words_that_tools_know() {
    let node = Node::start();
    let client = node.client();
    client.receipt(&client.send(&Draft::transfer(0, 0).sign()));
    let malformed = |ty: u8| Bytes::from(vec![ty, 0xc0]);
    let mut trailing = raw(&Draft::transfer(0, 1).sign()).to_vec();
    trailing.push(0);
    let poor = {
        let stranger = lattice_types::tx::TxSigner::new(B256::repeat_byte(9)).unwrap();
        let tx = alloy_consensus::TxEip1559 {
            chain_id: 31337,
            gas_limit: 21_000,
            max_fee_per_gas: 2_000_000_000,
            to: Address::ZERO.into(),
            ..Default::default()
        };
        TxEnvelope::from(stranger.sign(tx))
    };
    let legacy = |chain_id| {
        let tx = alloy_consensus::TxLegacy { chain_id, gas_limit: 21_000, gas_price: 1, ..Default::default() };
        TxEnvelope::from(signer(0).sign(tx))
    };
    let cases: Vec<(Bytes, &str)> = vec![
        (Bytes::new(), "the transaction is empty"),
        (malformed(2), "malformed transaction of type 0x02"),
        (malformed(3), "blob transactions"),
        (malformed(0x7f), "transaction type 0x7f is not supported"),
        (vec![0xc1, 0x80].into(), "malformed transaction of type 0x00"),
        (trailing.into(), "1 bytes follow"),
        (vec![2; 200_000].into(), "the transaction has 200000 bytes"),
        (raw(&Draft { chain_id: 1, ..Draft::transfer(0, 1) }.sign()), "signed for chain id 1, this chain is 31337"),
        (raw(&legacy(None)), "names no chain id (EIP-155)"),
        (raw(&Draft::transfer(0, 0).sign()), "nonce too low"),
        (raw(&poor), "insufficient funds for gas * price + value"),
        (raw(&Draft { gas: 20_000, ..Draft::transfer(0, 1) }.sign()), "intrinsic gas too low"),
    ];
    for (bytes, expected) in cases {
        let error = client.try_call("eth_sendRawTransaction", json!([bytes])).unwrap_err();
        assert_eq!(error["code"], -32000, "{error}");
        assert!(error["message"].as_str().unwrap().contains(expected), "{expected}: {error}");
    }
    node.seal(false);
    let waiting = Draft::transfer(0, 1).sign();
    client.send(&waiting);
    let again = client.try_call("eth_sendRawTransaction", json!([raw(&waiting)])).unwrap_err();
    assert_eq!(again, json!({ "code": -32000, "message": "already known" }));
    let other = Draft { value: U256::from(2), ..Draft::transfer(0, 1) }.sign();
    let cheap = client.try_call("eth_sendRawTransaction", json!([raw(&other)])).unwrap_err();
    assert!(cheap["message"].as_str().unwrap().contains("replacement transaction underpriced"), "{cheap}");
}

#[test]
fn oversized_requests_are_refused_before_they_are_read() {
    let node = Node::start();
    let huge = vec![b' '; (16 << 20) + 1];
    let response = node.client().http("POST", &["content-type: application/json"], &huge);
    assert_eq!(response.status, 200);
    assert!(response.body.contains("request too large") && response.body.contains("-32600"), "{}", response.body);
}

#[test]
fn http_is_open_to_web_pages_and_to_any_content_type() {
    let node = Node::start();
    let client = node.client();
    let preflight =
        client.http("OPTIONS", &["origin: https://dapp.example", "access-control-request-method: POST"], b"");
    assert_eq!(preflight.status, 204);
    for header in ["access-control-allow-origin: *", "access-control-allow-headers: *"] {
        assert!(preflight.headers.iter().any(|found| found == header), "{:?}", preflight.headers);
    }
    let body = request("eth_chainId", json!([])).to_string();
    for content_type in ["content-type: text/plain", "content-type: application/x-www-form-urlencoded", "x-none: 1"] {
        let response = client.http("POST", &[content_type, "origin: https://dapp.example"], body.as_bytes());
        assert_eq!((response.status, response.body.as_str()), (200, r#"{"jsonrpc":"2.0","id":1,"result":"0x7a69"}"#));
        assert!(response.headers.iter().any(|header| header == "access-control-allow-origin: *"));
        assert!(response.headers.iter().any(|header| header == "content-type: application/json"));
    }
    assert_eq!(client.http("GET", &[], b"").status, 200);
    assert_eq!(client.http("DELETE", &[], b"").status, 405);
}

#[test]
fn a_port_in_use_is_named() {
    let node = Node::start();
    let fault = node.block_on(lattice_rpc::serve(node.backend(), node.address())).unwrap_err();
    let message = fault.to_string();
    assert!(message.contains(&format!("port {} is in use", node.address().port())), "{message}");
}
