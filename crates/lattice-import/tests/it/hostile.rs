//! Mutated and random bytes: every door answers with an error or with something valid, and never panics.

use crate::support::{fixtures, models};
use lattice_import::{ImportOptions, declared_inputs, import_model, import_onnx, import_tflite, read_onnx_tensor};
use lattice_inference::{Graph, Model, Tensor, npy};
use proptest::prelude::*;
use std::sync::LazyLock;

static DIGITS: LazyLock<Vec<u8>> = LazyLock::new(|| std::fs::read(models().join("digits.onnx")).unwrap());
static FROZEN: LazyLock<Vec<u8>> = LazyLock::new(|| import_onnx(&DIGITS, &ImportOptions::default()).unwrap().encode());
/// Small files of many operators, where a changed byte is likely to hit structure.
static SMALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let files = ["operators.json", "tflite.json"].map(|file| std::fs::read(fixtures().join(file)).unwrap());
    let cases = files.iter().flat_map(|text| serde_json::from_slice::<Vec<serde_json::Value>>(text).unwrap());
    cases.map(|c| alloy_primitives::hex::decode(c["model"].as_str().unwrap()).unwrap()).collect()
});

/// Changes to a file: bytes set, a piece cut out, a piece repeated, the end cut off.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize),
    Truncate(usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<usize>();
    let change = prop_oneof![
        6 => (at, any::<u8>()).prop_map(|(at, v)| Change::Set(at, v)),
        1 => (at, 1usize..9).prop_map(|(at, n)| Change::Cut(at, n)),
        1 => (at, 1usize..40).prop_map(|(at, n)| Change::Repeat(at, n)),
        1 => at.prop_map(Change::Truncate),
    ];
    proptest::collection::vec(change, 1..4)
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match *change {
            Change::Set(at, v) => bytes[at % len] = v,
            Change::Cut(at, n) => drop(bytes.drain(at % len..len.min(at % len + n))),
            Change::Repeat(at, n) => {
                let piece = bytes[at % len..len.min(at % len + n)].to_vec();
                bytes.splice(at % len..at % len, piece);
            }
            Change::Truncate(at) => bytes.truncate(at % len),
        }
    }
    bytes
}

/// Whatever was accepted must encode, decode to itself, and run within its limits.
fn use_graph(graph: Graph) {
    let bytes = graph.encode();
    // By its bytes: constants may hold NaN.
    assert_eq!(Graph::decode(&bytes).unwrap().encode(), bytes);
    let cost = graph.cost();
    if cost.memory_bytes > 1 << 24 || cost.gas() > 10_000_000 {
        return;
    }
    let zeros = |info: &lattice_inference::ValueInfo| Tensor::zeros(info.dtype, info.shape.clone()).unwrap();
    let inputs: Vec<Tensor> = graph.inputs().iter().map(zeros).collect();
    let types: Vec<_> = graph.outputs().to_vec();
    let model = Model::load(graph).unwrap();
    if let Ok(outputs) = model.run(&inputs) {
        for (output, info) in outputs.iter().zip(types) {
            assert_eq!((output.dtype(), output.shape()), (info.dtype, info.shape.as_slice()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_changed_model_file_never_panics(which in any::<usize>(), changes in changes()) {
        let file = changed(&SMALL[which % SMALL.len()], &changes);
        let _ = declared_inputs(&file);
        if let Ok(graph) = import_model(&file, &ImportOptions::default()) {
            use_graph(graph);
        }
    }

    #[test]
    fn a_changed_frozen_graph_never_panics(which in any::<usize>(), changes in changes()) {
        let graph = import_model(&SMALL[which % SMALL.len()], &ImportOptions::default()).unwrap();
        let bytes = changed(&graph.encode(), &changes);
        if let Ok(graph) = Graph::decode(&bytes) {
            prop_assert_eq!(graph.encode(), bytes);
            use_graph(graph);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = import_onnx(&bytes, &ImportOptions::default());
        let _ = import_tflite(&[b"\x08\0\0\0TFL3".as_slice(), &bytes].concat(), &ImportOptions::default());
        let _ = Graph::decode(&bytes);
        let _ = Graph::decode(&[b"LATG\x01\x00F".as_slice(), &bytes].concat());
        let _ = npy::read(&bytes);
        let _ = npy::read(&[b"\x93NUMPY\x01\x00".as_slice(), &bytes].concat());
        let _ = read_onnx_tensor(&bytes);
    }
}

#[test]
fn every_truncation_of_a_frozen_graph_is_refused() {
    let step = |at: usize| if at < 2000 || at + 500 > FROZEN.len() { 1 } else { 97 };
    let mut end = 0;
    while end < FROZEN.len() {
        Graph::decode(&FROZEN[..end]).unwrap_err();
        end += step(end);
    }
    let longer = [FROZEN.as_slice(), &[0]].concat();
    assert_eq!(Graph::decode(&longer).unwrap_err().to_string(), "1 bytes follow the end of the graph");
}
