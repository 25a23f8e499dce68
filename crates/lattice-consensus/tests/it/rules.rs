//! Header rules in context: each has its error, and its limit is the last value that passes.

use alloy_primitives::B256;
use lattice_consensus::{BlockFacts, CheckError, Dag, DagParams, InvalidHeader};
use lattice_storage::Batch;

use crate::text::{claiming, dag, extend, facts, hash, params};

/// Facts that claim what GHOSTDAG says.
fn honest(dag: &Dag, name: &str, parents: &str, slot: u64) -> BlockFacts {
    let bare = facts(hash(name), parents.split_whitespace().map(hash).collect(), slot);
    claiming(dag, bare)
}

fn invalid(dag: &Dag, facts: &BlockFacts) -> InvalidHeader {
    match dag.check(facts).unwrap_err() {
        CheckError::Invalid(error) => error,
        other => panic!("expected a broken rule, got {other:?}"),
    }
}

#[test]
fn an_honest_header_passes_and_is_inserted_once() {
    let mut dag = dag(params(3), "B <- A; C <- A");
    let block = honest(&dag, "D", "B C", 5);
    let prepared = dag.check(&block).unwrap();
    assert_eq!((prepared.blue_score(), prepared.blue_work()), (3, 3));
    dag.insert(prepared.clone(), &mut Batch::new()).unwrap();
    assert_eq!(dag.facts(&block.hash).unwrap().unwrap(), block);
    assert_eq!((dag.len(), dag.tips()), (4, vec![hash("D")]));
    assert!(matches!(dag.check(&block), Err(CheckError::Known(hash)) if hash == block.hash));
    let mut batch = Batch::new();
    dag.insert(prepared, &mut batch).unwrap();
    assert!(batch.is_empty());
    assert_eq!(dag.len(), 4);
}

#[test]
fn a_prepared_block_stays_true_while_others_come() {
    let mut first = dag(params(2), "B <- A; C <- A");
    let mut second = first.clone();
    let block = honest(&first, "D", "B C", 9);
    let prepared = first.check(&block).unwrap();
    extend(&mut first, "X <- A; Y <- X; Z <- B Y; W <- Z");
    extend(&mut second, "X <- A; Y <- X; Z <- B Y; W <- Z");
    first.insert(prepared, &mut Batch::new()).unwrap();
    let prepared = second.check(&block).unwrap();
    second.insert(prepared, &mut Batch::new()).unwrap();
    assert_eq!(first.ghostdag(&hash("D")).unwrap(), second.ghostdag(&hash("D")).unwrap());
    assert_eq!(first.tips(), second.tips());
}

#[test]
fn parents_must_be_known() {
    let dag = dag(params(3), "B <- A");
    let mut unknown = vec![hash("X"), hash("Y"), hash("B")];
    unknown.sort_unstable();
    let error = dag.check(&facts(hash("D"), unknown.clone(), 9)).unwrap_err();
    assert!(matches!(&error, CheckError::Missing(missing) if missing.parents == [hash("X"), hash("Y")]), "{error:?}");
    let error = dag.virtual_data(&unknown).unwrap_err();
    assert!(matches!(&error, CheckError::Missing(missing) if missing.parents == [hash("X"), hash("Y")]), "{error:?}");
}

#[test]
fn parents_are_counted() {
    let dag = dag(DagParams { parents_max: 2, ..params(3) }, "B <- A; C <- A; D <- A");
    assert_eq!(invalid(&dag, &facts(hash("E"), vec![], 9)), InvalidHeader::NoParents);
    dag.check(&honest(&dag, "E", "B C", 9)).unwrap();
    assert_eq!(invalid(&dag, &honest(&dag, "E", "B C D", 9)), InvalidHeader::TooManyParents { found: 3, max: 2 });
}

#[test]
fn parents_ascend_strictly() {
    let dag = dag(params(3), "B <- A; C <- A");
    for order in [["C", "B"], ["B", "B"]] {
        let [first, second] = order.map(hash);
        let block = BlockFacts { parents: vec![first, second], ..honest(&dag, "D", "B C", 9) };
        assert_eq!(invalid(&dag, &block), InvalidHeader::ParentsNotAscending { first, second });
    }
}

#[test]
fn no_parent_is_an_ancestor_of_another() {
    let mut dag = dag(params(3), "B <- A; C <- A; D <- B; E <- C D");
    for (ancestor, descendant, parents) in [("B", "D", "B D"), ("A", "B", "A B"), ("C", "E", "C E"), ("B", "E", "B E")]
    {
        let block = honest(&dag, "F", parents, 9);
        let (ancestor, descendant) = (hash(ancestor), hash(descendant));
        assert_eq!(invalid(&dag, &block), InvalidHeader::ParentIsAncestor { ancestor, descendant });
    }
    // So far apart that bit rows do not reach: the tree answers.
    let mut tip = "E".to_string();
    for i in 0..2_500 {
        let next = format!("x{i}");
        extend(&mut dag, &format!("{next} <- {tip}"));
        tip = next;
    }
    let block = honest(&dag, "F", &format!("C {tip}"), 9_999);
    let (ancestor, descendant) = (hash("C"), hash(&tip));
    assert_eq!(invalid(&dag, &block), InvalidHeader::ParentIsAncestor { ancestor, descendant });
}

#[test]
fn slots_rise() {
    let dag = dag(params(3), "B <- A; C <- A");
    assert_eq!((dag.slot(&hash("B")).unwrap(), dag.slot(&hash("C")).unwrap()), (Some(1), Some(2)));
    for slot in [0, 1, 2] {
        let error = invalid(&dag, &honest(&dag, "D", "B C", slot));
        assert!(
            matches!(error, InvalidHeader::SlotNotAfterParent { slot: s, parent_slot, .. } if s == slot && parent_slot >= slot)
        );
    }
    dag.check(&honest(&dag, "D", "B C", 3)).unwrap();
}

#[test]
fn mergesets_are_bounded() {
    let limit = DagParams { mergeset_max: 3, ..params(9) };
    let mut dag = dag(limit, "B <- A; C <- B; c <- C; d <- c; e <- d; 1 <- A; 2 <- 1; 3 <- 2");
    dag.check(&honest(&dag, "Z", "3 e", 99)).unwrap();
    extend(&mut dag, "4 <- 3");
    assert_eq!(invalid(&dag, &honest(&dag, "Z", "4 e", 99)), InvalidHeader::MergesetTooLarge { max: 3 });
    extend(&mut dag, "5 <- A");
    assert_eq!(invalid(&dag, &honest(&dag, "Z", "3 5 e", 99)), InvalidHeader::MergesetTooLarge { max: 3 });
}

#[test]
fn claims_must_be_true() {
    let dag = dag(params(3), "B <- A; C <- A");
    let block = honest(&dag, "D", "B C", 9);
    for claimed in [0, 2, 4, u64::MAX] {
        let error = invalid(&dag, &BlockFacts { blue_score: claimed, ..block.clone() });
        assert_eq!(error, InvalidHeader::WrongBlueScore { claimed, computed: 3 });
    }
    for claimed in [0, 2, 4, u128::MAX] {
        let error = invalid(&dag, &BlockFacts { blue_work: claimed, ..block.clone() });
        assert_eq!(error, InvalidHeader::WrongBlueWork { claimed, computed: 3 });
    }
    let claimed = hash("B");
    let error = invalid(&dag, &BlockFacts { newest_pruning_point: claimed, ..block });
    assert_eq!(error, InvalidHeader::WrongPruningPoint { claimed, computed: dag.genesis() });
}

#[test]
fn errors_tell_what_is_wrong() {
    let dag = dag(params(3), "B <- A");
    let text = dag.check(&facts(hash("D"), vec![hash("B")], 9)).unwrap_err().to_string();
    assert_eq!(text, "header claims blue score 0, GHOSTDAG gives 2");
    let text = dag.check(&facts(hash("D"), vec![B256::ZERO], 9)).unwrap_err().to_string();
    assert!(text.starts_with("1 parent(s) are not known, the first is 0x0000"), "{text}");
}
