//! Pruning changes nothing but what is there.

use alloy_primitives::B256;
use lattice_consensus::{
    BlockFacts, CheckError, Dag, DagParams, InvalidHeader, InvalidPruningProof, Residency, check_pruning_proof,
};
use lattice_storage::{Batch, Kv, KvRead, MemoryKv, Table};
use lattice_types::{ChainSpec, DagHeader};
use std::{collections::BTreeSet, ops::ControlFlow};

use crate::{
    random::Rng,
    restart::create,
    stored::open,
    text::{claiming, facts, hash},
};

fn pruning(k: u16, merge_depth: u64, pruning_depth: u64) -> DagParams {
    DagParams { k, merge_depth, pruning_depth, ..crate::text::params(k) }
}

/// Blocks of the comparison.
const BLOCKS: u64 = 1_500;

/// Grows a DAG as producers with delayed views do: parents are chosen among the tips that a view some blocks back had.
pub struct Producers {
    rng: Rng,
    /// The sink and the tips after each of the last blocks.
    views: Vec<(B256, Vec<B256>)>,
    delay: usize,
    next: u64,
}

impl Producers {
    pub fn new(seed: u64, delay: usize, genesis: B256) -> Self {
        Self { rng: Rng::new(seed), views: vec![(genesis, vec![genesis])], delay, next: 1 }
    }

    pub fn name(number: u64) -> B256 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        B256::new(bytes)
    }

    /// The next block, with claims that are true.
    pub fn block(&mut self, dag: &Dag) -> BlockFacts {
        let back = self.rng.below(self.delay.min(self.views.len()));
        let (sink, tips) = &self.views[self.views.len() - 1 - back];
        let key = dag.key(sink).unwrap().unwrap();
        let (score, half_depth) = (dag.blue_score(sink).unwrap().unwrap(), dag.params().merge_depth / 2);
        let mut parents = vec![*sink];
        parents.extend(tips.iter().filter(|tip| {
            let lighter = dag.key(tip).unwrap().is_some_and(|tip| tip < key);
            // Others wait below the merge depth for good.
            let young = dag.blue_score(tip).unwrap().is_some_and(|tip| tip.saturating_add(half_depth) > score);
            lighter && young && !dag.is_ancestor(tip, sink).unwrap()
        }));
        parents.truncate(16);
        parents.sort_unstable();
        let (hash, slot) = (Self::name(self.next), self.next);
        let alone = vec![*sink];
        self.next += 1;
        let block = |parents: Vec<B256>| claiming(dag, facts(hash, parents, slot));
        let merging = block(parents);
        // Somebody's old branch may be too old.
        match dag.check(&merging) {
            Ok(_) => merging,
            Err(_) => block(alone),
        }
    }

    /// What a node sees after an insertion.
    pub fn see(&mut self, dag: &Dag) -> B256 {
        let sink = dag.best(|_| Ok(true)).unwrap();
        self.views.push((sink, dag.tips()));
        if self.views.len() > 4 * self.delay {
            self.views.drain(..2 * self.delay);
        }
        sink
    }
}

fn keys(kv: &MemoryKv, table: Table) -> usize {
    let mut count = 0;
    kv.scan(table, &[], None, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    count
}

/// A pruned DAG takes and colours every block as a whole one does, over restarts too, and its store stays small.
#[test]
fn a_pruned_dag_goes_on_as_a_whole_one() {
    for (seed, k, delay) in [(1, 3, 4), (2, 8, 8), (3, 2, 12), (4, 18, 10)] {
        let params = pruning(k, 60, 240);
        let kv = MemoryKv::new();
        let genesis = facts(hash("genesis"), vec![], 0);
        let mut whole = create(&kv, &genesis, params);
        let limits = Residency { blocks: 24, cached: 32 };
        let mut pruned = open(&kv, params, limits);
        let mut producers = Producers::new(seed, delay, genesis.hash);
        let (mut gone, mut points, mut dead) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut most = 0;
        let mut rng = Rng::new(seed + 100);
        for number in 0..BLOCKS {
            let mut block = producers.block(&whole);
            // Now and then someone goes on from an old block, or merges nothing.
            if rng.below(40) == 0 {
                let old = 1 + rng.below(number as usize + 1) as u64;
                let old = Producers::name(number.saturating_sub(old % 400).max(1));
                if pruned.contains(&old).unwrap() {
                    block = claiming(&whole, BlockFacts { parents: vec![old], ..block });
                }
            }
            let prepared = match (pruned.check(&block), whole.check(&block)) {
                (Ok(prepared), Ok(same)) => {
                    let scores = (prepared.blue_score(), prepared.blue_work());
                    assert_eq!(scores, (same.blue_score(), same.blue_work()), "seed {seed}, block {number}");
                    whole.insert(same, &mut Batch::new()).unwrap();
                    prepared
                }
                (Err(CheckError::Invalid(InvalidHeader::BesidePruningPoint { .. })), _) => continue,
                (Err(CheckError::Invalid(a)), Err(CheckError::Invalid(b))) => {
                    assert_eq!(a, b, "seed {seed}, block {number}");
                    continue;
                }
                (a, b) => panic!("seed {seed}, block {number}: {a:?} {b:?}"),
            };
            let mut batch = Batch::new();
            pruned.insert(prepared, &mut batch).unwrap();
            let sink = producers.see(&whole);
            assert_eq!(pruned.best(|_| Ok(true)).unwrap(), sink, "seed {seed}, block {number}");
            let step = pruned.prune(&sink, &mut batch).unwrap();
            kv.write(batch).unwrap();
            for block in &step.blocks {
                dead += usize::from(!whole.is_ancestor(block, &sink).unwrap());
                assert!(!pruned.contains(block).unwrap());
                assert!(gone.insert(*block), "removed twice");
            }
            points.extend(step.points);
            assert_eq!(pruned.ghostdag(&block.hash).unwrap(), whole.ghostdag(&block.hash).unwrap());
            assert_eq!(pruned.facts(&block.hash).unwrap(), whole.facts(&block.hash).unwrap());
            if rng.below(60) == 0 {
                pruned = open(&kv, params, limits);
            }
            if number > 600 && number.is_multiple_of(20) {
                most = most.max(keys(&kv, Table::Ghostdag));
            }
        }
        let kept = whole.len() as usize - gone.len() - points.len();
        println!("seed {seed}: {} blocks, {kept} kept, {dead} dead ones removed, at most {most}", whole.len());
        assert_eq!(keys(&kv, Table::Ghostdag), kept);
        assert_eq!(keys(&kv, Table::Relations), kept);
        assert_eq!(keys(&kv, Table::Reachability), kept);
        assert!(gone.len() > 500 && dead > 0, "{} removed", gone.len());
        assert!(most < 900, "{most} blocks in the store");
        agree_on_what_is_left(&whole, &pruned, &gone, &points);
        let past = pruned.pruning_points();
        assert_eq!(past[0], whole.genesis());
        assert!(past.len() > 10, "{} pruning points", past.len());
        assert!(points.iter().all(|point| past.contains(point)));
        points_follow_the_rule(&whole, &past, &params);
    }
}

/// Headers of five pruning points, and of a head above them.
fn proof() -> Vec<DagHeader> {
    let mut headers: Vec<DagHeader> = Vec::new();
    for i in 0..6u64 {
        let mut header = ChainSpec::dev().genesis_block(B256::ZERO, B256::ZERO, B256::ZERO, B256::ZERO).header;
        (header.slot, header.blue_score, header.blue_work) = (i, i * 10, u128::from(i) * 10);
        header.newest_pruning_point = headers.last().map_or(B256::ZERO, DagHeader::hash);
        headers.push(header);
    }
    headers
}

#[test]
fn pruning_points_are_proved_by_the_headers_that_name_them() {
    let params = pruning(2, 10, 240);
    let check = |headers: &[DagHeader]| {
        let (head, points) = headers.split_last().unwrap();
        check_pruning_proof(&proof()[0].hash(), points, head, &params)
    };
    assert_eq!(check(&proof()), Ok(()));
    let forged = |change: &dyn Fn(&mut Vec<DagHeader>)| {
        let mut headers = proof();
        change(&mut headers);
        check(&headers).unwrap_err()
    };
    let broken = |error, place| matches!(error, InvalidPruningProof::BrokenLink { at, .. } if at == place);
    assert!(broken(forged(&|headers| headers[3].evm_hash = B256::repeat_byte(1)), 4), "another block in its place");
    assert!(broken(forged(&|headers| headers[4].evm_hash = B256::repeat_byte(1)), 5), "the head does not name it");
    assert!(broken(forged(&|headers| drop(headers.remove(2))), 2), "one is left out");
    assert!(broken(forged(&|headers| drop(headers.remove(4))), 4), "the newest is left out");
    assert!(broken(forged(&|headers| headers.swap(2, 3)), 2));
    let other = forged(&|headers| headers[0].slot = 7);
    assert!(matches!(other, InvalidPruningProof::OtherGenesis { found: Some(_), .. }), "{other}");
    let none = check_pruning_proof(&proof()[0].hash(), &[], &proof()[1], &params).unwrap_err();
    assert!(matches!(none, InvalidPruningProof::OtherGenesis { found: None, .. }), "{none}");
    // Who makes a chain of his own needs a head of his own; and what no honest chain has is told even then.
    let rising = |change: &dyn Fn(&mut DagHeader)| {
        let mut headers = proof();
        change(&mut headers[3]);
        let at = |headers: &mut Vec<DagHeader>, i: usize| headers[i].newest_pruning_point = headers[i - 1].hash();
        (4..6).for_each(|i| at(&mut headers, i));
        check(&headers)
    };
    assert_eq!(rising(&|point| point.slot = 2), Err(InvalidPruningProof::NotRising { at: 3 }));
    assert_eq!(rising(&|point| point.blue_work = 20), Err(InvalidPruningProof::NotRising { at: 3 }));
    assert_eq!(rising(&|point| point.blue_score = 29), Err(InvalidPruningProof::NotRising { at: 3 }));
    assert_eq!(rising(&|point| point.blue_score = 45), Err(InvalidPruningProof::NotRising { at: 4 }));
    assert_eq!(rising(&|point| point.evm_hash = B256::repeat_byte(1)), Ok(()));
    let genesis = &proof()[..1];
    assert_eq!(check_pruning_proof(&genesis[0].hash(), genesis, &genesis[0], &params), Ok(()), "a new chain");
}

#[test]
fn every_block_names_the_newest_pruning_point_below_it() {
    let params = pruning(2, 10, 48);
    let mut dag = Dag::new(&facts(Producers::name(0), vec![], 0), params, &mut Batch::new());
    let mut producers = Producers::new(3, 3, Producers::name(0));
    for _ in 0..300 {
        let block = producers.block(&dag);
        let prepared = dag.check(&block).unwrap();
        dag.insert(prepared, &mut Batch::new()).unwrap();
        producers.see(&dag);
        // The oldest chain block of the interval of the selected parent, found the long way.
        let chain: Vec<B256> = dag.selected_chain(&block.hash).skip(1).map(Result::unwrap).collect();
        let interval = |hash: &B256| dag.blue_score(hash).unwrap().unwrap() / params.pruning_interval();
        let newest = interval(&chain[0]);
        let oldest = chain.iter().take_while(|hash| interval(hash) == newest).last().unwrap();
        assert_eq!(block.newest_pruning_point, *oldest);
        for claimed in [B256::ZERO, block.hash, chain[chain.len() / 2]] {
            let lie = BlockFacts { hash: hash("lie"), newest_pruning_point: claimed, ..block.clone() };
            match dag.check(&lie) {
                Ok(_) => assert_eq!(claimed, block.newest_pruning_point),
                Err(CheckError::Invalid(InvalidHeader::WrongPruningPoint { computed, .. })) => {
                    assert_eq!(computed, block.newest_pruning_point);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

fn agree_on_what_is_left(whole: &Dag, pruned: &Dag, gone: &BTreeSet<B256>, points: &BTreeSet<B256>) {
    let all = (1..=BLOCKS).map(Producers::name).filter(|block| whole.contains(block).unwrap());
    let left: Vec<B256> = all.filter(|block| !gone.contains(block) && !points.contains(block)).collect();
    for (at, b) in left.iter().enumerate() {
        assert_eq!(pruned.facts(b).unwrap(), whole.facts(b).unwrap());
        assert_eq!(pruned.ghostdag(b).unwrap(), whole.ghostdag(b).unwrap());
        for a in left.iter().skip(at % 5).step_by(5) {
            assert_eq!(pruned.is_ancestor(a, b).unwrap(), whole.is_ancestor(a, b).unwrap());
            assert_eq!(pruned.is_chain_ancestor(a, b).unwrap(), whole.is_chain_ancestor(a, b).unwrap());
        }
    }
}

/// The i-th one is the oldest chain block with i intervals of blue score; points at one block count once.
fn points_follow_the_rule(whole: &Dag, points: &[B256], params: &DagParams) {
    let sink = whole.best(|_| Ok(true)).unwrap();
    let mut chain: Vec<B256> = whole.selected_chain(&sink).map(Result::unwrap).collect();
    chain.reverse();
    let mut expected = vec![whole.genesis()];
    let score = |block: &B256| whole.blue_score(block).unwrap().unwrap();
    for block in &chain {
        let last = score(expected.last().unwrap()) / params.pruning_interval();
        if score(block) / params.pruning_interval() > last && score(block) + params.pruning_depth <= score(&sink) {
            expected.push(*block);
        }
    }
    assert_eq!(points, expected);
}

#[test]
fn a_fork_from_before_the_pruning_point_is_refused_by_name() {
    let params = pruning(2, 10, 48);
    let kv = MemoryKv::new();
    let block = Producers::name;
    create(&kv, &facts(block(0), vec![], 0), params);
    let mut dag = open(&kv, params, Residency { blocks: 8, cached: 8 });
    for i in 1..200u64 {
        let next = claiming(&dag, facts(block(i), vec![block(i - 1)], i));
        let mut batch = Batch::new();
        let prepared = dag.check(&next).unwrap();
        dag.insert(prepared, &mut batch).unwrap();
        dag.prune(&block(i), &mut batch).unwrap();
        kv.write(batch).unwrap();
    }
    // 199 - 48 = 151, and the interval is 2.
    assert_eq!(dag.pruning_point(), block(150));
    assert_eq!(dag.pruning_points().len(), 76);
    // The merge depth, k + 1 chain blocks, and what a window of eight has not let go.
    assert!(dag.contains(&block(137)).unwrap() && !dag.contains(&block(136)).unwrap());
    assert_eq!(dag.genesis(), block(0));
    let fork = |from: u64| BlockFacts {
        blue_score: from + 1,
        blue_work: u128::from(from) + 1,
        newest_pruning_point: block(from / 2 * 2),
        ..facts(hash("fork"), vec![block(from)], 999)
    };
    assert!(dag.check(&fork(150)).is_ok());
    match dag.check(&fork(149)).unwrap_err() {
        CheckError::Invalid(error @ InvalidHeader::BesidePruningPoint { selected_parent, point }) => {
            assert_eq!((selected_parent, point), (block(149), block(150)));
            assert!(error.to_string().contains("pruning point"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    match dag.check(&fork(100)).unwrap_err() {
        CheckError::Invalid(error @ InvalidHeader::BelowPruningPoint { blue_score: 101, point, point_score: 150 }) => {
            assert_eq!(point, block(150));
            assert!(error.to_string().contains("too late"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // Who claims a higher score may wait for its parents, which never come.
    let liar = BlockFacts { blue_score: 151, ..fork(100) };
    assert!(matches!(dag.check(&liar), Err(CheckError::Missing(missing)) if missing.parents == [block(100)]));
    assert_eq!(dag.bottom().unwrap(), (block(137), 137));
    // What is gone is named still.
    assert_eq!(dag.selected_parent(&block(137)).unwrap(), Some(block(136)));
    assert_eq!(dag.parents(&block(137)).unwrap(), Some(vec![block(136)]));
    let oldest = dag.selected_chain(&block(199)).last().unwrap().unwrap();
    assert_eq!(oldest, block(137));
    assert_eq!(dag.chain_block_at_depth(&block(199), 1_000).unwrap(), Some(block(137)));
    let path = dag.chain_path(&block(140), &block(142)).unwrap();
    assert_eq!((path.removed, path.added), (vec![], vec![block(141), block(142)]));
}

#[test]
fn a_dag_in_memory_and_one_without_a_depth_keep_everything() {
    let params = pruning(2, 10, 20);
    let genesis = facts(hash("A"), vec![], 0);
    let kv = MemoryKv::new();
    let mut whole = create(&kv, &genesis, params);
    let mut archive = open(&kv, DagParams { pruning_depth: u64::MAX, ..params }, Residency { blocks: 2, cached: 2 });
    let mut parent = genesis.hash;
    for i in 1..100 {
        let next = facts(Producers::name(i), vec![parent], i);
        parent = next.hash;
        for (dag, stored) in [(&mut whole, false), (&mut archive, true)] {
            let mut batch = Batch::new();
            let prepared = dag.check_nothing(&next).unwrap();
            dag.insert(prepared, &mut batch).unwrap();
            assert_eq!(dag.prune(&parent, &mut batch).unwrap(), Default::default());
            if stored {
                kv.write(batch).unwrap();
            }
        }
    }
    assert_eq!(keys(&kv, Table::Ghostdag), 100);
}
