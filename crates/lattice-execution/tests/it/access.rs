//! `eth_createAccessList`.

use crate::lab::{CALL, Lab, RETURN, address, forward, forwarder, inference_payload};
use alloy_eips::eip2930::AccessListItem;
use alloy_primitives::{B256, U256};
use lattice_execution::{CallRequest, simulate};
use lattice_types::system;

/// Reads slots 5 and 6.
const READER: &[u8] = &[0x60, 0x05, 0x54, 0x60, 0x06, 0x54, 0x00];

fn slot(number: u64) -> B256 {
    U256::from(number).into()
}

#[test]
fn slots_and_other_accounts_are_listed_and_make_the_call_cheaper() {
    let mut lab = Lab::new();
    let reader = lab.deploy(0, READER);
    let caller = lab.deploy(0, &forwarder(CALL, RETURN));
    let request = CallRequest {
        from: Some(address(1)),
        to: Some(caller),
        data: forward(reader, &[]).into(),
        ..CallRequest::default()
    };
    let found = lab.simulate(|env, state| simulate::create_access_list(env, state, &request)).unwrap();
    let expected = AccessListItem { address: reader, storage_keys: vec![slot(5), slot(6)] };
    assert_eq!(found.access_list.0, [expected], "sender and callee are warm anyway");
    assert!(found.outcome.success());
    let with_list = CallRequest { access_list: Some(found.access_list), ..request.clone() };
    assert_eq!(lab.try_call(&with_list).unwrap().gas_used, found.outcome.gas_used);

    let direct = CallRequest { to: Some(reader), ..request };
    let found = lab.simulate(|env, state| simulate::create_access_list(env, state, &direct)).unwrap();
    assert_eq!(found.access_list.0.len(), 1, "a callee is listed for its slots");
    assert_eq!(found.access_list.0[0].address, reader);
}

#[test]
fn doors_need_no_list() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let request = CallRequest {
        from: Some(address(1)),
        to: Some(system::INFERENCE),
        data: inference_payload(id, &[1; 8]).into(),
        ..CallRequest::default()
    };
    let found = lab.simulate(|env, state| simulate::create_access_list(env, state, &request)).unwrap();
    assert!(found.outcome.success());
    let [declaration] = &found.access_list.0[..] else { panic!("{:?}", found.access_list) };
    assert_eq!(declaration.address, system::AI_GAS, "AI gas is declared, doors are warm");
}
