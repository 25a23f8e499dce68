//! The files that git keeps, or would keep.

use crate::workspace::{Workspace, output_of};
use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
    process::Command,
};

/// A text file of the project.
pub struct SourceFile {
    /// Path from the workspace's root.
    pub path: PathBuf,
    pub text: String,
}

impl SourceFile {
    pub fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }

    /// Whether some folder on the file's path has this name.
    pub fn is_within(&self, folder: &str) -> bool {
        let folders = self.path.parent().into_iter().flat_map(Path::components);
        folders.into_iter().any(|component| component == Component::Normal(folder.as_ref()))
    }

    /// Name of the crate under crates/ that the file belongs to.
    pub fn crate_name(&self) -> Option<&str> {
        let mut components = self.path.components().map(|component| component.as_os_str().to_str());
        if components.next()? != Some("crates") {
            return None;
        }
        components.next()?
    }

    /// A finding at a line of this file, counted from 1.
    pub fn at(&self, line: usize, message: &str) -> String {
        format!("{}:{line}: {message}", self.path.display())
    }

    /// A finding about the file.
    pub fn about(&self, message: &str) -> String {
        format!("{}: {message}", self.path.display())
    }
}

/// Every path that git tracks or does not ignore.
pub fn paths(workspace: &Workspace) -> Result<Vec<PathBuf>, String> {
    let mut git = Command::new("git");
    git.current_dir(workspace.root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output_of(&mut git)?;
    let paths: BTreeSet<PathBuf> = listed.split_terminator('\0').map(PathBuf::from).collect();
    // A file that was just deleted is still listed until the deletion is staged.
    Ok(paths.into_iter().filter(|path| workspace.root().join(path).exists()).collect())
}

/// Every text file among them.
pub fn texts(workspace: &Workspace) -> Result<Vec<SourceFile>, String> {
    let mut files = Vec::new();
    for path in paths(workspace)? {
        let whole = workspace.root().join(&path);
        if !whole.is_file() {
            continue;
        }
        let bytes = std::fs::read(&whole).map_err(|error| format!("{}: {error}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            files.push(SourceFile { path, text });
        }
    }
    Ok(files)
}

/// Crates with at least one test marked `#[ignore]`, measurements (`*_times.rs`) apart: they assert nothing and are run by hand.
pub fn crates_with_ignored_tests(workspace: &Workspace) -> Result<Vec<String>, String> {
    let files = texts(workspace)?;
    let slow = files
        .iter()
        .filter(|file| file.is_rust() && !file.path.to_string_lossy().ends_with("_times.rs"))
        .filter(|file| file.text.lines().any(|line| line.trim_start().starts_with("#[ignore")));
    let crates: BTreeSet<&str> = slow.filter_map(SourceFile::crate_name).collect();
    Ok(crates.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> SourceFile {
        SourceFile { path: path.into(), text: String::new() }
    }

    #[test]
    fn a_file_knows_its_crate_and_folders() {
        let state = file("crates/lattice-state/src/trie/node.rs");
        assert_eq!(state.crate_name(), Some("lattice-state"));
        assert!(state.is_within("trie") && state.is_within("src") && state.is_rust());
        assert!(!state.is_within("node.rs"));
        assert_eq!(file("xtask/src/main.rs").crate_name(), None);
    }
}
