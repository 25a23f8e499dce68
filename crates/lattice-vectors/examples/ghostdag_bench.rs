//! Blocks a second of the whole path of a header through the DAG: checking, colouring, reachability, staging its records.
//!
//! Takes every DAG below a folder (by default `$LATTICE_VECTORS/ghostdag`) and compares blue score and work while it does
//! so; where a DAG has no labels, with those of a first run. Run: `cargo run --release -p lattice-vectors
//! --no-default-features --example ghostdag_bench [repetitions] [folder]`. Time is the thread's on the processor where the
//! system tells it (Linux), so that other work on the machine disturbs little; elsewhere it is the clock's.

use std::{
    env,
    error::Error,
    fs,
    hint::black_box,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Instant,
};

use lattice_consensus::{BlockFacts, Dag, DagParams, TieRule};
use lattice_storage::{Batch, Kv, MemoryKv};
use lattice_vectors::ghostdag;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Blocks of a DAG that is worth timing.
const BLOCKS_MIN: usize = 4_000;

/// A DAG to replay; the claims of the facts are the expected values.
struct Replay {
    name: String,
    k: u16,
    blocks: Vec<BlockFacts>,
}

fn main() -> Outcome<()> {
    let repetitions = env::args().nth(1).map_or(Ok(7), |text| text.parse::<usize>())?.max(1);
    let vectors = || {
        let root = env::var_os("LATTICE_VECTORS").map_or_else(|| PathBuf::from("../shared/vectors"), PathBuf::from);
        root.join("ghostdag")
    };
    let folder = env::args().nth(2).map_or_else(vectors, PathBuf::from);
    println!("{:<58} {:>4} {:>7} {:>10} {:>10} {:>12}", "DAG", "k", "blocks", "best/s", "median/s", "with store/s");
    for (path, case) in ghostdag::cases(&folder)? {
        if case.blocks.len() < BLOCKS_MIN {
            continue;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut replay = Replay { name, k: case.k, blocks: case.blocks.iter().map(|block| block.facts()).collect() };
        run(&mut replay, false, true)?;
        let len = replay.blocks.len();
        let rate = |seconds: f64| (len - 1) as f64 / seconds;
        let mut timed = |stored| -> Outcome<Vec<f64>> {
            let mut seconds: Vec<f64> =
                (0..repetitions).map(|_| run(&mut replay, stored, false)).collect::<Outcome<_>>()?;
            seconds.sort_by(f64::total_cmp);
            Ok(seconds)
        };
        let (alone, stored) = (timed(false)?, timed(true)?);
        println!(
            "{:<58} {:>4} {:>7} {:>10.0} {:>10.0} {:>12.0}",
            replay.name,
            replay.k,
            len,
            rate(alone[0]),
            rate(alone[repetitions / 2]),
            rate(stored[0]),
        );
    }
    println!("n = {repetitions}, one thread; with store: the best with every batch written to a store in memory");
    Ok(())
}

/// Seconds for all blocks. The first run fills in what a DAG does not say.
fn run(replay: &mut Replay, stored: bool, first: bool) -> Outcome<f64> {
    let params = DagParams::unlimited(replay.k, TieRule::GreaterHash);
    let kv = Arc::new(MemoryKv::new());
    let start = seconds();
    let mut batch = Batch::new();
    let mut dag = Dag::new(&replay.blocks[0], params, &mut batch);
    if stored {
        kv.write(batch)?;
        dag = Dag::open(kv.clone(), params)?.ok_or("no genesis")?;
    }
    for facts in &mut replay.blocks[1..] {
        let mut batch = Batch::new();
        let prepared = dag.check_nothing(facts)?;
        let found = (prepared.blue_score(), prepared.blue_work());
        if first && facts.blue_score == 0 {
            (facts.blue_score, facts.blue_work) = found;
        }
        if found != (facts.blue_score, facts.blue_work) {
            return Err(format!("{}: block {} has another colour", replay.name, facts.hash).into());
        }
        dag.insert(prepared, &mut batch)?;
        if stored {
            kv.write(batch)?;
        } else {
            black_box(&batch);
        }
    }
    Ok(seconds() - start)
}

/// Seconds that this thread has run so far.
fn seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = schedule.split(' ').next().and_then(|number| number.parse::<u64>().ok());
    nanoseconds.map_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64(), |ns| ns as f64 * 1e-9)
}
