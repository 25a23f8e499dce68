//! Every room says at its door what it is for.

use crate::files::SourceFile;

/// Source files of crates that do not begin with module docs. Files of tests are exempt but for their own crate root.
pub fn findings(files: &[SourceFile]) -> Vec<String> {
    let sources = files.iter().filter(|file| file.is_rust() && file.is_within("src") && !file.is_within("generated"));
    let mute = sources.filter(|file| !file.path.ends_with("tests.rs") && !begins_with_docs(&file.text));
    mute.map(|file| file.about("begins without `//!` docs that say what it is for")).collect()
}

fn begins_with_docs(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !is_preamble(line));
    first.is_some_and(|line| line.starts_with("//!"))
}

/// Inner attributes, blank lines and a plain comment may come before the docs.
fn is_preamble(line: &str) -> bool {
    let is_comment = line.starts_with("//") && !line.starts_with("//!");
    line.is_empty() || line.starts_with("#![") || is_comment
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_in;

    #[test]
    fn a_source_file_begins_with_its_purpose() {
        let count = |text| findings_in(super::findings, "crates/lattice-chain/src/lib.rs", text).len();
        assert_eq!(count("//! The node's mind.\nfn f() {}"), 0);
        assert_eq!(count("#![forbid(unsafe_code)]\n\n//! The node's mind.\n"), 0);
        assert_eq!(count("fn f() {}\n//! Too late."), 1);
        assert_eq!(count("/// Of an item.\nfn f() {}"), 1);
        assert_eq!(count(""), 1);
    }
}
