//! What a tracked file may look like. Each rule reads all text files and tells what breaks it.

mod docs;
mod links;
mod names;
mod places;
mod size;

use crate::{
    files::{self, SourceFile},
    purity,
    steps::Report,
    workspace::Workspace,
};

/// A rule: all text files in, what breaks it out, one sentence each.
type Rule = fn(&[SourceFile]) -> Vec<String>;

/// Runs every rule, one check each.
pub fn step(workspace: &Workspace, report: &mut Report) {
    let files = match files::texts(workspace) {
        Ok(files) => files,
        Err(error) => return report.check("tidy", || Err(error)),
    };
    let rules: &[(&str, Rule)] = &[
        ("tidy size", size::findings),
        ("tidy names", names::findings),
        ("tidy docs", docs::findings),
        ("tidy places", places::findings),
        ("tidy purity", purity::findings),
    ];
    for (name, rule) in rules {
        report.check(name, || Ok(rule(&files)));
    }
    report.check("tidy links", || Ok(links::findings(&files, workspace.root())));
}

/// Findings of a rule in one file, for the rules' tests.
#[cfg(test)]
fn findings_in(rule: Rule, path: &str, text: &str) -> Vec<String> {
    rule(&[SourceFile { path: path.into(), text: text.into() }])
}
