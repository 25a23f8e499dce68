//! Kaspa's own vectors: small labelled DAGs, and replays of its chain's headers.

use super::{Case, Labelled, all_named, k_of, list, named};
use alloy_primitives::{U256, hex};
use serde_json::Value;

/// Whether a value is one of the labelled DAGs.
pub(super) fn is_labelled(value: &Value) -> bool {
    value.get("K").is_some() && value.get("GenesisID").is_some() && value.get("Blocks").is_some_and(Value::is_array)
}

/// `{K, GenesisID, ExpectedReds, Blocks: [{ID, Parents, Expected..}]}`, every block of work 1.
pub(super) fn labelled(value: &Value) -> Result<Case, String> {
    let mut blocks = vec![Labelled { hash: named(&value["GenesisID"])?, work: 1, ..Labelled::default() }];
    for block in list(value, "Blocks")?.unwrap_or_default() {
        let score = block.get("ExpectedScore").filter(|score| !score.is_null());
        let score = score.map(|score| score.as_u64().ok_or_else(|| format!("ExpectedScore is no number: {score}")));
        let blue_score = score.transpose()?;
        blocks.push(Labelled {
            hash: named(&block["ID"])?,
            parents: all_named(list(block, "Parents")?.unwrap_or_default())?,
            work: 1,
            selected_parent: block.get("ExpectedSelectedParent").map(named).transpose()?,
            blues: list(block, "ExpectedBlues")?.map(all_named).transpose()?,
            reds: list(block, "ExpectedReds")?.map(all_named).transpose()?,
            blue_score,
            blue_work: blue_score.map(u128::from),
        });
    }
    // Some of the files leave the list empty without meaning that there are no reds.
    let reds = list(value, "ExpectedReds")?.filter(|reds| !reds.is_empty()).map(all_named).transpose()?;
    let reds = reds.map(|mut reds| {
        reds.sort_unstable();
        reds
    });
    Ok(Case { family: "Kaspa's labelled DAGs", k: k_of(&value["K"])?, blocks, reds, is_searched: false })
}

/// Whether a first line holds the parameters of a replay.
pub(super) fn is_replay_head(head: &Value) -> bool {
    replay_k(head).is_some()
}

fn replay_k(head: &Value) -> Option<&Value> {
    head.get("blockrate").and_then(|rate| rate.get("ghostdag_k")).or_else(|| head.get("ghostdag_k"))
}

/// Parameters, then `{header: {..}}` a line; headers claim blue score and blue work, counted from the first one's.
pub(super) fn replay(head: &Value, lines: &mut dyn Iterator<Item = Result<Value, String>>) -> Result<Case, String> {
    let k = k_of(replay_k(head).ok_or("no ghostdag_k")?)?;
    let mut blocks: Vec<Labelled> = Vec::new();
    let mut base = (0, 0);
    for line in lines {
        let line = line?;
        let header = line.get("header").unwrap_or(&line);
        let mut block = replayed(header).map_err(|error| format!("header {}: {error}", blocks.len()))?;
        if blocks.is_empty() {
            base = (block.blue_score.unwrap_or_default(), block.blue_work.unwrap_or_default());
            block.parents.clear();
        }
        block.blue_score = block.blue_score.map(|score| score.wrapping_sub(base.0));
        block.blue_work = block.blue_work.map(|work| work.wrapping_sub(base.1));
        blocks.push(block);
    }
    Ok(Case { family: "Kaspa's replays", k, blocks, reds: None, is_searched: false })
}

fn replayed(header: &Value) -> Result<Labelled, String> {
    let parents = match (list(header, "parentsByLevel")?, list(header, "parents")?) {
        (Some(levels), _) => levels.first().and_then(Value::as_array).map_or(&[][..], Vec::as_slice),
        (None, parents) => parents.unwrap_or_default(),
    };
    let bits = header["bits"].as_u64().and_then(|bits| u32::try_from(bits).ok()).ok_or("no bits")?;
    let blue_work = match header.get("blueWork").and_then(Value::as_str) {
        None => None,
        Some(text) => Some(work_from_hex(text)?),
    };
    Ok(Labelled {
        hash: named(&header["hash"])?,
        parents: all_named(parents)?,
        work: work_of(bits)?,
        blue_score: header.get("blueScore").and_then(Value::as_u64),
        blue_work,
        ..Labelled::default()
    })
}

fn work_from_hex(text: &str) -> Result<u128, String> {
    let digits = text.trim_start_matches("0x");
    let even = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
    let bytes = hex::decode(even).map_err(|error| format!("blue work {text}: {error}"))?;
    let work = U256::try_from_be_slice(&bytes).ok_or_else(|| format!("blue work {text} is too long"))?;
    u128::try_from(work).map_err(|_| format!("blue work {text} does not fit 128 bits"))
}

/// Expected hashes to find a block by Bitcoin's compact target: 2^256 / (target + 1).
fn work_of(bits: u32) -> Result<u128, String> {
    let (exponent, mantissa) = (bits >> 24, U256::from(bits & 0x00ff_ffff));
    let target = match exponent {
        0..=3 => mantissa >> (8 * (3 - exponent)),
        4..=32 => mantissa << (8 * (exponent - 3)),
        _ => return Err(format!("bits {bits:#x} are no target")),
    };
    if target == U256::ZERO || target == U256::MAX {
        return Err(format!("bits {bits:#x} are no target"));
    }
    let work = !target / (target + U256::from(1)) + U256::from(1);
    u128::try_from(work).map_err(|_| format!("the work of bits {bits:#x} does not fit 128 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_follows_the_target() {
        assert_eq!(work_of(0x1d00_ffff), Ok(0x1_0001_0001), "Bitcoin's first difficulty");
        assert_eq!(work_of(0x207f_ffff), Ok(2));
        assert!(work_of(0).is_err() && work_of(0xff00_0001).is_err());
        assert_eq!(work_from_hex("0x10"), Ok(16));
        assert!(work_from_hex(&"f".repeat(48)).is_err());
    }
}
