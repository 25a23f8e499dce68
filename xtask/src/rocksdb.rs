//! The RocksDB engine, which no other step builds: the stores' suite on both engines, a node on it, and kill -9.

use crate::{clients, steps::Report, workspace::Workspace};

/// Rounds of kills. The default engine's run has twice as many, on a release build.
const CRASH_ROUNDS: u32 = 4;

/// Builds both crates once with the feature and runs what concerns engines.
///
/// One command for two crates, so that the features of their dependencies agree and everything is built once; the dev
/// profile, because C++ without optimisation compiles fastest and the tests are small.
pub fn step(workspace: &Workspace, report: &mut Report) {
    let mut arguments = vec!["test", "--locked", "--no-fail-fast", "--features", "lattice/rocksdb"];
    arguments.extend(["--package", "lattice-storage", "--package", "lattice", "--test", "it", "--"]);
    // Of the storage crate's tests, and of the binary's: modules whose names begin so.
    arguments.extend(["disk::", "crash::", "engines::"]);
    report.command("rocksdb", workspace.cargo(&arguments));
    match workspace.target_dir() {
        Ok(target) => {
            // The command above has built it beside its tests.
            let binary = target.join("debug").join(format!("lattice{}", std::env::consts::EXE_SUFFIX));
            clients::crash_on_engine(workspace, report, binary, "rocksdb", CRASH_ROUNDS);
        }
        Err(error) => report.check("crash rocksdb", || Err(error)),
    }
}
