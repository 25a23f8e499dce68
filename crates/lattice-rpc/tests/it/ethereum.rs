//! The Ethereum namespaces, read back with alloy's own types.

use crate::{
    client::Client,
    node::{Draft, Node, raw, signer},
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_rpc_types_eth::{Block, FeeHistory, Log, Transaction, TransactionReceipt};
use lattice_types::{
    ChainSpec, TxEnvelope,
    tx::{Inference, InferencePayload, TxAi},
};
use serde_json::{Value, json};

/// Logs its second word under its first as topic, stores the first in slot 0, returns 42.
pub const LOGGER: &[u8] = &hex!("6020355f525f3560205fa15f355f55602a5f5260205ff3");
/// Reverts with Error("user error").
const REVERTER: &[u8] = &hex!(
    "6064600a5f3960645ffd08c379a0"
    "0000000000000000000000000000000000000000000000000000000000000020"
    "000000000000000000000000000000000000000000000000000000000000000a"
    "75736572206572726f7200000000000000000000000000000000000000000000"
);

/// Deploys runtime code as account 0 and returns the contract.
pub fn deploy(client: &Client, nonce: u64, runtime: &[u8]) -> Address {
    let length = u8::try_from(runtime.len()).unwrap();
    let mut code = vec![0x60, length, 0x60, 0x0a, 0x5f, 0x39, 0x60, length, 0x5f, 0xf3];
    code.extend_from_slice(runtime);
    let receipt = client.receipt(&client.send(&Draft::create(0, nonce, code.into()).sign()));
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let created = signer(0).address().create(nonce);
    assert_eq!(receipt["contractAddress"], json!(created));
    assert_eq!(receipt["to"], Value::Null);
    created
}

/// A call of [`LOGGER`].
pub fn log_call(account: usize, nonce: u64, contract: Address, topic: u64, data: u64) -> TxEnvelope {
    let input = [U256::from(topic).to_be_bytes::<32>(), U256::from(data).to_be_bytes::<32>()].concat();
    Draft::call(account, nonce, contract, input.into()).sign()
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_else(|error| panic!("{error}: {value}"))
}

#[test]
fn a_fresh_chain_answers_what_tools_ask_first() {
    let node = Node::start();
    let client = node.client();
    let account = signer(0).address();
    let cases = [
        ("web3_clientVersion", json!([]), json!("Lattice/test")),
        ("web3_sha3", json!(["0x68656c6c6f20776f726c64"]), json!(keccak256("hello world"))),
        ("net_version", json!([]), json!("31337")),
        ("net_listening", json!([]), json!(true)),
        ("net_peerCount", json!([]), json!("0x0")),
        ("eth_chainId", json!([]), json!("0x7a69")),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_blockNumber", json!([]), json!("0x0")),
        ("eth_getBalance", json!([account, "latest"]), json!("0x21e19e0c9bab2400000")),
        ("eth_getBalance", json!([Address::ZERO]), json!("0x0")),
        ("eth_getTransactionCount", json!([account, "pending"]), json!("0x0")),
        ("eth_getCode", json!([account, "latest"]), json!("0x")),
        ("eth_getStorageAt", json!([account, "0x0", "latest"]), json!(B256::ZERO)),
        ("eth_blobBaseFee", json!([]), json!("0x1")),
        ("eth_maxPriorityFeePerGas", json!([]), json!("0x3b9aca00")),
        ("eth_getTransactionReceipt", json!([B256::ZERO]), Value::Null),
        ("eth_getTransactionByHash", json!([B256::ZERO]), Value::Null),
        ("eth_getBlockByHash", json!([B256::ZERO, true]), Value::Null),
        ("eth_getBlockByNumber", json!(["0x99", false]), Value::Null),
        ("eth_getBlockReceipts", json!([B256::ZERO]), Value::Null),
        ("eth_getBlockTransactionCountByNumber", json!(["latest"]), json!("0x0")),
        ("eth_getUncleCountByBlockNumber", json!(["latest"]), json!("0x0")),
        ("eth_getLogs", json!([{}]), json!([])),
        ("txpool_status", json!([]), json!({ "pending": "0x0", "queued": "0x0" })),
    ];
    for (method, params, expected) in cases {
        assert_eq!(client.call(method, params), expected, "{method}");
    }
}

#[test]
fn a_transfer_reads_back_in_every_shape() {
    let node = Node::start();
    let client = node.client();
    let tx = Draft::transfer(0, 0).sign();
    let hash = client.send(&tx);
    let receipt = client.receipt(&hash);
    let typed: TransactionReceipt = read(&receipt);
    assert!(typed.inner.status() && typed.inner.tx_type() == alloy_consensus::TxType::Eip1559);
    assert_eq!((typed.gas_used, typed.from, typed.transaction_hash), (21_000, signer(0).address(), *tx.hash()));
    assert_eq!((typed.block_number, typed.transaction_index, typed.contract_address), (Some(1), Some(0), None));

    let block: Block = read(&client.call("eth_getBlockByNumber", json!(["latest", true])));
    assert_eq!(block.header.hash, block.header.inner.hash_slow());
    assert_eq!(Some(block.header.hash), typed.block_hash);
    let base_fee = u128::from(block.header.base_fee_per_gas.unwrap());
    assert_eq!(typed.effective_gas_price, base_fee + 1_000_000_000);
    assert!(block.header.requests_hash.is_some() && block.header.parent_beacon_block_root.is_some());
    assert!(block.withdrawals.is_some());

    let found = client.call("eth_getTransactionByHash", json!([hash]));
    let typed: Transaction = read(&found);
    assert_eq!((*typed.inner.tx_hash(), typed.inner.signer()), (*tx.hash(), signer(0).address()));
    assert_eq!(
        (typed.block_hash, typed.effective_gas_price),
        (Some(block.header.hash), Some(base_fee + 1_000_000_000))
    );
    assert_eq!(block.transactions.as_transactions().unwrap(), [typed]);
    assert_eq!(found["type"], "0x2");
    assert_eq!(found["blockTimestamp"], json!(format!("{:#x}", block.header.timestamp)));
    let by_hash = json!([block.header.hash, "0x0"]);
    assert_eq!(client.call("eth_getTransactionByBlockHashAndIndex", by_hash), found);
    assert_eq!(client.call("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x0"])), found);
    assert_eq!(client.call("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x1"])), Value::Null);
    assert_eq!(client.call("eth_getRawTransactionByHash", json!([hash])), json!(raw(&tx)));
    assert_eq!(client.call("eth_getBlockReceipts", json!(["0x1"])), json!([receipt]));
    assert_eq!(client.call("eth_getBlockTransactionCountByHash", json!([block.header.hash])), "0x1");

    let hashes = client.call("eth_getBlockByHash", json!([block.header.hash, false]));
    assert_eq!(hashes["transactions"], json!([hash]));
    assert_eq!(hashes["uncles"], json!([]));
    // header + [[type 2 bytes]] + [] + withdrawals, by alloy's own encoding of the same block.
    let full = alloy_consensus::Block {
        header: block.header.inner.clone(),
        body: alloy_consensus::BlockBody {
            transactions: vec![tx],
            ommers: Vec::<alloy_consensus::Header>::new(),
            withdrawals: block.withdrawals.clone(),
        },
    };
    let size = alloy_rlp::Encodable::length(&full);
    assert_eq!(hashes["size"], format!("{size:#x}"));
}

#[test]
fn tags_and_ids_name_blocks() {
    let node = Node::start();
    let client = node.client();
    for nonce in 0..3 {
        client.receipt(&client.send(&Draft::transfer(0, nonce).sign()));
    }
    let number = |tag: &str| client.call("eth_getBlockByNumber", json!([tag, false]))["number"].clone();
    for (tag, expected) in
        [("latest", "0x3"), ("earliest", "0x0"), ("safe", "0x0"), ("finalized", "0x0"), ("0x2", "0x2")]
    {
        assert_eq!(number(tag), expected, "{tag}");
    }
    let pending = client.call("eth_getBlockByNumber", json!(["pending", true]));
    let latest = client.call("eth_getBlockByNumber", json!(["latest", true]));
    assert_eq!((&pending["number"], &pending["hash"], &pending["nonce"]), (&json!("0x4"), &Value::Null, &Value::Null));
    assert_eq!(pending["parentHash"], latest["hash"]);

    let receiver = Address::repeat_byte(0x77);
    let balance = |block: Value| client.call("eth_getBalance", json!([receiver, block]));
    let hash = client.call("eth_getBlockByNumber", json!(["0x2", false]))["hash"].clone();
    for block in [json!("0x2"), hash.clone(), json!({ "blockHash": hash }), json!({ "blockNumber": "0x2" })] {
        assert_eq!(balance(block.clone()), "0x2", "{block}");
    }
    assert_eq!(balance(json!("pending")), "0x3");
    assert_eq!(balance(Value::Null), "0x3");
    let nonce = json!([signer(0).address(), "0x1"]);
    assert_eq!(client.call("eth_getTransactionCount", nonce), "0x1");
    for (block, expected) in [(json!("0x9"), "header not found"), (json!(B256::ZERO), "header for hash not found")] {
        let error = client.try_call("eth_getBalance", json!([receiver, block])).unwrap_err();
        assert_eq!(error["code"], -32000);
        assert!(error["message"].as_str().unwrap().contains(expected), "{error}");
    }
}

#[test]
fn states_beyond_the_window_are_refused_clearly() {
    let node = Node::with_spec(ChainSpec { state_window: 2, ..ChainSpec::dev() });
    let client = node.client();
    for nonce in 0..6 {
        client.receipt(&client.send(&Draft::transfer(0, nonce).sign()));
    }
    let account = signer(0).address();
    assert_eq!(client.call("eth_getTransactionCount", json!([account, "0x5"])), "0x5");
    for (method, params) in [
        ("eth_getBalance", json!([account, "0x1"])),
        ("eth_getProof", json!([account, [], "0x1"])),
        ("eth_call", json!([{ "to": account }, "0x1"])),
    ] {
        let error = client.try_call(method, params).unwrap_err();
        assert_eq!(error["code"], -32000);
        assert!(error["message"].as_str().unwrap().contains("historical state of block 1 is not available"), "{error}");
    }
}

#[test]
fn waiting_transactions_show_as_pending() {
    let node = Node::start();
    let client = node.client();
    node.seal(false);
    let sender = signer(2).address();
    let tx = Draft::transfer(2, 0).sign();
    let hash = client.send(&tx);
    client.send(&Draft::transfer(2, 1).sign());
    client.send(&Draft::transfer(2, 7).sign());
    let found = client.call("eth_getTransactionByHash", json!([hash]));
    assert_eq!(
        (&found["blockHash"], &found["blockNumber"], &found["transactionIndex"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((&found["from"], &found["nonce"]), (&json!(sender), &json!("0x0")));
    assert_eq!(client.call("eth_getTransactionReceipt", json!([hash])), Value::Null);
    assert_eq!(client.call("eth_getTransactionCount", json!([sender, "latest"])), "0x0");
    assert_eq!(client.call("eth_getTransactionCount", json!([sender, "pending"])), "0x2");
    assert_eq!(client.call("txpool_status", json!([])), json!({ "pending": "0x2", "queued": "0x1" }));
    node.seal(true);
    assert_eq!(client.receipt(&hash)["status"], "0x1");
    assert_eq!(client.call("txpool_status", json!([])), json!({ "pending": "0x0", "queued": "0x1" }));
}

#[test]
fn contracts_are_called_estimated_and_proven() {
    let node = Node::start();
    let client = node.client();
    let logger = deploy(&client, 0, LOGGER);
    let reverter = deploy(&client, 1, REVERTER);
    assert_eq!(client.call("eth_getCode", json!([logger, "latest"])), json!(Bytes::from_static(LOGGER)));
    let input = format!("0x{:064x}{:064x}", 5, 6);
    let call = json!({ "to": logger, "input": input, "from": signer(0).address() });
    let answer = client.call("eth_call", json!([call, "latest"]));
    assert_eq!(answer, format!("0x{:064x}", 42));
    assert_eq!(client.call("eth_call", json!([{ "to": logger, "data": input }, "latest", {}])), answer);
    let gas = client.call("eth_estimateGas", json!([call]));
    let gas = u64::from_str_radix(gas.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let list = client.call("eth_createAccessList", json!([call, "latest"]));
    assert_eq!(list["accessList"], json!([{ "address": logger, "storageKeys": [B256::ZERO] }]));

    let mut draft = Draft::call(0, 2, logger, hex::decode(&input[2..]).unwrap().into());
    draft.gas = gas;
    let receipt = client.receipt(&client.send(&draft.sign()));
    assert_eq!(receipt["status"], "0x1", "the estimate is enough: {receipt}");
    assert_eq!(client.call("eth_getStorageAt", json!([logger, "0x0", "latest"])), format!("0x{:064x}", 5));

    let proof = client.call("eth_getProof", json!([logger, ["0x0", B256::ZERO, "0x1"], "latest"]));
    let root = client.call("eth_getBlockByNumber", json!(["latest", false]))["stateRoot"].clone();
    let top: Bytes = read(&proof["accountProof"][0]);
    assert_eq!(json!(keccak256(&top)), root);
    let slots = &proof["storageProof"];
    assert_eq!((&slots[0]["key"], &slots[0]["value"]), (&json!("0x0"), &json!("0x5")));
    assert_eq!((&slots[1]["key"], &slots[1]["value"]), (&json!(B256::ZERO), &json!("0x5")));
    assert_eq!((&slots[2]["key"], &slots[2]["value"]), (&json!("0x1"), &json!("0x0")));
    assert_eq!(json!(keccak256(read::<Bytes>(&slots[0]["proof"][0]))), proof["storageHash"]);
    assert_eq!((&proof["nonce"], &proof["codeHash"]), (&json!("0x1"), &json!(keccak256(LOGGER))));

    for method in ["eth_call", "eth_estimateGas"] {
        let error = client.try_call(method, json!([{ "to": reverter }])).unwrap_err();
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!(3), &json!("execution reverted: user error")),
            "{method}"
        );
        assert_eq!(error["data"], json!(Bytes::copy_from_slice(&REVERTER[10..])));
    }
    let list = client.call("eth_createAccessList", json!([{ "to": reverter }]));
    assert!(list["error"].as_str().unwrap().starts_with("execution reverted"), "{list}");
}

#[test]
fn logs_are_found_by_address_topic_and_block() {
    let node = Node::start();
    let client = node.client();
    let logger = deploy(&client, 0, LOGGER);
    node.seal(false);
    let mut last = String::new();
    for nonce in 1..=4 {
        last = client.send(&log_call(0, nonce, logger, nonce % 2, nonce));
    }
    node.seal(true);
    let receipt = client.receipt(&last);
    assert_eq!((&receipt["blockNumber"], &receipt["transactionIndex"]), (&json!("0x2"), &json!("0x3")));
    let log = &receipt["logs"][0];
    assert_eq!((&log["logIndex"], &log["removed"]), (&json!("0x3"), &json!(false)));
    assert_ne!(receipt["logsBloom"], json!(alloy_primitives::Bloom::ZERO));
    let topic = |number: u64| format!("0x{number:064x}");
    let logs = |filter: Value| read::<Vec<Log>>(&client.call("eth_getLogs", json!([filter])));
    let all = logs(json!({ "fromBlock": "earliest" }));
    assert_eq!(all.iter().map(|log| log.log_index.unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(logs(json!({ "address": logger, "topics": [topic(0)] })).len(), 2);
    assert_eq!(logs(json!({ "address": [logger, Address::ZERO], "topics": [[topic(0), topic(1)]] })).len(), 4);
    assert_eq!(logs(json!({ "topics": [null] })).len(), 4);
    assert_eq!(logs(json!({ "topics": [null, topic(0)] })).len(), 0);
    assert_eq!(logs(json!({ "address": Address::ZERO, "fromBlock": "earliest" })).len(), 0);
    assert_eq!(logs(json!({ "blockHash": receipt["blockHash"] })).len(), 4);
    assert_eq!(logs(json!({ "fromBlock": "0x1", "toBlock": "0x1" })).len(), 0);
    assert_eq!(logs(json!({ "fromBlock": "0x3" })).len(), 0, "a range that begins after the head is empty");
    let unknown = client.try_call("eth_getLogs", json!([{ "blockHash": B256::ZERO }])).unwrap_err();
    assert_eq!(unknown["code"], -32000);
}

#[test]
fn filters_report_what_is_new() {
    let node = Node::start();
    let client = node.client();
    let logger = deploy(&client, 0, LOGGER);
    let heads = client.call("eth_newBlockFilter", json!([]));
    let logs = client.call("eth_newFilter", json!([{ "address": logger }]));
    let changes = |id: &Value| client.call("eth_getFilterChanges", json!([id]));
    assert_eq!((changes(&heads), changes(&logs)), (json!([]), json!([])));
    let receipt = client.receipt(&client.send(&log_call(0, 1, logger, 1, 1)));
    assert_eq!(changes(&heads), json!([receipt["blockHash"]]));
    assert_eq!(changes(&logs), receipt["logs"]);
    assert_eq!((changes(&heads), changes(&logs)), (json!([]), json!([])));
    assert_eq!(client.call("eth_getFilterLogs", json!([logs])), receipt["logs"]);
    assert_eq!(client.call("eth_uninstallFilter", json!([logs])), true);
    assert_eq!(client.call("eth_uninstallFilter", json!([logs])), false);
    let error = client.try_call("eth_getFilterChanges", json!([logs])).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("filter not found"), "{error}");
}

#[test]
fn fee_history_tells_what_blocks_paid() {
    let node = Node::start();
    let client = node.client();
    for nonce in 0..3 {
        let tip = u128::from(nonce + 1) * 1_000_000_000;
        client.receipt(&client.send(&Draft { tip, ..Draft::transfer(0, nonce) }.sign()));
    }
    let history: FeeHistory = read(&client.call("eth_feeHistory", json!(["0x2", "latest", [0, 50, 100]])));
    assert_eq!((history.oldest_block, history.base_fee_per_gas.len(), history.gas_used_ratio.len()), (2, 3, 2));
    assert_eq!(history.reward, Some(vec![vec![2_000_000_000; 3], vec![3_000_000_000; 3]]));
    let latest = client.call("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(json!(format!("{:#x}", history.base_fee_per_gas[1])), latest["baseFeePerGas"]);
    assert_eq!(history.gas_used_ratio[1], 21_000.0 / 60_000_000.0);
    let next = client.call("eth_baseFee", json!([]));
    assert_eq!(json!(format!("{:#x}", history.base_fee_per_gas[2])), next);
    client.receipt(&client.send(&Draft::transfer(0, 3).sign()));
    assert_eq!(
        client.call("eth_getBlockByNumber", json!(["latest", false]))["baseFeePerGas"],
        next,
        "the prediction holds"
    );
    let tip = client.call("eth_maxPriorityFeePerGas", json!([]));
    let tip: U256 = read(&tip);
    assert!((1_000_000_000..=3_000_000_000).contains(&tip.to::<u64>()), "{tip}");
    let gas_price: U256 = read(&client.call("eth_gasPrice", json!([])));
    let base_fee: U256 = read(&client.call("eth_baseFee", json!([])));
    let latest: U256 = read(&client.call("eth_getBlockByNumber", json!(["latest", false]))["baseFeePerGas"]);
    assert_eq!(gas_price, base_fee.max(latest) + tip, "calls are simulated in the latest block");
    let far: FeeHistory = read(&client.call("eth_feeHistory", json!([1_000, "0x2"])));
    assert_eq!((far.oldest_block, far.base_fee_per_gas.len(), far.reward), (0, 4, None));
    let empty: FeeHistory = read(&client.call("eth_feeHistory", json!(["0x0", "latest", []])));
    assert_eq!(empty, FeeHistory::default());
}

#[test]
fn ai_transactions_look_like_calls_with_ai_gas() {
    let node = Node::start();
    let client = node.client();
    let payload =
        InferencePayload { model_id: B256::repeat_byte(1), grade: 0, input: Bytes::from_static(b"abc"), terms: None };
    let tx = TxAi::<Inference> {
        chain_id: 31337,
        max_fee_per_gas: 100_000_000_000,
        gas_limit: 500_000,
        ai_gas_limit: 100_000,
        payload: TxAi::<Inference>::encode_payload(&payload),
        ..TxAi::default()
    };
    let input = tx.payload.clone();
    let tx = TxEnvelope::from(signer(3).sign(tx));
    let hash = client.send(&tx);
    let receipt = client.receipt(&hash);
    // There is no such model: the transaction is included and fails.
    assert_eq!((&receipt["status"], &receipt["type"]), (&json!("0x0"), &json!("0x52")));
    assert_eq!(receipt["to"], json!(tx.to()));
    let found = client.call("eth_getTransactionByHash", json!([hash]));
    let expected = [
        ("type", json!("0x52")),
        ("aiGas", json!("0x186a0")),
        ("gas", json!("0x7a120")),
        ("input", json!(input)),
        ("to", json!(lattice_types::system::INFERENCE)),
        ("from", json!(signer(3).address())),
        ("hash", json!(hash)),
    ];
    for (field, value) in expected {
        assert_eq!(found[field], value, "{field}");
    }
    let inference = client.call("lattice_getInferenceByTransaction", json!([hash]));
    assert_eq!((&inference["success"], &inference["output"]), (&json!(false), &Value::Null));
    assert_eq!((&inference["input"], &inference["grade"]), (&json!("0x616263"), &json!("replay")));
    assert_eq!(inference["gasUsed"], receipt["gasUsed"]);
    let error = client.try_call("lattice_replayInference", json!([hash])).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("failed"), "{error}");
}

/// The first result (of a list: its first item) in a recorded answer of the execution-apis tests; `None` without them.
fn recorded(file: &str) -> Option<Value> {
    let vectors = std::env::var("LATTICE_VECTORS").map_or_else(
        |_| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        std::path::PathBuf::from,
    );
    let path = vectors.join("evm/rpc").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        let required =
            std::env::var("CI").is_ok_and(|ci| ci == "true") || std::env::var("LATTICE_VECTORS_REQUIRED").is_ok();
        assert!(!required, "{} is missing", path.display());
        println!("skipped: {} is missing (set LATTICE_VECTORS)", path.display());
        return None;
    };
    let line = text.lines().find_map(|line| line.strip_prefix("<< ")).unwrap();
    let result = serde_json::from_str::<Value>(line).unwrap()["result"].take();
    Some(if result.is_array() { result[0].clone() } else { result })
}

#[test]
fn answers_have_exactly_the_fields_of_geth() {
    let node = Node::start();
    let client = node.client();
    let logger = deploy(&client, 0, LOGGER);
    let hash = client.send(&log_call(0, 1, logger, 1, 1));
    let receipt = client.receipt(&hash);
    let legacy = alloy_consensus::TxLegacy {
        chain_id: Some(31337),
        gas_limit: 21_000,
        gas_price: 100_000_000_000,
        to: Address::ZERO.into(),
        ..Default::default()
    };
    let legacy = client.send(&signer(4).sign(legacy).into());
    client.receipt(&legacy);
    let cases = [
        (
            "eth_getBlockByNumber/get-block-prague-fork.io",
            client.call("eth_getBlockByNumber", json!(["latest", false])),
        ),
        ("eth_getTransactionByHash/get-dynamic-fee.io", client.call("eth_getTransactionByHash", json!([hash]))),
        ("eth_getTransactionByHash/get-legacy-tx.io", client.call("eth_getTransactionByHash", json!([legacy]))),
        ("eth_getTransactionReceipt/get-access-list.io", receipt.clone()),
        ("eth_getLogs/contract-addr.io", receipt["logs"][0].clone()),
        (
            "eth_getProof/get-account-proof-with-storage.io",
            client.call("eth_getProof", json!([logger, ["0x00"], "latest"])),
        ),
        ("eth_createAccessList/create-al-contract.io", client.call("eth_createAccessList", json!([{ "to": logger }]))),
        ("eth_feeHistory/fee-history.io", client.call("eth_feeHistory", json!(["0x1", "latest", [95, 99]]))),
    ];
    for (file, ours) in cases {
        let Some(theirs) = recorded(file) else { continue };
        let fields =
            |value: &Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        let (mut ours, mut theirs) = (fields(&ours), fields(&theirs));
        if file.contains("get-legacy-tx") {
            // geth leaves the chain id of old unprotected transactions out; there are none here.
            ours.remove("chainId");
            theirs.remove("chainId");
        }
        assert_eq!(ours, theirs, "{file}");
    }
}
