//! AI classes: paid for by the AI gas of a producer's previous block, claimed in the header, checked against the state.

use crate::models::{ai_by, attest, put_digits};
use crate::net::{Node, key, spec, transfer};
use alloy_primitives::{Address, Bytes};
use lattice_chain::BlockStatus;
use lattice_execution::staking::ai_gas_of;
use lattice_storage::MemoryKv;
use lattice_types::{
    ChainSpec, CheckedBlock, TxEnvelope,
    spec::DEV_CHAIN_ID,
    tx::{Inference, InferencePayload, ModelDeploy, ModelDeployPayload},
};
use std::sync::Arc;

/// A lane so narrow that one run of the test model fills more than a quarter of it.
fn narrow_lane(ai_work: bool) -> ChainSpec {
    ChainSpec { ai_gas_limit: 20_000, ai_gas_pool: 5_000, ai_gas_undeclared: 2_500, ai_work, ..spec() }
}

/// Nodes on which the model is active.
fn nodes(count: u32, spec: &ChainSpec) -> (Vec<Node>, ModelDeployPayload) {
    let node = |validator| Node::with(spec.clone(), Arc::new(MemoryKv::new()), validator);
    let mut nodes: Vec<Node> = (0..count).map(node).collect();
    let payload = nodes.iter().map(put_digits).last().unwrap();
    let deploy = nodes[0].seal([ai_by::<ModelDeploy>(0, 0, &payload, 0)]);
    attest(&mut nodes[0], payload.model_id, 4);
    let activate = nodes[0].seal([]);
    nodes[1..].iter_mut().for_each(|node| node.give_all([&deploy, &activate]));
    (nodes, payload)
}

fn run(account: usize, nonce: u64, model: &ModelDeployPayload) -> TxEnvelope {
    let input = Bytes::from(vec![0; model.input_bytes as usize]);
    let payload = InferencePayload { model_id: model.model_id, grade: 0, input, terms: None };
    ai_by::<Inference>(account, nonce, &payload, 20_000)
}

/// The block with another claim, signed again.
fn claiming(block: &CheckedBlock, ai_class: u8) -> CheckedBlock {
    let mut forged = (**block.block()).clone();
    forged.header.ai_class = ai_class;
    forged.header.sign(&key(forged.header.proposer), DEV_CHAIN_ID);
    CheckedBlock::trusted(forged, block.senders().to_vec())
}

fn ai_score(node: &Node, block: &CheckedBlock) -> u64 {
    node.chain.view().unwrap().dag_facts(&block.hash()).unwrap().unwrap().ai_score
}

#[test]
fn a_class_is_what_the_producers_previous_block_was_charged() {
    let spec = narrow_lane(false);
    let (mut nodes, model) = nodes(2, &spec);
    let paid = nodes[0].seal([run(1, 0, &model)]);
    assert_eq!(paid.block().header.ai_class, 0, "the block itself is not counted yet");
    let gas = ai_gas_of(nodes[0].chain.view().unwrap().head_state(), 0);
    let class = spec.ai_class(gas);
    println!("{gas} AI gas, class {class}");
    assert!(class > 0);
    nodes[1].give(&paid).unwrap();
    let other = nodes[1].build(20);
    assert_eq!(other.block().header.ai_class, 0, "it is the other producer's");

    let ranked = nodes[0].seal([transfer(2, 0, Address::ZERO, 1)]);
    let after = nodes[0].seal([]);
    assert_eq!([&ranked, &after].map(|block| block.block().header.ai_class), [class, 0], "it serves once");
    assert_eq!([&ranked, &after].map(|block| ai_score(&nodes[0], block)), [0, u64::from(class)]);
    assert_eq!(after.block().header.blue_work, u128::from(after.block().header.blue_score), "classes are no work");
    nodes[1].give_all([&ranked, &after]);
    assert_eq!(nodes[1].head(), nodes[0].head());
}

#[test]
fn a_class_wins_the_tie_and_a_lie_about_it_does_not() {
    let spec = narrow_lane(false);
    let (mut nodes, model) = nodes(3, &spec);
    let paid = nodes[0].seal([run(1, 0, &model)]);
    nodes[1..].iter_mut().for_each(|node| node.give_all([&paid]));
    let slot = nodes[0].chain.next_slot().unwrap();
    // Whatever the VRFs say: producer 1 has the better one in one slot or the other.
    let honest: Vec<_> = (slot..slot + 8).map(|slot| nodes[1].build(slot)).collect();
    let ranked = nodes[0].build(slot + 8);
    assert!(ranked.block().header.ai_class > 0);
    let better = |block: &&CheckedBlock| block.block().header.vrf_hash() < ranked.block().header.vrf_hash();
    let honest = honest.iter().find(better).expect("one in eight");
    nodes[2].give_all([honest, &ranked]);
    assert_eq!(nodes[2].chain.head().dag_hash, ranked.hash(), "the class comes before the VRF");
    let child = nodes[2].build(slot + 9);
    assert_eq!(child.block().header.parents.len(), 2);

    let (mut liars, _) = self::nodes(2, &spec);
    let (truth, lie) = (liars[1].build(slot), claiming(&liars[0].build(slot), 3));
    liars[1].give(&truth).unwrap();
    let effects = liars[1].give(&lie).unwrap();
    assert_eq!(effects.disqualified.len(), 1);
    assert!(effects.disqualified[0].1.contains("ai_class"), "{}", effects.disqualified[0].1);
    assert_eq!(liars[1].chain.head().dag_hash, truth.hash());
    let facts = liars[1].chain.view().unwrap().dag_facts(&lie.hash()).unwrap().unwrap();
    assert_eq!(facts.status, BlockStatus::Disqualified);
}

#[test]
fn by_chain_specification_a_class_is_a_sixteenth_of_work() {
    let spec = narrow_lane(true);
    let (mut nodes, model) = nodes(1, &spec);
    let paid = nodes[0].seal([run(1, 0, &model)]);
    let ranked = nodes[0].seal([]);
    let after = nodes[0].seal([]);
    let work = |block: &CheckedBlock| block.block().header.blue_work;
    assert_eq!(work(&ranked) - work(&paid), 16);
    assert_eq!(work(&after) - work(&ranked), 17, "one more, whatever the class");
    assert_eq!(after.block().header.blue_score, ranked.block().header.blue_score + 1);
}
