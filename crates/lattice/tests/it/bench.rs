//! `lattice bench tps`: the report holds, everything is mined, errors are counted and told.

use crate::binary::{Node, run};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpListener,
};

#[test]
fn every_kind_is_mined_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    for kind in ["transfer", "erc20", "model-update", "inference"] {
        let args = ["bench", "tps", "--json", "--url", &node.url, "--kind", kind, "--n", "103", "--senders", "10"];
        let report = run(&args).ok();
        assert_eq!(
            (&report["kind"], &report["n"], &report["errors"]),
            (&json!(kind), &json!(103), &json!(0)),
            "{report}"
        );
        assert!(report["mined_tps"].as_f64().unwrap() > 0.0 && report["blocks"].as_u64().unwrap() > 0, "{report}");
        // An update fills slots: at half of that price it would be free work.
        let gas = report["gas_per_tx"].as_f64().unwrap();
        assert!(gas >= if kind == "model-update" { 100_000.0 } else { 21_000.0 }, "{report}");
        assert!(report["client"].as_str().unwrap().starts_with("Lattice/"), "{report}");
        if cfg!(target_os = "linux") {
            assert!(report["cpu_us_per_tx"].as_f64().unwrap() > 0.0, "{report}");
        }
    }
}

#[test]
fn without_a_url_a_node_is_started_and_ended() {
    let report = run(&["bench", "tps", "--n", "20", "--senders", "3", "--json"]).ok();
    assert_eq!((&report["n"], &report["errors"]), (&json!(20), &json!(0)), "{report}");
    let port = report["url"].as_str().unwrap().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the node still listens on {port}");
    let text = run(&["bench", "tps", "--n", "5"]);
    assert!(text.code == 0 && text.stdout.contains("transfer x 5"), "{text:?}");
}

#[test]
fn receipts_are_read_in_three_ways() {
    let report = run(&["bench", "receipts", "--n", "3000", "--rounds", "1", "--json"]).ok();
    // The gas limit of a block holds 2,857 transfers: all others go into a second one.
    assert_eq!((&report["blocks"], &report["largest_block"]), (&json!(2), &json!(2_857)), "{report}");
    for way in ["one_by_one", "batched", "by_block"] {
        assert!(report[way]["median_s"].as_f64().unwrap() > 0.0, "{report}");
    }
    let url = foreign_node("");
    run(&["bench", "receipts", "--url", &url, "--n", "0"]).fails(2, &["--n"]);
}

#[test]
fn a_state_is_measured_by_its_number_of_accounts() {
    let args = ["bench", "state", "--accounts", "1000,3000", "--transfers", "20", "--updates", "2000", "--json"];
    let report = run(&args).ok();
    for (state, accounts) in report["states"].as_array().unwrap().iter().zip([1_000, 3_000]) {
        let changes = (&state["block"]["changes"], &state["version"]["changes"]);
        assert_eq!((&state["accounts"], changes), (&json!(accounts), (&json!(20), &json!(accounts.min(2_000)))));
        assert!(state["disk_bytes"].as_u64().unwrap() > 50 * accounts, "{state}");
        assert!(state["block"]["wall_ms"].as_f64().unwrap() > 0.0, "{state}");
    }
    run(&["bench", "state", "--accounts", "1"]).fails(2, &["--accounts"]);
}

/// A node of another kind: mines nothing, and refuses what the test tells it to.
fn foreign_node(refuses: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while let Some(request) = read_request(&mut stream) {
                    let answer = match &request {
                        Value::Array(calls) => Value::Array(calls.iter().map(|call| answer(call, refuses)).collect()),
                        call => answer(call, refuses),
                    };
                    let body = answer.to_string();
                    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
                }
            });
        }
    });
    url
}

fn read_request(stream: &mut impl Read) -> Option<Value> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        seen.push(byte[0]);
    }
    let head = String::from_utf8(seen).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn answer(call: &Value, refuses: &str) -> Value {
    let method = call["method"].as_str().unwrap();
    let result = match method {
        _ if method == refuses => {
            return json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32000, "message": "not today" } });
        }
        "web3_clientVersion" => json!("foreign/v1"),
        "eth_chainId" | "eth_gasPrice" => json!("0x1"),
        "eth_getBalance" => json!("0x21e19e0c9bab2400000"),
        // The funder's transactions seem mined; nobody else's ever are.
        "eth_getTransactionCount"
            if call["params"][1] == "latest" && call["params"][0].as_str().unwrap().starts_with("0xf39f") =>
        {
            json!("0xffff")
        }
        "eth_getTransactionCount" | "eth_blockNumber" => json!("0x0"),
        "eth_sendRawTransaction" => json!(format!("0x{}", "00".repeat(32))),
        "eth_getTransactionReceipt" => Value::Null,
        _ => {
            return json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32601, "message": "no such method" } });
        }
    };
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
}

#[test]
fn what_is_not_mined_is_an_error_and_the_report_still_comes() {
    let url = foreign_node("");
    let ran = run(&["bench", "tps", "--json", "--url", &url, "--n", "4", "--senders", "2", "--timeout", "1"]);
    ran.fails(1, &["4 of 4", "not mined"]);
    let report = ran.json();
    assert_eq!((&report["errors"], &report["mined_tps"]), (&json!(4), &json!(0.0)), "{report}");
}

#[test]
fn refusals_and_absent_nodes_are_told() {
    let url = foreign_node("eth_sendRawTransaction");
    run(&["bench", "tps", "--url", &url, "--n", "4"]).fails(1, &["not today"]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    run(&["bench", "tps", "--url", &format!("http://{free}"), "--n", "4"]).fails(1, &["no node answers"]);
    run(&["bench", "tps", "--n", "0"]).fails(2, &["--n"]);
    run(&["bench", "tps", "--kind", "dance"]).fails(2, &["transfer", "erc20"]);
    for kind in ["model-update", "inference"] {
        run(&["bench", "tps", "--url", &url, "--kind", kind])
            .fails(1, &["foreign/v1", "no Lattice node", "--kind transfer"]);
    }
}
