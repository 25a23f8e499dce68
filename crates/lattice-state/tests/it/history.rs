//! The archive against a model that keeps every state: whole states of the past, over moves of the base, restarts,
//! evicted layers and rows of all levels.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256, keccak256};
use lattice_state::{Account, AccountDiff, History, Layers, Retention, State, StateDiff};
use lattice_storage::{Batch, Kv, KvRead, MemoryKv, StorageFault, Table};
use proptest::prelude::*;

use crate::oracle::{self, Model};

fn block(height: u64) -> B256 {
    keccak256(height.to_be_bytes())
}

/// A chain without forks whose every state is kept as plain maps.
struct Chain {
    kv: Arc<MemoryKv>,
    layers: Layers,
    models: Vec<Model>,
    retention: Retention,
}

impl Chain {
    fn new(genesis: &StateDiff, retention: Retention) -> Self {
        let kv = Arc::new(MemoryKv::new());
        let mut batch = Batch::new();
        let layers = Layers::init(kv.clone(), block(0), genesis, retention, &mut batch).unwrap();
        kv.write(batch).unwrap();
        let mut model = Model::new();
        oracle::apply(&mut model, genesis);
        Self { kv, layers, models: vec![model], retention }
    }

    fn head(&self) -> u64 {
        self.models.len() as u64 - 1
    }

    fn extend(&mut self, diff: &StateDiff) {
        let (parent, height) = (block(self.head()), self.head() + 1);
        let state = self.layers.state(&parent).unwrap().unwrap().apply(diff);
        let mut batch = Batch::new();
        self.layers.insert(block(height), parent, diff, state, &mut batch).unwrap();
        self.kv.write(batch).unwrap();
        let mut model = self.models.last().unwrap().clone();
        oracle::apply(&mut model, diff);
        self.models.push(model);
    }

    fn flatten(&mut self, height: u64) {
        let mut batch = Batch::new();
        assert_eq!(self.layers.ancestor(block(self.head()), height), Some(block(height)));
        self.layers.flatten_to(block(height), &mut batch).unwrap();
        assert_eq!(self.layers.base_height(), height);
        self.kv.write(batch).unwrap();
    }

    fn reopen(&mut self) {
        self.layers = Layers::open(self.kv.clone(), self.retention).unwrap();
    }

    fn history(&self) -> (History, Arc<dyn KvRead>) {
        (self.layers.history().unwrap(), self.kv.snapshot())
    }

    fn check(&self, height: u64, state: &State) {
        let model = &self.models[height as usize];
        assert_eq!(state.root(), oracle::state_root(model), "height {height}");
        for (address, (account, slots)) in model {
            assert_eq!(state.account(address).as_ref(), Some(account), "height {height}");
            for (slot, value) in slots {
                assert_eq!(state.storage(address, *slot), *value, "height {height}");
            }
        }
    }

    fn check_at(&self, height: u64) {
        let (history, kv) = self.history();
        let state = history.state(&*kv, height, block(height)).unwrap();
        match state {
            Some(state) => self.check(height, &state),
            None => assert!(height < history.oldest(), "height {height} is missing"),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Extend(Vec<StateDiff>),
    /// Moves the base this far towards the head.
    Flatten(prop::sample::Index),
    Reopen,
    Read(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(oracle::diffs(), 1..30).prop_map(Step::Extend),
        2 => any::<prop::sample::Index>().prop_map(Step::Flatten),
        1 => Just(Step::Reopen),
        4 => any::<prop::sample::Index>().prop_map(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_archive_gives_every_state_that_ever_was(
        genesis in oracle::diffs(),
        resident_max in prop_oneof![Just(0_usize), Just(5), Just(100)],
        steps in prop::collection::vec(steps(), 1..12),
    ) {
        let mut chain = Chain::new(&genesis, Retention { resident_max, archive: true });
        for step in steps {
            match step {
                Step::Extend(diffs) => diffs.iter().for_each(|diff| chain.extend(diff)),
                Step::Flatten(index) => {
                    let (base, head) = (chain.layers.base_height(), chain.head());
                    chain.flatten(base + index.index((head - base + 1) as usize) as u64);
                }
                Step::Reopen => chain.reopen(),
                Step::Read(index) => chain.check_at(index.index(chain.models.len()) as u64),
            }
            prop_assert!(chain.layers.resident_len() <= resident_max + 1);
        }
        // Upwards with what was read before at hand, downwards after a restart.
        (0..=chain.head()).for_each(|height| chain.check_at(height));
        chain.reopen();
        (0..=chain.head()).rev().for_each(|height| chain.check_at(height));
    }
}

/// Sets the balance of account `index`, and a slot of it.
fn touch(index: u8, value: u64) -> StateDiff {
    let account = Account { balance: U256::from(value), ..Account::EMPTY };
    let storage = [(U256::from(index), U256::from(value))].into();
    let change = AccountDiff { account: Some(account), storage, ..AccountDiff::default() };
    StateDiff { accounts: [(Address::with_last_byte(index), change)].into(), ..StateDiff::default() }
}

fn archive() -> Retention {
    Retention { resident_max: 4, archive: true }
}

/// A chain of `blocks` blocks over 7 accounts whose base lies 3 blocks below its head.
fn long(blocks: u64) -> Chain {
    let mut chain = Chain::new(&touch(0, 1), archive());
    for height in 1..=blocks {
        chain.extend(&touch((height % 7) as u8, height));
        if height.is_multiple_of(50) {
            chain.flatten(height - 3);
        }
    }
    chain.flatten(blocks - 3);
    chain
}

/// Counts the rows read.
struct Counting {
    kv: Arc<dyn KvRead>,
    reads: std::sync::atomic::AtomicU64,
}

impl KvRead for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.kv.get(table, key)
    }

    fn scan(
        &self,
        _: Table,
        _: &[u8],
        _: Option<&[u8]>,
        _: &mut lattice_storage::Visitor<'_>,
    ) -> Result<(), StorageFault> {
        panic!("history is read by key")
    }

    fn scan_back(
        &self,
        _: Table,
        _: &[u8],
        _: Option<&[u8]>,
        _: &mut lattice_storage::Visitor<'_>,
    ) -> Result<(), StorageFault> {
        panic!("history is read by key")
    }
}

#[test]
fn a_deep_read_takes_few_rows_and_its_neighbours_fewer() {
    let chain = long(3_000);
    let (history, kv) = chain.history();
    let kv = Counting { kv, reads: 0.into() };
    let reads = |height: u64| {
        let before = kv.reads.load(std::sync::atomic::Ordering::Relaxed);
        let state = history.state(&kv, height, block(height)).unwrap().unwrap();
        chain.check(height, &state);
        kv.reads.load(std::sync::atomic::Ordering::Relaxed) - before
    };
    // 2,997 single rows without sums.
    let deep = reads(5);
    assert!((60..250).contains(&deep), "{deep} rows");
    for height in (0..5).rev() {
        assert_eq!(reads(height), 1);
    }
    let upwards: u64 = (6..500).map(reads).sum();
    assert!(upwards < 25 * 500, "{upwards} rows for 494 blocks");
}

#[test]
fn an_archive_that_begins_later_says_where() {
    let mut chain = Chain::new(&touch(0, 1), Retention { resident_max: 4, archive: false });
    for height in 1..=100 {
        chain.extend(&touch((height % 7) as u8, height));
    }
    chain.flatten(60);
    assert!(chain.layers.history().is_none());
    assert_eq!(chain.kv.table_len(Table::History), 0);
    chain.retention.archive = true;
    chain.reopen();
    assert_eq!(chain.history().0.oldest(), 60);
    chain.flatten(97);
    // A store that was an archive once stays one: a gap could not be filled.
    chain.retention.archive = false;
    chain.reopen();
    let (history, kv) = chain.history();
    assert_eq!(history.oldest(), 60);
    assert!(history.state(&*kv, 59, block(59)).unwrap().is_none());
    (60..=100).for_each(|height| chain.check_at(height));
}

#[test]
fn a_missing_row_is_a_fault_that_names_it() {
    let chain = long(100);
    let mut batch = Batch::new();
    batch.delete(Table::History, [&[0][..], &90_u64.to_be_bytes()].concat());
    chain.kv.write(batch).unwrap();
    let (history, kv) = chain.history();
    let fault = history.state(&*kv, 80, block(80)).unwrap_err().to_string();
    assert!(fault.contains("history") && fault.contains("height 90"), "{fault}");
}

#[test]
fn a_reader_of_an_older_moment_is_not_led_astray_by_newer_versions() {
    let mut chain = long(200);
    let (history, kv) = chain.history();
    for height in 201..=300 {
        chain.extend(&touch((height % 7) as u8, height));
    }
    chain.flatten(290);
    (0..=300).for_each(|height| chain.check_at(height));
    for height in (0..=200).rev() {
        chain.check(height, &history.state(&*kv, height, block(height)).unwrap().unwrap());
    }
}
