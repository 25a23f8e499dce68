//! Blocks a second of the whole path of a header through the DAG: checking, colouring, reachability, staging its records.
//!
//! Takes every DAG below a folder (by default `$LATTICE_VECTORS/ghostdag`) and compares blue score and work while it does
//! so; where a DAG has no labels, with those of a first run. Then DAGs of its own follow, which show how the cost grows with
//! rate, delay and k: blocks come at random times (Poisson), and each has as parents all tips that are older than the
//! delay. Run: `cargo run --release -p lattice-vectors
//! --no-default-features --example ghostdag_bench [repetitions] [folder]`. Time is the thread's on the processor where the
//! system tells it (Linux), so that other work on the machine disturbs little; elsewhere it is the clock's.

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fs,
    hint::black_box,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Instant,
};

use alloy_primitives::{B256, keccak256};
use lattice_consensus::{BlockFacts, Dag, DagParams, TieRule};
use lattice_storage::{Batch, Kv, MemoryKv};
use lattice_vectors::ghostdag;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Blocks of a DAG that is worth timing.
const BLOCKS_MIN: usize = 4_000;
/// Blocks of a DAG that is grown here.
const GROWN_BLOCKS: usize = 10_000;

/// Blocks a second, seconds until a block is seen by all, and k of DAGs that are grown here.
const GROWN: [(f64, f64, u16); 10] = [
    (1.0, 2.0, 18),
    (4.0, 2.0, 26),
    (4.0, 3.0, 37),
    (8.0, 2.0, 45),
    (10.0, 2.0, 55),
    (10.0, 5.0, 124),
    (32.0, 2.0, 157),
    // The same DAG under another k, and another width under the same k.
    (10.0, 2.0, 124),
    (10.0, 2.0, 500),
    (4.0, 2.0, 124),
];

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
    let mut replays = Vec::new();
    for (path, case) in ghostdag::cases(&folder)? {
        if case.blocks.len() >= BLOCKS_MIN {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let blocks = case.blocks.iter().map(|block| block.facts()).collect();
            replays.push(Replay { name, k: case.k, blocks });
        }
    }
    replays.extend(GROWN.iter().map(|&(rate, delay, k)| grow(rate, delay, k)));
    println!(
        "{:<58} {:>4} {:>7} {:>7} {:>10} {:>10} {:>12}",
        "DAG", "k", "blocks", "parents", "best/s", "median/s", "with store/s"
    );
    for mut replay in replays {
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
            "{:<58} {:>4} {:>7} {:>7.1} {:>10.0} {:>10.0} {:>12.0}",
            replay.name,
            replay.k,
            len,
            replay.blocks.iter().map(|block| block.parents.len()).sum::<usize>() as f64 / (len - 1) as f64,
            rate(alone[0]),
            rate(alone[repetitions / 2]),
            rate(stored[0]),
        );
    }
    println!("n = {repetitions}, one thread; with store: the best with every batch written to a store in memory");
    Ok(())
}

/// A DAG of blocks that come at random times.
fn grow(rate: f64, delay: f64, k: u16) -> Replay {
    let name = |index: usize| keccak256(index.to_be_bytes());
    let mut state = 42u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    };
    let block = |index: usize, parents: Vec<B256>| BlockFacts {
        hash: name(index),
        parents,
        slot: index as u64,
        vrf_hash: B256::ZERO,
        work: 1,
        ai_class: 0,
        blue_score: 0,
        blue_work: 0,
        newest_pruning_point: B256::ZERO,
    };
    let (mut blocks, mut times) = (vec![block(0, Vec::new())], vec![0.0]);
    let (mut tips, mut seen, mut now) = (BTreeSet::from([name(0)]), 1, delay);
    while blocks.len() <= GROWN_BLOCKS {
        now -= uniform().ln() / rate;
        while seen < blocks.len() && times[seen] <= now - delay {
            for parent in &blocks[seen].parents {
                tips.remove(parent);
            }
            tips.insert(blocks[seen].hash);
            seen += 1;
        }
        blocks.push(block(blocks.len(), tips.iter().copied().collect()));
        times.push(now);
    }
    Replay { name: format!("grown, {rate} blocks/s, {delay} s of delay"), k, blocks }
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
