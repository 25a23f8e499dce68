//! `lattice train data|local|verify|bisect`: no node is needed.

use crate::{
    binary::{run, write},
    local::samples,
};
use lattice_inference::{Tensor, npy};
use serde_json::{Value, json};
use std::path::Path;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Ten digits as a data set; `shift` makes the next number the answer.
pub fn data(dir: &Path, shift: usize) -> String {
    let samples = samples();
    let pixels = samples.iter().flat_map(|sample| sample.image.iter().map(|&p| f32::from(p))).collect();
    let classes = samples.iter().map(|sample| ((sample.label + shift) % 10) as f32).collect();
    let features = write(dir, "x.npy", &npy::write(&Tensor::from_f32([10, 64], pixels).unwrap()));
    let targets = write(dir, "y.npy", &npy::write(&Tensor::from_f32([10], classes).unwrap()));
    let out = dir.join(format!("digits-{shift}.data")).to_str().unwrap().to_owned();
    let made = run(&["train", "data", "--features", &features, "--targets", &targets, "--out", &out, "--json"]).ok();
    assert_eq!((&made["records"], &made["features"], &made["targets"]), (&json!(10), &json!(64), &json!(1)));
    out
}

#[test]
fn a_training_is_repeated_bisected_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let model = crate::binary::digits_model();
    let model = model.to_str().unwrap();
    let data = data(dir.path(), 1);
    let folder = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let train = |name: &str, extra: &[&str]| {
        let out = folder(name);
        let args = ["train", "local", model, &data, "--out", &out, "--steps", "40", "--interval", "10", "--json"];
        run(&[&args[..], &["--lora", "4", "--alpha", "8"], extra].concat()).ok()
    };
    let (one, again) = (train("one", &[]), train("again", &[]));
    assert_eq!((&one["trace_root"], &one["state_hash"]), (&again["trace_root"], &again["state_hash"]));
    let loss = |field: &str| one[field].as_f64().unwrap();
    assert!(loss("loss_before") > 2.0 && loss("loss_after") < 0.5, "{one}");
    let (a, b) = (folder("one"), folder("again"));
    assert_eq!(run(&["train", "bisect", &a, &b, "--json"]).ok()["step"], Value::Null);
    let right = run(&["train", "verify", model, &data, &a, "--json"]).ok();
    assert_eq!((&right["right"], &right["state_hash"]), (&json!(true), &one["state_hash"]));
    run(&["train", "verify", model, &data, &a, "--step", "17", "--json"]).ok();

    // The result is an adapter that has learned the next number.
    let lora = run(&["model", "inspect", text(&one["result"]), "--json"]).ok();
    assert_eq!(lora["updates"].as_array().unwrap().len(), 3);
    let zero = write(dir.path(), "zero.npy", &npy::write(&crate::local::zero_tensor()));
    let read = run(&["run", "--local", model, "--input", &zero, "--adapter", text(&one["result"]), "--json"]).ok();
    let scores: Vec<f64> = serde_json::from_value(read["outputs"][0]["data"].clone()).unwrap();
    assert!((0..10).all(|i| scores[i] <= scores[1]), "{scores:?}");

    // A trace that lies from step 23 on: bisection finds it, the replay of the one step refuses it.
    let path = Path::new(&b).join("trace");
    let mut trace = std::fs::read(&path).unwrap();
    let head = trace.len() - 41 * 32;
    for step in 23..=40 {
        trace[head + step * 32] ^= 1;
    }
    std::fs::write(&path, trace).unwrap();
    assert_eq!(run(&["train", "bisect", &a, &b, "--json"]).ok()["step"], 23);
    run(&["train", "verify", model, &data, &b, "--step", "23"]).fails(1, &["step 23 is wrong"]);
    run(&["train", "verify", model, &data, &b]).fails(1, &["step 23 is wrong"]);
    run(&["train", "verify", model, &data, &b, "--step", "20", "--json"]).ok();

    run(&["train", "verify", model, &data, &a, "--step", "41"]).fails(2, &["steps 1 to 40"]);
    let other = self::data(dir.path(), 2);
    run(&["train", "verify", model, &other, &a]).fails(1, &["root"]);
    let out = folder("none");
    run(&["train", "local", model, &data, "--out", &out, "--steps", "2", "--lora", "2", "--module", "w9"])
        .fails(1, &["w0, w1, w2"]);
}
