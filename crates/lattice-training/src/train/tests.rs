#![allow(clippy::unwrap_used)]
use super::*;
use crate::merkle::Bisection;
use lattice_import::{ImportOptions, import_model};
use lattice_inference::{Isa, Model};

const DIGITS: &[u8] = include_bytes!("../../tests/fixtures/train/digits.bin");
pub(super) const MLP: &[u8] = include_bytes!("../../tests/fixtures/train/mlp.onnx");
const TRAINED: &[u8] = include_bytes!("../../../../models/digits.onnx");

pub(super) fn graph(file: &[u8]) -> Graph {
    import_model(file, &ImportOptions::default()).unwrap()
}

/// Records of digits; `shift` makes another task of them: the next number is the answer.
pub(super) fn digits(records: core::ops::Range<usize>, shift: u8) -> Dataset {
    let rows: Vec<&[u8]> = DIGITS.chunks_exact(65).skip(records.start).take(records.len()).collect();
    let pixels: Vec<f32> = rows.iter().flat_map(|row| &row[..64]).map(|&p| f32::from(p)).collect();
    let classes: Vec<f32> = rows.iter().map(|row| f32::from((row[64] + shift) % 10)).collect();
    Dataset::new(&pixels, 64, &classes, 1).unwrap()
}

pub(super) const ADAM: Optimiser = Optimiser::Adam { rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 };
pub(super) const SGD: Optimiser = Optimiser::Sgd { rate: 0.1, momentum: 0.9, decay: 1e-4 };

pub(super) fn plan(base: &Graph, data: &Dataset, optimiser: Optimiser, target: Target) -> Plan {
    let (base, dataset) = (base.model_id(), data.root());
    Plan { base, dataset, seed: 7, steps: 150, interval: 50, batch: 16, loss: Loss::CrossEntropy, optimiser, target }
}

pub(super) fn lora() -> Target {
    Target::Lora { rank: 4, scale: 2.0, modules: vec![] }
}

fn trace(trainer: &Trainer, data: &Dataset) -> (Trace, State) {
    let mut hashes = Vec::new();
    let last = trainer.train(trainer.start(), data, |state| {
        hashes.push(state.hash());
        Ok(())
    });
    (Trace { hashes }, last.unwrap())
}

/// Every kind of job, the base's loss and the loss that it has to reach, and the golden root of its trace.
fn jobs() -> Vec<(Trainer, Dataset, f32)> {
    let (fresh, trained) = (graph(MLP), graph(TRAINED));
    let job = |base: &Graph, data: Dataset, optimiser, target, bar| {
        (Trainer::new(plan(base, &data, optimiser, target), base).unwrap(), data, bar)
    };
    vec![
        job(&fresh, digits(0..400, 0), ADAM, Target::Whole, 0.5),
        job(&fresh, digits(0..400, 0), SGD, Target::Whole, 0.3),
        // The base knows digits; the adapter has to teach it the next number.
        job(&trained, digits(0..400, 1), ADAM, lora(), 0.3),
    ]
}

/// The frozen network, which tests of other crates read: they have no importer.
#[test]
fn the_frozen_fixture_is_the_imported_file() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train/mlp.graph");
    if std::env::var_os("LATTICE_BLESS").is_some() {
        std::fs::write(&path, graph(MLP).encode()).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), graph(MLP).encode());
}

#[test]
fn every_cpu_and_thread_makes_the_same_trace_and_learns() {
    let (mut roots, mut learned) = (String::new(), Vec::new());
    for (trainer, data, bar) in jobs() {
        let (trace, last) = trace(&trainer, &data);
        let others: Vec<Trace> = std::thread::scope(|scope| {
            let one = |slow: bool| {
                let (trainer, data) = (&trainer, &data);
                scope.spawn(move || if slow { Isa::Portable.run(|| super::tests::trace(trainer, data)) } else { super::tests::trace(trainer, data) }.0)
            };
            let threads: Vec<_> = [true, false, false].map(one).into();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(others.iter().all(|other| *other == trace));
        roots += &format!("{}\n", trace.root());
        let everything = data.batch(0, 0, 400);
        let (before, after) =
            (trainer.loss(&trainer.start(), &everything).unwrap(), trainer.loss(&last, &everything).unwrap());
        learned.push((before, after, bar));
    }
    assert!(learned.iter().all(|(before, after, bar)| *before > 2.0 && after < bar), "{learned:?}");
    assert_eq!(roots, include_str!("../../tests/fixtures/train/roots.txt"));
}

#[test]
fn what_was_learned_holds_for_digits_that_were_not_seen() {
    let unseen: Vec<&[u8]> = DIGITS.chunks_exact(65).skip(400).collect();
    let right = |graph: Graph, shift: u8| {
        let model = Model::load(graph).unwrap();
        let reads = |row: &&&[u8]| {
            let image = row[..64].iter().map(|&p| f32::from(p)).collect();
            let scores = model.run(&[Tensor::from_f32([1, 64], image).unwrap()]).unwrap()[0].to_f64s();
            let best = (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
            best == usize::from((row[64] + shift) % 10)
        };
        unseen.iter().filter(reads).count()
    };
    let jobs = jobs();
    for ((trainer, data, _), shift) in jobs.iter().zip([0, 0, 1]) {
        let graph = match trainer.result(&trace(trainer, data).1).unwrap() {
            Trained::Model(graph) => *graph,
            Trained::Adapter(adapter) => adapter.merge(&trainer.base).unwrap(),
        };
        assert_eq!(graph.types(), trainer.base.types());
        let (before, after) = (right((*trainer.base).clone(), shift), right(graph, shift));
        assert!(before < 60 && after > 150, "{before} to {after} of {}", unseen.len());
    }
}

/// A step with plain gradient descent of rate 1 is the gradient: compared with central differences of the loss.
#[test]
fn gradients_are_those_of_the_loss() {
    let base = graph(MLP);
    let data = digits(0..40, 0);
    for (target, loss) in
        [(Target::Whole, Loss::CrossEntropy), (lora(), Loss::CrossEntropy), (lora(), Loss::MeanSquaredError)]
    {
        let data = match loss {
            Loss::CrossEntropy => data.clone(),
            Loss::MeanSquaredError => {
                let pixels: Vec<f32> = (0..40).flat_map(|i| data.record(i)[..64].to_vec()).collect();
                let wanted: Vec<f32> = (0..400).map(|i| (i % 7) as f32 / 7.0).collect();
                Dataset::new(&pixels, 64, &wanted, 10).unwrap()
            }
        };
        let sgd = Optimiser::Sgd { rate: 1.0, momentum: 0.0, decay: 0.0 };
        let trainer = Trainer::new(Plan { loss, ..plan(&base, &data, sgd, target) }, &base).unwrap();
        let mut state = trainer.start();
        // Away from the zeros that LoRA and biases begin with.
        for (i, v) in state.parameters.iter_mut().flatten().enumerate() {
            *v += ((i * 37) % 11) as f32 * 0.02 - 0.1;
        }
        let batch = trainer.batch(&data, 0);
        let next = trainer.step(&state, &batch).unwrap();
        for tensor in 0..state.parameters.len() {
            for at in (0..state.parameters[tensor].len()).step_by(41) {
                let loss = |delta: f32| {
                    let mut moved = state.clone();
                    moved.parameters[tensor][at] += delta;
                    f64::from(trainer.loss(&moved, &batch).unwrap())
                };
                let wanted = (loss(4e-3) - loss(-4e-3)) / 8e-3;
                let got = f64::from(state.parameters[tensor][at] - next.parameters[tensor][at]);
                assert!(
                    (got - wanted).abs() < 5e-3 * wanted.abs().max(1.0),
                    "{tensor} {at}: {got} instead of {wanted}"
                );
            }
        }
    }
}

#[test]
fn a_step_of_adam_by_hand() {
    let (mut p, mut moments) = (vec![1.0f32, -2.0], vec![vec![0.0f32; 2], vec![0.0; 2]]);
    let (mut m, mut v, mut wanted) = ([0.0f64; 2], [0.0f64; 2], [1.0f64, -2.0]);
    for step in 1..=5u64 {
        let g = [0.3 / step as f32, -4.0];
        optimise::apply(&ADAM, step, &g, &mut p, &mut moments);
        for i in 0..2 {
            m[i] = 0.9 * m[i] + 0.1 * f64::from(g[i]);
            v[i] = 0.999 * v[i] + 0.001 * f64::from(g[i]).powi(2);
            let (a, b) = (m[i] / (1.0 - 0.9f64.powi(step as i32)), v[i] / (1.0 - 0.999f64.powi(step as i32)));
            wanted[i] -= 0.01 * a / (b.sqrt() + 1e-8);
            assert!((f64::from(p[i]) - wanted[i]).abs() < 1e-5);
        }
    }
}

#[test]
fn a_tampered_step_is_found_by_bisection_and_refused_by_replay() {
    let (trainer, data, _) = jobs().swap_remove(0);
    let (honest, _) = trace(&trainer, &data);
    // A trainer that adds a little at step 37 and goes on honestly from there.
    let mut states = Vec::new();
    trainer
        .train(trainer.start(), &data, |state| {
            states.push(state.clone());
            Ok(())
        })
        .unwrap();
    let mut state = states[37].clone();
    state.parameters[0][5] += 1e-3;
    let mut forged = honest.clone();
    forged.hashes[37] = state.hash();
    while state.step < trainer.plan.steps {
        state = trainer.step(&state, &trainer.batch(&data, state.step)).unwrap();
        forged.hashes[state.step as usize] = state.hash();
    }
    let step = Bisection::between(&honest.hashes, &forged.hashes).unwrap();
    assert_eq!(step, 37);
    // The judge has the hash before, which both agree on, its preimage, and opened records.
    let before = trainer.read_state(&states[36].encode()).unwrap();
    assert_eq!(before.hash(), forged.hashes[36]);
    let opened = OpenedBatch::decode(&trainer.open_batch(&data, 36).encode()).unwrap();
    let verdict = trainer.replay(&before, &opened).unwrap();
    assert_eq!(verdict, honest.hashes[37]);
    assert_ne!(verdict, forged.hashes[37]);
    let proof = forged.proof(37).unwrap();
    assert!(proof.proves(&crate::merkle::leaf(forged.hashes[37].as_slice()), &forged.root()));
    assert_eq!(Trace::decode(&forged.encode()).unwrap(), forged);
    // Records of another step, or of another data set, are no records of this one.
    let refused = |opened: &OpenedBatch| trainer.replay(&before, opened).unwrap_err().to_string();
    assert!(refused(&trainer.open_batch(&data, 35)).contains("place 0 is record"));
    assert!(refused(&trainer.open_batch(&digits(0..400, 1), 36)).contains("not in the data set"));
}

#[test]
fn forms_read_back_and_lies_are_refused() {
    let (fresh, data) = (graph(MLP), digits(0..50, 0));
    for target in [Target::Whole, lora()] {
        let plan = plan(&fresh, &data, ADAM, target);
        let bytes = plan.encode();
        assert_eq!(Plan::decode(&bytes).unwrap(), plan);
        assert!((0..bytes.len()).all(|len| Plan::decode(&bytes[..len]).is_err()));
    }
    let bytes = data.encode();
    assert_eq!(Dataset::decode(&bytes).unwrap(), data);
    assert!((0..bytes.len()).step_by(97).all(|len| Dataset::decode(&bytes[..len]).is_err()));
    let good = plan(&fresh, &data, SGD, Target::Whole);
    let refused = |plan: Plan| Trainer::new(plan, &fresh).err().unwrap().to_string();
    assert!(refused(Plan { interval: 7, ..good.clone() }).contains("divide"));
    assert!(refused(Plan { base: B256::ZERO, ..good.clone() }).contains("its base"));
    let unknown = Target::Lora { rank: 1, scale: 1.0, modules: vec!["layers.9".into()] };
    assert!(refused(Plan { target: unknown, ..good.clone() }).contains("layers.0, layers.1"));
    let trainer = Trainer::new(good.clone(), &fresh).unwrap();
    assert!(trainer.check_dataset(&digits(0..50, 1)).unwrap_err().to_string().contains("root"));
    assert!(trainer.read_state(&trainer.start().encode()[..99]).is_err());
    let wild = Optimiser::Sgd { rate: 1e38, momentum: 0.0, decay: 0.0 };
    let trainer = Trainer::new(Plan { optimiser: wild, ..good }, &fresh).unwrap();
    assert!(matches!(trainer.train(trainer.start(), &data, |_| Ok(())), Err(TrainError::Diverged(_))));
    let conv = import_model(include_bytes!("../../tests/fixtures/lora/model.onnx"), &ImportOptions::default()).unwrap();
    let plan = Plan { base: conv.model_id(), ..plan(&conv, &data, SGD, Target::Whole) };
    assert!(Trainer::new(plan, &conv).err().unwrap().to_string().contains("no part of a dense chain"));
}
