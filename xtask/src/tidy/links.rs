//! A link in the documents leads somewhere.

use crate::files::SourceFile;
use std::path::Path;

/// Relative links in Markdown files whose target does not exist.
pub fn findings(files: &[SourceFile], root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        let folder = root.join(file.path.parent().unwrap_or(Path::new("")));
        for (number, line) in prose(&file.text) {
            for target in targets(line) {
                let path = target.split('#').next().unwrap_or_default();
                if !path.is_empty() && !path.contains(':') && !folder.join(path).exists() {
                    findings.push(file.at(number, &format!("the link to {target} leads nowhere")));
                }
            }
        }
    }
    findings
}

/// Numbered lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((number + 1, line))
    })
}

/// Targets of `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found_in_prose_only() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let count = |text: &str| findings(&[SourceFile { path: "A.md".into(), text: text.into() }], root).len();
        assert_eq!(count("[the checks](src/main.rs) and [a part](src/main.rs#x) and [below](#x)"), 0);
        assert_eq!(count("[gone](src/gone.rs), [also gone](gone.md \"title\")"), 2);
        assert_eq!(count("[elsewhere](https://example.org/gone.md)"), 0);
        assert_eq!(count("```\nf[i](x)\n```"), 0);
    }
}
