//! Cases of ONNX made here from the bundled model: right, wrong, refused, without names.

use crate::support::assert_good;
use lattice_import::{ImportOptions, import_onnx};
use lattice_inference::{Model, Tensor};
use lattice_vectors::{Report, onnx};
use std::{fs, path::Path};

const DIGITS: &[u8] = include_bytes!("../../../../models/digits.onnx");

/// A length-delimited protobuf field of fewer than 2^14 bytes.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 1 << 14);
    [&[number << 3 | 2, body.len() as u8 | 0x80, (body.len() >> 7) as u8], body].concat()
}

/// An f32 tensor as TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9.
fn proto(name: &str, tensor: &Tensor) -> Vec<u8> {
    let dims: Vec<u8> = tensor.shape().iter().flat_map(|&dim| [1 << 3, u8::try_from(dim).unwrap()]).collect();
    [dims, vec![2 << 3, 1], field(8, name.as_bytes()), field(9, &tensor.to_bytes())].concat()
}

struct Case {
    model: Vec<u8>,
    input_name: &'static str,
    /// What is stored as the first data set's output, from what the model computes.
    stored: fn(f32) -> f32,
}

fn report_of(cases: &[Case]) -> Report {
    let root = tempfile::tempdir().unwrap();
    for (position, case) in cases.iter().enumerate() {
        // Cases may lie at any depth.
        let folder = root.path().join("some/where").join(position.to_string());
        write_case(&folder, case);
    }
    onnx::run(root.path())
}

fn write_case(folder: &Path, case: &Case) {
    let model = Model::load(import_onnx(DIGITS, &ImportOptions::default()).unwrap()).unwrap();
    for set in 0..2u8 {
        let count = model.inputs()[0].shape.iter().product::<usize>();
        let pixels = (0..count).map(|i| f32::from((i as u8).wrapping_mul(set + 3)) / 255.0).collect();
        let input = Tensor::from_f32(model.inputs()[0].shape.clone(), pixels).unwrap();
        let folder = folder.join(format!("test_data_set_{set}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("input_0.pb"), proto(case.input_name, &input)).unwrap();
        for (position, output) in model.run(&[input]).unwrap().iter().enumerate() {
            let mut output = output.clone();
            if let (0, Some(values)) = (set, output.as_f32()) {
                output = Tensor::from_f32(output.shape(), values.iter().map(|&v| (case.stored)(v)).collect()).unwrap();
            }
            fs::write(folder.join(format!("output_{position}.pb")), proto("", &output)).unwrap();
        }
    }
    fs::write(folder.join("model.onnx"), &case.model).unwrap();
}

/// The bundled model with one operator's name overwritten by one that nobody knows.
fn unknown_operator() -> Vec<u8> {
    let at = DIGITS.windows(4).position(|name| name == b"Gemm" || name == b"Relu").unwrap();
    [&DIGITS[..at], b"Abcd", &DIGITS[at + 4..]].concat()
}

#[test]
fn cases_at_any_depth_with_and_without_names_pass() {
    let case = |input_name| Case { model: DIGITS.to_vec(), input_name, stored: |v| v };
    let report = report_of(&[case("image"), case(""), case("another")]);
    assert_good(&report);
    assert_eq!((report.passed(), report.skipped()), (3, 0));
}

#[test]
fn a_wrong_result_in_any_data_set_fails_the_case() {
    let report = report_of(&[Case { model: DIGITS.to_vec(), input_name: "image", stored: |v| v * 1.01 + 0.001 }]);
    let [failure] = report.failures() else { panic!("{:?}", report.failures()) };
    assert!(failure.contains("some/where/0") && failure.contains("got "), "{failure}");
}

#[test]
fn what_the_importer_refuses_is_skipped() {
    let case = |model| Case { model, input_name: "image", stored: |v| v };
    let report = report_of(&[case(unknown_operator()), case(DIGITS[..DIGITS.len() / 2].to_vec())]);
    assert_eq!((report.failures().len(), report.passed(), report.skipped()), (0, 0, 2));
    assert!(!report.is_good());
}

#[test]
fn an_empty_folder_is_not_good() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!onnx::run(folder.path()).is_good());
    assert!(!onnx::run(&folder.path().join("absent")).is_good());
}
