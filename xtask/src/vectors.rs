//! The conformance vectors: not part of the project, found through `LATTICE_VECTORS`.

use crate::{
    steps::{Findings, Report},
    workspace::Workspace,
};
use std::path::{Path, PathBuf};

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
