//! AI containers: the second instruction table, nested with the first in every way, and who may be deployed.

use crate::lab::{
    CALL, DELEGATECALL, Lab, RETURN, STATICCALL, address, forward, forwarder, init_code, model_id, simulate_reason,
};
use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use lattice_execution::{CallOutcome, CallStatus, asm::assemble};
use lattice_types::system;

fn code(text: &str) -> Bytes {
    assemble(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// Copies the call data to memory, runs `body` on it, and returns success flag and return data.
fn around(body: &str) -> Bytes {
    code(&format!(
        ".container
        CALLDATASIZE
        PUSH 0
        PUSH 0
        CALLDATACOPY
        {body}
        PUSH 0
        MSTORE
        RETURNDATASIZE
        PUSH 0
        PUSH 32
        RETURNDATACOPY
        RETURNDATASIZE
        PUSH 32
        ADD
        PUSH 0
        RETURN"
    ))
}

/// MODEL_EXEC of the model in the first word of the call data on the rest of it.
fn exec() -> Bytes {
    around("PUSH 0\nPUSH 0\nPUSH 32\nCALLDATASIZE\nSUB\nPUSH 32\nPUSH 0\nCALLDATALOAD\nMODEL_EXEC")
}

fn load() -> Bytes {
    around("PUSH 0\nPUSH 0\nPUSH 0\nCALLDATALOAD\nMODEL_LOAD")
}

fn tensor() -> Bytes {
    around("PUSH 0\nPUSH 0\nCALLDATASIZE\nPUSH 0\nTENSOR_OP")
}

/// The flag and the return data behind it.
fn flag(outcome: &CallOutcome) -> (bool, &[u8]) {
    assert!(outcome.success(), "{outcome:?}");
    (outcome.output[31] == 1, &outcome.output[32..])
}

/// An addition of two f32 vectors of one element: 1.5 + 2.0.
fn addition() -> Vec<u8> {
    let mut input = vec![1, 3, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    input.extend(1.5f32.to_le_bytes());
    input.extend(2.0f32.to_le_bytes());
    input
}

#[test]
fn operations_give_what_their_precompiles_give() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let input = [id.as_slice(), &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let doors = [
        (exec(), system::MODEL_EXEC, input.clone()),
        (load(), system::MODEL_LOAD, id.to_vec()),
        (tensor(), system::TENSOR_OP, addition()),
        (exec(), system::MODEL_EXEC, input[..36].to_vec()),
        (exec(), system::MODEL_EXEC, keccak256("no model").to_vec()),
        (load(), system::MODEL_LOAD, vec![1; 32]),
        (tensor(), system::TENSOR_OP, vec![1; 40]),
        (tensor(), system::TENSOR_OP, vec![]),
    ];
    for (container, door, data) in doors {
        let contract = lab.deploy(0, &container);
        let by_instruction = lab.call(contract, data.clone());
        let (success, output) = flag(&by_instruction);
        let by_precompile = lab.call(door, data);
        assert_eq!(success, by_precompile.success());
        assert_eq!(output, &by_precompile.output[..], "{}", simulate_reason(&by_precompile.output));
        assert_eq!(by_instruction.ai_gas_used, by_precompile.ai_gas_used);
    }
    assert_eq!(lab.call(system::TENSOR_OP, addition()).output[..], 3.5f32.to_le_bytes());
}

/// The gas that lies between two reads of GAS around a body, less the two gas of the second read.
fn metered(container: bool, body: &str) -> Bytes {
    let prefix = if container { ".container\n" } else { "" };
    let end = "GAS\nSWAP1\nSUB\nPUSH 0\nMSTORE\nPUSH 32\nPUSH 0\nRETURN";
    code(&format!("{prefix}CALLDATASIZE\nPUSH 0\nPUSH 0\nCALLDATACOPY\nPUSH 0\nPUSH 0\nGAS\n{body}\n{end}"))
}

#[test]
fn an_instruction_costs_what_a_call_of_the_precompile_costs() {
    let mut lab = Lab::new();
    // Both bodies push five operands for four and leave the flag on the stack, popped afterwards.
    let by_instruction = lab.deploy(0, &metered(true, "PUSH 0\nPUSH 0\nCALLDATASIZE\nPUSH 0\nTENSOR_OP\nPOP"));
    let calls = "PUSH 0\nPUSH 0\nCALLDATASIZE\nPUSH 0\nPUSH 0\nPUSH 0xa1f0\nGAS\nCALL\nPOP";
    let by_call = lab.deploy(0, &metered(true, calls));
    let by_legacy_call = lab.deploy(0, &metered(false, calls));
    let gas = |contract| U256::from_be_slice(&lab.call(contract, addition()).output);
    // The call pushes value, address and gas beside: 2 + 3 + 2.
    assert_eq!(gas(by_instruction) + U256::from(7), gas(by_call));
    assert_eq!(gas(by_call), gas(by_legacy_call), "displaced instructions keep their price");
}

#[test]
fn legacy_code_and_containers_nest() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let input = [id.as_slice(), &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let inner = lab.deploy(0, &forwarder(CALL, RETURN));
    // A container that calls the address in the first word with the rest, by the displaced CALL.
    let middle = lab.deploy(
        0,
        &around("PUSH 0\nPUSH 0\nPUSH 32\nCALLDATASIZE\nSUB\nPUSH 32\nPUSH 0\nPUSH 0\nCALLDATALOAD\nGAS\nCALL"),
    );
    let outer = lab.deploy(0, &forwarder(CALL, RETURN));
    let data = forward(middle, &forward(inner, &forward(system::MODEL_EXEC, &input)));
    let outcome = lab.call(outer, data);
    let (success, output) = flag(&outcome);
    assert!(success && output[31] == 1 && output[63] == 1);
    assert_eq!(output[64..], [9, 8, 7, 6, 5, 4, 3, 2]);
    // In ordinary code 0xf2 is CALLCODE still, and in containers 0xb2 is.
    let borrower = lab.deploy(0, &forwarder(crate::lab::CALLCODE, RETURN));
    assert!(flag(&lab.call(borrower, forward(inner, &forward(address(3), &[])))).0);
}

#[test]
fn a_container_runs_as_the_delegate_of_ordinary_code() {
    let mut lab = Lab::new();
    // Stores the caller in slot 0 and returns by 0xb3.
    let container = lab.deploy(0, &code(".container\nCALLER\nPUSH 0\nSSTORE\nPUSH 0\nPUSH 0\nRETURN"));
    let proxy = lab.deploy(0, &forwarder(DELEGATECALL, RETURN));
    let tx = lab.call_tx(1, proxy, forward(container, &[]), 200_000);
    let (success, ..) = lab.one(tx);
    assert!(success);
    assert_eq!(lab.state.storage(&proxy, U256::ZERO), U256::from_be_bytes(address(1).into_word().0));
    assert_eq!(lab.state.storage(&container, U256::ZERO), U256::ZERO);
}

#[test]
fn a_container_delegates_and_keeps_its_own_storage() {
    let mut lab = Lab::new();
    let writer = lab.deploy(0, &code("PUSH 7\nPUSH 0\nSSTORE\nSTOP"));
    let body = format!("PUSH 0\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH {writer}\nGAS\nDELEGATECALL");
    let container = lab.deploy(0, &around(&body));
    let tx = lab.call_tx(1, container, vec![], 200_000);
    assert!(lab.one(tx).0);
    assert_eq!(lab.state.storage(&container, U256::ZERO), U256::from(7));
}

#[test]
fn containers_are_made_by_transactions_create_and_create2() {
    let mut lab = Lab::new();
    let runtime = code(".container\nPUSH 1\nPUSH 0\nMSTORE\nPUSH 32\nPUSH 0\nRETURN");
    let init = init_code(&runtime);
    let nonce = lab.nonces.get(&1).copied().unwrap_or(0);
    let tx = lab.tx(1, TxKind::Create, 0, init.clone(), 300_000, 0);
    assert!(lab.one(tx).0);
    assert_eq!(lab.call(address(1).create(nonce), vec![]).output[31], 1);

    for (make, is_container, salt) in [("CREATE", false, ""), ("CREATE2", false, "PUSH 5\n"), ("CREATE", true, "")] {
        let prefix = if is_container { ".container\n" } else { "" };
        let factory = code(&format!(
            "{prefix}CALLDATASIZE\nPUSH 0\nPUSH 0\nCALLDATACOPY\n{salt}CALLDATASIZE\nPUSH 0\nPUSH 0\n{make}\nPUSH 0\nMSTORE\nPUSH 32\nPUSH 0\nRETURN"
        ));
        let factory = lab.deploy(0, &factory);
        let tx = lab.call_tx(1, factory, init.clone(), 500_000);
        let (success, _, output, _) = lab.one(tx);
        assert!(success);
        let made = Address::from_slice(&output[12..]);
        assert_ne!(made, Address::ZERO);
        assert_eq!(lab.call(made, vec![]).output[31], 1);
        let account = lab.state.account(&made).unwrap();
        assert_eq!(lab.state.code(&account.code_hash).unwrap().unwrap(), runtime);
    }
}

#[test]
fn init_code_may_be_a_container() {
    let mut lab = Lab::new();
    // Returns the single byte 0 by the displaced RETURN.
    let init = code(".container\nPUSH 1\nPUSH 0\nRETURN");
    let nonce = lab.nonces.get(&1).copied().unwrap_or(0);
    let tx = lab.tx(1, TxKind::Create, 0, init, 300_000, 0);
    assert!(lab.one(tx).0);
    let account = lab.state.account(&address(1).create(nonce)).unwrap();
    assert_eq!(lab.state.code(&account.code_hash).unwrap().unwrap()[..], [0]);
}

#[test]
fn other_code_that_begins_with_ef_is_refused() {
    let mut lab = Lab::new();
    let refused: [&[u8]; 7] = [
        &[0xef],
        &[0xef, 0x00, 0x00],
        &[0xef, 0x01, 0x00],
        &[0xef, 0xa1],
        &[0xef, 0xa1, 0x01],
        &[0xef, 0xa1, 0x02, 0x00],
        &[0xef, 0xa0, 0x01, 0x00],
    ];
    for runtime in refused {
        let tx = lab.tx(0, TxKind::Create, 0, init_code(runtime), 200_000, 0);
        let (success, gas_used, ..) = lab.one(tx);
        assert!(!success && gas_used == 200_000, "{runtime:02x?}");
    }
    let tx = lab.tx(0, TxKind::Create, 0, init_code(&[0xef, 0xa1, 0x01, 0x00]), 200_000, 0);
    assert!(lab.one(tx).0);
}

fn halts(lab: &mut Lab, text: &str) -> bool {
    let contract = lab.deploy(0, &code(text));
    matches!(lab.call(contract, vec![]).status, CallStatus::Halted(_))
}

#[test]
fn the_header_is_an_instruction_at_the_start_only() {
    let mut lab = Lab::new();
    assert!(!halts(&mut lab, ".container\nSTOP"));
    assert!(halts(&mut lab, ".container\n.data 0xef"));
    assert!(halts(&mut lab, ".container\n.data 0xefa101\nSTOP"));
    assert!(halts(&mut lab, ".container\nPUSH 0\nJUMP"), "the header is no destination");
    assert!(halts(&mut lab, ".container\nPUSH 2\nJUMP"));
    assert!(!halts(&mut lab, ".container\nPUSH @end\nJUMP\nINVALID\nend: JUMPDEST\nSTOP"));
    // A JUMPDEST inside the operand of a PUSH right behind the header is none.
    assert!(halts(&mut lab, ".container\nPUSH2 0x5b5b\nPUSH 4\nJUMP"));
    assert!(halts(&mut lab, "PUSH 0\nPUSH 0\nPUSH 0\n.data 0xb0"), "ordinary code has no 0xb0");
}

#[test]
fn too_few_operands_and_too_little_gas_end_the_frame() {
    let mut lab = Lab::new();
    assert!(halts(&mut lab, ".container\nPUSH 0\nPUSH 0\nPUSH 0\nTENSOR_OP"));
    assert!(halts(&mut lab, ".container\nPUSH 0\nPUSH 0\nPUSH 0\nPUSH 0\nMODEL_EXEC"));
    let huge = "PUSH 0\nPUSH 0\nPUSH 0xffffffffffffffff\nPUSH 0\nTENSOR_OP";
    assert!(halts(&mut lab, &format!(".container\n{huge}")), "memory is paid for");
    // A product whose result alone costs more than any gas limit.
    let mut thin = vec![3, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    thin.resize(16 + 2 * 65_536, 1);
    assert!(matches!(lab.call(system::TENSOR_OP, thin).status, CallStatus::Halted(_)));
}

#[test]
fn static_calls_may_compute() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let reader = lab.deploy(0, &forwarder(STATICCALL, RETURN));
    let container = lab.deploy(0, &exec());
    let input = [id.as_slice(), &[0; 8]].concat();
    let outcome = lab.call(reader, forward(container, &input));
    let (success, output) = flag(&outcome);
    assert!(success && output[31] == 1);
    assert_eq!(output[32..], [1; 8]);
}

#[test]
fn a_missing_artifact_stops_execution_in_containers_too() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let container = lab.deploy(0, &exec());
    let outer = lab.deploy(0, &forwarder(CALL, RETURN));
    lab.forget_model(model_id());
    let input = [id.as_slice(), &[0; 8]].concat();
    for (to, data) in [(container, input.clone()), (outer, forward(container, &input))] {
        let request = lattice_execution::CallRequest { to: Some(to), data: data.into(), ..Default::default() };
        let error = lab.try_call(&request).unwrap_err();
        assert!(error.to_string().contains("artifact"), "{error}");
    }
}
