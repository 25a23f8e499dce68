//! A node of the real binary on a free port of this machine, for as long as a client suite needs it.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// `lattice dev` must answer within this time.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A running `lattice dev` with an empty data directory. Killed when dropped; `stop` ends it as an operator would.
pub struct DevNode {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl DevNode {
    /// Starts the node and waits until it answers. `folder` receives the data directory and the log.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("starting {}: {error}", binary.display());
        let port = free_port().map_err(fault)?;
        let datadir = folder.join(format!("data-{port}"));
        let log = folder.join(format!("node-{port}.log"));
        std::fs::create_dir_all(folder).map_err(fault)?;
        let output = File::create(&log).map_err(fault)?;
        let mut command = Command::new(binary);
        command.args(["dev", "--port", &port.to_string(), "--datadir"]).arg(&datadir);
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(fault)?).stderr(output);
        let mut node = Self { child: command.spawn().map_err(fault)?, port, log };
        let started = Instant::now();
        while !node.answers() {
            if let Some(status) = node.child.try_wait().map_err(fault)? {
                return Err(format!("the node ended at once: {status}\n{}", node.log_end()));
            }
            if started.elapsed() > READY_TIMEOUT {
                return Err(format!("the node does not answer after {READY_TIMEOUT:?}\n{}", node.log_end()));
            }
            std::thread::sleep(POLL);
        }
        println!(
            "node ready on port {port} after {:.2} s, process {}",
            started.elapsed().as_secs_f64(),
            node.child.id()
        );
        Ok(node)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends SIGTERM and expects a clean end.
    pub fn stop(mut self) -> Result<(), String> {
        let fault = |error: std::io::Error| format!("stopping the node: {error}");
        if let Some(status) = self.child.try_wait().map_err(fault)? {
            return Err(format!("the node died: {status}\n{}", self.log_end()));
        }
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().map_err(fault)?;
        let started = Instant::now();
        while started.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait().map_err(fault)? {
                let unclean = || format!("SIGTERM ended the node with {status}\n{}", self.log_end());
                return if status.success() { Ok(()) } else { Err(unclean()) };
            }
            std::thread::sleep(POLL);
        }
        Err(format!("the node runs {STOP_TIMEOUT:?} after SIGTERM\n{}", self.log_end()))
    }

    /// Whether the node answers `eth_chainId` with the dev chain's id.
    fn answers(&self) -> bool {
        ask_chain_id(self.port).is_ok_and(|answer| answer.contains("\"0x7a69\""))
    }

    fn log_end(&self) -> String {
        const LINES: usize = 30;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for DevNode {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// One JSON-RPC request by hand, so that this program needs no HTTP client.
fn ask_chain_id(port: u16) -> std::io::Result<String> {
    const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
