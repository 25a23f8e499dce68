//! CPU time of single operators at shapes that suit them least, and the gas that their graphs cost: what the constants of
//! `cost` and the operators' weights were fitted to. It asserts nothing about time:
//!
//! ```text
//! cargo test --release -p lattice-inference cost_times -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used)]

use crate::graph::GraphBuilder;
use crate::ops::conv::Geometry;
use crate::ops::pool::Windows;
use crate::ops::{Attributes, OpSpec, cast, compare, conv, gather, matmul, movement, normalize, pool, reduce, search};
use crate::{DType, Data, Model, Tensor, ValueInfo, all_operators, element_count};

const RUNS: usize = 5;

/// CPU time of this thread in nanoseconds.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Elements of both signs, floats in the normal range; integers from 0 to below `bound`.
fn tensor(dtype: DType, shape: &[usize], bound: usize) -> Tensor {
    let count = element_count(dtype, shape).unwrap();
    let mix = |i: usize| (i as u32 ^ 0x5bd1).wrapping_mul(0x9e37_79b9) >> 8;
    let float = |i: usize| mix(i) as f32 / 8_388_608.0 - 1.0;
    let data = match dtype {
        DType::F32 => Data::F32((0..count).map(float).collect()),
        DType::F64 => Data::F64((0..count).map(|i| f64::from(float(i))).collect()),
        DType::I32 => Data::I32((0..count).map(|i| (mix(i) as usize % bound) as i32).collect()),
        DType::I64 => Data::I64((0..count).map(|i| (mix(i) as usize % bound) as i64).collect()),
        DType::I8 => Data::I8((0..count).map(|i| mix(i) as i8).collect()),
        DType::U8 => Data::U8((0..count).map(|i| mix(i) as u8).collect()),
        DType::Bool => Data::Bool((0..count).map(|i| mix(i) % 2 == 0).collect()),
        other => Data::zeros(other, count),
    };
    Tensor::new(shape, data).unwrap()
}

/// Operators of a family: the high byte of their codes.
fn family(high: u16) -> impl Iterator<Item = &'static OpSpec> {
    all_operators().filter(move |op| op.code >> 8 == high)
}

fn f32s(shape: &[usize]) -> Tensor {
    tensor(DType::F32, shape, 1)
}

/// One operator on these operands; those from `constants` on are weights.
fn measure(name: &str, op: &'static OpSpec, attributes: Attributes, operands: &[Tensor], constants: usize) {
    let mut builder = GraphBuilder::default();
    let values: Vec<_> = operands
        .iter()
        .enumerate()
        .map(|(i, tensor)| match i < constants {
            true => builder.input(ValueInfo {
                name: format!("x{i}"),
                dtype: tensor.dtype(),
                shape: tensor.shape().to_vec(),
            }),
            false => builder.constant(&format!("w{i}"), tensor.clone()),
        })
        .collect();
    let results = match builder.emit(op, attributes, &values) {
        Ok(results) => results,
        Err(reason) => return println!("{name:<44} refused: {reason}"),
    };
    let outputs = results.iter().enumerate().map(|(i, v)| (format!("y{i}"), *v)).collect();
    let graph = builder.finish(outputs).unwrap();
    let cost = graph.cost();
    let model = Model::load(graph).unwrap();
    let inputs = &operands[..constants.min(operands.len())];
    if let Err(reason) = model.run(inputs) {
        return println!("{name:<44} refused: {reason}");
    }
    let mut ns: Vec<u64> = (0..RUNS)
        .map(|_| {
            let start = cpu_ns();
            std::hint::black_box(model.run(inputs).unwrap());
            cpu_ns() - start
        })
        .collect();
    ns.sort_unstable();
    let (us, gas) = (ns[RUNS / 2] as f64 / 1e3, cost.gas());
    println!(
        "{name:<44} {us:>9.1} us {gas:>9} gas {:>6.0} Mgas/s  macs {} steps {} bytes {} weights {}",
        gas as f64 / us,
        cost.macs,
        cost.steps,
        cost.bytes,
        cost.weights_bytes
    );
}

fn geometry(rank: usize, stride: usize, pad: usize, group: usize) -> Attributes {
    let all = |v: usize| vec![v; rank];
    Geometry { strides: all(stride), pads_before: all(pad), pads_after: all(pad), dilations: all(1), group }
        .attributes()
}

fn windows(kernel: usize, stride: usize, size: usize) -> Attributes {
    let output = vec![(size - kernel) / stride + 1; 2];
    let all = |v: usize| vec![v; 2];
    Windows {
        kernel: all(kernel),
        strides: all(stride),
        pads_before: all(0),
        pads_after: all(0),
        dilations: all(1),
        output,
        count_padding: false,
    }
    .attributes()
}

#[test]
#[ignore = "a measurement: it prints, and asserts nothing"]
fn products() {
    let product = |m: usize, k: usize, n: usize, constants: usize| {
        let name = format!("MatMul {m}x{k}x{n}{}", if constants == 1 { ", weights" } else { "" });
        measure(&name, &matmul::MATMUL, Attributes::none(), &[f32s(&[m, k]), f32s(&[k, n])], constants);
    };
    for constants in [1, 2] {
        for (m, k, n) in [
            (256, 256, 256),
            (1, 1024, 1024),
            (512, 1, 512),
            (512, 3, 512),
            (1000, 64, 1),
            (1000, 64, 3),
            (3, 4096, 1),
            (1, 65_536, 1),
            (4096, 16, 4),
            (7, 7, 7),
            (3, 300, 17),
            (2, 16, 16),
            (64, 64, 64),
            (128, 2048, 17),
        ] {
            product(m, k, n, constants);
        }
    }
    let batch = |b: usize, m: usize, k: usize, n: usize| {
        measure(
            &format!("MatMul {b} of {m}x{k}x{n}"),
            &matmul::MATMUL,
            Attributes::none(),
            &[f32s(&[b, m, k]), f32s(&[b, k, n])],
            2,
        );
    };
    batch(1000, 1, 8, 1);
    batch(10_000, 2, 2, 2);
    batch(1000, 8, 8, 8);
    batch(12, 128, 64, 128);
    for dtype in [DType::F64, DType::I32, DType::I64] {
        measure(
            &format!("MatMul {dtype} 128x128x128"),
            &matmul::MATMUL,
            Attributes::none(),
            &[tensor(dtype, &[128, 128], 99), tensor(dtype, &[128, 128], 99)],
            2,
        );
        measure(
            &format!("MatMul {dtype} 512x128x1"),
            &matmul::MATMUL,
            Attributes::none(),
            &[tensor(dtype, &[512, 128], 99), tensor(dtype, &[128, 1], 99)],
            2,
        );
    }
    let convolve = |x: &[usize], w: &[usize], stride: usize, pad: usize, group: usize, constants: usize| {
        let name = format!("Conv {x:?} {w:?} /{stride} +{pad} g{group}{}", if constants == 1 { "" } else { " free" });
        measure(&name, &conv::CONV, geometry(x.len() - 2, stride, pad, group), &[f32s(x), f32s(w)], constants);
    };
    for constants in [1, 2] {
        convolve(&[1, 64, 56, 56], &[64, 64, 3, 3], 1, 1, 1, constants);
        convolve(&[1, 3, 224, 224], &[32, 3, 3, 3], 2, 1, 1, constants);
        convolve(&[1, 64, 56, 56], &[64, 1, 3, 3], 1, 1, 64, constants);
        convolve(&[1, 512, 7, 7], &[512, 1, 3, 3], 1, 1, 512, constants);
        convolve(&[1, 64, 56, 56], &[64, 1, 3, 3], 2, 1, 64, constants);
        convolve(&[1, 64, 56, 56], &[64, 2, 3, 3], 1, 1, 32, constants);
        convolve(&[1, 64, 56, 56], &[64, 4, 1, 1], 1, 0, 16, constants);
        convolve(&[1, 1, 256, 256], &[1, 1, 3, 3], 1, 1, 1, constants);
        convolve(&[1, 1, 256, 256], &[1, 1, 1, 1], 1, 0, 1, constants);
        convolve(&[1, 1, 256, 256], &[8, 1, 1, 1], 1, 0, 1, constants);
        convolve(&[1, 2, 65_536], &[1, 2, 1], 1, 0, 1, constants);
        convolve(&[1, 1, 65_536], &[1, 1, 64], 1, 0, 1, constants);
        convolve(&[1, 1024, 3, 3], &[16, 1024, 3, 3], 1, 0, 1, constants);
        convolve(&[1, 1024, 1, 1], &[1024, 1024, 1, 1], 1, 0, 1, constants);
        convolve(&[1, 4096, 1, 1], &[4096, 1, 1, 1], 1, 0, 4096, constants);
        convolve(&[1, 8, 16, 16, 16], &[8, 8, 3, 3, 3], 1, 1, 1, constants);
        convolve(&[256, 4, 3, 3], &[4, 4, 3, 3], 1, 1, 1, constants);
    }
    measure(
        "Conv f64",
        &conv::CONV,
        geometry(2, 1, 1, 1),
        &[tensor(DType::F64, &[1, 16, 32, 32], 1), tensor(DType::F64, &[16, 16, 3, 3], 1)],
        2,
    );
}

#[test]
#[ignore = "a measurement: it prints, and asserts nothing"]
fn elements() {
    const N: usize = 1 << 18;
    let x = [f32s(&[N])];
    for op in family(1) {
        for attributes in [Attributes::none(), Attributes::none().float(1.1), Attributes::none().float(1.1).float(0.9)]
        {
            if op.infer_checked(&attributes, &[&crate::graph::TensorType::of(&x[0])]).is_ok() {
                measure(&format!("{} f32", op.name), op, attributes, &x, 1);
                break;
            }
        }
        for dtype in [DType::F64, DType::I64, DType::I8] {
            let y = [tensor(dtype, &[N], 1000)];
            if op.infer_checked(&Attributes::none(), &[&crate::graph::TensorType::of(&y[0])]).is_ok() {
                measure(&format!("{} {dtype}", op.name), op, Attributes::none(), &y, 1);
            }
        }
    }
    let pairs = |name: &str, op: &'static OpSpec, dtype: DType| {
        for (a, b) in [
            (vec![N], vec![N]),
            (vec![N / 2, 2], vec![2]),
            (vec![2, N / 2], vec![2, 1]),
            (vec![N / 4, 1, 4], vec![1, 1, 4]),
            (vec![512, 1], vec![1, 512]),
        ] {
            let (x, y) = (tensor(dtype, &a, 1000), tensor(dtype, &b, 1000));
            if op
                .infer_checked(
                    &Attributes::none(),
                    &[&crate::graph::TensorType::of(&x), &crate::graph::TensorType::of(&y)],
                )
                .is_ok()
            {
                measure(&format!("{name} {dtype} {a:?} {b:?}"), op, Attributes::none(), &[x, y], 2);
            }
        }
    };
    for op in family(2) {
        for dtype in [DType::F32, DType::F64, DType::I64, DType::I8] {
            // Integers divided by zero are refused: a plus one keeps them away.
            if dtype == DType::F32 || !matches!(op.name, "Div" | "Mod" | "FMod") {
                pairs(op.name, op, dtype);
            }
        }
    }
    for op in family(3) {
        for dtype in [DType::F32, DType::I64, DType::Bool] {
            pairs(op.name, op, dtype);
        }
    }
    for from in [DType::F32, DType::F64, DType::I64, DType::I8, DType::Bool] {
        for to in [DType::F32, DType::F64, DType::F16, DType::I64, DType::U8, DType::Bool] {
            measure(&format!("Cast {from} {to}"), &cast::CAST, cast::to(to), &[tensor(from, &[N], 1000)], 1);
        }
    }
    for shape in [vec![1, N], vec![N / 4, 4], vec![N, 1], vec![512, 512]] {
        for dtype in [DType::F32, DType::F64] {
            let x = [tensor(dtype, &shape, 1)];
            for op in [&normalize::SOFTMAX, &normalize::LOG_SOFTMAX] {
                measure(&format!("{} {dtype} {shape:?}", op.name), op, Attributes::none(), &x, 1);
            }
            measure(
                &format!("Normalize {dtype} {shape:?}"),
                &normalize::NORMALIZE,
                Attributes::none().int(1).float(1e-5),
                &x,
                1,
            );
        }
        for dtype in [DType::F32, DType::I64, DType::I8] {
            let x = [tensor(dtype, &shape, 1000)];
            for axis in [0, 1] {
                for op in family(8) {
                    let attributes = if op.name == "CumSum" {
                        Attributes::none().int(axis).flag(false).flag(false)
                    } else {
                        reduce::over(&[axis as usize], true)
                    };
                    measure(&format!("{} {dtype} {shape:?} axis {axis}", op.name), op, attributes, &x, 1);
                }
                let arg = Attributes::none().int(axis).flag(true).flag(false);
                measure(&format!("ArgMax {dtype} {shape:?} axis {axis}"), &search::ARG_MAX, arg, &x, 1);
                for count in [1, shape[axis as usize]] {
                    let top = Attributes::none().int(axis).int(count as i64).flag(true);
                    measure(&format!("TopK {dtype} {shape:?} axis {axis} k {count}"), &search::TOP_K, top, &x, 1);
                }
            }
        }
    }
}

#[test]
#[ignore = "a measurement: it prints, and asserts nothing"]
fn movements() {
    for dtype in [DType::F32, DType::I8, DType::I64] {
        let go = |name: &str, op: &'static OpSpec, attributes: Attributes, shapes: &[&[usize]]| {
            let operands: Vec<Tensor> = shapes.iter().map(|shape| tensor(dtype, shape, 100)).collect();
            measure(&format!("{name} {dtype} {:?}", shapes[0]), op, attributes, &operands, operands.len());
        };
        let axes = |axes: &[usize]| Attributes::none().sizes(axes);
        go("Reshape", &movement::RESHAPE, axes(&[4, 1 << 16]), &[&[1 << 18]]);
        go("Transpose", &movement::TRANSPOSE, axes(&[1, 0]), &[&[1024, 1024]]);
        go("Transpose", &movement::TRANSPOSE, axes(&[2, 1, 0]), &[&[64, 64, 64]]);
        go("Transpose", &movement::TRANSPOSE, axes(&[0, 3, 1, 2]), &[&[1, 256, 256, 3]]);
        go("Transpose", &movement::TRANSPOSE, axes(&[7, 6, 5, 4, 3, 2, 1, 0]), &[&[4, 4, 4, 4, 4, 4, 4, 4]]);
        let slice = |first: &[i64], step: &[i64], len: &[usize]| {
            Attributes::none().ints(first.iter().copied()).ints(step.iter().copied()).sizes(len)
        };
        go("Slice backwards", &movement::SLICE, slice(&[(1 << 18) - 1], &[-1], &[1 << 18]), &[&[1 << 18]]);
        go("Slice columns", &movement::SLICE, slice(&[0, 0], &[1, 2], &[1 << 17, 1]), &[&[1 << 17, 2]]);
        go("Slice of 8 axes", &movement::SLICE, slice(&[0; 8], &[2; 8], &[2; 8]), &[&[4; 8]]);
        go(
            "Concat",
            &movement::CONCAT,
            Attributes::none().int(1),
            &[&[1 << 16, 1], &[1 << 16, 1], &[1 << 16, 1], &[1 << 16, 1]],
        );
        go("Concat", &movement::CONCAT, Attributes::none().int(0), &[&[1 << 18], &[1 << 18]]);
        go("Expand", &movement::EXPAND, axes(&[512, 512]), &[&[512, 1]]);
        go("Expand", &movement::EXPAND, axes(&[1 << 17, 2]), &[&[1, 2]]);
        for mode in 0..4 {
            let pad = Attributes::none().sizes(&[1, 1]).sizes(&[1, 1]).int(mode);
            go(&format!("Pad mode {mode}"), &movement::PAD, pad.clone(), &[&[512, 512], &[]]);
            go(&format!("Pad mode {mode}"), &movement::PAD, pad, &[&[1 << 17, 2], &[]]);
        }
        for (kernel, stride, size) in [(2, 2, 256), (3, 1, 256), (16, 1, 128), (1, 1, 256), (64, 64, 256)] {
            go(
                &format!("MaxPool {kernel}/{stride}"),
                &pool::MAX_POOL,
                windows(kernel, stride, size),
                &[&[1, 4, size, size]],
            );
            if dtype == DType::F32 {
                go(
                    &format!("AveragePool {kernel}/{stride}"),
                    &pool::AVERAGE_POOL,
                    windows(kernel, stride, size),
                    &[&[1, 4, size, size]],
                );
            }
        }
        let index = |shape: &[usize], bound: usize| tensor(DType::I64, shape, bound);
        let data = |shape: &[usize]| tensor(dtype, shape, 100);
        let take = |name: &str, op: &'static OpSpec, attributes: Attributes, operands: &[Tensor]| {
            measure(&format!("{name} {dtype}"), op, attributes, operands, operands.len());
        };
        take(
            "Gather single elements",
            &gather::GATHER,
            Attributes::none().int(0),
            &[data(&[1 << 20]), index(&[1 << 18], 1 << 20)],
        );
        take(
            "Gather rows of 64",
            &gather::GATHER,
            Attributes::none().int(0),
            &[data(&[1 << 14, 64]), index(&[1 << 12], 1 << 14)],
        );
        take("Gather columns", &gather::GATHER, Attributes::none().int(1), &[data(&[1 << 12, 64]), index(&[64], 64)]);
        take(
            "GatherElements",
            &gather::GATHER_ELEMENTS,
            Attributes::none().int(0),
            &[data(&[512, 512]), index(&[512, 512], 512)],
        );
        take(
            "GatherElements of 8 axes",
            &gather::GATHER_ELEMENTS,
            Attributes::none().int(0),
            &[data(&[4; 8]), index(&[4; 8], 4)],
        );
        take(
            "GatherND",
            &gather::GATHER_ND,
            Attributes::none().int(0),
            &[data(&[512, 512]), index(&[1 << 17, 2], 512)],
        );
        take(
            "GatherND of 8 axes",
            &gather::GATHER_ND,
            Attributes::none().int(0),
            &[data(&[4; 8]), index(&[1 << 15, 8], 4)],
        );
        for reduction in 0..5 {
            let scatter = Attributes::none().int(0).int(reduction);
            take(
                &format!("ScatterElements {reduction}"),
                &gather::SCATTER_ELEMENTS,
                scatter,
                &[data(&[512, 512]), index(&[512, 512], 512), data(&[512, 512])],
            );
            take(
                &format!("ScatterElements {reduction} into one"),
                &gather::SCATTER_ELEMENTS,
                Attributes::none().int(0).int(reduction),
                &[data(&[1]), index(&[1 << 18], 1), data(&[1 << 18])],
            );
            take(
                &format!("ScatterND {reduction} into few"),
                &gather::SCATTER_ND,
                Attributes::none().int(reduction),
                &[data(&[16]), index(&[1 << 18, 1], 16), data(&[1 << 18])],
            );
        }
        let mask = tensor(DType::Bool, &[512, 1], 1);
        take("Where", &compare::WHERE, Attributes::none(), &[mask, data(&[512, 512]), data(&[1, 512])]);
    }
    measure(
        "Lookup",
        &gather::LOOKUP,
        Attributes::none(),
        &[tensor(DType::I64, &[1 << 16], 1000), f32s(&[1000, 4])],
        1,
    );
    measure(
        "Lookup of single elements",
        &gather::LOOKUP,
        Attributes::none(),
        &[tensor(DType::I64, &[1 << 18], 1000), f32s(&[1000, 1])],
        1,
    );
}
