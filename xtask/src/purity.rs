//! Pure crates call nothing from outside: no disk, clock, network, environment or chance.
//!
//! Two nets. Clippy resolves names and follows each pure crate's clippy.toml, on library code only: tests may read
//! vectors. The text search catches whole modules of std, which clippy's lists would have to name item by item.

use crate::{files::SourceFile, floors::HOUSE, steps::Report, workspace::Workspace};

/// The lints that each pure crate's clippy.toml fills.
pub const LINTS: &[&str] = &["clippy::disallowed_methods", "clippy::disallowed_types"];

/// What pure code may not name.
const OUTSIDE: &[&str] = &["std::fs", "std::time", "std::net", "std::env", "std::process", "thread_rng"];

/// The crate of the disk engines, and what only it may name: files, and the process that holds their lock.
const DISK: &str = "lattice-storage";
const DISK_MAY_NAME: &[&str] = &["std::fs", "std::process"];

/// Runs clippy on the libraries of the pure crates with the lints on.
pub fn step(workspace: &Workspace, report: &mut Report) {
    let members = match workspace.members() {
        Ok(members) => members,
        Err(error) => return report.check("purity", || Err(error)),
    };
    let mut arguments = vec!["clippy", "--lib", "--locked"];
    for room in HOUSE.iter().filter(|room| room.is_pure()) {
        if members.packages.iter().any(|package| package.name == room.name) {
            arguments.extend(["--package", room.name]);
        }
    }
    arguments.extend(["--", "-D", "warnings"]);
    arguments.extend(LINTS.iter().flat_map(|lint| ["-D", lint]));
    report.command("purity", workspace.cargo(&arguments));
}

/// Names of what is forbidden, in the code of a pure crate; and pure crates whose clippy.toml is missing.
pub fn findings(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for room in HOUSE.iter().filter(|room| room.is_pure()) {
        let of_room = || files.iter().filter(|file| file.crate_name() == Some(room.name));
        if of_room().next().is_some() && !of_room().any(|file| file.path.ends_with("clippy.toml")) {
            findings.push(format!("crates/{}: a pure crate needs a clippy.toml; copy lattice-types'", room.name));
        }
        findings.extend(of_room().flat_map(names_of_outside));
    }
    findings
}

fn names_of_outside(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() || !file.is_within("src") || is_test_module(file) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in code_lines(&file.text) {
        for name in OUTSIDE {
            let is_disk = file.crate_name() == Some(DISK) && DISK_MAY_NAME.contains(name);
            if line.contains(name) && !is_disk {
                findings.push(file.at(number, &format!("a pure crate names {name}; let it come as an input")));
            }
        }
    }
    findings
}

fn is_test_module(file: &SourceFile) -> bool {
    file.path.file_stem().is_some_and(|stem| stem == "tests") || file.is_within("tests")
}

/// Numbered lines of code before the file's test module, comments left out.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.lines().enumerate().peekable();
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let ends = line == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| next.starts_with("mod "));
        (!ends).then(|| (number + 1, line.split("//").next().unwrap_or_default()))
    })
    .fuse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        let file = SourceFile { path: path.into(), text: text.into() };
        let config = format!("crates/{}/clippy.toml", file.crate_name().unwrap());
        let config = SourceFile { path: config.into(), text: String::new() };
        findings(&[file, config]).len()
    }

    #[test]
    fn pure_code_may_not_reach_outside() {
        let path = "crates/lattice-state/src/lib.rs";
        assert_eq!(count(path, "use std::time::Instant;"), 1);
        assert_eq!(count(path, "let now = std::time::Instant::now(); std::fs::read(path)"), 2);
        assert_eq!(count(path, "use std::collections::BTreeMap;"), 0);
        assert_eq!(count(path, "// std::time is the caller's"), 0);
    }

    #[test]
    fn tests_examples_and_the_upper_floors_may() {
        let text = "std::fs::read(path)";
        assert_eq!(count("crates/lattice-storage/src/engine/fjall.rs", text), 0);
        assert_eq!(count("crates/lattice-state/tests/it/main.rs", text), 0);
        assert_eq!(count("crates/lattice-state/examples/size.rs", text), 0);
        assert_eq!(count("crates/lattice-state/src/trie/tests.rs", text), 0);
        assert_eq!(count("crates/lattice-rpc/src/lib.rs", text), 0);
        let module = format!("fn pure() {{}}\n#[cfg(test)]\nmod tests {{\n{text}\n}}");
        assert_eq!(count("crates/lattice-state/src/lib.rs", &module), 0);
    }

    #[test]
    fn a_pure_crate_without_its_clippy_file_is_reported() {
        let file = SourceFile { path: "crates/lattice-chain/src/lib.rs".into(), text: String::new() };
        assert_eq!(findings(&[file]).len(), 1);
    }
}
