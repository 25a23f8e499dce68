//! A crash at any write leaves a whole chain behind.

use crate::net::{Node, spec, transfer};
use alloy_primitives::Address;
use lattice_chain::ChainError;
use lattice_storage::{FaultKind, FaultyKv, Kv, MemoryKv};
use std::sync::Arc;

const TARGET: Address = Address::repeat_byte(0x77);

#[test]
fn every_write_may_be_the_last() {
    // A peer's blocks: a fork of two chains that ends in a merge.
    let (mut a, mut b) = (Node::new(0), Node::new(1));
    let mut blocks = vec![a.seal([transfer(0, 0, TARGET, 1)]), a.seal([transfer(0, 1, TARGET, 2)])];
    for nonce in 0..3 {
        blocks.push(b.seal([transfer(1, nonce, TARGET, 4)]));
    }
    b.give_all(&blocks[..2]);
    blocks.push(b.seal([transfer(2, 0, TARGET, 8)]));

    let mut whole = Node::new(3);
    let mut heads = vec![whole.head()];
    for block in &blocks {
        whole.give(block).unwrap();
        heads.push(whole.head());
    }

    // Write 1 is the genesis; then each block is one write.
    for at in 0..blocks.len() {
        for (kind, applied) in [(FaultKind::Refuse, 0), (FaultKind::RefuseAfter, 1)] {
            let disk: Arc<dyn Kv> = Arc::new(MemoryKv::new());
            let mut node = Node::with(spec(), Arc::new(FaultyKv::new(disk.clone(), kind, at as u64 + 2)), 3);
            node.give_all(&blocks[..at]);
            assert!(matches!(node.give(&blocks[at]), Err(ChainError::Fault(_))), "{kind:?} at block {at}");

            let mut node = Node::with(spec(), disk, 3);
            assert_eq!(node.head(), heads[at + applied], "{kind:?} at block {at}: the last whole input stands");
            node.give_all(&blocks[at..]);
            assert_eq!(node.head(), whole.head(), "{kind:?} at block {at}: it goes on");
        }
    }
}
