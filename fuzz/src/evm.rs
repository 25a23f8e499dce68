//! Code and calls from strangers: the doors of the AI operations, containers, the assembler.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use lattice_execution::{
    CallOutcome, CallRequest, ExecutionError, InferenceEngine, InferenceError, SimulationContext, SimulationError, asm,
    genesis, simulate, trace::TraceOptions,
};
use lattice_inference::Graph;
use lattice_state::{Account, AccountDiff, State, StateDiff};
use lattice_types::{ChainSpec, system};
use std::sync::Arc;

/// Gas of one call: enough for every operation, little enough for many calls a second.
const GAS: u64 = 5_000_000;
/// Where the code under test lives.
const CODE: Address = Address::repeat_byte(0xc0);
/// Bit of the first byte of a door's input: value comes along, enough to become a validator.
const WITH_VALUE: u8 = 0x80;
const VALUE: u128 = 1_000 * lattice_execution::staking::WEI_PER_LAT;
const CALLER: Address = Address::repeat_byte(0xca);

/// An engine whose every model turns its input round.
struct Reverser;

impl InferenceEngine for Reverser {
    fn run(&self, _: &B256, input: &[u8]) -> Result<Arc<[u8]>, InferenceError> {
        Ok(input.iter().rev().copied().collect())
    }

    fn graph(&self, model_id: &B256) -> Result<Arc<Graph>, InferenceError> {
        Err(InferenceError::Refused(format!("{model_id} is no graph")))
    }
}

/// The genesis with a rich caller and, where given, code.
fn state(spec: &ChainSpec, code: Option<&[u8]>) -> (State, alloy_consensus::Header) {
    let (block, state, _) = genesis(spec);
    let mut diff = StateDiff::default();
    let rich = Account { balance: U256::from(u128::MAX), ..Account::default() };
    diff.accounts.insert(CALLER, AccountDiff { account: Some(rich), ..AccountDiff::default() });
    if let Some(code) = code {
        let account = Account { nonce: 1, code_hash: keccak256(code), ..Account::default() };
        diff.codes.insert(account.code_hash, Bytes::copy_from_slice(code));
        diff.accounts.insert(CODE, AccountDiff { account: Some(account), ..AccountDiff::default() });
    }
    (state.apply(&diff), block.header)
}

fn call(state: &State, header: &alloy_consensus::Header, spec: &ChainSpec, request: &CallRequest) -> CallOutcome {
    let context = SimulationContext {
        spec,
        header,
        block_hashes: &|_| Some(B256::ZERO),
        inference: &Reverser,
        precompiles: simulate::PrecompileMoves::NONE,
    };
    let plain = simulate::call(&context, state, request);
    let traced = simulate::trace_call(&context, state, request, TraceOptions::default()).map(|(outcome, _)| outcome);
    assert_eq!(plain.is_ok(), traced.is_ok());
    match (plain, traced) {
        (Ok(plain), Ok(traced)) => {
            assert_eq!(plain, traced, "watching changes nothing");
            assert!(plain.gas_used <= GAS && plain.ai_gas_used <= GAS, "gas is bounded by the limit: {plain:?}");
            plain
        }
        (Err(SimulationError::Execution(ExecutionError::Fault(reason))), _) => panic!("fault: {reason}"),
        (Err(error), _) => panic!("the call itself is valid: {error}"),
        (Ok(_), Err(error)) => panic!("only the traced call failed: {error}"),
    }
}

fn request(to: Address, data: &[u8]) -> CallRequest {
    CallRequest {
        from: Some(CALLER),
        to: Some(to),
        gas: Some(GAS),
        data: Bytes::copy_from_slice(data),
        ..CallRequest::default()
    }
}

/// The first byte chooses the door and whether value comes along, the rest is its input.
pub fn door(data: &[u8]) {
    let Some((door, input)) = data.split_first() else { return };
    let spec = ChainSpec::dev();
    let (state, header) = state(&spec, None);
    let doors = [&system::DOORS[..], &[system::STAKING]].concat();
    let to = doors[usize::from(door & !WITH_VALUE) % doors.len()];
    let value = (door & WITH_VALUE != 0).then(|| U256::from(VALUE));
    let done = call(&state, &header, &spec, &CallRequest { value, ..request(to, input) });
    assert!(done.gas_used >= 21_000, "no call is free");
}

/// The bytes are code, run once with Ethereum's table and once as an AI container.
pub fn container(data: &[u8]) {
    let spec = ChainSpec::dev();
    for code in [data.to_vec(), [&[0xef, 0xa1, 0x01], data].concat()] {
        if code.first() == Some(&0xef) && !code.starts_with(&[0xef, 0xa1, 0x01]) {
            continue; // EIP-3541: nobody can put such code into the state.
        }
        let (state, header) = state(&spec, Some(&code));
        call(&state, &header, &spec, &request(CODE, &code));
    }
}

/// Text to code; and any code to text and back.
pub fn assembler(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(code) = asm::assemble(text)
    {
        assert_eq!(asm::assemble(&asm::disassemble(&code)), Ok(code), "what was assembled survives its own listing");
    }
    let listing = asm::disassemble(data);
    assert_eq!(asm::assemble(&listing).map(|code| code.to_vec()), Ok(data.to_vec()), "{listing}");
}
