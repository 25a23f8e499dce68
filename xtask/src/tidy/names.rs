//! Names that say nothing. A thing is called what it is in its field, and what it is for.

use crate::files::SourceFile;

/// Words that may be part of no file, module or type name.
const EMPTY_WORDS: &[&str] = &["common", "enhanced", "helper", "helpers", "manager", "unified", "util", "utils", "v2"];

/// Keywords after which a name is declared.
const DECLARATIONS: &[&str] =
    &["mod", "struct", "enum", "trait", "type", "union", "contract", "library", "interface", "class"];

/// Files, modules and types whose names hold an empty word.
pub fn findings(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(word) = empty_word_in(&stem) {
            findings.push(file.about(&format!("a file named `{word}` tells nobody what is inside")));
        }
        if !["rs", "sol", "py", "mjs", "ts"].iter().any(|extension| file.has_extension(extension)) {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            if let Some(name) = declared_name(line)
                && let Some(word) = empty_word_in(name)
            {
                findings.push(file.at(number + 1, &format!("`{name}`: `{word}` says nothing; name what it is")));
            }
        }
    }
    findings
}

/// The module or type that a line declares, if any.
fn declared_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| is_modifier(word));
    let keyword = words.next()?;
    if !DECLARATIONS.contains(&keyword) {
        return None;
    }
    let name = words.next()?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end])
}

fn is_modifier(word: &str) -> bool {
    word.starts_with("pub") || ["unsafe", "abstract", "export", "default"].contains(&word)
}

/// The first empty word among those that a name is made of, in snake_case, kebab-case or CamelCase.
fn empty_word_in(name: &str) -> Option<&'static str> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        let is_break = !letter.is_alphanumeric() || (letter.is_uppercase() && was_lower);
        if is_break {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.last_mut().expect("there is always a last word").extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase() || letter.is_numeric();
    }
    EMPTY_WORDS.iter().find(|empty| words.iter().any(|word| word == *empty)).copied()
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_in;

    fn count(path: &str, text: &str) -> usize {
        findings_in(super::findings, path, text).len()
    }

    #[test]
    fn empty_words_are_found_in_files_modules_and_types() {
        assert_eq!(count("crates/lattice/src/utils.rs", ""), 1);
        assert_eq!(count("crates/lattice/tests/it/test_helpers.rs", ""), 1);
        assert_eq!(count("src/lib.rs", "pub(crate) mod common;"), 1);
        assert_eq!(count("src/lib.rs", "pub struct PeerManager<T> {"), 1);
        assert_eq!(count("src/lib.rs", "    enum HeaderV2 {"), 1);
        assert_eq!(count("src/A.sol", "contract UnifiedToken {"), 1);
    }

    #[test]
    fn whole_words_only_and_declarations_only() {
        assert_eq!(count("crates/lattice/src/commonality.rs", ""), 0);
        assert_eq!(count("src/lib.rs", "struct Commons; struct Utility; let manager = 1; // mod common"), 0);
        assert_eq!(count("src/lib.rs", "use other::common::Thing;"), 0);
    }
}
