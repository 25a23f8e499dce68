//! Real clients and oracles against a release build of the node: what `tests/clients/` holds.

use crate::{node::DevNode, steps::Report, workspace::Workspace};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Names a binary that is already built; the client scripts find theirs in it too.
const BINARY_VARIABLE: &str = "LATTICE_BIN";

/// kill -9 at random moments under load, with a node of this binary on an engine.
pub fn crash_on_engine(workspace: &Workspace, report: &mut Report, binary: PathBuf, engine: &str, rounds: u32) {
    let step = format!("crash {engine}");
    match Bench::new(workspace) {
        Ok(bench) => {
            let arguments = [&format!("--db={engine}") as &str, &format!("--rounds={rounds}")];
            report.command(&step, Bench { binary, ..bench }.javascript("crash.mjs", &arguments));
        }
        Err(error) => report.check(&step, || Err(error)),
    }
}

/// Where the client tools and the node's binary are.
struct Bench {
    scripts: PathBuf,
    /// Folder with `node_modules` and `venv`, filled by `tests/clients/provision.sh`.
    tools: PathBuf,
    binary: PathBuf,
}

/// Builds the node in release mode and runs every client suite against it.
pub fn step(workspace: &Workspace, report: &mut Report) {
    let bench = match Bench::new(workspace) {
        Ok(bench) => bench,
        Err(error) => return report.check("clients", || Err(error)),
    };
    report.command("artifacts", bench.artifacts(workspace));
    if std::env::var_os(BINARY_VARIABLE).is_none() {
        report.command("build", workspace.cargo(&["build", "--release", "--locked", "--package", "lattice"]));
    }
    match DevNode::start(&bench.binary, &bench.tools.join("run")) {
        Ok(node) => {
            let url = node.url();
            report.command("viem", bench.javascript("viem_smoke.mjs", &[&format!("--url={url}")]));
            report.command("contracts", bench.javascript("contracts.mjs", &[&format!("--url={url}")]));
            report.command("cast", bench.shell("cast_smoke.sh", &[&url]));
            report.command("magika", bench.python("magika_onchain.py", &["--url", &url]));
            report.check("sigterm", || node.stop().map(|()| Vec::new()));
        }
        Err(error) => report.check("node", || Err(error)),
    }
    report.command("cli", bench.python("cli_smoke.py", &[]));
    report.command("crash", bench.javascript("crash.mjs", &[]));
}

impl Bench {
    fn new(workspace: &Workspace) -> Result<Self, String> {
        let target = workspace.target_dir()?;
        let tools = std::env::var_os("LATTICE_CLIENT_TOOLS").map_or_else(|| target.join("ci"), PathBuf::from);
        let scripts = workspace.root().join("tests/clients");
        for part in ["node_modules/viem", "node_modules/solc", "venv/bin/python"] {
            if !tools.join(part).exists() {
                let (script, shown) = (scripts.join("provision.sh"), tools.display());
                return Err(format!("no {part} in {shown}; run `{} {shown}` first", script.display()));
            }
        }
        let built = target.join("release").join(format!("lattice{}", std::env::consts::EXE_SUFFIX));
        let binary = std::env::var_os(BINARY_VARIABLE).map_or(built, PathBuf::from);
        Ok(Self { scripts, tools, binary })
    }

    /// Checks that the committed contract artifacts are what their sources compile to.
    fn artifacts(&self, workspace: &Workspace) -> Command {
        let mut command = Command::new("node");
        command.arg(workspace.root().join("contracts/build.mjs")).arg("--check").env("SOLC_DIR", &self.tools);
        command
    }

    fn javascript(&self, script: &str, arguments: &[&str]) -> Command {
        self.client(Path::new("node"), script, arguments)
    }

    fn python(&self, script: &str, arguments: &[&str]) -> Command {
        self.client(&self.tools.join("venv/bin/python"), script, arguments)
    }

    fn shell(&self, script: &str, arguments: &[&str]) -> Command {
        self.client(Path::new("bash"), script, arguments)
    }

    /// A client finds its tools and the node's binary in its environment.
    fn client(&self, program: &Path, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg(self.scripts.join(script)).args(arguments);
        command.env("LATTICE_CLIENT_TOOLS", &self.tools).env(BINARY_VARIABLE, &self.binary);
        command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}
