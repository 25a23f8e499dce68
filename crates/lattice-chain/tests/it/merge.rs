//! Parallel blocks are merged: everybody executes the same transactions in the same order.

use crate::net::{Node, address, nodes, reward, spec, transfer};
use alloy_primitives::{Address, U256};
use lattice_chain::BlockStatus;
use lattice_storage::MemoryKv;
use lattice_types::ChainSpec;
use std::sync::Arc;

const TARGET: Address = Address::repeat_byte(0x77);
/// Tip of a plain transfer: 21,000 gas at 1 gwei.
const TIP: u64 = 21_000 * 1_000_000_000;

#[test]
fn two_parallel_blocks_become_one_history() {
    let mut nodes = nodes(3);
    let a = nodes[0].seal([transfer(0, 0, TARGET, 10)]);
    let b = nodes[1].seal([transfer(1, 0, TARGET, 20)]);
    for node in &mut nodes {
        node.give_all([&a, &b]);
    }
    // The sink is one of the two; the other one's transfer waits for a block that merges it.
    assert_eq!(nodes[2].chain.dag().tips().len(), 2);
    let c = nodes[2].seal([]);
    for node in &mut nodes {
        node.give(&c).unwrap();
        assert_eq!(node.balance(TARGET), U256::from(30));
        assert_eq!(node.head().0, 2);
    }
    assert_eq!(nodes[0].head(), nodes[1].head());
    assert_eq!(nodes[0].head(), nodes[2].head());

    let head = nodes[0].chain.head().clone();
    assert_eq!(head.executed.len(), 2, "the merged block, then the chain block");
    assert_eq!(head.executed[1], c.hash());
    assert_eq!(head.header.gas_limit, 2 * spec().gas_limit);
    assert_eq!(head.transactions.len(), 1);
    assert_eq!(head.transactions[0].carrier, head.executed[0]);
    let facts = nodes[0].chain.view().unwrap().dag_facts(&c.hash()).unwrap().unwrap();
    assert_eq!(facts.mergeset_blues.len(), 2);
    assert_eq!((facts.status, facts.evm_number), (BlockStatus::Valid, Some(2)));
}

#[test]
fn tips_go_to_the_producer_that_carried_the_transaction() {
    let mut nodes = nodes(3);
    let a = nodes[0].seal([transfer(0, 0, TARGET, 10)]);
    let b = nodes[1].seal([transfer(1, 0, TARGET, 20)]);
    nodes[2].give_all([&a, &b]);
    nodes[2].seal([transfer(2, 0, TARGET, 30)]);
    for validator in 0..3 {
        assert_eq!(nodes[2].balance(reward(validator)), U256::from(TIP), "validator {validator}");
    }
}

#[test]
fn a_transaction_in_two_blocks_executes_once() {
    let mut nodes = nodes(3);
    let same = transfer(0, 0, TARGET, 10);
    let a = nodes[0].seal([same.clone()]);
    let b = nodes[1].seal([same.clone()]);
    nodes[2].give_all([&a, &b]);
    let c = nodes[2].seal([]);
    let head = nodes[2].chain.head();
    assert_eq!(nodes[2].balance(TARGET), U256::from(10));
    assert_eq!(head.transactions.len(), 0);
    assert_eq!(head.skipped.len(), 1);
    assert_eq!(head.skipped[0].hash, *same.hash());
    assert!(head.skipped[0].reason.contains("nonce"), "{}", head.skipped[0].reason);
    nodes[0].give_all([&b, &c]);
    assert_eq!(nodes[0].head(), nodes[2].head(), "a skip never invalidates a block");
    let (block, _) = nodes[2].chain.view().unwrap().transaction(same.hash()).unwrap().unwrap();
    assert_eq!(block.header.number, 1);
}

#[test]
fn conflicting_transactions_of_one_nonce_leave_one_winner() {
    let mut nodes = nodes(3);
    let a = nodes[0].seal([transfer(0, 0, TARGET, 10), transfer(0, 1, TARGET, 100)]);
    let b = nodes[1].seal([transfer(0, 0, TARGET, 20)]);
    nodes[2].give_all([&a, &b]);
    let sink = nodes[2].chain.view().unwrap().sink();
    nodes[2].seal([]);
    let expected = if sink == a.hash() { 110 } else { 120 };
    assert_eq!(nodes[2].balance(TARGET), U256::from(expected), "nonce 1 executes after either nonce 0");
    assert_eq!(nodes[2].nonce(address(0)), 2);
}

/// A chain in which at most one parallel block stays blue.
fn narrow() -> ChainSpec {
    ChainSpec { k: 0, ..spec() }
}

#[test]
fn red_blocks_execute_too_and_their_tips_go_to_the_merging_producer() {
    let mut nodes: Vec<_> = (0..4).map(|v| Node::with(narrow(), Arc::new(MemoryKv::new()), v)).collect();
    let wide: Vec<_> = (0..3).map(|i| nodes[i].seal([transfer(i, 0, TARGET, 1)])).collect();
    nodes[3].give_all(&wide);
    let merging = nodes[3].seal([]);
    let facts = nodes[3].chain.view().unwrap().dag_facts(&merging.hash()).unwrap().unwrap();
    assert_eq!((facts.mergeset_blues.len(), facts.mergeset_reds.len()), (1, 2), "k = 0 leaves the selected parent");
    assert_eq!(nodes[3].balance(TARGET), U256::from(3));
    assert_eq!(nodes[3].balance(reward(3)), U256::from(2 * TIP));
    for red in &facts.mergeset_reds {
        let producer = wide.iter().find(|block| block.hash() == *red).unwrap().block().header.proposer;
        assert_eq!(nodes[3].balance(reward(producer)), U256::ZERO);
    }
    nodes[0].give_all(wide.iter().chain([&merging]));
    assert_eq!(nodes[0].head(), nodes[3].head());
}

#[test]
fn issuance_is_paid_for_blue_blocks_only() {
    let mut spec = narrow();
    spec.staking.issuance_block_gwei = 5;
    let mut nodes: Vec<_> = (0..3).map(|v| Node::with(spec.clone(), Arc::new(MemoryKv::new()), v)).collect();
    let wide: Vec<_> = (0..2).map(|i| nodes[i].seal([])).collect();
    nodes[2].give_all(&wide);
    let sink = nodes[2].chain.view().unwrap().sink();
    nodes[2].seal([]);
    for (validator, block) in wide.iter().enumerate() {
        let expected = if block.hash() == sink { 5_000_000_000u64 } else { 0 };
        assert_eq!(nodes[2].balance(reward(validator as u32)), U256::from(expected));
    }
    assert_eq!(nodes[2].balance(reward(2)), U256::from(5_000_000_000u64));
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let mut nodes = nodes(4);
    let mut all = Vec::new();
    for round in 0..4u64 {
        let layer: Vec<_> = (0..4).map(|i| nodes[i].seal([transfer(i, round, TARGET, 1)])).collect();
        // Everybody hears of half of the others only, so that the DAG stays wide.
        for (i, node) in nodes.iter_mut().enumerate() {
            node.offer([&layer[(i + 1) % 4], &layer[(i + 2) % 4]]);
        }
        all.extend(layer);
    }
    let heads: Vec<_> = (0..6u64)
        .map(|seed| {
            let mut node = Node::new(0);
            let mut open: Vec<_> = all.clone();
            let mut random = seed;
            while !open.is_empty() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                node.offer([&open.remove((random >> 33) as usize % open.len())]);
            }
            assert_eq!(node.chain.dag().len(), all.len() as u64 + 1, "seed {seed}: no orphan is left behind");
            node.head()
        })
        .collect();
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "{heads:?}");
}
