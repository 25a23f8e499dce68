//! `lattice dag`: the newest part of the DAG as text, oldest first; `lattice dag k`: GHOSTDAG's parameter.

use super::{NodeArgs, Output, dag_k};
use crate::{client::quantity, failure::Failure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Arguments of `lattice dag`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    tool: Option<Tool>,
    /// How many blocks
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    #[command(flatten)]
    node: NodeArgs,
}

/// Tools about DAGs that need no node.
#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// Compute GHOSTDAG's k for a block rate and a network delay
    K(dag_k::Args),
}

/// `lattice dag`.
pub fn run(args: Args, output: Output) -> Result<(), Failure> {
    if let Some(Tool::K(args)) = &args.tool {
        return dag_k::run(args, output);
    }
    let dag = args.node.client()?.call("lattice_getDag", json!([args.limit]))?;
    output.print(&dag, || draw(&dag))
}

/// Draws the answer of `lattice_getDag`: a line a block, the newest last.
///
/// The first column marks the selected chain `█`, blue blocks `│ ●`, red ones `│ ○` and blocks that nothing has merged
/// yet `│ ·`; a tip has `◄ tip` behind it, the sink `◄ sink`.
pub fn draw(dag: &Value) -> String {
    let none = Vec::new();
    let blocks = dag["blocks"].as_array().unwrap_or(&none);
    let tips = hashes(&dag["tips"]);
    let sink = dag["sink"].as_str().unwrap_or_default();
    let blues: BTreeSet<&str> = blocks.iter().flat_map(|block| hashes(&block["mergesetBlues"])).collect();
    let reds: BTreeSet<&str> = blocks.iter().flat_map(|block| hashes(&block["mergesetReds"])).collect();
    let mut lines = Vec::with_capacity(blocks.len() + 2);
    for block in blocks.iter().rev() {
        let hash = block["hash"].as_str().unwrap_or_default();
        let is_chain = block["isChain"].as_bool().unwrap_or_default();
        let mark = match () {
            () if is_chain => "█  ",
            () if reds.contains(hash) => "│ ○",
            () if blues.contains(hash) => "│ ●",
            () => "│ ·",
        };
        let label = match () {
            () if hash == sink => " ◄ sink",
            () if tips.contains(&hash) => " ◄ tip",
            () => "",
        };
        lines.push(format!("{mark} {}{label}", line(block, hash)));
    }
    lines.push(format!("█ selected chain  ● blue  ○ red  · not merged yet   {} tip(s)", tips.len()));
    lines.join("\n")
}

fn line(block: &Value, hash: &str) -> String {
    let parents: Vec<String> = hashes(&block["parents"]).into_iter().map(short).collect();
    let parents = if parents.is_empty() { "genesis".to_owned() } else { format!("← {}", parents.join(" ")) };
    let mut text = format!("{}  score {}", short(hash), number(&block["blueScore"]));
    if let Some(evm) = some_number(&block["evmNumber"]) {
        text.push_str(&format!("  evm {evm}"));
    }
    text.push_str(&format!("  {} tx  {parents}", number(&block["transactions"])));
    if block["status"] == "disqualified" {
        text.push_str("  disqualified");
    }
    text
}

fn hashes(value: &Value) -> Vec<&str> {
    value.as_array().map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn some_number(value: &Value) -> Option<u64> {
    quantity(value).or_else(|| value.as_u64())
}

fn number(value: &Value) -> String {
    some_number(value).map_or_else(|| "?".into(), |number| number.to_string())
}

/// The first eight digits of a hash.
pub fn short(hash: &str) -> String {
    hash.trim_start_matches("0x").chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, parents: &[&str], score: u64, chain: bool, blues: &[&str], reds: &[&str]) -> Value {
        json!({
            "hash": name, "parents": parents, "blueScore": format!("{score:#x}"), "isChain": chain,
            "mergesetBlues": blues, "mergesetReds": reds, "transactions": "0x1", "status": "valid",
            "evmNumber": chain.then(|| format!("{score:#x}")),
        })
    }

    #[test]
    fn a_small_dag_is_drawn() {
        let dag = json!({ "sink": "0xd", "tips": ["0xd", "0xe"], "blocks": [
            block("0xe", &["0xb"], 2, false, &[], &[]),
            block("0xd", &["0xb", "0xc"], 3, true, &["0xc"], &[]),
            block("0xc", &["0xa"], 1, false, &[], &[]),
            block("0xb", &["0xa"], 1, true, &[], &[]),
            block("0xa", &[], 0, true, &[], &[]),
        ]});
        let expected = "\
█   a  score 0  evm 0  1 tx  genesis
█   b  score 1  evm 1  1 tx  ← a
│ ● c  score 1  1 tx  ← a
█   d  score 3  evm 3  1 tx  ← b c ◄ sink
│ · e  score 2  1 tx  ← b ◄ tip
█ selected chain  ● blue  ○ red  · not merged yet   2 tip(s)";
        assert_eq!(draw(&dag), expected);
    }

    #[test]
    fn red_and_disqualified_blocks_are_marked() {
        let mut bad = block("0xr", &["0xa"], 1, false, &[], &[]);
        bad["status"] = json!("disqualified");
        let dag = json!({ "sink": "0xd", "tips": ["0xd"], "blocks": [
            block("0xd", &["0xa", "0xr"], 1, true, &[], &["0xr"]), bad,
        ]});
        assert!(draw(&dag).starts_with("│ ○ r  score 1  1 tx  ← a  disqualified\n"), "{}", draw(&dag));
    }
}
