//! Openings in disputes: whatever a stranger opens, an honest trainer or provider is not convicted.

use lattice_inference::Graph;
use lattice_training::{
    dispute::{self, ActivationTrace, OpenedStep},
    train::{Claims, Dataset, Loss, Opening, Optimiser, Plan, State, Target, Trace, Trainer},
};
use std::sync::LazyLock;

const GRAPH: &[u8] = include_bytes!("../../crates/lattice-training/tests/fixtures/train/mlp.graph");

/// An honest training and an honest run.
struct Honest {
    graph: Graph,
    trainer: Trainer,
    plan: Plan,
    data: Dataset,
    states: Vec<State>,
    trace: Trace,
    result: Vec<u8>,
    input: Vec<u8>,
    activations: ActivationTrace,
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| {
    let graph = Graph::decode(GRAPH).expect("the fixture");
    let pixels: Vec<f32> = (0..4 * 64).map(|i| (i * 37 % 17) as f32).collect();
    let data = Dataset::new(&pixels, 64, &[0.0, 1.0, 2.0, 3.0], 1).expect("four records");
    let plan = Plan {
        base: graph.model_id(),
        dataset: data.root(),
        seed: 1,
        steps: 2,
        interval: 2,
        batch: 2,
        loss: Loss::CrossEntropy,
        optimiser: Optimiser::Sgd { rate: 0.1, momentum: 0.0, decay: 0.0 },
        target: Target::Lora { rank: 1, scale: 1.0, modules: Vec::new() },
    };
    let trainer = Trainer::new(plan.clone(), &graph).expect("a dense chain");
    let mut states = Vec::new();
    let each = |state: &State| {
        states.push(state.clone());
        Ok(())
    };
    let last = trainer.train(trainer.start(), &data, each).expect("two steps");
    let (trace, result) = (Trace { hashes: states.iter().map(State::hash).collect() }, trainer.result_bytes(&last));
    let input: Vec<u8> = pixels[..graph.input_bytes() / 4].iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let (activations, _) = ActivationTrace::of(&graph, &input).expect("a run");
    Honest { result: result.expect("an adapter"), graph, trainer, plan, data, states, trace, input, activations }
});

/// Openings of a training, of an inference, and descriptions of jobs: the first byte chooses.
pub fn opening(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let honest = &*HONEST;
    match kind % 3 {
        0 => {
            let Ok(opening) = Opening::decode(bytes) else { return };
            assert_eq!(opening.encode(), bytes, "one opening, one encoding");
            let (root, state_hash) = (honest.trace.root(), honest.trace.hashes[2]);
            let is_result = |bytes: &[u8]| bytes == honest.result;
            let claims = Claims { from: 0, root, state_hash, is_result: &is_result };
            assert_ne!(honest.trainer.judge(&claims, &opening), Ok(false), "an honest trainer is convicted");
        }
        1 => {
            let Ok(opened) = OpenedStep::decode(bytes) else { return };
            assert_eq!(opened.encode(), bytes, "one opening, one encoding");
            let verdict = dispute::judge(&honest.graph, &honest.activations.root(), &opened);
            assert_ne!(verdict, Ok(false), "an honest provider is convicted");
        }
        _ => {
            if let Ok(plan) = Plan::decode(bytes) {
                assert_eq!(plan.encode(), bytes, "one description, one encoding");
            }
        }
    }
}

/// Honest openings of every kind, by name.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let honest = &*HONEST;
    let proof = |step| honest.trace.proof(step).expect("a step");
    let of_training = |name: &str, opening: Opening| (name.to_owned(), [&[0], opening.encode().as_slice()].concat());
    let mut seeds = vec![
        of_training("start", Opening::Start { hash: honest.trace.hashes[0], proof: proof(0) }),
        of_training("result", Opening::Result { state: honest.states[2].encode() }),
        of_training(
            "step",
            Opening::Step {
                before: honest.states[1].encode(),
                before_proof: proof(1),
                after: honest.trace.hashes[2],
                after_proof: proof(2),
                batch: honest.trainer.open_batch(&honest.data, 1),
            },
        ),
        ("plan".into(), [&[2], honest.plan.encode().as_slice()].concat()),
    ];
    for step in [1, dispute::steps(&honest.graph) - 1] {
        let opened = OpenedStep::of(&honest.graph, &honest.activations, &honest.input, step).expect("a step");
        seeds.push((format!("operator_{step}"), [&[1], opened.encode().as_slice()].concat()));
    }
    seeds
}
