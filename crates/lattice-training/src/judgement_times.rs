//! CPU time of judgements at shapes that suit them least, and what they cost. It asserts nothing about time:
//!
//! ```text
//! cargo test -p lattice-training judgement_times -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used)]

use crate::dispute::{self, ActivationTrace, Bounds, OpenedStep};
use crate::train::{Claims, Dataset, Loss, Opening, Optimiser, Plan, Target, Trace, Trainer};
use lattice_inference::{Attributes, DType, Graph, GraphBuilder, OpSpec, Tensor, ValueInfo, all_operators};

const RUNS: usize = 15;

/// CPU time of this thread in nanoseconds.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Median time of an act, and its gas.
fn report(name: &str, gas: u64, act: impl Fn()) {
    let one = |_| {
        let start = cpu_ns();
        act();
        cpu_ns() - start
    };
    let mut ns: Vec<u64> = (0..RUNS).map(one).collect();
    ns.sort_unstable();
    let us = ns[RUNS / 2] as f64 / 1e3;
    println!("{name:<52} {us:>9.1} us {gas:>9} gas {:>6.0} Mgas/s", gas as f64 / us);
}

fn op(name: &str) -> &'static OpSpec {
    all_operators().find(|op| op.name == name).unwrap()
}

/// Numbers of both signs; tiny ones make every product subnormal.
fn numbers(shape: &[usize], tiny: bool) -> Tensor {
    let mix = |i: usize| (i as u32 ^ 0x5bd1).wrapping_mul(0x9e37_79b9) >> 8;
    let scale = if tiny { 1e-30 } else { 1.0 / 16.0 };
    let float = |i: usize| (mix(i) as f32 / 8_388_608.0 - 1.0) * scale;
    Tensor::from_f32(shape, (0..shape.iter().product()).map(float).collect()).unwrap()
}

/// A chain of products, sums and relus.
fn dense(widths: &[usize]) -> Graph {
    let mut builder = GraphBuilder::default();
    let mut x = builder.input(ValueInfo { name: "x".into(), dtype: DType::F32, shape: vec![1, widths[0]] });
    for (at, pair) in widths.windows(2).enumerate() {
        let w = builder.constant(&format!("l{at}.weight"), numbers(pair, false));
        let b = builder.constant(&format!("l{at}.bias"), numbers(&pair[1..], false));
        x = builder.emit1(op("MatMul"), Attributes::none(), &[x, w]).unwrap();
        x = builder.emit1(op("Add"), Attributes::none(), &[x, b]).unwrap();
        x = builder.emit1(op("Relu"), Attributes::none(), &[x]).unwrap();
    }
    builder.finish(vec![("y".into(), x)]).unwrap()
}

/// The price of a judgement and of its opening, as `docs/spec/gas.md` has it, without loading.
fn training(name: &str, widths: &[usize], batch: u32, optimiser: Optimiser, target: Target, tiny: bool) {
    let graph = dense(widths);
    let (features, outputs) = (widths[0], widths[widths.len() - 1]);
    let rows = 64;
    let data = Dataset::new(
        numbers(&[rows, features], tiny).as_f32().unwrap(),
        features,
        numbers(&[rows, outputs], tiny).as_f32().unwrap(),
        outputs,
    );
    let data = data.unwrap();
    let (base, dataset) = (graph.model_id(), data.root());
    let loss = Loss::MeanSquaredError;
    let plan = Plan { base, dataset, seed: 1, steps: 2, interval: 2, batch, loss, optimiser, target };
    let trainer = Trainer::new(plan, &graph).unwrap();
    let first = trainer.step(&trainer.start(), &trainer.batch(&data, 0)).unwrap();
    let after = trainer.step(&first, &trainer.batch(&data, 1)).unwrap().hash();
    let trace = Trace { hashes: vec![trainer.start().hash(), first.hash(), after] };
    let opening = Opening::Step {
        before: first.encode(),
        before_proof: trace.proof(1).unwrap(),
        after,
        after_proof: trace.proof(2).unwrap(),
        batch: trainer.open_batch(&data, 1),
    };
    let cost = trainer.step_cost();
    let claims = Claims { from: 0, root: trace.root(), state_hash: after, is_result: &|_| true };
    let gas = cost.macs / 16 + cost.steps / 4 + 4 * cost.state_bytes + opening.encode().len() as u64 / 32 * 48;
    report(name, gas, || {
        assert_eq!(trainer.judge(&claims, &opening), Ok(true));
    });
}

/// The judgement of one operator with these operands, those from `inputs` on weights.
fn operator(name: &str, op: &'static OpSpec, attributes: Attributes, operands: &[Tensor], inputs: usize) {
    let mut builder = GraphBuilder::default();
    let values: Vec<_> = operands
        .iter()
        .enumerate()
        .map(|(i, tensor)| match i < inputs {
            true => builder.input(ValueInfo { name: format!("x{i}"), dtype: DType::F32, shape: tensor.shape().into() }),
            false => builder.constant(&format!("w{i}"), tensor.clone()),
        })
        .collect();
    let results = builder.emit(op, attributes, &values).unwrap();
    let outputs = results.iter().enumerate().map(|(i, v)| (format!("y{i}"), *v)).collect();
    let graph = builder.finish(outputs).unwrap();
    let input: Vec<u8> = operands[..inputs].iter().flat_map(Tensor::to_bytes).collect();
    let (trace, _) = ActivationTrace::of(&graph, &input).unwrap();
    let (root, opened) = (trace.root(), OpenedStep::of(&graph, &trace, &input, 1).unwrap());
    let gas = Bounds::of(&graph).gas + opened.encode().len() as u64 / 32 * 48;
    report(name, gas, || assert_eq!(dispute::judge(&graph, &root, &opened), Ok(true)));
}

#[test]
#[ignore = "prints times"]
fn judgement_times() {
    let adam = Optimiser::Adam { rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 };
    let sgd = Optimiser::Sgd { rate: 0.01, momentum: 0.9, decay: 0.0 };
    let lora = |rank| Target::Lora { rank, scale: 1.0, modules: Vec::new() };
    training("whole 64-16-10, batch 16, adam", &[64, 16, 10], 16, adam, Target::Whole, false);
    training("whole 64-16-10, batch 16, adam, subnormal", &[64, 16, 10], 16, adam, Target::Whole, true);
    training("whole 100-90-10, batch 32, adam", &[100, 90, 10], 32, adam, Target::Whole, false);
    training("whole 1-1-1-1-1-1, batch 64, sgd", &[1; 6], 64, sgd, Target::Whole, false);
    training("whole 12-12 x 40, batch 32, sgd", &[12; 40], 32, sgd, Target::Whole, false);
    training("lora 1 of 500-500, batch 32, adam", &[500, 500], 32, adam, lora(1), false);
    training("lora 8 of 400-400, batch 32, sgd", &[400, 400], 32, sgd, lora(8), false);
    training("lora 1 of 1000-1000, batch 1, adam", &[1000, 1000], 1, adam, lora(1), false);
    training("lora 1 of 1000-1000, batch 16, adam, subnormal", &[1000, 1000], 16, adam, lora(1), true);
    let conv = |kernel: usize, group: usize| {
        lattice_inference::ops::conv::Geometry {
            strides: vec![1; 2],
            pads_before: vec![kernel / 2; 2],
            pads_after: vec![kernel / 2; 2],
            dilations: vec![1; 2],
            group,
        }
        .attributes()
    };
    let n = |shape: &[usize]| numbers(shape, false);
    operator("MatMul 1x1000x1000", op("MatMul"), Attributes::none(), &[n(&[1, 1000]), n(&[1000, 1000])], 1);
    operator("MatMul 64x400x400", op("MatMul"), Attributes::none(), &[n(&[64, 400]), n(&[400, 400])], 1);
    operator("MatMul 100x100x100 of inputs", op("MatMul"), Attributes::none(), &[n(&[100, 100]), n(&[100, 100])], 2);
    operator("Conv 16x40x40, 16 of 3x3", op("Conv"), conv(3, 1), &[n(&[1, 16, 40, 40]), n(&[16, 16, 3, 3])], 1);
    operator("Conv 512x4x4, 512 of 1x1", op("Conv"), conv(1, 1), &[n(&[1, 512, 4, 4]), n(&[512, 512, 1, 1])], 1);
    operator("Conv 16x40x40 depthwise 3x3", op("Conv"), conv(3, 16), &[n(&[1, 16, 40, 40]), n(&[16, 1, 3, 3])], 1);
    operator("Relu 25600", op("Relu"), Attributes::none(), &[n(&[25_600])], 1);
    operator("Relu 1", op("Relu"), Attributes::none(), &[n(&[1])], 1);
    operator("Erf 25600", op("Erf"), Attributes::none(), &[n(&[25_600])], 1);
    operator("Add 160x160 + row", op("Add"), Attributes::none(), &[n(&[160, 160]), n(&[160])], 1);
}
