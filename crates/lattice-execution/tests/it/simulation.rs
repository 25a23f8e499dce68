//! `eth_call` and `eth_estimateGas` as geth has them.

use crate::lab::{
    CALL, GWEI, Lab, REVERT, address, deploy_payload, forward, forwarder, inference_payload, init_code,
    strict_forwarder,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use lattice_execution::{
    CallRequest, CallStatus, GasEstimate, SimulationError,
    simulate::{self, pending_header},
};
use lattice_types::system;

/// Returns CALLER, GASPRICE, BASEFEE, NUMBER as four words.
const ENVIRONMENT: &[u8] =
    &[0x33, 0x5f, 0x52, 0x3a, 0x60, 0x20, 0x52, 0x48, 0x60, 0x40, 0x52, 0x43, 0x60, 0x60, 0x52, 0x60, 0x80, 0x5f, 0xf3];

fn words(output: &[u8]) -> Vec<U256> {
    output.chunks(32).map(U256::from_be_slice).collect()
}

fn to(to: Address) -> CallRequest {
    CallRequest { to: Some(to), ..CallRequest::default() }
}

fn estimate(lab: &Lab, request: &CallRequest) -> Result<GasEstimate, SimulationError> {
    lab.simulate(|env, state| simulate::estimate_gas(env, state, request))
}

#[test]
fn without_a_price_gas_is_free_and_the_base_fee_reads_zero() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, ENVIRONMENT);
    let from = Address::repeat_byte(0x31); // has nothing
    let request = CallRequest { from: Some(from), ..to(contract) };
    let outcome = lab.try_call(&request).unwrap();
    let zero = U256::ZERO;
    assert_eq!(words(&outcome.output), [from.into_word().into(), zero, zero, U256::from(lab.header.number)]);
    assert_eq!(words(&lab.call(contract, vec![]).output)[0], U256::ZERO, "the default sender is the zero address");
}

#[test]
fn with_a_price_fees_are_checked_and_visible() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, ENVIRONMENT);
    let base_fee = u128::from(lab.header.base_fee_per_gas.unwrap());
    let rich = CallRequest {
        from: Some(address(0)),
        max_fee_per_gas: Some(base_fee + 50),
        max_priority_fee_per_gas: Some(7),
        ..to(contract)
    };
    let outcome = lab.try_call(&rich).unwrap();
    assert_eq!(words(&outcome.output)[1..3], [U256::from(base_fee + 7), U256::from(base_fee)]);
    let low = CallRequest { max_fee_per_gas: Some(base_fee - 1), max_priority_fee_per_gas: None, ..rich.clone() };
    let text = lab.try_call(&low).unwrap_err().to_string();
    assert!(text.starts_with("max fee per gas less than block base fee"), "{text}");
    let poor = CallRequest { from: None, ..rich.clone() };
    let text = lab.try_call(&poor).unwrap_err().to_string();
    assert!(text.starts_with("insufficient funds for gas * price + value"), "{text}");
    let both = CallRequest { gas_price: Some(1), ..rich.clone() };
    assert!(lab.try_call(&both).unwrap_err().to_string().contains("both gasPrice and"));
    let inverted = CallRequest { max_priority_fee_per_gas: Some(base_fee + 51), ..rich };
    assert!(lab.try_call(&inverted).unwrap_err().to_string().contains("< maxPriorityFeePerGas"));
}

#[test]
fn nonce_and_code_of_the_sender_do_not_matter_but_its_value_does() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, ENVIRONMENT);
    let request = CallRequest { from: Some(contract), nonce: Some(77), ..to(contract) };
    assert!(lab.try_call(&request).unwrap().success());
    let request = CallRequest { value: Some(U256::from(1)), ..request };
    let text = lab.try_call(&request).unwrap_err().to_string();
    assert!(text.starts_with("insufficient funds for gas * price + value"), "{text}");
    let root = lab.state.root();
    let request = CallRequest { from: Some(address(0)), value: Some(U256::from(5)), ..to(address(1)) };
    assert!(lab.try_call(&request).unwrap().success());
    assert_eq!(lab.state.root(), root, "a call changes nothing");
}

#[test]
fn reverts_and_halts_are_outcomes_of_a_call() {
    let mut lab = Lab::new();
    let outcome = lab.call(system::MODEL_EXEC, vec![1; 40]);
    let CallStatus::Reverted(Some(reason)) = &outcome.status else { panic!("{outcome:?}") };
    assert!(reason.contains("is not registered"));
    let contract = lab.deploy(0, &[0xfe]);
    assert!(matches!(lab.call(contract, vec![]).status, CallStatus::Halted(_)));
    let silent = lab.deploy(0, &[0x5f, 0x5f, 0xfd]);
    assert_eq!(lab.call(silent, vec![]).status, CallStatus::Reverted(None));
}

#[test]
fn a_creation_can_be_simulated() {
    let lab = Lab::new();
    let request = CallRequest { from: Some(address(4)), data: init_code(&[0x00]), ..CallRequest::default() };
    let outcome = lab.try_call(&request).unwrap();
    assert_eq!(outcome.created, Some(address(4).create(0)));
    assert_eq!(outcome.output[..], [0x00]);
}

#[test]
fn gas_of_a_call_is_bounded() {
    let mut lab = Lab::new();
    let endless = lab.deploy(0, &[0x5b, 0x5f, 0x56]); // JUMPDEST; JUMP(0)
    let outcome = lab.try_call(&CallRequest { gas: Some(u64::MAX), ..to(endless) }).unwrap();
    assert_eq!(outcome.gas_used, lab.spec.gas_limit);
    assert!(matches!(outcome.status, CallStatus::Halted(_)));
}

#[test]
fn a_plain_transfer_needs_21000() {
    let lab = Lab::new();
    let request = CallRequest { from: Some(address(0)), value: Some(U256::from(1)), ..to(address(1)) };
    assert_eq!(estimate(&lab, &request), Ok(GasEstimate { gas: 21_000, ai_gas: 0 }));
}

#[test]
fn an_estimate_is_enough_and_not_much_more() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let caller = lab.deploy(0, &strict_forwarder());
    let nested = forward(caller, &forward(system::INFERENCE, &inference_payload(id, &[7; 8])));
    let cases: [(Option<Address>, Bytes); 5] = [
        (Some(system::MODEL_EXEC), [id.as_slice(), &[1; 8]].concat().into()),
        (Some(system::INFERENCE), inference_payload(id, &[2; 8]).into()),
        (Some(caller), nested.into()),
        (None, init_code(&[0x5b; 900])),
        (Some(system::MODELS), alloy_rlp::encode(deploy_payload(B256::repeat_byte(4))).into()),
    ];
    for (to, data) in cases {
        let request = CallRequest { from: Some(address(1)), to, data: data.clone(), ..CallRequest::default() };
        let GasEstimate { gas, ai_gas } = estimate(&lab, &request).unwrap();
        // AI gas is estimated at the price after two full blocks.
        let headroom = ai_gas - ai_gas * 64 / 81;
        let run = |gas| lab.try_call(&CallRequest { gas: Some(gas), ..request.clone() });
        assert!(run(gas).unwrap().success(), "{to:?}");
        assert!(run(gas - headroom - gas * 3 / 100).is_ok_and(|outcome| !outcome.success()), "{to:?}");
    }
}

#[test]
fn an_ai_transaction_is_estimated_with_its_ai_gas() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let request = CallRequest {
        from: Some(address(1)),
        data: inference_payload(id, &[7; 8]).into(),
        tx_type: Some(system::TX_INFERENCE),
        ..CallRequest::default()
    };
    let GasEstimate { gas, ai_gas } = estimate(&lab, &request).unwrap();
    let tx = lab.inference_tx(1, id, &[7; 8], gas, ai_gas);
    assert!(lab.one(tx).0, "the estimate serves a real transaction");
    let elsewhere = CallRequest { to: Some(address(2)), ..request.clone() };
    assert!(lab.try_call(&elsewhere).unwrap_err().to_string().contains("goes to"));
    for ty in [3, 0x55, 0x60] {
        let other = CallRequest { tx_type: Some(ty), ..request.clone() };
        assert!(matches!(lab.try_call(&other), Err(SimulationError::Invalid(_))), "type {ty}");
    }
}

#[test]
fn an_estimate_reports_why_it_cannot_succeed() {
    let mut lab = Lab::new();
    let request = CallRequest { data: vec![1; 40].into(), ..to(system::MODEL_EXEC) };
    let Err(SimulationError::Reverted { output, reason: Some(reason) }) = estimate(&lab, &request) else { panic!() };
    assert!(reason.contains("is not registered"));
    assert_eq!(output[..4], [0x08, 0xc3, 0x79, 0xa0]);
    let invalid = lab.deploy(0, &[0xfe]);
    assert!(matches!(estimate(&lab, &to(invalid)), Err(SimulationError::Halted(_))));
    let endless = lab.deploy(0, &[0x5b, 0x5f, 0x56]);
    assert_eq!(estimate(&lab, &to(endless)), Err(SimulationError::GasExceedsAllowance(1 << 24)));
    let reverter = lab.deploy(0, &forwarder(CALL, REVERT));
    let request = CallRequest { data: forward(address(1), &[]).into(), ..to(reverter) };
    assert!(matches!(estimate(&lab, &request), Err(SimulationError::Reverted { reason: None, .. })));
    // EIP-7623: data costs a floor.
    let little = CallRequest { gas: Some(21_500), data: vec![1; 100].into(), ..to(address(1)) };
    assert_eq!(estimate(&lab, &little), Err(SimulationError::GasExceedsAllowance(21_500)));
}

#[test]
fn the_allowance_follows_the_balance_when_a_price_is_given() {
    let mut lab = Lab::new();
    let poor = Address::repeat_byte(0x21);
    let endowment = 30_000 * 2 * GWEI;
    let tx = lab.transfer(0, poor, endowment, 0);
    lab.one(tx);
    let request = CallRequest { from: Some(poor), gas_price: Some(2 * GWEI), ..to(address(1)) };
    assert_eq!(estimate(&lab, &request).unwrap().gas, 21_000);
    let create = CallRequest { to: None, data: init_code(&[0x5b; 900]), ..request.clone() };
    assert_eq!(estimate(&lab, &create), Err(SimulationError::GasExceedsAllowance(30_000)));
    let too_much = CallRequest { value: Some(U256::from(endowment + 1)), ..request };
    assert_eq!(estimate(&lab, &too_much), Err(SimulationError::Invalid("insufficient funds for transfer".into())));
}

#[test]
fn pending_sees_the_next_block() {
    let mut lab = Lab::new();
    let contract = lab.deploy(0, ENVIRONMENT);
    let pending = pending_header(&lab.spec, &lab.header, lab.header.timestamp + 9);
    assert_eq!(pending.number, lab.header.number + 1);
    assert_eq!(pending.timestamp, lab.header.timestamp + 9);
    let outcome = lab.simulate(|env, state| {
        let env = lattice_execution::SimulationContext { header: &pending, ..*env };
        simulate::call(&env, state, &to(contract)).unwrap()
    });
    assert_eq!(words(&outcome.output)[3], U256::from(lab.header.number + 1));
}
