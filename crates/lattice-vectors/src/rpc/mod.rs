//! Ethereum's RPC vectors (execution-apis): `.io` files over a linear chain.
//!
//! A chain is a `.rlp` file beside a genesis (a JSON file with `config` and `alloc`). It is imported under Ethereum's
//! header rules through our executor, and then read through our RPC layer: a `View` of the imported blocks, and the very
//! methods of the node. An `.io` file belongs to the chain in the nearest folder above it.

mod backend;
mod exchange;
mod genesis;
mod import;

use crate::{
    files,
    report::{Report, Verdict},
};
use backend::Linear;
use lattice_rpc::InProcess;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A chain ready to be read, or why it is not.
type Door = Result<InProcess, String>;

/// Runs every case below `dir`.
pub fn run(dir: &Path) -> Report {
    let mut report = Report::default();
    let files = match files::below(dir) {
        Ok(files) => files,
        Err(error) => {
            report.note("rpc", dir.display(), Verdict::Failed(error.to_string()));
            return report;
        }
    };
    let mut chains: BTreeMap<PathBuf, Door> = BTreeMap::new();
    for path in files.iter().filter(|path| files::has_extension(path, "rlp")) {
        let folder = path.parent().unwrap_or(dir).to_path_buf();
        let name = files::shown(path, dir).to_string();
        let door = open(path, &folder, &mut report, &name);
        if let Err(cause) = &door {
            report.note("chain", &name, Verdict::Failed(cause.clone()));
        }
        chains.insert(folder, door);
    }
    let mut cases: Vec<_> = files.iter().filter(|path| files::has_extension(path, "io")).collect();
    cases.sort();
    for path in cases {
        let above = path.ancestors().find_map(|folder| chains.get(folder));
        let only = || chains.values().next().filter(|_| chains.len() == 1);
        let name = files::shown(path, dir);
        let verdict = match above.or_else(only) {
            None => Verdict::Skipped("no chain (.rlp with a genesis beside it) in a folder above".into()),
            Some(Err(_)) => Verdict::Failed("its chain was not imported".into()),
            Some(Ok(door)) => match fs::read_to_string(path) {
                Ok(text) => exchange::verdict(door, &text),
                Err(error) => Verdict::Failed(error.to_string()),
            },
        };
        report.note("rpc", name, verdict);
    }
    report
}

/// Imports a chain: each block that keeps all rules is a passed case.
fn open(path: &Path, folder: &Path, report: &mut Report, name: &str) -> Door {
    let beside = json_beside(folder).map_err(|error| error.to_string())?;
    let genesis = beside.iter().find(|json| json.get("config").is_some() && json.get("alloc").is_some());
    let genesis = genesis.ok_or("no genesis (JSON with `config` and `alloc`) beside it")?;
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let chain = import::import(genesis, &bytes)?;
    for number in 1..chain.blocks.len() {
        report.note("chain", format!("{name} block {number}"), Verdict::Passed);
    }
    let choice = beside.iter().find(|json| crate::json::text(&json["method"]).starts_with("engine_forkchoiceUpdated"));
    let backend = Linear::new(chain, choice.map_or(&Value::Null, |choice| &choice["params"][0]))?;
    InProcess::new(Arc::new(backend)).map_err(|error| error.to_string())
}

fn json_beside(folder: &Path) -> std::io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && files::has_extension(&path, "json") {
            found.extend(serde_json::from_slice::<Value>(&fs::read(&path)?));
        }
    }
    Ok(found)
}
