//! `lattice-vectors SUITE --dir DIR`: runs one suite of vectors. `cargo xtask vectors` starts it.

use lattice_vectors::{Report, ghostdag};
#[cfg(feature = "all")]
use lattice_vectors::{evm, onnx, rpc};
use std::{path::PathBuf, process::ExitCode};

const USAGE: &str = "\
usage: lattice-vectors SUITE --dir DIR

  evm         GeneralStateTests, TransactionTests, TrieTests and RLPTests of Ethereum
  rpc         .io files of execution-apis over the chain (.rlp and genesis) above them
  onnx        folders with model.onnx and test_data_set_N/{input,output}_I.pb
  ghostdag    labelled DAGs (Kaspa's, JSON lines), Kaspa's replays, and DAGs whose ancestry is searched; gzipped or not

DIR is searched recursively; cases are recognised by content. The last line is `N passed, N failed, N skipped`.
The exit code is 1 when a case failed or none was found.
";

/// Deep recursion of the EVM (1,024 frames) takes stack, most of all in unoptimised builds.
const STACK_BYTES: usize = 256 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (suite, dir) = match arguments.as_slice() {
        [suite, "--dir", dir] | ["--dir", dir, suite] => (*suite, PathBuf::from(dir)),
        _ => return usage(),
    };
    let run: fn(&std::path::Path) -> Report = match suite {
        #[cfg(feature = "all")]
        "evm" => evm::run,
        #[cfg(feature = "all")]
        "rpc" => rpc::run,
        #[cfg(feature = "all")]
        "onnx" => onnx::run,
        "ghostdag" => ghostdag::run,
        _ => return usage(),
    };
    let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES).build_global();
    if let Err(error) = pool {
        eprintln!("no threads: {error}");
        return ExitCode::FAILURE;
    }
    let started = std::time::Instant::now();
    let report = run(&dir);
    report.print(&dir, started.elapsed());
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}
