//! The block DAG: what Ethereum's namespaces do not show.

use crate::{
    api::{Api, Row, Run},
    eth::blocks::find,
    jsonrpc::{Answer, reply},
    params::{Params, Quantity},
};
use alloy_primitives::{B256, Bytes, U8, U64, U128};
use alloy_rpc_types_eth::BlockId;
use lattice_chain::{BlockStatus, DagFacts, StorageFault, View};
use lattice_types::Cid;
use serde::Serialize;
use serde_json::json;

/// DAG blocks in one answer, by default and at most.
const DAG_LIMIT: u64 = 50;
const DAG_LIMIT_MAX: u64 = 1_000;

pub(super) const METHODS: &[Row] = &[
    ("lattice_getDag", 1, Run::Long(dag)),
    ("lattice_getDagBlock", 1, Run::Quick(block)),
    ("lattice_getExecution", 1, Run::Quick(execution)),
    ("lattice_getPruningPoints", 2, Run::Long(pruning_points)),
];

/// A DAG block in its JSON form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DagBlockJson {
    hash: B256,
    parents: Vec<B256>,
    slot: U64,
    proposer: U64,
    blue_score: U64,
    blue_work: U128,
    newest_pruning_point: B256,
    ai_class: U8,
    ai_score: U64,
    selected_parent: Option<B256>,
    mergeset_blues: Vec<B256>,
    mergeset_reds: Vec<B256>,
    status: &'static str,
    is_chain: bool,
    evm_number: Option<U64>,
    evm_hash: B256,
    transactions: U64,
    vrf_hash: B256,
    model_root: B256,
    inference_root: B256,
    training_root: B256,
    artifact_cid: Option<Cid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_hashes: Option<Vec<B256>>,
}

impl From<DagFacts> for DagBlockJson {
    fn from(facts: DagFacts) -> Self {
        let vrf_hash = facts.header.vrf_hash();
        Self {
            hash: facts.hash,
            slot: U64::from(facts.header.slot),
            proposer: U64::from(facts.header.proposer),
            blue_score: U64::from(facts.header.blue_score),
            blue_work: U128::from(facts.header.blue_work),
            newest_pruning_point: facts.header.newest_pruning_point,
            ai_class: U8::from(facts.header.ai_class),
            ai_score: U64::from(facts.ai_score),
            selected_parent: facts.selected_parent,
            mergeset_blues: facts.mergeset_blues,
            mergeset_reds: facts.mergeset_reds,
            status: match facts.status {
                BlockStatus::Valid => "valid",
                BlockStatus::Disqualified => "disqualified",
                BlockStatus::NotExecuted => "notExecuted",
            },
            is_chain: facts.evm_number.is_some(),
            evm_number: facts.evm_number.map(U64::from),
            evm_hash: facts.header.evm_hash,
            transactions: U64::from(facts.tx_count),
            vrf_hash,
            model_root: facts.header.model_root,
            inference_root: facts.header.inference_root,
            training_root: facts.header.training_root,
            artifact_cid: facts.header.artifact_cid.0,
            parents: facts.header.parents,
            transaction_hashes: None,
        }
    }
}

fn dag(api: &Api, params: &mut Params<'_>) -> Answer {
    let limit = params.optional("limit")?.map_or(DAG_LIMIT, |Quantity(limit)| limit).min(DAG_LIMIT_MAX);
    let view = api.view();
    let blocks: Vec<DagBlockJson> = view.recent_dag(limit as usize)?.into_iter().map(Into::into).collect();
    reply(&json!({ "sink": view.sink(), "tips": view.tips(), "blocks": blocks }))
}

fn block(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("DAG block hash")?;
    let view = api.view();
    let Some(facts) = view.dag_facts(&hash)? else { return reply(&()) };
    let mut json = DagBlockJson::from(facts);
    json.transaction_hashes = Some(transaction_hashes(&view, &hash)?);
    reply(&json)
}

/// Headers of the pruning points, which outlive pruning: the hash of each is keccak of its RLP. Each names the one before it,
/// and `head`, the newest finalised block's, the newest.
fn pruning_points(api: &Api, params: &mut Params<'_>) -> Answer {
    let offset = params.optional("offset")?.map_or(0, |Quantity(offset)| offset);
    let limit = params.optional("limit")?.map_or(DAG_LIMIT, |Quantity(limit)| limit).min(DAG_LIMIT_MAX);
    let (all, head) = api.view().pruning_proof()?;
    let points = all.iter().skip(offset as usize).take(limit as usize).map(|header| {
        json!({
            "hash": header.hash(),
            "slot": U64::from(header.slot),
            "blueScore": U64::from(header.blue_score),
            "header": Bytes::from(alloy_rlp::encode(header)),
        })
    });
    let points: Vec<_> = points.collect();
    reply(&json!({ "total": U64::from(all.len()), "head": Bytes::from(alloy_rlp::encode(head)), "points": points }))
}

fn transaction_hashes(view: &View, hash: &B256) -> Result<Vec<B256>, StorageFault> {
    let block = view.dag_block(hash)?;
    Ok(block.map_or_else(Vec::new, |block| block.block().body.transactions.iter().map(|tx| *tx.hash()).collect()))
}

fn execution(api: &Api, params: &mut Params<'_>) -> Answer {
    let block: BlockId = params.optional("block")?.unwrap_or_default();
    let view = api.view();
    let Some(block) = find(&view, block)? else { return reply(&()) };
    let skipped = block.skipped.iter().map(|skipped| {
        json!({
            "hash": skipped.hash,
            "carrier": skipped.carrier,
            "index": U64::from(skipped.index),
            "reason": skipped.reason,
        })
    });
    reply(&json!({
        "number": U64::from(block.header.number),
        "hash": api.facts.of(&block).hash,
        "dagHash": block.dag_hash,
        "executed": block.executed,
        "skipped": skipped.collect::<Vec<_>>(),
    }))
}
