//! Tracing: names by the table of the code, geth's shape, and never another result than without.

use crate::lab::{CALL, Lab, RETURN, address, forward, forwarder, model_id};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use lattice_execution::{
    CallRequest,
    asm::assemble,
    simulate,
    trace::{Trace, TraceOptions},
};
use proptest::prelude::*;

fn trace(lab: &Lab, request: &CallRequest, options: TraceOptions) -> (lattice_execution::CallOutcome, Trace) {
    lab.simulate(|env, state| simulate::trace_call(env, state, request, options)).unwrap()
}

fn call(to: Address, data: Vec<u8>) -> CallRequest {
    CallRequest { from: Some(address(1)), to: Some(to), data: data.into(), ..CallRequest::default() }
}

fn names(trace: &Trace) -> Vec<String> {
    trace.steps.iter().map(|step| format!("{}{}", "-".repeat(step.depth as usize - 1), step.name())).collect()
}

#[test]
fn instructions_are_named_by_the_table_of_their_code() {
    let mut lab = Lab::new();
    let inner =
        lab.deploy(0, &assemble("PUSH 0\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH 4\nGAS\nCALLCODE\nSTOP").unwrap());
    let text = format!(
        ".container\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH 9\nMODEL_EXEC\nPOP\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH {inner}\nGAS\nCALL\nPUSH 0\nPUSH 0\nRETURN"
    );
    let container = lab.deploy(0, &assemble(&text).unwrap());
    let (outcome, trace) = trace(&lab, &call(container, vec![]), TraceOptions::default());
    assert!(outcome.success());
    let expected = "HEADER PUSH0 PUSH0 PUSH0 PUSH0 PUSH1 MODEL_EXEC POP PUSH0 PUSH0 PUSH0 PUSH0 PUSH0 PUSH20 GAS CALL \
        -PUSH0 -PUSH0 -PUSH0 -PUSH0 -PUSH0 -PUSH1 -GAS -CALLCODE -STOP PUSH0 PUSH0 RETURN";
    assert_eq!(names(&trace), expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!((trace.steps[1].pc, trace.steps[6].op, trace.steps[23].op), (3, 0xf2, 0xf2));
    assert!(trace.steps[6].gas_cost >= 100 + 10_500);
    assert_eq!(
        trace.steps[6].stack.as_deref(),
        Some(&[U256::ZERO, U256::ZERO, U256::ZERO, U256::ZERO, U256::from(9)][..])
    );
}

#[test]
fn gas_adds_up_and_options_are_kept() {
    let mut lab = Lab::new();
    let contract =
        lab.deploy(0, &assemble("PUSH 5\nPUSH 1\nSSTORE\nPUSH 1\nSLOAD\nPUSH 0\nMSTORE\nMSIZE\nINVALID").unwrap());
    let all = TraceOptions { memory: true, return_data: true, ..TraceOptions::default() };
    let (_, full) = trace(&lab, &call(contract, vec![]), all);
    for pair in full.steps.windows(2) {
        assert_eq!(pair[0].gas - pair[0].gas_cost, pair[1].gas, "{pair:?}");
    }
    let slots = full.steps[4].storage.as_ref().unwrap();
    assert_eq!(slots[&U256::from(1)], U256::from(5));
    assert_eq!(full.steps[7].memory.as_ref().unwrap()[31], 5);
    assert!(full.steps[8].error.is_some());
    let none = TraceOptions { stack: false, storage: false, steps_max: 3, ..TraceOptions::default() };
    let (_, bare) = trace(&lab, &call(contract, vec![]), none);
    assert_eq!(bare.steps.len(), 3);
    assert!(bare.steps.iter().all(|step| step.stack.is_none() && step.storage.is_none() && step.memory.is_none()));
}

#[test]
fn a_trace_is_bounded() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, &assemble("again:\nJUMPDEST\nPUSH @again\nJUMP").unwrap());
    let (outcome, trace) = trace(&lab, &call(contract, vec![]), TraceOptions::default());
    assert!(!outcome.success());
    assert!(trace.is_cut && !trace.steps.is_empty());
}

/// Bytes that look like code: instructions of both tables, small operands, calls with sane arguments.
fn program() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any::<u8>().prop_map(|byte| vec![byte]),
        4 => any::<u8>().prop_map(|byte| vec![0x60, byte]),
        3 => prop::sample::select(vec![0x5f, 0x80, 0x52, 0x51, 0x5b, 0x5a, 0x3d, 0x36]).prop_map(|byte: u8| vec![byte]),
        2 => prop::sample::select((0xb0..=0xb4).chain(0xf0..=0xf5).collect::<Vec<u8>>()).prop_map(|byte| vec![0x5f, 0x5f, 0x60, 0x40, 0x5f, 0x5f, byte]),
        1 => prop::sample::select(vec![0xf0u8, 0xf1, 0xf2, 0xf3, 0xf4]).prop_map(|low| vec![0x5f, 0x60, 0x20, 0x5f, 0x60, 0x20, 0x5f, 0x61, 0xa1, low, 0x5a, 0xf1]),
        1 => prop::sample::select(vec![0xf1u8, 0xf2]).prop_map(|byte| {
            let mut code = vec![0x60, 0x08, 0x5f, 0x60, 0x08, 0x5f, 0x7f];
            code.extend(model_id());
            code.push(byte);
            code
        }),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

#[test]
fn random_code_runs_alike_with_and_without_tracing() {
    let mut lab = Lab::new();
    lab.ready_model();
    let config = ProptestConfig { cases: 400, ..ProptestConfig::default() };
    let strategy = (program(), any::<bool>(), any::<bool>(), 60_000u64..2_000_000);
    proptest!(config, |((body, is_container, creates, gas) in strategy)| {
        let code = if is_container { [&[0xef, 0xa1, 0x01][..], &body].concat() } else { body };
        let request = if creates {
            CallRequest { from: Some(address(1)), data: code.into(), gas: Some(gas), ..CallRequest::default() }
        } else {
            CallRequest { from: Some(address(1)), data: lattice_execution::asm::init_code(&code), gas: Some(gas + 1_000_000), ..CallRequest::default() }
        };
        let options = TraceOptions { memory: true, return_data: true, ..TraceOptions::default() };
        let (traced, trace) = lab.simulate(|env, state| simulate::trace_call(env, state, &request, options)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let plain = lab.try_call(&request).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(&plain, &traced);
        prop_assert!(plain.gas_used <= request.gas.unwrap());
        prop_assert!(trace.steps.iter().all(|step| step.gas_cost <= step.gas));
    });
}

#[test]
fn random_contracts_run_alike_in_blocks_with_and_without_tracing() {
    let config = ProptestConfig { cases: 40, ..ProptestConfig::default() };
    proptest!(config, |(bodies in prop::collection::vec((program(), any::<bool>()), 1..4), data in prop::collection::vec(any::<u8>(), 0..64))| {
        let run = |watched: bool| {
            let mut lab = Lab::new();
            lab.ready_model();
            lab.watched = watched;
            let relay = lab.deploy(0, &forwarder(CALL, RETURN));
            let mut results = Vec::new();
            for (body, is_container) in &bodies {
                let code = if *is_container { [&[0xef, 0xa1, 0x01, 0x5b][..], body].concat() } else { [&[0x5b][..], body].concat() };
                let nonce = lab.nonces.get(&0).copied().unwrap_or(0);
                let tx = lab.tx(0, TxKind::Create, 0, lattice_execution::asm::init_code(&code), 2_000_000, 0);
                results.push(lab.one(tx).1);
                let contract = address(0).create(nonce);
                for (to, data) in [(contract, data.clone()), (relay, forward(contract, &data))] {
                    let tx = lab.tx(1, TxKind::Call(to), 7, Bytes::from(data), 500_000, 0);
                    let (_, gas_used, _, executed) = lab.one(tx);
                    prop_assert!(gas_used <= 500_000);
                    results.push(gas_used);
                    results.push(executed.ai_gas_used);
                }
            }
            Ok((results, lab.header.state_root, lab.header.receipts_root))
        };
        prop_assert_eq!(run(false)?, run(true)?);
    });
}
