//! DAGs as text: `B <- A; C <- A; D <- B C` gives block D the parents B and C. The first name used as a parent is
//! genesis. Hashes are the names' bytes, so that ties go as the names sort.

use alloy_primitives::B256;
use lattice_consensus::{BlockFacts, Dag, DagParams, TieRule};
use lattice_storage::Batch;

pub fn hash(name: &str) -> B256 {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    B256::new(bytes)
}

pub fn name(hash: &B256) -> String {
    String::from_utf8(hash.iter().copied().take_while(|&byte| byte != 0).collect()).unwrap()
}

/// Names in the order given, joined by spaces.
pub fn names<'a>(hashes: impl IntoIterator<Item = &'a B256>) -> String {
    hashes.into_iter().map(name).collect::<Vec<_>>().join(" ")
}

/// Facts with sorted parents and no claims.
pub fn facts(hash: B256, mut parents: Vec<B256>, slot: u64) -> BlockFacts {
    parents.sort_unstable();
    BlockFacts {
        hash,
        parents,
        slot,
        vrf_hash: hash,
        ai_class: 0,
        work: 1,
        blue_score: 0,
        blue_work: 0,
        newest_pruning_point: B256::ZERO,
    }
}

pub const fn params(k: u16) -> DagParams {
    DagParams {
        k,
        parents_max: 24,
        mergeset_max: 180,
        merge_depth: 2_400,
        pruning_depth: u64::MAX,
        tie_rule: TieRule::GreaterHash,
    }
}

/// Adds the blocks of a text; slots rise in the order written. Returns the last block.
pub fn extend(dag: &mut Dag, text: &str) -> B256 {
    let mut last = dag.genesis();
    for line in text.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        let (block, parents) = line.split_once("<-").expect("BLOCK <- PARENTS");
        let parents = parents.split_whitespace().map(hash).collect();
        last = hash(block.trim());
        let prepared = dag.check_nothing(&facts(last, parents, dag.len())).unwrap();
        dag.insert(prepared, &mut Batch::new()).unwrap();
    }
    last
}

pub fn dag(params: DagParams, text: &str) -> Dag {
    let genesis = text.split_once("<-").unwrap().1.split([';', '\n']).next().unwrap().trim();
    let mut dag = Dag::new(&facts(hash(genesis), vec![], 0), params, &mut Batch::new());
    extend(&mut dag, text);
    dag
}

/// The same facts with the claims that are true in this DAG.
pub fn claiming(dag: &Dag, bare: BlockFacts) -> BlockFacts {
    let data = dag.virtual_data(&bare.parents).unwrap();
    let newest_pruning_point = dag.pruning_point_above(&data.selected_parent).unwrap().unwrap();
    BlockFacts { blue_score: data.blue_score, blue_work: data.blue_work, newest_pruning_point, ..bare }
}
