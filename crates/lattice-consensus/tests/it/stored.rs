//! A DAG that holds a handful of blocks in memory and reads the others gives the answers of one that holds all.

use std::sync::Arc;

use alloy_primitives::B256;
use lattice_consensus::{BlockFacts, CheckError, Dag, DagParams, Residency};
use lattice_storage::{Batch, Kv, MemoryKv, StorageFault, Table};

use crate::{
    random::{Rng, Shape},
    restart::{create, insert},
    text::{facts, hash, params},
};

fn residency(rng: &mut Rng) -> Residency {
    Residency { blocks: 1 + rng.below(20) as u64, cached: 2 + rng.below(12) }
}

pub fn open(kv: &MemoryKv, params: DagParams, residency: Residency) -> Dag {
    Dag::open_with(Arc::new(kv.clone()), params, residency).unwrap().unwrap()
}

/// Some old parents, so that the store is asked for blocks far back.
fn old_parents(shape: &mut Shape, rng: &mut Rng) {
    for block in 1..shape.parents.len() {
        if rng.below(8) == 0 {
            let old = rng.below(block);
            if !shape.parents[block].contains(&old) {
                shape.parents[block].push(old);
            }
        }
    }
}

/// Every answer about every block, and about every pair.
fn agree(whole: &Dag, stored: &Dag, shape: &Shape, place: &str) {
    let all = |_: &B256| Ok(true);
    assert_eq!(whole.tips(), stored.tips(), "{place}");
    let sink = whole.best(all).unwrap();
    assert_eq!(sink, stored.best(all).unwrap(), "{place}");
    let parents = whole.select_parents(&sink, all, |_| Ok(0), 4).unwrap();
    assert_eq!(parents, stored.select_parents(&sink, all, |_| Ok(0), 4).unwrap(), "{place}");
    let chain = |dag: &Dag| dag.selected_chain(&sink).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(chain(whole), chain(stored), "{place}");
    for b in 0..whole.len() as usize {
        let b = shape.hash(b);
        assert_eq!(whole.facts(&b).unwrap(), stored.facts(&b).unwrap(), "{place}");
        assert_eq!(whole.ghostdag(&b).unwrap(), stored.ghostdag(&b).unwrap(), "{place}");
        assert_eq!(whole.blues_anticone_sizes(&b).unwrap(), stored.blues_anticone_sizes(&b).unwrap(), "{place}");
        assert_eq!(whole.chain_path(&b, &sink).unwrap(), stored.chain_path(&b, &sink).unwrap(), "{place}");
        for depth in [0, 3, 20] {
            let found = stored.chain_block_at_depth(&b, depth).unwrap();
            assert_eq!(whole.chain_block_at_depth(&b, depth).unwrap(), found, "{place}");
        }
        for a in 0..whole.len() as usize {
            let a = shape.hash(a);
            assert_eq!(whole.is_ancestor(&a, &b).unwrap(), stored.is_ancestor(&a, &b).unwrap(), "{place}: {a} {b}");
            let on_chain = stored.is_chain_ancestor(&a, &b).unwrap();
            assert_eq!(whole.is_chain_ancestor(&a, &b).unwrap(), on_chain, "{place}: {a} {b}");
        }
    }
}

#[test]
fn few_resident_blocks_answer_as_all_do() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed ^ 0x570);
        let mut shape = Shape::random(seed, 120);
        old_parents(&mut shape, &mut rng);
        let kv = MemoryKv::new();
        let mut whole = create(&kv, &shape.facts(0), shape.params());
        let mut stored = open(&kv, shape.params(), residency(&mut rng));
        for block in 1..shape.parents.len() {
            let facts = shape.facts(block);
            let prepared = whole.check_nothing(&facts).unwrap();
            whole.insert(prepared, &mut Batch::new()).unwrap();
            insert(&mut stored, &kv, &facts);
            if rng.below(10) == 0 {
                stored = open(&kv, shape.params(), residency(&mut rng));
            }
        }
        agree(&whole, &stored, &shape, &format!("seed {seed}"));
        agree(&whole, &open(&kv, shape.params(), Residency::default()), &shape, &format!("seed {seed}, reopened"));
    }
}

/// Longer than the bit rows, in a shape that relabels intervals again and again.
#[test]
fn relabelling_reaches_nodes_in_the_store() {
    let block = |i: usize| hash(&format!("{i:05}"));
    let facts_of = |i: usize| {
        let mut parents = vec![block((i - 1) / 8 * 8)];
        if i.is_multiple_of(11) && i > 3_000 {
            parents.push(block(i - 2_900));
        }
        facts(block(i), parents, i as u64)
    };
    let (len, limits) = (4_500, Residency { blocks: 40, cached: 64 });
    let kv = MemoryKv::new();
    let mut whole = create(&kv, &facts(block(0), vec![], 0), params(4));
    let mut stored = open(&kv, params(4), limits);
    let mut old = 0;
    for i in 1..len {
        let prepared = whole.check_nothing(&facts_of(i)).unwrap();
        whole.insert(prepared, &mut Batch::new()).unwrap();
        let ops = insert(&mut stored, &kv, &facts_of(i));
        let nodes = ops.iter().filter(|op| op.table == Table::Reachability);
        old += nodes.filter(|op| op.key < (i as u64).saturating_sub(60).to_be_bytes().to_vec()).count();
        if i.is_multiple_of(700) {
            stored = open(&kv, params(4), limits);
        }
    }
    assert!(old > 1_000, "the shape must relabel old nodes: {old}");
    for b in (0..len).step_by(7) {
        for a in (b % 5..len).step_by(5) {
            let (a, b) = (block(a), block(b));
            assert_eq!(whole.is_ancestor(&a, &b).unwrap(), stored.is_ancestor(&a, &b).unwrap());
            assert_eq!(whole.is_chain_ancestor(&a, &b).unwrap(), stored.is_chain_ancestor(&a, &b).unwrap());
        }
    }
}

/// A chain of blocks, all but the newest on disk only, and the record of block 2 damaged after opening.
#[test]
fn a_record_that_is_damaged_later_is_a_fault_when_it_is_needed() {
    let block = |i: u64| hash(&format!("{i:03}"));
    let chain = |i: u64| facts(block(i), vec![block(i - 1)], i);
    for (table, what) in [(Table::Ghostdag, "ghostdag"), (Table::Reachability, "reachability")] {
        let kv = MemoryKv::new();
        create(&kv, &facts(block(0), vec![], 0), params(3));
        let mut dag = open(&kv, params(3), Residency { blocks: 4, cached: 2 });
        for i in 1..40 {
            insert(&mut dag, &kv, &chain(i));
        }
        let dag = open(&kv, params(3), Residency { blocks: 4, cached: 2 });
        let mut batch = Batch::new();
        batch.put(table, 2u64.to_be_bytes(), *b"damaged");
        kv.write(batch).unwrap();
        // A block on the damaged one.
        let child = BlockFacts { blue_score: 3, blue_work: 3, ..facts(hash("x"), vec![block(2)], 99) };
        let other = facts(hash("y"), vec![block(2), block(39)], 99);
        let fault = match dag.check(&child) {
            Err(CheckError::Fault(fault)) => fault.to_string(),
            _ => match dag.check(&other) {
                Err(CheckError::Fault(fault)) => fault.to_string(),
                other => panic!("{what}: {other:?}"),
            },
        };
        assert!(fault.contains(what) && fault.contains("block number 2 does not decode"), "{fault}");
        let deep: Result<Vec<_>, StorageFault> = dag.selected_chain(&block(39)).collect();
        assert_eq!(deep.is_err(), table == Table::Ghostdag);
        assert_eq!(dag.is_chain_ancestor(&block(2), &block(39)).is_err(), table == Table::Reachability);
        assert!(dag.best(|_| Ok(true)).is_ok(), "what is not needed does not matter");
    }
}

/// Opening reads the window, not the DAG.
#[test]
fn opening_reads_recent_blocks_only() {
    let block = |i: u64| hash(&format!("{i:05}"));
    let kv = MemoryKv::new();
    create(&kv, &facts(block(0), vec![], 0), params(3));
    let limits = Residency { blocks: 32, cached: 8 };
    let mut dag = open(&kv, params(3), limits);
    for i in 1..1_000 {
        insert(&mut dag, &kv, &facts(block(i), vec![block(i - 1)], i));
    }
    // Everything before the window may be unreadable.
    let mut batch = Batch::new();
    for i in 0..900u64 {
        batch.put(Table::Ghostdag, i.to_be_bytes(), *b"?");
        batch.put(Table::Reachability, i.to_be_bytes(), *b"?");
        batch.put(Table::Relations, block(i).to_vec(), *b"?");
    }
    kv.write(batch).unwrap();
    let dag = open(&kv, params(3), limits);
    assert_eq!((dag.len(), dag.best(|_| Ok(true)).unwrap()), (1_000, block(999)));
    assert_eq!(dag.virtual_data(&[block(999)]).unwrap().blue_score, 1_000);
    assert!(dag.contains(&block(1)).is_err());
}
