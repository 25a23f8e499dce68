//! Loaded models of class Q against their nodes one by one, whatever kernels, batches and threads.

#![allow(clippy::unwrap_used)]

use super::conv::INTEGER_CONV;
use super::isa::forced;
use super::matmul::INTEGER_MATMUL;
use super::pairs::{INTEGER_ADD, INTEGER_MUL, Product, Sum};
use super::requantize::{REQUANTIZE, put_range};
use super::scale::{Range, Scale};
use super::table::TABLE;
use crate::graph::{Graph, GraphBuilder, Value, ValueInfo};
use crate::model::Model;
use crate::ops::conv::Geometry;
use crate::ops::gather::GATHER;
use crate::ops::{Attributes, reduce};
use crate::tensor::{DType, Tensor};
use proptest::prelude::*;

/// The graph's definition: each node by its own `run`.
fn one_by_one(graph: &Graph, x: &Tensor) -> Vec<Tensor> {
    let constants = graph.constants().iter().map(|c| c.tensor.as_ref().clone());
    let mut values: Vec<Tensor> = std::iter::once(x.clone()).chain(constants).collect();
    for node in graph.nodes() {
        let operands: Vec<&Tensor> = node.inputs.iter().map(|&v| &values[v as usize]).collect();
        let results = (node.op.run)(&node.attributes, &operands).unwrap();
        values.extend(results);
    }
    graph.output_values().iter().map(|&v| values[v as usize].clone()).collect()
}

/// What a graph is made of.
#[derive(Clone, Debug)]
struct Network {
    channels: usize,
    size: [usize; 2],
    /// Groups, outputs of each, kernel, stride.
    conv: [usize; 4],
    x_type: DType,
    y_type: DType,
    /// Which values leave it beside the last.
    outputs: u8,
    seed: u32,
}

fn network() -> impl Strategy<Value = Network> {
    let eight_bits = || prop_oneof![Just(DType::I8), Just(DType::U8)];
    let conv = (1usize..4, 1usize..6, 1usize..5, 1usize..3, 1usize..6);
    (conv, (5usize..20, 5usize..40), eight_bits(), eight_bits(), any::<u8>(), any::<u32>()).prop_map(
        |((groups, outputs, kernel, stride, depth), (height, width), x_type, y_type, leave, seed)| Network {
            channels: groups * depth,
            size: [height, width],
            conv: [groups, outputs, kernel, stride],
            x_type,
            y_type,
            outputs: leave,
            seed,
        },
    )
}

struct Bytes(u32);

impl Bytes {
    fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 24) as u8
        };
        Tensor::from_bytes(dtype, shape, &(0..shape.iter().product()).map(|_| next()).collect::<Vec<u8>>()).unwrap()
    }
}

impl Network {
    fn rules(&self, b: &mut GraphBuilder, count: usize, shift: i32) -> Value {
        let rule = |i: i32| [i * 97 - 300, 0x5000_0000 + i * 0x0123_4567, shift + i % 3];
        b.constant("", Tensor::from_i32([count, 3], (0..count as i32).flat_map(rule).collect()).unwrap())
    }

    fn graph(&self, batch: usize) -> Graph {
        let [groups, per_group, kernel, stride] = self.conv;
        let (outputs, depth, ty) = (groups * per_group, self.channels / groups, self.y_type);
        let mut bytes = Bytes(self.seed);
        let b = &mut GraphBuilder::default();
        let shape = [&[batch, self.channels], &self.size[..]].concat();
        let x = b.input(ValueInfo { name: "x".into(), dtype: self.x_type, shape });
        let zero = |b: &mut GraphBuilder, dtype, zero| b.constant("", Tensor::from_bytes(dtype, [], &[zero]).unwrap());
        let (x_zero, w_zero) = (zero(b, self.x_type, self.seed as u8), zero(b, DType::I8, self.outputs / 128));
        let w = b.constant("w", bytes.tensor(DType::I8, &[outputs, depth, kernel, kernel]));
        let pads = vec![kernel / 2; 2];
        let geometry = Geometry {
            strides: vec![stride; 2],
            pads_before: pads.clone(),
            pads_after: pads,
            dilations: vec![1; 2],
            group: groups,
        };
        let (low, zero_point) = if ty == DType::I8 { (-128, 5) } else { (0, 133) };
        let range = Range { zero: zero_point, low, high: low + 250 };
        let sums = b.emit1(&INTEGER_CONV, geometry.attributes(), &[x, x_zero, w, w_zero]).unwrap();
        let rules = self.rules(b, outputs, 38);
        let along = |axis| put_range(Attributes::none().int(axis), ty, range);
        let stored = b.emit1(&REQUANTIZE, along(1), &[sums, rules]).unwrap();
        let entries = b.constant("", bytes.tensor(ty, &[256]));
        let function = b.emit1(&TABLE, Attributes::none(), &[stored, entries]).unwrap();
        let zeros = [zero_point; 2];
        let product = Product { zeros, scale: Scale::of(0.011).unwrap() }.attributes(ty, range);
        let curve = b.emit1(&INTEGER_MUL, product.clone(), &[stored, function]).unwrap();
        let sum = Sum::of(zeros, [0.7, -0.4]).unwrap().attributes(ty, range);
        let both = b.emit1(&INTEGER_ADD, sum, &[curve, function]).unwrap();
        let wide = b.cast(both, DType::I32).unwrap();
        let totals = b.emit1(&reduce::SUM, reduce::over(&[2, 3], true), &[wide]).unwrap();
        let rules = self.rules(b, 1, 37);
        let means = b.emit1(&REQUANTIZE, along(0), &[totals, rules]).unwrap();
        // As squeeze and excitation do: a convolution of single places.
        let (means_zero, weights_zero) = (zero(b, ty, 77), zero(b, DType::I8, self.outputs / 64));
        let weights = b.constant("", bytes.tensor(DType::I8, &[outputs, outputs, 1, 1]));
        let single = Geometry {
            strides: vec![1; 2],
            pads_before: vec![0; 2],
            pads_after: vec![0; 2],
            dilations: vec![1; 2],
            group: 1,
        };
        let sums = b.emit1(&INTEGER_CONV, single.attributes(), &[means, means_zero, weights, weights_zero]).unwrap();
        let rules = self.rules(b, outputs, 39);
        let excited = b.emit1(&REQUANTIZE, along(1), &[sums, rules]).unwrap();
        let gated = b.emit1(&INTEGER_MUL, product, &[both, excited]).unwrap();
        let width = *b.shape(gated).last().unwrap();
        let times = 1 + self.seed as usize % 9;
        let nearest = (0..width * times).map(|i| (i / times) as i64).collect();
        let nearest = b.constant("", Tensor::from_i64([width * times], nearest).unwrap());
        let gated = b.emit1(&GATHER, Attributes::none().int(3), &[gated, nearest]).unwrap();
        let width = width * times;
        let (gated_zero, weights_zero) = (zero(b, ty, 0), zero(b, DType::I8, 0));
        let weights = b.constant("", bytes.tensor(DType::I8, &[width, 33]));
        let sums = b.emit1(&INTEGER_MATMUL, Attributes::none(), &[gated, gated_zero, weights, weights_zero]).unwrap();
        let rules = self.rules(b, 33, 41);
        let last = b.emit1(&REQUANTIZE, along(3), &[sums, rules]).unwrap();
        let mut leave = vec![("last".into(), last)];
        for (i, value) in [stored, function, curve, both, totals, excited].into_iter().enumerate() {
            leave.extend((self.outputs >> i & 1 == 1).then(|| (format!("y{i}"), value)));
        }
        core::mem::take(b).finish(leave).unwrap()
    }

    fn input(&self, batch: usize) -> Tensor {
        Bytes(self.seed ^ 0x5bd1).tensor(self.x_type, &[&[batch, self.channels], &self.size[..]].concat())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_loaded_model_has_the_bits_of_its_nodes(network in network()) {
        let (graph, x) = (network.graph(2), network.input(2));
        let want = one_by_one(&graph, &x);
        let model = Model::load(graph).unwrap();
        for (isa, got) in forced::each(|| model.run(std::slice::from_ref(&x)).unwrap()) {
            prop_assert_eq!(&got, &want, "{:?}", isa);
        }
    }

    #[test]
    fn batches_and_threads_change_nothing(network in network(), batch in 2usize..5) {
        let x = network.input(batch);
        let whole = Model::load(network.graph(batch)).unwrap().run(std::slice::from_ref(&x)).unwrap();
        let one = Model::load(network.graph(1)).unwrap();
        let image = x.len() / batch;
        let singles: Vec<Vec<Tensor>> = std::thread::scope(|scope| {
            let run = |i: usize| {
                let x = Tensor::from_bytes(network.x_type, network.input(1).shape(), &x.to_bytes()[i * image..][..image]);
                one.run(&[x.unwrap()]).unwrap()
            };
            let threads: Vec<_> = (0..batch).map(|i| scope.spawn(move || run(i))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (i, whole) in whole.iter().enumerate() {
            let joined: Vec<u8> = singles.iter().flat_map(|outputs| outputs[i].to_bytes()).collect();
            prop_assert_eq!(whole.to_bytes(), joined);
        }
    }
}
