//! The selected chain changes.

use crate::net::{address, nodes, transfer};
use alloy_primitives::{Address, U256};
use lattice_chain::ChainError;

const TARGET: Address = Address::repeat_byte(0x77);

#[test]
fn a_heavier_chain_wins_and_the_orphaned_transaction_returns() {
    let mut nodes = nodes(2);
    let lost = transfer(0, 0, TARGET, 10);
    let a = nodes[0].seal([lost.clone()]);
    let b1 = nodes[1].seal([transfer(1, 0, TARGET, 20)]);
    let b2 = nodes[1].seal([transfer(1, 1, TARGET, 30)]);

    let first = nodes[0].give(&b1).unwrap();
    let second = nodes[0].give(&b2).unwrap();
    let removed: Vec<_> = first.removed.iter().chain(&second.removed).map(|block| block.dag_hash).collect();
    assert_eq!(removed, [a.hash()]);
    assert_eq!(nodes[0].head(), nodes[1].head());
    assert_eq!(nodes[0].balance(TARGET), U256::from(50));

    let view = nodes[0].chain.view().unwrap();
    assert!(view.transaction(lost.hash()).unwrap().is_none(), "it is on no block of the selected chain");
    assert!(nodes[0].chain.pool_index().transaction(lost.hash()).is_some(), "it waits again");
    assert_eq!(view.block_by_number(1).unwrap().unwrap().dag_hash, b1.hash());
    let off_chain = view.block_by_dag_hash(&a.hash()).unwrap().unwrap();
    assert!(view.block_by_hash(&off_chain.hash()).unwrap().is_none());

    // The next block merges the lost one, so the transaction executes there, exactly once.
    nodes[0].seal([]);
    assert_eq!(nodes[0].balance(TARGET), U256::from(60));
    assert_eq!(nodes[0].nonce(address(0)), 1);
    assert!(nodes[0].chain.pool_index().transaction(lost.hash()).is_none());
}

#[test]
fn an_orphan_waits_for_its_parent() {
    let mut nodes = nodes(2);
    let parent = nodes[0].seal([transfer(0, 0, TARGET, 10)]);
    let child = nodes[0].seal([transfer(0, 1, TARGET, 20)]);
    let Err(ChainError::MissingParents(missing)) = nodes[1].give(&child) else { panic!() };
    assert_eq!(missing, [parent.hash()]);
    let effects = nodes[1].give(&parent).unwrap();
    let adopted: Vec<_> = effects.adopted.iter().map(|block| block.hash()).collect();
    assert_eq!(adopted, [child.hash()]);
    nodes[1].give_all(&effects.adopted);
    assert_eq!(nodes[1].head(), nodes[0].head());
}

#[test]
fn a_block_from_the_future_waits() {
    let mut nodes = nodes(2);
    let block = nodes[0].build(10_000);
    let early = lattice_chain::Input::Block(block.clone());
    let now = nodes[1].time(0);
    let Err(ChainError::FutureSlot { slot: 10_000, wait_ms }) = nodes[1].chain.handle(now, early) else { panic!() };
    assert_eq!(wait_ms, 10_000);
    assert_eq!(
        lattice_chain::ChainError::FutureSlot { slot: 10_000, wait_ms }.penalty(),
        lattice_chain::Penalty::Minor
    );
    nodes[1].give(&block).unwrap();
    assert_eq!(nodes[1].head().0, 1);
}
