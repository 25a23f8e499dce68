//! TensorFlow Lite files: inspected, run and registered like any other, whatever their names end in.

use crate::binary::{Node, run, write};
use lattice_inference::{DType, Tensor, npy};
use serde_json::{Value, json};

/// A convolution of the inference crate's fixtures: the file, its input, LiteRT's output.
fn convolution() -> (Vec<u8>, Tensor, Tensor) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../lattice-import/tests/fixtures/tflite.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let case = cases.iter().find(|case| case["name"] == "tflite_conv_0").unwrap();
    let hex = |text: &Value| alloy_primitives::hex::decode(text.as_str().unwrap()).unwrap();
    let tensor = |t: &Value| {
        let shape: Vec<usize> = serde_json::from_value(t["shape"].clone()).unwrap();
        Tensor::from_bytes(DType::F32, shape, &hex(&t["data"])).unwrap()
    };
    (hex(&case["model"]), tensor(&case["inputs"][0]), tensor(&case["outputs"][0]))
}

fn numbers(output: &Value) -> Vec<f64> {
    serde_json::from_value(output["data"].clone()).unwrap()
}

#[test]
fn a_tflite_file_is_inspected_and_run_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, input, wanted) = convolution();
    let model = write(dir.path(), "model.onnx", &bytes);
    let input = write(dir.path(), "x.npy", &npy::write(&input));
    let facts = run(&["model", "inspect", &model, "--json"]).ok();
    assert_eq!(facts["inputs"], json!([{ "name": "x0", "dtype": "f32", "shape": [1, 7, 6, 4] }]));
    let ran = run(&["run", "--local", &model, "--json", "--input", &format!("x0={input}")]).ok();
    let got = numbers(&ran["outputs"][0]);
    assert_eq!(ran["outputs"][0]["shape"], json!(wanted.shape()));
    assert!(got.iter().zip(wanted.to_f64s()).all(|(g, w)| (g - w).abs() <= 3e-6 + 2e-5 * w.abs()), "{got:?}");

    let broken = write(dir.path(), "broken.tflite", &bytes[..bytes.len() / 2]);
    run(&["model", "inspect", &broken]).fails(1, &["TensorFlow Lite", "is the file complete?"]);
}

#[test]
fn a_pushed_tflite_file_runs_as_it_does_without_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir.path().join("node"));
    let (bytes, input, _) = convolution();
    let model = write(dir.path(), "edges.tflite", &bytes);
    let input = write(dir.path(), "x.npy", &npy::write(&input));
    let pushed = node.run(&["model", "push", &model]).ok();
    assert_eq!(pushed["status"], "active");
    let on_chain = node.run(&["run", pushed["model_id"].as_str().unwrap(), "--input", &input]).ok();
    let local = run(&["run", "--local", &model, "--input", &input, "--json"]).ok();
    assert_eq!(on_chain["outputs"], local["outputs"]);
}
