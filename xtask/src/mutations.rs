//! `cargo xtask mutations`: removes the rules of consensus one at a time and looks whether a test notices.
//!
//! The table is `crates/lattice-consensus/tests/mutations.toml`; a rule may stand in another crate, with its test. Each
//! mutation builds its one test program, without optimisation of the crate that it changes, and runs its one test: some
//! seconds each. Sources are changed in place and put back after each run, so they must be committed first: after a kill in
//! between, `git checkout` has the rule.

use crate::{tally::Tally, workspace::Workspace};
use serde::Deserialize;
use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

/// The crate whose rules are removed unless a rule names another one.
const CRATE: &str = "lattice-consensus";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutation: Vec<Mutation>,
}

/// A rule, how to remove it, and the test that must then fail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    rule: String,
    #[serde(rename = "crate")]
    krate: Option<String>,
    file: String,
    from: String,
    to: String,
    test: String,
}

impl Mutation {
    /// The source without the rule.
    fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.from).count() {
            1 => Ok(source.replacen(&self.from, &self.to, 1)),
            found => Err(format!("{} has {:?} {found} times, not once", self.file, self.from)),
        }
    }

    /// The crate that has the test, and the rule unless its file leads elsewhere.
    fn crate_name(&self) -> &str {
        self.krate.as_deref().unwrap_or(CRATE)
    }

    /// Whether the test fails without the rule; the reason when not.
    fn run(&self, crates: &Path) -> Result<(), String> {
        let folder = crates.join(self.crate_name());
        let path = folder.join(&self.file);
        let source = read(&path)?;
        let mutated = self.apply(&source)?;
        let write = |text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
        write(&mutated)?;
        // Unit tests stand in modules called `tests`; all others are in the one integration binary.
        let target: &[&str] = if self.test.contains("::tests::") { &["--lib"] } else { &["--test", "it"] };
        let output = Command::new("cargo")
            .args(["test", "--quiet", "--locked", "--config"])
            .arg(format!("profile.dev.package.{}.opt-level=0", self.crate_name()))
            .args(target)
            .args(["--", "--exact", &self.test])
            .current_dir(&folder)
            .output();
        write(&source)?;
        let output = output.map_err(|error| format!("cargo test: {error}"))?;
        caught(&String::from_utf8_lossy(&output.stdout))
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn table(crates: &Path) -> Result<Table, String> {
    let path = crates.join(CRATE).join("tests/mutations.toml");
    toml::from_str(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether the output of `cargo test` shows that the test ran and failed.
fn caught(output: &str) -> Result<(), String> {
    let tallies: Vec<Tally> = output.lines().filter_map(Tally::of_line).collect();
    let mut total = Tally::default();
    for tally in &tallies {
        total += *tally;
    }
    match (tallies.is_empty(), total.failed, total.passed) {
        (true, ..) => Err("it does not compile without the rule".into()),
        (false, 0, 0) => Err("there is no such test".into()),
        (false, 0, _) => Err("the test passes without the rule".into()),
        _ => Ok(()),
    }
}

/// `cargo xtask mutations [TEXT]`, for the rules whose names or crates hold the text: the last line is `N passed, N failed`, and
/// a rule whose removal nobody notices has failed.
pub fn command(workspace: &Workspace, text: &str) -> ExitCode {
    let crates = workspace.root().join("crates");
    let table = match table(&crates) {
        Ok(table) => table,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let is_chosen = |mutation: &&Mutation| mutation.rule.contains(text) || mutation.crate_name().contains(text);
    let chosen: Vec<_> = table.mutation.iter().filter(is_chosen).collect();
    let mut failed = 0;
    for mutation in &chosen {
        match mutation.run(&crates) {
            Ok(()) => println!("caught  {}  by {}", mutation.rule, mutation.test),
            Err(reason) => {
                failed += 1;
                println!("MISSED  {}  by {}: {reason}", mutation.rule, mutation.test);
            }
        }
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    if failed == 0 && !chosen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_removed_where_it_stands_once() {
        let mutation = Mutation {
            rule: "r".into(),
            krate: None,
            file: "f".into(),
            from: "if a {".into(),
            to: "if false {".into(),
            test: "t".into(),
        };
        assert_eq!(mutation.apply("x; if a { y }").unwrap(), "x; if false { y }");
        assert!(mutation.apply("x").unwrap_err().contains("0 times"));
        assert!(mutation.apply("if a { if a {").unwrap_err().contains("2 times"));
    }

    #[test]
    fn every_rule_stands_where_the_table_says_and_its_test_exists() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates");
        let table = table(&crates).unwrap();
        assert!(table.mutation.len() > 50);
        let page = read(&crates.join("../docs/mutations.md")).unwrap();
        for mutation in &table.mutation {
            let folder = crates.join(mutation.crate_name());
            let source = read(&folder.join(&mutation.file)).unwrap();
            let line = format!("| {} | ", mutation.rule);
            assert!(page.contains(&line), "docs/mutations.md does not list {}", mutation.rule);
            let mutated = mutation.apply(&source).unwrap_or_else(|error| panic!("{}: {error}", mutation.rule));
            assert_ne!(mutated, source, "{}", mutation.rule);
            let (place, name) = mutation.test.rsplit_once("::").unwrap();
            let place = place.replace("::", "/");
            let candidates = match place.strip_suffix("/tests") {
                Some(place) => ["", "/mod", "/tests"].map(|file| format!("src/{place}{file}.rs")),
                None => ["", "/mod", "/main"].map(|file| format!("tests/it/{place}{file}.rs")),
            };
            let has_test = |path: &String| {
                read(&folder.join(path)).is_ok_and(|text| {
                    text.contains(&format!("    fn {name}(")) || text.contains(&format!("\nfn {name}("))
                })
            };
            assert!(candidates.iter().any(has_test), "{}: there is no test {}", mutation.rule, mutation.test);
        }
    }

    #[test]
    fn only_a_failing_test_catches() {
        let line = |result: &str, passed: u32, failed: u32| {
            format!("test result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 9 filtered out\n")
        };
        assert_eq!(caught(&(line("ok", 0, 0) + &line("FAILED", 0, 1))), Ok(()));
        assert!(caught(&line("ok", 1, 0)).unwrap_err().contains("passes"));
        assert!(caught(&line("ok", 0, 0)).unwrap_err().contains("no such test"));
        assert!(caught("").unwrap_err().contains("compile"));
    }
}
