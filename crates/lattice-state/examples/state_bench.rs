//! Times and sizes of the state: run in release.
//!
//! Prints wall and processor time for batches of updates with their root over 300,000 accounts, lookups and proofs; then,
//! over 10,000 accounts in an archive of 4,100 blocks of 100 changes each, the time of a balance and a proof at growing
//! depth, with nothing read before. Figures belong to the machine they were taken on. How memory, disk and blocks grow with
//! the number of accounts tells `lattice bench state`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::{Account, AccountDiff, Layers, Retention, State, StateDiff};
use lattice_storage::{Batch, FjallKv, Kv};

/// Runs of which the median is told.
const ROUNDS: u64 = 9;

fn main() {
    keccak();
    let genesis = diff(0..300_000, 1);
    let state = timed("300,000 accounts: build", || State::empty().apply(&genesis));
    timed("300,000 accounts: first root", || state.root());
    for (count, rounds) in [(1_000_u64, 40_u64), (10_000, 20)] {
        update(&state, count, rounds, 0);
        update(&state, count, rounds, 4);
    }
    lookups(&state);
    archive();
}

/// Averages over versions that each change `count` accounts spread over all, with `slots` storage slots in each.
fn update(state: &State, count: u64, rounds: u64, slots: u64) {
    let diffs: Vec<_> = (0..rounds)
        .map(|round| {
            let step = 300_000 / count;
            let mut diff = diff((0..count).map(|index| index * step + round), round + 2);
            for (address, change) in &mut diff.accounts {
                change.storage = (0..slots).map(|slot| (slot_of(address, slot), U256::from(round + 1))).collect();
            }
            diff
        })
        .collect();
    let mut versions = vec![state.clone()];
    let (wall, processor) = (Instant::now(), processor_ms());
    for diff in &diffs {
        let next = versions[versions.len() - 1].apply(diff);
        next.root();
        versions.push(next);
    }
    let rounds_f = rounds as f64;
    let wall = wall.elapsed().as_secs_f64() * 1e3 / rounds_f;
    let processor = (processor_ms() - processor) / rounds_f;
    println!("{count} updates with {slots} slots each + root: {wall:.1} ms wall, {processor:.1} ms processor");
}

fn lookups(state: &State) {
    let addresses: Vec<_> = (0..300_000_u64).map(|index| address(index * 7_919 % 300_000)).collect();
    let start = Instant::now();
    let found = addresses.iter().filter(|address| state.account(address).is_some()).count();
    let ns = start.elapsed().as_nanos() / addresses.len() as u128;
    println!("lookup of an account: {ns} ns ({found} found)");
    let start = Instant::now();
    let bytes: usize =
        addresses[..1_000].iter().map(|address| state.proof(address, &[]).account_proof.concat().len()).sum();
    println!("proof of an account: {} ns, {} bytes", start.elapsed().as_nanos() / 1_000, bytes / 1_000);
}

fn keccak() {
    let block = [7_u8; 532];
    let start = Instant::now();
    let mut digest = B256::ZERO;
    for _ in 0..100_000 {
        digest = std::hint::black_box(keccak256(std::hint::black_box(&block)));
    }
    println!("keccak of a full branch: {} ns ({digest})", start.elapsed().as_nanos() / 100_000);
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
    println!("archive of {BLOCKS} blocks: flattening 32 of them takes {flatten:.1} ms");
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
        println!("archive, {depth} blocks below its base: balance {balance:.2} ms, proof {proof:.2} ms (n = {ROUNDS})");
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
    let accounts: BTreeMap<_, _> = indices
        .into_iter()
        .map(|index| {
            let balance = U256::from(1_000_000_000_000_000_000_u128 + u128::from(index * nonce));
            let account = Account { nonce, balance, ..Account::EMPTY };
            (address(index), AccountDiff { account: Some(account), ..AccountDiff::default() })
        })
        .collect();
    StateDiff { accounts, ..StateDiff::default() }
}

fn address(index: u64) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}

fn slot_of(address: &Address, slot: u64) -> U256 {
    U256::from_be_bytes(keccak256([address.as_slice(), &slot.to_be_bytes()].concat()).0)
}

/// Processor time of this process, all threads; zero where /proc is absent. Resolution: one clock tick (10 ms).
fn processor_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) * 10.0
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (wall, processor) = (Instant::now(), processor_ms());
    let result = work();
    println!(
        "{what}: {:.0} ms wall, {:.0} ms processor",
        wall.elapsed().as_secs_f64() * 1e3,
        processor_ms() - processor
    );
    result
}
