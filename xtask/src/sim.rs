//! `cargo xtask sim`: seeds of the simulator, as many as asked for, and the sweep of the long run.

use crate::{steps::Report, workspace::Workspace};
use std::process::ExitCode;

/// What the sweep of `cargo xtask ci --long` runs: every scenario on few nodes, seed after seed, for as long as it has.
const SWEEP: &[&str] =
    &["--seeds", "1000", "--nodes", "5", "--minutes", "0.75", "--delay-ms", "500", "--budget-s", "270"];

const RUN: &[&str] = &["run", "--release", "--locked", "--quiet", "--package", "lattice-sim", "--"];

/// Starts the simulator with these options; `--seeds N` is what it is mostly given.
pub fn command(workspace: &Workspace, options: &[&str]) -> ExitCode {
    let status = workspace.cargo(&[RUN, options].concat()).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The sweep, one step.
pub fn step(workspace: &Workspace, report: &mut Report) {
    report.command("sim", workspace.cargo(&[RUN, SWEEP].concat()));
}
