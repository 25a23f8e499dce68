//! What is written is what is opened: restarts, refused writes, spoilt records.

use std::sync::Arc;

use lattice_consensus::{BlockFacts, Dag, DagParams, GhostdagData};
use lattice_storage::{Batch, FaultKind, FaultyKv, FjallKv, Kv, KvRead, MemoryKv, StorageFault, Table, WriteOp};

use crate::{
    random::{Rng, Shape},
    text::{facts, hash, params},
};

/// Inserts a block and writes its records.
pub fn insert(dag: &mut Dag, kv: &dyn Kv, facts: &BlockFacts) -> Vec<WriteOp> {
    let mut batch = Batch::new();
    let prepared = dag.check_nothing(facts).unwrap();
    dag.insert(prepared, &mut batch).unwrap();
    let ops = batch.clone().into_ops();
    kv.write(batch).unwrap();
    ops
}

pub fn create(kv: &dyn Kv, genesis: &BlockFacts, params: DagParams) -> Dag {
    let mut batch = Batch::new();
    let dag = Dag::new(genesis, params, &mut batch);
    kv.write(batch).unwrap();
    dag
}

fn assert_same(a: &Dag, b: &Dag) {
    assert_eq!((a.len(), a.genesis(), a.tips(), a.params()), (b.len(), b.genesis(), b.tips(), b.params()));
    let mut open = a.tips();
    let mut seen = 0;
    while let Some(hash) = open.pop() {
        assert_eq!(a.facts(&hash).unwrap().unwrap(), b.facts(&hash).unwrap().unwrap());
        assert_eq!(a.ghostdag(&hash).unwrap(), b.ghostdag(&hash).unwrap());
        assert_eq!(a.blues_anticone_sizes(&hash).unwrap(), b.blues_anticone_sizes(&hash).unwrap());
        assert_eq!(a.key(&hash).unwrap(), b.key(&hash).unwrap());
        open.extend(a.selected_parent(&hash).unwrap());
        seen += 1;
    }
    assert!(seen >= a.tips().len());
}

#[test]
fn an_empty_store_has_no_dag() {
    assert!(Dag::open(Arc::new(MemoryKv::new()), params(3)).unwrap().is_none());
}

#[test]
fn a_reopened_dag_goes_on_as_if_never_closed() {
    for seed in 0..60 {
        println!("seed {seed}");
        let shape = Shape::random(seed, 64);
        let kv = MemoryKv::new();
        let mut kept = create(&kv, &shape.facts(0), shape.params());
        let mut rng = Rng::new(seed);
        let mut reopened = Dag::open(Arc::new(kv.clone()), shape.params()).unwrap().unwrap();
        for block in 1..shape.parents.len() {
            let mut batch = Batch::new();
            let prepared = reopened.check_nothing(&shape.facts(block)).unwrap();
            reopened.insert(prepared, &mut batch).unwrap();
            // The same records, intervals included: the whole state behind them is the same.
            assert_eq!(batch.into_ops(), insert(&mut kept, &kv, &shape.facts(block)), "block {block}");
            if rng.below(3) == 0 {
                reopened = Dag::open(Arc::new(kv.clone()), shape.params()).unwrap().unwrap();
                assert_same(&kept, &reopened);
            }
        }
        for a in 0..shape.parents.len() {
            for b in 0..shape.parents.len() {
                let (a, b) = (shape.hash(a), shape.hash(b));
                assert_eq!(kept.is_ancestor(&a, &b).unwrap(), reopened.is_ancestor(&a, &b).unwrap());
                assert_eq!(kept.is_chain_ancestor(&a, &b).unwrap(), reopened.is_chain_ancestor(&a, &b).unwrap());
            }
        }
    }
}

/// A tree that keeps relabelling intervals, longer than the bit rows, on the real engine.
#[test]
fn relabelled_intervals_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let kv = FjallKv::open(folder.path()).unwrap();
    let block = |i: usize| hash(&format!("{i:05}"));
    // Every level has eight children and goes on in the last; some merge a block far back.
    let facts_of = |i: usize| {
        let mut parents = vec![block((i - 1) / 8 * 8)];
        if i.is_multiple_of(11) && i > 3_000 {
            parents.push(block(i - 2_900));
        }
        facts(block(i), parents, i as u64)
    };
    let len = 4_000;
    let mut dag = create(&kv, &facts(block(0), vec![], 0), params(4));
    let mut relabelled = 0;
    for i in 1..len {
        let ops = insert(&mut dag, &kv, &facts_of(i));
        relabelled += ops.iter().filter(|op| op.table == Table::Reachability).count() - 1;
    }
    assert!(relabelled > 1_000, "the shape must make the tree relabel: {relabelled}");
    drop(kv);
    let kv = Arc::new(FjallKv::open(folder.path()).unwrap());
    let mut reopened = Dag::open(kv.clone(), params(4)).unwrap().unwrap();
    assert_same(&dag, &reopened);
    for b in (0..len).step_by(7) {
        for a in (b % 5..len).step_by(5) {
            let (a, b) = (block(a), block(b));
            assert_eq!(dag.is_ancestor(&a, &b).unwrap(), reopened.is_ancestor(&a, &b).unwrap());
            assert_eq!(dag.is_chain_ancestor(&a, &b).unwrap(), reopened.is_chain_ancestor(&a, &b).unwrap());
        }
    }
    for i in len..len + 200 {
        let mut batch = Batch::new();
        let prepared = reopened.check_nothing(&facts_of(i)).unwrap();
        reopened.insert(prepared, &mut batch).unwrap();
        let staged = batch.into_ops();
        assert_eq!(staged, insert(&mut dag, &kv, &facts_of(i)), "block {i}");
    }
}

#[test]
fn views_read_single_blocks() {
    let kv = MemoryKv::new();
    let shape = Shape::random(5, 40);
    let mut dag = create(&kv, &shape.facts(0), shape.params());
    for block in 1..shape.parents.len() {
        insert(&mut dag, &kv, &shape.facts(block));
    }
    let snapshot = kv.snapshot();
    for block in 0..shape.parents.len() {
        let hash = shape.hash(block);
        assert_eq!(GhostdagData::load(&*snapshot, &hash).unwrap(), dag.ghostdag(&hash).unwrap());
        assert_eq!(BlockFacts::load(&*snapshot, &hash).unwrap(), dag.facts(&hash).unwrap());
    }
    assert_eq!(GhostdagData::load(&*snapshot, &hash("unknown")).unwrap(), None);
    assert_eq!(BlockFacts::load(&*snapshot, &hash("unknown")).unwrap(), None);
}

#[test]
fn a_refused_write_leaves_the_store_as_it_was() {
    for kind in [FaultKind::Refuse, FaultKind::RefuseAfter] {
        let memory = MemoryKv::new();
        let shape = Shape::random(77, 40);
        let last = shape.parents.len() - 1;
        // Write 1 is genesis, write n + 1 is block n: the last one fails.
        let kv = FaultyKv::new(memory.clone(), kind, last as u64 + 1);
        let mut dag = create(&kv, &shape.facts(0), shape.params());
        for block in 1..last {
            insert(&mut dag, &kv, &shape.facts(block));
        }
        let mut batch = Batch::new();
        let prepared = dag.check_nothing(&shape.facts(last)).unwrap();
        dag.insert(prepared, &mut batch).unwrap();
        assert!(kv.write(batch).is_err());
        let reopened = Dag::open(Arc::new(memory), shape.params()).unwrap().unwrap();
        let applied = kind == FaultKind::RefuseAfter;
        assert_eq!(reopened.contains(&shape.hash(last)).unwrap(), applied);
        let expected = shape.build(0..last + usize::from(applied));
        assert_same(&expected, &reopened);
    }
}

#[test]
fn spoilt_records_are_faults() {
    let fresh = || {
        let kv = MemoryKv::new();
        let mut dag = create(&kv, &facts(hash("A"), vec![], 0), params(3));
        for (slot, block, parent) in [(1, "B", "A"), (2, "C", "B"), (3, "D", "C")] {
            insert(&mut dag, &kv, &facts(hash(block), vec![hash(parent)], slot));
        }
        kv
    };
    let (hash_key, index_key) = (hash("C").to_vec(), 2u64.to_be_bytes().to_vec());
    let keys = [(Table::Relations, hash_key), (Table::Ghostdag, index_key.clone()), (Table::Reachability, index_key)];
    let record = |kv: &MemoryKv, table, key: &[u8]| kv.get(table, key).unwrap().unwrap();
    let spoil = |change: &dyn Fn(&MemoryKv, &mut Batch)| {
        let kv = fresh();
        let mut batch = Batch::new();
        change(&kv, &mut batch);
        kv.write(batch).unwrap();
        match Dag::open(Arc::new(kv), params(3)) {
            Err(error @ StorageFault::Corrupt { .. }) => error.to_string(),
            other => panic!("expected a fault, got {other:?}"),
        }
    };
    for (table, key) in &keys {
        let text = spoil(&|_, batch| batch.delete(*table, key.clone()));
        assert!(text.contains("corrupt record in table"), "{text}");
        let text = spoil(&|kv, batch| {
            let record = record(kv, *table, key);
            batch.put(*table, key.clone(), &record[..record.len() - 1]);
        });
        assert!(text.contains("does not decode") || text.contains("7 bytes, not 8"), "{text}");
    }
    // Two blocks with one interval, and an insertion index twice.
    let text = spoil(&|kv, batch| {
        batch.put(Table::Reachability, 3u64.to_be_bytes(), record(kv, Table::Reachability, &keys[2].1));
    });
    assert!(text.contains("out of order"), "{text}");
    let text = spoil(&|kv, batch| {
        batch.put(Table::Relations, hash("D").to_vec(), record(kv, Table::Relations, &keys[0].1));
    });
    assert!(text.contains("insertion index"), "{text}");
    for (key, value) in [("dag genesis", vec![0; 31]), ("dag window", vec![0; 7]), ("dag pruning", vec![0; 9])] {
        let text = spoil(&|_, batch| batch.put(Table::Meta, key.as_bytes(), value.clone()));
        assert!(text.contains("corrupt record in table meta"), "{text}");
    }
}
