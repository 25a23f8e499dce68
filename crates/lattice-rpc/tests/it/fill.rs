//! `eth_fillTransaction`: what it fills in makes a transaction that is mined and succeeds.

use crate::{
    lattice::active_relu,
    node::{Draft, Node, signer},
};
use alloy_consensus::{Transaction, Typed2718};
use alloy_primitives::{Address, Bytes, hex};
use lattice_types::{
    TxEnvelope, decode_transaction, system,
    tx::{Inference, InferencePayload, TxAi},
};
use serde_json::{Value, json};

/// Init code that runs the model named behind it on the 8 bytes that follow, 300 times.
const RUN_OFTEN: [u8; 31] = hex!("6028601f5f3961012c5b5f5f60285f5f61a1f25af1506001900380600957 00");

/// The filled transaction, from `tx` and from `raw`, which are the same.
fn fill(client: &crate::client::Client, request: &Value) -> TxEnvelope {
    let filled = client.call("eth_fillTransaction", json!([request]));
    let tx: TxEnvelope = serde_json::from_value(filled["tx"].clone()).unwrap();
    let raw: Bytes = serde_json::from_value(filled["raw"].clone()).unwrap();
    assert_eq!(decode_transaction(&raw).unwrap(), tx, "{filled}");
    tx
}

#[test]
fn a_filled_transfer_is_ready_to_be_signed() {
    let node = Node::start();
    let client = node.client();
    client.receipt(&client.send(&Draft::transfer(0, 0).sign()));
    node.seal(false);
    client.send(&Draft::transfer(0, 1).sign());
    let (from, to) = (signer(0).address(), Address::repeat_byte(0x77));
    let tx = fill(&client, &json!({ "from": from, "to": to, "value": "0x5" }));
    assert_eq!((tx.ty(), tx.nonce(), tx.gas_limit(), tx.chain_id()), (2, 2, 21_000, Some(31_337)));
    assert_eq!(tx.access_list().map(|list| list.len()), Some(0));
    assert!(tx.max_fee_per_gas() > tx.max_priority_fee_per_gas().unwrap());
    let TxEnvelope::Eip1559(filled) = tx else { panic!("{tx:?}") };
    let signed: TxEnvelope = signer(0).sign(filled.strip_signature()).into();
    client.send(&signed);
    node.seal(true);
    assert_eq!(client.receipt(&signed.hash().to_string())["status"], "0x1");

    // What is given stays; the type follows from it.
    let given = json!({ "from": from, "to": to, "gasPrice": "0x77359400", "gas": "0x7530", "nonce": "0x63" });
    let tx = fill(&client, &given);
    assert_eq!((tx.ty(), tx.nonce(), tx.gas_limit(), tx.gas_price()), (0, 99, 30_000, Some(2_000_000_000)));
    let cheap = fill(&client, &json!({ "from": from, "to": to, "maxFeePerGas": "0x3b9aca01" }));
    assert!(cheap.max_priority_fee_per_gas().unwrap() <= 1_000_000_001);
    let error =
        client.try_call("eth_fillTransaction", json!([{ "from": Address::repeat_byte(1), "to": to, "value": "0x1" }]));
    assert!(error.unwrap_err()["message"].as_str().unwrap().contains("insufficient funds"));
}

#[test]
fn model_work_is_declared() {
    let node = Node::start();
    let client = node.client();
    let model_id = active_relu(&node, &client);
    let from = signer(1).address();
    let code = Bytes::from([&RUN_OFTEN[..], model_id.as_slice(), &[0; 8]].concat());
    let tx = fill(&client, &json!({ "from": from, "input": code }));
    let list = tx.access_list().unwrap().clone();
    let declared = tx.ai_gas_limit().unwrap();
    assert_eq!((list.len(), list[0].address), (1, system::AI_GAS));
    assert!(declared > 500_000 && declared < tx.gas_limit(), "{declared}");
    let TxEnvelope::Eip1559(filled) = tx else { panic!("{tx:?}") };
    let signed: TxEnvelope = signer(1).sign(filled.strip_signature()).into();
    let receipt = client.receipt(&client.send(&signed));
    assert_eq!(receipt["status"], "0x1");
    // All runs were paid for: none halted for want of AI gas.
    let used = u64::from_str_radix(&receipt["gasUsed"].as_str().unwrap()[2..], 16).unwrap();
    assert!(used > declared / 2, "{used} of {declared}");

    // An AI transaction declares in its field.
    let payload = InferencePayload { model_id, grade: 0, input: vec![0; 8].into(), terms: None };
    let payload = TxAi::<Inference>::encode_payload(&payload);
    let tx = fill(&client, &json!({ "from": from, "type": "0x52", "input": payload }));
    assert_eq!((tx.ty(), tx.to(), tx.nonce()), (0x52, Some(system::INFERENCE), 1));
    let TxEnvelope::Inference(filled) = tx else { panic!("{tx:?}") };
    let signed: TxEnvelope = signer(1).sign(filled.strip_signature()).into();
    assert_eq!(client.receipt(&client.send(&signed))["status"], "0x1");
}

#[test]
fn a_node_says_what_it_keeps() {
    let node = Node::start();
    let client = node.client();
    let kept = client.call("eth_capabilities", json!([]));
    assert_eq!(kept["head"]["number"], "0x0");
    assert_eq!(kept["state"]["deleteStrategy"], json!({ "type": "window", "retentionBlocks": "0x100" }));
    assert_eq!(kept["logs"], json!({ "disabled": false, "oldestBlock": "0x0" }));
}
