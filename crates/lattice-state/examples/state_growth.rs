//! How the state grows: run in release.
//!
//! For each number of accounts given (default 10000 100000 1000000): bytes on disk, time to open the store and to rebuild
//! its tries, memory, and the time of a block that changes 1,000 or 10,000 accounts (apply, root, layer, batch to the
//! disk). Then, over 10,000 accounts in an archive of 4,100 blocks of 100 changes each, the time of a balance and a proof at
//! growing depth, with nothing read before. One JSON object a line. Figures belong to the machine they were taken on.
#![allow(clippy::unwrap_used)]

mod measure;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::{Account, AccountDiff, Layers, Retention, State, StateDiff};
use lattice_storage::{Batch, DiskKv, FjallKv, Kv};
use measure::{processor_ms, resident_mb};

const ROUNDS: u64 = 9;
const ONE: &str = "--one";
const ARCHIVE: &str = "--archive";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [ONE, accounts, dir] => one(accounts.parse().unwrap(), Path::new(dir)),
        [ARCHIVE] => archive(),
        given => {
            let sizes = if given.is_empty() { vec!["10000", "100000", "1000000"] } else { given.to_vec() };
            for size in sizes {
                let dir = tempfile::tempdir().unwrap();
                fill(size.parse().unwrap(), dir.path());
                // A process of its own: memory that was freed here would hide what the rebuilt tries take.
                child(&[ONE, size, dir.path().to_str().unwrap()]);
            }
            child(&[ARCHIVE]);
        }
    }
}

fn child(arguments: &[&str]) {
    let status = Command::new(std::env::current_exe().unwrap()).args(arguments).status().unwrap();
    assert!(status.success());
}

fn fill(accounts: u64, dir: &Path) {
    let kv = Arc::new(FjallKv::open(dir).unwrap());
    let mut batch = Batch::new();
    Layers::init(kv.clone(), block(0), &diff(0..accounts, 1), Retention::default(), &mut batch).unwrap();
    kv.write(batch).unwrap();
    kv.sync().unwrap();
}

fn one(accounts: u64, dir: &Path) {
    let before = resident_mb();
    let start = Instant::now();
    let kv = Arc::new(FjallKv::open(dir).unwrap());
    let open_store_ms = ms(start);
    let disk_bytes = kv.disk_bytes().unwrap();
    let start = Instant::now();
    let mut layers = Layers::open(kv.clone(), Retention::default()).unwrap();
    let mut state = layers.resident(&layers.base()).unwrap().clone();
    let rebuild_ms = ms(start);
    let start = Instant::now();
    state.root();
    let root_ms = ms(start);
    let memory_mb = resident_mb() - before;
    let mut height = 0;
    let mut blocks = Vec::new();
    for count in [1_000, 10_000] {
        let (mut wall, mut processor) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let step = accounts / count;
            let diff = diff((0..count).map(|index| index * step + round % step), height + 2);
            let (start, before) = (Instant::now(), processor_ms());
            let next = state.apply(&diff);
            next.root();
            let mut batch = Batch::new();
            layers.insert(block(height + 1), block(height), &diff, next.clone(), &mut batch).unwrap();
            kv.write(batch).unwrap();
            wall.push(ms(start));
            processor.push(processor_ms() - before);
            (state, height) = (next, height + 1);
        }
        let (wall, processor) = (median(wall), median(processor));
        blocks.push(format!(r#"{{"updates":{count},"n":{ROUNDS},"wall_ms":{wall:.1},"cpu_ms":{processor:.0}}}"#));
    }
    let blocks = blocks.join(",");
    println!(
        r#"{{"accounts":{accounts},"disk_bytes":{disk_bytes},"open_store_ms":{open_store_ms:.0},"rebuild_ms":{rebuild_ms:.0},"root_ms":{root_ms:.0},"memory_mb":{memory_mb:.1},"blocks":[{blocks}]}}"#
    );
}

fn archive() {
    const ACCOUNTS: u64 = 10_000;
    const BLOCKS: u64 = 4_100;
    let dir = tempfile::tempdir().unwrap();
    let kv = Arc::new(FjallKv::open(dir.path()).unwrap());
    let retention = Retention { archive: true, ..Retention::default() };
    let mut batch = Batch::new();
    let mut layers = Layers::init(kv.clone(), block(0), &diff(0..ACCOUNTS, 1), retention, &mut batch).unwrap();
    kv.write(batch).unwrap();
    let mut state = layers.resident(&block(0)).unwrap().clone();
    let mut flatten_ms = Vec::new();
    for height in 1..=BLOCKS {
        let diff = diff((0..100).map(|index| (height * 7_919 + index * 101) % ACCOUNTS), height + 1);
        state = state.apply(&diff);
        let mut batch = Batch::new();
        layers.insert(block(height), block(height - 1), &diff, state.clone(), &mut batch).unwrap();
        if height.is_multiple_of(32) {
            let start = Instant::now();
            layers.flatten_to(block(height), &mut batch).unwrap();
            flatten_ms.push(ms(start));
        }
        kv.write(batch).unwrap();
    }
    let flatten = median(flatten_ms);
    println!(r#"{{"archive_blocks":{BLOCKS},"flatten_32_blocks_ms":{flatten:.1}}}"#);
    let base = layers.base_height();
    drop(layers);
    for depth in [1, 10, 100, 1_000, 4_000] {
        let (mut balance, mut proof) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Opened anew: no version of the past is at hand.
            let layers = Layers::open(kv.clone(), retention).unwrap();
            let history = layers.history().unwrap();
            layers.resident(&layers.base()).unwrap().root();
            let start = Instant::now();
            let state: State = history.state(&*kv, base - depth, block(base - depth)).unwrap().unwrap();
            state.account(&address(round)).unwrap();
            balance.push(ms(start));
            state.proof(&address(round), &[]);
            proof.push(ms(start));
        }
        let (balance, proof) = (median(balance), median(proof));
        println!(r#"{{"depth":{depth},"n":{ROUNDS},"balance_ms":{balance:.2},"proof_ms":{proof:.2}}}"#);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn block(height: u64) -> B256 {
    keccak256(height.to_be_bytes())
}

fn diff(indices: impl IntoIterator<Item = u64>, nonce: u64) -> StateDiff {
    let account = |index| {
        let balance = U256::from(1_000_000_000_000_000_000_u128 + u128::from(index * nonce));
        AccountDiff { account: Some(Account { nonce, balance, ..Account::EMPTY }), ..AccountDiff::default() }
    };
    let accounts: BTreeMap<_, _> = indices.into_iter().map(|index| (address(index), account(index))).collect();
    StateDiff { accounts, ..StateDiff::default() }
}

fn address(index: u64) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}
