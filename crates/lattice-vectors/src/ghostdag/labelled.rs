//! DAGs as JSON lines: `{k, genesis, ..}`, then a block a line with its labels. Blocks name others by their place,
//! genesis being 0, or by hash.

use super::{Case, Labelled, k_of, list, named};
use alloy_primitives::B256;
use serde_json::Value;

/// Whether a first line begins such a DAG.
pub(super) fn is_head(head: &Value) -> bool {
    head.get("k").is_some() && head.get("genesis").is_some()
}

pub(super) fn read(head: &Value, lines: &mut dyn Iterator<Item = Result<Value, String>>) -> Result<Case, String> {
    let genesis = named(&head["genesis"])?;
    let mut hashes = vec![genesis];
    let mut blocks = vec![Labelled { hash: genesis, work: 1, ..Labelled::default() }];
    for line in lines {
        let line = line?;
        let hash = named(&line["hash"]).map_err(|error| format!("block {}: hash: {error}", hashes.len()))?;
        // Genesis may stand among the blocks too.
        if hash == genesis {
            continue;
        }
        blocks.push(block(hash, &line, &hashes).map_err(|error| format!("block {}: {error}", hashes.len()))?);
        hashes.push(hash);
    }
    Ok(Case { family: "labelled DAGs", k: k_of(&head["k"])?, blocks, reds: None, is_searched: false })
}

fn block(hash: B256, line: &Value, hashes: &[B256]) -> Result<Labelled, String> {
    let at = |value: &Value| match value.as_u64() {
        None => named(value),
        Some(place) => {
            let found = usize::try_from(place).ok().and_then(|place| hashes.get(place));
            found.copied().ok_or_else(|| format!("names block {place}, which is not before it"))
        }
    };
    let all = |list: &[Value]| list.iter().map(at).collect::<Result<Vec<_>, _>>();
    let field = |name: &str| line.get(name).filter(|value| !value.is_null());
    let number = |name: &str| {
        let digits = field(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        digits.map(|digits| digits.parse::<u128>().map_err(|error| format!("{name} {digits}: {error}"))).transpose()
    };
    let blue_score = number("blue_score")?.map(u64::try_from).transpose();
    Ok(Labelled {
        hash,
        parents: list(line, "parents")?.map(all).transpose()?.unwrap_or_default(),
        work: number("work")?.unwrap_or(1),
        selected_parent: field("sp").or_else(|| field("selected_parent")).map(at).transpose()?,
        blues: list(line, "blues")?.map(all).transpose()?,
        reds: list(line, "reds")?.map(all).transpose()?,
        blue_score: blue_score.map_err(|_| "blue_score does not fit 64 bits".to_owned())?,
        blue_work: number("blue_work")?,
    })
}
