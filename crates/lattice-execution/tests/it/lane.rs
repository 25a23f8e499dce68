//! The AI lane: declared and undeclared AI gas, the pool of a block, and the lane's price.

use crate::lab::{Block, CALL, GWEI, Lab, address, forward, forwarder, inference_payload, signer, strict_forwarder};
use alloy_consensus::TxEip1559;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use lattice_execution::{
    AiLane, CallRequest, GasEstimate, LanePrice, Outcome, SimulationError, ai::load_gas, simulate,
};
use lattice_types::{ChainSpec, TxEnvelope, ai_gas, system};

const INPUT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const LOADING: u64 = load_gas(10_000);
const RUN: u64 = 50_016;

/// A lane that the test model can fill: a run is more than the default, three fill the pool.
fn narrow() -> ChainSpec {
    ChainSpec { ai_gas_limit: 400_000, ai_gas_pool: 120_000, ai_gas_undeclared: 60_000, ..ChainSpec::dev() }
}

fn exec(id: B256) -> Vec<u8> {
    [id.as_slice(), &INPUT].concat()
}

/// A call of MODEL_EXEC or another address that declares this AI gas.
fn declaring(lab: &mut Lab, from: usize, to: Address, data: Vec<u8>, bound: Option<u64>) -> TxEnvelope {
    let nonce = *lab.nonces.entry(from).and_modify(|nonce| *nonce += 1).or_insert(1) - 1;
    let tx = TxEip1559 {
        chain_id: lab.spec.chain_id,
        nonce,
        gas_limit: 300_000,
        max_fee_per_gas: 100 * GWEI,
        to: TxKind::Call(to),
        access_list: AccessList(bound.map(ai_gas::declaration).into_iter().collect()),
        input: data.into(),
        ..TxEip1559::default()
    };
    signer(from).sign(tx).into()
}

/// Success and AI gas of each outcome.
fn results(outcomes: &[Outcome]) -> Vec<(bool, u64)> {
    let result = |outcome: &Outcome| match outcome {
        Outcome::Included { success, ai_gas_used, .. } => (*success, *ai_gas_used),
        Outcome::Skipped(reason) => panic!("skipped: {reason}"),
    };
    outcomes.iter().map(result).collect()
}

#[test]
fn a_declared_bound_is_what_a_transaction_may_use() {
    let mut lab = Lab::with_spec(narrow());
    let id = lab.ready_model();
    let bounds = [Some(LOADING + RUN), Some(LOADING + RUN - 1), Some(0)];
    let expected = [(true, LOADING + RUN), (false, LOADING), (false, 0)];
    for (bound, expected) in bounds.into_iter().zip(expected) {
        let tx = declaring(&mut lab, 1, system::MODEL_EXEC, exec(id), bound);
        let (outcomes, executed) = lab.block(&[tx]);
        assert_eq!(results(&outcomes), [expected]);
        let gas = executed.evm.header.gas_used;
        assert_eq!(gas == 300_000, !expected.0, "work beyond the bound is out of gas: {gas}");
    }
}

#[test]
fn without_declaration_a_block_s_pool_serves_until_it_is_empty() {
    let mut lab = Lab::with_spec(narrow());
    let id = lab.ready_model();
    let undeclared = |lab: &mut Lab, from| declaring(lab, from, system::MODEL_EXEC, exec(id), None);
    let txs: Vec<_> = (1..5).map(|from| undeclared(&mut lab, from)).collect();
    let declared = declaring(&mut lab, 5, system::MODEL_EXEC, exec(id), Some(RUN));
    let (outcomes, executed) = lab.block(&[txs, vec![declared]].concat());
    let first = (true, LOADING + RUN);
    assert_eq!(results(&outcomes), [first, (true, RUN), (false, 0), (false, 0), (true, RUN)]);
    assert_eq!(executed.evm.receipts.len(), 5, "either way they are included and pay");
    // The next block has a pool of its own; one transaction may not take all of it.
    let twice = lab.deploy(0, &twice());
    let tx = declaring(&mut lab, 1, twice, exec(id), None);
    let (outcomes, _) = lab.block(&[tx]);
    assert_eq!(results(&outcomes), [(true, LOADING + RUN)], "the second run is beyond the default");
}

/// A contract that calls MODEL_EXEC twice with its call data and ignores how that ends.
fn twice() -> Vec<u8> {
    let mut code = vec![0x36, 0x5f, 0x5f, 0x37]; // CALLDATACOPY(0, 0, size)
    for _ in 0..2 {
        // CALL(gas: 100,000; MODEL_EXEC; value 0; in 0..size; out nothing), POP
        code.extend([0x5f, 0x5f, 0x36, 0x5f, 0x5f, 0x61, 0xa1, 0xf2, 0x62, 0x01, 0x86, 0xa0, CALL, 0x50]);
    }
    code.push(0x00);
    code
}

#[test]
fn the_price_follows_the_work_of_each_dag_block() {
    let mut lab = Lab::with_spec(narrow());
    let id = lab.ready_model();
    let lane = |lab: &Lab| AiLane::read(&lab.state, &lab.spec);
    assert_eq!(lane(&lab), AiLane { price: LanePrice::ONE, price_next: LanePrice::ONE, work: 0 });
    let busy = |lab: &mut Lab, dag_blocks| {
        let txs: Vec<_> =
            (1..8).map(|from| declaring(lab, from, system::MODEL_EXEC, exec(id), Some(100_000))).collect();
        let (outcomes, _) = lab.execute(&Block { txs: &txs, dag_blocks, ..Block::default() }).unwrap();
        results(&outcomes)
    };
    // Seven runs are more than three times the target of 100,000: an eighth up.
    let at_one = busy(&mut lab, 1);
    assert_eq!(at_one[1], (true, RUN));
    let after = lane(&lab);
    assert_eq!((after.price, after.work), (LanePrice::ONE, LOADING + 7 * RUN));
    assert_eq!(after.price_next.nanos(), 1_125_000_000);
    // The next block charges that, and all doors pay it alike.
    let tx = declaring(&mut lab, 1, system::INFERENCE, inference_payload(id, &INPUT), Some(100_000));
    let same = lab.inference_tx(2, id, &INPUT, 300_000, 100_000);
    let (outcomes, _) = lab.block(&[tx, same]);
    let price = after.price_next;
    assert_eq!(results(&outcomes), [(true, price.gas(LOADING) + price.gas(RUN)), (true, price.gas(RUN))]);
    assert_eq!(lane(&lab).price, price);
    // The same work on four DAG blocks is less than the target: the price falls, and ends at one.
    busy(&mut lab, 4);
    assert!(lane(&lab).price_next < lane(&lab).price);
    for _ in 0..4 {
        lab.block(&[]);
    }
    assert_eq!(lane(&lab).price, LanePrice::ONE);
}

#[test]
fn work_that_fails_counts_too() {
    let mut lab = Lab::with_spec(narrow());
    let id = lab.ready_model();
    let caller = lab.deploy(0, &forwarder(CALL, crate::lab::REVERT));
    let tx = declaring(&mut lab, 1, caller, forward(system::MODEL_EXEC, &exec(id)), Some(100_000));
    let (outcomes, _) = lab.block(&[tx]);
    assert_eq!(results(&outcomes), [(false, LOADING + RUN)]);
    assert_eq!(AiLane::read(&lab.state, &lab.spec).work, LOADING + RUN);
}

#[test]
fn an_estimate_says_what_to_declare() {
    let mut lab = Lab::with_spec(ChainSpec { ai_gas_undeclared: 1_000, ..narrow() });
    let id = lab.ready_model();
    let caller = lab.deploy(0, &strict_forwarder());
    let request = |bound: Option<u64>| CallRequest {
        from: Some(address(1)),
        to: Some(caller),
        data: forward(system::MODEL_EXEC, &exec(id)).into(),
        access_list: bound.map(|bound| AccessList(vec![ai_gas::declaration(bound)])),
        ..CallRequest::default()
    };
    let estimate = |request: &CallRequest| lab.simulate(|env, state| simulate::estimate_gas(env, state, request));
    // strict_forwarder reverts when its callee runs out of AI gas.
    let Err(error @ SimulationError::AiGas { bound: 1_000, declared: false, needed: Some(needed) }) =
        estimate(&request(None))
    else {
        panic!()
    };
    assert!(error.to_string().contains(&B256::from(U256::from(needed)).to_string()), "{error}");
    assert_eq!(needed, 8_354 + 63_302, "loading and run at the price after two eighths more");
    let Err(error) = estimate(&request(Some(7))) else { panic!() };
    assert!(error.to_string().contains("declared bound of 7 AI gas is too small"), "{error}");

    // What it says to declare is what eth_createAccessList declares, and both serve a real transaction.
    let found = lab.simulate(|env, state| simulate::create_access_list(env, state, &request(None))).unwrap();
    assert!(found.outcome.success());
    assert!(found.access_list.0.contains(&ai_gas::declaration(needed)), "{:?}", found.access_list);
    let GasEstimate { gas, ai_gas } = estimate(&request(Some(needed))).unwrap();
    assert_eq!(ai_gas, needed);
    let tx = TxEip1559 {
        chain_id: lab.spec.chain_id,
        gas_limit: gas,
        max_fee_per_gas: 100 * GWEI,
        to: TxKind::Call(caller),
        access_list: found.access_list,
        input: Bytes::from(forward(system::MODEL_EXEC, &exec(id))),
        ..TxEip1559::default()
    };
    assert!(lab.one(signer(1).sign(tx).into()).0);
}

#[test]
fn an_estimate_says_when_no_block_is_large_enough() {
    let mut lab = Lab::with_spec(ChainSpec { ai_gas_limit: 40_000, ..narrow() });
    let id = lab.ready_model();
    let request = CallRequest {
        from: Some(address(1)),
        to: Some(system::MODEL_EXEC),
        data: exec(id).into(),
        ..CallRequest::default()
    };
    let Err(error) = lab.simulate(|env, state| simulate::estimate_gas(env, state, &request)) else { panic!() };
    assert!(matches!(error, SimulationError::AiGas { needed: None, .. }), "{error}");
    assert!(error.to_string().contains("use a smaller model"), "{error}");
}

#[test]
fn a_declaration_lifts_the_cap_of_eip_7825_in_estimates() {
    let mut lab = Lab::new();
    let endless = lab.deploy(0, &[0x5b, 0x5f, 0x56]);
    let request = CallRequest {
        to: Some(endless),
        access_list: Some(AccessList(vec![ai_gas::declaration(1_000_000)])),
        ..CallRequest::default()
    };
    let result = lab.simulate(|env, state| simulate::estimate_gas(env, state, &request));
    assert_eq!(result, Err(SimulationError::GasExceedsAllowance((1 << 24) + 1_000_000)));
}
