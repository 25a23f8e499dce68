//! Opening the store is the only way to recover, and gives back everything.

use crate::net::{Node, address, nodes, solo, spec, transfer};
use alloy_primitives::{Address, U256};
use lattice_chain::{Chain, ViewError};
use lattice_storage::MemoryKv;
use lattice_types::ChainSpec;
use std::sync::Arc;

const TARGET: Address = Address::repeat_byte(0x77);

#[test]
fn head_state_and_receipts_survive() {
    let mut nodes = nodes(3);
    for round in 0..5 {
        let a = nodes[0].seal([transfer(0, round, TARGET, 1)]);
        let b = nodes[1].seal([transfer(1, round, TARGET, 2)]);
        nodes[0].give(&b).unwrap();
        nodes[1].give(&a).unwrap();
        nodes[2].give_all([&a, &b]);
    }
    let before: Vec<_> =
        nodes.iter().map(|node| (node.head(), node.balance(TARGET), node.chain.dag().tips())).collect();
    let blocks: Vec<_> =
        (0..=nodes[0].head().0).map(|n| nodes[0].chain.view().unwrap().block_by_number(n).unwrap()).collect();
    for node in &mut nodes {
        node.reopen();
    }
    let after: Vec<_> = nodes.iter().map(|node| (node.head(), node.balance(TARGET), node.chain.dag().tips())).collect();
    assert_eq!(before, after);
    let view = nodes[0].chain.view().unwrap();
    for (number, block) in blocks.into_iter().enumerate() {
        assert_eq!(view.block_by_number(number as u64).unwrap(), block);
    }
    // It goes on where it stopped.
    let nonce = nodes[0].nonce(address(0));
    let next = nodes[0].seal([transfer(0, nonce, TARGET, 5)]);
    nodes[2].give(&next).unwrap();
    assert_eq!(nodes[2].head(), nodes[0].head());
}

#[test]
fn the_state_window_is_kept_and_older_state_is_flattened() {
    let spec = ChainSpec { state_window: 8, ..solo() };
    let mut node = Node::with(spec, Arc::new(MemoryKv::new()), 0);
    for nonce in 0..60 {
        node.seal([transfer(0, nonce, TARGET, 1)]);
        node.vote(0..1, nonce + 1);
    }
    assert_eq!(node.chain.finality().finalised().index, 58, "each block is final two blocks later");
    for _ in 0..2 {
        let view = node.chain.view().unwrap();
        assert_eq!(view.head().header.number, 60);
        for number in 52..=60u64 {
            let state = view.state_at(number).unwrap();
            assert_eq!(state.account(&TARGET).unwrap().balance, U256::from(number));
            assert_eq!(state.root(), view.block_by_number(number).unwrap().unwrap().header.state_root);
        }
        assert!(matches!(view.state_at(61), Err(ViewError::UnknownBlock(61))));
        let gone = view.state_at(51).unwrap_err();
        assert!(matches!(gone, ViewError::StatePruned { number: 51, window: 8, kept_from: 52 }));
        assert!(gone.to_string().contains("--archive"), "{gone}");
        assert_eq!(view.oldest_state(), 52);
        node.reopen();
    }
}

#[test]
fn without_finality_no_state_that_a_reorganisation_may_need_is_flattened() {
    let spec = ChainSpec { state_window: 8, ..spec() };
    let mut node = Node::with(spec.clone(), Arc::new(MemoryKv::new()), 0);
    let mut other = Node::with(spec, Arc::new(MemoryKv::new()), 1);
    for nonce in 0..60 {
        node.seal([transfer(0, nonce, TARGET, 1)]);
    }
    let heavier: Vec<_> = (0..61).map(|_| other.seal([])).collect();
    node.give_all(&heavier);
    assert_eq!(node.head(), other.head(), "it leaves all of its own chain behind");
    assert_eq!(node.balance(TARGET), U256::ZERO);
}

#[test]
fn an_archive_answers_at_every_block_from_its_start_on() {
    let spec = ChainSpec { state_window: 8, ..solo() };
    let mut node = Node::with(spec, Arc::new(MemoryKv::new()), 0);
    let mut nonce = 0;
    let mut grow = |node: &mut Node, blocks: u64| {
        for _ in 0..blocks {
            node.seal([transfer(0, nonce, TARGET, 1)]);
            nonce += 1;
            node.vote(0..1, nonce);
        }
    };
    grow(&mut node, 60);
    node.options.archive = true;
    node.reopen();
    let start = node.chain.view().unwrap().oldest_state();
    assert!((20..=52).contains(&start), "the archive begins at the base, which was {start}");
    grow(&mut node, 90);
    for _ in 0..2 {
        let view = node.chain.view().unwrap();
        assert!(view.is_archive());
        assert_eq!(view.oldest_state(), start);
        for number in start..=150 {
            let state = view.state_at(number).unwrap();
            assert_eq!(state.account(&TARGET).unwrap().balance, U256::from(number));
            assert_eq!(state.root(), view.block_by_number(number).unwrap().unwrap().header.state_root);
        }
        let before = view.state_at(start - 1).unwrap_err();
        assert!(matches!(before, ViewError::StateNotArchived { kept_from, .. } if kept_from == start), "{before}");
        // Started without the flag, it goes on: a gap could not be filled.
        node.options.archive = false;
        node.reopen();
    }
}

#[test]
fn a_store_of_another_chain_is_refused() {
    let node = Node::new(0);
    let other = ChainSpec { chain_id: 7, ..spec() };
    let error = Chain::open(other, node.kv.clone(), node.models.clone()).unwrap_err();
    assert!(error.to_string().contains("another directory"), "{error}");
}
