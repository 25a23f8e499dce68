//! Where the vectors are.

use lattice_vectors::{Report, evm};
use std::path::{Path, PathBuf};

/// A folder of the vectors; `None`, said plainly, when it is absent and not required.
pub fn vectors(folder: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("LATTICE_VECTORS").map_or(beside, PathBuf::from).join(folder);
    if folder.exists() {
        return Some(folder);
    }
    let required =
        std::env::var("CI").is_ok_and(|ci| ci == "true") || std::env::var_os("LATTICE_VECTORS_REQUIRED").is_some();
    assert!(!required, "{} is absent and vectors are required: set LATTICE_VECTORS", folder.display());
    println!("SKIPPED: no vectors in {}: set LATTICE_VECTORS", folder.display());
    None
}

/// Something passed and nothing failed.
pub fn assert_good(report: &Report) {
    assert!(report.is_good(), "{} passed; failures:\n{}", report.passed(), report.failures().join("\n"));
}

/// Runs one file of `vectors evm`.
pub fn report_of(file: &serde_json::Value) -> Report {
    let folder = tempfile::tempdir().unwrap();
    // Neither folder nor file name says what is in it.
    std::fs::write(folder.path().join("x.json"), file.to_string()).unwrap();
    evm::run(folder.path())
}
