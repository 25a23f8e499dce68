//! Adapters in PEFT's form: what NumPy computes, golden bits, and hostile files.
#![allow(clippy::unwrap_used)]

use lattice_import::{ImportOptions, import_onnx};
use lattice_inference::{Graph, Model, Tensor};
use lattice_training::{Adapter, AdapterDiff, AdapterError, AdapterTarget, Composition, Update};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// This crate's committed fixtures.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("lora").join(file)).unwrap()
}

fn adapter(folder: &str) -> Adapter {
    let file = |name: &str| read(&format!("{folder}/{name}"));
    Adapter::from_peft(&file("adapter_config.json"), &file("adapter_model.safetensors")).unwrap()
}

fn graph() -> Graph {
    import_onnx(&read("model.onnx"), &ImportOptions::default()).unwrap()
}

/// What the model answers with an adapter, on the fixture's input.
fn output(adapter: Option<&Adapter>) -> Tensor {
    let expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
    let x = expected["x"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    let graph = adapter.map_or_else(graph, |adapter| adapter.merge(&graph()).unwrap());
    Model::load(graph).unwrap().run(&[Tensor::from_f32([2, 6], x).unwrap()]).unwrap().remove(0)
}

/// Each case of the oracle with its adapter.
fn cases() -> Vec<(&'static str, Option<Adapter>)> {
    let (first, second) = (adapter("first"), adapter("second"));
    let compose = |method| Adapter::compose(method, &[(&first, 0.75), (&second, -0.5)]).unwrap();
    vec![
        ("none", None),
        ("first", Some(first.clone())),
        ("second", Some(second.clone())),
        ("half", Some(first.scaled(0.5).unwrap())),
        ("cat", Some(compose(Composition::Cat))),
        ("linear", Some(compose(Composition::Linear))),
    ]
}

#[test]
fn merged_models_answer_as_numpy_and_with_golden_bits() {
    let expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
    let mut hashes = String::new();
    for (name, adapter) in cases() {
        let got = output(adapter.as_ref());
        let want = expected["outputs"][name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        for (got, want) in got.to_f64s().into_iter().zip(want) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{name}: {got} instead of {want}");
        }
        hashes += &format!("{name} {}\n", alloy_primitives::keccak256(got.to_bytes()));
    }
    assert_eq!(hashes, String::from_utf8(read("bits.txt")).unwrap());
}

#[test]
fn a_frozen_graph_keeps_the_modules_of_its_weights() {
    let decoded = Graph::decode(&graph().encode()).unwrap();
    let targets = AdapterTarget::all(&decoded);
    let found: Vec<_> = targets.iter().map(|t| (t.module.as_str(), t.inputs, t.outputs)).collect();
    assert_eq!(found, [("mlp.fc1", 6, 5), ("mlp.fc2", 5, 4), ("head", 4, 3)]);
}

#[test]
fn an_adapter_is_its_bytes_and_a_diff_makes_the_next_version() {
    let (first, second) = (adapter("first"), adapter("second"));
    for adapter in [&first, &second] {
        let bytes = adapter.encode();
        assert_eq!(Adapter::decode(&bytes).unwrap(), *adapter);
        assert_eq!(adapter.id(), alloy_primitives::keccak256(&bytes));
        for len in 0..bytes.len() {
            assert!(Adapter::decode(&bytes[..len]).is_err());
        }
    }
    assert!(Adapter::decode(&[&first.encode()[..], &[0]].concat()).unwrap_err().to_string().contains("follow"));
    let mut updates = second.updates().to_vec();
    updates.remove(0);
    updates[0].scale = 7.0;
    let newer = Adapter::new(updates).unwrap();
    let diff = AdapterDiff::between(&second, &newer);
    assert_eq!((diff.removed.len(), diff.put.len()), (1, 1));
    let read = AdapterDiff::decode(&diff.encode()).unwrap();
    assert_eq!(read.apply(&second).unwrap(), newer);
    assert!(matches!(read.apply(&first), Err(AdapterError::Diff(_))));
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let update = |module: &str, rank: usize, inputs: usize, outputs: usize| Update {
        module: module.into(),
        scale: 1.0,
        a: Tensor::from_f32([rank, inputs], vec![1.0; rank * inputs]).unwrap(),
        b: Tensor::from_f32([outputs, rank], vec![1.0; outputs * rank]).unwrap(),
    };
    let merge = |update| Adapter::new(vec![update]).unwrap().merge(&graph()).unwrap_err().to_string();
    assert!(merge(update("mlp.fc9", 1, 6, 5)).contains("mlp.fc1, mlp.fc2"));
    assert!(merge(update("mlp.fc1", 1, 5, 6)).contains("has 6 and 5"));
    // The end of a path will do, when it is one module's.
    assert!(Adapter::new(vec![update("fc2", 1, 5, 4)]).unwrap().merge(&graph()).is_ok());
    assert!(merge(update("mlp.fc1.bias", 1, 6, 5)).contains("read by"));
    let mut endless = update("mlp.fc1", 1, 6, 5);
    endless.a = Tensor::from_f32([1, 6], vec![f32::INFINITY; 6]).unwrap();
    assert!(Adapter::new(vec![endless]).unwrap_err().to_string().contains("infinite"));
    assert!(Adapter::new(vec![update("a", 1, 2, 2), update("a", 1, 2, 2)]).is_err());
    let ranks =
        [&Adapter::new(vec![update("a", 1, 2, 2)]).unwrap(), &Adapter::new(vec![update("a", 2, 2, 2)]).unwrap()];
    let parts = ranks.map(|adapter| (adapter, 1.0));
    assert!(Adapter::compose(Composition::Linear, &parts).unwrap_err().to_string().contains("cat"));
    assert_eq!(Adapter::compose(Composition::Cat, &parts).unwrap().rank(), 3);
    for method in ["svd", "dare_linear", "ties"] {
        assert!(Composition::from_name(method).unwrap_err().to_string().contains(method));
    }
}

proptest! {
    #[test]
    fn mutated_files_never_panic(at in 0usize..1 << 16, byte: u8, cut in 0usize..1 << 16) {
        let config = read("first/adapter_config.json");
        for mut bytes in [read("first/adapter_model.safetensors"), adapter("first").encode()] {
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut % 16);
            drop(Adapter::from_peft(&config, &bytes));
            if let Ok(adapter) = Adapter::decode(&bytes) {
                prop_assert_eq!(adapter.encode(), bytes);
            }
        }
    }
}
