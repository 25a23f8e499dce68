//! The conformance suite on the engines for tests, and what is particular to them.

use lattice_storage::{Batch, FaultKind, FaultyKv, Kv, KvRead, MemoryKv, Table};

use crate::conformance::{put, suite};

#[test]
fn memory_conforms() {
    suite(&|| Box::new(MemoryKv::new()));
}

#[test]
fn a_faulty_store_conforms_until_its_fault() {
    suite(&|| Box::new(FaultyKv::new(MemoryKv::new(), FaultKind::Refuse, 0)));
}

#[test]
fn memory_reopens_by_another_handle() {
    let kv = MemoryKv::new();
    put(&kv, Table::Meta, b"a", b"1");
    let again = kv.clone();
    drop(kv);
    assert_eq!(again.get(Table::Meta, b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    assert_eq!(again.table_len(Table::Meta), 1);
}

#[test]
fn faults_come_when_ordered() {
    let refused = |kv: &FaultyKv<MemoryKv>| {
        let mut batch = Batch::new();
        batch.put(Table::Meta, *b"a", [kv.writes() as u8]);
        kv.write(batch).is_err()
    };
    let value = |kv: &FaultyKv<MemoryKv>| kv.get(Table::Meta, b"a").unwrap();

    let kv = FaultyKv::new(MemoryKv::new(), FaultKind::Refuse, 2);
    assert_eq!([refused(&kv), refused(&kv), refused(&kv)], [false, true, true]);
    assert_eq!(value(&kv), Some(vec![0]));

    let kv = FaultyKv::new(MemoryKv::new(), FaultKind::RefuseAfter, 2);
    assert_eq!([refused(&kv), refused(&kv), refused(&kv)], [false, true, true]);
    assert_eq!(value(&kv), Some(vec![1]));

    let kv = FaultyKv::new(MemoryKv::new(), FaultKind::Lose, 2);
    assert_eq!([refused(&kv), refused(&kv)], [false, false]);
    assert_eq!(value(&kv), Some(vec![0]));
    assert!(!refused(&kv));
    assert_eq!(kv.into_inner().get(Table::Meta, b"a").unwrap(), Some(vec![2]));
}
