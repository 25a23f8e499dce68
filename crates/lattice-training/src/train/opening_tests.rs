//! Openings: an honest trainer is never convicted, a lie anywhere is.
#![allow(clippy::unwrap_used)]
use super::tests::{ADAM, MLP, SGD, digits, graph, lora, plan};
use super::*;
use crate::merkle;
use proptest::prelude::*;

const STEPS: u64 = 8;
const INTERVAL: u64 = 4;

fn trainer(optimiser: Optimiser, target: Target, data: &Dataset) -> Trainer {
    let base = graph(MLP);
    let plan = Plan { steps: STEPS, interval: INTERVAL, batch: 3, ..plan(&base, data, optimiser, target) };
    Trainer::new(plan, &base).unwrap()
}

/// All states of a training.
fn states(trainer: &Trainer, data: &Dataset) -> Vec<State> {
    let mut states = Vec::new();
    let each = |state: &State| {
        states.push(state.clone());
        Ok(())
    };
    trainer.train(trainer.start(), data, each).unwrap();
    states
}

/// The trace in the parts of its checkpoints.
fn parts(hashes: &[B256]) -> Vec<Trace> {
    let one = |from: usize| Trace { hashes: hashes[from..=from + INTERVAL as usize].to_vec() };
    (0..STEPS as usize).step_by(INTERVAL as usize).map(one).collect()
}

/// What a trainer commits to, and what the chain keeps of it.
struct Told {
    parts: Vec<Trace>,
    result: Vec<u8>,
}

impl Told {
    fn of(trainer: &Trainer, states: &[State]) -> Told {
        let hashes: Vec<B256> = states.iter().map(State::hash).collect();
        Told { parts: parts(&hashes), result: trainer.result_bytes(&states[STEPS as usize]).unwrap() }
    }

    fn judge(&self, trainer: &Trainer, from: u64, opening: &Opening) -> Result<bool, TrainError> {
        let is_result = |bytes: &[u8]| bytes == self.result;
        let part = &self.parts[(from / INTERVAL) as usize];
        let state_hash = *self.parts.last().unwrap().hashes.last().unwrap();
        trainer.judge(&Claims { from, root: part.root(), state_hash, is_result: &is_result }, opening)
    }

    fn doubt(&self, trainer: &Trainer, data: &Dataset) -> Option<(u64, Opening)> {
        trainer.doubt(data, &self.parts, &|bytes| bytes == self.result).unwrap()
    }

    /// Every opening that somebody could make of an honest training.
    fn openings(&self, trainer: &Trainer, states: &[State], data: &Dataset) -> Vec<(u64, Opening)> {
        let first = &self.parts[0];
        let mut all = vec![
            (0, Opening::Start { hash: first.hashes[0], proof: first.proof(0).unwrap() }),
            (0, Opening::Result { state: states[STEPS as usize].encode() }),
        ];
        for step in 0..STEPS {
            let (from, at) = (step / INTERVAL * INTERVAL, step % INTERVAL);
            let part = &self.parts[(from / INTERVAL) as usize];
            let opening = Opening::Step {
                before: states[step as usize].encode(),
                before_proof: part.proof(at).unwrap(),
                after: part.hashes[at as usize + 1],
                after_proof: part.proof(at + 1).unwrap(),
                batch: trainer.open_batch(data, step),
            };
            all.push((from, opening));
        }
        all
    }
}

fn jobs() -> Vec<(Trainer, Dataset)> {
    let data = digits(0..60, 0);
    [(ADAM, Target::Whole), (SGD, lora())].map(|(by, target)| (trainer(by, target, &data), data.clone())).into()
}

#[test]
fn an_honest_training_cannot_be_doubted() {
    for (trainer, data) in jobs() {
        let states = states(&trainer, &data);
        let told = Told::of(&trainer, &states);
        assert_eq!(told.doubt(&trainer, &data), None);
        let cost = trainer.step_cost();
        assert_eq!(cost.state_bytes, states[0].encode().len() as u64);
        for (from, opening) in told.openings(&trainer, &states, &data) {
            assert_eq!(told.judge(&trainer, from, &opening), Ok(true));
            let bytes = opening.encode();
            assert!(bytes.len() as u64 <= cost.opening_bytes);
            assert_eq!(Opening::decode(&bytes).unwrap(), opening);
            assert!((0..bytes.len()).step_by(101).all(|len| Opening::decode(&bytes[..len]).is_err()));
        }
    }
}

#[test]
fn a_lie_anywhere_is_found_and_proved() {
    for (trainer, data) in jobs() {
        let states = states(&trainer, &data);
        let honest = Told::of(&trainer, &states);
        let convicted = |told: &Told, wanted: &str| {
            let (from, opening) = told.doubt(&trainer, &data).unwrap();
            assert_eq!(told.judge(&trainer, from, &opening), Ok(false), "{wanted}");
            assert!(format!("{opening:?}").starts_with(wanted), "{wanted}");
        };
        // Another number in the state at any step, and an honest training from there on.
        for at in 0..=STEPS as usize {
            let mut other = states.clone();
            other[at].parameters[0][5] += 1e-3;
            for next in at + 1..=STEPS as usize {
                other[next] = trainer.step(&other[next - 1], &trainer.batch(&data, next as u64 - 1)).unwrap();
            }
            convicted(&Told::of(&trainer, &other), if at == 0 { "Start" } else { "Step" });
        }
        // A hash of nothing at any step: no state of it can ever be shown, and none has to be.
        for at in 1..=STEPS as usize {
            let mut hashes: Vec<B256> = states.iter().map(State::hash).collect();
            hashes[at] = B256::repeat_byte(7);
            convicted(&Told { parts: parts(&hashes), result: honest.result.clone() }, "Step");
        }
        let mut result = honest.result.clone();
        *result.last_mut().unwrap() ^= 1;
        convicted(&Told { parts: parts(&states.iter().map(State::hash).collect::<Vec<_>>()), result }, "Result");
    }
}

#[test]
fn a_step_that_has_no_result_is_a_lie_and_no_excuse() {
    let data = digits(0..60, 0);
    let wild = Optimiser::Sgd { rate: 1e38, momentum: 0.0, decay: 0.0 };
    let trainer = trainer(wild, Target::Whole, &data);
    let mut hashes = vec![B256::repeat_byte(9); STEPS as usize + 1];
    hashes[0] = trainer.start().hash();
    let (next, mut told) = (trainer.step(&trainer.start(), &trainer.batch(&data, 0)), Vec::new());
    if let Ok(next) = next {
        hashes[1] = next.hash();
        told = next.encode();
    }
    let told = Told { parts: parts(&hashes), result: told };
    let (from, opening) = told.doubt(&trainer, &data).unwrap();
    assert_eq!(told.judge(&trainer, from, &opening), Ok(false));
}

#[test]
fn states_of_other_jobs_and_steps_are_lies_when_the_trainer_committed_to_them() {
    let (trainer, data) = jobs().swap_remove(0);
    let states = states(&trainer, &data);
    let mut hashes: Vec<B256> = states.iter().map(State::hash).collect();
    // The trainer committed to bytes that are no state, and to a state of another step.
    for bytes in [b"no state".to_vec(), states[5].encode()] {
        hashes[2] = keccak256(&bytes);
        let told = Told { parts: parts(&hashes), result: Vec::new() };
        let opening = Opening::Step {
            before: bytes,
            before_proof: told.parts[0].proof(2).unwrap(),
            after: hashes[3],
            after_proof: told.parts[0].proof(3).unwrap(),
            batch: trainer.open_batch(&data, 2),
        };
        assert_eq!(told.judge(&trainer, 0, &opening), Ok(false));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whoever changes a byte of an opening of an honest training proves nothing against it.
    #[test]
    fn no_changed_opening_convicts_an_honest_trainer(pick: prop::sample::Index, at: prop::sample::Index, bit in 0u8..8, from in 0u64..3) {
        let (trainer, data) = jobs().swap_remove(usize::from(bit % 2));
        let states = states(&trainer, &data);
        let told = Told::of(&trainer, &states);
        let openings = told.openings(&trainer, &states, &data);
        let (right_from, opening) = pick.get(&openings);
        let mut bytes = opening.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = Opening::decode(&bytes) {
            let verdict = told.judge(&trainer, *right_from, &changed);
            prop_assert!(!matches!(verdict, Ok(false)), "bit {bit} of byte {at}: {verdict:?}");
        }
        // Nor does an opening that is shown as one of another part of the trace.
        if from * INTERVAL < STEPS {
            let verdict = told.judge(&trainer, from * INTERVAL, opening);
            prop_assert!(!matches!(verdict, Ok(false)), "from {from}: {verdict:?}");
        }
    }
}

#[test]
fn places_of_a_trace_are_those_of_its_leaves() {
    let trace = Trace { hashes: (0..9u8).map(B256::repeat_byte).collect() };
    let proof = trace.proof(8).unwrap();
    assert!(proof.proves(&merkle::leaf(trace.hashes[8].as_slice()), &trace.root()));
    assert_eq!(trace.proof(9), None);
}
