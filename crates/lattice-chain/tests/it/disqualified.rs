//! Wrong commitments disqualify a block from the chain, and whatever selects it; they never disqualify its transactions.

use crate::net::{key, nodes, transfer};
use alloy_primitives::{Address, B256, U256};
use lattice_chain::{BlockStatus, ChainError, Penalty};
use lattice_types::{CheckedBlock, Cid, DagBlock, DagHeader, cid::MaybeCid, spec::DEV_CHAIN_ID};

const TARGET: Address = Address::repeat_byte(0x77);

/// The block with a changed header, signed again by its producer.
fn forged(block: &CheckedBlock, change: impl FnOnce(&mut DagHeader)) -> CheckedBlock {
    let mut forged: DagBlock = (**block.block()).clone();
    change(&mut forged.header);
    forged.header.sign(&key(forged.header.proposer), DEV_CHAIN_ID);
    CheckedBlock::trusted(forged, block.senders().to_vec())
}

#[test]
fn each_wrong_commitment_is_named() {
    type Change = fn(&mut DagHeader);
    let changes: [(&str, Change); 5] = [
        ("evm_hash", |header| header.evm_hash = B256::ZERO),
        ("model_root", |header| header.model_root = B256::ZERO),
        ("inference_root", |header| header.inference_root = B256::ZERO),
        ("training_root", |header| header.training_root = B256::ZERO),
        ("artifact_cid", |header| header.artifact_cid = MaybeCid(Some(Cid::raw(b"x")))),
    ];
    for (name, change) in changes {
        let mut nodes = nodes(2);
        nodes[0].submit(transfer(0, 0, TARGET, 10)).unwrap();
        let bad = forged(&nodes[0].build(1), change);
        let effects = nodes[1].give(&bad).unwrap();
        assert_eq!(effects.disqualified.len(), 1);
        let (hash, reason) = &effects.disqualified[0];
        assert_eq!(*hash, bad.hash());
        // A changed root changes the header's commitment in extraData and so the EVM hash: whichever is seen first.
        assert!(reason.contains(name) || reason.contains("evm_hash"), "{name}: {reason}");
        assert_eq!(nodes[1].head().0, 0, "{name}: the sink stays");
        let facts = nodes[1].chain.view().unwrap().dag_facts(&bad.hash()).unwrap().unwrap();
        assert_eq!((facts.status, facts.evm_number), (BlockStatus::Disqualified, None));
    }
}

#[test]
fn its_transactions_execute_when_an_honest_block_merges_it() {
    let mut nodes = nodes(3);
    nodes[0].submit(transfer(0, 0, TARGET, 10)).unwrap();
    let bad = forged(&nodes[0].build(1), |header| header.evm_hash = B256::ZERO);
    nodes[1].give(&bad).unwrap();
    // Its key may be above the sink's for now; two honest blocks overtake it.
    nodes[1].seal([transfer(1, 0, TARGET, 100)]);
    nodes[1].seal([]);
    let head = nodes[1].seal([]);
    assert_eq!(nodes[1].balance(TARGET), U256::from(110));
    assert!(nodes[1].chain.dag().is_ancestor(&bad.hash(), &head.hash()).unwrap());
}

#[test]
fn descendants_of_a_disqualified_block_are_disqualified() {
    let mut nodes = nodes(3);
    // A producer that believes its own lie: it executes honestly, forges the header, and builds on it.
    let good = nodes[0].build(1);
    let bad = forged(&good, |header| header.model_root = B256::ZERO);
    nodes[1].give(&bad).unwrap();
    let child = {
        let mut child: DagBlock = (**nodes[2].build(2).block()).clone();
        child.header.parents = vec![bad.hash()];
        child.header.blue_score = 2;
        child.header.blue_work = bad.block().header.blue_work + 1;
        child.header.sign(&key(2), DEV_CHAIN_ID);
        CheckedBlock::trusted(child, Vec::new())
    };
    let effects = nodes[1].give(&child).unwrap();
    assert_eq!(effects.disqualified.len(), 1);
    assert_eq!(effects.disqualified[0].0, child.hash());
    assert!(effects.disqualified[0].1.contains("selected chain"), "{}", effects.disqualified[0].1);
    assert_eq!(nodes[1].head().0, 0);
    nodes[1].reopen();
    let facts = nodes[1].chain.view().unwrap().dag_facts(&child.hash()).unwrap().unwrap();
    assert_eq!(facts.status, BlockStatus::Disqualified, "the verdict survives a restart");
}

#[test]
fn wrong_scores_and_orders_are_refused_before_anything_is_stored() {
    let mut nodes = nodes(2);
    let block = nodes[0].build(1);
    let changes: [fn(&mut DagHeader); 3] = [
        |header| header.blue_score += 1,
        |header| header.blue_work += 1,
        |header| header.newest_pruning_point = header.evm_hash,
    ];
    for change in changes {
        let bad = forged(&block, change);
        let error = nodes[1].give(&bad).unwrap_err();
        assert!(matches!(error, ChainError::InvalidBlock(_)), "{error}");
        assert_eq!(error.penalty(), Penalty::Fatal);
        assert!(!nodes[1].chain.dag().contains(&bad.hash()).unwrap());
        assert!(nodes[1].chain.view().unwrap().dag_block(&bad.hash()).unwrap().is_none());
    }
    let first = nodes[0].seal([]);
    let mut late = nodes[0].build(5);
    late = forged(&late, |header| header.slot = first.block().header.slot);
    let Err(ChainError::InvalidBlock(error)) = nodes[0].chain.handle(u64::MAX / 2, lattice_chain::Input::Block(late))
    else {
        panic!()
    };
    assert!(error.to_string().contains("slot"), "{error}");
}
