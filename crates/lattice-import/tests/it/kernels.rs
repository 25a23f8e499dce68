//! Whole models and operators on every kind of kernels that this CPU has: all must give the same bits.

use crate::support::numbers;
use lattice_import::{ImportOptions, import_model};
use lattice_inference::{Graph, Isa, Model, Tensor};

fn assert_same_bits(name: &str, file: &[u8]) {
    let graph = import_model(file, &ImportOptions::default()).unwrap();
    let bytes = |outputs: Vec<Tensor>| outputs.iter().flat_map(Tensor::to_bytes).collect::<Vec<u8>>();
    let models = Isa::all().into_iter().map(|isa| {
        let folded = isa.run(|| import_model(file, &ImportOptions::default())).unwrap();
        assert_eq!(graph.model_id(), folded.model_id(), "{name} on {isa:?}");
        (isa, Model::load(folded).unwrap())
    });
    let models: Vec<(Isa, Model)> = models.collect();
    for special in [false, true] {
        let inputs: Vec<Tensor> = graph.inputs().iter().map(|i| numbers(i.dtype, &i.shape, special)).collect();
        // Node by node, without fusing and packing; a refusal is the same everywhere too.
        let want = unfused(&graph, &inputs).map(bytes);
        for (isa, model) in &models {
            let got = isa.run(|| model.run(&inputs).map(bytes));
            assert_eq!(got.ok(), want, "{name} on {isa:?}");
        }
    }
}

/// The graph's definition: each node by its own `run`.
fn unfused(graph: &Graph, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let mut values: Vec<Tensor> = inputs.to_vec();
    values.extend(graph.constants().iter().map(|c| c.tensor.as_ref().clone()));
    for node in graph.nodes() {
        let operands: Vec<&Tensor> = node.inputs.iter().map(|&v| &values[v as usize]).collect();
        let results = (node.op.run)(&node.attributes, &operands).ok()?;
        values.extend(results);
    }
    let mut outputs: Vec<Tensor> = graph.output_values().iter().map(|&v| values[v as usize].clone()).collect();
    outputs.iter_mut().for_each(Tensor::canonicalize_nan);
    Some(outputs)
}

#[test]
fn models_give_the_same_bits_on_all_kernels() {
    assert_same_bits("digits", include_bytes!("../../../../models/digits.onnx"));
}

#[test]
fn operators_give_the_same_bits_on_all_kernels() {
    let files: [&[u8]; 2] = [include_bytes!("../fixtures/operators.json"), include_bytes!("../fixtures/tflite.json")];
    let cases = files.iter().flat_map(|file| serde_json::from_slice::<Vec<serde_json::Value>>(file).unwrap());
    for case in cases {
        let file = alloy_primitives::hex::decode(case["model"].as_str().unwrap()).unwrap();
        assert_same_bits(case["name"].as_str().unwrap(), &file);
    }
}

#[test]
fn threads_do_not_change_bits() {
    let graph = import_model(include_bytes!("../../../../models/digits.onnx"), &ImportOptions::default()).unwrap();
    let model = Model::load(graph).unwrap();
    let inputs: Vec<Tensor> = model.inputs().iter().map(|i| numbers(i.dtype, &i.shape, true)).collect();
    let want = model.run(&inputs).unwrap();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| model.run(&inputs).unwrap())).collect();
        for run in runs {
            let bytes = |outputs: &[Tensor]| outputs.iter().flat_map(Tensor::to_bytes).collect::<Vec<u8>>();
            assert_eq!(bytes(&run.join().unwrap()), bytes(&want));
        }
    });
}
