//! The merge-depth rule, parent choice under it, chain blocks by depth, and fork choice under justification.

use alloy_primitives::B256;
use lattice_consensus::{CheckError, Dag, DagParams, InvalidHeader};
use lattice_storage::Batch;

use crate::{
    random::{Rng, Shape},
    text::{claiming, dag, extend, facts, hash, name, names, params},
};

fn depth(k: u16, merge_depth: u64) -> DagParams {
    DagParams { merge_depth, ..params(k) }
}

fn check(dag: &Dag, parents: &str) -> Result<(), InvalidHeader> {
    let bare = facts(hash("?"), parents.split_whitespace().map(hash).collect(), 999);
    match dag.check(&claiming(dag, bare)) {
        Ok(_) => Ok(()),
        Err(CheckError::Invalid(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

fn below(merged: &str, root: &str, depth: u64) -> Result<(), InvalidHeader> {
    Err(InvalidHeader::BelowMergeDepth { merged: hash(merged), root: hash(root), depth })
}

fn parents_of_child(dag: &Dag, sink: &str) -> String {
    names(&dag.select_parents(&hash(sink), |_| Ok(true), |_| Ok(0), 24).unwrap())
}

#[test]
fn nothing_below_the_merge_depth_is_merged() {
    // Blue scores of the chain are its numbers; side blocks a and c are red at k = 1.
    let dag = dag(depth(1, 3), "1 <- A; 2 <- 1; 3 <- 2; 4 <- 3; 5 <- 4; 6 <- 5; a <- A; c <- 3; d <- c");
    assert_eq!(check(&dag, "2 a"), Ok(()), "score 3: the root is genesis");
    assert_eq!(check(&dag, "3 a"), below("a", "1", 3));
    assert_eq!(check(&dag, "5 a"), below("a", "3", 3));
    assert_eq!(check(&dag, "5 c"), Ok(()), "score 6: the root is 3, which c has in its past");
    assert_eq!(check(&dag, "6 c"), below("c", "4", 3));
    assert_eq!(check(&dag, "5 d"), Ok(()));
    let error = check(&dag, "6 c").unwrap_err().to_string();
    assert!(error.contains("merge-depth root") && error.contains("3 of blue score back"), "{error}");
}

#[test]
fn what_a_blue_with_the_root_on_its_chain_has_merged_may_come() {
    // X merged the red r while that was young enough.
    let blocks = "1 <- A; 2 <- 1; 3 <- 2; r <- A; X <- 3 r; 4 <- 3; 5 <- 4";
    let dag = dag(depth(2, 5), blocks);
    assert_eq!(names(&dag.ghostdag(&hash("X")).unwrap().unwrap().mergeset_reds), "r");
    assert_eq!(check(&dag, "5 r"), below("r", "1", 5));
    assert_eq!(names(&dag.virtual_data(&[hash("5"), hash("X")]).unwrap().mergeset_reds), "r");
    assert_eq!(check(&dag, "5 X"), Ok(()), "the root is 2: on the chain of X, not in the past of r");
    // When X is red it excuses nothing: 6 and 7 make its anticone larger than k.
    let mut longer = dag.clone();
    extend(&mut longer, "6 <- 5");
    assert_eq!(names(&longer.virtual_data(&[hash("6"), hash("X")]).unwrap().mergeset_reds), "r X");
    assert_eq!(check(&longer, "6 X"), below("r", "2", 5));
}

#[test]
fn parents_are_chosen_within_the_merge_depth() {
    let mut dag = dag(depth(1, 3), "1 <- A; 2 <- 1; 3 <- 2; 4 <- 3; 5 <- 4; a <- A; b <- a; c <- 3; d <- c");
    assert_eq!(parents_of_child(&dag, "2"), "2 a", "b has a greater key than 2");
    assert_eq!(parents_of_child(&dag, "5"), "5 c");
    extend(&mut dag, "6 <- 5");
    assert_eq!(parents_of_child(&dag, "6"), "6", "the root is 4 now");
    // A tip that has the root in its past, and in its mergeset what has not.
    extend(&mut dag, "e <- 4 b; f <- 4");
    assert_eq!(parents_of_child(&dag, "6"), "6 f");
    assert_eq!(check(&dag, "6 f"), Ok(()));
    assert_eq!(check(&dag, "6 e"), below("a", "4", 3));
}

/// What is chosen passes the check, whatever the DAG; and the rule does bite in some of them.
#[test]
fn chosen_parents_always_pass() {
    let (mut kept, mut dropped) = (0, 0);
    for seed in 0..1_500 {
        let mut shape = Shape::random(seed, 60);
        // Some blocks have old parents.
        let mut rng = Rng::new(seed ^ 0xdeb7);
        for block in 1..shape.parents.len() {
            if rng.below(8) == 0 {
                shape.parents[block] = vec![rng.below(block)];
            }
        }
        shape.work = vec![1; shape.work.len()];
        let merge_depth = u64::from(shape.k) + 1 + rng.below(4) as u64;
        let params = DagParams { merge_depth, ..shape.params() };
        let mut dag = Dag::new(&shape.facts(0), params, &mut Batch::new());
        for block in 1..shape.parents.len() {
            let prepared = dag.check_nothing(&shape.facts(block)).unwrap();
            dag.insert(prepared, &mut Batch::new()).unwrap();
        }
        let sink = dag.best(|_| Ok(true)).unwrap();
        let parents = dag.select_parents(&sink, |_| Ok(true), |_| Ok(0), 24).unwrap();
        let data = dag.virtual_data(&parents).unwrap();
        assert_eq!(data.selected_parent, sink, "seed {seed}");
        let child = claiming(&dag, facts(hash("child"), parents.clone(), 9_999));
        dag.check(&child).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        kept += parents.len() - 1;
        let unbound = DagParams { merge_depth: u64::MAX, ..params };
        let mut free = Dag::new(&shape.facts(0), unbound, &mut Batch::new());
        for block in 1..shape.parents.len() {
            let prepared = free.check_nothing(&shape.facts(block)).unwrap();
            free.insert(prepared, &mut Batch::new()).unwrap();
        }
        dropped += usize::from(free.select_parents(&sink, |_| Ok(true), |_| Ok(0), 24).unwrap() != parents);
    }
    assert!(kept > 500 && dropped > 100, "{kept} kept, {dropped} choices changed");
}

#[test]
fn chain_blocks_are_found_by_depth() {
    for seed in 0..200 {
        let shape = Shape::random(seed, 200);
        let dag = shape.build(0..shape.parents.len());
        for block in (0..shape.parents.len()).step_by(3) {
            let block = shape.hash(block);
            for depth in [0, 1, 2, 5, 17, 60, 1_000] {
                let score = dag.blue_score(&block).unwrap().unwrap().saturating_sub(depth);
                let expected = dag
                    .selected_chain(&block)
                    .map(Result::unwrap)
                    .find(|hash| dag.blue_score(hash).unwrap().unwrap() <= score);
                assert_eq!(dag.chain_block_at_depth(&block, depth).unwrap(), expected, "seed {seed}");
                // The slots of these shapes are the blocks' places.
                let expected = dag
                    .selected_chain(&block)
                    .map(Result::unwrap)
                    .find(|hash| dag.slot(hash).unwrap().unwrap() <= depth);
                assert_eq!(dag.chain_block_at_slot(&block, depth).unwrap(), expected, "seed {seed}");
            }
        }
    }
    let dag = dag(params(1), "B <- A");
    assert_eq!(dag.chain_block_at_depth(&hash("unknown"), 1).unwrap(), None);
    assert_eq!(dag.chain_block_at_slot(&hash("unknown"), 1).unwrap(), None);
}

#[test]
fn the_sink_holds_the_justified_checkpoint() {
    let dag = dag(params(9), "B <- A; C <- B; X <- A; Y <- X; Z <- Y; D <- B");
    let best = |justified: &str, unusable: &str| {
        let unusable: Vec<B256> = unusable.split_whitespace().map(hash).collect();
        dag.best_justified(&hash(justified), |block| Ok(!unusable.contains(block))).unwrap().map(|block| name(&block))
    };
    assert_eq!(best("A", ""), Some("Z".into()), "genesis: the heaviest of all");
    assert_eq!(best("B", ""), Some("D".into()), "the heavier branch lacks B");
    assert_eq!(best("B", "D"), Some("C".into()));
    assert_eq!(best("B", "C D"), Some("B".into()));
    assert_eq!(best("B", "B C D"), None);
    assert_eq!(best("unknown", ""), None);
    // Merged is not enough: the checkpoint must be on the selected chain.
    let dag = crate::text::dag(params(9), "B <- A; X <- A; Y <- X; M <- B Y");
    assert_eq!(dag.best_justified(&hash("B"), |_| Ok(true)).unwrap().map(|block| name(&block)), Some("B".into()));
}
