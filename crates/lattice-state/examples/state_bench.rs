//! Times and sizes of the state: run in release.
//!
//! Prints wall and processor time for batches of updates with their root over 300,000 accounts, the memory of 1,000,000
//! accounts, and the time to rebuild those from the flat base. Figures belong to the machine they were taken on.
#![allow(clippy::unwrap_used)]

mod measure;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::{Account, AccountDiff, Layers, Retention, State, StateDiff};
use lattice_storage::{Batch, Kv, MemoryKv};
use measure::{processor_ms, resident_mb};

/// Argument that asks for the second part alone.
const MILLION: &str = "million";

fn main() {
    if std::env::args().any(|argument| argument == MILLION) {
        return million();
    }
    keccak();
    // Held while memory is measured, so that the trie cannot settle in what the diff leaves behind.
    let genesis = diff(0..300_000, 1);
    let before = resident_mb();
    let state = timed("300,000 accounts: build", || State::empty().apply(&genesis));
    timed("300,000 accounts: first root", || state.root());
    println!("300,000 accounts: {:.0} MB", resident_mb() - before);
    for (count, rounds) in [(1_000_u64, 40_u64), (10_000, 20)] {
        update(&state, count, rounds, 0);
        update(&state, count, rounds, 4);
    }
    lookups(&state);
    // A process of its own: memory that was freed here would hide what the rebuilt trie takes.
    Command::new(std::env::current_exe().unwrap()).arg(MILLION).status().unwrap();
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

fn million() {
    let kv = Arc::new(MemoryKv::new());
    let mut batch = Batch::new();
    let genesis = diff(0..1_000_000, 1);
    std::mem::forget(Layers::init(kv.clone(), B256::ZERO, &genesis, Retention::default(), &mut batch).unwrap());
    kv.write(batch).unwrap();
    let before = resident_mb();
    let layers = timed("1,000,000 accounts: rebuild from the flat base", || {
        Layers::open(kv.clone(), Retention::default()).unwrap()
    });
    let state = layers.resident(&layers.base()).unwrap().clone();
    timed("1,000,000 accounts: first root", || state.root());
    println!("1,000,000 accounts: {:.0} MB", resident_mb() - before);
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
