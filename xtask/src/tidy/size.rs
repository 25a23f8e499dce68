//! A file that nobody can read in one sitting is two files.

use crate::files::SourceFile;

const LINES_MAX: usize = 1_000;

/// Rust files above the limit. What a program wrote lies in a folder named `generated` and may be longer.
pub fn findings(files: &[SourceFile]) -> Vec<String> {
    let ours = files.iter().filter(|file| file.is_rust() && !file.is_within("generated"));
    let long = ours.filter(|file| file.text.lines().count() > LINES_MAX);
    long.map(|file| file.about(&format!("{} lines, of {LINES_MAX} at most", file.text.lines().count()))).collect()
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_in;

    #[test]
    fn a_long_file_is_found_unless_it_is_generated() {
        let count = |path, lines| findings_in(super::findings, path, &"\n".repeat(lines)).len();
        assert_eq!(count("crates/lattice/src/main.rs", 1_000), 0);
        assert_eq!(count("crates/lattice/src/main.rs", 1_001), 1);
        assert_eq!(count("crates/lattice-inference/src/generated/onnx.rs", 1_001), 0);
        assert_eq!(count("Cargo.lock", 1_001), 0);
    }
}
