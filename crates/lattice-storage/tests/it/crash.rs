//! kill -9: a real child process writes batches and is killed in the middle of them.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use lattice_storage::{Batch, Engine, KvRead, Table};

use crate::conformance::records;

/// Set in the child: the data directory to write into.
const CHILD_DIR: &str = "LATTICE_STORAGE_CRASH_DIR";
/// Set in the child: the name of the engine to write with.
const CHILD_ENGINE: &str = "LATTICE_STORAGE_CRASH_ENGINE";
const RECORDS_A_BATCH: u32 = 40;

/// Batch `n` puts 40 records of n into each of two tables, deletes those of batch n - 2 from one, and sets a counter.
fn batch(n: u32) -> Batch {
    let mut batch = Batch::new();
    for i in 0..RECORDS_A_BATCH {
        let key = [n.to_be_bytes(), i.to_be_bytes()].concat();
        batch.put(Table::State, key.clone(), vec![n as u8; (i * 37 % 900) as usize]);
        batch.put(Table::Layers, key, n.to_be_bytes());
        if n >= 2 {
            batch.delete(Table::Layers, [(n - 2).to_be_bytes(), i.to_be_bytes()].concat());
        }
    }
    batch.put(Table::Meta, *b"count", n.to_be_bytes());
    batch
}

/// The child's side; does nothing in an ordinary run of the tests.
#[test]
fn child_that_is_killed() {
    let Ok(dir) = env::var(CHILD_DIR) else { return };
    let name = env::var(CHILD_ENGINE).unwrap();
    let engine = Engine::ALL.into_iter().find(|engine| engine.name() == name).unwrap();
    let kv = engine.open(dir).unwrap();
    let start = counter(&kv).map_or(0, |count| count + 1);
    for n in start.. {
        kv.write(batch(n)).unwrap();
        println!("\nacknowledged {n}");
    }
}

fn counter(kv: &dyn KvRead) -> Option<u32> {
    let value = kv.get(Table::Meta, b"count").unwrap()?;
    Some(u32::from_be_bytes(value.try_into().unwrap()))
}

/// Runs the child until it has acknowledged `batches` more batches, kills it, returns the last acknowledged number.
fn run_and_kill(engine: Engine, dir: &Path, batches: u32) -> u32 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["crash::child_that_is_killed", "--exact", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ENGINE, engine.name())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = None;
    let mut seen = 0;
    let mut killed = false;
    for line in lines {
        let line = line.unwrap();
        let Some(number) = line.strip_prefix("acknowledged ") else {
            continue;
        };
        // A line that the kill cut off would only name a smaller number.
        acknowledged = number.parse().ok().max(acknowledged);
        seen += 1;
        if seen == batches && !killed {
            child.kill().unwrap(); // SIGKILL
            killed = true;
        }
    }
    assert!(killed, "the child ended by itself after {seen} batches: {:?}", child.wait());
    child.wait().unwrap();
    acknowledged.unwrap()
}

#[test]
fn every_acknowledged_batch_survives_kill_9_whole() {
    Engine::ALL.into_iter().filter(|engine| engine.is_built()).for_each(kill_and_compare);
}

fn kill_and_compare(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    // Different lengths meet different moments: the first batches, many small ones, a second recovery on top.
    for batches in [1, 3, 200, 37] {
        let acknowledged = run_and_kill(engine, folder.path(), batches);
        let kv = engine.open(folder.path()).unwrap();
        let count = counter(&kv).unwrap();
        assert!(count >= acknowledged, "batch {acknowledged} was acknowledged, the store has {count}");
        let state = records(&kv, Table::State, &[], None);
        assert_eq!(state.len() as u32, (count + 1) * RECORDS_A_BATCH);
        for (key, value) in &state {
            let n = u32::from_be_bytes(key[..4].try_into().unwrap());
            let i = u32::from_be_bytes(key[4..].try_into().unwrap());
            assert_eq!(value, &vec![n as u8; (i * 37 % 900) as usize], "batch {n}, record {i}");
        }
        let layers = records(&kv, Table::Layers, &[], None);
        assert_eq!(layers.len() as u32, (count + 1).min(2) * RECORDS_A_BATCH);
        assert!(layers.iter().all(|(key, value)| key[..4] == value[..]));
    }
}
