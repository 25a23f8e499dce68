//! Where the test vectors are, and reading them.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

/// The folder of the GHOSTDAG vectors: `$LATTICE_VECTORS/ghostdag`, by default beside the workspace. When it is absent
/// the caller says that it skipped; where vectors are required (CI) absence fails.
pub fn ghostdag() -> Option<PathBuf> {
    let root = env::var_os("LATTICE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let folder = root.join("ghostdag");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = env::var_os("LATTICE_VECTORS_REQUIRED").is_some() || env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!required, "test vectors are required, but {} is not there", folder.display());
    println!("SKIPPED: no test vectors at {} (set LATTICE_VECTORS)", folder.display());
    None
}

/// Lines of a gzipped file.
pub fn lines(path: &Path) -> impl Iterator<Item = String> + use<> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    BufReader::new(GzDecoder::new(file)).lines().map(Result::unwrap)
}

/// All text of a gzipped file.
pub fn text(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}
