//! The Ethereum namespaces: `eth_`, `net_`, `web3_`, `txpool_`, in the shapes of the execution-apis specification and geth.

pub(crate) mod blocks;
pub(crate) mod call;
mod capabilities;
mod fees;
mod fill;
pub(crate) mod filters;
pub(crate) mod logs;
pub(crate) mod overrides;
mod state;
pub(crate) mod transactions;

use crate::{
    api::{Api, Row, Run},
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_primitives::{Address, Bytes, U64, keccak256};

const OWN: &[Row] = &[
    ("web3_clientVersion", 0, Run::Quick(client_version)),
    ("web3_sha3", 1, Run::Quick(sha3)),
    ("net_version", 0, Run::Quick(network_id)),
    ("net_listening", 0, Run::Quick(listening)),
    ("net_peerCount", 0, Run::Quick(peer_count)),
    ("eth_chainId", 0, Run::Quick(chain_id)),
    ("eth_syncing", 0, Run::Quick(syncing)),
    ("eth_accounts", 0, Run::Quick(accounts)),
    ("eth_sendRawTransaction", 1, Run::Send),
    ("txpool_status", 0, Run::Quick(pool_status)),
];

/// All methods of these namespaces.
pub(crate) fn methods() -> impl Iterator<Item = &'static Row> {
    [
        OWN,
        blocks::METHODS,
        call::METHODS,
        capabilities::METHODS,
        fees::METHODS,
        fill::METHODS,
        filters::METHODS,
        logs::METHODS,
        state::METHODS,
        transactions::METHODS,
    ]
    .into_iter()
    .flatten()
}

fn client_version(api: &Api, _: &mut Params<'_>) -> Answer {
    reply(&api.backend().client_version())
}

fn sha3(_: &Api, params: &mut Params<'_>) -> Answer {
    reply(&keccak256(params.required::<Bytes>("data")?))
}

fn network_id(api: &Api, _: &mut Params<'_>) -> Answer {
    reply(&api.view().spec().chain_id.to_string())
}

fn listening(_: &Api, _: &mut Params<'_>) -> Answer {
    reply(&true)
}

/// No network yet: a node has no peers.
fn peer_count(_: &Api, _: &mut Params<'_>) -> Answer {
    reply(&U64::ZERO)
}

fn chain_id(api: &Api, _: &mut Params<'_>) -> Answer {
    reply(&U64::from(api.view().spec().chain_id))
}

fn syncing(_: &Api, _: &mut Params<'_>) -> Answer {
    reply(&false)
}

/// The node holds no keys, so there is no account it could sign for.
fn accounts(_: &Api, _: &mut Params<'_>) -> Answer {
    reply::<[Address; 0]>(&[])
}

fn pool_status(api: &Api, _: &mut Params<'_>) -> Answer {
    let (pending, queued) = api.backend().pool().counts();
    reply(&serde_json::json!({ "pending": U64::from(pending), "queued": U64::from(queued) }))
}
