//! The conformance suite on each engine, and what is particular to one.

use std::{fs, sync::Arc, thread};

use lattice_storage::{
    Batch, FORMAT_VERSION, FaultKind, FaultyKv, FjallKv, Kv, KvRead, MemoryKv, StorageFault, Table, Visitor,
};
use tempfile::TempDir;

use crate::conformance::{put, records, suite};

/// A store that owns its folder.
struct InFolder {
    kv: FjallKv,
    _folder: TempDir,
}

impl KvRead for InFolder {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageFault> {
        self.kv.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, visit: &mut Visitor<'_>) -> Result<(), StorageFault> {
        self.kv.scan(table, from, to, visit)
    }

    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StorageFault> {
        self.kv.scan_back(table, from, to, visit)
    }
}

impl Kv for InFolder {
    fn write(&self, batch: Batch) -> Result<(), StorageFault> {
        self.kv.write(batch)
    }

    fn snapshot(&self) -> Arc<dyn KvRead> {
        self.kv.snapshot()
    }

    fn sync(&self) -> Result<(), StorageFault> {
        self.kv.sync()
    }
}

#[test]
fn fjall_conforms() {
    suite(&|| {
        let folder = tempfile::tempdir().unwrap();
        Box::new(InFolder { kv: FjallKv::open(folder.path()).unwrap(), _folder: folder })
    });
}

#[test]
fn memory_conforms() {
    suite(&|| Box::new(MemoryKv::new()));
}

#[test]
fn a_faulty_store_conforms_until_its_fault() {
    suite(&|| Box::new(FaultyKv::new(MemoryKv::new(), FaultKind::Refuse, 0)));
}

#[test]
fn fjall_reopens_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    {
        let kv = FjallKv::open(folder.path()).unwrap();
        for i in 0..500u32 {
            put(&kv, Table::State, &i.to_be_bytes(), &[i as u8; 3000]);
        }
        let mut batch = Batch::new();
        batch.delete(Table::State, 7u32.to_be_bytes());
        batch.put(Table::Meta, *b"head", *b"x");
        kv.write(batch).unwrap();
    }
    for _ in 0..2 {
        let kv = FjallKv::open(folder.path()).unwrap();
        assert_eq!(records(&kv, Table::State, &[], None).len(), 499);
        assert_eq!(kv.get(Table::State, &7u32.to_be_bytes()).unwrap(), None);
        assert_eq!(kv.get(Table::State, &8u32.to_be_bytes()).unwrap(), Some(vec![8; 3000]));
        assert_eq!(kv.get(Table::Meta, b"head").unwrap().as_deref(), Some(b"x".as_slice()));
        assert_eq!(kv.path(), folder.path());
    }
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
fn a_directory_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let kv = FjallKv::open(folder.path()).unwrap();
    let error = FjallKv::open(folder.path()).unwrap_err();
    assert!(matches!(error, StorageFault::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("in use by another process"), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "it names the holder: {text}");
    drop(kv);
    FjallKv::open(folder.path()).unwrap();
}

#[test]
fn a_snapshot_keeps_the_directory_owned() {
    let folder = tempfile::tempdir().unwrap();
    let kv = FjallKv::open(folder.path()).unwrap();
    let snapshot = kv.snapshot();
    drop(kv);
    assert!(matches!(FjallKv::open(folder.path()), Err(StorageFault::Locked { .. })));
    drop(snapshot);
    FjallKv::open(folder.path()).unwrap();
}

#[test]
fn other_formats_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(FjallKv::open(folder.path()).unwrap());
    let file = folder.path().join("FORMAT");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("lattice storage format {FORMAT_VERSION}\n"));
    for (content, found) in [("lattice storage format 999\n", "999"), ("something else", "something else")] {
        fs::write(&file, content).unwrap();
        let text = FjallKv::open(folder.path()).unwrap_err().to_string();
        assert!(text.contains(found) && text.contains(&format!("reads format {FORMAT_VERSION}")), "{text}");
    }
    fs::remove_file(&file).unwrap();
    let error = FjallKv::open(folder.path()).unwrap_err();
    assert!(matches!(error, StorageFault::Format { .. }), "{error}");
}

#[test]
fn a_first_start_that_was_killed_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    // What a kill inside the first open leaves: the format file and a half-made engine under its building name.
    fs::write(folder.path().join("FORMAT"), format!("lattice storage format {FORMAT_VERSION}\n")).unwrap();
    fs::create_dir(folder.path().join("kv.new")).unwrap();
    fs::write(folder.path().join("kv.new").join("0.jnl"), b"half").unwrap();
    let kv = FjallKv::open(folder.path()).unwrap();
    put(&kv, Table::Meta, b"a", b"1");
    assert!(!folder.path().join("kv.new").exists());
}

#[test]
fn a_path_that_cannot_be_a_directory_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let text = FjallKv::open(&file).unwrap_err().to_string();
    assert!(text.contains("data directory") && text.contains(file.to_str().unwrap()), "{text}");
}

#[test]
fn readers_never_see_half_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Kv>; 2] = [Arc::new(FjallKv::open(folder.path()).unwrap()), Arc::new(MemoryKv::new())];
    for kv in stores {
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
