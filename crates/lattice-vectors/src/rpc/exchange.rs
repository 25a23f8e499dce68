//! `.io` files: `//` comment, `>>` request, `<<` answer.

use crate::report::Verdict;
use lattice_rpc::InProcess;
use serde_json::Value;

/// Methods whose answers must be exact.
const EXACT: &[&str] = &[
    "eth_blockNumber",
    "eth_chainId",
    "eth_getBalance",
    "eth_getCode",
    "eth_getStorageAt",
    "eth_getStorageValues",
    "eth_getProof",
    "eth_getTransactionCount",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getBlockTransactionCountByHash",
    "eth_getBlockReceipts",
    "eth_getTransactionByHash",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionReceipt",
    "eth_getLogs",
    "eth_call",
    "eth_estimateGas",
    "eth_createAccessList",
    "eth_feeHistory",
    "eth_syncing",
    "eth_sendRawTransaction",
    "net_version",
];

/// Mark of a file whose answers differ between clients: only their shape is judged.
const SHAPE_ONLY: &str = "speconly";
/// Characters of an answer that a report shows.
const SHOWN_MAX: usize = 600;

/// Runs the exchanges of a file in order; the first that is wrong decides.
pub(super) fn verdict(door: &InProcess, text: &str) -> Verdict {
    let shape_only = text.lines().any(|line| line.starts_with("//") && line.contains(SHAPE_ONLY));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let mut request: Option<&str> = None;
    let mut exchanges = 0;
    for line in lines {
        if let Some(sent) = line.strip_prefix(">>") {
            request = Some(sent.trim());
        } else if let (Some(expected), Some(sent)) = (line.strip_prefix("<<"), request.take()) {
            exchanges += 1;
            match exchange(door, sent, expected.trim(), shape_only) {
                Verdict::Passed => {}
                Verdict::Failed(cause) => return Verdict::Failed(format!("exchange {exchanges}: {cause}")),
                skipped => return skipped,
            }
        } else {
            return Verdict::Failed(format!("neither request nor answer: {line:.80}"));
        }
    }
    if exchanges == 0 { Verdict::Failed("no exchange in it".into()) } else { Verdict::Passed }
}

fn exchange(door: &InProcess, sent: &str, expected: &str, shape_only: bool) -> Verdict {
    let parsed = serde_json::from_str::<Value>(sent).and_then(|sent| Ok((sent, serde_json::from_str(expected)?)));
    let (request, expected): (Value, Value) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Verdict::Failed(format!("not JSON: {error}")),
    };
    let method = crate::json::text(&request["method"]);
    if !door.has_method(method) {
        return Verdict::Skipped(format!("method not served yet: {method}"));
    }
    let blob = request["params"][0].as_str().is_some_and(|bytes| bytes.starts_with("0x03"));
    if method == "eth_sendRawTransaction" && blob {
        return Verdict::Skipped("blob transactions: Lattice's admission refuses them".into());
    }
    let answer = door.answer(sent.as_bytes()).and_then(|answer| serde_json::from_str::<Value>(&answer).ok());
    let Some(answer) = answer else { return Verdict::Failed(format!("no answer to {method}")) };
    if is_equal(&answer, &expected) || (shape_only && has_shape(&answer, &expected)) {
        return Verdict::Passed;
    }
    if !EXACT.contains(&method) {
        return Verdict::Skipped(format!("method not served exactly yet: {method}"));
    }
    Verdict::Failed(format!("{method}: {}", difference(&answer, &expected)))
}

/// Results must be equal as JSON values. Of an error, code and data are: its words are each client's own.
fn is_equal(answer: &Value, expected: &Value) -> bool {
    match (answer.get("error"), expected.get("error")) {
        (Some(got), Some(want)) => got["code"] == want["code"] && got.get("data") == want.get("data"),
        (None, None) => answer.get("result") == expected.get("result"),
        _ => false,
    }
}

/// Whether all fields of `expected` are there with values of the same kind.
fn has_shape(answer: &Value, expected: &Value) -> bool {
    match (answer, expected) {
        (Value::Object(got), Value::Object(want)) => {
            want.iter().all(|(key, want)| got.get(key).is_some_and(|got| has_shape(got, want)))
        }
        (Value::Array(got), Value::Array(want)) => {
            got.len() == want.len() && got.iter().zip(want).all(|(got, want)| has_shape(got, want))
        }
        (got, want) => std::mem::discriminant(got) == std::mem::discriminant(want),
    }
}

/// The first fields that differ.
fn difference(answer: &Value, expected: &Value) -> String {
    let mut found = Vec::new();
    differences("", answer, expected, &mut found);
    let text = found.join("; ");
    text.char_indices().nth(SHOWN_MAX).map_or(text.clone(), |(end, _)| format!("{}...", &text[..end]))
}

fn differences(path: &str, got: &Value, want: &Value, found: &mut Vec<String>) {
    match (got, want) {
        (Value::Object(got), Value::Object(want)) => {
            for (key, want) in want {
                differences(&format!("{path}.{key}"), got.get(key).unwrap_or(&Value::Null), want, found);
            }
            let extra = got.keys().filter(|key| !want.contains_key(*key));
            found.extend(extra.map(|key| format!("{path}.{key} is not expected")));
        }
        (Value::Array(got), Value::Array(want)) if got.len() == want.len() => {
            for (index, (got, want)) in got.iter().zip(want).enumerate() {
                differences(&format!("{path}[{index}]"), got, want, found);
            }
        }
        (got, want) if got != want => found.push(format!("{path} is {got}, expected {want}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_are_compared_by_code_and_data() {
        let error = |code: i32, message: &str| json!({"error": {"code": code, "message": message}});
        assert!(is_equal(&error(3, "a"), &error(3, "b")));
        assert!(!is_equal(&error(3, "a"), &error(4, "a")));
        assert!(!is_equal(&error(3, "a"), &json!({"result": null})));
        assert!(is_equal(&json!({"id": 1, "result": [1]}), &json!({"result": [1]})));
        assert!(!is_equal(&json!({"result": "0x01"}), &json!({"result": "0x1"})));
    }

    #[test]
    fn shapes_ignore_values_only() {
        assert!(has_shape(&json!({"a": ["0x1"], "b": 1}), &json!({"a": ["0x2"]})));
        assert!(!has_shape(&json!({"a": [1]}), &json!({"a": ["0x2"]})));
        assert!(!has_shape(&json!({}), &json!({"a": 1})));
    }
}
