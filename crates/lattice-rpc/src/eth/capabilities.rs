//! `eth_capabilities`: which history this node can answer about.

use crate::{
    api::{Api, Row, Run},
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_primitives::U64;
use serde_json::{Value, json};

pub(super) const METHODS: &[Row] = &[("eth_capabilities", 0, Run::Quick(capabilities))];

/// Blocks, transactions, receipts and logs are kept down to the pruning point; states and their proofs within the window. An
/// archive keeps both since it is one.
fn capabilities(api: &Api, _: &mut Params<'_>) -> Answer {
    let view = api.view();
    let kept = |oldest: u64| json!({ "disabled": false, "oldestBlock": U64::from(oldest) });
    let mut states = kept(view.oldest_state());
    if !view.is_archive() && view.ethereum().is_none() {
        let window = U64::from(view.spec().state_window);
        states["deleteStrategy"] = json!({ "type": "window", "retentionBlocks": window });
    }
    let head = view.head();
    let all: Value = kept(view.oldest_block());
    reply(&json!({
        "head": { "number": U64::from(head.header.number), "hash": head.hash() },
        "state": states,
        "tx": all,
        "logs": all,
        "receipts": all,
        "blocks": all,
        "stateproofs": states,
    }))
}
