//! `lattice bench gas`: every operation is measured, and the report's figures agree with each other.

use crate::binary::run;
use serde_json::Value;

#[test]
fn every_operation_has_gas_and_time() {
    let report = run(&["bench", "gas", "--n", "1", "--json"]).ok();
    let rows = report["rows"].as_array().unwrap();
    let has = |kind: &str, name: &str| {
        let found = rows.iter().any(|row| row["kind"] == kind && row["name"].as_str().unwrap().starts_with(name));
        assert!(found, "{kind} {name}: {report}");
    };
    for operation in ["add", "mul", "matmul", "dot", "relu", "softmax", "layernorm", "argmax", "quantise", "dequantise"]
    {
        has("compute", &format!("TENSOR_OP {operation}"));
    }
    has("compute", "MODEL_EXEC digits");
    ["MODEL_LOAD digits, cold", "MODEL_LOAD digits, again"].iter().for_each(|name| has("load", name));
    for class in ["ModelDeploy", "ModelUpdate", "Inference, replay", "Inference, proof", "Inference, bonded"] {
        has("record", class);
    }
    [
        "Training, create",
        "Training, challenge",
        "challenge of an operator",
        "LoRA, adapter",
        "permit",
        "ZK_PROVE, request",
    ]
    .iter()
    .for_each(|name| has("record", name));
    ["KECCAK256", "SSTORE", "ecrecover", "modexp"].iter().for_each(|name| has("reference", name));
    for row in rows {
        assert!(row["gas"].as_u64().unwrap() > 0 && row["ms"].as_f64().unwrap() >= 0.0, "{row}");
    }
    let slowest = |reference: bool| {
        let of = |row: &&Value| (row["kind"] == "reference") == reference;
        rows.iter().filter(of).map(|row| row["mgas_s"].as_f64().unwrap()).fold(f64::INFINITY, f64::min)
    };
    assert_eq!(report["lane"]["slowest_mgas_s"].as_f64().unwrap(), slowest(false));
    assert_eq!(report["lane"]["slowest_reference_mgas_s"].as_f64().unwrap(), slowest(true));
}

#[test]
fn a_model_s_file_is_measured_and_only_chooses() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/digits.onnx");
    let report = run(&["bench", "gas", "--model", model, "--only", "MODEL_EXEC", "--n", "1", "--json"]).ok();
    let own = |row: &&Value| row["kind"] != "reference";
    assert_eq!(report["rows"].as_array().unwrap().iter().filter(own).count(), 4, "{report}");
    let nothing = run(&["bench", "gas", "--only", "no such operation", "--n", "1"]);
    assert!(nothing.code == 2 && nothing.stderr.contains("no operation has such a name"), "{nothing:?}");
}
