//! Models: registration, activation, inference through every door.

use crate::lab::{
    Block, CALL, CALLCODE, DELEGATECALL, Lab, RETURN, REVERT, STATICCALL, address, deploy_payload, forward, forwarder,
    inference_payload, model_id, reverse, simulate_reason,
};
use alloy_consensus::EMPTY_ROOT_HASH;
use alloy_primitives::{B256, Bytes, TxKind, U256, keccak256};
use lattice_execution::{
    CallRequest, ExecutionError, FOR_GOOD, InferenceError, ModelRecord, ModelStatus, Outcome, SimulationError,
    ai::{AccountRecord, ModelLine, ModelPermission, load_gas, model_slot},
    artifact_list_cid, inference_record, inference_root, model_count, model_root, models, training_root,
};
use lattice_types::{
    Cid, system,
    tx::{Inference, ModelDeploy},
};
use std::sync::atomic::Ordering;

const INPUT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
/// Loading 10,000 bytes.
const LOADING: u64 = load_gas(10_000);
/// Static cost and 16 bytes moved.
const RUN: u64 = 50_016;

fn expected() -> Vec<u8> {
    reverse(&INPUT).unwrap()
}

fn exec_data(id: B256, input: &[u8]) -> Vec<u8> {
    [id.as_slice(), input].concat()
}

#[test]
fn a_deployment_registers_a_pending_model() {
    let mut lab = Lab::new();
    let payload = deploy_payload(model_id());
    let tx = lab.deploy_model_tx(0, &payload);
    let before = inference_root(&lab.state);
    let (success, _, output, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    assert_eq!(output[..], model_id()[..]);
    assert_eq!(executed.evm.receipts[0].tx_type, 0x50);
    let log = &executed.evm.receipts[0].logs[0];
    assert_eq!(log.address, system::MODELS);
    let topics = [keccak256("ModelDeployed(bytes32,address,bytes,string)"), model_id(), address(0).into_word()];
    assert_eq!(log.topics(), topics);
    assert_eq!(executed.new_artifacts, [payload.artifact]);
    assert_ne!(model_root(&executed.state), EMPTY_ROOT_HASH);
    assert_eq!(inference_root(&executed.state), before);
    assert_eq!(training_root(&executed.state), EMPTY_ROOT_HASH);

    let record = ModelRecord::read(&executed.state, &model_id()).unwrap();
    let chain = [[0; 32], keccak256(alloy_rlp::encode(&payload)).0].concat();
    let expected = ModelRecord {
        status: ModelStatus::Pending,
        owner: address(0),
        gas: 50_000,
        input_bytes: 8,
        output_bytes: 8,
        artifact_bytes: 10_000,
        artifact: payload.artifact,
        fresh_until: 0,
        scheduled: false,
        name: "reverser".into(),
        registered_block: 1,
        activated_block: None,
        version: 1,
        parent_version: 0,
        delta: None,
        commitments: Default::default(),
        metrics: Default::default(),
        line: ModelLine {
            id: model_id(),
            versions: 1,
            latest_active: None,
            chain_hash: keccak256(chain),
            permission: ModelPermission::Public,
            price: 0,
            retired: false,
            offered_to: None,
            stake: 0,
        },
    };
    assert_eq!(record, expected);
    assert_eq!(AccountRecord::read(&executed.state, &address(0)).models_owned, 1);
    assert_eq!(model_count(&executed.state), 1);
    assert_eq!(models(&executed.state, 0, 10), [model_id()]);
    // The layout is protocol: gas and lengths sit where the specification says.
    let slot = U256::from_be_bytes(keccak256([model_id().as_slice(), &U256::from(1).to_be_bytes::<32>()].concat()).0);
    assert_eq!(model_slot(&model_id(), 1), slot);
    let words = [50_000u64, 8, 8, 10_000].map(u64::to_be_bytes).concat();
    assert_eq!(lab.state.storage(&system::MODELS, slot), U256::from_be_slice(&words));
}

#[test]
fn a_pending_model_does_not_run_and_activation_makes_it() {
    let mut lab = Lab::new();
    let tx = lab.deploy_model_tx(0, &deploy_payload(model_id()));
    lab.one(tx);
    let outcome = lab.call(system::MODEL_EXEC, exec_data(model_id(), &INPUT));
    assert!(simulate_reason(&outcome.output).contains("is pending"));
    lab.activate(model_id());
    let record = ModelRecord::read(&lab.state, &model_id()).unwrap();
    assert_eq!((record.status, record.activated_block), (ModelStatus::Active, Some(2)));
    assert_eq!(
        (record.fresh_until, record.is_suspended(u64::MAX)),
        (FOR_GOOD, false),
        "here one certificate is for good"
    );
    assert_eq!(lab.call(system::MODEL_EXEC, exec_data(model_id(), &INPUT)).output, expected());
    // A second certificate changes nothing, one for an unknown model neither.
    let root = model_root(&lab.state);
    lab.activate(model_id());
    lab.activate(B256::repeat_byte(9));
    assert_eq!(model_root(&lab.state), root);
}

#[test]
fn registration_and_activation_in_one_block_counts_for_the_next() {
    // Activations come before transactions, so a certificate beside the deployment is too early.
    let mut lab = Lab::new();
    let tx = lab.deploy_model_tx(0, &deploy_payload(model_id()));
    lab.execute(&Block { txs: &[tx], activations: &[model_id()], ..Block::default() }).unwrap();
    assert_eq!(ModelRecord::read(&lab.state, &model_id()).unwrap().status, ModelStatus::Pending);
}

#[test]
fn an_activated_model_runs_in_the_same_block() {
    let mut lab = Lab::new();
    let tx = lab.deploy_model_tx(0, &deploy_payload(model_id()));
    lab.one(tx);
    let tx = lab.inference_tx(1, model_id(), &INPUT, 500_000, 200_000);
    let (outcomes, _) = lab.execute(&Block { txs: &[tx], activations: &[model_id()], ..Block::default() }).unwrap();
    assert!(matches!(&outcomes[0], Outcome::Included { success: true, output, .. } if output == &expected()));
}

#[test]
fn all_doors_give_the_same_result_for_the_same_gas() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let static_caller = lab.deploy(0, &forwarder(STATICCALL, RETURN));
    let caller = lab.deploy(0, &forwarder(CALL, RETURN));
    let payload = inference_payload(id, &INPUT);
    let exec = exec_data(id, &INPUT);
    let txs = [
        lab.inference_tx(1, id, &INPUT, 400_000, 200_000),           // 0x52
        lab.call_tx(1, system::INFERENCE, payload.clone(), 400_000), // type 2 to the system account
        lab.call_tx(1, caller, forward(system::INFERENCE, &payload), 400_000),
        lab.call_tx(1, system::MODEL_EXEC, exec.clone(), 400_000),
        lab.call_tx(1, static_caller, forward(system::MODEL_EXEC, &exec), 400_000),
        lab.call_tx(1, caller, forward(system::MODEL_EXEC, &exec), 400_000),
    ];
    let mut gas = Vec::new();
    for tx in txs {
        // A block each: every first touch pays for loading.
        let (outcomes, executed) = lab.block(&[tx]);
        let Outcome::Included { success: true, gas_used, ai_gas_used, output } = &outcomes[0] else {
            panic!("{outcomes:?}")
        };
        assert!(output.ends_with(&expected()), "{output}");
        assert_eq!(*ai_gas_used, LOADING + RUN);
        assert_eq!(executed.ai_gas_used, LOADING + RUN);
        gas.push(*gas_used);
    }
    assert_eq!(gas[0], gas[1], "AI transaction and plain transaction");
    assert_eq!(inference_record(&lab.state, &id, &keccak256(INPUT)), Some(keccak256(expected())));
    assert_ne!(inference_root(&lab.state), EMPTY_ROOT_HASH);
}

#[test]
fn an_inference_transaction_logs_and_records() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let tx = lab.inference_tx(3, id, &INPUT, 500_000, 100_000);
    let (success, _, output, executed) = lab.one(tx);
    assert!(success, "{}", simulate_reason(&output));
    assert_eq!(output, expected());
    let receipt = &executed.evm.receipts[0];
    assert_eq!(receipt.tx_type, 0x52);
    let log = &receipt.logs[0];
    let signature = keccak256("InferenceCompleted(bytes32,address,bytes32,bytes)");
    assert_eq!(log.address, system::INFERENCE);
    assert_eq!(log.topics(), [signature, id, address(3).into_word(), keccak256(INPUT)]);
    assert_eq!(log.data.data[..64], [U256::from(32).to_be_bytes::<32>(), U256::from(8).to_be_bytes::<32>()].concat());
    assert_eq!(log.data.data[64..72], expected());
    assert!(executed.new_artifacts.is_empty());
}

#[test]
fn the_first_touch_in_a_block_pays_for_loading() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let txs = [1, 2, 3].map(|from| lab.inference_tx(from, id, &INPUT, 400_000, 200_000));
    let (outcomes, executed) = lab.block(&txs);
    let ai_gas: Vec<u64> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Included { success: true, ai_gas_used, .. } => *ai_gas_used,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ai_gas, [LOADING + RUN, RUN, RUN]);
    assert_eq!(executed.ai_gas_used, LOADING + 3 * RUN);
}

#[test]
fn model_load_tells_shape_and_price() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let outcome = lab.call(system::MODEL_LOAD, id.to_vec());
    let words = [B256::from(U256::from(RUN)), B256::from(U256::from(8)), B256::from(U256::from(8))];
    assert_eq!(outcome.output, [id, words[0], words[1], words[2]].concat());
    assert_eq!(outcome.ai_gas_used, LOADING);
}

#[test]
fn failures_revert_with_a_reason_and_change_nothing() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let unknown = B256::repeat_byte(0x77);
    let long_name = lattice_types::tx::ModelDeployPayload { name: "x".repeat(33), ..deploy_payload(unknown) };
    let nul_name = lattice_types::tx::ModelDeployPayload { name: "a\0b".into(), ..deploy_payload(unknown) };
    let free = lattice_types::tx::ModelDeployPayload { gas: 0, ..deploy_payload(unknown) };
    let cases: [(_, Vec<u8>, &str); 13] = [
        (system::MODEL_EXEC, exec_data(unknown, &INPUT), "is not registered: deploy it first"),
        (system::MODEL_EXEC, exec_data(id, &INPUT[..7]), "the input has 7 bytes, model"),
        (system::MODEL_EXEC, vec![1; 31], "must begin with the 32-byte model id"),
        (system::MODEL_EXEC, vec![], "must begin with the 32-byte model id"),
        (system::MODEL_LOAD, exec_data(id, &[1]), "1 bytes follow the 32-byte model id"),
        (system::MODEL_LOAD, unknown.to_vec(), "is not registered"),
        (system::INFERENCE, vec![0xc0], "malformed Inference payload"),
        (system::INFERENCE, inference_payload(id, &[0; 9]), "the input has 9 bytes"),
        (system::MODELS, vec![], "malformed ModelDeploy payload"),
        (system::MODELS, alloy_rlp::encode(deploy_payload(id)), "is registered already"),
        (system::MODELS, alloy_rlp::encode(long_name), "33 bytes"),
        (system::MODELS, alloy_rlp::encode(nul_name), "NUL"),
        (system::MODELS, alloy_rlp::encode(free), "gas is 0"),
    ];
    let roots = [model_root(&lab.state), inference_root(&lab.state)];
    for (to, data, reason) in cases {
        let tx = lab.call_tx(1, to, data, 2_000_000);
        let (success, gas_used, output, executed) = lab.one(tx);
        assert!(!success, "{reason}");
        let text = simulate_reason(&output);
        assert!(text.contains(reason), "{text:?} should say {reason:?}");
        assert!(gas_used < 2_000_000, "a revert returns the gas that is left: {reason}");
        assert!(gas_used >= 21_000 + 10_500, "the base price is charged: {reason}");
        assert!(executed.evm.receipts[0].logs.is_empty());
    }
    assert_eq!([model_root(&lab.state), inference_root(&lab.state)], roots);
    assert_eq!(lab.engine.runs.load(Ordering::Relaxed), 0);
}

#[test]
fn value_is_refused_by_every_door() {
    let mut lab = Lab::new();
    lab.ready_model();
    for door in system::DOORS {
        let tx = lab.tx(1, TxKind::Call(door), 5, Bytes::from(vec![0; 40]), 1_000_000, 0);
        let (success, _, output, _) = lab.one(tx);
        assert!(!success);
        // ZK_PROVE takes a fee, and refuses this input for what it is.
        let takes_fee = door == system::ZK_PROVE;
        assert_eq!(simulate_reason(&output).contains("takes no value"), !takes_fee, "{door}");
        assert_eq!(lab.balance(door), U256::ZERO);
    }
    let payload = inference_payload(model_id(), &[0; 8]);
    let tx = lab.tx(1, TxKind::Call(system::INFERENCE), 5, payload.into(), 1_000_000, 0);
    let (success, _, output, _) = lab.one(tx);
    assert!(!success && simulate_reason(&output).contains("takes no value"));
    assert_eq!(lab.balance(system::INFERENCE), U256::ZERO);
}

#[test]
fn a_static_call_cannot_write_nor_can_a_delegate_call() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let deploy = alloy_rlp::encode(deploy_payload(B256::repeat_byte(5)));
    let infer = inference_payload(id, &INPUT);
    let root = model_root(&lab.state);
    for (op, reason) in
        [(STATICCALL, "STATICCALL"), (DELEGATECALL, "must be called with CALL"), (CALLCODE, "must be called with CALL")]
    {
        let contract = lab.deploy(0, &forwarder(op, RETURN));
        for (door, data) in [(system::MODELS, &deploy), (system::INFERENCE, &infer)] {
            let tx = lab.call_tx(1, contract, forward(door, data), 2_000_000);
            let (success, _, output, _) = lab.one(tx);
            assert!(success);
            assert_eq!(output[..32], [0; 32], "the inner call failed");
            assert!(simulate_reason(&output[32..]).contains(reason), "{}", simulate_reason(&output[32..]));
        }
    }
    assert_eq!(model_root(&lab.state), root);
    assert_eq!(inference_root(&lab.state), EMPTY_ROOT_HASH);
    // The pure doors allow all of them.
    for op in [STATICCALL, DELEGATECALL, CALLCODE, CALL] {
        let contract = lab.deploy(0, &forwarder(op, RETURN));
        let outcome = lab.call(contract, forward(system::MODEL_EXEC, &exec_data(id, &INPUT)));
        assert_eq!(outcome.output[31], 1);
        assert_eq!(outcome.output[32..], expected());
    }
}

#[test]
fn a_revert_around_an_inference_leaves_no_record_and_no_log() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let reverter = lab.deploy(0, &forwarder(CALL, REVERT));
    let outer = lab.deploy(0, &forwarder(CALL, RETURN));
    let data = forward(reverter, &forward(system::INFERENCE, &inference_payload(id, &INPUT)));
    let tx = lab.call_tx(1, outer, data, 1_000_000);
    let (success, _, output, executed) = lab.one(tx);
    assert!(success, "the outer call goes on");
    assert_eq!(output[..32], [0; 32]);
    assert!(output.ends_with(&expected()), "the inference itself ran");
    assert!(executed.evm.receipts[0].logs.is_empty());
    assert_eq!(inference_record(&lab.state, &id, &keccak256(INPUT)), None);
    assert_eq!(inference_root(&lab.state), EMPTY_ROOT_HASH);

    let deploy = alloy_rlp::encode(deploy_payload(B256::repeat_byte(5)));
    let tx = lab.call_tx(1, outer, forward(reverter, &forward(system::MODELS, &deploy)), 2_000_000);
    let (success, _, _, executed) = lab.one(tx);
    assert!(success);
    assert!(executed.new_artifacts.is_empty(), "a reverted registration references nothing");
    assert_eq!(model_count(&lab.state), 1);
}

#[test]
fn out_of_gas_inside_model_exec_halts_before_any_work() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let enough = {
        let tx = lab.call_tx(1, system::MODEL_EXEC, exec_data(id, &INPUT), 400_000);
        lab.one(tx).1
    };
    let runs = lab.engine.runs.load(Ordering::Relaxed);
    let tx = lab.call_tx(1, system::MODEL_EXEC, exec_data(id, &INPUT), enough - 1);
    let (success, gas_used, output, executed) = lab.one(tx);
    assert!(!success);
    assert_eq!(gas_used, enough - 1, "all gas is gone");
    assert!(output.is_empty());
    assert!(!executed.evm.receipts[0].success);
    assert_eq!(lab.engine.runs.load(Ordering::Relaxed), runs, "nothing ran unpaid");
    let tx = lab.call_tx(1, system::MODEL_EXEC, exec_data(id, &INPUT), enough);
    assert!(lab.one(tx).0, "exactly enough is enough");

    // A contract survives the halt of its inner call (EIP-150 keeps a 64th).
    let caller = lab.deploy(0, &forwarder(CALL, RETURN));
    let tx = lab.call_tx(1, caller, forward(system::MODEL_EXEC, &exec_data(id, &INPUT)), 60_000);
    let (success, _, output, _) = lab.one(tx);
    assert!(success);
    assert_eq!(output[..], [0; 32], "failed, without data");
}

#[test]
fn the_declared_ai_gas_bounds_the_work() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let tx = lab.inference_tx(1, id, &INPUT, 400_000, LOADING + RUN - 1);
    let (success, gas_used, ..) = lab.one(tx);
    assert!(!success);
    assert_eq!(gas_used, 400_000, "beyond the bound is out of gas");
    let tx = lab.inference_tx(1, id, &INPUT, 400_000, LOADING + RUN);
    assert!(lab.one(tx).0);
}

#[test]
fn a_missing_artifact_stops_the_block_and_keeps_it_stopped() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let root = lab.state.root();
    lab.forget_model(id);
    let tx = lab.inference_tx(1, id, &INPUT, 400_000, 200_000);
    let error = lab.execute(&Block { txs: std::slice::from_ref(&tx), ..Block::default() }).unwrap_err();
    assert_eq!(error, ExecutionError::MissingArtifact(id));
    assert_eq!(lab.state.root(), root);
    // Deep inside of calls too, and in simulations.
    let caller = lab.deploy(0, &forwarder(CALL, RETURN));
    let data = forward(system::MODEL_EXEC, &exec_data(id, &INPUT));
    let request = CallRequest { to: Some(caller), data: data.into(), ..CallRequest::default() };
    assert_eq!(lab.try_call(&request), Err(SimulationError::Execution(ExecutionError::MissingArtifact(id))));
    // With the artifact back the same transaction executes.
    lab.add_model(id, reverse);
    assert!(lab.one(tx).0);
}

#[test]
fn after_an_error_the_executor_repeats_it() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    lab.forget_model(id);
    let tx = lab.inference_tx(1, id, &INPUT, 400_000, 200_000);
    let innocent = lab.transfer(2, address(3), 1, 0);
    let hashes = |_: u64| None;
    let ctx = lattice_execution::BlockContext {
        spec: &lab.spec,
        parent: &lab.header,
        parent_hash: lab.header.hash_slow(),
        selected_parent: B256::ZERO,
        slot: 99,
        prev_randao: B256::ZERO,
        dag_blocks: 1,
        block_hashes: &hashes,
        readiness: &[],
        blue_producers: &[],
        certificates: &[],
        slashings: &[],
        carriers: &[],
        inference: &lab.engine,
    };
    let occurrence = |tx, sender| lattice_execution::Occurrence {
        tx,
        sender,
        carrier: B256::ZERO,
        index: 0,
        payee: crate::lab::PRODUCER,
    };
    let missing = ExecutionError::MissingArtifact(id);
    let mut executor = lattice_execution::BlockExecutor::begin(ctx, &lab.state).unwrap();
    assert_eq!(executor.execute(occurrence(&tx, address(1))), Err(missing.clone()));
    assert_eq!(executor.execute(occurrence(&innocent, address(2))), Err(missing.clone()));
    assert_eq!(executor.finish().map(|_| ()), Err(missing));
}

#[test]
fn the_engines_refusals_revert_and_its_faults_stop() {
    let mut lab = Lab::new();
    let refusing = B256::repeat_byte(1);
    let broken = B256::repeat_byte(2);
    let lying = B256::repeat_byte(3);
    lab.add_model(refusing, |_| Err(InferenceError::Refused("index 900 is out of range".into())));
    lab.add_model(broken, |_| Err(InferenceError::Fault("disk on fire".into())));
    lab.add_model(lying, |_| Ok(vec![0; 3]));
    for id in [refusing, broken, lying] {
        let tx = lab.deploy_model_tx(0, &deploy_payload(id));
        assert!(lab.one(tx).0);
        lab.activate(id);
    }
    assert_eq!(models(&lab.state, 1, 1), [broken]);
    assert_eq!(models(&lab.state, 0, u64::MAX), [refusing, broken, lying]);
    assert_eq!(models(&lab.state, 9, 9), [] as [B256; 0]);
    let outcome = lab.call(system::MODEL_EXEC, exec_data(refusing, &INPUT));
    assert_eq!(simulate_reason(&outcome.output), "index 900 is out of range");
    assert!(outcome.gas_used > 50_000, "the run was paid");
    let outcome = lab.call(system::MODEL_EXEC, exec_data(lying, &INPUT));
    assert!(simulate_reason(&outcome.output).contains("the output has 3 bytes"));
    let tx = lab.inference_tx(1, broken, &INPUT, 400_000, 200_000);
    let error = lab.execute(&Block { txs: &[tx], ..Block::default() }).unwrap_err();
    assert_eq!(error, ExecutionError::Fault("disk on fire".into()));
}

#[test]
fn delegating_to_a_door_by_eip_7702_runs_nothing() {
    // A delegation to a precompile executes empty code (EIP-7702), so nobody becomes a door.
    let mut lab = Lab::new();
    lab.ready_model();
    let mut diff = lattice_state::StateDiff::default();
    let code: Bytes = [&[0xef, 0x01, 0x00], system::MODEL_EXEC.as_slice()].concat().into();
    let mut account = lab.state.account(&address(5)).unwrap();
    account.code_hash = keccak256(&code);
    diff.codes.insert(account.code_hash, code);
    let entry = lattice_state::AccountDiff { account: Some(account), ..Default::default() };
    diff.accounts.insert(address(5), entry);
    lab.state = lab.state.apply(&diff);
    let outcome = lab.call(address(5), exec_data(model_id(), &INPUT));
    assert!(outcome.success() && outcome.output.is_empty());
}

#[test]
fn the_list_of_new_artifacts_has_a_cid() {
    assert_eq!(artifact_list_cid(&[]).0, None);
    let artifact = Cid::raw(b"weights");
    let list = [&[0xc0 + 37, 0x80 + 36][..], &artifact.to_bytes()].concat();
    assert_eq!(artifact_list_cid(&[artifact]).0, Some(Cid::raw(&list)));
}

#[test]
fn payloads_with_trailing_bytes_are_malformed_through_every_door() {
    let mut lab = Lab::new();
    let id = lab.ready_model();
    let trailing = [inference_payload(id, &INPUT), vec![0]].concat();
    let tx = lab.ai_tx::<Inference>(1, trailing.clone(), 400_000, 200_000);
    let (success, gas, output, _) = lab.one(tx);
    assert!(!success);
    assert!(simulate_reason(&output).contains("1 bytes follow the payload"));
    let tx = lab.call_tx(1, system::INFERENCE, trailing, 400_000);
    assert_eq!(lab.one(tx).1, gas);
    let tx = lab.ai_tx::<ModelDeploy>(1, vec![0xc1], 400_000, 0);
    assert!(!lab.one(tx).0);
}
