//! What waits, what is refused and what a block takes first.

use crate::net::{Node, address, spec, transaction, transfer};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use lattice_chain::{AdmissionError, ChainError};
use lattice_storage::MemoryKv;
use lattice_types::{ChainSpec, TxEnvelope};
use std::sync::Arc;

const TARGET: Address = Address::repeat_byte(0x77);

fn refusal(node: &mut Node, tx: TxEnvelope) -> AdmissionError {
    match node.submit(tx) {
        Err(ChainError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals() {
    let mut node = Node::new(0);
    node.seal([transfer(0, 0, TARGET, 1)]);
    let known = transfer(0, 1, TARGET, 1);
    node.submit(known.clone()).unwrap();
    assert_eq!(refusal(&mut node, known), AdmissionError::AlreadyKnown);
    assert_eq!(refusal(&mut node, transfer(0, 0, TARGET, 2)), AdmissionError::NonceTooLow { have: 0, want: 1 });
    assert!(matches!(refusal(&mut node, transfer(0, 100_000, TARGET, 2)), AdmissionError::NonceTooHigh { .. }));
    assert_eq!(
        refusal(&mut node, transaction(0, 2, |tx| tx.gas_limit = 20_999)),
        AdmissionError::IntrinsicGas { have: 20_999, want: 21_000 }
    );
    assert!(matches!(
        refusal(&mut node, transaction(0, 2, |tx| tx.gas_limit = 1 << 25)),
        AdmissionError::GasLimit { .. }
    ));
    assert!(matches!(
        refusal(&mut node, transaction(0, 2, |tx| tx.max_priority_fee_per_gas = tx.max_fee_per_gas + 1)),
        AdmissionError::TipAboveCap { .. }
    ));
    let rich = U256::from(10).pow(U256::from(23));
    let error = refusal(&mut node, transaction(0, 2, |tx| tx.value = rich));
    assert!(error.to_string().starts_with("insufficient funds for gas * price + value"), "{error}");
    let initcode = transaction(0, 2, |tx| {
        tx.to = TxKind::Create;
        tx.input = Bytes::from(vec![0; 49_153]);
        tx.gas_limit = 10_000_000;
    });
    assert!(matches!(refusal(&mut node, initcode), AdmissionError::InitcodeSize { .. }));
}

#[test]
fn a_replacement_pays_ten_percent_more() {
    let mut node = Node::new(0);
    let old = transfer(0, 0, TARGET, 1);
    node.submit(old.clone()).unwrap();
    let cheap = transaction(0, 0, |tx| tx.max_fee_per_gas = 109_999_999_999);
    assert_eq!(refusal(&mut node, cheap), AdmissionError::ReplacementUnderpriced);
    let new = transaction(0, 0, |tx| {
        tx.max_fee_per_gas = 110_000_000_000;
        tx.max_priority_fee_per_gas = 1_100_000_000;
    });
    node.submit(new.clone()).unwrap();
    assert!(node.chain.pool_index().transaction(old.hash()).is_none());
    node.seal([]);
    assert_eq!(node.chain.head().transactions[0].hash, *new.hash());
}

#[test]
fn a_gap_waits_and_pending_nonces_stop_before_it() {
    let mut node = Node::new(0);
    node.submit(transfer(0, 0, TARGET, 1)).unwrap();
    node.submit(transfer(0, 2, TARGET, 1)).unwrap();
    let index = node.chain.pool_index().clone();
    assert_eq!(index.pending_nonce(&address(0)), Some(1));
    assert_eq!(index.counts(), (1, 1));
    node.seal([]);
    assert_eq!(node.chain.head().transactions.len(), 1);
    assert!(!node.chain.has_work(0).unwrap(), "nothing can be executed before nonce 1 arrives");
    node.seal([transfer(0, 1, TARGET, 1)]);
    assert_eq!(node.chain.head().transactions.len(), 2);
    assert_eq!(index.counts(), (0, 0));
    assert_eq!(index.pending_nonce(&address(0)), None);
}

#[test]
fn the_highest_tip_goes_first_and_nonces_stay_in_order() {
    // One producer: with more, each slot draws a class of senders first.
    let alone = ChainSpec { validators: spec().validators[..1].to_vec(), ..spec() };
    let mut node = Node::with(alone, Arc::new(MemoryKv::new()), 0);
    let tip = |account, nonce, gwei: u128| {
        transaction(account, nonce, |tx| tx.max_priority_fee_per_gas = gwei * 1_000_000_000)
    };
    let txs = [tip(0, 0, 1), tip(0, 1, 9), tip(1, 0, 5), tip(2, 0, 3)];
    node.seal(txs.clone());
    let order: Vec<_> = node.chain.head().transactions.iter().map(|tx| tx.hash).collect();
    let expected: Vec<_> = [2, 3, 0, 1].map(|i: usize| *txs[i].hash()).into();
    assert_eq!(order, expected);
}

#[test]
fn a_fee_cap_below_the_base_fee_waits_without_empty_blocks() {
    let mut node = Node::new(0);
    node.submit(transaction(0, 0, |tx| {
        tx.max_fee_per_gas = 1;
        tx.max_priority_fee_per_gas = 1;
    }))
    .unwrap();
    assert!(!node.chain.has_work(0).unwrap());
}

#[test]
fn what_does_not_fit_into_a_block_goes_into_the_next() {
    let mut node = Node::new(0);
    let heavy = |nonce| transaction(0, nonce, |tx| tx.gas_limit = 16_000_000);
    node.seal((0..5).map(heavy));
    assert_eq!(node.chain.head().transactions.len(), 3, "60 M gas hold three declared limits of 16 M");
    assert!(node.chain.has_work(0).unwrap());
    node.seal([]);
    assert_eq!(node.chain.head().transactions.len(), 2);
}
