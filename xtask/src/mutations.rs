//! `cargo xtask mutations`: removes the rules of consensus one at a time and looks whether a test notices.
//!
//! The table is `crates/lattice-consensus/tests/mutations.toml`; a rule may stand in another crate, with its test. Sources are changed in place and put back after each
//! run, so they must be committed first: after a kill in between, `git checkout` has the rule.

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

    /// Whether the test fails without the rule; the reason when not.
    fn run(&self, crates: &Path) -> Result<(), String> {
        let folder = crates.join(self.krate.as_deref().unwrap_or(CRATE));
        let path = folder.join(&self.file);
        let source = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mutated = self.apply(&source)?;
        let write = |text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
        write(&mutated)?;
        // Unit tests stand in modules called `tests`; all others are in the one integration binary.
        let target: &[&str] = if self.test.contains("::tests::") { &["--lib"] } else { &["--test", "it"] };
        let output = Command::new("cargo")
            .args(["test", "--quiet", "--locked"])
            .args(target)
            .args(["--", "--exact", &self.test])
            .current_dir(&folder)
            .output();
        write(&source)?;
        let output = output.map_err(|error| format!("cargo test: {error}"))?;
        caught(&String::from_utf8_lossy(&output.stdout))
    }
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

/// `cargo xtask mutations [TEXT]`, for the rules whose names hold the text: the last line is `N passed, N failed`, and a rule whose
/// removal nobody notices has failed.
pub fn command(workspace: &Workspace, text: &str) -> ExitCode {
    let crates = workspace.root().join("crates");
    let table = crates.join(CRATE).join("tests/mutations.toml");
    let parsed = fs::read_to_string(&table)
        .map_err(|error| error.to_string())
        .and_then(|text| toml::from_str::<Table>(&text).map_err(|error| error.to_string()));
    let table = match parsed {
        Ok(table) => table,
        Err(error) => {
            eprintln!("{}: {error}", table.display());
            return ExitCode::FAILURE;
        }
    };
    let chosen: Vec<_> = table.mutation.iter().filter(|mutation| mutation.rule.contains(text)).collect();
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
