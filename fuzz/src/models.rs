//! Files of models: what people push, and what nodes fetch.

use lattice_import::{ImportOptions, import_onnx, import_tflite};
use lattice_inference::{Graph, Model, Tensor, ValueInfo, npy as npy_file};

/// Work and memory that one input may cost here: less than a node's limits, so that many inputs run a second.
const GAS_MAX: u64 = 1 << 20;
const MEMORY_BYTES_MAX: u64 = 1 << 24;

/// An ONNX file: what imports has a canonical encoding, and runs within its declared cost.
pub fn onnx(data: &[u8]) {
    let options = ImportOptions { file_bytes_max: 1 << 20, ..ImportOptions::default() };
    if let Ok(graph) = import_onnx(data, &options) {
        let decoded = Graph::decode(&graph.encode()).expect("what we encode decodes");
        assert_eq!(decoded.model_id(), graph.model_id());
        run(graph);
    }
}

/// A TensorFlow Lite file, with the same promises.
pub fn tflite(data: &[u8]) {
    let options = ImportOptions { file_bytes_max: 1 << 20, ..ImportOptions::default() };
    if let Ok(graph) = import_tflite(data, &options) {
        let decoded = Graph::decode(&graph.encode()).expect("what we encode decodes");
        assert_eq!(decoded.model_id(), graph.model_id());
        run(graph);
    }
}

/// A frozen graph as it lies in an artifact.
pub fn graph(data: &[u8]) {
    if let Ok(graph) = Graph::decode(data) {
        assert_eq!(graph.encode(), data, "one graph, one encoding");
        run(graph);
    }
}

fn run(graph: Graph) {
    let cost = graph.cost();
    if cost.gas() > GAS_MAX || cost.memory_bytes > MEMORY_BYTES_MAX {
        return;
    }
    let zeros = |input: &ValueInfo| Tensor::zeros(input.dtype, input.shape.clone());
    let inputs: Vec<Tensor> =
        graph.inputs().iter().map(|input| zeros(input).expect("a graph's inputs have lawful shapes")).collect();
    let expected = graph.output_bytes();
    if let Ok(model) = Model::load(graph) {
        // As bytes: NaN differs from itself.
        let bytes = || model.run(&inputs).map(|outputs| outputs.iter().flat_map(Tensor::to_bytes).collect::<Vec<u8>>());
        let first = bytes();
        assert_eq!(first, bytes(), "a model always answers the same");
        assert!(first.is_err() || first.is_ok_and(|bytes| bytes.len() == expected), "the declared size");
    }
}

/// An .npy file from a user's disk.
pub fn npy(data: &[u8]) {
    if let Ok(tensor) = npy_file::read(data) {
        let again = npy_file::read(&npy_file::write(&tensor)).expect("what we write reads back");
        assert_eq!((again.shape(), again.to_bytes()), (tensor.shape(), tensor.to_bytes()));
    }
}
