//! Random DAGs against the oracle, and against other insertion orders.

use alloy_primitives::B256;
use lattice_consensus::{BlockFacts, Dag, DagParams, Merged, TieRule, reachability::Reachability};
use lattice_storage::Batch;
use proptest::{collection::vec, prelude::*};

use crate::oracle::{Labels, Oracle, Pasts, members};

/// xorshift64*: the tests must be the same everywhere.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % bound
    }
}

/// A DAG by index: parents of each block, all smaller, genesis first.
#[derive(Debug, Clone)]
pub struct Shape {
    pub parents: Vec<Vec<usize>>,
    pub work: Vec<u128>,
    pub ai_class: Vec<u8>,
    pub k: u16,
    pub tie_rule: TieRule,
    /// Makes hashes and VRF hashes, hence ties, differ between shapes.
    pub salt: u64,
}

impl Shape {
    /// Blocks reference some of the `width` blocks before them: wide DAGs have many reds.
    pub fn random(seed: u64, len: usize) -> Self {
        let mut rng = Rng::new(seed);
        let len = 2 + rng.below(len - 1);
        let width = 1 + rng.below(12);
        let parents_max = 1 + rng.below(5);
        let mut parents = vec![vec![]];
        for block in 1..len {
            let count = 1 + rng.below(parents_max);
            let mut list: Vec<usize> = (0..count).map(|_| block - 1 - rng.below(width.min(block))).collect();
            list.sort_unstable();
            list.dedup();
            parents.push(list);
        }
        let uneven = rng.below(4) == 0;
        let work = (0..len).map(|_| if uneven { 1 + rng.below(3) as u128 } else { 1 }).collect();
        let tie_rule = if rng.below(2) == 0 { TieRule::GreaterHash } else { TieRule::LowerVrfHash };
        let k = rng.below(5) as u16;
        let classes = 1 + rng.below(4);
        let ai_class = (0..len).map(|_| rng.below(classes) as u8).collect();
        Self { parents, work, ai_class, k, tie_rule, salt: seed }
    }

    pub fn params(&self) -> DagParams {
        DagParams { parents_max: 64, mergeset_max: 64, ..DagParams::unlimited(self.k, self.tie_rule) }
    }

    /// Few distinct ones: sometimes the hash decides, and sometimes two blocks of one slot are copies.
    fn vrf_hash(&self, block: usize) -> B256 {
        B256::repeat_byte(Rng::new(self.salt ^ (block as u64) << 32).below(16) as u8)
    }

    /// Length of the longest path to genesis: slots rise along every path, and blocks side by side often share one.
    fn slots(&self) -> Vec<u64> {
        let mut slots: Vec<u64> = Vec::with_capacity(self.parents.len());
        for parents in &self.parents {
            slots.push(parents.iter().map(|&parent| slots[parent] + 1).max().unwrap_or(0));
        }
        slots
    }

    /// The same for blocks of one slot with one VRF, which is copies; without VRFs there are none.
    fn wins(&self) -> Vec<u64> {
        let slots = self.slots().into_iter().enumerate();
        slots
            .map(|(block, slot)| match self.tie_rule {
                TieRule::GreaterHash => block as u64,
                TieRule::LowerVrfHash => slot << 8 | u64::from(self.vrf_hash(block)[0]),
            })
            .collect()
    }

    pub fn hash(&self, block: usize) -> B256 {
        let mut bytes = [0; 32];
        bytes[0] = Rng::new(self.salt.wrapping_add(block as u64 * 7919)).below(256) as u8;
        bytes[24..].copy_from_slice(&(block as u64).to_be_bytes());
        B256::new(bytes)
    }

    /// Greater wins.
    fn tie(&self, block: usize) -> [u8; 64] {
        let mut tie = [0; 64];
        match self.tie_rule {
            TieRule::GreaterHash => tie[..32].copy_from_slice(self.hash(block).as_slice()),
            TieRule::LowerVrfHash => {
                for (to, from) in tie.iter_mut().zip(self.vrf_hash(block)) {
                    *to = 255 - from;
                }
                tie[32..].copy_from_slice(self.hash(block).as_slice());
            }
        }
        tie
    }

    pub fn facts(&self, block: usize) -> BlockFacts {
        let mut parents: Vec<B256> = self.parents[block].iter().map(|&parent| self.hash(parent)).collect();
        parents.sort_unstable();
        BlockFacts {
            hash: self.hash(block),
            parents,
            slot: self.slots()[block],
            vrf_hash: self.vrf_hash(block),
            ai_class: self.ai_class[block],
            work: self.work[block],
            blue_score: 0,
            blue_work: 0,
            newest_pruning_point: B256::ZERO,
        }
    }

    /// The DAG with blocks inserted in this order, genesis first.
    pub fn build(&self, order: impl IntoIterator<Item = usize>) -> Dag {
        let mut dag = Dag::new(&self.facts(0), self.params(), &mut Batch::new());
        for block in order.into_iter().skip(1) {
            let prepared = dag.check_nothing(&self.facts(block)).unwrap();
            dag.insert(prepared, &mut Batch::new()).unwrap();
        }
        dag
    }

    pub fn oracle(&self) -> Oracle {
        let ties = (0..self.parents.len()).map(|block| self.tie(block)).collect();
        let ai_class = match self.tie_rule {
            TieRule::GreaterHash => vec![0; self.parents.len()],
            TieRule::LowerVrfHash => self.ai_class.clone(),
        };
        Oracle::of(self.k.into(), &self.parents, Labels { ties, ai_class, work: self.work.clone(), wins: self.wins() })
    }

    /// Another order in which every block comes after its parents.
    fn shuffled(&self, rng: &mut Rng) -> Vec<usize> {
        let mut order = vec![0];
        let mut left: Vec<usize> = (1..self.parents.len()).collect();
        while !left.is_empty() {
            let ready: Vec<usize> = left
                .iter()
                .copied()
                .filter(|&block| self.parents[block].iter().all(|parent| order.contains(parent)))
                .collect();
            let block = ready[rng.below(ready.len())];
            left.retain(|&other| other != block);
            order.push(block);
        }
        order
    }
}

/// Every field of every block.
fn agree(shape: &Shape, dag: &Dag, oracle: &Oracle) {
    let hashes = |blocks: &[usize]| blocks.iter().map(|&block| shape.hash(block)).collect::<Vec<_>>();
    for (block, judged) in oracle.judged.iter().enumerate() {
        let hash = shape.hash(block);
        let data = dag.ghostdag(&hash).unwrap().unwrap();
        assert_eq!(data.selected_parent, judged.selected_parent.map_or(B256::ZERO, |p| shape.hash(p)), "block {block}");
        assert_eq!(data.mergeset_blues, hashes(&judged.mergeset_blues), "blues of {block}");
        assert_eq!(data.mergeset_reds, hashes(&judged.mergeset_reds), "reds of {block}");
        assert_eq!(data.blue_score, u64::from(judged.blue_set.count_ones()), "block {block}");
        assert_eq!(data.blue_work, judged.blue_work, "block {block}");
        assert_eq!(
            dag.virtual_data(&dag.parents(&hash).unwrap().unwrap()).unwrap(),
            data,
            "block {block} as a virtual one"
        );
        for other in 0..oracle.judged.len() {
            let other_hash = shape.hash(other);
            let in_past = oracle.past[block] >> other & 1 == 1;
            assert_eq!(dag.is_ancestor(&other_hash, &hash).unwrap(), in_past, "{other} in the past of {block}");
            let on_chain =
                std::iter::successors(Some(block), |&b| oracle.judged[b].selected_parent).any(|b| b == other);
            assert_eq!(dag.is_chain_ancestor(&other_hash, &hash).unwrap(), on_chain, "{other} on the chain of {block}");
        }
        anticone_sizes_agree(shape, dag, oracle, block);
    }
}

/// The newest size recorded on the chain of a block is the true one, for each of its blues.
fn anticone_sizes_agree(shape: &Shape, dag: &Dag, oracle: &Oracle, block: usize) {
    for blue in members(oracle.judged[block].blue_set) {
        let recorded = std::iter::successors(Some(block), |&b| oracle.judged[b].selected_parent)
            .find_map(|b| {
                let sizes = dag.blues_anticone_sizes(&shape.hash(b)).unwrap().unwrap();
                sizes.into_iter().find(|(hash, _)| *hash == shape.hash(blue))
            })
            .unwrap();
        let counted = oracle.anticone_within(blue, oracle.judged[block].blue_set);
        assert_eq!(usize::from(recorded.1), counted, "blue anticone of {blue} as {block} sees it");
        assert!(counted <= oracle.k);
    }
}

#[test]
fn a_hundred_thousand_small_dags_agree_with_the_oracle() {
    let mut reds = 0;
    for seed in 0..100_000u64 {
        let shape = Shape::random(seed, 18);
        let (dag, oracle) = (shape.build(0..shape.parents.len()), shape.oracle());
        for (block, judged) in oracle.judged.iter().enumerate() {
            let data = dag.ghostdag(&shape.hash(block)).unwrap().unwrap();
            let same = data.blue_work == judged.blue_work
                && data.mergeset_blues.iter().eq(judged
                    .mergeset_blues
                    .iter()
                    .map(|&b| shape.hash(b))
                    .collect::<Vec<_>>()
                    .iter())
                && data.mergeset_reds.iter().eq(judged
                    .mergeset_reds
                    .iter()
                    .map(|&b| shape.hash(b))
                    .collect::<Vec<_>>()
                    .iter());
            assert!(same, "seed {seed}, block {block}: {data:?} is not {judged:?}");
            reds += judged.mergeset_reds.len();
        }
    }
    println!("{reds} reds");
    assert!(reds > 50_000, "the shapes must make reds: {reds}");
}

#[test]
fn larger_dags_agree_in_every_field() {
    for seed in 0..400 {
        println!("seed {seed}");
        let shape = Shape::random(seed, 60);
        agree(&shape, &shape.build(0..shape.parents.len()), &shape.oracle());
    }
}

#[test]
fn the_order_of_insertion_does_not_matter() {
    for seed in 0..1_000 {
        let shape = Shape::random(seed, 40);
        let first = shape.build(0..shape.parents.len());
        let order = shape.shuffled(&mut Rng::new(seed + 1));
        let second = shape.build(order.iter().copied());
        let all = |_: &B256| Ok(true);
        assert_eq!(first.best(all).unwrap(), second.best(all).unwrap(), "seed {seed}");
        let sorted_tips = |dag: &Dag| {
            let mut tips = dag.tips();
            tips.sort_unstable();
            tips
        };
        assert_eq!(sorted_tips(&first), sorted_tips(&second), "seed {seed}");
        let sink = first.best(all).unwrap();
        assert_eq!(
            first.select_parents(&sink, all, |_| Ok(0), 3).unwrap(),
            second.select_parents(&sink, all, |_| Ok(0), 3).unwrap(),
            "seed {seed}"
        );
        for block in 0..shape.parents.len() {
            let hash = shape.hash(block);
            assert_eq!(
                first.ghostdag(&hash).unwrap(),
                second.ghostdag(&hash).unwrap(),
                "seed {seed}, block {block}, order {order:?}"
            );
            assert_eq!(
                first.blues_anticone_sizes(&hash).unwrap(),
                second.blues_anticone_sizes(&hash).unwrap(),
                "seed {seed}"
            );
            let data = first.ghostdag(&hash).unwrap().unwrap();
            let order = first.consensus_order_of_mergeset(&data).unwrap();
            assert_eq!(order, second.consensus_order_of_mergeset(&data).unwrap(), "seed {seed}");
            order_is_by_work_and_tie(&first, shape.tie_rule, &data.mergeset_reds, &order);
        }
    }
}

/// The property of AI weighting: whatever the classes of the parents are, the selected one has the same work. Where that is
/// the same block, so are the colours; only later blocks can come to others.
#[test]
fn classes_never_buy_work_at_one_step() {
    let (mut ties, mut decided) = (0, 0);
    for seed in 0..4_000 {
        let mut rng = Rng::new(seed ^ 0xa1);
        let shape = Shape { tie_rule: TieRule::LowerVrfHash, ..Shape::random(seed, 40) };
        // Classes of the blocks that nobody has as a parent yet: the rest of the past is as it is.
        let is_tip = |block: usize| !shape.parents.iter().any(|parents| parents.contains(&block));
        let tips: Vec<usize> = (1..shape.parents.len()).filter(|&block| is_tip(block)).collect();
        let mut relabelled = shape.clone();
        tips.iter().for_each(|&tip| relabelled.ai_class[tip] = rng.below(4) as u8);
        let (a, b) = (shape.build(0..shape.parents.len()), relabelled.build(0..shape.parents.len()));
        let parents: Vec<B256> = tips.iter().map(|&tip| shape.hash(tip)).collect();
        let (of_a, of_b) = (a.virtual_data(&parents).unwrap(), b.virtual_data(&parents).unwrap());
        let work = |tip: &B256| a.key(tip).unwrap().unwrap().blue_work;
        let most = parents.iter().map(work).max().unwrap();
        assert_eq!((work(&of_a.selected_parent), work(&of_b.selected_parent)), (most, most), "seed {seed}");
        ties += usize::from(parents.iter().filter(|tip| work(tip) == most).count() > 1);
        if of_a.selected_parent == of_b.selected_parent {
            assert_eq!(of_a, of_b, "seed {seed}");
            let orders = [a.consensus_order_of_mergeset(&of_a).unwrap(), b.consensus_order_of_mergeset(&of_b).unwrap()];
            assert_eq!(orders[0], orders[1], "seed {seed}");
        } else {
            decided += 1;
        }
    }
    assert!(ties > 1_000 && decided > 300, "the shapes must make ties: {ties}, of which classes decided {decided}");
}

fn order_is_by_work_and_tie(dag: &Dag, tie_rule: TieRule, reds: &[B256], order: &[Merged]) {
    let keys = order.iter().map(|merged| {
        let facts = dag.facts(&merged.hash).unwrap().unwrap();
        let vrf = if tie_rule == TieRule::LowerVrfHash { !facts.vrf_hash } else { B256::ZERO };
        (facts.blue_work, vrf, facts.hash)
    });
    assert!(keys.is_sorted_by(|a, b| a < b), "{tie_rule:?}");
    for (place, merged) in order.iter().enumerate() {
        assert_eq!(merged.is_blue, !reds.contains(&merged.hash));
        assert!(order[..place].iter().all(|earlier| !dag.is_ancestor(&merged.hash, &earlier.hash).unwrap()));
    }
}

/// The interval tree alone, with any parent as the tree parent.
#[test]
fn the_tree_agrees_with_whole_pasts() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let shape = Shape::random(seed, 300);
        let pasts = Pasts::of(&shape.parents);
        let mut tree = Reachability::new();
        for (block, parents) in shape.parents.iter().enumerate().skip(1) {
            // The newest parent cannot be in the past of another one.
            let parent = if rng.below(3) > 0 { parents[parents.len() - 1] } else { lonely(parents, &pasts, &mut rng) };
            let merged: Vec<u64> = (0..block)
                .filter(|&other| pasts.contains(block, other) && other != parent && !pasts.contains(parent, other))
                .map(|other| other as u64)
                .collect();
            tree.add(parent as u64, merged, &mut Vec::new()).unwrap();
        }
        for b in 0..shape.parents.len() {
            for a in 0..shape.parents.len() {
                let expected = pasts.contains(b, a);
                let found = tree.is_ancestor(a as u64, b as u64).unwrap();
                assert_eq!(found, expected, "seed {seed}: {a} in the past of {b}");
            }
        }
    }
}

/// A random parent that is in the past of no other parent.
fn lonely(parents: &[usize], pasts: &Pasts, rng: &mut Rng) -> usize {
    let free: Vec<usize> =
        parents.iter().copied().filter(|&p| parents.iter().all(|&other| !pasts.contains(other, p))).collect();
    free[rng.below(free.len())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same comparison on shapes that shrink to a small example when they fail.
    #[test]
    fn shrinking_dags_agree_in_every_field(
        picks in vec(vec(0usize..8, 1..5), 1..40),
        k in 0u16..5,
        salt in any::<u64>(),
        by_vrf in any::<bool>(),
    ) {
        let mut parents = vec![vec![]];
        for (at, picks) in picks.iter().enumerate() {
            let mut list: Vec<usize> = picks.iter().map(|&back| at.saturating_sub(back)).collect();
            list.sort_unstable();
            list.dedup();
            parents.push(list);
        }
        let tie_rule = if by_vrf { TieRule::LowerVrfHash } else { TieRule::GreaterHash };
        let ai_class = (0..parents.len()).map(|block| (salt >> (block % 32) & 3) as u8).collect();
        let shape = Shape { work: vec![1; parents.len()], ai_class, parents, k, tie_rule, salt };
        agree(&shape, &shape.build(0..shape.parents.len()), &shape.oracle());
    }
}
