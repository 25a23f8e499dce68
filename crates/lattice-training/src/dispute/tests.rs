#![allow(clippy::unwrap_used)]
use super::*;
use crate::merkle::Bisection;
use lattice_import::{ImportOptions, import_model};
use lattice_inference::Model;
use proptest::prelude::*;

fn graphs() -> Vec<(Graph, Vec<u8>)> {
    let files: [&[u8]; 3] = [
        include_bytes!("../../../../models/digits.onnx"),
        include_bytes!("../../tests/fixtures/lora/model.onnx"),
        include_bytes!("../../tests/fixtures/train/mlp.onnx"),
    ];
    let graph = |file: &[u8]| {
        let graph = import_model(file, &ImportOptions::default()).unwrap();
        let count = graph.input_bytes() / 4;
        let input = (0..count).flat_map(|i| ((i * 37 % 17) as f32 - 3.0).to_le_bytes()).collect();
        (graph, input)
    };
    files.map(graph).into()
}

#[test]
fn every_step_of_an_honest_run_is_right() {
    for (graph, input) in graphs() {
        let (trace, output) = ActivationTrace::of(&graph, &input).unwrap();
        assert_eq!(Model::load(graph.clone()).unwrap().run_bytes(&input).unwrap(), output);
        assert_eq!(trace.steps.len(), steps(&graph));
        assert_eq!(trace.steps.last().unwrap(), &[keccak256(&output)]);
        for step in 1..steps(&graph) {
            let opened = OpenedStep::of(&graph, &trace, &input, step).unwrap();
            assert_eq!(OpenedStep::decode(&opened.encode()).unwrap(), opened);
            assert_eq!(judge(&graph, &trace.root(), &opened), Ok(true), "step {step}");
        }
    }
}

#[test]
fn what_is_no_number_is_judged_as_it_was_run() {
    for (graph, mut input) in graphs() {
        for (at, number) in [(0, -f32::NAN), (3, f32::INFINITY), (5, f32::from_bits(0x7fa0_0001)), (6, 1e-41)] {
            input[4 * at..][..4].copy_from_slice(&number.to_le_bytes());
        }
        let (trace, output) = ActivationTrace::of(&graph, &input).unwrap();
        assert_eq!(Model::load(graph.clone()).unwrap().run_bytes(&input).unwrap(), output);
        assert_eq!(doubt(&graph, &trace, &input), Ok(None));
        for step in 1..steps(&graph) {
            let opened = OpenedStep::of(&graph, &trace, &input, step).unwrap();
            assert_eq!(judge(&graph, &trace.root(), &opened), Ok(true), "step {step}");
        }
    }
}

/// A provider whose results are wrong from some step on, and who goes on honestly from there.
fn forged(graph: &Graph, input: &[u8], at: usize) -> ActivationTrace {
    let mut run = Run::begin(graph, input).unwrap();
    let mut steps = vec![vec![keccak256(input)]];
    for index in 0..graph.nodes().len() {
        let mut results = run.node(index).unwrap();
        if index + 1 == at {
            let value = graph.nodes()[index].first_output as usize;
            let ty = &graph.types()[value];
            results[0][0] ^= 1;
            run.values[value] = Some(Arc::new(Tensor::from_bytes(ty.dtype, ty.shape.clone(), &results[0]).unwrap()));
        }
        steps.push(results.iter().map(keccak256).collect());
    }
    let mut output = run.output();
    if at == graph.nodes().len() + 1 {
        output[0] ^= 1;
    }
    steps.push(vec![keccak256(&output)]);
    ActivationTrace { steps }
}

#[test]
fn a_lie_at_any_step_is_found_and_judged() {
    for (graph, input) in graphs() {
        let (honest, _) = ActivationTrace::of(&graph, &input).unwrap();
        for at in 1..steps(&graph) {
            let trace = forged(&graph, &input, at);
            let step = Bisection::between(&honest.leaves(), &trace.leaves()).unwrap() as usize;
            assert_eq!(step, at);
            // The challenger opens the provider's trace with values of its own run: up to here they are the same.
            let opened = OpenedStep::of(&graph, &trace, &input, step).unwrap();
            assert_eq!(judge(&graph, &trace.root(), &opened), Ok(false), "step {at}");
            assert!(judge(&graph, &honest.root(), &opened).is_err());
        }
    }
}

#[test]
fn openings_that_prove_nothing_are_refused() {
    let (graph, input) = graphs().swap_remove(0);
    let (trace, _) = ActivationTrace::of(&graph, &input).unwrap();
    let (root, step) = (trace.root(), 3);
    let good = OpenedStep::of(&graph, &trace, &input, step).unwrap();
    let refused = |change: &dyn Fn(&mut OpenedStep)| {
        let mut opened = good.clone();
        change(&mut opened);
        assert!(matches!(judge(&graph, &root, &opened), Err(DisputeError::Opening(_))));
    };
    refused(&|opened| opened.operands[0].bytes[0] ^= 1);
    refused(&|opened| opened.operands[0].leaf.values[0] = B256::ZERO);
    refused(&|opened| opened.operands.clear());
    refused(&|opened| opened.operands.push(opened.operands[0].clone()));
    refused(&|opened| opened.claim.values[0] = B256::ZERO);
    refused(&|opened| opened.claim.proof.index += 1);
    refused(&|opened| opened.claim = OpenedStep::of(&graph, &trace, &input, 5).unwrap().claim);
    assert!(OpenedStep::of(&graph, &trace, &input, 0).is_err());
    let bytes = good.encode();
    assert!((0..bytes.len()).all(|len| OpenedStep::decode(&bytes[..len]).is_err()));
}

#[test]
fn whatever_a_provider_publishes_the_first_lie_is_opened() {
    for (graph, input) in graphs() {
        let (honest, _) = ActivationTrace::of(&graph, &input).unwrap();
        assert_eq!(doubt(&graph, &honest, &input), Ok(None));
        for at in 1..steps(&graph) {
            // Goes on honestly from the lie; or tells a hash of nothing, or another number of values.
            let mut nothing = honest.clone();
            nothing.steps[at][0] = B256::ZERO;
            let mut longer = honest.clone();
            longer.steps[at].push(B256::ZERO);
            for told in [forged(&graph, &input, at), nothing, longer] {
                let opened = doubt(&graph, &told, &input).unwrap().unwrap();
                assert_eq!(opened.claim.proof.index, at as u64);
                assert_eq!(judge(&graph, &told.root(), &opened), Ok(false), "step {at}");
            }
        }
    }
}

#[test]
fn bounds_hold_for_every_step() {
    for (graph, input) in graphs() {
        let (trace, _) = ActivationTrace::of(&graph, &input).unwrap();
        let bounds = Bounds::of(&graph);
        assert_eq!(bounds.hashes, trace.steps.iter().map(|step| step.len() as u64).sum::<u64>());
        let longest =
            (1..steps(&graph)).map(|step| OpenedStep::of(&graph, &trace, &input, step).unwrap().encode().len());
        assert!(longest.max().unwrap() as u64 <= bounds.opening_bytes);
        assert!(bounds.gas >= 5_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whoever changes a bit of an opening of an honest run proves nothing against it.
    #[test]
    fn no_changed_opening_convicts_an_honest_provider(which in 0usize..3, step: prop::sample::Index, at: prop::sample::Index, bit in 0u8..8) {
        let (graph, input) = graphs().swap_remove(which);
        let (trace, _) = ActivationTrace::of(&graph, &input).unwrap();
        let step = 1 + step.index(steps(&graph) - 1);
        let mut bytes = OpenedStep::of(&graph, &trace, &input, step).unwrap().encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = OpenedStep::decode(&bytes) {
            let verdict = judge(&graph, &trace.root(), &changed);
            prop_assert!(!matches!(verdict, Ok(false) | Err(DisputeError::Run(_))), "bit {bit} of byte {at}: {verdict:?}");
        }
    }
}
