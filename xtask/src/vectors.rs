//! The conformance vectors: not part of the project, found through `LATTICE_VECTORS`.

use crate::{
    steps::{Findings, Report},
    workspace::Workspace,
};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Suites of `lattice-vectors`, each with its folder below `LATTICE_VECTORS`.
const SUITES: &[(&str, &str)] = &[("evm", "evm"), ("rpc", "evm/rpc")];

/// The families of vectors that tests read, each a folder that must hold files.
const FAMILIES: &[&str] = &[
    "evm/GeneralStateTests",
    "evm/RLPTests",
    "evm/TransactionTests",
    "evm/TrieTests",
    "evm/rpc",
    "ghostdag/kaspa-dags",
    "ghostdag/kaspa-goref",
    "ghostdag/kaspa-reachability",
    "ghostdag/labelled-10k",
];

/// Tells where the vectors are and how many files each family has; none is a failure.
pub fn step(workspace: &Workspace, report: &mut Report) {
    report.check("vectors", || families(&folder(workspace)));
}

/// `cargo xtask vectors SUITE [--dir DIR]`: hands over to the suite, whose last line and exit code are ours. `None`
/// when it is not to be understood.
pub fn command(workspace: &Workspace, arguments: &[&str]) -> Option<ExitCode> {
    let (suite, dir) = match arguments {
        [suite] => (suite, None),
        [suite, "--dir", dir] | ["--dir", dir, suite] => (suite, Some(PathBuf::from(dir))),
        _ => return None,
    };
    let (_, default) = SUITES.iter().find(|(name, _)| name == suite)?;
    // The suite runs in the workspace's root; a relative folder is the caller's.
    let dir = dir.map_or_else(|| folder(workspace).join(default), |dir| std::path::absolute(&dir).unwrap_or(dir));
    Some(match suite_command(workspace, suite, &dir).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo run: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Every suite, as steps of a report.
pub fn suites(workspace: &Workspace, report: &mut Report) {
    for (suite, default) in SUITES {
        report.command(&format!("vectors {suite}"), suite_command(workspace, suite, &folder(workspace).join(default)));
    }
}

/// The dev profile: it optimises the EVM, the tries and the curves by name (Cargo.toml), shares its build with the tests
/// and runs all state tests in about 80 s of CPU; a release build of the same crates alone takes longer than that.
fn suite_command(workspace: &Workspace, suite: &str, dir: &Path) -> Command {
    let mut command =
        workspace.cargo(&["run", "--quiet", "--locked", "--package", "lattice-vectors", "--", suite, "--dir"]);
    command.arg(dir);
    command
}

fn folder(workspace: &Workspace) -> PathBuf {
    std::env::var_os("LATTICE_VECTORS").map_or_else(|| workspace.root().join("../shared/vectors"), PathBuf::from)
}

fn families(folder: &Path) -> Findings {
    if !folder.is_dir() {
        let shown = folder.display();
        return Err(format!(
            "no conformance vectors at {shown}; set LATTICE_VECTORS to the folder that has evm/ and ghostdag/"
        ));
    }
    println!("conformance vectors: {}", folder.display());
    let mut findings = Vec::new();
    for family in FAMILIES {
        match files_below(&folder.join(family)) {
            Ok(0) => findings.push(format!("{family}: no files")),
            Ok(count) => println!("{family:<30} {count:>6} files"),
            Err(error) => findings.push(format!("{family}: {error}")),
        }
    }
    Ok(findings)
}

fn files_below(folder: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        count += if path.is_dir() { files_below(&path)? } else { 1 };
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_empty_folders_are_reported() {
        assert!(families(Path::new("no/such/folder")).is_err());
        let empty = families(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_eq!(empty.len(), FAMILIES.len());
    }
}
