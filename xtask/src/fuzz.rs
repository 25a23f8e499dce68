//! The fuzz targets of `fuzz/`, a package outside the workspace: replayed on stable Rust, or searched by cargo-fuzz.

use crate::{steps::Report, workspace::Workspace};
use std::process::{Command, ExitCode};

/// Seconds of a search when none are given.
const SECONDS: &str = "60";

/// Replays every seed and fixed mutations of it, in the build of the tests.
pub fn replay(workspace: &Workspace, report: &mut Report) {
    let mut command = workspace.cargo(&["test", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        command.env("CARGO_TARGET_DIR", workspace.root().join("target"));
    }
    report.command("fuzz replay", command);
}

/// `cargo xtask fuzz TARGET [--seconds N]`: a search by cargo-fuzz. `None` when it is not to be understood.
pub fn command(workspace: &Workspace, arguments: &[&str]) -> Option<ExitCode> {
    let (target, seconds) = match arguments {
        [target] => (*target, SECONDS),
        [target, "--seconds", seconds] => (*target, *seconds),
        _ => return None,
    };
    if !workspace.root().join("fuzz/fuzz_targets").join(format!("{target}.rs")).is_file() {
        eprintln!("there is no fuzz target {target}: see fuzz/fuzz_targets/");
        return Some(ExitCode::from(2));
    }
    let seconds: u64 = seconds.parse().ok()?;
    if let Err(error) = std::fs::create_dir_all(workspace.root().join("fuzz/corpus").join(target)) {
        eprintln!("fuzz/corpus/{target}: {error}");
        return Some(ExitCode::FAILURE);
    }
    Some(match search(workspace, target, seconds).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!(
                "cargo-fuzz failed; if it is missing: cargo install cargo-fuzz --locked (it needs a C++ compiler)"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cargo fuzz: {error}");
            ExitCode::FAILURE
        }
    })
}

fn search(workspace: &Workspace, target: &str, seconds: u64) -> Command {
    let corpus = format!("fuzz/corpus/{target}");
    let seeds = format!("fuzz/seeds/{target}");
    let time = format!("-max_total_time={seconds}");
    let mut command =
        workspace.cargo(&["fuzz", "run", "--features", "libfuzzer", target, &corpus, &seeds, "--", &time]);
    // The sanitizers' flags are unstable; this toolchain understands them when it is told that we know.
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}
