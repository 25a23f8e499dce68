//! A link in the documents leads somewhere: to a file, and where it names a heading, to one that is there.

use crate::files::SourceFile;
use std::path::Path;

/// Relative links in Markdown files whose target does not exist.
pub fn findings(files: &[SourceFile], root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        let folder = root.join(file.path.parent().unwrap_or(Path::new("")));
        for (number, line) in prose(&file.text) {
            for target in targets(line).filter(|target| !target.contains(':')) {
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                if !folder.join(path).exists() {
                    findings.push(file.at(number, &format!("the link to {target} leads nowhere")));
                } else if !heading.is_empty() && !has_heading(&folder.join(path), path, &file.text, heading) {
                    findings.push(file.at(number, &format!("the link to {target} names no heading")));
                }
            }
        }
    }
    findings
}

/// Whether a document has the heading that a link names; other files have places of their own kind.
fn has_heading(target: &Path, path: &str, own_text: &str, heading: &str) -> bool {
    let has = |text: &str| prose(text).any(|(_, line)| line.starts_with('#') && slug(line) == heading);
    match path {
        "" => has(own_text),
        _ if path.ends_with(".md") => std::fs::read_to_string(target).is_ok_and(|text| has(&text)),
        _ => true,
    }
}

/// The name by which a heading is linked to: lower case, hyphens for spaces, without other punctuation.
fn slug(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
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
        assert_eq!(
            count("[the checks](src/main.rs) and [a part](src/main.rs#x) and [below](#an-x-of-it)\n## An X, of it"),
            0
        );
        assert_eq!(count("[below](#x)\n```\n# x\n```"), 1);
        assert_eq!(count("[other](../README.md#no-such-heading)"), 1);
        assert_eq!(count("[gone](src/gone.rs), [also gone](gone.md \"title\")"), 2);
        assert_eq!(count("[elsewhere](https://example.org/gone.md)"), 0);
        assert_eq!(count("```\nf[i](x)\n```"), 0);
    }
}
