//! The node that is measured: one that runs, or a development node of our own in a child process.

use super::super::process;
use crate::{client::Client, failure::Failure};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A node under measurement.
pub struct Target {
    client: Client,
    version: String,
    pid: Option<u32>,
    _own: Option<OwnNode>,
}

impl Target {
    /// The node at `url`, or a new development node.
    ///
    /// # Errors
    /// When no node answers, or none can be started.
    pub fn open(url: Option<&str>) -> Result<Self, Failure> {
        let own = url.is_none().then(OwnNode::start).transpose()?;
        let url = own.as_ref().map_or_else(|| url.unwrap_or_default(), |own| &own.url);
        let client = Client::new(url)?;
        let version = match client.call("web3_clientVersion", json!([])) {
            Ok(version) => version.as_str().unwrap_or("unknown").to_owned(),
            Err(error) if error.is_unknown_method() => "unknown".into(),
            Err(error) => return Err(error.into()),
        };
        let pid = process::host_and_port(client.url()).and_then(|(host, port)| process::listener(&host, port));
        Ok(Self { client, version, pid, _own: own })
    }

    /// A client of the node.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// What the node calls itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// CPU time that the node has used so far; `None` when its process is not known.
    pub fn cpu_time(&self) -> Option<Duration> {
        self.pid.and_then(process::cpu_time)
    }
}

/// `lattice dev` in a process of its own, so that its CPU time is its own; ended when dropped.
struct OwnNode {
    child: Child,
    url: String,
    // Removed after the child has ended.
    _datadir: tempfile::TempDir,
}

impl OwnNode {
    fn start() -> Result<Self, Failure> {
        let failed = |what: String| Failure::new(what).next("start a node yourself and name it with --url");
        let datadir = crate::cli::dev::temporary_dir()?;
        let binary = std::env::current_exe().map_err(|error| failed(format!("cannot find this program: {error}")))?;
        let mut command = Command::new(binary);
        command.args(["dev", "--json", "--port", "0", "--datadir"]).arg(datadir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| failed(format!("cannot start a development node: {error}")))?;
        let mut banner = String::new();
        let read = BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut banner);
        let facts: Option<Value> = read.ok().and_then(|_| serde_json::from_str(&banner).ok());
        let url = facts.as_ref().and_then(|facts| facts["rpc_url"].as_str()).map(str::to_owned);
        let own = Self { child, url: url.unwrap_or_default(), _datadir: datadir };
        if own.url.is_empty() {
            return Err(failed("the development node ended before it was ready".into()));
        }
        Ok(own)
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
