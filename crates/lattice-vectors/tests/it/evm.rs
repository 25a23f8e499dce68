//! Ethereum's vectors: the quick families whole, state tests of a few folders, and cases made wrong on purpose.

use crate::support::{assert_good, report_of, vectors};
use lattice_vectors::evm;
use serde_json::{Value, json};

#[test]
fn quick_families() {
    for family in ["RLPTests", "TrieTests", "TransactionTests"] {
        let Some(folder) = vectors(&format!("evm/{family}")) else { return };
        assert_good(&evm::run(&folder));
    }
}

/// Sequences are ours, not the vectors': cases of one unit follow each other on one overlay.
#[test]
fn one_overlay_leads_where_a_version_each_leads() {
    let Some(folder) = vectors("evm/GeneralStateTests") else { return };
    for part in ["stSStoreTest", "stTransactionTest", "stEIP150singleCodeGasPrices", "Shanghai"] {
        let folder = folder.join(part);
        if folder.exists() {
            assert_good(&evm::run_in_sequence(&folder));
        }
    }
}

/// A transfer in the form of execution-spec-tests: Prague, `config` with a blob schedule, an expected root.
fn transfer(root: &str) -> Value {
    json!({"tests/some.py::test_transfer[fork_Prague]": {
        "_info": {"fixture-format": "state_test"},
        "config": {"chainid": "0x01", "blobSchedule": {"Prague": {
            "target": "0x06", "max": "0x09", "baseFeeUpdateFraction": "0x4c6964"}}},
        "env": {
            "currentCoinbase": "0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba", "currentGasLimit": "0x07270e00",
            "currentNumber": "0x01", "currentTimestamp": "0x03e8", "currentDifficulty": "0x00",
            "currentRandom": "0x00", "currentBaseFee": "0x07", "currentExcessBlobGas": "0x00"},
        "pre": {"0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b": {
            "nonce": "0x00", "balance": "0x3635c9adc5dea00000", "code": "0x", "storage": {}}},
        "transaction": {
            "nonce": "0x00", "gasPrice": "0x0a", "gasLimit": ["0x5208"], "value": ["0x01"], "data": ["0x"],
            "to": "0x1000000000000000000000000000000000000001",
            "sender": "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"},
        "post": {"Prague": [{"hash": root,
            "logs": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
            "indexes": {"data": 0, "gas": 0, "value": 0}}]}
    }})
}

#[test]
fn a_wrong_root_is_a_failure_that_names_the_case() {
    let report = report_of(&transfer(&format!("0x{}", "0".repeat(64))));
    let [failure] = report.failures() else { panic!("{:?}", report.failures()) };
    assert!(failure.contains("test_transfer[fork_Prague] Prague 0"), "{failure}");
    // The root that the report names is the right one: with it the case passes.
    let (_, got) = failure.split_once("state root ").unwrap();
    assert_good(&report_of(&transfer(&got[..66])));
}

#[test]
fn an_expected_exception_must_come() {
    let mut file = transfer("0x");
    let unit = file.as_object_mut().unwrap().values_mut().next().unwrap();
    unit["post"]["Prague"][0]["expectException"] = json!("TransactionException.NONCE_MISMATCH_TOO_LOW");
    assert!(report_of(&file).failures()[0].contains("ran, expected"));
}

#[test]
fn an_empty_folder_is_not_good() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!evm::run(folder.path()).is_good());
    assert!(!evm::run(&folder.path().join("absent")).is_good());
}
