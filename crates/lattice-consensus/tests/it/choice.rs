//! Choice, in DAGs small enough to read.

use alloy_primitives::B256;
use lattice_consensus::{ChainPath, Dag, DagParams, TieRule};

use crate::text::{dag, extend, facts, hash, name, names, params};

fn best_without(dag: &Dag, unusable: &str) -> String {
    let unusable: Vec<_> = unusable.split_whitespace().map(hash).collect();
    name(&dag.best(|block| Ok(!unusable.contains(block))).unwrap())
}

fn parents_of_child(dag: &Dag, sink: &str, unusable: &str, max: usize) -> String {
    let unusable: Vec<_> = unusable.split_whitespace().map(hash).collect();
    names(&dag.select_parents(&hash(sink), |block| Ok(!unusable.contains(block)), |_| Ok(0), max).unwrap())
}

#[test]
fn both_conditions_of_a_k_cluster() {
    let reds = |text: &str| names(&dag(params(2), text).ghostdag(&hash("E")).unwrap().unwrap().mergeset_reds);
    // Condition 1: the chain blocks c, d and P are in the anticone of X, one more than k allows.
    assert_eq!(reds("c <- A; d <- c; P <- d; X <- A; E <- P X"), "X");
    assert_eq!(reds("c <- A; P <- c; X <- A; E <- P X"), "");
    // Condition 2: only P and b are in the anticone of X, but b has c and d in its own already. P merged b ...
    assert_eq!(reds("c <- A; d <- c; b <- A; P <- b d; X <- d; E <- P X"), "X");
    assert_eq!(reds("c <- A; d <- c; b <- c; P <- b d; X <- d; E <- P X"), "");
    // ... and here E, child of p, merges b itself, which has c and p in its anticone.
    assert_eq!(reds("c <- A; p <- c; b <- A; X <- c; E <- p X b"), "X");
    assert_eq!(reds("c <- A; p <- c; b <- c; X <- c; E <- p X b"), "");
}

#[test]
fn the_best_block_is_the_usable_one_with_the_greatest_key() {
    let dag = dag(params(3), "B <- A; C <- A; D <- B C; E <- C; F <- D");
    assert_eq!(names(&dag.tips()), "E F");
    assert_eq!(best_without(&dag, ""), "F");
    assert_eq!(best_without(&dag, "F"), "D");
    assert_eq!(best_without(&dag, "F D"), "E");
    assert_eq!(best_without(&dag, "F D E"), "C");
    assert_eq!(best_without(&dag, "F D E C"), "B");
    assert_eq!(best_without(&dag, "F D E C B"), "A");
    assert_eq!(best_without(&dag, "F D E C B A"), "A", "genesis stands");
}

#[test]
fn ties_go_by_the_rule() {
    let vrf = |name: &str, vrf: &str, parents: &[&str]| {
        let mut facts = facts(hash(name), parents.iter().map(|p| hash(p)).collect(), 1);
        facts.vrf_hash = hash(vrf);
        facts
    };
    for (tie_rule, expected) in [(TieRule::GreaterHash, "D"), (TieRule::LowerVrfHash, "C")] {
        let mut batch = lattice_storage::Batch::new();
        let mut dag = Dag::new(&facts(hash("A"), vec![], 0), DagParams { tie_rule, ..params(3) }, &mut batch);
        for block in [vrf("B", "low", &["A"]), vrf("C", "low", &["A"]), vrf("D", "lower is lower", &["A"])] {
            let prepared = dag.check_nothing(&block).unwrap();
            dag.insert(prepared, &mut batch).unwrap();
        }
        // "low" < "lower...": B and C tie there, and C has the greater hash.
        assert_eq!(name(&dag.best(|_| Ok(true)).unwrap()), expected, "{tie_rule:?}");
        assert_eq!(name(&dag.virtual_data(&dag.tips()).unwrap().selected_parent), expected);
    }
}

#[test]
fn the_ai_class_breaks_ties_of_blue_work_between_candidates_and_nothing_else() {
    let class = |name: &str, ai_class: u8, parents: &[&str]| {
        let mut facts = facts(hash(name), parents.iter().map(|p| hash(p)).collect(), 1);
        facts.ai_class = ai_class;
        facts
    };
    let build = |tie_rule| {
        let mut batch = lattice_storage::Batch::new();
        let mut dag = Dag::new(&facts(hash("A"), vec![], 0), DagParams { tie_rule, ..params(3) }, &mut batch);
        for block in [class("B", 0, &["A"]), class("C", 2, &["A"]), class("D", 1, &["A"]), class("E", 2, &["A"])] {
            let prepared = dag.check_nothing(&block).unwrap();
            dag.insert(prepared, &mut batch).unwrap();
        }
        dag
    };
    let mut dag = build(TieRule::LowerVrfHash);
    // C and E have the highest class, and C the lower VRF; the others come by VRF alone.
    assert_eq!(name(&dag.best(|_| Ok(true)).unwrap()), "C");
    let data = dag.virtual_data(&dag.tips()).unwrap();
    let order = |dag: &Dag, data| names(dag.consensus_order_of_mergeset(data).unwrap().iter().map(|m| &m.hash));
    assert_eq!((name(&data.selected_parent), order(&dag, &data)), ("C".into(), "E D B".into()));
    assert_eq!(names(&data.mergeset_blues), "C E D B");
    assert_eq!(parents_of_child(&dag, "C", "", 24), "B C D E");
    assert_eq!(parents_of_child(&dag, "D", "", 24), "B D", "C and E would be selected");
    // More work beats any class.
    let heavier = class("F", 0, &["B", "D"]);
    let prepared = dag.check_nothing(&heavier).unwrap();
    dag.insert(prepared, &mut lattice_storage::Batch::new()).unwrap();
    assert_eq!(name(&dag.best(|_| Ok(true)).unwrap()), "F");
    // Kaspa knows no classes.
    assert_eq!(name(&build(TieRule::GreaterHash).best(|_| Ok(true)).unwrap()), "E");
}

/// Whoever wins a slot gets the work of one block, however many headers it signs for it.
#[test]
fn of_the_copies_of_a_win_one_is_blue() {
    for (tie_rule, blues) in [(TieRule::GreaterHash, "D E B C"), (TieRule::LowerVrfHash, "D E B")] {
        let mut batch = lattice_storage::Batch::new();
        let mut dag = Dag::new(&facts(hash("A"), vec![], 0), DagParams { tie_rule, ..params(9) }, &mut batch);
        for (name, vrf, slot, parents) in [
            ("B", "one win", 1, vec!["A"]),
            ("C", "one win", 1, vec!["A"]),
            ("E", "one win", 2, vec!["A"]), // Another slot: no copy, whatever the output says.
            ("F", "a", 2, vec!["A"]),
            ("D", "a", 3, vec!["F"]),
        ] {
            let mut facts = facts(hash(name), parents.into_iter().map(hash).collect(), slot);
            facts.vrf_hash = hash(vrf);
            let prepared = dag.check_nothing(&facts).unwrap();
            dag.insert(prepared, &mut batch).unwrap();
        }
        let data = dag.virtual_data(&["B", "C", "D", "E"].map(hash)).unwrap();
        let mut found: Vec<String> = data.mergeset_blues.iter().map(name).collect();
        found[1..].sort();
        let mut expected: Vec<&str> = blues.split(' ').collect();
        expected[1..].sort_unstable();
        assert_eq!(found, expected, "{tie_rule:?}");
        // A copy in the selected parent's past stands, whatever its place in the order.
        let merged = facts(hash("M"), ["C", "D"].map(hash).into(), 4);
        let prepared = dag.check_nothing(&merged).unwrap();
        dag.insert(prepared, &mut batch).unwrap();
        let blues = dag.virtual_data(&["B", "M"].map(hash)).unwrap().mergeset_blues;
        assert_eq!(blues.contains(&hash("B")), tie_rule == TieRule::GreaterHash, "{tie_rule:?}");
    }
}

#[test]
fn parents_are_the_sink_and_lighter_tips() {
    let dag = dag(params(3), "B <- A; C <- A; D <- A; E <- B C");
    assert_eq!(parents_of_child(&dag, "E", "", 24), "D E");
    // E cannot carry the chain: the heaviest usable block is D, whose child must not have the heavier E as a parent,
    // but can have what E merges.
    assert_eq!(best_without(&dag, "E"), "D");
    assert_eq!(parents_of_child(&dag, "D", "", 24), "B C D");
    assert_eq!(parents_of_child(&dag, "D", "C", 24), "B D");
}

#[test]
fn parents_below_an_unusable_tip_are_no_ancestors_of_others() {
    // Without E its parents B and C are candidates, but C is in the past of F.
    let dag = dag(params(9), "1 <- A; 2 <- 1; 3 <- 2; S <- 3; B <- A; C <- A; E <- B C; F <- C");
    assert_eq!(parents_of_child(&dag, "S", "", 24), "E F S");
    assert_eq!(parents_of_child(&dag, "S", "E", 24), "B F S");
    assert_eq!(parents_of_child(&dag, "S", "E F", 24), "B C S");
}

#[test]
fn the_selected_parent_of_a_child_is_its_sink() {
    let dag = dag(params(1), "B <- A; C <- A; D <- A; E <- B C; F <- C D; G <- E; H <- F; I <- B");
    for sink in ["B", "C", "D", "E", "F", "G", "H", "I"] {
        let parents = dag.select_parents(&hash(sink), |_| Ok(true), |_| Ok(0), 24).unwrap();
        assert_eq!(name(&dag.virtual_data(&parents).unwrap().selected_parent), sink);
        assert!(parents.windows(2).all(|pair| pair[0] < pair[1]));
        for a in &parents {
            assert!(parents.iter().all(|b| !dag.is_ancestor(a, b).unwrap()), "{}", names(&parents));
        }
    }
}

#[test]
fn surplus_parents_are_the_heaviest_and_the_oldest() {
    // S is the sink; 1 is the oldest tip, 5b the heaviest of the light ones.
    let dag = dag(params(9), "P <- A; Q <- P; R <- Q; S <- R; 1 <- A; 2 <- A; 3 <- A; 4 <- A; 5a <- A; 5b <- 5a");
    assert_eq!(parents_of_child(&dag, "S", "", 24), "1 2 3 4 5b S");
    assert_eq!(parents_of_child(&dag, "S", "", 2), "5b S");
    assert_eq!(parents_of_child(&dag, "S", "", 3), "1 5b S");
    assert_eq!(parents_of_child(&dag, "S", "", 4), "1 4 5b S");
    assert_eq!(parents_of_child(&dag, "S", "", 5), "1 2 4 5b S");
    assert_eq!(parents_of_child(&dag, "S", "", 1), "S");
}

#[test]
fn half_of_the_surplus_parents_are_of_the_highest_class() {
    let dag = dag(params(9), "P <- A; Q <- P; R <- Q; S <- R; 1 <- A; 2 <- A; 3 <- A; 4 <- A; 5a <- A; 5b <- 5a");
    let class = |block: &B256| Ok(u8::from(*block == hash("3")) + 2 * u8::from(*block == hash("2")));
    let chosen = |max| names(&dag.select_parents(&hash("S"), |_| Ok(true), class, max).unwrap());
    assert_eq!(chosen(2), "2 S");
    assert_eq!(chosen(3), "1 2 S");
    assert_eq!(chosen(4), "1 2 3 S");
    assert_eq!(chosen(5), "1 2 3 5b S", "2 is the next oldest too, so the greatest key of class 0 comes");
    assert_eq!(chosen(24), "1 2 3 4 5b S");
}

#[test]
fn a_side_chain_over_the_limit_is_merged_piece_by_piece() {
    let limit = DagParams { mergeset_max: 3, ..params(9) };
    let mut dag = dag(limit, "P <- A; Q <- P; R <- Q; S <- R; T <- S; U <- T; 1 <- A; 2 <- 1; 3 <- 2; 4 <- 3; 5 <- 4");
    assert_eq!(parents_of_child(&dag, "U", "", 24), "3 U");
    extend(&mut dag, "V <- U 3");
    assert_eq!(parents_of_child(&dag, "V", "", 24), "5 V");
    // Two tips of two blocks each do not fit together.
    extend(&mut dag, "W <- V 5; x <- W; y <- x; m <- U; n <- m; o <- U; p <- o");
    assert_eq!(parents_of_child(&dag, "y", "", 24), "p y");
}

#[test]
fn paths_between_chain_blocks() {
    let dag = dag(params(3), "B <- A; C <- B; D <- C; X <- B; Y <- X D; Z <- X");
    let path = |from: &str, to: &str| {
        let ChainPath { removed, added } = dag.chain_path(&hash(from), &hash(to)).unwrap();
        (names(&removed), names(&added))
    };
    let pair = |removed: &str, added: &str| (removed.to_string(), added.to_string());
    assert_eq!(path("D", "Z"), pair("D C", "X Z"));
    assert_eq!(path("Z", "Y"), pair("Z X", "C D Y"));
    assert_eq!(path("A", "Y"), pair("", "B C D Y"));
    assert_eq!(path("Y", "B"), pair("Y D C", ""));
    assert_eq!(path("Y", "Y"), pair("", ""));
    assert_eq!(names(&dag.selected_chain(&hash("Y")).collect::<Result<Vec<_>, _>>().unwrap()), "Y D C B A");
    assert_eq!(dag.selected_chain(&hash("unknown")).count(), 0);
    assert_eq!(dag.selected_parent(&hash("Y")).unwrap(), Some(hash("D")));
    assert_eq!(dag.selected_parent(&hash("A")).unwrap(), None);
}

#[test]
fn merged_blocks_come_in_order_of_their_keys() {
    // k = 0: everything beside the chain is red, and the reds stand between the blues.
    let dag = dag(params(1), "B <- A; C <- A; D <- B; E <- D; x <- A; y <- x; z <- C");
    let data = dag.virtual_data(&dag.tips()).unwrap();
    let order = dag.consensus_order_of_mergeset(&data).unwrap();
    let text: Vec<_> = order
        .iter()
        .map(|merged| format!("{}{}", name(&merged.hash), if merged.is_blue { "+" } else { "-" }))
        .collect();
    assert_eq!(name(&data.selected_parent), "E");
    assert_eq!(text.len(), 4);
    assert_eq!(names(order.iter().map(|merged| &merged.hash)), "C x y z");
    let blues: Vec<_> = order.iter().filter(|merged| merged.is_blue).map(|merged| merged.hash).collect();
    assert_eq!(blues, data.mergeset_blues[1..], "{text:?}");
}
