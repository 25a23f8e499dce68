//! Readiness, epoch after epoch: when models begin to run, when they are suspended, when they come back.

use crate::lab::{Block, Lab, deploy_payload, model_id, simulate_reason};
use crate::reputation::{challenge_tx, wrong_answer};
use alloy_primitives::{B256, TxKind, U256, keccak256};
use lattice_execution::{ModelRecord, ModelStatus, Outcome, ReadinessNeed, model_root};
use lattice_types::{
    ChainSpec, system,
    tx::operation::{Operation, SettleRequest},
};

const EPOCH_SLOTS: u64 = 100;
const ID: fn() -> B256 = model_id;

fn lab() -> Lab {
    let spec = ChainSpec { readiness_renewed: true, epoch_slots: EPOCH_SLOTS, slot_ms: 1_000, ..ChainSpec::dev() };
    let mut lab = Lab::with_spec(spec);
    lab.add_model(ID(), crate::lab::reverse);
    let tx = lab.deploy_model_tx(0, &deploy_payload(ID()));
    lab.one(tx);
    lab
}

/// The first block of an epoch, with these certificates.
fn begin(lab: &mut Lab, epoch: u64, two_thirds: &[B256], half: &[B256]) {
    lab.slot = epoch * EPOCH_SLOTS - 1;
    lab.execute(&Block { activations: two_thirds, refreshes: half, ..Block::default() }).unwrap();
}

fn record(lab: &Lab) -> ModelRecord {
    ModelRecord::read(&lab.state, &ID()).unwrap()
}

/// Runs the model by an AI transaction; why it failed.
fn run(lab: &mut Lab) -> Result<(), String> {
    let tx = lab.inference_tx(1, ID(), &[1, 2, 3, 4, 5, 6, 7, 8], 500_000, 200_000);
    let (success, _, output, _) = lab.one(tx);
    if success { Ok(()) } else { Err(simulate_reason(&output)) }
}

#[test]
fn a_model_runs_an_epoch_after_its_certificate() {
    let mut lab = lab();
    assert_eq!(record(&lab).readiness_need(0), ReadinessNeed::TwoThirds);
    let root = model_root(&lab.state);
    lab.execute(&Block { refreshes: &[ID()], ..Block::default() }).unwrap();
    assert_eq!(model_root(&lab.state), root, "half of the stake is not enough to begin");
    lab.activate(ID());
    let root = model_root(&lab.state);
    lab.activate(ID());
    assert_eq!(model_root(&lab.state), root, "a second certificate changes nothing");
    let found = record(&lab);
    assert_eq!(
        (found.status, found.scheduled, found.readiness_need(0)),
        (ModelStatus::Pending, true, ReadinessNeed::None)
    );
    assert!(run(&mut lab).unwrap_err().contains("is pending"));
    begin(&mut lab, 1, &[], &[]);
    let found = record(&lab);
    assert_eq!((found.status, found.scheduled, found.fresh_until), (ModelStatus::Active, false, 1));
    assert_eq!((found.activated_block, found.line.latest_active), (Some(lab.header.number), Some((1, ID()))));
    assert_eq!([1, 2].map(|epoch| found.readiness_need(epoch)), [ReadinessNeed::Half, ReadinessNeed::TwoThirds]);
    run(&mut lab).unwrap();
    // The queue is as if it had never been.
    assert_eq!(lab.state.storage(&system::MODELS, U256::from(2)), U256::ZERO);
    assert_eq!(lab.state.storage(&system::MODELS, keccak256(U256::from(2).to_be_bytes::<32>()).into()), U256::ZERO);
}

#[test]
fn without_half_of_the_stake_a_model_is_suspended_until_two_thirds_hold_it_again() {
    let mut lab = lab();
    lab.activate(ID());
    begin(&mut lab, 1, &[], &[ID()]);
    assert_eq!((record(&lab).fresh_until, record(&lab).readiness_need(1)), (2, ReadinessNeed::None));
    begin(&mut lab, 2, &[], &[]);
    run(&mut lab).unwrap();
    // Nobody certified it in epoch 2.
    lab.slot = 3 * EPOCH_SLOTS - 2;
    run(&mut lab).unwrap();
    assert!(!record(&lab).is_suspended(2) && record(&lab).is_suspended(3));
    assert!(run(&mut lab).unwrap_err().contains("is suspended"), "from the first slot of epoch 3 on");
    let simulated = lab.call(system::MODEL_EXEC, [ID().as_slice(), &[0; 8]].concat());
    assert!(simulate_reason(&simulated.output).contains("is suspended"), "{}", simulate_reason(&simulated.output));
    assert_eq!(record(&lab).readiness_need(3), ReadinessNeed::TwoThirds);
    lab.execute(&Block { refreshes: &[ID()], ..Block::default() }).unwrap();
    assert!(run(&mut lab).is_err(), "half is not enough to come back");
    lab.activate(ID());
    assert!(run(&mut lab).is_err(), "and two thirds are, from the next epoch on");
    let activated = record(&lab).activated_block;
    // Blocks may be missing: the first one of any later epoch begins.
    begin(&mut lab, 9, &[], &[]);
    run(&mut lab).unwrap();
    assert_eq!((record(&lab).fresh_until, record(&lab).activated_block), (9, activated));
}

#[test]
fn an_answer_of_a_suspended_model_waits() {
    let mut lab = lab();
    lab.activate(ID());
    begin(&mut lab, 1, &[], &[]);
    let id = wrong_answer(&mut lab);
    lab.slot = 2 * EPOCH_SLOTS;
    let challenge = challenge_tx(&mut lab, 3, id, 200_000);
    let (success, _, output, _) = lab.one(challenge);
    assert!(!success && simulate_reason(&output).contains("is suspended"), "{}", simulate_reason(&output));
    let number = lab.header.number + 1_000;
    lab.skip_to(number);
    let settle = SettleRequest { request_id: id }.input();
    let tx = lab.tx(2, TxKind::Call(system::INFERENCE), 0, settle.clone(), 500_000, 0);
    let (success, _, output, _) = lab.one(tx);
    assert!(!success && simulate_reason(&output).contains("is suspended"), "{}", simulate_reason(&output));
    lab.activate(ID());
    begin(&mut lab, 3, &[], &[]);
    let tx = lab.tx(2, TxKind::Call(system::INFERENCE), 0, settle, 500_000, 0);
    assert!(lab.one(tx).0);
}

#[test]
fn what_was_registered_anew_while_it_waited_does_not_begin() {
    let mut lab = lab();
    lab.activate(ID());
    let number = record(&lab).registered_block + 28_800;
    lab.skip_to(number);
    let tx = lab.deploy_model_tx(2, &deploy_payload(ID()));
    let (outcomes, _) = lab.block(&[tx]);
    assert!(matches!(outcomes[0], Outcome::Included { success: true, .. }));
    begin(&mut lab, 1, &[], &[]);
    assert_eq!((record(&lab).status, record(&lab).fresh_until), (ModelStatus::Pending, 0));
}
