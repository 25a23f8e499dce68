//! TensorFlow Lite files at the door: told by content, refused with a reason, shaped and bound as asked.

use crate::support::fixtures;
use lattice_import::{
    DeclaredInput, ImportError, ImportOptions, declared_inputs, import_model, import_onnx, import_tflite,
    supported_tflite_operators,
};
use lattice_inference::{DType, Model, Tensor};

/// The fixture of one operator.
fn file(name: &str) -> Vec<u8> {
    let text = std::fs::read(fixtures().join("tflite.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let case = cases.iter().find(|case| case["name"] == format!("tflite_{name}")).unwrap();
    alloy_primitives::hex::decode(case["model"].as_str().unwrap()).unwrap()
}

fn refusal(bytes: &[u8], options: &ImportOptions) -> String {
    import_tflite(bytes, options).unwrap_err().to_string()
}

#[test]
fn the_content_says_which_importer_is_meant() {
    let bytes = file("add");
    let graph = import_model(&bytes, &ImportOptions::default()).unwrap();
    assert_eq!(graph, import_tflite(&bytes, &ImportOptions::default()).unwrap());
    assert!(matches!(import_onnx(&bytes, &ImportOptions::default()), Err(ImportError::Protobuf(_))));
    let inputs = graph.inputs().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(inputs, ["x0: f32[2, 3, 2, 3]", "x1: f32[2, 3]"]);
    assert_eq!(graph.outputs()[0].to_string(), "y0: f32[2, 3, 2, 3]");
    let declared = |name: &str, rank| DeclaredInput { name: name.into(), dtype: Some(DType::F32), rank: Some(rank) };
    assert_eq!(declared_inputs(&bytes), Ok(vec![declared("x0", 4), declared("x1", 2)]));
}

#[test]
fn unknown_operators_and_broken_files_are_refused_by_name() {
    let default = ImportOptions::default();
    // SIN (66) becomes WHERE (109) in both places that tell the operator.
    let where_file: Vec<u8> = file("sin").into_iter().map(|byte| if byte == 66 { 109 } else { byte }).collect();
    let message = refusal(&where_file, &default);
    assert!(message.contains("operator WHERE is not supported") && message.contains("'y0'"), "{message}");
    let bytes = file("conv_0");
    assert!(refusal(&bytes[..bytes.len() / 2], &default).contains("is the file complete?"));
    assert!(refusal(b"\x08\0\0\0TFL3\0\0\0\0", &default).contains("TensorFlow Lite"));
    assert!(refusal(b"nothing", &default).contains("TFL3"));
    let small = ImportOptions { file_bytes_max: 100, ..default };
    assert!(refusal(&bytes, &small).contains("the limit is 100"));
}

#[test]
fn shapes_and_constants_are_checked_against_the_file() {
    let bytes = file("add");
    let with_shape = |name: &str, shape: &[usize]| ImportOptions {
        shapes: [(name.to_string(), shape.to_vec())].into(),
        ..ImportOptions::default()
    };
    assert!(refusal(&bytes, &with_shape("x", &[1])).contains("its inputs are: x0, x1"));
    assert!(refusal(&bytes, &with_shape("x1", &[1, 3])).contains("the file declares [2, 3]"));
    let constant =
        |tensor: Tensor| ImportOptions { constants: [("x1".to_string(), tensor)].into(), ..ImportOptions::default() };
    let ones = Tensor::from_f32([2, 3], vec![1.0; 6]).unwrap();
    let graph = import_tflite(&bytes, &constant(ones)).unwrap();
    assert_eq!(graph.inputs().len(), 1);
    let x = Tensor::zeros(DType::F32, [2, 3, 2, 3]).unwrap();
    let y = Model::load(graph).unwrap().run(&[x]).unwrap().remove(0);
    assert!(y.as_f32().unwrap().iter().all(|&v| v == 1.0));
    assert!(refusal(&bytes, &constant(Tensor::zeros(DType::I32, [2, 3]).unwrap())).contains("it is f32"));
    assert!(refusal(&bytes, &constant(Tensor::zeros(DType::F32, [3]).unwrap())).contains("[2, 3]"));
}

#[test]
fn images_are_not_turned_around_between_neighbours() {
    // One Transpose in, one out: what lies between stays in the frozen graph's layout.
    let graph = import_tflite(&file("conv_0"), &ImportOptions::default()).unwrap();
    assert_eq!(graph.operators().get("Transpose"), Some(&2));
    let graph = import_tflite(&file("hard_swish"), &ImportOptions::default()).unwrap();
    assert_eq!(graph.operators().get("Transpose"), None);
}

#[test]
fn operators_are_listed() {
    let names = supported_tflite_operators();
    for name in ["CONV_2D", "DENSIFY", "Convolution2DTransposeBias", "STRIDED_SLICE"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}
