//! The repository's own model: right answers, the same row in any batch, and the road there and back through its bytes.

use crate::support::models;
use lattice_import::{ImportOptions, import_onnx};
use lattice_inference::{Graph, Model, RunError, RunLimits, Tensor};

struct Sample {
    label: usize,
    pixels: Vec<f32>,
    probabilities: Vec<f64>,
}

fn samples() -> Vec<Sample> {
    let text = std::fs::read(models().join("digits-samples.json")).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let numbers = |v: &serde_json::Value| v.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<_>>();
    let sample = |s: &serde_json::Value| Sample {
        label: s["label"].as_u64().unwrap() as usize,
        pixels: numbers(&s["image"]).into_iter().map(|p| p as f32).collect(),
        probabilities: numbers(&s["probabilities"]),
    };
    list.as_array().unwrap().iter().map(sample).collect()
}

fn graph(batch: Option<usize>) -> Graph {
    let mut options = ImportOptions::default();
    if let Some(batch) = batch {
        options.shapes.insert("image".into(), vec![batch, 64]);
    }
    import_onnx(&std::fs::read(models().join("digits.onnx")).unwrap(), &options).unwrap()
}

#[test]
fn digits_are_read_and_a_batch_changes_no_bit() {
    let samples = samples();
    assert_eq!(samples.len(), 10);
    let single = Model::load(graph(None)).unwrap();
    let batch = Model::load(graph(Some(10))).unwrap();
    assert_eq!((single.input_bytes(), single.output_bytes()), (256, 40));
    let mut rows = Vec::new();
    for sample in &samples {
        let image = Tensor::from_f32([1, 64], sample.pixels.clone()).unwrap();
        let output = single.run(&[image]).unwrap().remove(0);
        let got = output.to_f64s();
        let best = (0..10).max_by(|&a, &b| got[a].total_cmp(&got[b])).unwrap();
        assert_eq!(best, sample.label);
        assert!(got.iter().zip(&sample.probabilities).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?}");
        rows.extend(output.to_bytes());
    }
    let images: Vec<f32> = samples.iter().flat_map(|s| s.pixels.clone()).collect();
    let together = batch.run(&[Tensor::from_f32([10, 64], images.clone()).unwrap()]).unwrap().remove(0);
    assert_eq!(together.to_bytes(), rows);
    let bytes: Vec<u8> = images.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(batch.run_bytes(&bytes).unwrap(), rows);
}

#[test]
fn a_frozen_graph_is_its_bytes() {
    let graph = graph(None);
    let bytes = graph.encode();
    let decoded = Graph::decode(&bytes).unwrap();
    assert_eq!(decoded, graph);
    assert_eq!(decoded.encode(), bytes);
    assert_eq!(decoded.model_id(), graph.model_id());
    assert_eq!(graph.model_id(), alloy_primitives::keccak256(&bytes));
    let cost = graph.cost();
    assert_eq!(cost.macs, 64 * 64 + 64 * 32 + 32 * 16, "whole tiles of 16 columns");
    assert_eq!(cost.weights_bytes as usize, graph.constants().iter().map(|c| c.tensor.size_bytes()).sum::<usize>());
    assert_eq!(graph.operators()["MatMul"], 3);
}

#[test]
fn wrong_inputs_are_named() {
    let model = Model::load(graph(None)).unwrap();
    assert_eq!(model.run(&[]), Err(RunError::InputCount { expected: 1, got: 0 }));
    let wrong = model.run(&[Tensor::from_i32([1, 64], vec![0; 64]).unwrap()]).unwrap_err().to_string();
    assert_eq!(wrong, "input 'image': expected f32[1, 64], got i32[1, 64]");
    let wrong = model.run_bytes(&[0; 255]).unwrap_err().to_string();
    assert_eq!(wrong, "input bytes: expected 256 (image: f32[1, 64]), got 255");
}

#[test]
fn a_nan_comes_out_canonical() {
    let model = Model::load(graph(None)).unwrap();
    let mut pixels = vec![0.0; 64];
    pixels[3] = f32::from_bits(0xffff_ffff);
    let bytes = model.run_bytes(&Tensor::from_f32([1, 64], pixels).unwrap().to_bytes()).unwrap();
    assert_eq!(bytes, 0x7fc0_0000u32.to_le_bytes().repeat(10));
}

#[test]
fn limits_are_checked_before_running() {
    let cost = graph(None).cost();
    RunLimits::default().check(&cost).unwrap();
    let tight = RunLimits { memory_bytes_max: 1000, ..RunLimits::default() };
    assert!(matches!(tight.check(&cost), Err(RunError::MemoryLimit { max: 1000, .. })));
    let tight = RunLimits { gas_max: 10, ..RunLimits::default() };
    assert!(matches!(tight.check(&cost), Err(RunError::CostLimit { max: 10, .. })));
}

#[test]
fn gas_grows_with_the_batch() {
    let gas: Vec<u64> = [1, 10, 100, 1000].map(|n| graph(Some(n)).cost().gas()).to_vec();
    assert!(gas.windows(2).all(|w| w[0] <= w[1]) && gas[0] < gas[3], "{gas:?}");
}
