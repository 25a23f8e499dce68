//! Median time of one run of a model on one thread, and its gas beside it.
//!
//! ```text
//! cargo run --release -p lattice-import --example bench_model -- model.onnx [runs] [input=1,3,224,224]...
//! ```
//! With `serve` in place of the number of runs it runs as often as each line on standard input says: `tests/oracle/bench_models.py` measures
//! other runtimes in between. `avx2`, `portable` and the like choose the kernels. Inputs are small numbers.

use lattice_import::{ImportOptions, import_model};
use lattice_inference::{DType, Data, Graph, Isa, Model, Tensor, is_accelerated};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: bench_model MODEL [RUNS | serve] [ISA] [NAME=1,2,3]...")?;
    let mut runs = 50usize;
    let mut serves = false;
    let mut isa = Isa::detect();
    let mut options = ImportOptions::default();
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, dims)) => {
                let shape = dims.split(',').map(str::parse).collect::<Result<_, _>>()?;
                options.shapes.insert(name.into(), shape);
            }
            None if argument == "serve" => serves = true,
            None => match Isa::all().into_iter().find(|isa| format!("{isa:?}").eq_ignore_ascii_case(&argument)) {
                Some(chosen) => isa = chosen,
                None => runs = argument.parse()?,
            },
        }
    }
    isa.run(|| measure(&path, &options, runs, serves))
}

fn measure(path: &str, options: &ImportOptions, runs: usize, serves: bool) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let graph = import_model(&std::fs::read(path)?, options)?;
    println!("import {:.1} ms, operators {:?}", ms(start), graph.operators());
    let start = Instant::now();
    let bytes = graph.encode();
    println!("encode {:.1} ms, {} bytes, id {}", ms(start), bytes.len(), graph.model_id());
    let start = Instant::now();
    let graph = Graph::decode(&bytes)?;
    println!("decode {:.1} ms", ms(start));
    let cost = graph.cost();
    let inputs = graph.inputs().iter().map(|i| input(i.dtype, &i.shape)).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let model = Model::load(graph)?;
    println!("load {:.1} ms, {} bytes resident", ms(start), model.bytes());
    if serves {
        return serve(&model, &inputs);
    }
    let mut times: Vec<f64> = Vec::with_capacity(runs);
    for _ in 0..runs.max(1) + 3 {
        let start = Instant::now();
        std::hint::black_box(model.run(&inputs)?);
        times.push(ms(start));
    }
    times.drain(..3);
    times.sort_by(f64::total_cmp);
    let (median, low, high) = (times[times.len() / 2], times[0], times[times.len() - 1]);
    println!(
        "run    median {median:.3} ms of {} (from {low:.3} to {high:.3}), accelerated {}",
        times.len(),
        is_accelerated()
    );
    println!("cost   {cost:?}");
    println!("gas    {} = {:.2} x 240 x the median in us", cost.gas(), cost.gas() as f64 / (240_000.0 * median));
    Ok(())
}

/// As many runs as each line says, and one answer.
fn serve(model: &Model, inputs: &[Tensor]) -> Result<(), Box<dyn std::error::Error>> {
    println!("ready");
    for line in std::io::stdin().lines() {
        for _ in 0..line?.parse::<usize>()? {
            std::hint::black_box(model.run(inputs)?);
        }
        println!("done");
    }
    Ok(())
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Small numbers, different for each element.
fn input(dtype: DType, shape: &[usize]) -> Result<Tensor, lattice_inference::TensorError> {
    let count = shape.iter().product();
    let small = |i: usize| (i * 7919 + 13) % 97;
    Tensor::new(
        shape,
        match dtype {
            DType::F32 => Data::F32((0..count).map(|i| small(i) as f32 / 97.0 - 0.5).collect()),
            DType::F64 => Data::F64((0..count).map(|i| small(i) as f64 / 97.0 - 0.5).collect()),
            DType::I32 => Data::I32((0..count).map(|i| small(i) as i32).collect()),
            DType::I64 => Data::I64((0..count).map(|i| (small(i) % 2) as i64).collect()),
            DType::U8 => Data::U8((0..count).map(|i| small(i) as u8).collect()),
            other => Data::zeros(other, count),
        },
    )
}
