//! The AI lane: what AI gas costs now, and how much of it a block has.

use crate::{
    api::{Api, Row, Run},
    jsonrpc::{Answer, reply},
    params::Params,
};
use alloy_primitives::U64;
use lattice_types::system;
use serde_json::json;

pub(super) const METHODS: &[Row] = &[("lattice_aiGas", 0, Run::Quick(ai_gas))];

fn ai_gas(api: &Api, _: &mut Params<'_>) -> Answer {
    let view = api.view();
    let (spec, lane) = (view.spec(), view.ai_lane());
    reply(&json!({
        "block": U64::from(view.head().header.number),
        "price": U64::from(lane.price.nanos()),
        "priceNext": U64::from(lane.price_next.nanos()),
        "workLast": U64::from(lane.work),
        "target": U64::from(spec.ai_gas_target()),
        "limit": U64::from(spec.ai_gas_limit),
        "pool": U64::from(spec.ai_gas_pool),
        "undeclared": U64::from(spec.ai_gas_undeclared),
        "declareAt": system::AI_GAS,
    }))
}
