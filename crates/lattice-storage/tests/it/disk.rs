//! The disk engines: the conformance suite, and what only files can show.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lattice_storage::{Batch, DiskKv, Engine, FORMAT_VERSION, Kv, KvRead, StorageFault, Table, Visitor};
use tempfile::TempDir;

use crate::conformance::{put, records, suite};

/// Each function as a test of each engine that is built in.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod fjall {
            $(#[test] fn $test() { super::$test(lattice_storage::Engine::Fjall); })*
        }
        #[cfg(feature = "rocksdb")]
        mod rocksdb {
            $(#[test] fn $test() { super::$test(lattice_storage::Engine::RocksDb); })*
        }
    };
}

on_each_engine!(
    conforms,
    reopens_with_everything,
    a_directory_has_one_owner,
    a_snapshot_keeps_the_directory_owned,
    other_formats_are_refused_by_name,
    other_engines_are_refused_by_name,
    a_first_start_that_was_killed_is_begun_anew,
    a_path_that_cannot_be_a_directory_is_a_clear_error,
    compaction_gives_room_back,
    syncs_beside_a_writer,
);

/// A store that owns its folder.
struct InFolder {
    kv: Arc<dyn DiskKv>,
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

/// The fault with which opening a directory must end.
fn refusal(engine: Engine, path: &Path) -> StorageFault {
    engine.open(path).unwrap_err()
}

fn conforms(engine: Engine) {
    suite(&|| {
        let folder = tempfile::tempdir().unwrap();
        Box::new(InFolder { kv: engine.open(folder.path()).unwrap(), _folder: folder })
    });
}

fn reopens_with_everything(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Engine::of_dir(folder.path()).unwrap(), None);
    {
        let kv = engine.open(folder.path()).unwrap();
        for i in 0..500u32 {
            put(&kv, Table::State, &i.to_be_bytes(), &[i as u8; 3000]);
        }
        let mut batch = Batch::new();
        batch.delete(Table::State, 7u32.to_be_bytes());
        batch.put(Table::Meta, *b"head", *b"x");
        kv.write(batch).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(Engine::of_dir(folder.path()).unwrap(), Some(engine));
        let kv = engine.open(folder.path()).unwrap();
        assert_eq!(records(&kv, Table::State, &[], None).len(), 499);
        assert_eq!(kv.get(Table::State, &7u32.to_be_bytes()).unwrap(), None);
        assert_eq!(kv.get(Table::State, &8u32.to_be_bytes()).unwrap(), Some(vec![8; 3000]));
        assert_eq!(kv.get(Table::Meta, b"head").unwrap().as_deref(), Some(b"x".as_slice()));
        assert_eq!((kv.path(), kv.engine()), (folder.path(), engine));
    }
}

fn a_directory_has_one_owner(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let kv = engine.open(folder.path()).unwrap();
    let error = refusal(engine, folder.path());
    assert!(matches!(error, StorageFault::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("in use by another process"), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "it names the holder: {text}");
    drop(kv);
    engine.open(folder.path()).unwrap();
}

fn a_snapshot_keeps_the_directory_owned(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let kv = engine.open(folder.path()).unwrap();
    put(&kv, Table::Meta, b"a", b"1");
    let snapshot = kv.snapshot();
    drop(kv);
    assert!(matches!(refusal(engine, folder.path()), StorageFault::Locked { .. }));
    assert_eq!(snapshot.get(Table::Meta, b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    drop(snapshot);
    engine.open(folder.path()).unwrap();
}

fn other_formats_are_refused_by_name(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    drop(engine.open(folder.path()).unwrap());
    let file = folder.path().join("FORMAT");
    let by = if engine == Engine::Fjall { String::new() } else { format!(", engine {engine}") };
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("lattice storage format {FORMAT_VERSION}{by}\n"));
    for (content, found) in [
        ("lattice storage format 999\n", "999"),
        ("lattice storage format 999, engine rocksdb\n", "999"),
        ("something else", "something else"),
    ] {
        fs::write(&file, content).unwrap();
        let text = refusal(engine, folder.path()).to_string();
        assert!(text.contains(found) && text.contains(&format!("reads format {FORMAT_VERSION}")), "{text}");
    }
    fs::remove_file(&file).unwrap();
    let error = refusal(engine, folder.path());
    assert!(matches!(error, StorageFault::Format { .. }), "{error}");
}

fn other_engines_are_refused_by_name(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    drop(engine.open(folder.path()).unwrap());
    let file = folder.path().join("FORMAT");
    let other = if engine == Engine::Fjall { "rocksdb" } else { "fjall" };
    for found in [other, "some later one"] {
        fs::write(&file, format!("lattice storage format {FORMAT_VERSION}, engine {found}\n")).unwrap();
        let error = refusal(engine, folder.path());
        assert!(matches!(error, StorageFault::OtherEngine { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("made by the storage engine {found}")), "{error}");
    }
    // A real one of each, where there are two.
    #[cfg(feature = "rocksdb")]
    for other in Engine::ALL.into_iter().filter(|other| *other != engine) {
        let folder = tempfile::tempdir().unwrap();
        let kv = other.open(folder.path()).unwrap();
        put(&kv, Table::Meta, b"a", b"1");
        drop(kv);
        let error = refusal(engine, folder.path());
        assert!(matches!(error, StorageFault::OtherEngine { .. }), "{error:?}");
        let kv = other.open(folder.path()).unwrap();
        assert_eq!(kv.get(Table::Meta, b"a").unwrap().as_deref(), Some(b"1".as_slice()), "it was left alone");
    }
}

fn a_first_start_that_was_killed_is_begun_anew(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    // What a kill inside the first open leaves: the format file and a half-made engine under its building name.
    drop(engine.open(folder.path()).unwrap());
    fs::remove_dir_all(folder.path().join("kv")).unwrap();
    fs::create_dir(folder.path().join("kv.new")).unwrap();
    fs::write(folder.path().join("kv.new").join("0.jnl"), b"half").unwrap();
    fs::write(folder.path().join("kv.new").join("CURRENT"), b"half").unwrap();
    let kv = engine.open(folder.path()).unwrap();
    put(&kv, Table::Meta, b"a", b"1");
    assert!(!folder.path().join("kv.new").exists());
}

fn a_path_that_cannot_be_a_directory_is_a_clear_error(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let text = refusal(engine, &file).to_string();
    assert!(text.contains("data directory") && text.contains(file.to_str().unwrap()), "{text}");
}

fn compaction_gives_room_back(engine: Engine) {
    const RECORD_BYTES: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let kv = engine.open(folder.path()).unwrap();
    // Bytes that do not compress.
    let record = |seed: u32| {
        let mut state = seed + 1;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(RECORD_BYTES as usize).collect::<Vec<_>>()
    };
    for key in 0..40u32 {
        put(&kv, Table::Bodies, &key.to_be_bytes(), &record(key));
    }
    kv.compact(Table::Bodies).unwrap();
    let full = kv.table_disk_bytes(Table::Bodies).unwrap();
    assert!(full >= u64::from(40 * RECORD_BYTES) && full <= kv.disk_bytes().unwrap(), "{full}");
    assert_eq!(kv.table_disk_bytes(Table::Headers).unwrap(), 0);
    let mut batch = Batch::new();
    for key in 1..40u32 {
        batch.delete(Table::Bodies, key.to_be_bytes());
    }
    kv.write(batch).unwrap();
    for table in Table::ALL {
        kv.compact(table).unwrap();
    }
    let left = kv.table_disk_bytes(Table::Bodies).unwrap();
    assert!(left < u64::from(2 * RECORD_BYTES), "{left} of {full} bytes");
    assert_eq!(records(&kv, Table::Bodies, &[], None), [(vec![0; 4], record(0))]);
}

/// A sync by another thread neither fails nor stops a writer, and one after the last write has nothing left to do.
fn syncs_beside_a_writer(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let kv = engine.open(folder.path()).unwrap();
    let syncs = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for i in 0..400u32 {
                put(&kv, Table::State, &i.to_be_bytes(), &[i as u8; 10_000]);
            }
        });
        let mut syncs = 0;
        while !writer.is_finished() {
            kv.sync().unwrap();
            syncs += 1;
        }
        syncs
    });
    assert!(syncs > 0);
    kv.sync().unwrap();
    let started = Instant::now();
    (0..1_000).for_each(|_| kv.sync().unwrap());
    assert!(started.elapsed() < Duration::from_secs(1), "syncs without a write before them reach the disk");
    drop(kv);
    assert_eq!(records(&engine.open(folder.path()).unwrap(), Table::State, &[], None).len(), 400);
}

#[test]
fn an_engine_that_is_not_built_in_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for engine in Engine::ALL.into_iter().filter(|engine| !engine.is_built()) {
        let error = refusal(engine, folder.path());
        assert!(error.to_string().contains(&format!("without the storage engine {engine}")), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "refusing leaves nothing behind");
    }
}
