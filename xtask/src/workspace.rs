//! The workspace as cargo describes it.

use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Folder of the workspace, and the tools to ask it.
pub struct Workspace {
    root: PathBuf,
}

/// What `cargo metadata` tells, as far as the checks need it.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    /// Absent with `--no-deps`.
    pub resolve: Option<Resolve>,
    pub target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    /// Registry or repository; `None` for a path in this workspace.
    pub source: Option<String>,
    pub dependencies: Vec<Dependency>,
}

/// A dependency as a manifest declares it.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    pub name: String,
    #[serde(default, deserialize_with = "kind_or_normal")]
    pub kind: Kind,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Normal,
    Build,
    Dev,
}

/// The dependency graph, features applied.
#[derive(Debug, Deserialize)]
pub struct Resolve {
    pub nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub struct Node {
    pub id: String,
    pub deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
pub struct Edge {
    pub pkg: String,
    pub dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
pub struct EdgeKind {
    #[serde(default, deserialize_with = "kind_or_normal")]
    pub kind: Kind,
}

/// Cargo writes `null` for a normal dependency.
fn kind_or_normal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    Ok(Option::<Kind>::deserialize(deserializer)?.unwrap_or_default())
}

impl Workspace {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A cargo command in the workspace's root.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// The workspace's own crates, without their dependencies: needs no network.
    pub fn members(&self) -> Result<Metadata, String> {
        self.metadata(&["--no-deps"])
    }

    /// Every crate that a build with every feature takes, on any platform.
    pub fn resolved(&self) -> Result<Metadata, String> {
        self.metadata(&["--all-features"])
    }

    /// Where cargo puts its output (`CARGO_TARGET_DIR` honoured).
    pub fn target_dir(&self) -> Result<PathBuf, String> {
        Ok(self.members()?.target_directory)
    }

    fn metadata(&self, arguments: &[&str]) -> Result<Metadata, String> {
        let mut command = self.cargo(&["metadata", "--format-version", "1", "--locked", "--quiet"]);
        let text = output_of(command.args(arguments))?;
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
    }
}

/// Standard output of a command that must succeed.
pub fn output_of(command: &mut Command) -> Result<String, String> {
    let shown = typed(command);
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{shown}: {error}"))
}

/// A command as one would type it.
pub fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
