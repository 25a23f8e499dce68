//! Real graphs turned into integers, against the same graphs by class F.

#![allow(clippy::unwrap_used)]

use super::real;
use crate::graph::{Graph, GraphBuilder, NumericClass, Value, ValueInfo};
use crate::kernels::Isa;
use crate::kernels::elementwise::{Unary, unary};
use crate::model::Model;
use crate::ops::conv::{CONV, Geometry};
use crate::ops::pool::{AVERAGE_POOL, MAX_POOL, Windows};
use crate::ops::{
    Attributes, OpResult, OpSpec, elementwise as ew, matmul::MATMUL, normalize::LOG_SOFTMAX, normalize::SOFTMAX,
};
use crate::tensor::{DType, Tensor};
use proptest::prelude::*;

/// A quantised tensor: type, scale, zero point.
type Quantised = (DType, f32, i32);

fn quantised() -> impl Strategy<Value = Quantised> {
    (any::<bool>(), 1u32..2000, any::<u8>()).prop_map(|(is_signed, scale, zero)| {
        let scale = scale as f32 * 1.3e-4;
        if is_signed { (DType::I8, scale, i32::from(zero as i8)) } else { (DType::U8, scale, i32::from(zero)) }
    })
}

fn scalar(b: &mut GraphBuilder, value: f32) -> Value {
    b.constant("", Tensor::from_f32([], vec![value]).unwrap())
}

fn real(b: &mut GraphBuilder, x: Value, (_, scale, zero): Quantised) -> Value {
    let (scale, zero) = (scalar(b, scale), scalar(b, zero as f32));
    real::dequantize(b, x, scale, Some(zero)).unwrap()
}

fn stored(b: &mut GraphBuilder, x: Value, (dtype, scale, zero): Quantised) -> Value {
    let (scale, zero) = (scalar(b, scale), scalar(b, zero as f32));
    real::quantize(b, x, scale, Some(zero), dtype).unwrap()
}

fn bytes(seed: u32, ty: Quantised, shape: &[usize]) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Tensor::from_bytes(ty.0, shape, &(0..shape.iter().product()).map(|_| next()).collect::<Vec<u8>>()).unwrap()
}

fn run(graph: Graph, inputs: &[Tensor]) -> Tensor {
    assert_eq!(Graph::decode(&graph.encode()).unwrap(), graph);
    Model::load(graph).unwrap().run(inputs).unwrap().remove(0)
}

/// Builds a real function of quantised inputs twice: stored in integers, and as reals. The stored results must be of class Q
/// and at most the rounding and a little away from the reals.
fn check(
    inputs: &[(Quantised, Vec<usize>)],
    out: Quantised,
    (seed, slack): (u32, f64),
    function: impl Fn(&mut GraphBuilder, &[Value]) -> OpResult<Value>,
) -> Graph {
    let build = |finish: &dyn Fn(&mut GraphBuilder, Value) -> Value| {
        let mut b = GraphBuilder::default();
        let info = |(i, (ty, shape)): (usize, &(Quantised, Vec<usize>))| ValueInfo {
            name: i.to_string(),
            dtype: ty.0,
            shape: shape.clone(),
        };
        let given: Vec<Value> = inputs.iter().enumerate().map(info).map(|info| b.input(info)).collect();
        let reals: Vec<Value> = given.iter().zip(inputs).map(|(&x, (ty, _))| real(&mut b, x, *ty)).collect();
        let y = function(&mut b, &reals).unwrap();
        let y = finish(&mut b, y);
        b.finish(vec![("y".into(), y)]).unwrap()
    };
    let graph = build(&|b, y| stored(b, y, out));
    let reals = build(&|_, y| y);
    assert_eq!((graph.class(), reals.class()), (NumericClass::Q, NumericClass::F), "{:?}", graph.operators());
    let given: Vec<Tensor> =
        inputs.iter().enumerate().map(|(i, (ty, shape))| bytes(seed ^ i as u32, *ty, shape)).collect();
    let (got, want) = (run(graph.clone(), &given), run(reals, &given));
    let (low, high) = super::requantize::bounds(out.0).unwrap();
    for (got, want) in got.to_f64s().iter().zip(want.to_f64s()) {
        let exact = (want / f64::from(out.1) + f64::from(out.2)).clamp(low.into(), high.into());
        assert!((got - exact).abs() <= 0.51 + slack, "{got} for {exact}: {:?}", graph.operators());
    }
    graph
}

fn geometry(pads: usize, strides: usize, group: usize) -> Attributes {
    let two = |v| vec![v, v];
    Geometry { strides: two(strides), pads_before: two(pads), pads_after: two(pads), dilations: two(1), group }
        .attributes()
}

/// Weights with one scale for each output, and a bias.
fn weights(b: &mut GraphBuilder, seed: u32, shape: &[usize], axis: usize) -> (Value, Value) {
    let w = b.constant("w", bytes(seed, (DType::I8, 1.0, 0), shape));
    let outputs = shape[axis];
    let mut along = vec![1; shape.len() - axis];
    along[0] = outputs;
    let scales = (0..outputs).map(|i| 0.001 + 0.0007 * i as f32).collect();
    let scales = b.constant("", Tensor::from_f32(along.clone(), scales).unwrap());
    let zeros = b.constant("", Tensor::from_i8(along, vec![0; outputs]).unwrap());
    let real = real::dequantize(b, w, scales, Some(zeros)).unwrap();
    let bias = (0..outputs).map(|i| 0.4 - 0.21 * i as f32).collect();
    (real, b.constant("", Tensor::from_f32([outputs], bias).unwrap()))
}

/// What rounding a bias to the sums' quantum may do, in quanta of the result: half a product of scales.
fn half_bias(x: Quantised, out: Quantised) -> f64 {
    f64::from(x.1) * 0.0046 / f64::from(out.1) / 2.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn convolutions(
        x in quantised(), out in quantised(), (pads, strides) in (0usize..2, 1usize..3), is_deep in any::<bool>(),
        activation in 0usize..3, seed in any::<u32>(),
    ) {
        let (group, depth) = if is_deep { (1, 6) } else { (6, 1) };
        let graph = check(&[(x, vec![2, 6, 7, 9])], out, (seed, half_bias(x, out)), |b, x| {
            let (w, bias) = weights(b, seed, &[6, depth, 3, 3], 0);
            let y = b.emit1(&CONV, geometry(pads, strides, group), &[x[0], w])?;
            let bias = b.reshape(bias, &[6, 1, 1])?;
            let y = b.add(y, bias)?;
            let y = if activation > 0 { b.unary(&ew::RELU, y)? } else { y };
            let six = b.number(6.0, y)?;
            if activation > 1 { b.binary(&ew::MIN, y, six) } else { Ok(y) }
        });
        prop_assert_eq!(graph.nodes().len(), 2);
    }

    #[test]
    fn upsampling_convolutions(x in quantised(), out in quantised(), seed in any::<u32>()) {
        let graph = check(&[(x, vec![2, 6, 3, 5])], out, (seed, 0.0), |b, x| {
            // Weights [channels, outputs, 2, 2] of a transposed convolution by its stride: an output for each place.
            let (w, _) = weights(b, seed, &[6, 4, 2, 2], 1);
            let columns = b.reshape(w, &[6, 16])?;
            let rows = b.transpose(columns, &[1, 0])?;
            let w = b.reshape(rows, &[16, 6, 1, 1])?;
            let y = b.emit1(&CONV, geometry(0, 1, 1), &[x[0], w])?;
            let blocks = b.reshape(y, &[2, 4, 2, 2, 3, 5])?;
            let moved = b.transpose(blocks, &[0, 1, 4, 2, 5, 3])?;
            b.reshape(moved, &[2, 4, 6, 10])
        });
        prop_assert!(graph.operators().contains_key("IntegerConv"));
    }

    #[test]
    fn channels_scaled_and_moved(x in quantised(), out in quantised(), seed in any::<u32>()) {
        let slack = f64::from(x.1) * 1.9 / 128.0 / f64::from(out.1);
        let graph = check(&[(x, vec![2, 4, 3, 5])], out, (seed, slack), |b, x| {
            let mut along = |values: [f32; 4]| b.constant("", Tensor::from_f32([4, 1, 1], values.to_vec()).unwrap());
            let (factors, added) = (along([0.7, -1.9, 0.0, 0.02]), along([0.1, 0.0, -0.3, 0.4]));
            let scaled = b.mul(x[0], factors)?;
            b.add(scaled, added)
        });
        prop_assert_eq!(graph.nodes().len(), 2);
    }

    #[test]
    fn products_with_moved_operands(x in quantised(), out in quantised(), seed in any::<u32>()) {
        let graph = check(&[(x, vec![3, 2, 7])], out, (seed, half_bias(x, out)), |b, x| {
            // Weights stored [outputs, inputs], as TensorFlow Lite has them.
            let (w, bias) = weights(b, seed, &[5, 14], 0);
            let rows = b.reshape(x[0], &[3, 14])?;
            let columns = b.transpose(w, &[1, 0])?;
            let y = b.binary(&MATMUL, rows, columns)?;
            let y = b.add(y, bias)?;
            b.reshape(y, &[3, 1, 5])
        });
        prop_assert!(graph.operators().contains_key("Requantize"));
    }

    #[test]
    fn sums_products_and_averages(x in quantised(), y in quantised(), out in quantised(), seed in any::<u32>()) {
        let shapes = [(x, vec![2, 3, 5, 4]), (y, vec![3, 1, 1])];
        for op in [&ew::ADD, &ew::SUB, &ew::MUL] {
            let graph = check(&shapes, out, (seed, 0.0), |b, v| b.binary(op, v[0], v[1]));
            prop_assert_eq!(graph.nodes().len(), 1);
        }
        check(&shapes[..1], out, (seed, 0.0), |b, v| b.mean(v[0], &[2, 3], true));
        for count_padding in [false, true] {
            let windows = Windows {
                kernel: vec![3, 2], strides: vec![2, 1], pads_before: vec![1, 1], pads_after: vec![1, 0],
                dilations: vec![1, 1], output: vec![3, 4], count_padding,
            };
            check(&shapes[..1], out, (seed, 0.0), |b, v| b.emit1(&AVERAGE_POOL, windows.attributes(), &[v[0]]));
        }
    }

    #[test]
    fn moved_elements(x in quantised(), y in quantised(), out in quantised(), seed in any::<u32>()) {
        let windows = Windows {
            kernel: vec![2, 2], strides: vec![1, 1], pads_before: vec![1, 0], pads_after: vec![0, 0],
            dilations: vec![1, 1], output: vec![4, 3], count_padding: false,
        };
        check(&[(x, vec![1, 2, 4, 4]), (y, vec![1, 3, 4, 4])], out, (seed, 0.0), |b, v| {
            let pool = |b: &mut GraphBuilder, v| b.emit1(&MAX_POOL, windows.attributes(), &[v]);
            let parts = [pool(b, v[0])?, pool(b, v[1])?];
            let joined = b.concat(1, &parts)?;
            let joined = b.transpose(joined, &[0, 2, 3, 1])?;
            let zero = b.number(0.0, joined)?;
            let pads = Attributes::none().sizes(&[0, 1, 0, 0]).sizes(&[0, 0, 2, 0]).int(0);
            let padded = b.emit1(&crate::ops::movement::PAD, pads, &[joined, zero])?;
            b.narrow(padded, 1, 0, 4)
        });
    }

    #[test]
    fn softmax_of_rows(x in quantised(), seed in any::<u32>(), is_signed in any::<bool>()) {
        let out = if is_signed { (DType::I8, 1.0 / 256.0, -128) } else { (DType::U8, 1.0 / 255.0, 0) };
        let graph = check(&[(x, vec![3, 17])], out, (seed, 0.0), |b, v| b.unary(&SOFTMAX, v[0]));
        prop_assert!(graph.operators().contains_key("IntegerSoftmax"));
    }

    #[test]
    fn tables_are_class_f(x in quantised(), out in quantised()) {
        let functions: [(&OpSpec, Unary); 6] = [
            (&ew::SIGMOID, Unary::Sigmoid), (&ew::TANH, Unary::Tanh), (&ew::EXP, Unary::Exp), (&ew::ERF, Unary::Erf),
            (&ew::RELU, Unary::Relu), (&ew::SQRT, Unary::Sqrt),
        ];
        let every = Tensor::from_bytes(x.0, [256], &(0..=255).collect::<Vec<u8>>()).unwrap();
        let (low, high) = super::requantize::bounds(out.0).unwrap();
        for (op, function) in functions {
            let mut b = GraphBuilder::default();
            let input = b.input(ValueInfo { name: "x".into(), dtype: x.0, shape: vec![256] });
            // A product of two functions of one tensor is one table.
            let v = real(&mut b, input, x);
            let f = b.unary(op, v).unwrap();
            let y = b.mul(v, f).unwrap();
            let y = stored(&mut b, y, out);
            let graph = b.finish(vec![("y".into(), y)]).unwrap();
            prop_assert_eq!(graph.operators().into_iter().collect::<Vec<_>>(), [("Table", 1)]);
            let got = run(graph, std::slice::from_ref(&every));
            let reals: Vec<f32> = every.to_f64s().iter().map(|&v| (v as i32 - x.2) as f32 * x.1).collect();
            let mut values = vec![0.0; 256];
            unary(Isa::Portable, function, &reals, &mut values);
            for ((got, f), real) in got.to_f64s().iter().zip(values).zip(reals) {
                let quantum = ((real * f) / out.1).round_ties_even() + out.2 as f32;
                let quantum = if quantum.is_nan() { out.2 as f32 } else { quantum };
                prop_assert_eq!(*got, f64::from(quantum.clamp(low as f32, high as f32)));
            }
        }
    }
}

#[test]
fn what_integers_cannot_hold_stays_in_class_f() {
    let class = |function: &dyn Fn(&mut GraphBuilder, Value) -> Value| {
        let mut b = GraphBuilder::default();
        let x = b.input(ValueInfo { name: "x".into(), dtype: DType::U8, shape: vec![1, 40_000] });
        let v = real(&mut b, x, (DType::U8, 0.1, 7));
        let y = function(&mut b, v);
        let y = stored(&mut b, y, (DType::U8, 0.1, 7));
        b.finish(vec![("y".into(), y)]).unwrap().class()
    };
    let product = |b: &mut GraphBuilder, v: Value, k: usize, bias: f32| {
        let v = b.narrow(v, 1, 0, k).unwrap();
        let (w, _) = weights(b, 1, &[k, 1], 1);
        let y = b.binary(&MATMUL, v, w).unwrap();
        let bias = scalar(b, bias);
        b.add(y, bias).unwrap()
    };
    assert_eq!(class(&|b, v| product(b, v, 33_000, 0.0)), NumericClass::Q);
    assert_eq!(class(&|b, v| product(b, v, 33_026, 0.0)), NumericClass::F);
    assert_eq!(class(&|b, v| product(b, v, 9, 1e4)), NumericClass::Q);
    assert_eq!(class(&|b, v| product(b, v, 9, 1e9)), NumericClass::F);
    assert_eq!(class(&|b, v| product(b, v, 9, f32::NAN)), NumericClass::F);
    // Class Q has no logarithm of a whole row.
    assert_eq!(class(&|b, v| b.unary(&LOG_SOFTMAX, v).unwrap()), NumericClass::F);
}
