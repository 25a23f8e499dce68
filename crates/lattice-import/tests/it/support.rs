//! Where test data lies, and numbers that are the same everywhere.

use lattice_inference::{DType, Data, Tensor};
use std::path::{Path, PathBuf};

/// A folder or file named by an environment variable. Without it the test says that it is skipped; under
/// `LATTICE_VECTORS_REQUIRED` absence fails.
pub fn from_env(variable: &str, what: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.exists(), "{variable} names {}, which does not exist", path.display());
            Some(path)
        }
        None => {
            assert!(std::env::var_os("LATTICE_VECTORS_REQUIRED").is_none(), "{variable} ({what}) is required here");
            println!("SKIPPED: {what} is not here; set {variable} to run this test");
            None
        }
    }
}

/// The repository's `models` folder.
pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

/// This crate's committed fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Pseudo-random numbers, the same on every machine; `special` mixes in NaN, infinities, signed zeros and subnormals.
pub fn numbers(dtype: DType, shape: &[usize], special: bool) -> Tensor {
    let mix = |i: usize| (i as u32 ^ 0x5bd1).wrapping_mul(0x9e37_79b9) >> 8;
    let float = |i: usize| match mix(i) % 41 {
        0 if special => f32::NAN,
        1 if special => f32::INFINITY,
        2 if special => f32::NEG_INFINITY,
        3 if special => -0.0,
        4 if special => 1e-41,
        5 if special => -f32::MIN_POSITIVE / 4.0,
        6 if special => f32::MAX,
        _ => mix(i) as f32 / 8_388_608.0 - 1.0,
    };
    let indices = 0..shape.iter().product();
    let data = match dtype {
        DType::F32 => Data::F32(indices.map(float).collect()),
        DType::F64 => Data::F64(indices.map(|i| f64::from(float(i))).collect()),
        DType::I32 => Data::I32(indices.map(|i| (mix(i) % 257) as i32).collect()),
        DType::I64 => Data::I64(indices.map(|i| i64::from(mix(i) % 2)).collect()),
        DType::U8 => Data::U8(indices.map(|i| mix(i) as u8).collect()),
        DType::I8 => Data::I8(indices.map(|i| mix(i) as i8).collect()),
        other => Data::zeros(other, indices.len()),
    };
    Tensor::new(shape, data).unwrap()
}

/// Every line must be one of a committed fixture; with LATTICE_BLESS set they become the fixture.
pub fn keeps(fixture: &str, lines: &[String]) {
    let path = fixtures().join(fixture);
    if std::env::var_os("LATTICE_BLESS").is_some() {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let kept: Vec<&str> = kept.lines().collect();
    let changed: Vec<&String> = lines.iter().filter(|line| !kept.contains(&line.as_str())).collect();
    println!("{fixture}: {} of {} lines compared", lines.len(), kept.len());
    assert!(changed.is_empty(), "{fixture} has other lines than these:\n{changed:#?}");
}
