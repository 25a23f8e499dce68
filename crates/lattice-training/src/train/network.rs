//! Dense networks: reading one out of a frozen graph, running it forward with what backward needs, and its gradients.
//!
//! A dense network is a chain of products with constant matrices, sums and products with constant rows, and relu, from one
//! input `[n, features]` to one output; a softmax at the end belongs to the loss. All arithmetic is class F: each
//! element of a product is one ascending chain, gradients of weights over the records of the batch in their order.

use super::TrainError;
use crate::adapter::transposed;
use lattice_inference::{DType, Graph, Isa, Tensor, dual_kernel, matrix_product};

/// One step of the chain.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layer {
    /// Times a constant matrix [inputs, outputs].
    Dense { constant: usize, inputs: usize, outputs: usize },
    /// Plus a constant row.
    Bias { constant: usize, outputs: usize },
    /// Times a constant row, which is not trained.
    Scale { row: Vec<f32> },
    /// Negative elements become zero.
    Relu,
}

/// The chain.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    pub(super) layers: Vec<Layer>,
    pub(super) features: usize,
    pub(super) outputs: usize,
}

impl Network {
    /// Reads the chain out of a graph, or tells which node is none of its kind.
    pub(super) fn of(graph: &Graph) -> Result<Network, TrainError> {
        let wrong = |reason: String| Err(TrainError::Network(reason));
        let ([input], [output]) = (graph.inputs(), graph.output_values()) else {
            return wrong("it must have one input and one output".into());
        };
        let &[records, features] = input.shape.as_slice() else {
            return wrong(format!("its input must be [records, features], got {:?}", input.shape));
        };
        if input.dtype != DType::F32 {
            return wrong(format!("its input must be f32, it is {}", input.dtype));
        }
        let (mut layers, mut value, mut width) = (Vec::new(), 0u32, features);
        let first = graph.inputs().len();
        let constant = |value: u32| {
            let index = (value as usize).checked_sub(first)?;
            graph.constants().get(index).map(|constant| (index, constant.tensor.as_ref()))
        };
        // The elements of a constant that lies along the last dimension only.
        let row = |tensor: &Tensor, width: usize| -> Option<Vec<f32>> {
            let values = tensor.as_f32().filter(|v| v.len() == tensor.shape().last().copied().unwrap_or(1))?;
            (values.len() == width || values.len() == 1).then(|| values.iter().copied().cycle().take(width).collect())
        };
        for (position, node) in graph.nodes().iter().enumerate() {
            let last = position + 1 == graph.nodes().len();
            let refused =
                || TrainError::Network(format!("node {position} ({}) is no part of a dense chain", node.op.name));
            let other = match *node.inputs.as_slice() {
                [x] if x == value => None,
                [x, c] if x == value => Some(c),
                // Sums and products are written in either order.
                [c, x] if x == value && node.op.name != "MatMul" => Some(c),
                _ => return Err(refused()),
            };
            match (node.op.name, other.and_then(constant)) {
                ("MatMul", Some((index, tensor))) if tensor.as_f32().is_some() && tensor.rank() == 2 => {
                    let outputs = tensor.shape()[1];
                    layers.push(Layer::Dense { constant: index, inputs: width, outputs });
                    width = outputs;
                }
                ("Add", Some((index, tensor))) if tensor.len() == width && row(tensor, width).is_some() => {
                    layers.push(Layer::Bias { constant: index, outputs: width });
                }
                ("Mul", Some((_, tensor))) => {
                    layers.push(Layer::Scale { row: row(tensor, width).ok_or_else(refused)? });
                }
                ("Relu", None) => layers.push(Layer::Relu),
                ("Softmax", None) if last => {}
                _ => return Err(refused()),
            }
            value = node.first_output;
            if graph.types()[value as usize].shape != [records, width] {
                return Err(refused());
            }
        }
        if value != *output {
            return wrong("its output is not the end of the chain".into());
        }
        Ok(Network { layers, features, outputs: width })
    }
}

/// A low-rank update beside a dense layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct LowRank<'a> {
    /// [rank, inputs].
    pub(super) a: &'a [f32],
    /// [outputs, rank].
    pub(super) b: &'a [f32],
    pub(super) rank: usize,
    pub(super) scale: f32,
}

/// What the layers compute with; one for each layer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights<'a> {
    None,
    Fixed(&'a [f32]),
    /// The gradient is wanted.
    Trained(&'a [f32]),
    LowRank(&'a [f32], LowRank<'a>),
}

dual_kernel! {
    /// `y = fma(scale, x, y)`.
    fn add_scaled(scale: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = scale.mul_add(*x, *y);
        }
    }
}

fn scaled(scale: f32, mut x: Vec<f32>) -> Vec<f32> {
    x.iter_mut().for_each(|x| *x *= scale);
    x
}

/// Runs the chain on `n` records; the values before each layer, and the output at the end.
pub(super) fn forward(network: &Network, weights: &[Weights<'_>], x: Vec<f32>, n: usize) -> Vec<Vec<f32>> {
    let mut values = vec![x];
    for (layer, weights) in network.layers.iter().zip(weights) {
        let x = &values[values.len() - 1];
        let y = match (layer, weights) {
            (Layer::Dense { inputs, outputs, .. }, Weights::LowRank(w, low)) => {
                let mut y = matrix_product(x, w, (n, *inputs, *outputs));
                let u = matrix_product(x, &transposed(low.a, low.rank), (n, *inputs, low.rank));
                let z = matrix_product(&u, &transposed(low.b, *outputs), (n, low.rank, *outputs));
                add_scaled(Isa::detect(), low.scale, &z, &mut y);
                y
            }
            (Layer::Dense { inputs, outputs, .. }, Weights::Fixed(w) | Weights::Trained(w)) => {
                matrix_product(x, w, (n, *inputs, *outputs))
            }
            (Layer::Bias { outputs, .. }, Weights::Fixed(row) | Weights::Trained(row)) => {
                let rows = x.chunks_exact(*outputs);
                rows.flat_map(|x| x.iter().zip(*row).map(|(x, b)| x + b)).collect()
            }
            (Layer::Scale { row }, _) => {
                x.chunks_exact(row.len()).flat_map(|x| x.iter().zip(row).map(|(x, s)| x * s)).collect()
            }
            (Layer::Relu, _) => x.iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect(),
            (Layer::Dense { .. } | Layer::Bias { .. }, _) => unreachable!("weights are those of their layer"),
        };
        values.push(y);
    }
    values
}

/// Gradients of the trained weights, layer by layer in ascending order, of a low-rank update A's before B's.
pub(super) fn backward(
    network: &Network,
    weights: &[Weights<'_>],
    values: &[Vec<f32>],
    output_gradient: Vec<f32>,
    n: usize,
) -> Vec<Vec<f32>> {
    let mut gradients = Vec::new();
    let mut dy = output_gradient;
    for (at, (layer, weights)) in network.layers.iter().zip(weights).enumerate().rev() {
        let x = &values[at];
        match (layer, weights) {
            (Layer::Dense { inputs, outputs, .. }, Weights::LowRank(w, low)) => {
                let (inputs, outputs, rank) = (*inputs, *outputs, low.rank);
                let u = matrix_product(x, &transposed(low.a, rank), (n, inputs, rank));
                let db = matrix_product(&transposed(&dy, n), &u, (outputs, n, rank));
                gradients.push(scaled(low.scale, db));
                let du = scaled(low.scale, matrix_product(&dy, low.b, (n, outputs, rank)));
                gradients.push(matrix_product(&transposed(&du, n), x, (rank, n, inputs)));
                let mut dx = matrix_product(&dy, &transposed(w, inputs), (n, outputs, inputs));
                add_scaled(Isa::detect(), 1.0, &matrix_product(&du, low.a, (n, rank, inputs)), &mut dx);
                dy = dx;
            }
            (Layer::Dense { inputs, outputs, .. }, Weights::Fixed(w) | Weights::Trained(w)) => {
                if matches!(weights, Weights::Trained(_)) {
                    gradients.push(matrix_product(&transposed(x, n), &dy, (*inputs, n, *outputs)));
                }
                dy = matrix_product(&dy, &transposed(w, *inputs), (n, *outputs, *inputs));
            }
            (Layer::Bias { outputs, .. }, Weights::Trained(_)) => {
                let mut sums = vec![0.0; *outputs];
                for row in dy.chunks_exact(*outputs) {
                    sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
                }
                gradients.push(sums);
            }
            (Layer::Scale { row }, _) => {
                dy.chunks_exact_mut(row.len()).for_each(|dy| dy.iter_mut().zip(row).for_each(|(dy, s)| *dy *= s));
            }
            (Layer::Relu, _) => {
                dy.iter_mut().zip(x).for_each(|(dy, x)| *dy = if *x > 0.0 { *dy } else { 0.0 });
            }
            _ => {}
        }
    }
    gradients.reverse();
    gradients
}
