//! State and block overrides: what a call, an estimate and a trace see of them, and that nobody else does.

use crate::{
    client::Client,
    node::{Node, signer},
};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::{Value, json};

const PROBE: Address = Address::repeat_byte(0xc0);
const CALLER: Address = Address::repeat_byte(0xc1);

/// Code that returns one word of each of these instruction sequences.
fn probe(words: &[&[u8]]) -> Bytes {
    let mut code = Vec::new();
    for (index, word) in words.iter().enumerate() {
        code.extend_from_slice(word);
        code.extend_from_slice(&[0x60, 32 * u8::try_from(index).unwrap(), 0x52]);
    }
    code.extend_from_slice(&[0x60, 32 * u8::try_from(words.len()).unwrap(), 0x5f, 0xf3]);
    code.into()
}

fn words(answer: &Value) -> Vec<U256> {
    let bytes = hex::decode(answer.as_str().unwrap()).unwrap();
    bytes.chunks(32).map(U256::from_be_slice).collect()
}

fn word(value: u64) -> B256 {
    U256::from(value).into()
}

fn calls(client: &Client, accounts: Value, block: Value) -> Vec<U256> {
    words(&client.call("eth_call", json!([{ "to": PROBE }, "latest", accounts, block])))
}

#[test]
fn accounts_are_as_the_overrides_say() {
    let node = Node::start();
    let client = node.client();
    // SELFBALANCE, SLOAD(0), SLOAD(1)
    let code = probe(&[&[0x47], &[0x5f, 0x54], &[0x60, 0x01, 0x54]]);
    let with = |more: Value| {
        let mut account = more;
        account["code"] = json!(code);
        json!({ PROBE.to_string(): account })
    };
    let numbers = |numbers: [u64; 3]| numbers.map(U256::from).to_vec();
    assert_eq!(calls(&client, with(json!({ "balance": "0x5" })), Value::Null), numbers([5, 0, 0]));
    let slots = json!({ word(0).to_string(): word(7), word(1).to_string(): word(8) });
    assert_eq!(calls(&client, with(json!({ "state": slots })), Value::Null), numbers([0, 7, 8]));
    let slots = json!({ word(1).to_string(): word(9) });
    assert_eq!(calls(&client, with(json!({ "stateDiff": slots })), json!({})), numbers([0, 0, 9]));
    assert_eq!(client.call("eth_call", json!([{ "to": PROBE }, "latest"])), "0x", "nothing stays");
    assert_eq!(client.call("eth_getCode", json!([PROBE, "latest"])), "0x");

    // A sender that has nothing gets something; an estimate runs the code that is put there.
    let transfer = json!({ "from": CALLER, "to": PROBE, "value": "0x64" });
    client.try_call("eth_estimateGas", json!([transfer, "latest"])).unwrap_err();
    let rich = json!({ CALLER.to_string(): { "balance": "0x64" } });
    assert_eq!(client.call("eth_estimateGas", json!([transfer, "latest", rich])), "0x5208");
    let gas = client.call("eth_estimateGas", json!([{ "to": PROBE }, "latest", with(json!({}))]));
    assert!(U256::from_str_radix(&gas.as_str().unwrap()[2..], 16).unwrap() > U256::from(25_000), "{gas}");

    // The nonce decides where a contract is created: CREATE of nothing gives its address.
    let creator = probe(&[&[0x5f, 0x5f, 0x5f, 0xf0]]);
    let at = |nonce: u64| {
        let accounts = json!({ PROBE.to_string(): { "code": creator, "nonce": format!("{nonce:#x}") } });
        calls(&client, accounts, Value::Null)[0]
    };
    assert_eq!(at(3), U256::from_be_slice(PROBE.create(3).as_slice()));
    assert_eq!(at(4), U256::from_be_slice(PROBE.create(4).as_slice()));
}

#[test]
fn storage_that_is_there_is_replaced_or_amended() {
    let node = Node::start();
    let client = node.client();
    // Stores 1 and 2 in slots 0 and 1, then returns code that reads both.
    let runtime = probe(&[&[0x5f, 0x54], &[0x60, 0x01, 0x54]]);
    let length = u8::try_from(runtime.len()).unwrap();
    let mut init = hex!("60015f5560026001556000601260003960006000f3").to_vec();
    (init[10], init[12]) = (length, 21);
    init[17] = length;
    let init = [init, runtime.to_vec()].concat();
    let created = client.receipt(&client.send(&crate::node::Draft::create(0, 0, init.into()).sign()));
    let contract: Address = serde_json::from_value(created["contractAddress"].clone()).unwrap();
    let read = |account: Value| {
        words(&client.call("eth_call", json!([{ "to": contract }, "latest", { contract.to_string(): account }])))
    };
    let pair = |a: u64, b: u64| vec![U256::from(a), U256::from(b)];
    assert_eq!(read(json!({})), pair(1, 2));
    let slots = json!({ word(1).to_string(): word(9) });
    assert_eq!(read(json!({ "stateDiff": slots })), pair(1, 9));
    assert_eq!(read(json!({ "state": slots })), pair(0, 9));
    assert_eq!(read(json!({ "state": {} })), pair(0, 0));
    let slot = json!({ contract.to_string(): [word(0), "0x1"], CALLER.to_string(): ["0x0"] });
    let values = client.call("eth_getStorageValues", json!([slot]));
    assert_eq!(values[contract.to_string().to_lowercase()], json!([word(1), word(2)]), "{values}");
    assert_eq!(values[CALLER.to_string().to_lowercase()], json!([B256::ZERO]));
}

#[test]
fn blocks_are_as_the_overrides_say() {
    let node = Node::start();
    let client = node.client();
    // NUMBER, TIMESTAMP, GASLIMIT, PREVRANDAO, COINBASE, BASEFEE, BLOCKHASH(NUMBER - 1)
    let code = probe(&[&[0x43], &[0x42], &[0x45], &[0x44], &[0x41], &[0x48], &hex!("60014303 40")[..]]);
    let accounts =
        json!({ PROBE.to_string(): { "code": code }, CALLER.to_string(): { "balance": "0xffffffffffffff" } });
    let block = json!({
        "number": "0x3e8", "time": "0x77359400", "gasLimit": "0x1312d00", "prevRandao": word(5),
        "feeRecipient": Address::repeat_byte(2), "baseFeePerGas": "0x9",
    });
    let seen = calls(&client, accounts.clone(), block.clone());
    let recipient = U256::from_be_slice(Address::repeat_byte(2).as_slice());
    let expected = [1_000, 2_000_000_000, 20_000_000, 5].map(U256::from);
    assert_eq!(seen[..4], expected);
    assert_eq!((seen[4], seen[6]), (recipient, U256::ZERO), "nobody made the block before");
    // Without a price gas is free and the base fee reads as 0; with one it is the override's.
    assert_eq!(seen[5], U256::ZERO);
    let call = json!({ "from": CALLER, "to": PROBE, "gas": "0x186a0", "gasPrice": "0x9" });
    let priced = words(&client.call("eth_call", json!([call, "latest", accounts, block])));
    assert_eq!(priced[5], U256::from(9));
    let error = client.try_call("eth_call", json!([call, "latest", accounts])).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("less than block base fee"), "{error}");

    let config = json!({ "stateOverrides": accounts, "blockOverrides": block });
    let trace = client.call("debug_traceCall", json!([{ "to": PROBE }, "latest", config]));
    assert_eq!(trace["structLogs"][1]["stack"], json!(["0x3e8"]));
}

#[test]
fn precompiles_move_and_give_way_to_code() {
    let node = Node::start();
    let client = node.client();
    let identity = Address::with_last_byte(4);
    let moved = json!({ identity.to_string(): { "movePrecompileToAddress": PROBE } });
    let call = |to: Address, accounts: &Value| {
        client.call("eth_call", json!([{ "to": to, "input": "0x1234" }, "latest", accounts]))
    };
    assert_eq!((call(PROBE, &moved), call(identity, &moved)), (json!("0x1234"), json!("0x")));
    let replaced = json!({ identity.to_string(): { "code": probe(&[&[0x36]]) } });
    assert_eq!(call(identity, &replaced), json!(word(2)));
    assert_eq!(call(identity, &json!({})), json!("0x1234"));
    let account = signer(0).address();
    for (accounts, words) in [
        (json!({ account.to_string(): { "movePrecompileToAddress": PROBE } }), "is not a precompile"),
        (
            json!({ identity.to_string(): { "movePrecompileToAddress": PROBE }, PROBE.to_string(): {} }),
            "is already overridden",
        ),
    ] {
        let error = client.try_call("eth_call", json!([{ "to": PROBE }, "latest", accounts])).unwrap_err();
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
}
