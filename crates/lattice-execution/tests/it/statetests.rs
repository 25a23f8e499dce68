//! Ethereum's GeneralStateTests through our assembly of the EVM, our overlay and our trie: each case's state root and
//! logs must match. Forks from Byzantium on, since the overlay knows no account that is empty and exists (EIP-161).

use crate::lab::TestEngine;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use lattice_execution::{
    Overlay,
    ai::AiHost,
    evm::{self, TransactError},
};
use lattice_state::{Account, AccountDiff, State, StateDiff};
use revm::{
    context::TxEnv,
    context_interface::transaction::{AccessList, AccessListItem},
    primitives::hardfork::SpecId,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Mutex,
};

/// Cases that cannot arise.
const SKIPPED: &[&str] = &[
    // A value beyond 256 bits.
    "ValueOverflow",
    "ValueOverflowParis",
    // Contract creation at an account that has storage but neither code nor nonce (EIP-7610).
    "RevertInCreateInInit_Paris",
    "dynamicAccountOverwriteEmpty_Paris",
];

/// Folders and files that measure speed: each takes as long as all the others in unoptimised builds.
const SLOW: &[&str] = &[
    "stTimeConsuming",
    "vmPerformance",
    "stQuadraticComplexityTest",
    "stMemoryStressTest",
    "CALLBlake2f.json",
    "CALLCODEBlake2f.json",
];

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("LATTICE_VECTORS").map_or(root, PathBuf::from).join("evm/GeneralStateTests");
    if folder.is_dir() {
        return Some(folder);
    }
    let required =
        std::env::var("CI").is_ok_and(|ci| ci == "true") || std::env::var_os("LATTICE_VECTORS_REQUIRED").is_some();
    assert!(!required, "{} is absent and vectors are required: set LATTICE_VECTORS", folder.display());
    println!("SKIPPED: no vectors in {}: set LATTICE_VECTORS", folder.display());
    None
}

fn json_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| SLOW.contains(&name.to_str().unwrap())) {
            continue;
        }
        if path.is_dir() {
            json_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
}

fn fork(name: &str) -> Option<SpecId> {
    Some(match name {
        "Byzantium" => SpecId::BYZANTIUM,
        "Constantinople" | "ConstantinopleFix" => SpecId::PETERSBURG,
        "Istanbul" => SpecId::ISTANBUL,
        "Berlin" => SpecId::BERLIN,
        "London" => SpecId::LONDON,
        "Paris" => SpecId::MERGE,
        "Shanghai" => SpecId::SHANGHAI,
        "Cancun" => SpecId::CANCUN,
        _ => return None,
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Hex, with leading zeros and any length; empty is zero.
fn number(value: &Value) -> U256 {
    let digits = text(value).trim_start_matches("0x").trim_start_matches('0');
    if digits.is_empty() { U256::ZERO } else { U256::from_str_radix(digits, 16).unwrap() }
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from_str(text(value)).unwrap()
}

fn address(value: &Value) -> Address {
    Address::from_str(text(value)).unwrap()
}

fn pre_state(pre: &Value) -> State {
    let mut diff = StateDiff::default();
    for (key, value) in pre.as_object().unwrap() {
        let code = bytes(&value["code"]);
        let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
        let account = Account { nonce: number(&value["nonce"]).to(), balance: number(&value["balance"]), code_hash };
        let storage = value["storage"].as_object().unwrap().iter();
        let storage = storage.map(|(slot, value)| (number(&Value::from(slot.as_str())), number(value))).collect();
        if !code.is_empty() {
            diff.codes.insert(code_hash, code);
        }
        let entry = AccountDiff { account: Some(account), storage_cleared: false, storage };
        diff.accounts.insert(Address::from_str(key).unwrap(), entry);
    }
    State::empty().apply(&diff)
}

fn header(env: &Value) -> Header {
    Header {
        number: number(&env["currentNumber"]).to(),
        beneficiary: address(&env["currentCoinbase"]),
        timestamp: number(&env["currentTimestamp"]).to(),
        gas_limit: number(&env["currentGasLimit"]).saturating_to(),
        base_fee_per_gas: Some(number(&env["currentBaseFee"]).to()),
        difficulty: number(&env["currentDifficulty"]),
        mix_hash: number(&env["currentRandom"]).into(),
        excess_blob_gas: Some(number(&env["currentExcessBlobGas"]).to()),
        ..Header::default()
    }
}

/// The transaction of one case; `None` for those that our transaction types cannot express.
fn transaction(tx: &Value, indexes: &Value) -> Option<TxEnv> {
    if tx.get("blobVersionedHashes").is_some() || tx.get("authorizationList").is_some() {
        return None;
    }
    let pick = |field: &str, index: &str| &tx[field][indexes[index].as_u64().unwrap() as usize];
    let access_list = tx.get("accessLists").map(|_| pick("accessLists", "data")).filter(|list| list.is_array());
    let is_dynamic = tx.get("maxFeePerGas").is_some();
    let price = if is_dynamic { &tx["maxFeePerGas"] } else { &tx["gasPrice"] };
    let item = |item: &Value| AccessListItem {
        address: address(&item["address"]),
        storage_keys: item["storageKeys"].as_array().unwrap().iter().map(|key| B256::from(number(key))).collect(),
    };
    Some(TxEnv {
        tx_type: if is_dynamic { 2 } else { u8::from(access_list.is_some()) },
        caller: address(&tx["sender"]),
        gas_limit: number(pick("gasLimit", "gas")).saturating_to(),
        gas_price: number(price).try_into().ok()?,
        kind: if text(&tx["to"]).is_empty() { TxKind::Create } else { TxKind::Call(address(&tx["to"])) },
        value: number(pick("value", "value")),
        data: bytes(pick("data", "data")),
        nonce: number(&tx["nonce"]).saturating_to(),
        chain_id: Some(1),
        access_list: AccessList(
            access_list.map(|list| list.as_array().unwrap().iter().map(item).collect()).unwrap_or_default(),
        ),
        gas_priority_fee: is_dynamic.then(|| number(&tx["maxPriorityFeePerGas"]).saturating_to()),
        ..TxEnv::default()
    })
}

/// Runs one case; says what is wrong.
fn run_case(unit: &Value, fork: SpecId, case: &Value) -> Result<bool, String> {
    let Some(tx) = transaction(&unit["transaction"], &case["indexes"]) else { return Ok(false) };
    let before = pre_state(&unit["pre"]);
    let engine = TestEngine::default();
    let block_hashes = |number: u64| Some(keccak256(number.to_string()));
    let overlay = Overlay::new(before, &block_hashes);
    let mut machine = evm::evm_at(fork, 1, evm::block_env(&header(&unit["env"])), overlay, AiHost::new(&engine));
    let (logs, failed) = match evm::transact(&mut machine, tx, u64::MAX, u64::MAX) {
        Ok((result, changes)) => {
            machine.ctx.journaled_state.database.commit(changes);
            (if result.is_success() { result.into_logs() } else { Vec::new() }, None)
        }
        Err(TransactError::Invalid(invalid)) => (Vec::new(), Some(invalid.to_string())),
        Err(TransactError::Stopped(error)) => return Err(error.to_string()),
    };
    if failed.is_some() != case.get("expectException").is_some() {
        return Err(format!("expected {:?}, got {failed:?}", case.get("expectException")));
    }
    let (base, diff) = machine.ctx.journaled_state.database.into_diff();
    let root = base.apply(&diff).root();
    if format!("{root}") != text(&case["hash"]) {
        return Err(format!("state root {root}, expected {}", case["hash"]));
    }
    let logs_hash = keccak256(alloy_rlp::encode(&logs));
    if format!("{logs_hash}") != text(&case["logs"]) {
        return Err(format!("logs hash {logs_hash}, expected {}", case["logs"]));
    }
    Ok(true)
}

/// Passed cases and failures of one file.
fn run_file(path: &Path) -> (usize, Vec<String>) {
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let (mut passed, mut failures) = (0, Vec::new());
    for (name, unit) in file.as_object().unwrap() {
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        for (fork_name, cases) in unit["post"].as_object().unwrap() {
            let Some(fork) = fork(fork_name) else { continue };
            for case in cases.as_array().unwrap() {
                match run_case(unit, fork, case) {
                    Ok(ran) => passed += usize::from(ran),
                    Err(error) => failures.push(format!("{name} {fork_name} {}: {error}", case["indexes"])),
                }
            }
        }
    }
    (passed, failures)
}

/// Hands every file to `check` on two threads; `check` gives the number of its cases and its failures.
fn for_all_files(under: &[&str], check: impl Fn(&Path) -> (usize, Vec<String>) + Sync) {
    let Some(folder) = vectors() else { return };
    let mut files = Vec::new();
    for part in under {
        json_files(&folder.join(part), &mut files);
    }
    files.sort();
    let queue = Mutex::new(files.into_iter());
    let results = Mutex::new((0, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            // Recursion to depth 1,024 takes stack in unoptimised builds.
            let worker = std::thread::Builder::new().stack_size(64 << 20);
            let work = || {
                while let Some(path) = { queue.lock().unwrap().next() } {
                    let (cases, failures) = check(&path);
                    let mut results = results.lock().unwrap();
                    results.0 += cases;
                    results.1.extend(failures);
                }
            };
            worker.spawn_scoped(scope, work).unwrap();
        }
    });
    let (cases, mut failures) = results.into_inner().unwrap();
    failures.sort();
    println!("{cases} cases, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases > 0, "the vectors are there but hold no state test");
}

#[test]
fn general_state_tests() {
    for_all_files(&[""], run_file);
}

/// The transactions of all cases of a unit one after the other: once on one overlay, once on a version each.
fn run_in_sequence(unit: &Value, fork: SpecId, cases: &[Value]) -> Result<usize, String> {
    let block_hashes = |number: u64| Some(keccak256(number.to_string()));
    let engine = TestEngine::default();
    let machine = |state: &State| {
        let overlay = Overlay::new(state.clone(), &block_hashes);
        let host = AiHost::new(&engine);
        evm::evm_at(fork, 1, evm::block_env(&header(&unit["env"])), overlay, host)
    };
    let transact = |machine: &mut evm::LatticeEvm<'_>, mut tx: TxEnv| {
        let overlay = &mut machine.ctx.journaled_state.database;
        tx.nonce = overlay.account(tx.caller).unwrap_or_default().nonce;
        match evm::transact(machine, tx, u64::MAX, u64::MAX) {
            Ok((_, changes)) => machine.ctx.journaled_state.database.commit(changes),
            Err(TransactError::Invalid(_)) => {}
            Err(TransactError::Stopped(error)) => panic!("{error}"),
        }
    };
    let txs: Vec<TxEnv> =
        cases.iter().take(12).filter_map(|case| transaction(&unit["transaction"], &case["indexes"])).collect();
    let mut state = pre_state(&unit["pre"]);
    let mut joined = machine(&state);
    for tx in &txs {
        transact(&mut joined, tx.clone());
        let mut single = machine(&state);
        transact(&mut single, tx.clone());
        let (base, diff) = single.ctx.journaled_state.database.into_diff();
        state = base.apply(&diff);
    }
    let (base, diff) = joined.ctx.journaled_state.database.into_diff();
    let root = base.apply(&diff).root();
    if root != state.root() {
        return Err(format!("one overlay leads to {root}, a version each to {}", state.root()));
    }
    Ok(txs.len())
}

#[test]
fn one_overlay_leads_where_a_version_each_leads() {
    let folders = [
        "stCreate2",
        "stSStoreTest",
        "stSystemOperationsTest",
        "stRevertTest",
        "stEIP150singleCodeGasPrices",
        "Cancun",
        "Shanghai",
    ];
    for_all_files(&folders, |path| {
        let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let (mut count, mut failures) = (0, Vec::new());
        for (name, unit) in file.as_object().unwrap() {
            for (fork_name, cases) in unit["post"].as_object().unwrap() {
                let Some(fork) = fork(fork_name) else { continue };
                match run_in_sequence(unit, fork, cases.as_array().unwrap()) {
                    Ok(cases) => count += cases,
                    Err(error) => failures.push(format!("{name} {fork_name}: {error}")),
                }
            }
        }
        (count, failures)
    });
}
