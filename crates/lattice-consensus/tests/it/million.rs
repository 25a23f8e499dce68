//! Long DAGs on the disk engine: memory and store stay flat.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use lattice_consensus::{Dag, DagParams, Residency};
use lattice_storage::{Batch, FjallKv, Kv};

use crate::{
    prune::Producers,
    restart::create,
    text::{facts, hash, params},
};

/// Rows that one block may cause, those of the window's step and of what is pruned included.
const BATCH_MAX: usize = 1_000;

/// The memory that is measured is the whole process's, so these tests take turns.
static ALONE: Mutex<()> = Mutex::new(());

/// Resident memory of this process, kB; 0 where the system does not tell.
fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn disk_bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Figures after each tenth: memory in kB, bytes on disk, rows of the largest batch that a block has caused.
struct Tenth {
    memory_kb: u64,
    disk: u64,
    batch: usize,
}

/// Inserts blocks by producers whose views are up to `delay` blocks old, reopening the store in the middle.
fn grow(blocks: u64, params: DagParams) -> Vec<Tenth> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let mut kv = Arc::new(FjallKv::open(folder.path()).unwrap());
    let genesis = facts(hash("genesis"), vec![], 0);
    create(&kv, &genesis, params);
    let open = |kv: &Arc<FjallKv>| Dag::open_with(kv.clone(), params, Residency::default()).unwrap().unwrap();
    let mut dag = open(&kv);
    let mut producers = Producers::new(7, 6, genesis.hash);
    let (mut tenths, mut removed, mut largest) = (Vec::new(), 0, 0);
    let started = Instant::now();
    for number in 1..=blocks {
        let mut batch = Batch::new();
        let block = producers.block(&dag);
        let prepared = dag.check(&block).unwrap();
        dag.insert(prepared, &mut batch).unwrap();
        let sink = producers.see(&dag);
        let pruned = dag.prune(&sink, &mut batch).unwrap();
        removed += pruned.blocks.len() + pruned.points.len();
        largest = largest.max(batch.len());
        kv.write(batch).unwrap();
        if number == blocks / 2 {
            drop(dag);
            drop(kv);
            kv = Arc::new(FjallKv::open(folder.path()).unwrap());
            let opening = Instant::now();
            dag = open(&kv);
            println!("reopened in {:.0} ms", opening.elapsed().as_secs_f64() * 1e3);
            assert_eq!(dag.len(), number + 1);
            assert_eq!(dag.best(|_| Ok(true)).unwrap(), sink);
        }
        if number.is_multiple_of(blocks / 10) {
            let tenth = Tenth { memory_kb: resident_kb(), disk: disk_bytes(folder.path()), batch: largest };
            println!(
                "{number} blocks, {} kept, {} MB of memory, {} MB on disk, at most {largest} rows a block, {:.0} blocks/s",
                dag.len() as usize - removed,
                tenth.memory_kb >> 10,
                tenth.disk >> 20,
                number as f64 / started.elapsed().as_secs_f64()
            );
            tenths.push(tenth);
        }
    }
    tenths
}

/// No growth beyond what the engine's own buffers and compactions make.
fn assert_flat(tenths: &[Tenth], memory_slack_kb: u64, disk_slack: u64) {
    let (middle, last) = (&tenths[4], &tenths[9]);
    let most = |figure: &dyn Fn(&Tenth) -> u64, tenths: &[Tenth]| tenths.iter().map(figure).max().unwrap();
    let memory = most(&|tenth| tenth.memory_kb, &tenths[5..]);
    assert!(memory <= middle.memory_kb + memory_slack_kb, "{memory} kB after {} kB", middle.memory_kb);
    let disk = most(&|tenth| tenth.disk, &tenths[..5]);
    assert!(last.disk <= disk + disk_slack, "{} bytes on disk after at most {disk}", last.disk);
    // Labels that run out are a pause of as many rows.
    assert!(last.batch <= BATCH_MAX, "{} rows for one block", last.batch);
}

#[test]
fn a_pruned_store_stays_small() {
    let tenths = grow(6_000, DagParams { merge_depth: 200, pruning_depth: 1_000, ..params(10) });
    assert_eq!(tenths.len(), 10);
}

#[test]
#[ignore = "a million blocks on disk take minutes"]
fn a_million_blocks_with_pruning_take_flat_memory_and_a_flat_store() {
    let tenths = grow(1_000_000, DagParams { pruning_depth: 50_000, ..params(10) });
    assert_flat(&tenths, 64 << 10, 256 << 20);
}

#[test]
#[ignore = "a million blocks on disk take minutes"]
fn a_million_blocks_without_pruning_take_flat_memory() {
    let tenths = grow(1_000_000, params(10));
    // The store grows as it must; the engine's indices and filters grow a little with it.
    assert_flat(&tenths, 96 << 10, u64::MAX >> 1);
}
