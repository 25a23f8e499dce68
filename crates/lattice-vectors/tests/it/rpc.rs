//! Ethereum's RPC vectors: the whole chain and all exchanges, and what a damaged chain says.

use crate::support::{assert_good, vectors};
use lattice_vectors::rpc;
use std::fs;

#[test]
fn the_given_chain_and_its_exchanges() {
    let Some(folder) = vectors("evm/rpc") else { return };
    assert_good(&rpc::run(&folder));
}

#[test]
fn a_damaged_chain_names_block_and_rule() {
    let Some(folder) = vectors("evm/rpc") else { return };
    let copy = tempfile::tempdir().unwrap();
    for name in ["genesis.json", "chain.rlp"] {
        fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    // Another time at genesis is another genesis: it is not the first block's parent.
    let path = copy.path().join("genesis.json");
    let mut genesis: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    genesis["timestamp"] = "0x1".into();
    fs::write(&path, genesis.to_string()).unwrap();
    let report = rpc::run(copy.path());
    let [failure] = report.failures() else { panic!("{:?}", report.failures()) };
    assert!(failure.contains("block 1: parent"), "{failure}");
}

#[test]
fn an_empty_folder_is_not_good() {
    assert!(!rpc::run(tempfile::tempdir().unwrap().path()).is_good());
}
