//! `cargo xtask`: the project's checks, in one program that needs nothing but cargo.
//!
//! Rules that no compiler holds live here as code: which crate may import which (`floors`), what a tracked file may
//! look like (`tidy`), which licences may enter (`deny`). Each has unit tests that break it on purpose.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clients;
mod deny;
mod files;
mod floors;
mod fuzz;
mod mutations;
mod node;
mod purity;
mod qemu;
mod rocksdb;
mod sim;
mod spdx;
mod steps;
mod tally;
mod tidy;
mod vectors;
mod workspace;

use std::{path::Path, process::ExitCode};
use steps::Report;
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci [--long]     every check below, then the tests; --long adds the slow tests, other CPUs, real clients and RocksDB
  fmt             rustfmt, check only
  tidy            sizes, names, module docs, links, paths of the tracked files
  floors          which crate may import which
  deny            licences, banned crates and sources of every dependency
  clippy          clippy with the lint set, and the pure crates' forbidden calls
  docs            rustdoc without warnings
  test            cargo test --workspace --locked
  long            the tests marked #[ignore], in release mode
  fuzz TARGET [--seconds N]   cargo-fuzz on one target of fuzz/ (60 s)
  fuzz replay     the seeds of all fuzz targets and fixed mutations of them, without cargo-fuzz
  clients         real clients (viem, cast, onnxruntime, magika) against a release build of the node
  qemu            the golden hashes of inference natively, under qemu's Nehalem (no fma) and Haswell, and on aarch64
  rocksdb         the RocksDB engine: the stores' suite, a node, kill -9 (takes a C++ compiler and libclang to build)
  vectors SUITE [--dir DIR]
                  conformance: other projects' vectors below DIR through our own code. SUITE is evm
                  (GeneralStateTests, TransactionTests, TrieTests, RLPTests), rpc (.io files over the chain.rlp and
                  genesis.json in a folder above them), onnx (folders with model.onnx and test_data_set_N/) or ghostdag
                  (labelled DAGs, replays, ancestry). DIR is searched recursively; without it the suite's folder below
                  LATTICE_VECTORS is taken, for onnx the node tests of the Python package onnx 1.17.0, which pip fetches
                  into target/ci. The last line is `N passed, N failed, N skipped`;
                  a failure, or no case at all, exits with 1
  sim [--seeds N] [OPTIONS]
                  whole nodes through every scenario of the simulator, in release mode; options are those of lattice-sim
                  (`cargo xtask sim --help`). A broken invariant exits with 1 and prints what replays it
  mutations [TEXT]
                  removes the rules of consensus one at a time; a test must fail each time (sources are changed in
                  place and put back: commit first). With a text only the rules whose names or crates hold it
  vectors-check   the conformance vectors are there
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace's root");
    let workspace = Workspace::new(root);
    if let ["vectors", rest @ ..] = arguments.as_slice() {
        return vectors::command(&workspace, rest).unwrap_or_else(|| {
            eprint!("{USAGE}");
            ExitCode::from(2)
        });
    }
    if let ["fuzz", rest @ ..] = arguments.as_slice()
        && *rest != ["replay"]
    {
        return fuzz::command(&workspace, rest).unwrap_or_else(|| {
            eprint!("{USAGE}");
            ExitCode::from(2)
        });
    }
    if let ["sim", options @ ..] = arguments.as_slice() {
        return sim::command(&workspace, options);
    }
    if let ["mutations", part @ ..] = arguments.as_slice()
        && part.len() <= 1
    {
        return mutations::command(&workspace, part.first().copied().unwrap_or_default());
    }
    let mut report = Report::default();
    match arguments.as_slice() {
        ["ci"] => ci(&workspace, &mut report),
        ["ci", "--long"] => {
            vectors::step(&workspace, &mut report);
            ci(&workspace, &mut report);
            long(&workspace, &mut report);
            vectors::suites(&workspace, &mut report);
            fuzz::replay(&workspace, &mut report);
            sim::step(&workspace, &mut report);
            qemu::step(&workspace, &mut report);
            clients::step(&workspace, &mut report);
            rocksdb::step(&workspace, &mut report);
        }
        ["fmt"] => fmt(&workspace, &mut report),
        ["tidy"] => tidy::step(&workspace, &mut report),
        ["floors"] => floors::step(&workspace, &mut report),
        ["deny"] => deny::step(&workspace, &mut report),
        ["clippy"] => clippy(&workspace, &mut report),
        ["docs"] => docs(&workspace, &mut report),
        ["test"] => test(&workspace, &mut report),
        ["long"] => long(&workspace, &mut report),
        ["fuzz", "replay"] => fuzz::replay(&workspace, &mut report),
        ["clients"] => clients::step(&workspace, &mut report),
        ["qemu"] => qemu::step(&workspace, &mut report),
        ["rocksdb"] => rocksdb::step(&workspace, &mut report),
        ["vectors-check"] => vectors::step(&workspace, &mut report),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    report.finish()
}

/// Everything a change must pass, cheapest first.
fn ci(workspace: &Workspace, report: &mut Report) {
    fmt(workspace, report);
    tidy::step(workspace, report);
    floors::step(workspace, report);
    deny::step(workspace, report);
    test(workspace, report);
    clippy(workspace, report);
    docs(workspace, report);
}

fn fmt(workspace: &Workspace, report: &mut Report) {
    report.command("fmt", workspace.cargo(&["fmt", "--all", "--", "--check"]));
}

fn test(workspace: &Workspace, report: &mut Report) {
    report.command("test", workspace.cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]));
}

fn docs(workspace: &Workspace, report: &mut Report) {
    let mut command = workspace.cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    report.command("docs", command);
}

fn clippy(workspace: &Workspace, report: &mut Report) {
    // What the pure crates forbid is allowed here because this run sees their tests too; `purity` judges the rest.
    let mut every = vec!["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    every.extend(purity::LINTS.iter().flat_map(|lint| ["-A", lint]));
    report.command("clippy", workspace.cargo(&every));
    purity::step(workspace, report);
}

/// Runs the tests that are too slow for every day, of the crates that have any.
fn long(workspace: &Workspace, report: &mut Report) {
    let slow = match files::crates_with_ignored_tests(workspace) {
        Ok(slow) => slow,
        Err(error) => return report.check("long", || Err(error)),
    };
    if slow.is_empty() {
        return report.skip("long", "no test is marked #[ignore]");
    }
    let mut arguments = vec!["test", "--release", "--locked", "--no-fail-fast"];
    for name in &slow {
        arguments.extend(["--package", name]);
    }
    arguments.extend(["--", "--ignored"]);
    report.command("long", workspace.cargo(&arguments));
}
