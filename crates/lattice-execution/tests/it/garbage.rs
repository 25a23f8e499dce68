//! Random input to every door: no panic, no change by a call that fails, nothing that runs unpaid.

use crate::lab::{
    CALL, Lab, RETURN, STATICCALL, address, deploy_payload, forward, forwarder, inference_payload, model_id,
};
use alloy_primitives::{Address, B256};
use lattice_execution::{CallRequest, Outcome, inference_root, model_root};
use lattice_types::{
    system,
    tx::{Inference, ModelDeploy},
};
use proptest::prelude::*;

fn operation(number: u16) -> Vec<u8> {
    let body = [alloy_rlp::encode(model_id()), alloy_rlp::encode(number)].concat();
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut out);
    [out, body].concat()
}

/// Bytes that look more or less like something a door takes.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let valid = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..16).prop_map(|tensors| inference_payload(model_id(), &tensors)),
        any::<[u8; 32]>().prop_map(|id| alloy_rlp::encode(deploy_payload(B256::from(id)))),
        // Any op byte before a list of an id and a number: the shape of most operations.
        (0u8..0x60, any::<u16>()).prop_map(|(op, number)| { [&[op], operation(number).as_slice()].concat() }),
        prop::collection::vec(any::<u8>(), 0..16).prop_map(|tensors| [model_id().as_slice(), &tensors].concat()),
    ];
    let mutated = (
        valid.clone(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut bytes, changes, end, cut)| {
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        });
    prop_oneof![1 => noise, 1 => valid, 3 => mutated]
}

fn door() -> impl Strategy<Value = Address> {
    prop::sample::select([&system::DOORS[..], &[system::STAKING]].concat())
}

/// A lab with an active model and forwarders by CALL and STATICCALL, made once.
fn lab() -> (Lab, [Address; 2]) {
    let mut lab = Lab::new();
    lab.ready_model();
    let forwarders = [CALL, STATICCALL].map(|op| lab.deploy(0, &forwarder(op, RETURN)));
    (lab, forwarders)
}

#[test]
fn garbage_never_panics() {
    let (lab, forwarders) = lab();
    let config = ProptestConfig { cases: 3_000, ..ProptestConfig::default() };
    let strategy = (door(), input(), 0u64..1_000_000, 0usize..3);
    proptest!(config, |((door, input, gas, way) in strategy)| {
        let (to, data) = match way {
            0 => (door, input),
            way => (forwarders[way - 1], forward(door, &input)),
        };
        let request = CallRequest { from: Some(address(1)), to: Some(to), data: data.into(), gas: Some(gas), ..CallRequest::default() };
        match lab.try_call(&request) {
            Ok(outcome) => prop_assert!(outcome.gas_used <= gas),
            Err(error) => prop_assert!(error.to_string().contains("gas"), "only a low gas limit is invalid here: {error}"),
        }
    });
}

#[test]
fn garbage_in_transactions_keeps_the_roots_when_it_fails() {
    let config = ProptestConfig { cases: 200, ..ProptestConfig::default() };
    proptest!(config, |(payload in input(), is_deploy in any::<bool>(), gas in 60_000u64..800_000, ai_gas in any::<u64>())| {
        let (mut lab, _) = lab();
        let before = [model_root(&lab.state), inference_root(&lab.state)];
        let nonce = lab.state.account(&address(1)).unwrap().nonce;
        let tx = if is_deploy {
            lab.ai_tx::<ModelDeploy>(1, payload, gas, ai_gas)
        } else {
            lab.ai_tx::<Inference>(1, payload, gas, ai_gas)
        };
        let (outcomes, executed) = lab.block(&[tx]);
        let Outcome::Included { success, gas_used, ai_gas_used, .. } = &outcomes[0] else {
            return Err(TestCaseError::fail(format!("{outcomes:?}")));
        };
        prop_assert!(*gas_used <= gas && *ai_gas_used <= ai_gas);
        prop_assert_eq!(lab.state.account(&address(1)).unwrap().nonce, nonce + 1);
        if !success {
            prop_assert_eq!([model_root(&lab.state), inference_root(&lab.state)], before);
            prop_assert!(executed.new_artifacts.is_empty());
        }
        prop_assert_eq!(lab.state.account(&system::MODELS).unwrap().nonce, 1);
    });
}
