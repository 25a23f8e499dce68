//! What every engine must do. Each function takes a fresh store.

use std::{collections::BTreeMap, ops::ControlFlow, thread};

use lattice_storage::{Batch, Kv, KvRead, Table};
use proptest::{collection::vec, prelude::*};

type Records = Vec<(Vec<u8>, Vec<u8>)>;

pub fn records(kv: &dyn KvRead, table: Table, from: &[u8], to: Option<&[u8]>) -> Records {
    let mut out = Vec::new();
    kv.scan(table, from, to, &mut |key, value| {
        out.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    out
}

fn records_back(kv: &dyn KvRead, table: Table, from: &[u8], to: Option<&[u8]>) -> Records {
    let mut out = Vec::new();
    kv.scan_back(table, from, to, &mut |key, value| {
        out.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    out
}

pub fn put(kv: &dyn Kv, table: Table, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(table, key, value);
    kv.write(batch).unwrap();
}

/// All of it but reopening, which depends on how an engine is made.
pub fn suite(fresh: &dyn Fn() -> Box<dyn Kv>) {
    reads_what_was_written(&*fresh());
    keys_are_ordered_as_bytes(&*fresh());
    ranges_are_half_open(&*fresh());
    a_visitor_may_stop_and_may_read(&*fresh());
    tables_do_not_touch(&*fresh());
    a_batch_is_one_step(&*fresh());
    a_snapshot_does_not_move(&*fresh());
    readers_never_see_half_a_batch(&*fresh());
    agrees_with_a_map(fresh);
}

fn reads_what_was_written(kv: &dyn Kv) {
    assert_eq!(kv.get(Table::Meta, b"a").unwrap(), None);
    put(kv, Table::Meta, b"a", b"1");
    put(kv, Table::Meta, b"empty", b"");
    assert_eq!(kv.get(Table::Meta, b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    assert_eq!(kv.get(Table::Meta, b"empty").unwrap().as_deref(), Some(b"".as_slice()));
    assert!(kv.contains(Table::Meta, b"empty").unwrap());
    put(kv, Table::Meta, b"a", b"2");
    assert_eq!(kv.get(Table::Meta, b"a").unwrap().as_deref(), Some(b"2".as_slice()));
    let mut batch = Batch::new();
    batch.delete(Table::Meta, *b"a");
    batch.delete(Table::Meta, *b"never there");
    kv.write(batch).unwrap();
    assert_eq!(kv.get(Table::Meta, b"a").unwrap(), None);
    assert!(!kv.contains(Table::Meta, b"a").unwrap());
    let large = vec![7u8; 700_000];
    put(kv, Table::Bodies, b"large", &large);
    assert_eq!(kv.get(Table::Bodies, b"large").unwrap(), Some(large));
    kv.write(Batch::new()).unwrap();
    kv.sync().unwrap();
}

fn keys_are_ordered_as_bytes(kv: &dyn Kv) {
    let keys: [&[u8]; 6] = [&[0], &[0, 0], &[0, 255], &[1], &[127, 1], &[255, 255, 255]];
    for key in [3, 0, 5, 1, 4, 2] {
        put(kv, Table::Headers, keys[key], &[key as u8]);
    }
    let found: Vec<_> = records(kv, Table::Headers, &[], None).into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, keys);
    let mut back: Vec<_> = records_back(kv, Table::Headers, &[], None).into_iter().map(|(key, _)| key).collect();
    back.reverse();
    assert_eq!(back, keys);
}

fn ranges_are_half_open(kv: &dyn Kv) {
    for key in 0..200u8 {
        put(kv, Table::State, &[key], &[key]);
    }
    let keys = |from: &[u8], to: Option<&[u8]>| {
        let forth: Vec<u8> = records(kv, Table::State, from, to).iter().map(|(key, _)| key[0]).collect();
        let mut back: Vec<u8> = records_back(kv, Table::State, from, to).iter().map(|(key, _)| key[0]).collect();
        back.reverse();
        assert_eq!(forth, back);
        forth
    };
    assert_eq!(keys(&[10], Some(&[13])), [10, 11, 12]);
    assert_eq!(keys(&[10, 0], Some(&[12, 0])), [11, 12]);
    assert_eq!(keys(&[197], None), [197, 198, 199]);
    assert_eq!(keys(&[], Some(&[2])), [0, 1]);
    assert_eq!(keys(&[], Some(&[])), [0u8; 0]);
    assert_eq!(keys(&[5], Some(&[5])), [0u8; 0]);
    assert_eq!(keys(&[6], Some(&[5])), [0u8; 0]);
    assert_eq!(keys(&[200], None), [0u8; 0]);
    assert_eq!(keys(&[], None), (0..200).collect::<Vec<_>>());
}

fn a_visitor_may_stop_and_may_read(kv: &dyn Kv) {
    for key in 0..10u8 {
        put(kv, Table::State, &[key], &[key]);
    }
    let mut seen = Vec::new();
    kv.scan(Table::State, &[2], None, &mut |key, _| {
        seen.push(kv.get(Table::State, key).unwrap().unwrap()[0]);
        // A write during a scan is not seen by the scan.
        put(kv, Table::State, &[key[0], 1], &[99]);
        if key[0] == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(seen, [2, 3, 4, 5]);
}

fn tables_do_not_touch(kv: &dyn Kv) {
    let mut batch = Batch::new();
    for table in Table::ALL {
        batch.put(table, *b"key", table.name());
    }
    kv.write(batch).unwrap();
    let mut batch = Batch::new();
    batch.delete(Table::Meta, *b"key");
    kv.write(batch).unwrap();
    for table in Table::ALL {
        let expected = (table != Table::Meta).then(|| table.name().as_bytes().to_vec());
        assert_eq!(kv.get(table, b"key").unwrap(), expected, "{table:?}");
    }
}

fn a_batch_is_one_step(kv: &dyn Kv) {
    put(kv, Table::Meta, b"gone", b"x");
    let mut batch = Batch::new();
    batch.put(Table::Meta, *b"twice", *b"first");
    batch.delete(Table::Meta, *b"gone");
    batch.put(Table::Headers, *b"h", *b"1");
    batch.put(Table::Meta, *b"twice", *b"second");
    batch.put(Table::Meta, *b"back", *b"1");
    batch.delete(Table::Meta, *b"back");
    assert_eq!(kv.get(Table::Headers, b"h").unwrap(), None, "a staged change is not visible");
    kv.write(batch).unwrap();
    assert_eq!(kv.get(Table::Meta, b"twice").unwrap().as_deref(), Some(b"second".as_slice()));
    assert_eq!(kv.get(Table::Meta, b"gone").unwrap(), None);
    assert_eq!(kv.get(Table::Meta, b"back").unwrap(), None);
    assert_eq!(kv.get(Table::Headers, b"h").unwrap().as_deref(), Some(b"1".as_slice()));
}

fn a_snapshot_does_not_move(kv: &dyn Kv) {
    put(kv, Table::Meta, b"a", b"1");
    put(kv, Table::Meta, b"b", b"1");
    let before = kv.snapshot();
    let mut batch = Batch::new();
    batch.put(Table::Meta, *b"a", *b"2");
    batch.delete(Table::Meta, *b"b");
    batch.put(Table::Meta, *b"c", *b"2");
    kv.write(batch).unwrap();
    let after = kv.snapshot();
    put(kv, Table::Meta, b"a", b"3");
    let record = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    assert_eq!(records(&*before, Table::Meta, &[], None), [record(b"a", b"1"), record(b"b", b"1")]);
    assert_eq!(records_back(&*after, Table::Meta, &[], None), [record(b"c", b"2"), record(b"a", b"2")]);
    assert_eq!(before.get(Table::Meta, b"b").unwrap().as_deref(), Some(b"1".as_slice()));
    assert_eq!(before.get(Table::Meta, b"c").unwrap(), None);
    assert_eq!(after.get(Table::Meta, b"b").unwrap(), None);
    assert_eq!(kv.get(Table::Meta, b"a").unwrap().as_deref(), Some(b"3".as_slice()));
}

fn readers_never_see_half_a_batch(kv: &dyn Kv) {
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..300u32 {
                let mut batch = Batch::new();
                for key in 0..20u8 {
                    batch.put(if key < 10 { Table::State } else { Table::Meta }, [key], round.to_be_bytes());
                }
                kv.write(batch).unwrap();
            }
        });
        while !writer.is_finished() {
            let snapshot = kv.snapshot();
            let mut values = records(&*snapshot, Table::State, &[], None);
            values.extend(records(&*snapshot, Table::Meta, &[], None));
            assert!(values.is_empty() || values.len() == 20, "{} records", values.len());
            assert!(values.windows(2).all(|pair| pair[0].1 == pair[1].1), "{values:?}");
        }
    });
}

/// Random batches against a `BTreeMap`, with snapshots compared later to copies of the map.
fn agrees_with_a_map(fresh: &dyn Fn() -> Box<dyn Kv>) {
    let op = (0..2usize, vec(0..4u8, 1..3), proptest::option::of(vec(any::<u8>(), 0..4)));
    let batches = vec(vec(op, 0..12), 1..12);
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(batches in batches, from in vec(0..4u8, 0..3), to in vec(0..4u8, 0..3))| {
        let tables = [Table::State, Table::Layers];
        let kv = fresh();
        let mut model: [BTreeMap<Vec<u8>, Vec<u8>>; 2] = Default::default();
        let mut moments = Vec::new();
        for ops in batches {
            let mut batch = Batch::new();
            for (table, key, value) in ops {
                match value {
                    Some(value) => {
                        batch.put(tables[table], key.clone(), value.clone());
                        model[table].insert(key, value);
                    }
                    None => {
                        batch.delete(tables[table], key.clone());
                        model[table].remove(&key);
                    }
                }
            }
            kv.write(batch).unwrap();
            moments.push((kv.snapshot(), model.clone()));
        }
        for (snapshot, model) in &moments {
            for (table, model) in tables.into_iter().zip(model) {
                let mut expected: Records = model
                    .iter()
                    .filter(|(key, _)| **key >= from && **key < to)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                prop_assert_eq!(&records(&**snapshot, table, &from, Some(&to)), &expected);
                expected.reverse();
                prop_assert_eq!(&records_back(&**snapshot, table, &from, Some(&to)), &expected);
                prop_assert_eq!(records(&**snapshot, table, &[], None).len(), model.len());
            }
        }
    });
}
