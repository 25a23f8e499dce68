//! Contracts: creation, storage, logs and bloom, receipts, set code, self-destruction.

use crate::lab::{Lab, address, forwarder, init_code, signer};
use alloy_consensus::{TxEip7702, proofs};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use lattice_execution::Outcome;
use lattice_types::{TxEnvelope, evm::receipts_root, spec::DEV_ACCOUNTS};

/// Stores the first word of the call data in slot 0 and logs it under the topic 0x42.
const STORE_AND_LOG: &[u8] = &[
    0x5f, 0x35, 0x80, 0x5f, 0x55, // SSTORE(0, CALLDATALOAD(0))
    0x5f, 0x52, // MSTORE(0, word)
    0x60, 0x42, 0x60, 0x20, 0x5f, 0xa1, // LOG1(0, 32, 0x42)
    0x00,
];

#[test]
fn creation_call_log_and_bloom() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, STORE_AND_LOG);
    let account = lab.state.account(&contract).unwrap();
    assert_eq!(account.nonce, 1);
    assert_eq!(account.code_hash, keccak256(STORE_AND_LOG));
    assert_eq!(lab.state.code(&account.code_hash).unwrap().unwrap()[..], *STORE_AND_LOG);

    let word = B256::repeat_byte(0x99);
    let tx = lab.call_tx(1, contract, word.to_vec(), 100_000);
    let hash = *tx.hash();
    let (success, gas_used, _, executed) = lab.one(tx.clone());
    assert!(success);
    assert_eq!(lab.state.storage(&contract, U256::ZERO), U256::from_be_bytes(word.0));
    let evm = &executed.evm;
    assert_eq!(evm.transactions[0].hash, hash);
    assert_eq!(evm.transactions[0].sender, address(1));
    let receipt = &evm.receipts[0];
    assert_eq!((receipt.tx_type, receipt.success, receipt.cumulative_gas_used), (2, true, gas_used));
    assert_eq!(receipt.logs.len(), 1);
    assert_eq!(receipt.logs[0].address, contract);
    assert_eq!(receipt.logs[0].topics(), [B256::with_last_byte(0x42)]);
    assert_eq!(receipt.logs[0].data.data[..], word[..]);
    let mut bloom = Bloom::default();
    bloom.accrue(BloomInput::Raw(contract.as_slice()));
    bloom.accrue(BloomInput::Raw(B256::with_last_byte(0x42).as_slice()));
    assert_eq!(evm.header.logs_bloom, bloom);
    assert_eq!(evm.header.receipts_root, receipts_root(&evm.receipts));
    assert_eq!(evm.header.transactions_root, proofs::calculate_transaction_root(&[tx]));
    assert_eq!(evm.header.gas_used, gas_used);
}

#[test]
fn a_reverted_call_has_a_receipt_without_logs() {
    let mut lab = Lab::new();
    let logger = lab.deploy(0, STORE_AND_LOG);
    let reverter = lab.deploy(0, &forwarder(crate::lab::CALL, crate::lab::REVERT));
    let data = crate::lab::forward(logger, B256::repeat_byte(7).as_slice());
    let tx = lab.call_tx(0, reverter, data, 200_000);
    let (success, gas_used, output, executed) = lab.one(tx);
    assert!(!success);
    assert!(gas_used < 200_000, "REVERT returns what is left");
    assert_eq!(output[31], 1, "the inner call had succeeded");
    assert_eq!(executed.evm.receipts[0].logs, []);
    assert_eq!(executed.evm.header.logs_bloom, Bloom::default());
    assert_eq!(lab.state.storage(&logger, U256::ZERO), U256::ZERO);
}

#[test]
fn out_of_gas_takes_all_gas() {
    let mut lab = Lab::new();
    let logger = lab.deploy(0, STORE_AND_LOG);
    let tx = lab.call_tx(0, logger, vec![1; 32], 23_000);
    let (success, gas_used, _, executed) = lab.one(tx);
    assert!(!success);
    assert_eq!(gas_used, 23_000);
    assert!(!executed.evm.receipts[0].success);
}

#[test]
fn cumulative_gas_grows_over_the_block() {
    let mut lab = Lab::new();
    let txs = [lab.transfer(0, address(1), 1, 0), lab.transfer(1, address(2), 1, 0), lab.transfer(2, address(3), 1, 0)];
    let (_, executed) = lab.block(&txs);
    let cumulative: Vec<u64> = executed.evm.receipts.iter().map(|receipt| receipt.cumulative_gas_used).collect();
    assert_eq!(cumulative, [21_000, 42_000, 63_000]);
}

fn set_code_tx(lab: &mut Lab, from: usize, authority: usize, delegate: Address, nonce: u64) -> TxEnvelope {
    let authorization = Authorization { chain_id: U256::from(lab.spec.chain_id), address: delegate, nonce };
    let hash = authorization.signature_hash();
    let signature = alloy_consensus::crypto::secp256k1::sign_message(DEV_ACCOUNTS[authority].1, hash).unwrap();
    let own = lab.nonces.entry(from).or_default();
    *own += 1;
    let tx = TxEip7702 {
        chain_id: lab.spec.chain_id,
        nonce: *own - 1,
        gas_limit: 300_000,
        max_fee_per_gas: 100 * crate::lab::GWEI,
        max_priority_fee_per_gas: 0,
        to: address(authority),
        value: U256::ZERO,
        access_list: Default::default(),
        authorization_list: vec![authorization.into_signed(signature)],
        input: Bytes::from(vec![5; 32]),
    };
    signer(from).sign(tx).into()
}

#[test]
fn set_code_delegates_and_clears() {
    let mut lab = Lab::new();
    let logger = lab.deploy(0, STORE_AND_LOG);
    let tx = set_code_tx(&mut lab, 0, 1, logger, 0);
    let (success, _, _, executed) = lab.one(tx);
    assert!(success);
    assert_eq!(executed.evm.receipts[0].tx_type, 4);
    let authority = lab.state.account(&address(1)).unwrap();
    assert_eq!(authority.nonce, 1);
    let code = lab.state.code(&authority.code_hash).unwrap().unwrap();
    assert_eq!(code, [&[0xef, 0x01, 0x00], logger.as_slice()].concat());
    // The call ran the logger's code on the authority's storage.
    assert_eq!(lab.state.storage(&address(1), U256::ZERO), U256::from_be_bytes([5; 32]));
    assert_eq!(executed.evm.receipts[0].logs[0].address, address(1));

    // A delegated account still sends transactions (EIP-3607 as changed by EIP-7702).
    lab.nonces.insert(1, 1);
    let tx = lab.transfer(1, address(2), 1, 0);
    assert!(lab.one(tx).0);

    let tx = set_code_tx(&mut lab, 0, 1, Address::ZERO, 2);
    assert!(lab.one(tx).0);
    assert_eq!(lab.state.account(&address(1)).unwrap().code_hash, KECCAK256_EMPTY);
    assert_eq!(lab.state.storage(&address(1), U256::ZERO), U256::from_be_bytes([5; 32]), "storage stays");
}

#[test]
fn an_authorization_that_does_not_recover_does_nothing() {
    let mut lab = Lab::new();
    let tx = set_code_tx(&mut lab, 0, 1, address(3), 9); // wrong nonce
    assert!(lab.one(tx).0);
    assert_eq!(lab.state.account(&address(1)).unwrap().nonce, 0);
}

#[test]
fn a_contract_that_destroys_itself_at_birth_leaves_nothing() {
    let mut lab = Lab::new();
    // SSTORE(0, 1); SELFDESTRUCT(CALLER) in the init code.
    let init = Bytes::from_static(&[0x60, 0x01, 0x5f, 0x55, 0x33, 0xff]);
    let created = address(0).create(0);
    let tx = lab.tx(0, TxKind::Create, 77, init, 200_000, 0);
    let (success, _, _, executed) = lab.one(tx);
    assert!(success);
    assert_eq!(lab.state.account(&created), None);
    assert!(!executed.diff.accounts.contains_key(&created), "nothing to undo below");
}

#[test]
fn a_contract_destroyed_later_keeps_its_code() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, &[0x33, 0xff]); // SELFDESTRUCT(CALLER), EIP-6780
    let tx = lab.tx(1, TxKind::Call(contract), 500, Bytes::new(), 100_000, 0);
    assert!(lab.one(tx).0);
    let account = lab.state.account(&contract).unwrap();
    assert_eq!((account.balance, account.nonce), (U256::ZERO, 1));
}

#[test]
fn create_two_contracts_and_use_them_in_one_block() {
    let mut lab = Lab::new();
    let target = address(0).create(0);
    let txs = [
        lab.tx(0, TxKind::Create, 0, init_code(STORE_AND_LOG), 500_000, 0),
        lab.call_tx(1, target, vec![1; 32], 100_000),
        lab.call_tx(2, target, vec![2; 32], 100_000),
    ];
    let (outcomes, executed) = lab.block(&txs);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Included { success: true, .. })));
    assert_eq!(lab.state.storage(&target, U256::ZERO), U256::from_be_bytes([2; 32]));
    assert_eq!(executed.diff.codes.len(), 1);
}

#[test]
fn code_that_begins_with_ef_is_refused() {
    let mut lab = Lab::new();
    let tx = lab.tx(0, TxKind::Create, 0, init_code(&[0xef, 0x00]), 200_000, 0);
    let (success, gas_used, ..) = lab.one(tx);
    assert!(!success);
    assert_eq!(gas_used, 200_000);
}
