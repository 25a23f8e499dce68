//! ONNX's own node tests (package onnx 1.17.0, `backend/test/data/node`), found through `LATTICE_ONNX_NODES`.
//!
//! Every case must either agree within the tolerance of ONNX's own runner or be refused with a reason; a refusal is counted,
//! a difference fails.

use crate::support::{difference, from_env};
use lattice_inference::{DType, Data, Graph, ImportOptions, Model, Tensor, import_onnx, read_onnx_tensor};
use std::collections::BTreeMap;
use std::path::Path;

enum Outcome {
    Passed,
    Refused(String),
    Failed(String),
}

/// Cases whose stored result is not followed. Here an average that counts padding is divided by the whole window although the
/// window reaches past the padding; ONNX Runtime and PyTorch divide by the part inside, and so does this executor.
const NOT_FOLLOWED: &[&str] = &["test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True"];

#[test]
fn onnx_node_tests_agree_or_are_refused() {
    let Some(root) = from_env("LATTICE_ONNX_NODES", "the folder of ONNX's node tests") else { return };
    let mut cases: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    let (mut passed, mut failed) = (0, Vec::new());
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        match run(case) {
            Outcome::Passed => passed += 1,
            Outcome::Refused(reason) => refused.entry(reason).or_default().push(name),
            Outcome::Failed(_) if NOT_FOLLOWED.contains(&name.as_str()) => println!("not followed: {name}"),
            Outcome::Failed(reason) => failed.push(format!("{name}: {reason}")),
        }
    }
    if std::env::var_os("LATTICE_ONNX_NODES_VERBOSE").is_some() {
        refused
            .iter()
            .for_each(|(reason, names)| println!("refused {}: {reason}\n    {}", names.len(), names.join(" ")));
    }
    let refused: usize = refused.values().map(Vec::len).sum();
    println!("{} node tests: {passed} passed, {refused} refused, {} failed", cases.len(), failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(passed > 600, "only {passed} passed");
}

fn run(case: &Path) -> Outcome {
    let bytes = std::fs::read(case.join("model.onnx")).unwrap();
    let read = |prefix: &str| -> Result<Vec<(String, Tensor)>, String> {
        let file = |i: usize| case.join(format!("test_data_set_0/{prefix}_{i}.pb"));
        let files = (0..).map(file).take_while(|f| f.exists());
        files.map(|f| read_onnx_tensor(&std::fs::read(f).unwrap()).map_err(|e| e.to_string())).collect()
    };
    let (inputs, outputs) = match (read("input"), read("output")) {
        (Ok(inputs), Ok(outputs)) => (inputs, outputs),
        (Err(e), _) | (_, Err(e)) => return Outcome::Refused(format!("test data: {e}")),
    };
    // Parameters that ONNX makes operands (axes, shapes, counts) must be known at import here. First nothing is bound; then
    // small integers; then everything but the first operand; then all.
    let is_parameter = |i: usize, t: &Tensor| i > 0 && t.len() <= 16 && !t.dtype().is_float();
    type Binds<'a> = &'a dyn Fn(usize, &Tensor) -> bool;
    let bindings: [Binds<'_>; 4] = [&|_, _| false, &is_parameter, &|i, _| i > 0, &|_, _| true];
    let mut refusal = String::new();
    for binds in bindings {
        let mut options = ImportOptions::default();
        for (i, (name, tensor)) in inputs.iter().enumerate() {
            if binds(i, tensor) {
                options.constants.insert(name.clone(), tensor.clone());
            } else {
                options.shapes.insert(name.clone(), tensor.shape().to_vec());
            }
        }
        match import_onnx(&bytes, &options) {
            Ok(graph) => {
                let unbound: Vec<Tensor> = inputs
                    .iter()
                    .enumerate()
                    .filter(|(i, (_, t))| !binds(*i, t))
                    .map(|(_, (_, t))| t.clone())
                    .collect();
                let typed = graph.inputs().iter().zip(&unbound).map(|(info, t)| from_test_data(t, info.dtype));
                let unbound: Vec<Tensor> = typed.collect();
                return compare(graph, &unbound, &outputs);
            }
            Err(e) => refusal = e.to_string(),
        }
    }
    let reason =
        refusal.split_once("' (").or(refusal.split_once("': ")).map_or(refusal.clone(), |(_, r)| r.to_string());
    Outcome::Refused(reason)
}

/// The test data of this package store bfloat16 as u16.
fn as_test_data(tensor: &Tensor) -> Tensor {
    match tensor.data() {
        Data::BF16(bits) => Tensor::from_u16(tensor.shape(), bits.clone()).unwrap(),
        _ => tensor.clone(),
    }
}

fn from_test_data(tensor: &Tensor, dtype: DType) -> Tensor {
    match tensor.data() {
        Data::U16(bits) if dtype == DType::BF16 => Tensor::new(tensor.shape(), Data::BF16(bits.clone())).unwrap(),
        _ => tensor.clone(),
    }
}

fn compare(graph: Graph, inputs: &[Tensor], want: &[(String, Tensor)]) -> Outcome {
    let encoded = graph.encode();
    match Graph::decode(&encoded) {
        Ok(decoded) if decoded == graph && decoded.encode() == encoded => {}
        other => return Outcome::Failed(format!("the encoding does not round-trip: {:?}", other.err())),
    }
    let got = match Model::load(graph).map_err(|e| e.to_string()).and_then(|m| m.run(inputs).map_err(|e| e.to_string()))
    {
        Ok(got) => got,
        Err(e) => return Outcome::Failed(e),
    };
    for (got, (name, want)) in got.iter().zip(want) {
        let got = &as_test_data(got);
        let relative = if want.dtype().size_bytes() == 2 && want.dtype().is_float() { 1e-2 } else { 1e-3 };
        if let Some(reason) = difference(got, want, 1e-6, relative) {
            return Outcome::Failed(format!("{name}: {reason}"));
        }
    }
    Outcome::Passed
}
