//! Version chains: updates through every door, what they refuse, pruning, replacement of abandoned registrations.

use crate::lab::{
    CALL, Lab, RETURN, REVERT, STATICCALL, address, deploy_payload, forward, forwarder, model_id, reverse,
    simulate_reason,
};
use alloy_primitives::{B256, Bytes, TxKind, U256, keccak256};
use lattice_execution::{
    ModelRecord, ModelStatus,
    ai::{AccountRecord, PENDING_BLOCKS, VERSIONS_KEPT},
    model_count, model_root, model_versions, models, registration_count, registrations,
};
use lattice_types::{
    Cid, system,
    tx::{ModelCommitments, ModelDelta, ModelDeployPayload, ModelUpdate, ModelUpdatePayload},
};

fn version_id(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

/// Version `number` of the reversing model's line, following the one before.
fn update(number: u64) -> ModelUpdatePayload {
    let version = ModelDeployPayload { name: String::new(), ..deploy_payload(version_id(number)) };
    ModelUpdatePayload { model_id: model_id(), parent_version: number - 1, version, delta: None }
}

fn input(payload: &ModelUpdatePayload) -> Vec<u8> {
    [&[0x51], alloy_rlp::encode(payload).as_slice()].concat()
}

fn send(lab: &mut Lab, payload: &ModelUpdatePayload) -> u64 {
    let tx = lab.ai_tx::<ModelUpdate>(0, alloy_rlp::encode(payload), 1_000_000, 0);
    let (success, gas, output, _) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    gas
}

/// Sends an update that fails, and returns why.
fn refused(lab: &mut Lab, from: usize, payload: &ModelUpdatePayload) -> String {
    let root = model_root(&lab.state);
    let tx = lab.ai_tx::<ModelUpdate>(from, alloy_rlp::encode(payload), 1_000_000, 0);
    let (success, _, output, executed) = lab.one(tx);
    assert!(!success);
    assert_eq!(model_root(&lab.state), root, "a refused update leaves nothing");
    assert!(executed.evm.receipts[0].logs.is_empty() && executed.new_artifacts.is_empty());
    simulate_reason(&output)
}

#[test]
fn an_update_appends_a_pending_version_that_runs_by_its_own_id() {
    let mut lab = Lab::new();
    lab.ready_model();
    let chain = ModelRecord::read(&lab.state, &model_id()).unwrap().line.chain_hash;
    let delta = ModelDelta { artifact: Cid::raw(b"delta"), base_version: 1 };
    let commitments = ModelCommitments { weights_root: Some(B256::repeat_byte(3)), ..Default::default() };
    let mut payload = ModelUpdatePayload { delta: Some(delta), ..update(2) };
    payload.version.commitments = Some(commitments);
    payload.version.name = "renamed".into();
    let tx = lab.ai_tx::<ModelUpdate>(0, alloy_rlp::encode(&payload), 1_000_000, 0);
    let (success, _, output, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    assert_eq!(output[..], [version_id(2).0, U256::from(2).to_be_bytes()].concat());
    assert_eq!(executed.new_artifacts, [payload.version.artifact, delta.artifact]);
    let log = &executed.evm.receipts[0].logs[0];
    let signature = keccak256("ModelUpdated(bytes32,bytes32,uint256,bytes,bytes,string)");
    assert_eq!(log.topics(), [signature, model_id(), version_id(2), B256::from(U256::from(2))]);

    let record = ModelRecord::read(&lab.state, &version_id(2)).unwrap();
    assert_eq!((record.status, record.version, record.parent_version), (ModelStatus::Pending, 2, 1));
    assert_eq!((record.owner, record.name.as_str()), (address(0), "renamed"));
    assert_eq!((record.delta, record.commitments), (Some(delta), commitments));
    assert_eq!((record.line.id, record.line.versions), (model_id(), 2));
    assert_eq!(record.line.latest_active, Some((1, model_id())));
    let expected = keccak256([chain, keccak256(alloy_rlp::encode(&payload))].concat());
    assert_eq!(record.line.chain_hash, expected, "the chain hash commits to the payload");

    let call = [version_id(2).as_slice(), &[7; 8]].concat();
    assert!(simulate_reason(&lab.call(system::MODEL_EXEC, call.clone()).output).contains("is pending"));
    lab.add_model(version_id(2), reverse);
    lab.activate(version_id(2));
    assert_eq!(lab.call(system::MODEL_EXEC, call).output[..], [8; 8]);
    let record = ModelRecord::read(&lab.state, &model_id()).unwrap();
    assert_eq!(record.line.latest_active, Some((2, version_id(2))));
    assert_eq!(model_count(&lab.state), 1, "the list counts lines");
    assert_eq!(models(&lab.state, 0, 9), [model_id()]);
    assert_eq!(registrations(&lab.state, 0, 9), [model_id(), version_id(2)]);
    let versions = model_versions(&lab.state, &model_id());
    assert_eq!(versions.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [model_id(), version_id(2)]);
}

#[test]
fn all_doors_update_for_the_same_gas() {
    let mut lab = Lab::new();
    lab.ready_model();
    // Less what the bytes of the input cost (EIP-2028), which differ from update to update.
    let less_calldata = |number: u64, gas: u64| {
        gas - input(&update(number)).iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum::<u64>()
    };
    let first = send(&mut lab, &update(2));
    let by_transaction = send(&mut lab, &update(3));
    assert_eq!(less_calldata(2, first), less_calldata(3, by_transaction), "the same every time");
    let tx = lab.call_tx(0, system::MODELS, input(&update(4)), 1_000_000);
    let (success, gas, ..) = lab.one(tx);
    assert!(success);
    assert_eq!(less_calldata(4, gas), less_calldata(2, first));
    assert!(gas < 240_000, "a thousand updates a second need cheap ones: {gas}");

    // A contract owns the line of what it deploys, and updates it.
    let contract = lab.deploy(0, &forwarder(CALL, RETURN));
    let line = deploy_payload(version_id(100));
    let deploy = forward(system::MODELS, &alloy_rlp::encode(&line));
    let tx = lab.call_tx(1, contract, deploy, 1_000_000);
    assert!(lab.one(tx).0);
    let payload = ModelUpdatePayload { model_id: line.model_id, parent_version: 1, ..update(101) };
    let tx = lab.call_tx(1, contract, forward(system::MODELS, &input(&payload)), 1_000_000);
    assert!(lab.one(tx).0);
    let record = ModelRecord::read(&lab.state, &version_id(101)).unwrap();
    assert_eq!((record.owner, record.version), (contract, 2));
}

#[test]
fn updates_that_break_a_rule_leave_nothing() {
    let mut lab = Lab::new();
    lab.ready_model();
    send(&mut lab, &update(2));
    let good = update(3);
    let with = |change: &dyn Fn(&mut ModelUpdatePayload)| {
        let mut payload = good.clone();
        change(&mut payload);
        payload
    };
    let cases = [
        (1, good.clone(), "belongs to"),
        (0, with(&|p| p.model_id = B256::repeat_byte(9)), "names no line"),
        (0, with(&|p| p.model_id = version_id(2)), "names no line"),
        (0, with(&|p| p.parent_version = 3), "parent_version is 3, the model has 2 versions"),
        (0, with(&|p| p.parent_version = 0), "versions count from 1"),
        (0, with(&|p| p.parent_version = 1 << 40), "versions count from 1"),
        (0, with(&|p| p.delta = Some(ModelDelta { artifact: Cid::raw(b"d"), base_version: 3 })), "base_version is 3"),
        (0, with(&|p| p.version.model_id = version_id(2)), "is registered already"),
        (0, with(&|p| p.version.model_id = model_id()), "has the id of the first one"),
        (0, with(&|p| p.version.gas = 0), "gas is 0"),
        (0, with(&|p| p.version.name = "n".repeat(33)), "33 bytes"),
        (0, with(&|p| p.version.commitments = Some(Default::default())), "list of commitments is empty"),
    ];
    for (from, payload, reason) in cases {
        let text = refused(&mut lab, from, &payload);
        assert!(text.contains(reason), "{text:?} should say {reason:?}");
    }
    let tx = lab.tx(0, TxKind::Call(system::MODELS), 5, Bytes::from(input(&good)), 1_000_000, 0);
    let (success, _, output, _) = lab.one(tx);
    assert!(!success && simulate_reason(&output).contains("takes no value"));
    assert_eq!(lab.balance(system::MODELS), U256::ZERO);
    let unknown = lab.call(system::MODELS, vec![0x42, 0xc0]);
    assert!(simulate_reason(&unknown.output).contains("no operation 0x42"));
    let static_caller = lab.deploy(0, &forwarder(STATICCALL, RETURN));
    let root = model_root(&lab.state);
    let tx = lab.call_tx(0, static_caller, forward(system::MODELS, &input(&good)), 1_000_000);
    let (_, _, output, _) = lab.one(tx);
    assert!(String::from_utf8_lossy(&output).contains("call it without STATICCALL"));
    let reverting = lab.deploy(0, &forwarder(CALL, REVERT));
    let deploy = alloy_rlp::encode(deploy_payload(B256::repeat_byte(8)));
    let tx = lab.call_tx(0, reverting, forward(system::MODELS, &deploy), 1_000_000);
    assert!(!lab.one(tx).0);
    assert_eq!(model_root(&lab.state), root, "a revert further out undoes the registration");
}

#[test]
fn old_versions_are_pruned_and_the_latest_active_one_is_kept() {
    let mut lab = Lab::new();
    lab.ready_model();
    let kept = u64::from(VERSIONS_KEPT);
    for number in 2..=kept + 3 {
        send(&mut lab, &update(number));
    }
    // Version 1 is the latest active one, so it stays; 2 and 3 fell out of the window.
    assert_eq!(ModelRecord::read(&lab.state, &model_id()).unwrap().status, ModelStatus::Active);
    assert_eq!(ModelRecord::read(&lab.state, &version_id(2)), None);
    assert_eq!(ModelRecord::read(&lab.state, &version_id(3)), None);
    assert!(ModelRecord::read(&lab.state, &version_id(4)).is_some());
    assert_eq!(model_versions(&lab.state, &model_id()).len(), VERSIONS_KEPT as usize + 1);
    for field in 0..16 {
        let slot = lattice_execution::ai::model_slot(&version_id(2), field);
        assert_eq!(lab.state.storage(&system::MODELS, slot), U256::ZERO, "field {field} is cleared");
    }
    assert!(refused(&mut lab, 0, &ModelUpdatePayload { parent_version: 2, ..update(90) }).contains("newest 16"));

    // A newer version becomes active: the first one is superseded and too old, its id stays known.
    lab.activate(version_id(kept + 2));
    let record = ModelRecord::read(&lab.state, &model_id()).unwrap();
    assert_eq!((record.status, record.name.as_str()), (ModelStatus::Pruned, "reverser"));
    assert_eq!(record.line.latest_active, Some((kept as u32 + 2, version_id(kept + 2))));
    let outcome = lab.call(system::MODEL_EXEC, [model_id().as_slice(), &[0; 8]].concat());
    assert!(simulate_reason(&outcome.output).contains("is pruned: run a newer version"));
    // Its id names the line for good.
    let tx = lab.deploy_model_tx(1, &deploy_payload(model_id()));
    let (success, _, output, _) = lab.one(tx);
    assert!(!success && simulate_reason(&output).contains("names that line for good"));
    // A late certificate for a pruned version does nothing; an older version does not take the place of a newer one.
    let root = model_root(&lab.state);
    lab.activate(version_id(2));
    assert_eq!(model_root(&lab.state), root);
    lab.activate(version_id(kept + 1));
    let record = ModelRecord::read(&lab.state, &model_id()).unwrap();
    assert_eq!(record.line.latest_active, Some((kept as u32 + 2, version_id(kept + 2))));
    assert_eq!(registration_count(&lab.state), kept + 3);
}

#[test]
fn an_abandoned_registration_may_be_replaced() {
    let mut lab = Lab::new();
    let squatted = ModelDeployPayload {
        commitments: Some(ModelCommitments { metadata: Some(B256::repeat_byte(1)), ..Default::default() }),
        ..deploy_payload(model_id())
    };
    let tx = lab.deploy_model_tx(1, &squatted);
    assert!(lab.one(tx).0);
    let registered = ModelRecord::read(&lab.state, &model_id()).unwrap().registered_block;
    let tx = lab.deploy_model_tx(0, &deploy_payload(model_id()));
    let (success, _, output, _) = lab.one(tx);
    assert!(!success);
    let text = simulate_reason(&output);
    assert!(text.contains(&format!("from block {}", registered + PENDING_BLOCKS)), "{text}");

    lab.skip_to(registered + PENDING_BLOCKS);
    let tx = lab.deploy_model_tx(0, &deploy_payload(model_id()));
    let (success, _, output, _) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    let record = ModelRecord::read(&lab.state, &model_id()).unwrap();
    assert_eq!((record.owner, record.commitments, record.version), (address(0), ModelCommitments::default(), 1));
    let owned = |lab: &Lab, account| AccountRecord::read(&lab.state, &address(account)).models_owned;
    assert_eq!((owned(&lab, 0), owned(&lab, 1)), (1, 0));
    assert_eq!(model_count(&lab.state), 1, "its id is in the list already");
    assert_eq!(registration_count(&lab.state), 2);
    // An active model stays whose it is.
    lab.activate(model_id());
    lab.skip_to(lab.header.number + PENDING_BLOCKS + 1);
    let tx = lab.deploy_model_tx(1, &deploy_payload(model_id()));
    assert!(!lab.one(tx).0);
}
