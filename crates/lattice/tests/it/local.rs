//! `lattice model inspect` and `lattice run --local`: no node is needed.

use crate::binary::{digits_model, run, run_with_stdin, write};
use crate::onnx::{self, Dim, FLOAT, INT64};
use lattice_inference::{Tensor, npy};
use lattice_training::{Adapter, Update};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One image of each digit with its label and the probabilities that scikit-learn gives.
#[derive(serde::Deserialize)]
pub struct Sample {
    pub label: usize,
    pub image: Vec<u8>,
    probabilities: Vec<f64>,
}

pub fn samples() -> Vec<Sample> {
    let path = digits_model().with_file_name("digits-samples.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The image of a zero as the model's input.
pub fn zero_tensor() -> Tensor {
    let image = samples().swap_remove(0).image;
    Tensor::from_f32([1, 64], image.into_iter().map(f32::from).collect()).unwrap()
}

fn inspect() -> Value {
    run(&["model", "inspect", digits_model().to_str().unwrap(), "--json"]).ok()
}

fn run_local(args: &[&str]) -> Value {
    let model = digits_model();
    run(&[&["run", "--local", model.to_str().unwrap(), "--json"], args].concat()).ok()
}

fn argmax(output: &Value) -> usize {
    let scores: Vec<f64> = serde_json::from_value(output["data"].clone()).unwrap();
    (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
}

#[test]
fn inspect_names_everything_of_a_model() {
    let facts = inspect();
    assert_eq!(facts["inputs"].as_array().unwrap().len(), 1, "{facts}");
    assert_eq!(facts["inputs"][0]["dtype"], "f32");
    assert!(facts["model_id"].as_str().unwrap().len() == 66);
    assert!(facts["cost"]["gas"].as_u64().unwrap() > 0);
    assert!(!facts["operators"].as_object().unwrap().is_empty());
    let text = run(&["model", "inspect", digits_model().to_str().unwrap()]);
    assert!(text.stdout.contains("model id") && text.stdout.contains("gas a run"), "{text:?}");
}

#[test]
fn npy_json_object_and_stdin_give_the_same_answer() {
    let dir = tempfile::tempdir().unwrap();
    let tensor = zero_tensor();
    let name = inspect()["inputs"][0]["name"].as_str().unwrap().to_owned();
    let npy_file = write(dir.path(), "zero.npy", &npy::write(&tensor));
    // Without the batch dimension, which is added.
    let list = json!(samples().swap_remove(0).image);
    let list_file = write(dir.path(), "zero.json", list.to_string().as_bytes());
    let object_file = write(dir.path(), "object.json", json!({ &name: [list] }).to_string().as_bytes());

    let expected = run_local(&["--input", &npy_file]);
    assert_eq!(expected["tx_hash"], Value::Null);
    assert_eq!(expected["grade"], "local");
    assert_eq!(expected["gas_used"], inspect()["cost"]["gas"]);
    assert_eq!(argmax(&expected["outputs"][0]), 0, "{expected}");
    let named = format!("{name}={npy_file}");
    let answers: BTreeSet<String> = [&npy_file, &named, &list_file, &object_file]
        .map(|input| run_local(&["--input", input])["outputs"].to_string())
        .into();
    assert_eq!(answers, BTreeSet::from([expected["outputs"].to_string()]));

    let model = digits_model();
    for (stdin, input) in [(list.to_string().into_bytes(), "-".to_owned()), (npy::write(&tensor), format!("{name}=-"))]
    {
        let answer = run_with_stdin(&["run", "--local", model.to_str().unwrap(), "--json", "--input", &input], &stdin);
        assert_eq!(answer.ok()["outputs"], expected["outputs"]);
    }
}

#[test]
fn every_sample_gets_scikit_learns_probabilities() {
    let dir = tempfile::tempdir().unwrap();
    let mut right = 0;
    for sample in samples() {
        let file = write(dir.path(), "image.json", json!(sample.image).to_string().as_bytes());
        let output = run_local(&["--input", &file])["outputs"][0].take();
        right += usize::from(argmax(&output) == sample.label);
        let found: Vec<f64> = serde_json::from_value(output["data"].clone()).unwrap();
        for (a, b) in found.iter().zip(&sample.probabilities) {
            assert!((a - b).abs() <= 1e-5, "label {}: {found:?}, expected {:?}", sample.label, sample.probabilities);
        }
    }
    assert!(right >= 8, "the model itself mistakes two of the ten images");
}

#[test]
fn a_batch_in_the_input_makes_a_batch_in_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let one = zero_tensor();
    let mut shape = one.shape().to_vec();
    shape[0] = 3;
    let values = [one.as_f32().unwrap(); 3].concat();
    let batch = write(dir.path(), "batch.npy", &npy::write(&Tensor::from_f32(shape, values).unwrap()));
    let single = write(dir.path(), "single.npy", &npy::write(&one));
    let (batch, single) = (run_local(&["--input", &batch]), run_local(&["--input", &single]));
    let rows = batch["outputs"][0]["data"].as_array().unwrap();
    let row = single["outputs"][0]["data"].as_array().unwrap();
    assert_eq!(rows.chunks(row.len()).collect::<Vec<_>>(), vec![row.as_slice(); 3], "a batch never changes a row");
}

#[test]
fn nan_and_infinities_go_in_and_come_out_as_strings() {
    let dir = tempfile::tempdir().unwrap();
    let mut values = zero_tensor().as_f32().unwrap().to_vec();
    values[0] = f32::NAN;
    let npy_file = write(dir.path(), "nan.npy", &npy::write(&Tensor::from_f32(zero_tensor().shape(), values).unwrap()));
    let out = run_local(&["--input", &npy_file]);
    let data = out["outputs"].as_array().unwrap().iter().flat_map(|output| output["data"].as_array().unwrap().clone());
    let strings: Vec<Value> = data.filter(Value::is_string).collect();
    assert!(!strings.is_empty() && strings.iter().all(|word| word == "NaN"), "{out}");

    let mut json: Vec<Value> = samples().swap_remove(0).image.iter().map(|&x| json!(x)).collect();
    json[0] = json!("NaN");
    let file = write(dir.path(), "nan.json", Value::Array(json).to_string().as_bytes());
    assert_eq!(run_local(&["--input", &file])["outputs"], out["outputs"]);
}

#[test]
fn dynamic_shapes_are_taken_from_the_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let open = || [Dim::Open("N"), Dim::Open("T")];
    let bytes = onnx::model("Add", &["a", "b"], &[onnx::value("a", FLOAT, &open()), onnx::value("b", FLOAT, &open())]);
    let model = write(dir.path(), "add.onnx", &bytes);
    let square = write(dir.path(), "square.json", b"[[1, 2], [3, 4]]");
    let row = write(dir.path(), "row.json", b"[10, 20]");
    let sum = |inputs: [&str; 2]| {
        let ran = run(&["run", "--local", &model, "--json", "--input", inputs[0], "--input", inputs[1]]);
        ran.ok()["outputs"][0].take()
    };
    // Named or not, in any order; the row gets its leading 1 and is broadcast.
    for inputs in
        [[square.as_str(), &row], [&format!("b={row}"), &square], [&format!("b={row}"), &format!("a={square}")]]
    {
        let output = sum(inputs);
        assert_eq!(output, json!({ "name": "y", "dtype": "f32", "shape": [2, 2], "data": [11.0, 22.0, 13.0, 24.0] }));
    }
    let missing = run(&["run", "--local", &model, "--input", &square]);
    missing.fails(1, &["input 'b' is missing"]);
    run(&["model", "inspect", &model]).fails(1, &["'a'", "--shape a="]);
    let inspected = run(&["model", "inspect", &model, "--json", "--shape", "a=2,2", "--shape", "b=1,2"]).ok();
    assert_eq!(inspected["outputs"][0]["shape"], json!([2, 2]));
}

#[test]
fn small_integers_that_decide_shapes_become_constants() {
    let dir = tempfile::tempdir().unwrap();
    let values =
        [onnx::value("x", FLOAT, &[Dim::Open("N"), Dim::Open("T")]), onnx::value("s", INT64, &[Dim::Fixed(2)])];
    let model = write(dir.path(), "reshape.onnx", &onnx::model("Reshape", &["x", "s"], &values));
    let input = write(dir.path(), "x.json", b"{\"x\": [[1, 2, 3], [4, 5, 6]], \"s\": [3, 2]}");
    let ran = run(&["run", "--local", &model, "--json", "--input", &input]).ok();
    assert_eq!(ran["outputs"][0]["shape"], json!([3, 2]));
    let inspected = run(&["model", "inspect", &model, "--json", "--shape", "x=2,3", "--constant", "s=[3, 2]"]).ok();
    assert_eq!(inspected["inputs"].as_array().unwrap().len(), 1, "{inspected}");
}

#[test]
fn a_scalar_integer_chooses_the_branch_and_outputs_come_in_graph_order() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "branches.onnx", &onnx::branches());
    let scalar = |value: i64| {
        let tensor = Tensor::from_i64([], vec![value]).unwrap();
        write(dir.path(), &format!("rate-{value}.npy"), &npy::write(&tensor))
    };
    let x = write(dir.path(), "x.npy", &npy::write(&Tensor::from_f32([3], vec![1.0, 2.0, 3.0]).unwrap()));
    for (rate, y) in [(7, [2.0, 4.0, 6.0]), (8, [1.0, 4.0, 9.0])] {
        let rate = scalar(rate);
        for inputs in [[format!("x={x}"), format!("rate={rate}")], [format!("rate={rate}"), x.clone()]] {
            let args = ["run", "--local", &model, "--json", "--input", &inputs[0], "--input", &inputs[1]];
            let outputs = run(&args).ok()["outputs"].take();
            let expected = json!([
                { "name": "rest", "dtype": "f32", "shape": [3], "data": [-1.0, -2.0, -3.0] },
                { "name": "y", "dtype": "f32", "shape": [3], "data": y },
            ]);
            assert_eq!(outputs, expected);
        }
    }
    // A scalar of another type is refused with the way to mend it.
    let float = write(dir.path(), "rate.npy", &npy::write(&Tensor::from_f32([], vec![7.0]).unwrap()));
    let args = ["run", "--local", &model, "--input", &format!("x={x}"), "--input", &format!("rate={float}")];
    run(&args).fails(1, &["'rate'", "i64", "f32"]);
}

#[test]
fn adapters_run_and_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let model = digits_model();
    let zero = write(dir.path(), "zero.npy", &npy::write(&zero_tensor()));
    let update = |module: &str, scale: f32| Update {
        module: module.into(),
        scale,
        a: Tensor::from_f32([1, 32], vec![0.25; 32]).unwrap(),
        b: Tensor::from_f32([10, 1], (0..10).map(|i| i as f32).collect()).unwrap(),
    };
    let adapter = |name: &str, updates: Vec<Update>| write(dir.path(), name, &Adapter::new(updates).unwrap().encode());
    let strong = adapter("strong.lora", vec![update("w2", 0.5)]);
    let plain = run_local(&["--input", &zero]);
    let with = |list: &[&str]| {
        let adapters: Vec<&str> = list.iter().flat_map(|one| ["--adapter", one]).collect();
        run_local(&[&["--input", &zero], &adapters[..]].concat())
    };
    // Every output grows with its number: nine wins.
    assert_eq!((argmax(&plain["outputs"][0]), argmax(&with(&[&strong])["outputs"][0])), (0, 9));
    let opposite = format!("{strong}:-1");
    assert_eq!(with(&[&strong, &opposite])["outputs"], plain["outputs"]);
    assert_eq!(with(&[&strong]), with(&[&format!("{strong}:1.0")]));

    let facts = run(&["model", "inspect", &strong, "--json"]).ok();
    assert_eq!((&facts["rank"], &facts["updates"][0]["module"]), (&json!(1), &json!("w2")));
    assert_eq!(run(&["model", "inspect", model.to_str().unwrap(), "--json"]).ok()["modules"][2]["module"], "w2");
    let other = adapter("other.lora", vec![update("w2", 0.5), update("w3", 1.0)]);
    let patch = dir.path().join("patch").to_str().unwrap().to_owned();
    let told = run(&["lora", "diff", &strong, &other, "--out", &patch, "--json"]).ok();
    assert_eq!((&told["added"], &told["changed"], &told["removed"]), (&json!(["w3"]), &json!([]), &json!([])));
    let again = dir.path().join("again").to_str().unwrap().to_owned();
    assert_eq!(run(&["lora", "patch", &strong, &patch, "--out", &again, "--json"]).ok()["adapter_id"], told["to"]);
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&other).unwrap());
    run(&["lora", "patch", &other, &patch, "--out", &again]).fails(1, &["applies to adapter"]);

    let model = model.to_str().unwrap();
    let refused = |adapter: &str, told: &str| {
        run(&["run", "--local", model, "--input", &zero, "--adapter", adapter]).fails(1, &[told]);
    };
    refused(&other, "w3");
    refused(dir.path().to_str().unwrap(), "adapter_config.json");
    refused(&zero, "adapter_config.json");
}
