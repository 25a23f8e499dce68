//! `lattice dev --db` and `--sync-interval-ms`: choosing the store's engine and how soon it is on the disk.

use crate::binary::{Node, Ran, run};
use std::{fs, path::Path};

const RECEIVER: &str = "0x2222222222222222222222222222222222222222";

fn dev(datadir: &Path, args: &[&str]) -> Ran {
    run(&[&["dev", "--port", "0", "--datadir", datadir.to_str().unwrap()], args].concat())
}

/// Pays the receiver so often, and tells what it has afterwards.
fn pay(node: &Node, times: usize) -> String {
    for _ in 0..times {
        node.run(&["send", RECEIVER, "--value", "1"]).ok();
    }
    node.run(&["balance", RECEIVER]).ok()["lat"].as_str().unwrap().to_owned()
}

#[test]
fn a_store_of_another_engine_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    assert_eq!(pay(&node, 1), "1");
    assert_eq!(node.terminate(), Some(0));
    // The same words as a store that RocksDB made has, so that a build without it refuses too.
    let format = dir.path().join("db/FORMAT");
    let fjall = fs::read_to_string(&format).unwrap();
    fs::write(&format, format!("{}, engine rocksdb\n", fjall.trim())).unwrap();
    dev(dir.path(), &[]).fails(1, &["made by the storage engine rocksdb", "not by fjall", "--db rocksdb", "--datadir"]);
    fs::write(&format, fjall).unwrap();
    assert_eq!(pay(&Node::start_with(dir.path(), &["--db", "fjall"]), 0), "1", "it was left alone");
    dev(dir.path(), &["--db", "leveldb"]).fails(2, &["leveldb", "fjall", "rocksdb"]);
}

#[test]
fn every_sync_interval_runs_and_ends_cleanly() {
    for interval in ["0", "1", "1000"] {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start_with(dir.path(), &["--sync-interval-ms", interval]);
        assert_eq!(pay(&node, 3), "3", "{interval}");
        assert_eq!(node.terminate(), Some(0), "{interval}");
        assert_eq!(pay(&Node::start(dir.path()), 0), "3", "{interval}");
    }
    let dir = tempfile::tempdir().unwrap();
    dev(dir.path(), &["--sync-interval-ms", "soon"]).fails(2, &["--sync-interval-ms", "soon"]);
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn a_build_without_rocksdb_says_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["without the storage engine rocksdb", "cargo build --release --features rocksdb"];
    dev(&dir.path().join("data"), &["--db", "rocksdb"]).fails(2, &words);
    assert!(!dir.path().join("data").exists(), "refusing leaves nothing behind");
    fs::create_dir(dir.path().join("db")).unwrap();
    let version = lattice_storage::FORMAT_VERSION;
    fs::write(dir.path().join("db/FORMAT"), format!("lattice storage format {version}, engine rocksdb\n")).unwrap();
    run(&["db", "stats", "--datadir", dir.path().to_str().unwrap()]).fails(2, &words);
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_node_on_rocksdb_mines_and_survives_its_kill() {
    let rocksdb = ["--db", "rocksdb"];
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_with(dir.path(), &rocksdb);
    assert_eq!(pay(&node, 5), "5");
    let block = node.run(&["block"]).ok();
    node.kill();
    let node = Node::start_with(dir.path(), &rocksdb);
    assert_eq!(node.run(&["block"]).ok(), block);
    assert_eq!(pay(&node, 1), "6");
    assert_eq!(node.terminate(), Some(0));
    dev(dir.path(), &[]).fails(1, &["made by the storage engine rocksdb", "--db rocksdb"]);

    let datadir = dir.path().to_str().unwrap();
    let compacted = run(&["db", "compact", "--json", "--datadir", datadir]).ok();
    assert!(compacted["disk_bytes"].as_u64().unwrap() > 0, "{compacted}");
    let stats = run(&["db", "stats", "--json", "--datadir", datadir]).ok();
    assert_eq!((stats["engine"].as_str(), stats["transactions"].as_u64()), (Some("rocksdb"), Some(6)), "{stats}");
    let headers = &stats["tables"].as_array().unwrap()[0];
    assert_eq!((headers["name"].as_str(), headers["grows_with"].as_str()), (Some("headers"), Some("DAG block")));
    assert!(headers["disk_bytes"].as_u64().unwrap() > 0, "{headers}");

    let other = tempfile::tempdir().unwrap();
    drop(Node::start(other.path()));
    dev(other.path(), &rocksdb).fails(1, &["made by the storage engine fjall, not by rocksdb", "--db fjall"]);
}
