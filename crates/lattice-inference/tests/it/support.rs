//! Where test data lies, and how close two tensors are.

use lattice_inference::Tensor;
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

/// Why two tensors differ, if they do: |got - want| must stay within `absolute + relative * |want|`.
pub fn difference(got: &Tensor, want: &Tensor, absolute: f64, relative: f64) -> Option<String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Some(format!("got {}{:?}, want {}{:?}", got.dtype(), got.shape(), want.dtype(), want.shape()));
    }
    let pairs = got.to_f64s().into_iter().zip(want.to_f64s());
    let apart =
        |g: f64, w: f64| !(g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= absolute + relative * w.abs());
    pairs.enumerate().find(|(_, (g, w))| apart(*g, *w)).map(|(i, (g, w))| format!("element {i}: got {g}, want {w}"))
}
