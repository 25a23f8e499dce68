//! Running the binary, and a node of it.

use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// The variables that change what the binary does; tests start without them.
const VARIABLES: [&str; 5] =
    ["LATTICE_RPC_URL", "ETH_RPC_URL", "LATTICE_PRIVATE_KEY", "ETH_PRIVATE_KEY", "LATTICE_LOG"];

pub fn lattice() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice"));
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// What a finished command left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// All of stdout as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {self:?}"))
    }

    /// Asserts success and gives the JSON.
    pub fn ok(self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.json()
    }

    /// Asserts the exit code, and that stderr names every one of these.
    pub fn fails(&self, code: i32, names: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for name in names {
            assert!(self.stderr.contains(name), "{name:?} is not in {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

pub fn run<S: AsRef<OsStr>>(args: &[S]) -> Ran {
    finish(lattice().args(args).output().unwrap())
}

/// Runs with these bytes on stdin.
pub fn run_with_stdin(args: &[&str], stdin: &[u8]) -> Ran {
    let mut child =
        lattice().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments may end before it reads.
    let _gone = child.stdin.take().unwrap().write_all(stdin);
    finish(child.wait_with_output().unwrap())
}

fn finish(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("the command was not killed"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The committed digits classifier.
pub fn digits_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/digits.onnx")
}

/// Writes a file into a directory and gives its path as text.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A running `lattice dev`; killed when dropped.
pub struct Node {
    child: Child,
    pub url: String,
}

impl Node {
    /// Starts on a free port and waits for the banner.
    pub fn start(datadir: &Path) -> Self {
        Self::start_with(datadir, &[])
    }

    /// As [`Node::start`], with further arguments.
    pub fn start_with(datadir: &Path, args: &[&str]) -> Self {
        let mut command = lattice();
        command.args(["dev", "--json", "--port", "0", "--datadir"]).arg(datadir).args(args).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let banner: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("banner {line:?}: {error}"));
        Self { child, url: banner["rpc_url"].as_str().unwrap().to_owned() }
    }

    /// Runs a command against this node, with `--json`.
    pub fn run(&self, args: &[&str]) -> Ran {
        run(&[args, &["--json", "--rpc-url", &self.url]].concat())
    }

    /// Kills the process as by kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and gives the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The port of a URL.
pub fn port_of(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}
