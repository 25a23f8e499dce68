//! What lies below the pruning point is forgotten, and nothing else changes.

use crate::net::{Node, spec, transfer};
use alloy_primitives::Address;
use lattice_chain::{BlockStatus, Chain, ChainError, ChainOptions, ViewError};
use lattice_consensus::{InvalidHeader, check_pruning_proof};
use lattice_storage::{Batch, FaultKind, FaultyKv, Kv, KvRead, MemoryKv, Table};
use lattice_types::{ChainSpec, CheckedBlock, DagHeader};
use std::{
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

const TARGET: Address = Address::repeat_byte(0x77);
/// Two blocks each. The state's base trails the head by 8 to 40 chain blocks, the settled block by 256 more, and the
/// bottom by the pruning and the merge depth.
const ROUNDS: u64 = 400;

/// A chain that forgets after 48 of blue score, with a checkpoint in every slot and epochs of 40.
fn pruning() -> ChainSpec {
    let validators = spec().validators[..3].to_vec();
    ChainSpec {
        k: 3,
        merge_depth: 12,
        pruning_depth: 48,
        state_window: 8,
        checkpoint_slots: 1,
        epoch_slots: 40,
        validators,
        ..spec()
    }
}

/// Two producers that never see each other's block of the same slot, and vote with the third validator.
struct Pair {
    nodes: [Node; 2],
    stores: [MemoryKv; 2],
    slot: u64,
}

impl Pair {
    fn over(stores: [MemoryKv; 2], slot: u64) -> Self {
        let node = |index: usize| Node::with(pruning(), Arc::new(stores[index].clone()), index as u32);
        Self { nodes: [node(0), node(1)], stores: stores.clone(), slot }
    }

    /// A pair after [`ROUNDS`], and its blocks. Played once: it is the larger part of each test.
    fn grown() -> (Self, &'static [CheckedBlock]) {
        static GROWN: OnceLock<([MemoryKv; 2], Vec<CheckedBlock>)> = OnceLock::new();
        let (stores, blocks) = GROWN.get_or_init(|| {
            let mut pair = Self::over([MemoryKv::new(), MemoryKv::new()], 0);
            let blocks = (0..ROUNDS).flat_map(|_| pair.round()).collect();
            (pair.stores, blocks)
        });
        (Self::over([copy(&stores[0]), copy(&stores[1])], ROUNDS), blocks)
    }

    fn round(&mut self) -> [CheckedBlock; 2] {
        self.slot += 1;
        let slot = self.slot;
        let [a, b] = &mut self.nodes;
        a.submit(transfer(0, slot - 1, TARGET, 1)).unwrap();
        let blocks = [a.build(slot), b.build(slot)];
        for node in [a, b] {
            node.give_all(&blocks);
            node.vote(0..3, slot);
        }
        blocks
    }
}

fn rows(kv: &MemoryKv) -> Vec<(Table, usize)> {
    let by_block = [
        Table::Headers,
        Table::Bodies,
        Table::Relations,
        Table::Ghostdag,
        Table::Reachability,
        Table::Status,
        Table::Wins,
        Table::Standings,
        Table::Finality,
        Table::StakeSets,
        Table::Executed,
        Table::TxIndex,
        Table::Canonical,
    ];
    by_block.into_iter().map(|table| (table, kv.table_len(table))).collect()
}

/// A store with the same content.
fn copy(kv: &MemoryKv) -> MemoryKv {
    let (store, mut batch) = (MemoryKv::new(), Batch::new());
    for table in Table::ALL {
        kv.scan(table, &[], None, &mut |key, value| {
            batch.put(table, key, value);
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    store.write(batch).unwrap();
    store
}

#[test]
fn tables_stay_flat_and_nothing_else_changes() {
    let (mut pair, first) = Pair::grown();
    let archive_store = Arc::new(MemoryKv::new());
    let mut archive = Node::with(pruning(), archive_store.clone(), 3);
    archive.options = ChainOptions { archive: true, ..ChainOptions::default() };
    archive.reopen();
    archive.give_all(first);
    let before = rows(&pair.stores[0]);
    for _ in 0..60 {
        archive.give_all(&pair.round());
    }
    let (node, dag) = (&pair.nodes[0], pair.nodes[0].chain.dag());
    assert_eq!(node.head(), archive.head());
    assert_eq!(node.head(), pair.nodes[1].head());
    let (points, after) = (dag.pruning_points(), rows(&pair.stores[0]));
    assert!(points.len() > 30, "{} pruning points", points.len());
    for (&(table, before), &(_, after)) in before.iter().zip(&after) {
        // A window of the DAG's memory leaves in steps of 3; an epoch makes a stake set; headers of pruning points stay.
        let more = if table == Table::Headers { 72 } else { 12 };
        assert!(before > 0 && after <= before + more, "{table:?}: {before} rows, {after} rows 120 blocks later");
        let whole = archive_store.table_len(table);
        assert!(whole > after + 20 || table == Table::StakeSets, "{table:?}: {whole}");
    }

    // Headers of past pruning points are all that is left of them.
    let view = node.chain.view().unwrap();
    let kept_from = view.oldest_block();
    let (headers, head) = view.pruning_proof().unwrap();
    let named: Vec<_> = headers.iter().map(DagHeader::hash).collect();
    assert_eq!(named[..points.len()], points, "those below which is pruned, and those above");
    assert_eq!(check_pruning_proof(&dag.genesis(), &headers, &head, dag.params()), Ok(()));
    assert_eq!(archive.chain.view().unwrap().pruning_proof().unwrap().0, headers, "an archive proves the same");
    assert!(!dag.contains(&points[1]).unwrap());
    assert!(view.dag_facts(&points[1]).unwrap().is_none());

    // Readers are told where history begins, and from there on everything is there.
    assert!(kept_from > 10, "{kept_from}");
    let pruned = view.block_by_number(kept_from - 1).unwrap_err();
    assert!(matches!(pruned, ViewError::BlockPruned { kept_from: from, .. } if from == kept_from));
    assert!(pruned.to_string().starts_with("pruned history unavailable") && pruned.to_string().contains("--archive"));
    let whole = archive.chain.view().unwrap();
    assert_eq!(whole.oldest_block(), 0);
    for number in (0..=pair.slot).filter(|number| *number == 0 || *number >= kept_from) {
        let block = view.block_by_number(number).unwrap().unwrap();
        assert_eq!(whole.block_by_number(number).unwrap().unwrap(), block);
        assert_eq!(view.envelopes(&block).unwrap(), whole.envelopes(&block).unwrap());
    }
    let gone = whole.block_by_number(3).unwrap().unwrap();
    assert!(view.block_by_hash(&gone.hash()).unwrap().is_none());
    assert!(view.block_by_dag_hash(&gone.dag_hash).unwrap().is_none());
    assert!(view.transaction(&gone.transactions[0].hash).unwrap().is_none());
    assert!(view.dag_block(&first[0].hash()).unwrap().is_none());
    assert!(view.dag_facts(&first[0].hash()).unwrap().is_none());
    assert!(matches!(view.state_at(3), Err(ViewError::StatePruned { .. })));
    assert_eq!(whole.dag_facts(&first[0].hash()).unwrap().unwrap().status, BlockStatus::Valid);

    // Both go on after a restart.
    for node in [&mut pair.nodes[0], &mut archive] {
        node.reopen();
    }
    let blocks = pair.round();
    archive.give_all(&blocks);
    assert_eq!(pair.nodes[0].head(), archive.head());
}

#[test]
fn a_block_from_below_the_pruning_point_is_named() {
    let (mut pair, first) = Pair::grown();
    let mut late = Node::with(pruning(), Arc::new(MemoryKv::new()), 2);
    late.give_all(&first[..6]);
    let block = late.build(pair.slot + 1);
    let node = &mut pair.nodes[0];
    let (before, point) = (node.head(), node.chain.dag().pruning_point());
    match node.give(&block).unwrap_err() {
        ChainError::InvalidBlock(InvalidHeader::BelowPruningPoint { blue_score, point: named, .. }) => {
            assert_eq!((blue_score, named), (block.block().header.blue_score, point));
        }
        other => panic!("{other}"),
    }
    assert_eq!(node.head(), before);
}

#[test]
fn every_write_that_prunes_may_be_the_last() {
    let (mut pair, _) = Pair::grown();
    // The state's base moves in steps; after one there is something to prune.
    let kept = |pair: &Pair| pair.stores[0].table_len(Table::Ghostdag);
    while {
        let before = kept(&pair);
        pair.round();
        kept(&pair) >= before
    } {
        assert!(pair.slot < 2 * ROUNDS);
    }
    let disk = copy(&pair.stores[0]);
    let rounds: Vec<CheckedBlock> = (0..4).flat_map(|_| pair.round()).collect();
    let whole = copy(&disk);
    let mut node = Node::with(pruning(), Arc::new(whole.clone()), 3);
    let mut heads = vec![node.head()];
    let mut pruned = 0;
    for block in &rounds {
        let before = whole.table_len(Table::Ghostdag);
        node.give(block).unwrap();
        pruned += usize::from(whole.table_len(Table::Ghostdag) <= before);
        heads.push(node.head());
    }
    assert!(pruned > 3, "{pruned} of {} inputs prune", rounds.len());
    for at in 0..rounds.len() {
        for (kind, applied) in [(FaultKind::Refuse, 0), (FaultKind::RefuseAfter, 1)] {
            let disk = copy(&disk);
            let mut node =
                Node::with(pruning(), Arc::new(FaultyKv::new(Arc::new(disk.clone()), kind, at as u64 + 1)), 3);
            node.give_all(&rounds[..at]);
            assert!(matches!(node.give(&rounds[at]), Err(ChainError::Fault(_))), "{kind:?} at block {at}");

            let mut node = Node::with(pruning(), Arc::new(disk.clone()), 3);
            assert_eq!(node.head(), heads[at + applied], "{kind:?} at block {at}: the last whole input stands");
            node.give_all(&rounds[at..]);
            assert_eq!(node.head(), *heads.last().unwrap(), "{kind:?} at block {at}: it goes on");
            assert_eq!(rows(&disk), rows(&whole), "{kind:?} at block {at}: the same is left");
        }
    }
}

#[test]
fn a_specification_that_prunes_what_may_be_merged_is_refused() {
    let node = Node::new(0);
    let shallow = ChainSpec { pruning_depth: 4_799, ..spec() };
    let error = Chain::open(shallow, Arc::new(MemoryKv::new()), node.models).unwrap_err();
    assert!(error.to_string().contains("twice the merge depth"), "{error}");
}
