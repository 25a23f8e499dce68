//! Where test data lies.

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
