//! DAGs without labels: ancestry, compared with a plain search.

use super::{Case, Labelled, list, named};
use alloy_primitives::B256;
use lattice_consensus::Dag;
use serde_json::Value;
use std::collections::BTreeMap;

/// The k of Kaspa's attack DAGs, which their files do not say. Ancestry does not depend on it.
const K: u16 = 18;
/// Pairs of blocks compared at most, spread over all distances.
const PAIRS_MAX: usize = 4_000_000;

/// Whether a value is such a DAG: `[{id, parents}, ..]`.
pub(super) fn is_plain(value: &Value) -> bool {
    let blocks = value.as_array().map_or(&[][..], Vec::as_slice);
    !blocks.is_empty() && blocks.iter().all(|block| block.get("id").is_some() && block.get("parents").is_some())
}

pub(super) fn plain(value: &Value) -> Result<Case, String> {
    let mut blocks = Vec::new();
    for block in value.as_array().map_or(&[][..], Vec::as_slice) {
        let parents = list(block, "parents")?.unwrap_or_default().iter().map(id).collect::<Result<_, _>>()?;
        blocks.push(Labelled { hash: id(&block["id"])?, parents, work: 1, ..Labelled::default() });
    }
    Ok(Case { family: "reachability DAGs", k: K, blocks, reds: None, is_searched: true })
}

/// `1` and `"1"` are one name.
fn id(value: &Value) -> Result<B256, String> {
    let number = value.as_str().and_then(|name| name.parse::<u64>().ok());
    number.map_or_else(|| named(value), |number| named(&number.into()))
}

/// Compares the DAG's answers with a breadth-first search from blocks all over it.
pub(super) fn search(case: &Case, dag: &Dag) -> Result<(), String> {
    let len = case.blocks.len();
    let places: BTreeMap<B256, usize> = case.blocks.iter().enumerate().map(|(at, block)| (block.hash, at)).collect();
    let parents: Vec<Vec<usize>> =
        case.blocks.iter().map(|block| block.parents.iter().map(|parent| places[parent]).collect()).collect();
    let stride = (len * len).div_ceil(PAIRS_MAX).max(1);
    let mut seen = vec![false; len];
    // The last block is always one of them: it has the largest past.
    for b in (0..len).rev().step_by(stride) {
        seen.fill(false);
        let mut open = vec![b];
        while let Some(block) = open.pop() {
            for &parent in &parents[block] {
                if !std::mem::replace(&mut seen[parent], true) {
                    open.push(parent);
                }
            }
        }
        for (a, &in_past) in seen.iter().enumerate() {
            let (ancestor, block) = (&case.blocks[a].hash, &case.blocks[b].hash);
            let found = dag.is_ancestor(ancestor, block).map_err(|fault| fault.to_string())?;
            if found != in_past {
                return Err(format!(
                    "is block {a} in the past of block {b}: the search says {in_past}, the DAG {found}"
                ));
            }
        }
    }
    Ok(())
}
