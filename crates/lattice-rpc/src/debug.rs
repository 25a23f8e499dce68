//! The `debug_` namespace: traces by geth's default struct logger. Instructions of AI containers carry their own names.

use crate::{
    api::{Api, Row, Run},
    error::RpcError,
    eth::{
        blocks::state_number,
        call::CallJson,
        overrides::{self, BlockOverridesJson, StateOverrides},
    },
    jsonrpc::{Answer, reply},
    params::{Argument, Params},
};
use alloy_primitives::{B256, Bytes, U256, hex};
use alloy_rpc_types_eth::BlockId;
use lattice_chain::{CallOutcome, Overrides, Trace, TraceOptions, TraceStep};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// All methods of the namespace.
pub(crate) fn methods() -> impl Iterator<Item = &'static Row> {
    METHODS.iter()
}

const METHODS: &[Row] =
    &[("debug_traceTransaction", 2, Run::Long(trace_transaction)), ("debug_traceCall", 3, Run::Long(trace_call))];

/// geth's `traceConfig`. What only steers how long or how geth works (`timeout`, `reexec`) is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TraceConfig {
    tracer: Option<String>,
    disable_stack: bool,
    enable_memory: bool,
    disable_storage: bool,
    enable_return_data: bool,
    limit: usize,
    state_overrides: Option<StateOverrides>,
    block_overrides: Option<BlockOverridesJson>,
}

impl Argument for TraceConfig {
    const EXPECTED: &'static str = "a trace configuration {disableStack, enableMemory, disableStorage, enableReturnData, limit, stateOverrides, blockOverrides}";

    fn read(raw: &RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())
    }
}

impl TraceConfig {
    /// What to keep, and what is different about the state and the block.
    fn split(self) -> Result<(TraceOptions, Overrides), RpcError> {
        if let Some(tracer) = self.tracer.filter(|tracer| !tracer.is_empty()) {
            let tracer = crate::error::clip(&tracer, 40);
            return Err(RpcError::params(format!(
                "tracer \"{tracer}\" is not supported: leave `tracer` out for the struct logger"
            )));
        }
        let options = TraceOptions {
            stack: !self.disable_stack,
            memory: self.enable_memory,
            storage: !self.disable_storage,
            return_data: self.enable_return_data,
            steps_max: self.limit,
        };
        Ok((options, overrides::of(self.state_overrides, self.block_overrides)))
    }
}

/// A step in geth's form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepJson<'a> {
    pc: u64,
    op: String,
    gas: u64,
    gas_cost: u64,
    depth: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a [U256]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_data: Option<&'a Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "is_zero")]
    refund: u64,
}

const fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl<'a> StepJson<'a> {
    fn of(step: &'a TraceStep) -> Self {
        let word = |value: &U256| hex::encode(value.to_be_bytes::<32>());
        Self {
            pc: step.pc,
            op: step.name(),
            gas: step.gas,
            gas_cost: step.gas_cost,
            depth: step.depth,
            error: step.error.as_deref(),
            stack: step.stack.as_deref(),
            return_data: step.return_data.as_ref().filter(|data| !data.is_empty()),
            memory: step.memory.as_ref().map(|memory| memory.chunks(32).map(hex::encode).collect()),
            storage: step.storage.as_ref().map(|slots| slots.iter().map(|(k, v)| (word(k), word(v))).collect()),
            refund: step.refund,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceJson<'a> {
    gas: u64,
    failed: bool,
    return_value: &'a Bytes,
    struct_logs: Vec<StepJson<'a>>,
}

fn write(gas: u64, success: bool, output: &Bytes, trace: &Trace) -> Answer {
    if trace.is_cut {
        return Err(RpcError::limit(
            "the trace is too long to be kept whole: set `limit`, or disableStack and disableStorage, and leave memory out",
        ));
    }
    let struct_logs = trace.steps.iter().map(StepJson::of).collect();
    reply(&TraceJson { gas, failed: !success, return_value: output, struct_logs })
}

fn trace_transaction(api: &Api, params: &mut Params<'_>) -> Answer {
    let hash: B256 = params.required("transaction hash")?;
    let config: Option<TraceConfig> = params.optional("trace configuration")?;
    let (options, overrides) = config.unwrap_or_default().split()?;
    if !overrides.is_empty() {
        return Err(RpcError::params(
            "a transaction is traced as it ran: overrides are for debug_traceCall, leave them out",
        ));
    }
    let traced = api.view().trace_transaction(&hash, options)?;
    let Some((gas, success, output, trace)) = traced else {
        return Err(RpcError::server(format!("transaction {hash} is not in any block of the selected chain")));
    };
    write(gas, success, &output, &trace)
}

fn trace_call(api: &Api, params: &mut Params<'_>) -> Answer {
    let view = api.view();
    let call: CallJson = params.required("call")?;
    let block: Option<BlockId> = params.optional("block")?;
    let config: Option<TraceConfig> = params.optional("trace configuration")?;
    let (options, overrides) = config.unwrap_or_default().split()?;
    let request = call.into_request(view.spec().chain_id)?;
    let (outcome, trace) = view.trace_call(state_number(&view, block)?, &request, &overrides, options)?;
    let CallOutcome { gas_used, output, .. } = &outcome;
    write(*gas_used, outcome.success(), output, &trace)
}
