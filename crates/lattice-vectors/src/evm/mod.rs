//! Ethereum's JSON vectors. A file is an object of named tests; the fields of a test say what it is.

mod fork;
mod rlp;
mod state;
mod transaction;
mod trie;

use crate::{
    files, json,
    report::{Report, Verdict},
};
use rayon::prelude::*;
use serde_json::Value;
use std::{fs, panic::AssertUnwindSafe, path::Path};

pub(crate) use state::account;

/// What a test is, by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    State,
    Transaction,
    Trie,
    TrieNeighbours,
    Rlp,
    Other(&'static str),
}

fn family(test: &Value) -> Option<Family> {
    let format = json::text(&test["_info"]["fixture-format"]);
    if let Some(family) = family_of_format(format) {
        return Some(family);
    }
    let has = |fields: &[&str]| fields.iter().all(|field| test.get(field).is_some());
    Some(if has(&["pre", "post", "env", "transaction"]) {
        Family::State
    } else if has(&["result", "txbytes"]) || has(&["result", "rlp"]) {
        Family::Transaction
    } else if has(&["in", "root"]) {
        Family::Trie
    } else if has(&["in", "tests"]) {
        Family::TrieNeighbours
    } else if has(&["in", "out"]) {
        Family::Rlp
    } else if has(&["engineNewPayloads"]) {
        ENGINE
    } else if has(&["blocks", "genesisBlockHeader"]) {
        BLOCKCHAIN
    } else if has(&["currentDifficulty", "parentDifficulty"]) {
        Family::Other("difficulty tests: proof of work")
    } else if has(&["vectors"]) {
        EOF
    } else {
        return None;
    })
}

const ENGINE: Family = Family::Other("engine tests drive a consensus client's API, which Lattice has none of");
const BLOCKCHAIN: Family =
    Family::Other("blockchain tests: Ethereum's block rules are checked by `vectors rpc`, execution by state tests");
const EOF: Family = Family::Other("EOF tests: EOF is in no fork");

/// What `execution-spec-tests` say a fixture is; `None` for a format of no name here.
fn family_of_format(format: &str) -> Option<Family> {
    Some(match format {
        "state_test" => Family::State,
        "transaction_test" => Family::Transaction,
        "eof_test" | "eof_state_test" => EOF,
        format if format.starts_with("blockchain_test_engine") || format == "blockchain_test_sync" => ENGINE,
        format if format.starts_with("blockchain_test") => BLOCKCHAIN,
        _ => return None,
    })
}

/// Runs every case below `dir`.
pub fn run(dir: &Path) -> Report {
    over_files(dir, file)
}

/// Runs the transactions of every state test below `dir` one after the other, on one overlay and on a state version
/// each, and compares the roots: a property of ours that wants many different transactions.
pub fn run_in_sequence(dir: &Path) -> Report {
    over_files(dir, |path, dir| {
        let mut report = Report::default();
        let tests = fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        for (name, test) in tests.as_ref().and_then(Value::as_object).into_iter().flatten() {
            if family(test) == Some(Family::State) {
                state::in_sequence(&mut report, &format!("{} {name}", files::shown(path, dir)), test);
            }
        }
        report
    })
}

fn over_files(dir: &Path, file: impl Fn(&Path, &Path) -> Report + Sync) -> Report {
    let files = match files::below(dir) {
        Ok(files) => files,
        Err(error) => {
            let mut report = Report::default();
            report.note("evm", dir.display(), Verdict::Failed(error.to_string()));
            return report;
        }
    };
    let json = files.into_par_iter().filter(|path| files::has_extension(path, "json"));
    let guarded = |path: std::path::PathBuf| {
        std::panic::catch_unwind(AssertUnwindSafe(|| file(&path, dir))).unwrap_or_else(|cause| {
            let mut report = Report::default();
            report.note("evm", files::shown(&path, dir), Verdict::Failed(panicked(&*cause)));
            report
        })
    };
    json.map(guarded).reduce(Report::default, Report::and)
}

fn file(path: &Path, dir: &Path) -> Report {
    let mut report = Report::default();
    let name = files::shown(path, dir);
    let parsed = fs::read(path).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    let tests = match parsed {
        Ok(Value::Object(tests)) => tests,
        Ok(_) => {
            report.skip("JSON that is no object of tests", 1);
            return report;
        }
        Err(cause) => {
            report.note("evm", name, Verdict::Failed(cause));
            return report;
        }
    };
    let tries: Vec<_> = tests.iter().filter(|(_, test)| family(test) == Some(Family::Trie)).collect();
    trie::run(&mut report, &name, &tries);
    let mut known = !tries.is_empty();
    for (test_name, test) in &tests {
        let case = format!("{name} {test_name}");
        let Some(family) = family(test) else { continue };
        known = true;
        match family {
            Family::State => state::run(&mut report, &case, test),
            Family::Transaction => transaction::run(&mut report, &case, test),
            Family::TrieNeighbours => trie::neighbours(&mut report, &case, test),
            Family::Rlp => report.note("rlp", &case, rlp::verdict(test)),
            Family::Other(reason) => report.skip(reason, 1),
            Family::Trie => {}
        }
    }
    if !known {
        report.skip("JSON of no known family of tests", 1);
    }
    report
}

/// A case's end, whatever happens: a panic is a failure of the case, and the others go on.
fn guarded(case: impl FnOnce() -> Result<Verdict, json::Fault>) -> Verdict {
    std::panic::catch_unwind(AssertUnwindSafe(case)).map_or_else(|cause| Verdict::Failed(panicked(&*cause)), verdict)
}

fn panicked(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a text"))
}

/// A case's end: what went wrong with the vector itself is a failure too.
fn verdict(outcome: Result<Verdict, json::Fault>) -> Verdict {
    outcome.unwrap_or_else(Verdict::Failed)
}

/// `Passed` when both are equal; otherwise says so.
fn compare<T: PartialEq + std::fmt::Display>(what: &str, got: T, expected: T) -> Verdict {
    if got == expected { Verdict::Passed } else { Verdict::Failed(format!("{what} {got}, expected {expected}")) }
}
