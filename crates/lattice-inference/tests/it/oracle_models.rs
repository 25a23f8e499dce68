//! Whole models beside ONNX Runtime, from folders that `tests/oracle/onnxruntime_outputs.py` wrote, found through
//! `LATTICE_MODEL_ORACLES`.

use crate::support::from_env;
use lattice_inference::{ImportOptions, Model, Tensor, Tolerance, import_onnx, npy};
use std::path::Path;
use std::time::Instant;

fn arrays(folder: &Path, what: &str) -> Vec<Tensor> {
    let file = |i: usize| folder.join(format!("{what}-{i}.npy"));
    (0..).map(file).take_while(|f| f.exists()).map(|f| npy::read(&std::fs::read(f).unwrap()).unwrap()).collect()
}

#[test]
fn oracle_models_match_onnxruntime() {
    let Some(root) = from_env("LATTICE_MODEL_ORACLES", "models with outputs by ONNX Runtime") else { return };
    let mut folders: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    for folder in folders {
        let names: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("names.json")).unwrap()).unwrap();
        let (inputs, outputs) = (arrays(&folder, "input"), arrays(&folder, "output"));
        let mut options = ImportOptions::default();
        for (name, tensor) in names["inputs"].as_array().unwrap().iter().zip(&inputs) {
            options.shapes.insert(name.as_str().unwrap().into(), tensor.shape().to_vec());
        }
        let graph = import_onnx(&std::fs::read(folder.join("model.onnx")).unwrap(), &options).unwrap();
        let cost = graph.cost();
        let model = Model::load(graph).unwrap();
        model.run(&inputs).unwrap();
        let start = Instant::now();
        let got = model.run(&inputs).unwrap();
        println!(
            "{}: {:.2?}, gas {}, {cost:?}",
            folder.file_name().unwrap().to_string_lossy(),
            start.elapsed(),
            cost.gas()
        );
        assert_eq!(got.len(), outputs.len());
        for (i, (got, want)) in got.iter().zip(&outputs).enumerate() {
            let scale = want.to_f64s().iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let tolerance = Tolerance { absolute: 1e-5 * scale.max(1.0), relative: 1e-4 };
            assert_eq!(got.difference(want, tolerance), None, "{} output {i}", folder.display());
        }
    }
}
