//! magika, a real model: our outputs beside ONNX Runtime's on real files.
//!
//! `LATTICE_MAGIKA` names the model file (in PyPI's `magika` 1.0.3: `magika/models/standard_v3_3/model.onnx`) and
//! `LATTICE_MAGIKA_ORACLE` the folder that `tests/oracle/magika_features.py` wrote.

use crate::support::from_env;
use lattice_import::{ImportOptions, import_onnx};
use lattice_inference::{Graph, Model, Tolerance, npy};

fn argmax(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[test]
fn magika_matches_onnxruntime() {
    let Some(model) = from_env("LATTICE_MAGIKA", "magika's model") else { return };
    let Some(oracle) = from_env("LATTICE_MAGIKA_ORACLE", "features and outputs by ONNX Runtime") else { return };
    let graph = import_onnx(&std::fs::read(model).unwrap(), &ImportOptions::default()).unwrap();
    assert_eq!(graph.inputs()[0].to_string(), "bytes: i32[1, 2048]");
    assert_eq!(graph.outputs()[0].to_string(), "target_label: f32[1, 214]");
    assert_eq!(Graph::decode(&graph.encode()).unwrap(), graph);
    println!("operators: {:?}; gas {}", graph.operators(), graph.cost().gas());
    let model = Model::load(graph).unwrap();
    let mut files = 0;
    let mut worst = 0.0f64;
    loop {
        let read = |what: &str| std::fs::read(oracle.join(format!("{files:03}-{what}.npy"))).ok();
        let (Some(features), Some(scores)) = (read("features"), read("scores")) else { break };
        let (features, want) = (npy::read(&features).unwrap(), npy::read(&scores).unwrap());
        let got = model.run(std::slice::from_ref(&features)).unwrap().remove(0);
        assert_eq!(got.difference(&want, Tolerance { absolute: 1e-5, relative: 0.0 }), None, "file {files}");
        let (g, w) = (got.to_f64s(), want.to_f64s());
        assert_eq!(argmax(&g), argmax(&w), "file {files}");
        worst = g.iter().zip(&w).fold(worst, |m, (g, w)| m.max((g - w).abs()));
        assert_eq!(model.run_bytes(&features.to_bytes()).unwrap(), got.to_bytes());
        files += 1;
    }
    println!("{files} files agree; largest difference {worst:e}");
    assert!(files >= 10, "the oracle folder holds only {files} files");
}
