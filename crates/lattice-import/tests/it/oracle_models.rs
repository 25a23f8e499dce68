//! Whole models beside the runtimes that they were made for, from folders that `tests/oracle/onnxruntime_outputs.py` and
//! `tests/oracle/litert_outputs.py` wrote, found through `LATTICE_MODEL_ORACLES`.

use crate::support::from_env;
use lattice_import::{ImportError, ImportOptions, import_model};
use lattice_inference::{DType, Graph, Model, Tensor, Tolerance, npy};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn arrays(folder: &Path, what: &str) -> Vec<Tensor> {
    let file = |i: usize| folder.join(format!("{what}-{i}.npy"));
    (0..).map(file).take_while(|f| f.exists()).map(|f| npy::read(&std::fs::read(f).unwrap()).unwrap()).collect()
}

/// The largest distance of two tensors, beside the largest wanted value.
fn distance(got: &Tensor, want: &Tensor) -> (f64, f64) {
    let (got, want) = (got.to_f64s(), want.to_f64s());
    let scale = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    (got.iter().zip(&want).fold(0.0f64, |m, (g, w)| m.max((g - w).abs())), scale)
}

/// A model of an oracle folder with the inputs that are left to it, or why it is refused.
pub fn open(folder: &Path) -> Result<(Graph, Vec<Tensor>), ImportError> {
    let mut options = ImportOptions::default();
    let mut inputs = Vec::new();
    for (name, tensor) in names(folder)["inputs"].as_array().unwrap().iter().zip(arrays(folder, "input")) {
        let name = name.as_str().unwrap().to_string();
        // A scalar integer chooses a branch or a size, which a frozen graph knows.
        if tensor.shape().is_empty() && tensor.dtype() == DType::I64 {
            options.constants.insert(name, tensor);
        } else {
            options.shapes.insert(name, tensor.shape().to_vec());
            inputs.push(tensor);
        }
    }
    let file = ["model.onnx", "model.tflite"].map(|name| folder.join(name)).into_iter().find(|f| f.exists()).unwrap();
    Ok((import_model(&std::fs::read(file).unwrap(), &options)?, inputs))
}

fn names(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("names.json")).unwrap()).unwrap()
}

/// The folders of all models, sorted; none when the variable that names them is not set.
pub fn folders() -> Option<Vec<PathBuf>> {
    let root = from_env("LATTICE_MODEL_ORACLES", "models with outputs by their runtimes")?;
    let mut folders: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "no model is there");
    Some(folders)
}

/// Positions of the largest element of each row.
fn largest(t: &Tensor) -> Vec<Option<usize>> {
    let columns = t.shape().last().copied().unwrap_or(1).max(1);
    let row = |row: &[f64]| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
    t.to_f64s().chunks(columns).map(row).collect()
}

/// What differs, one sentence an output.
fn differences(folder: &Path) -> Vec<String> {
    let (names, outputs) = (names(folder), arrays(folder, "output"));
    let shown = folder.file_name().unwrap().to_string_lossy();
    let (graph, inputs) = match open(folder) {
        Ok(opened) => opened,
        Err(refusal) => return vec![format!("{shown}: {refusal}")],
    };
    let encoded = graph.encode();
    assert_eq!(Graph::decode(&encoded).unwrap(), graph, "{shown}");
    let apart = names["apart"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = names["outputs"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(graph.outputs().iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), names, "{shown}");
    let (cost, operators, class) = (graph.cost(), format!("{:?}", graph.operators()), graph.class());
    let is_quantised = graph.operators().contains_key("Requantize");
    let model = Model::load(graph).unwrap();
    model.run(&inputs).unwrap();
    let start = Instant::now();
    let got = model.run(&inputs).unwrap();
    println!(
        "{shown}: class {class}, {:.2?}, gas {}, {cost:?}, {} bytes, {operators}",
        start.elapsed(),
        cost.gas(),
        encoded.len()
    );
    assert_eq!(got.len(), outputs.len());
    let mut found = Vec::new();
    for (i, (got, want)) in got.iter().zip(&outputs).enumerate() {
        let (distance, scale) = distance(got, want);
        // Where the runtime's own kernels are further apart than that, rounding decides.
        let among_them = apart.get(i).map_or(0.0, |v| v.as_f64().unwrap());
        println!("    output {i}: at most {distance:.2e} apart (they: {among_them:.2e}), values up to {scale:.2e}");
        let tolerance = Tolerance { absolute: among_them.max(1e-5 * scale.max(1.0)), relative: 1e-4 };
        if is_quantised && largest(got) != largest(want) {
            found.push(format!("{shown} output {i}: another element is the largest"));
        }
        found.extend(got.difference(want, tolerance).map(|difference| format!("{shown} output {i}: {difference}")));
    }
    found
}

#[test]
fn oracle_models_match_their_own_runtimes() {
    let Some(folders) = folders() else { return };
    let found: Vec<String> = folders.iter().flat_map(|folder| differences(folder)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
