//! Layers: forks, flattening and restarts against plain maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_state::{Account, AccountDiff, Layers, Retention, State, StateDiff, StateFault};
use lattice_storage::{Batch, Kv, KvRead, MemoryKv, StorageFault, Table};
use proptest::prelude::*;

use crate::oracle::{self, Model};

fn block(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

/// Layers next to the plain maps that they stand for.
struct Bench {
    kv: Arc<MemoryKv>,
    layers: Layers,
    /// Parent and content of each version that must be there, the base included.
    models: BTreeMap<B256, (B256, Model)>,
    codes: BTreeMap<B256, Bytes>,
    blocks_made: u64,
    retention: Retention,
}

impl Bench {
    fn new(genesis: &StateDiff) -> Self {
        Self::keeping(genesis, Retention::default())
    }

    fn keeping(genesis: &StateDiff, retention: Retention) -> Self {
        let kv = Arc::new(MemoryKv::new());
        let mut batch = Batch::new();
        let layers = Layers::init(kv.clone(), block(0), genesis, retention, &mut batch).unwrap();
        kv.write(batch).unwrap();
        let mut model = Model::new();
        oracle::apply(&mut model, genesis);
        let models = [(block(0), (B256::ZERO, model))].into();
        Self { kv, layers, models, codes: genesis.codes.clone(), blocks_made: 0, retention }
    }

    /// One of the versions there are.
    fn pick(&self, index: &prop::sample::Index) -> B256 {
        *index.get(&self.models.keys().copied().collect::<Vec<_>>())
    }

    fn extend(&mut self, parent: B256, diff: &StateDiff, batch: &mut Batch) -> B256 {
        self.blocks_made += 1;
        let block = block(self.blocks_made);
        let state = self.layers.state(&parent).unwrap().unwrap().apply(diff);
        self.layers.insert(block, parent, diff, state, batch).unwrap();
        let mut model = self.models[&parent].1.clone();
        oracle::apply(&mut model, diff);
        self.models.insert(block, (parent, model));
        self.codes.extend(diff.codes.clone());
        block
    }

    fn descends(&self, block: B256, ancestor: B256) -> bool {
        let mut next = block;
        while next != ancestor {
            match self.models.get(&next) {
                Some((parent, _)) => next = *parent,
                None => return false,
            }
        }
        true
    }

    fn flatten(&mut self, block: B256, batch: &mut Batch) {
        self.layers.flatten_to(block, batch).unwrap();
        let kept: Vec<_> = self.models.keys().copied().filter(|other| self.descends(*other, block)).collect();
        self.models.retain(|other, _| kept.contains(other));
    }

    fn commit(&self, batch: Batch) {
        self.kv.write(batch).unwrap();
    }

    fn reopen(&mut self) {
        self.layers = Layers::open(self.kv.clone(), self.retention).unwrap();
    }

    fn check(&self) {
        assert_eq!(self.layers.len() + 1, self.models.len());
        assert_eq!(self.layers.is_empty(), self.models.len() == 1);
        // Layers of a batch are bounded once the next one comes.
        assert!(self.layers.resident_len() <= self.retention.resident_max + 4);
        for number in 0..=self.blocks_made {
            let block = block(number);
            let state = self.layers.state(&block).unwrap();
            assert_eq!(state.is_some(), self.layers.contains(&block));
            match self.models.get(&block) {
                None => assert!(state.is_none(), "block {number} should be gone"),
                Some((parent, model)) => {
                    let state = state.unwrap_or_else(|| panic!("block {number} is missing"));
                    assert_eq!(state.root(), oracle::state_root(model), "block {number}");
                    assert_eq!(state.account_count(), model.len());
                    let expected = (block != self.layers.base()).then_some(*parent);
                    assert_eq!(self.layers.parent(&block), expected);
                    for (hash, code) in &self.codes {
                        assert_eq!(state.code(hash).unwrap().as_ref(), Some(code));
                    }
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Adds blocks on any version, in one batch.
    Extend(Vec<(prop::sample::Index, StateDiff)>),
    /// Flattens to any version; the flag commits it together with a block on top.
    Flatten(prop::sample::Index, Option<StateDiff>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    let blocks = prop::collection::vec((any::<prop::sample::Index>(), oracle::diffs()), 1..4);
    prop_oneof![
        4 => blocks.prop_map(Step::Extend),
        1 => (any::<prop::sample::Index>(), prop::option::of(oracle::diffs()))
            .prop_map(|(index, diff)| Step::Flatten(index, diff)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn forks_flattening_and_restarts_match_plain_maps(
        genesis in oracle::diffs(),
        resident_max in prop_oneof![Just(0_usize), Just(1), Just(3), Just(100)],
        archive in any::<bool>(),
        steps in prop::collection::vec(steps(), 1..12),
    ) {
        let mut bench = Bench::keeping(&genesis, Retention { resident_max, archive });
        for step in steps {
            let mut batch = Batch::new();
            match step {
                Step::Extend(blocks) => {
                    for (index, diff) in blocks {
                        bench.extend(bench.pick(&index), &diff, &mut batch);
                    }
                }
                Step::Flatten(index, diff) => {
                    let target = bench.pick(&index);
                    let target = match diff {
                        Some(diff) => bench.extend(target, &diff, &mut batch),
                        None => target,
                    };
                    bench.flatten(target, &mut batch);
                }
                Step::Reopen => bench.reopen(),
            }
            bench.commit(batch);
            bench.check();
        }
        bench.reopen();
        bench.check();
    }
}

fn fund(last_byte: u8, balance: u64) -> StateDiff {
    let account = Account { balance: U256::from(balance), ..Account::EMPTY };
    let change = AccountDiff { account: Some(account), ..AccountDiff::default() };
    StateDiff { accounts: [(Address::with_last_byte(last_byte), change)].into(), ..StateDiff::default() }
}

fn small() -> Bench {
    Bench::new(&fund(1, 100))
}

#[test]
fn a_lost_batch_leaves_the_store_where_it_was() {
    let mut bench = small();
    let before = bench.models.clone();
    let mut lost = Batch::new();
    let child = bench.extend(block(0), &fund(2, 7), &mut lost);
    bench.flatten(child, &mut lost);
    bench.models = before;
    bench.reopen();
    bench.check();
}

#[test]
fn blocks_without_state_are_named() {
    let mut bench = small();
    let mut batch = Batch::new();
    let stray = bench.layers.insert(block(9), block(8), &fund(2, 7), State::empty(), &mut batch);
    assert!(matches!(stray, Err(StateFault::UnknownParent { parent, .. }) if parent == block(8)));
    let unknown = bench.layers.flatten_to(block(9), &mut batch);
    assert!(matches!(unknown, Err(StateFault::UnknownBlock { block: named }) if named == block(9)));
    assert!(batch.is_empty());
    assert!(matches!(Layers::open(Arc::new(MemoryKv::new()), Retention::default()), Err(StateFault::Uninitialised)));
    bench.check();
}

#[test]
fn a_second_flattening_waits_for_the_first_to_be_committed() {
    let mut bench = small();
    let mut batch = Batch::new();
    let first = bench.extend(block(0), &fund(2, 7), &mut batch);
    let second = bench.extend(first, &fund(3, 7), &mut batch);
    bench.flatten(first, &mut batch);
    let refused = bench.layers.flatten_to(second, &mut batch);
    assert!(matches!(refused, Err(StateFault::Uncommitted { base }) if base == first));
    bench.commit(batch);
    let mut batch = Batch::new();
    bench.flatten(second, &mut batch);
    bench.commit(batch);
    bench.check();
    assert_eq!(bench.kv.table_len(Table::Layers) + bench.kv.table_len(Table::LayerLinks), 0);
    bench.reopen();
    bench.check();
}

#[test]
fn inserting_a_block_again_changes_nothing() {
    let mut bench = small();
    let mut batch = Batch::new();
    let child = bench.extend(block(0), &fund(2, 7), &mut batch);
    bench.commit(batch);
    let mut again = Batch::new();
    let state = bench.layers.state(&child).unwrap().unwrap();
    bench.layers.insert(child, block(0), &fund(2, 8), state, &mut again).unwrap();
    assert!(again.is_empty());
    bench.check();
}

#[test]
fn damaged_rows_are_reported_with_their_table() {
    let slot = [Address::with_last_byte(1).as_slice(), &[0; 32]].concat();
    let orphan = [Address::with_last_byte(9).as_slice(), &[0; 32]].concat();
    let (account, child) = (Address::with_last_byte(1), block(1));
    let link = |parent: B256, height: u64| [parent.as_slice(), &height.to_be_bytes()].concat();
    let (whole, too_high) = (link(block(0), 1), link(block(0), 2));
    let damages: [(Table, Table, &[u8], &[u8]); 10] = [
        (Table::State, Table::State, account.as_slice(), b"junk"),
        (Table::State, Table::State, &slot, &[0, 1]),
        (Table::State, Table::State, &slot, &[]),
        (Table::State, Table::State, &orphan, &[1]),
        (Table::State, Table::State, b"short", &[1]),
        (Table::LayerLinks, Table::LayerLinks, child.as_slice(), b"short"),
        (Table::LayerLinks, Table::LayerLinks, child.as_slice(), &too_high),
        (Table::LayerLinks, Table::Layers, child.as_slice(), &whole),
        (Table::Meta, Table::Meta, b"base", b"no hash"),
        (Table::Meta, Table::Meta, b"history", b"no height"),
    ];
    for (table, blamed, key, value) in damages {
        let bench = small();
        let mut batch = Batch::new();
        batch.put(table, key, value);
        bench.commit(batch);
        match Layers::open(bench.kv.clone(), bench.retention) {
            Err(StateFault::Storage(StorageFault::Corrupt { table: named, .. })) => {
                assert_eq!(named, blamed)
            }
            other => panic!("{table:?} {key:02x?} gave {other:?}"),
        }
    }
    let bench = small();
    let mut batch = Batch::new();
    batch.put(Table::LayerLinks, block(1).as_slice(), link(block(7), 1));
    bench.commit(batch);
    assert!(matches!(Layers::open(bench.kv.clone(), bench.retention), Err(StateFault::UnknownParent { .. })));
}

#[test]
fn dropped_storage_leaves_no_rows() {
    let address = Address::with_last_byte(1);
    let account = Some(Account { nonce: 1, ..Account::EMPTY });
    let filled = AccountDiff {
        account,
        storage: (1..50).map(|slot| (U256::from(slot), U256::MAX)).collect(),
        ..AccountDiff::default()
    };
    let diff = |change: AccountDiff| StateDiff { accounts: [(address, change)].into(), ..StateDiff::default() };
    let mut bench = Bench::new(&diff(filled));
    assert_eq!(bench.kv.table_len(Table::State), 50);
    let mut batch = Batch::new();
    let removed = bench.extend(block(0), &diff(AccountDiff::default()), &mut batch);
    let again = AccountDiff { account, storage: [(U256::from(7), U256::ONE)].into(), ..AccountDiff::default() };
    let created = bench.extend(removed, &diff(again), &mut batch);
    bench.flatten(created, &mut batch);
    bench.commit(batch);
    assert_eq!(bench.kv.table_len(Table::State), 2);
    assert!(bench.kv.contains(Table::State, address.as_slice()).unwrap());
    bench.reopen();
    bench.check();
}
