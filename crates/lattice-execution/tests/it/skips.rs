//! A skipped occurrence changes nothing at all.

use crate::lab::{GWEI, Lab, address, signer};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Bytes, TxKind, U256};
use lattice_execution::{Outcome, gas_limit_max};
use lattice_types::{
    TxEnvelope,
    tx::{Inference, TxAi},
};

fn tx(lab: &Lab, from: usize, change: impl FnOnce(&mut TxEip1559)) -> TxEnvelope {
    let mut tx = TxEip1559 {
        chain_id: lab.spec.chain_id,
        nonce: 0,
        gas_limit: 21_000,
        max_fee_per_gas: 100 * GWEI,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(address(9)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    change(&mut tx);
    signer(from).sign(tx).into()
}

#[test]
fn every_kind_of_invalid_transaction_leaves_the_state_of_an_empty_block() {
    let lab = Lab::new();
    let cases = [
        (tx(&lab, 0, |tx| tx.nonce = 1), "nonce 1 too high, expected 0"),
        (tx(&lab, 0, |tx| tx.value = U256::MAX >> 8), "lack of funds"),
        (tx(&lab, 0, |tx| tx.max_fee_per_gas = 1), "gas price is less than basefee"),
        (tx(&lab, 0, |tx| tx.max_priority_fee_per_gas = 200 * GWEI), "priority fee is greater than max fee"),
        (tx(&lab, 0, |tx| tx.gas_limit = 20_999), "call gas cost (21000) exceeds the gas limit (20999)"),
        (tx(&lab, 0, |tx| tx.gas_limit = (1 << 24) + 1), "is greater than the cap (16777216)"),
        (tx(&lab, 0, |tx| tx.chain_id = 1), "invalid chain ID"),
        (
            tx(&lab, 0, |tx| {
                tx.to = TxKind::Create;
                tx.input = Bytes::from(vec![0; 49_153]);
                tx.gas_limit = 10_000_000;
            }),
            "create initcode size limit",
        ),
        (tx(&lab, 0, |tx| tx.input = Bytes::from(vec![1; 100])), "exceeds the gas limit (21000)"),
    ];
    let (_, empty) = Lab::new().block(&[]);
    for (tx, reason) in cases {
        let (outcomes, executed) = Lab::new().block(&[tx]);
        let [Outcome::Skipped(text)] = &outcomes[..] else { panic!("{reason}: not skipped: {outcomes:?}") };
        assert!(text.contains(reason), "{text:?} should say {reason:?}");
        assert_eq!(executed.evm.header, empty.evm.header, "{reason}");
        assert_eq!(executed.diff, empty.diff, "{reason}");
        assert_eq!(executed.evm.skipped[0].reason, *text);
        assert!(executed.evm.receipts.is_empty() && executed.evm.transactions.is_empty());
    }
}

#[test]
fn the_same_transaction_twice_executes_once() {
    let mut lab = Lab::new();
    let tx = lab.transfer(0, address(1), 1, 0);
    let (outcomes, executed) = lab.block(&[tx.clone(), tx]);
    assert!(matches!(outcomes[0], Outcome::Included { success: true, .. }));
    assert_eq!(outcomes[1], Outcome::Skipped("nonce 0 too low, expected 1".into()));
    assert_eq!(executed.evm.header.gas_used, 21_000);
}

#[test]
fn a_sender_with_code_is_skipped() {
    // EIP-3607: no key is known for a contract's address, so the sender is named without a signature.
    let mut lab = Lab::new();
    let contract = lab.deploy(0, &[0x00]);
    let tx = tx(&lab, 0, |_| {});
    let hashes = |_: u64| None;
    let ctx = lattice_execution::BlockContext {
        spec: &lab.spec,
        parent: &lab.header,
        parent_hash: lab.header.hash_slow(),
        selected_parent: Default::default(),
        slot: 99,
        prev_randao: Default::default(),
        dag_blocks: 1,
        block_hashes: &hashes,
        readiness: &[],
        blue_producers: &[],
        certificates: &[],
        slashings: &[],
        carriers: &[],
        inference: &lab.engine,
    };
    let mut executor = lattice_execution::BlockExecutor::begin(ctx, &lab.state).unwrap();
    let occurrence = lattice_execution::Occurrence {
        tx: &tx,
        sender: contract,
        carrier: Default::default(),
        index: 0,
        payee: crate::lab::PRODUCER,
    };
    let outcome = executor.execute(occurrence).unwrap();
    assert_eq!(outcome, Outcome::Skipped("reject transactions from senders with deployed code".into()));
}

#[test]
fn declared_ai_gas_raises_the_cap_up_to_the_lane() {
    let lab = Lab::new();
    let plain = tx(&lab, 0, |_| {});
    assert_eq!(gas_limit_max(&plain, &lab.spec), 1 << 24);
    let ai = |ai_gas_limit| -> TxEnvelope {
        signer(0).sign(TxAi::<Inference> { chain_id: lab.spec.chain_id, ai_gas_limit, ..TxAi::default() }).into()
    };
    assert_eq!(gas_limit_max(&ai(1_000_000), &lab.spec), (1 << 24) + 1_000_000);
    assert_eq!(gas_limit_max(&ai(u64::MAX), &lab.spec), (1 << 24) + 30_000_000);
}
