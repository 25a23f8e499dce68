//! Operators one by one: the results of ONNX Runtime and LiteRT within a tolerance, and our own bits exactly.
//!
//! `tests/fixtures/operators.json` is written by `tests/oracle/operator_fixtures.py`, `tflite.json` by `tflite_fixtures.py`,
//! `quantised.json` by `quantised_fixtures.py`; `tests/fixtures/bits.txt` holds the
//! hash of each case's output bytes, of its outputs for inputs full of NaN, infinities, signed zeros and subnormals, and of
//! each frozen graph. The bits must never change without a new executor version.
//! After such a change: `LATTICE_BLESS=1 cargo test -p lattice-import bits`.

use crate::support::{fixtures, keeps, numbers};
use alloy_primitives::keccak256;
use lattice_import::{ImportOptions, import_model};
use lattice_inference::{DType, Graph, Model, NumericClass, Tensor, Tolerance};

struct Case {
    name: String,
    graph: Graph,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

fn hex(text: &serde_json::Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn tensors(list: &serde_json::Value) -> Vec<Tensor> {
    let tensor = |t: &serde_json::Value| {
        let shape: Vec<usize> = t["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
        Tensor::from_bytes(DType::from_name(t["dtype"].as_str().unwrap()).unwrap(), shape, &hex(&t["data"])).unwrap()
    };
    list.as_array().unwrap().iter().map(tensor).collect()
}

fn cases(file: &str) -> Vec<Case> {
    let text = std::fs::read(fixtures().join(file)).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let case = |c: &serde_json::Value| {
        let name = c["name"].as_str().unwrap().to_string();
        let graph =
            import_model(&hex(&c["model"]), &ImportOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        Case { name, graph, inputs: tensors(&c["inputs"]), outputs: tensors(&c["outputs"]) }
    };
    list.as_array().unwrap().iter().map(case).collect()
}

fn compare(cases: Vec<Case>) {
    let mut found = Vec::new();
    for case in cases {
        let got = Model::load(case.graph).unwrap().run(&case.inputs).unwrap();
        assert_eq!(got.len(), case.outputs.len(), "{}", case.name);
        for (got, want) in got.iter().zip(&case.outputs) {
            // Quantised results may be one quantum away: LiteRT rescales by fixed-point multipliers.
            let is_quantised = matches!(want.dtype(), DType::I8 | DType::U8);
            let tolerance = Tolerance {
                absolute: if is_quantised { 1.0 } else { 3e-6 },
                relative: 2e-5 * f64::from(!is_quantised),
            };
            let difference = got.difference(want, tolerance);
            found.extend(difference.map(|difference| format!("{}: {difference}", case.name)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn operators_match_onnxruntime() {
    let cases = cases("operators.json");
    assert!(cases.len() > 100);
    compare(cases);
}

#[test]
fn operators_match_litert() {
    let cases = cases("tflite.json");
    assert!(cases.len() > 100);
    compare(cases);
}

/// Networks from end to end in integers; with a quantum for each operator the last one may be two away.
#[test]
fn quantised_networks_match_onnxruntime() {
    for Case { name, graph, inputs, outputs } in cases("quantised.json") {
        // ONNX's quantised operators leave a few functions real between two of them.
        let is_whole = graph.class() == NumericClass::Q || name == "network_operators";
        assert!(is_whole, "{name}: {:?}", graph.operators());
        let got = Model::load(graph).unwrap().run(&inputs).unwrap().remove(0);
        let difference = got.difference(&outputs[0], Tolerance { absolute: 2.0, relative: 0.0 });
        assert!(difference.is_none(), "{name}: {difference:?}");
        let largest =
            |t: &Tensor| t.to_f64s().iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
        assert_eq!(largest(&got), largest(&outputs[0]), "{name}");
    }
}

#[test]
fn operators_keep_their_bits() {
    let mut lines = Vec::new();
    for case in ["operators.json", "tflite.json", "quantised.json"].into_iter().flat_map(cases) {
        let id = case.graph.model_id();
        let special: Vec<Tensor> = case.graph.inputs().iter().map(|i| numbers(i.dtype, &i.shape, true)).collect();
        let model = Model::load(case.graph).unwrap();
        let hash = |inputs: &[Tensor]| match model.run(inputs) {
            Ok(outputs) => keccak256(outputs.iter().flat_map(Tensor::to_bytes).collect::<Vec<u8>>()).to_string(),
            Err(_) => "refused".to_string(),
        };
        lines.push(format!("{} graph {id} output {} special {}", case.name, hash(&case.inputs), hash(&special)));
    }
    keeps("bits.txt", &lines);
}
