//! The `lattice_` namespace: the DAG under the chain, models, inferences, artifacts. `docs/rpc.md` is its reference.

mod ai_gas;
mod dag;
mod inference;
mod models;
mod records;

use crate::{
    api::{Api, Row, Run},
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_primitives::{U64, U256};
use lattice_chain::Lane;
use serde_json::json;

const OWN: &[Row] = &[("lattice_status", 0, Run::Quick(status))];

/// All methods of the namespace.
pub(crate) fn methods() -> impl Iterator<Item = &'static Row> {
    [OWN, ai_gas::METHODS, dag::METHODS, models::METHODS, records::METHODS, inference::METHODS].into_iter().flatten()
}

fn status(api: &Api, _: &mut Params<'_>) -> Answer {
    let view = api.view();
    let head = view.head();
    let finalised = view.finality().finalised;
    let (pending, queued) = api.backend().pool().counts();
    let (models, _) = view.models(0, 0);
    let sink = view.dag_facts(&view.sink())?;
    let (blue_score, ai_score) = sink.map_or((0, 0), |facts| (facts.header.blue_score, facts.ai_score));
    reply(&json!({
        "clientVersion": api.backend().client_version(),
        "chainName": view.spec().name,
        "chainId": U256::from(view.spec().chain_id),
        "head": {
            "number": U64::from(head.header.number),
            "hash": api.facts.of(head).hash,
            "dagHash": head.dag_hash,
            "timestamp": U64::from(head.header.timestamp),
        },
        "sink": view.sink(),
        "tips": view.tips(),
        "blueScore": U64::from(blue_score),
        "aiScore": U64::from(ai_score),
        "pool": { "pending": U64::from(pending), "queued": U64::from(queued) },
        "lanes": lanes(api),
        "models": U64::from(models),
        "safe": U64::from(view.safe_number()),
        "finalized": U64::from(view.finalized_number()),
        "finalizedCheckpoint": format!("{}:{}", finalised.index, finalised.hash),
        "oldestBlock": U64::from(view.oldest_block()),
        "executor": lattice_chain::executor_version(),
        "accelerated": lattice_chain::is_accelerated(),
    }))
}

/// Waiting transactions by lane of the pool.
fn lanes(api: &Api) -> serde_json::Map<String, serde_json::Value> {
    let counts = api.backend().pool().lanes();
    Lane::ALL.into_iter().map(|lane| (lane.name().into(), json!(U64::from(counts[lane as usize])))).collect()
}
