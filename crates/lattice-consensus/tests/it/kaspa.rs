//! Kaspa's vectors, every field of every block: its labelled DAGs, its replay of 5,000 blocks, DAGs of 10,000 blocks with
//! many reds, and its reachability attacks.

use std::{collections::BTreeMap, fs};

use alloy_primitives::{B256, U256, hex};
use lattice_consensus::{BlockFacts, Dag, DagParams, TieRule};
use lattice_storage::Batch;
use serde::Deserialize;

use crate::{
    oracle::Pasts,
    text::{facts, hash, name},
    vectors,
};

const fn unlimited(k: u16) -> DagParams {
    DagParams::unlimited(k, TieRule::GreaterHash)
}

fn insert(dag: &mut Dag, facts: &BlockFacts) {
    let prepared = dag.check_nothing(facts).unwrap();
    dag.insert(prepared, &mut Batch::new()).unwrap();
}

#[derive(Deserialize)]
struct LabelledDag {
    #[serde(rename = "K")]
    k: u16,
    #[serde(rename = "GenesisID")]
    genesis: String,
    #[serde(rename = "ExpectedReds", default)]
    reds: Vec<String>,
    #[serde(rename = "Blocks")]
    blocks: Vec<LabelledBlock>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LabelledBlock {
    #[serde(rename = "ID")]
    id: String,
    parents: Vec<String>,
    expected_score: u64,
    expected_selected_parent: String,
    expected_blues: Vec<String>,
    expected_reds: Vec<String>,
}

#[test]
fn kaspas_labelled_dags() {
    let Some(folder) = vectors::ghostdag() else { return };
    for file in 0..6 {
        let path = folder.join(format!("kaspa-dags/dag{file}.json"));
        let vector: LabelledDag = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let genesis = facts(hash(&vector.genesis), vec![], 0);
        let mut dag = Dag::new(&genesis, unlimited(vector.k), &mut Batch::new());
        for block in &vector.blocks {
            let parents = block.parents.iter().map(|parent| hash(parent)).collect();
            insert(&mut dag, &facts(hash(&block.id), parents, 1));
            let data = dag.ghostdag(&hash(&block.id)).unwrap().unwrap();
            let place = format!("dag{file} block {}", block.id);
            assert_eq!(data.blue_score, block.expected_score, "{place}");
            assert_eq!(data.blue_work, u128::from(block.expected_score), "{place}: work 1 each");
            assert_eq!(name(&data.selected_parent), block.expected_selected_parent, "{place}");
            let all = |hashes: &[B256]| hashes.iter().map(name).collect::<Vec<_>>();
            assert_eq!(all(&data.mergeset_blues), block.expected_blues, "{place}");
            assert_eq!(all(&data.mergeset_reds), block.expected_reds, "{place}");
        }
        if !vector.reds.is_empty() {
            assert_eq!(reds_of_the_whole_dag(&dag), sorted(vector.reds), "dag{file}");
        }
    }
}

/// What a block over all tips does not count as blue.
fn reds_of_the_whole_dag(dag: &Dag) -> Vec<String> {
    let mut blocks = vec![dag.virtual_data(&dag.tips()).unwrap()];
    let mut reds = Vec::new();
    while let Some(data) = blocks.pop() {
        reds.extend(data.mergeset_reds.iter().map(name));
        blocks.extend(dag.ghostdag(&data.selected_parent).unwrap());
    }
    sorted(reds)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[derive(Deserialize)]
struct RedsHead {
    k: u16,
    genesis: B256,
    blocks: usize,
}

#[derive(Deserialize)]
struct RedsBlock {
    hash: B256,
    parents: Vec<usize>,
    sp: usize,
    blues: Vec<usize>,
    reds: Vec<usize>,
    blue_score: u64,
    blue_work: u128,
}

fn labelled_10k(name: &str) {
    let Some(folder) = vectors::ghostdag() else { return };
    let mut lines = vectors::lines(&folder.join("labelled-10k").join(name));
    let head: RedsHead = serde_json::from_str(&lines.next().unwrap()).unwrap();
    let mut dag = Dag::new(&facts(head.genesis, vec![], 0), unlimited(head.k), &mut Batch::new());
    let mut hashes = vec![head.genesis];
    let mut reds = 0;
    for line in lines {
        let block: RedsBlock = serde_json::from_str(&line).unwrap();
        let all = |list: &[usize]| list.iter().map(|&index| hashes[index]).collect::<Vec<_>>();
        insert(&mut dag, &facts(block.hash, all(&block.parents), 1));
        let data = dag.ghostdag(&block.hash).unwrap().unwrap();
        let place = hashes.len();
        assert_eq!(data.selected_parent, hashes[block.sp], "block {place}");
        assert_eq!(data.mergeset_blues, all(&block.blues), "block {place}");
        assert_eq!(data.mergeset_reds, all(&block.reds), "block {place}");
        assert_eq!((data.blue_score, data.blue_work), (block.blue_score, block.blue_work), "block {place}");
        reds += block.reds.len();
        hashes.push(block.hash);
    }
    // `blocks` may or may not count genesis.
    assert!(hashes.len() == head.blocks || hashes.len() == head.blocks + 1, "{} blocks", hashes.len());
    println!("{name}: {} blocks, {reds} reds", hashes.len());
}

#[test]
fn ten_thousand_blocks_at_k_18() {
    labelled_10k("gd-bps1-d2-k18-n10000.jsonl.gz");
}

#[test]
fn ten_thousand_blocks_at_k_26() {
    labelled_10k("gd-bps4-d2-k26-n10000.jsonl.gz");
}

#[test]
fn ten_thousand_blocks_at_k_55() {
    labelled_10k("gd-bps10-d2-k55-n10000.jsonl.gz");
}

#[test]
fn ten_thousand_blocks_at_k_124() {
    labelled_10k("gd-bps10-d5-k124-n10000.jsonl.gz");
}

#[derive(Deserialize)]
struct ReplayLine {
    header: ReplayHeader,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplayHeader {
    hash: B256,
    parents_by_level: Vec<Vec<B256>>,
    bits: u32,
    blue_work: String,
    blue_score: u64,
}

/// Expected hashes to find a block by Bitcoin's compact target: 2^256 / (target + 1).
fn work_of(bits: u32) -> u128 {
    let (exponent, mantissa) = (bits >> 24, U256::from(bits & 0x00ff_ffff));
    let target = if exponent <= 3 { mantissa >> (8 * (3 - exponent)) } else { mantissa << (8 * (exponent - 3)) };
    let work = !target / (target + U256::from(1)) + U256::from(1);
    work.to()
}

fn replay(folder: &str) {
    let Some(root) = vectors::ghostdag() else { return };
    let mut lines = vectors::lines(&root.join("kaspa-goref").join(folder).join("blocks.json.gz"));
    let parameters: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    let k = parameters["blockrate"]["ghostdag_k"].as_u64().unwrap() as u16;
    let mut dag: Option<Dag> = None;
    for line in lines.filter(|line| !line.is_empty()) {
        let ReplayLine { header } = serde_json::from_str(&line).unwrap();
        let parents = header.parents_by_level.first().cloned().unwrap_or_default();
        let block = BlockFacts { work: work_of(header.bits), ..facts(header.hash, parents, 1) };
        let dag = match &mut dag {
            None => dag.insert(Dag::new(&block, unlimited(k), &mut Batch::new())),
            Some(dag) => {
                insert(dag, &block);
                dag
            }
        };
        let data = dag.ghostdag(&header.hash).unwrap().unwrap();
        let blue_work = u128::from_be_bytes(hex::decode(&header.blue_work).unwrap()[8..].try_into().unwrap());
        assert_eq!((data.blue_score, data.blue_work), (header.blue_score, blue_work), "{}", header.hash);
    }
    println!("{folder}: {} blocks, k = {k}", dag.unwrap().len());
}

#[test]
fn kaspas_replay_of_5000_blocks() {
    replay("goref-notx-5000-blocks");
}

#[test]
fn kaspas_replay_of_265_blocks() {
    replay("goref-1060-tx-265-blocks");
}

#[derive(Deserialize)]
struct PlainBlock {
    id: String,
    parents: Vec<String>,
}

/// Ancestry against full pasts as bit sets, for `stride`-spaced pairs.
fn reachability(kind: &str, log_size: u32, stride: usize) {
    let Some(folder) = vectors::ghostdag() else { return };
    let file = format!("kaspa-reachability/{kind}-dag-blocks--2^{log_size}-delay-factor--1-k--18.json.gz");
    let blocks: Vec<PlainBlock> = serde_json::from_str(&vectors::text(&folder.join(file))).unwrap();
    let indices: BTreeMap<&str, usize> = blocks.iter().enumerate().map(|(i, block)| (block.id.as_str(), i)).collect();
    let parents: Vec<Vec<usize>> =
        blocks.iter().map(|block| block.parents.iter().map(|parent| indices[parent.as_str()]).collect()).collect();
    let pasts = Pasts::of(&parents);
    let hashes: Vec<B256> = blocks.iter().map(|block| hash(&block.id)).collect();
    let mut dag = Dag::new(&facts(hashes[0], vec![], 0), unlimited(18), &mut Batch::new());
    for (block, parents) in parents.iter().enumerate().skip(1) {
        insert(&mut dag, &facts(hashes[block], parents.iter().map(|&parent| hashes[parent]).collect(), 1));
    }
    let mut pairs = 0u64;
    for b in 0..blocks.len() {
        // Another phase for each b, so that all distances occur.
        for a in (b % stride..blocks.len()).step_by(stride) {
            assert_eq!(
                dag.is_ancestor(&hashes[a], &hashes[b]).unwrap(),
                pasts.contains(b, a),
                "{a} in the past of {b}"
            );
            pairs += 1;
        }
    }
    println!("{kind} 2^{log_size}: {pairs} pairs");
}

#[test]
fn reachability_of_attack_dags() {
    reachability("attack", 12, 1);
    reachability("attack", 13, 3);
    reachability("attack", 14, 11);
}

#[test]
fn reachability_of_honest_dags() {
    reachability("noattack", 12, 1);
    reachability("noattack", 13, 3);
    reachability("noattack", 14, 11);
}
