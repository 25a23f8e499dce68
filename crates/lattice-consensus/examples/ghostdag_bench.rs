//! Blocks a second of the whole path of a header through the DAG: checking, colouring, reachability, staging its records.
//!
//! Reads labelled DAGs and Kaspa's replay from `$LATTICE_VECTORS/ghostdag` (by default `../shared/vectors` beside the
//! workspace) and compares every result while it does so. Run: `cargo run --release -p lattice-consensus --example
//! ghostdag_bench [repetitions]`.

// A tool reads files and a clock; the crate itself may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    env,
    error::Error,
    fs::{self, File},
    hint::black_box,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use alloy_primitives::{B256, U256, hex};
use flate2::read::GzDecoder;
use lattice_consensus::{BlockFacts, Dag, DagParams, TieRule};
use lattice_storage::Batch;
use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A DAG to replay; the claims of the facts are the expected values.
struct Replay {
    name: String,
    k: u16,
    blocks: Vec<BlockFacts>,
}

fn main() -> Outcome<()> {
    let repetitions = env::args().nth(1).map_or(Ok(7), |text| text.parse::<usize>())?.max(1);
    let root = env::var_os("LATTICE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let folder = root.join("ghostdag");
    let mut replays = Vec::new();
    let mut labelled: Vec<PathBuf> =
        fs::read_dir(folder.join("labelled-10k"))?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    labelled.sort();
    for path in labelled {
        replays.push(labelled_dag(&path)?);
    }
    replays.push(kaspa_replay(&folder.join("kaspa-goref/goref-notx-5000-blocks/blocks.json.gz"))?);
    let mut attacks: Vec<PathBuf> =
        fs::read_dir(folder.join("kaspa-reachability"))?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    attacks.sort();
    for path in attacks.iter().filter(|path| path.to_string_lossy().contains("2^14")) {
        replays.push(plain_dag(path)?);
    }
    println!("{:<58} {:>4} {:>7} {:>10} {:>10}", "DAG", "k", "blocks", "best/s", "median/s");
    for replay in &replays {
        let mut seconds: Vec<f64> = (0..repetitions).map(|_| run(replay)).collect::<Outcome<_>>()?;
        seconds.sort_by(f64::total_cmp);
        let rate = |seconds: f64| (replay.blocks.len() - 1) as f64 / seconds;
        println!(
            "{:<58} {:>4} {:>7} {:>10.0} {:>10.0}",
            replay.name,
            replay.k,
            replay.blocks.len(),
            rate(seconds[0]),
            rate(seconds[seconds.len() / 2]),
        );
    }
    println!("n = {repetitions}, one thread");
    Ok(())
}

/// Seconds for all blocks.
fn run(replay: &Replay) -> Outcome<f64> {
    let params = DagParams::unlimited(replay.k, TieRule::GreaterHash);
    let start = Instant::now();
    let mut dag = Dag::new(&replay.blocks[0], params, &mut Batch::new());
    for facts in &replay.blocks[1..] {
        let mut batch = Batch::new();
        let prepared = dag.check_nothing(facts)?;
        if (prepared.blue_score(), prepared.blue_work()) != (facts.blue_score, facts.blue_work) {
            return Err(format!("{}: block {} has another colour", replay.name, facts.hash).into());
        }
        dag.insert(prepared, &mut batch)?;
        black_box(&batch);
    }
    Ok(start.elapsed().as_secs_f64())
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn facts(hash: B256, mut parents: Vec<B256>) -> BlockFacts {
    parents.sort_unstable();
    BlockFacts { hash, parents, slot: 0, vrf_hash: hash, work: 1, blue_score: 0, blue_work: 0 }
}

fn hash(value: &Value) -> Outcome<B256> {
    Ok(value.as_str().ok_or("a hash is a string")?.parse()?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn labelled_dag(path: &Path) -> Outcome<Replay> {
    let mut lines = BufReader::new(GzDecoder::new(File::open(path)?)).lines();
    let head: Value = serde_json::from_str(&lines.next().ok_or("an empty file")??)?;
    let mut blocks = vec![facts(hash(&head["genesis"])?, vec![])];
    for line in lines {
        let block: Value = serde_json::from_str(&line?)?;
        let parents = list(&block["parents"]).iter().filter_map(Value::as_u64);
        let mut facts = facts(hash(&block["hash"])?, parents.map(|parent| blocks[parent as usize].hash).collect());
        facts.blue_score = block["blue_score"].as_u64().ok_or("no blue score")?;
        facts.blue_work = block["blue_work"].as_u64().ok_or("no blue work")?.into();
        blocks.push(facts);
    }
    Ok(Replay { name: name(path), k: head["k"].as_u64().ok_or("no k")? as u16, blocks })
}

fn kaspa_replay(path: &Path) -> Outcome<Replay> {
    let mut lines = BufReader::new(GzDecoder::new(File::open(path)?)).lines();
    let head: Value = serde_json::from_str(&lines.next().ok_or("an empty file")??)?;
    let mut blocks = Vec::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        let header = &serde_json::from_str::<Value>(&line)?["header"];
        let parents = list(&header["parentsByLevel"]).first().map_or(&[][..], |level| list(level));
        let mut facts = facts(hash(&header["hash"])?, parents.iter().map(hash).collect::<Outcome<_>>()?);
        let bits = header["bits"].as_u64().ok_or("no bits")?;
        let target = U256::from(bits & 0x00ff_ffff) << (8 * ((bits >> 24) - 3));
        facts.work = (!target / (target + U256::from(1)) + U256::from(1)).to();
        facts.blue_score = header["blueScore"].as_u64().ok_or("no blue score")?;
        let work = hex::decode(header["blueWork"].as_str().ok_or("no blue work")?)?;
        facts.blue_work = U256::try_from_be_slice(&work).ok_or("blue work is too long")?.to();
        blocks.push(facts);
    }
    Ok(Replay {
        name: "kaspa goref-notx-5000".into(),
        k: head["blockrate"]["ghostdag_k"].as_u64().ok_or("no k")? as u16,
        blocks,
    })
}

/// A DAG without labels: what a first run computes is expected of the timed ones.
fn plain_dag(path: &Path) -> Outcome<Replay> {
    let mut text = String::new();
    GzDecoder::new(File::open(path)?).read_to_string(&mut text)?;
    let id = |value: &Value| -> Outcome<B256> {
        let number: u64 = value.as_str().ok_or("an id is a string")?.parse()?;
        Ok(B256::left_padding_from(&number.to_be_bytes()))
    };
    let mut blocks = Vec::new();
    for block in list(&serde_json::from_str(&text)?) {
        let parents = list(&block["parents"]).iter().map(id).collect::<Outcome<_>>()?;
        blocks.push(facts(id(&block["id"])?, parents));
    }
    let params = DagParams::unlimited(18, TieRule::GreaterHash);
    let mut dag = Dag::new(&blocks[0], params, &mut Batch::new());
    for facts in &mut blocks[1..] {
        let prepared = dag.check_nothing(facts)?;
        (facts.blue_score, facts.blue_work) = (prepared.blue_score(), prepared.blue_work());
        dag.insert(prepared, &mut Batch::new())?;
    }
    Ok(Replay { name: name(path), k: 18, blocks })
}
