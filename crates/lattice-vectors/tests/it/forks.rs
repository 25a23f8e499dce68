//! Prague and Osaka by hand: fixtures in the form of execution-spec-tests whose expectations follow from the EIPs.
//! Their `state` says every account afterwards, so the arithmetic stands here and not in a root.

use crate::support::{assert_good, report_of};
use alloy_consensus::crypto::secp256k1::sign_message;
use alloy_primitives::{Address, B256, U256, hex, keccak256};
use lattice_types::tx::TxSigner;
use lattice_vectors::Report;
use serde_json::{Value, json};

const SENDER: &str = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b";
const COINBASE: &str = "0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba";
const TARGET: &str = "0x1000000000000000000000000000000000000001";
const ETHER: u128 = 1_000_000_000_000_000_000;
/// Price and base fee of a gas, wei.
const PRICE: u128 = 10;
const BASE_FEE: u128 = 7;
/// keccak of the RLP of no logs.
const NO_LOGS: &str = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";

/// A fixture under construction: a call of the target by the sender.
struct Fixture {
    fork: &'static str,
    unit: Value,
}

fn account(balance: u128, nonce: u64, code: &str, storage: Value) -> Value {
    json!({"balance": format!("{balance:#x}"), "nonce": format!("{nonce:#x}"), "code": code, "storage": storage})
}

impl Fixture {
    fn new(fork: &'static str, gas_limit: u64) -> Self {
        let unit = json!({
            "_info": {"fixture-format": "state_test", "comment": "by hand"},
            "config": {"chainid": "0x01", "blobSchedule": {
                "Cancun": {"target": "0x03", "max": "0x06", "baseFeeUpdateFraction": "0x32f0ed"},
                "Prague": {"target": "0x06", "max": "0x09", "baseFeeUpdateFraction": "0x4c6964"},
                "Osaka": {"target": "0x06", "max": "0x09", "baseFeeUpdateFraction": "0x4c6964"}}},
            "env": {
                "currentCoinbase": COINBASE, "currentGasLimit": "0x07270e00", "currentNumber": "0x01",
                "currentTimestamp": "0x03e8", "currentDifficulty": "0x00", "currentRandom": "0x00",
                "currentBaseFee": format!("{BASE_FEE:#x}"), "currentExcessBlobGas": "0x00"},
            "pre": {SENDER: account(ETHER, 0, "0x", json!({}))},
            "transaction": {
                "nonce": "0x00", "gasPrice": format!("{PRICE:#x}"), "gasLimit": [format!("{gas_limit:#x}")],
                "value": ["0x00"], "data": ["0x"], "to": TARGET, "sender": SENDER},
        });
        Self { fork, unit }
    }

    /// The target's code.
    fn code(mut self, code: &str) -> Self {
        self.unit["pre"][TARGET] = account(0, 1, code, json!({}));
        self
    }

    fn data(mut self, data: &str) -> Self {
        self.unit["transaction"]["data"] = json!([data]);
        self
    }

    /// Fields of the transaction, beside or instead of those that are there; null takes one away.
    fn tx(mut self, fields: Value) -> Self {
        let tx = self.unit["transaction"].as_object_mut().unwrap();
        for (field, value) in fields.as_object().unwrap() {
            if value.is_null() {
                tx.remove(field);
            } else {
                tx.insert(field.clone(), value.clone());
            }
        }
        self
    }

    fn env(mut self, field: &str, value: Value) -> Self {
        self.unit["env"][field] = value;
        self
    }

    /// Pays with the fee fields of EIP-1559, at the same price.
    fn dynamic(self) -> Self {
        let fee = format!("{PRICE:#x}");
        self.tx(json!({"gasPrice": null, "maxFeePerGas": fee, "maxPriorityFeePerGas": fee}))
    }

    fn post(mut self, post: Value) -> Report {
        let mut case = json!({"logs": NO_LOGS, "indexes": {"data": 0, "gas": 0, "value": 0}});
        case.as_object_mut().unwrap().extend(post.as_object().unwrap().clone());
        self.unit["post"] = json!({ self.fork: [case] });
        report_of(&json!({ format!("tests/by_hand.py::case[fork_{}]", self.fork): self.unit }))
    }

    /// Runs it, expecting that it uses that much gas, burns `blob_fee` wei for blobs, and leaves these accounts beside
    /// the sender and the coinbase as they are given; of the target, unless it is given, the storage.
    fn uses(self, gas: u128, blob_fee: u128, storage: Value, others: Value) -> Report {
        let mut state = self.unit["pre"].clone();
        state[SENDER] = account(ETHER - gas * PRICE - blob_fee, 1, "0x", json!({}));
        state[COINBASE] = account(gas * (PRICE - BASE_FEE), 0, "0x", json!({}));
        if let Some(target) = state.get_mut(TARGET) {
            target["storage"] = storage;
        }
        state.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        self.post(json!({ "state": state }))
    }

    fn succeeds(self, gas: u128, storage: Value) {
        assert_good(&self.uses(gas, 0, storage, json!({})));
    }

    /// Runs it, expecting a refusal that leaves everything as it is.
    fn refused(self, exception: &str) {
        let state = self.unit["pre"].clone();
        let report = self.post(json!({"expectException": format!("TransactionException.{exception}"), "state": state}));
        assert_good(&report);
    }
}

/// Stores the word on the stack in the slot.
fn sstore(slot: u8) -> String {
    format!("60{slot:02x}55")
}

/// Calls a precompile with the call data as input and 100,000 gas, all between two reads of GAS; stores in slot 0 what
/// lies between them, in slot 1 the flag, in slot 2 the length of the output and in slot 3 its first word.
fn probe(precompile: u16) -> String {
    let input = "365f5f37"; // CALLDATACOPY(0, 0, size)
    // GAS; PUSH0 PUSH0 CALLDATASIZE PUSH0 PUSH2 address PUSH3 100000 STATICCALL; GAS
    let call = format!("5a5f5f365f61{precompile:04x}620186a0fa5a");
    // [before, flag, after] -> slot 0 gets before - after, slot 1 the flag.
    let stored = format!("90{}90035f55", sstore(1));
    // The input is overwritten by what there is of output.
    let output = format!("3d{}3d5f5f3e5f51{}", sstore(2), sstore(3));
    format!("0x{input}{call}{stored}{output}00")
}

/// What [`probe`] measures beyond the precompile: four pushes of 2, two of 3, the call of a warm account, GAS.
const PROBE: u64 = 2 + 2 + 2 + 2 + 3 + 3 + 100 + 2;

/// Runs a probe for free, so that only storage says what happened.
fn probed(fork: &'static str, precompile: u16, input: &str, gas: u64, flag: u64, len: u64, word: U256) {
    let fixture = Fixture::new(fork, 1_000_000).code(&probe(precompile)).data(input);
    let fixture = fixture.env("currentBaseFee", json!("0x00")).tx(json!({"gasPrice": "0x00"}));
    let mut storage = serde_json::Map::new();
    for (slot, value) in [U256::from(gas + PROBE), U256::from(flag), U256::from(len), word].into_iter().enumerate() {
        if !value.is_zero() {
            storage.insert(format!("{slot:#x}"), json!(format!("{value:#x}")));
        }
    }
    let mut state = fixture.unit["pre"].clone();
    state[SENDER]["nonce"] = json!("0x01");
    state[TARGET]["storage"] = Value::Object(storage);
    assert_good(&fixture.post(json!({ "state": state })));
}

#[test]
fn eip_7623_calldata_has_a_floor() {
    let data = format!("0x{}", "ff".repeat(1_000));
    // 16 a byte before; 40 a byte (4 tokens of 10) at least, since nothing ran.
    Fixture::new("Cancun", 100_000).data(&data).succeeds(21_000 + 16_000, json!({}));
    Fixture::new("Prague", 61_000).data(&data).succeeds(21_000 + 40_000, json!({}));
    Fixture::new("Prague", 60_999).data(&data).refused("INTRINSIC_GAS_BELOW_FLOOR_GAS_COST");
    // Zeros: 4 a byte, floor 10 a byte.
    let zeros = format!("0x{}", "00".repeat(1_000));
    Fixture::new("Osaka", 61_000).data(&zeros).succeeds(21_000 + 10_000, json!({}));
    // Where execution costs more than the floor, the floor says nothing: 40 x (PUSH1 1, PUSH1 slot, SSTORE).
    let stores: String = (1..=2).map(|slot| format!("6001{}", sstore(slot))).collect();
    let storage = json!({"0x01": "0x01", "0x02": "0x01"});
    let used = 21_000 + 16_000 + 2 * (3 + 3 + 22_100);
    Fixture::new("Prague", 200_000).code(&format!("0x{stores}00")).data(&data).succeeds(used, storage);
}

#[test]
fn eip_7825_caps_the_gas_limit() {
    let cap = 1 << 24;
    Fixture::new("Osaka", cap).succeeds(21_000, json!({}));
    Fixture::new("Osaka", cap + 1).refused("GAS_LIMIT_EXCEEDS_MAXIMUM");
    Fixture::new("Prague", cap + 1).succeeds(21_000, json!({}));
}

#[test]
fn eip_7939_counts_leading_zeros() {
    // PUSH1 1, CLZ, slot 1; PUSH0, CLZ, slot 2; PUSH32 with the top bit, CLZ, slot 3 (which is 0 and stays empty).
    let top = format!("7f80{}", "00".repeat(31));
    let code = format!("0x60011e{}5f1e{}{top}1e{}00", sstore(1), sstore(2), sstore(3));
    let pushes = (3 + 5 + 3) + (2 + 5 + 3) + (3 + 5 + 3);
    // Two slots filled, cold; one cold slot that keeps its value (2,100 + 100).
    let used = 21_000 + pushes + 2 * 22_100 + 2_200;
    Fixture::new("Osaka", 200_000).code(&code).succeeds(used, json!({"0x01": "0xff", "0x02": "0x0100"}));
    // No such instruction before: all gas is gone.
    Fixture::new("Prague", 200_000).code(&code).succeeds(200_000, json!({}));
}

/// A vector of Wycheproof, as EIP-7951 lists it: hash, r, s, x, y.
const P256: &str = "bb5a52f42f9c9261ed4361f59422a1e30036e7c32b270c8807a419feca605023\
    2ba3a8be6b94d5ec80a6d9d1190a436effe50d85a1eee859b8cc6af9bd5c2e18\
    4cd60b855d442f5b3c7b11eb6c4e0ae7525fe710fab9aa7c77a67f79e6fadd76\
    2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838\
    c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e";

#[test]
fn eip_7951_verifies_p256_signatures() {
    let right = format!("0x{P256}");
    probed("Osaka", 0x100, &right, 6_900, 1, 32, U256::ONE);
    // Another hash, a point off the curve, a byte less: no output, the same price.
    let first_word = |input: &str| U256::from_be_slice(&hex::decode(&input[..66]).unwrap());
    let wrong = right.replacen("bb5a", "bb5b", 1);
    probed("Osaka", 0x100, &wrong, 6_900, 1, 0, first_word(&wrong));
    let off = right.replacen("c778", "c779", 1);
    probed("Osaka", 0x100, &off, 6_900, 1, 0, first_word(&off));
    let short = &right[..right.len() - 2];
    probed("Osaka", 0x100, short, 6_900, 1, 0, first_word(short));
}

/// MODEXP's input.
fn modexp(base: &[u8], exponent: &[u8], modulus: &[u8]) -> String {
    let word = |len: usize| hex::encode(U256::from(len).to_be_bytes::<32>());
    let [b, e, m] = [base, exponent, modulus];
    let lens = [b, e, m].map(|part| word(part.len())).concat();
    format!("0x{lens}{}", [b, e, m].map(hex::encode).concat())
}

#[test]
fn eip_7883_prices_modexp_anew() {
    // 2^3 mod 5 = 3, one byte each. EIP-2565's minimum is 200, EIP-7883's 500. The output has one byte; behind it lies
    // what is left of the input's first word, which is all zeros but for its last byte, the length 1.
    let small = modexp(&[2], &[3], &[5]);
    let word = (U256::from(3) << 248) | U256::ONE;
    probed("Prague", 5, &small, 200, 1, 1, word);
    probed("Osaka", 5, &small, 500, 1, 1, word);
    // 64 bytes, 2^256 - 1 as exponent: 8^2 * 255 / 3, then 2 * 8^2 * 255. The base is 1, and so is the result, whose
    // first word is zero.
    let mut one = [0; 64];
    one[63] = 1;
    let large = modexp(&one, &[0xff; 32], &[0xff; 64]);
    probed("Prague", 5, &large, 64 * 255 / 3, 1, 64, U256::ZERO);
    probed("Osaka", 5, &large, 2 * 64 * 255, 1, 64, U256::ZERO);
}

#[test]
fn eip_7823_bounds_modexp() {
    // 1,024 bytes are allowed: 128^2 / 3 = 5,461, and 2 * 128^2, at one iteration each.
    let base = |len: usize| modexp(&vec![0; len], &[1], &[7]);
    probed("Prague", 5, &base(1_024), 128 * 128 / 3, 1, 1, U256::from(1_024));
    probed("Osaka", 5, &base(1_024), 2 * 128 * 128, 1, 1, U256::from(1_024));
    // A byte more fails in Osaka and takes all gas of the call.
    probed("Prague", 5, &base(1_025), 129 * 129 / 3, 1, 1, U256::from(1_025));
    probed("Osaka", 5, &base(1_025), 100_000, 0, 0, U256::from(1_025));
}

#[test]
fn eip_2537_adds_points_of_bls12_381() {
    // Infinity and infinity are infinity; 375 gas.
    let infinities = format!("0x{}", "00".repeat(256));
    probed("Prague", 0x0b, &infinities, 375, 1, 128, U256::ZERO);
    // No precompile before: an empty account, which is cold (2,500 more) and answers with nothing.
    probed("Cancun", 0x0b, &infinities, 2_500, 1, 0, U256::ZERO);
}

#[test]
fn eip_7516_the_blob_base_fee_follows_the_schedule() {
    let code = format!("0x4a{}00", sstore(0));
    let used = 21_000 + 2 + 3 + 22_100;
    // e^10 = 22,026.4...: ten times the fraction of Prague; with Cancun's, e^15.0 = 3,269,0xx is another number.
    let excess = json!(format!("{:#x}", 10 * 5_007_716));
    let at = |fork| Fixture::new(fork, 100_000).code(&code).env("currentExcessBlobGas", excess.clone());
    at("Prague").succeeds(used, json!({"0x00": format!("{:#x}", 22_026)}));
    at("Osaka").succeeds(used, json!({"0x00": format!("{:#x}", 22_026)}));
    // The fork by parameters only: e^(50,077,160 / 11,684,671) = e^4.2857 = 72.6..., from the vector or from mainnet.
    at("BPO2").succeeds(used, json!({"0x00": format!("{:#x}", 72)}));
    let mut own = at("BPO3");
    own.unit["config"]["blobSchedule"]["BPO3"] =
        json!({"target": 14, "max": "21", "baseFeeUpdateFraction": 11_684_671});
    own.succeeds(used, json!({"0x00": format!("{:#x}", 72)}));
}

fn blobs(count: usize, version: u8, max_fee: u64) -> Value {
    let hash = |index: usize| format!("0x{version:02x}{}{index:02x}", "00".repeat(30));
    let hashes: Vec<_> = (0..count).map(hash).collect();
    json!({"blobVersionedHashes": hashes, "maxFeePerBlobGas": format!("{max_fee:#x}")})
}

#[test]
fn eip_4844_blob_transactions_run() {
    // BLOBHASH(1), slot 1.
    let code = format!("0x600149{}00", sstore(1));
    let hash = format!("0x01{}01", "00".repeat(30));
    let used = 21_000 + 3 + 3 + 3 + 22_100;
    let send =
        |fork, count, version, fee| Fixture::new(fork, 100_000).code(&code).dynamic().tx(blobs(count, version, fee));
    // Two blobs of 131,072 gas at the fee 1, burned.
    assert_good(&send("Prague", 2, 1, 9).uses(used, 2 * 131_072, json!({"0x01": hash}), json!({})));
    // Blobs of a transaction: the block's nine in Prague, six in Osaka (EIP-7594).
    assert_good(&send("Prague", 9, 1, 9).uses(used, 9 * 131_072, json!({"0x01": hash}), json!({})));
    assert_good(&send("Osaka", 6, 1, 9).uses(used, 6 * 131_072, json!({"0x01": hash}), json!({})));
    send("Prague", 10, 1, 9).refused("TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED|TYPE_3_TX_BLOB_COUNT_EXCEEDED");
    send("Osaka", 7, 1, 9).refused("TYPE_3_TX_BLOB_COUNT_EXCEEDED");
    send("Prague", 0, 1, 9).refused("TYPE_3_TX_ZERO_BLOBS");
    send("Prague", 1, 2, 9).refused("TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH");
    send("Prague", 1, 1, 0).refused("INSUFFICIENT_MAX_FEE_PER_BLOB_GAS");
    send("Shanghai", 1, 1, 9).refused("TYPE_3_TX_PRE_FORK");
    send("Prague", 1, 1, 9).tx(json!({"to": ""})).refused("TYPE_3_TX_CONTRACT_CREATION");
}

/// An account with a key, and a signed authorization of it.
fn authority(key: u8) -> (Address, B256) {
    let key = B256::with_last_byte(key);
    (TxSigner::new(key).unwrap().address(), key)
}

fn authorization(key: u8, chain_id: u64, nonce: u64, delegate: &str) -> Value {
    let (signer, secret) = authority(key);
    // EIP-7702: keccak(0x05 || rlp([chain_id, address, nonce])); all three are short strings here.
    let number = |value: u64| if value == 0 { 0x80 } else { value as u8 };
    let mut message = vec![0x05, 0xc0 + 23, number(chain_id), 0x94];
    message.extend(hex::decode(delegate).unwrap());
    message.push(number(nonce));
    let signature = sign_message(secret, keccak256(&message)).unwrap();
    let parity = format!("{:#x}", u8::from(signature.v()));
    json!({
        "chainId": format!("{chain_id:#x}"), "address": delegate, "nonce": format!("{nonce:#x}"), "v": parity,
        "r": format!("{:#x}", signature.r()), "s": format!("{:#x}", signature.s()), "signer": signer, "yParity": parity,
    })
}

/// What an account that delegates has as code.
fn delegation(to: &str) -> String {
    format!("0xef0100{}", &to[2..])
}

/// A set-code transaction to the account of key 2, whose code is the target's from then on.
fn set_code(fork: &'static str, list: Value) -> Fixture {
    let code = format!("0x6001{}00", sstore(5));
    let mut fixture = Fixture::new(fork, 200_000).code(&code).dynamic();
    let (signer, _) = authority(2);
    fixture.unit["pre"][format!("{signer:#x}")] = account(1, 0, "0x", json!({}));
    fixture.tx(json!({"to": format!("{signer:#x}"), "authorizationList": list}))
}

#[test]
fn eip_7702_sets_code() {
    let signer = format!("{:#x}", authority(2).0);
    let run = 3 + 3 + 22_100;
    // 25,000 for the authorization, of which 12,500 come back because the account exists (a fifth would be more).
    let used = 21_000 + 25_000 + run - 12_500;
    for fork in ["Prague", "Osaka"] {
        for chain_id in [1, 0] {
            let fixture = set_code(fork, json!([authorization(2, chain_id, 0, TARGET)]));
            let after = account(1, 1, &delegation(TARGET), json!({"0x05": "0x01"}));
            assert_good(&fixture.uses(used, 0, json!({}), json!({ signer.clone(): after })));
        }
    }
    // A new account: nothing comes back. The call goes to the target's own storage.
    let newcomer = format!("{:#x}", authority(3).0);
    let fixture = set_code("Prague", json!([authorization(3, 1, 0, TARGET)])).tx(json!({ "to": TARGET }));
    let after = account(0, 1, &delegation(TARGET), json!({}));
    assert_good(&fixture.uses(21_000 + 25_000 + run, 0, json!({"0x05": "0x01"}), json!({ newcomer: after })));
    // The zero address takes a delegation away.
    let mut fixture = set_code("Prague", json!([authorization(2, 1, 0, &format!("{:#x}", Address::ZERO))]));
    fixture.unit["pre"][&signer] = account(1, 0, &delegation(TARGET), json!({}));
    let after = account(1, 1, "0x", json!({}));
    // 46,000 less the refund, which is at most a fifth: 9,200.
    assert_good(&fixture.uses(46_000 - 9_200, 0, json!({}), json!({ signer: after })));
}

#[test]
fn eip_7702_skips_what_is_not_valid_and_charges_for_it() {
    let signer = format!("{:#x}", authority(2).0);
    let mut foreign = authorization(2, 1, 0, TARGET);
    foreign["s"] = json!(format!("0x{}", "f".repeat(64)));
    for list in [
        json!([authorization(2, 1, 7, TARGET)]), // not its nonce
        json!([authorization(2, 5, 0, TARGET)]), // not this chain
        json!([foreign]),                        // nobody's signature
    ] {
        let unchanged = account(1, 0, "0x", json!({}));
        let report = set_code("Prague", list).uses(46_000, 0, json!({}), json!({ signer.clone(): unchanged }));
        assert_good(&report);
    }
    set_code("Prague", json!([])).refused("TYPE_4_EMPTY_AUTHORIZATION_LIST");
    set_code("Prague", json!([authorization(2, 1, 0, TARGET)]))
        .tx(json!({"to": ""}))
        .refused("TYPE_4_TX_CONTRACT_CREATION");
    set_code("Cancun", json!([authorization(2, 1, 0, TARGET)])).refused("TYPE_4_TX_PRE_FORK");
    // What no encoding holds: a nonce, a chain id and an address that are too long, a list for a number.
    for (field, value) in [
        ("nonce", json!("0x010000000000000000")),
        ("chainId", json!(format!("0x01{}", "00".repeat(32)))),
        ("address", json!(format!("{TARGET}00"))),
        ("chainId", json!(["0x01"])),
    ] {
        let mut one = authorization(2, 1, 0, TARGET);
        one[field] = value;
        set_code("Prague", json!([one])).refused("TYPE_4_INVALID_AUTHORIZATION_FORMAT");
    }
}

#[test]
fn eip_7702_lets_who_delegates_send() {
    let mut fixture = Fixture::new("Prague", 100_000);
    fixture.unit["pre"][SENDER]["code"] = json!(delegation(TARGET));
    let mut state = fixture.unit["pre"].clone();
    state[SENDER]["nonce"] = json!("0x01");
    state[SENDER]["balance"] = json!(format!("{:#x}", ETHER - 21_000 * PRICE));
    state[COINBASE] = account(21_000 * (PRICE - BASE_FEE), 0, "0x", json!({}));
    assert_good(&fixture.post(json!({ "state": state })));
    let mut fixture = Fixture::new("Prague", 100_000);
    fixture.unit["pre"][SENDER]["code"] = json!("0x00");
    fixture.refused("SENDER_NOT_EOA");
}

#[test]
fn every_type_runs() {
    let list = json!([[{"address": TARGET, "storageKeys": ["0x00"]}]]);
    // EIP-2930: 2,400 an address, 1,900 a slot. The code reads slot 0, warm by then: PUSH0, SLOAD 100, POP.
    let code = "0x5f545000";
    let read = 2 + 100 + 2;
    let used = 21_000 + 2_400 + 1_900 + read;
    Fixture::new("Osaka", 100_000).code(code).succeeds(21_000 + 2 + 2_100 + 2, json!({}));
    Fixture::new("Osaka", 100_000).code(code).tx(json!({ "accessLists": list })).succeeds(used, json!({}));
    Fixture::new("Osaka", 100_000).code(code).dynamic().tx(json!({ "accessLists": list })).succeeds(used, json!({}));
    Fixture::new("Osaka", 100_000).tx(json!({"type": "0x06"})).refused("TYPE_NOT_SUPPORTED");
}

#[test]
fn signed_bytes_that_nobody_signed_are_refused() {
    let no_transaction = json!({"expectException": "TransactionException.INVALID_SIGNATURE_VRS", "txbytes": "0x02c0"});
    let fixture = Fixture::new("Prague", 100_000);
    let mut post = no_transaction;
    post["state"] = fixture.unit["pre"].clone();
    assert_good(&fixture.post(post));
}

#[test]
fn what_is_missing_or_unknown_is_said_by_name() {
    let only = |report: Report| {
        let [failure] = report.failures() else { panic!("{:?}", report.failures()) };
        failure.clone()
    };
    for (object, field) in [
        ("env", "currentGasLimit"),
        ("env", "currentCoinbase"),
        ("transaction", "nonce"),
        ("transaction", "data"),
        ("transaction", "gasPrice"),
    ] {
        let mut fixture = Fixture::new("Prague", 100_000);
        fixture.unit[object].as_object_mut().unwrap().remove(field);
        let failure = only(fixture.post(json!({"state": {}})));
        assert!(failure.contains(&format!("`{object}.{field}`")) && failure.contains("missing"), "{failure}");
    }
    let failure = only(Fixture::new("Prague", 100_000).post(json!({})));
    assert!(failure.contains("neither `hash` nor `state`"), "{failure}");
    let mut fixture = Fixture::new("Prague", 100_000);
    fixture.unit["config"]["blobSchedule"]["Prague"].as_object_mut().unwrap().remove("max");
    assert!(only(fixture.post(json!({"state": {}}))).contains("blobSchedule.Prague.max` is missing"));
    let mut fixture = Fixture::new("Prague", 100_000);
    fixture.unit["config"]["blobSchedule"]["Prague"]["baseFeeUpdateFraction"] = json!(0);
    assert!(only(fixture.post(json!({"state": {}}))).contains("baseFeeUpdateFraction` is 0"));
    // The state says where it differs.
    let report = Fixture::new("Prague", 100_000).uses(21_001, 0, json!({}), json!({}));
    assert!(only(report).contains("balance 63000, expected 63003"));

    let report = Fixture::new("Amsterdam", 100_000).post(json!({"state": {}}));
    assert_eq!((report.passed(), report.failures().len(), report.skipped()), (0, 0, 1));
    for post in [json!([]), json!({"Prague": []}), json!({}), json!("x")] {
        let mut fixture = Fixture::new("Prague", 100_000);
        fixture.unit["post"] = post.clone();
        let report = report_of(&json!({"t": fixture.unit}));
        assert_eq!(report.failures().len(), 1, "{post}");
    }
}

#[test]
fn no_damage_to_a_fixture_panics() {
    // Every value of a fixture, one after the other, becomes what it must not be.
    let mut base = Fixture::new("Osaka", 100_000).code("0x4a5f5500").dynamic().tx(blobs(1, 1, 9)).unit;
    base["post"] = json!({"Osaka": [{"hash": NO_LOGS, "logs": NO_LOGS, "indexes": {"data": 0, "gas": 0, "value": 0}}]});
    let mut places = Vec::new();
    collect(&base, String::new(), &mut places);
    assert!(places.len() > 40);
    let huge = format!("0x{}", "f".repeat(65));
    let damages =
        [json!(null), json!([]), json!({}), json!("0xzz"), json!(-1), json!(1.5), json!(huge), json!(u64::MAX)];
    let mut units = serde_json::Map::new();
    for place in &places {
        for (index, damage) in damages.iter().enumerate() {
            let mut unit = base.clone();
            *unit.pointer_mut(place).unwrap() = damage.clone();
            units.insert(format!("{place} {index}"), unit);
        }
    }
    let report = report_of(&Value::Object(units));
    let panics: Vec<_> = report.failures().iter().filter(|failure| failure.contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
    assert!(report.failures().len() > 100);
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    if !place.is_empty() {
        places.push(place.clone());
    }
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in children {
        collect(value, format!("{place}/{key}"), places);
    }
}

#[test]
fn fixtures_of_other_formats_are_skipped_by_name() {
    let formats = [
        ("blockchain_test", json!({"network": "Prague", "blocks": [], "genesisBlockHeader": {}, "pre": {}})),
        ("blockchain_test_engine", json!({"network": "Prague", "engineNewPayloads": []})),
        ("blockchain_test_engine_x", json!({"network": "Prague", "preHash": "0x00"})),
        ("eof_test", json!({"vectors": {}})),
    ];
    for (format, mut unit) in formats {
        let bare = report_of(&json!({"t": unit}));
        assert_eq!((bare.failures().len(), bare.skipped()), (0, 1), "{format}");
        unit["_info"] = json!({ "fixture-format": format });
        let named = report_of(&json!({"t": unit}));
        assert_eq!((named.failures().len(), named.skipped()), (0, 1), "{format}");
    }
    // The index that lies beside fixtures is no test.
    let index = report_of(&json!({"root_hash": "0x00", "test_count": 1, "test_cases": [{"id": "x"}]}));
    assert_eq!((index.failures().len(), index.passed()), (0, 0));
}
