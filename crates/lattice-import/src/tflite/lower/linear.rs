//! Matrix products, and the normalisations of rows.

use super::{Entry, activate, computes};
use crate::tflite::context::{OperatorContext, Placed, plain};
use lattice_inference::Value;
use lattice_inference::ops::{OpResult, elementwise as ew, matmul, normalize, reduce};

pub(super) const TABLE: &[Entry] = &[
    computes("FULLY_CONNECTED", fully_connected),
    computes("BATCH_MATMUL", |c| {
        let (mut a, mut b) = (c.plain(0)?, c.plain(1)?);
        if c.operator.flag(0)? {
            a = transposed(c, a)?;
        }
        if c.operator.flag(1)? {
            b = transposed(c, b)?;
        }
        Ok(vec![plain(c.binary(&matmul::MATMUL, a, b)?)])
    }),
    computes("SOFTMAX", |c| {
        let (mut x, beta) = (c.plain(0)?, c.operator.option(0, 0.0f32)?);
        if beta != 1.0 {
            let beta = c.number(f64::from(beta), x)?;
            x = c.mul(x, beta)?;
        }
        Ok(vec![plain(c.unary(&normalize::SOFTMAX, x)?)])
    }),
    computes("LOG_SOFTMAX", |c| {
        let x = c.plain(0)?;
        Ok(vec![plain(c.unary(&normalize::LOG_SOFTMAX, x)?)])
    }),
    // x / max(|x|, 1e-6) over the last axis.
    computes("L2_NORMALIZATION", |c| {
        let x = c.plain(0)?;
        let last = c.shape(x).len().checked_sub(1).ok_or("a scalar has no axis to normalise over")?;
        let square = c.mul(x, x)?;
        let sum = c.reduce(&reduce::SUM, square, &[last], true)?;
        let (norm, floor) = (c.unary(&ew::SQRT, sum)?, c.number(1e-6, x)?);
        let norm = c.binary(&ew::MAX, norm, floor)?;
        let y = c.div(x, norm)?;
        Ok(vec![plain(activate(c, 0, y)?)])
    }),
];

fn transposed(c: &mut OperatorContext<'_>, x: Value) -> OpResult<Value> {
    let rank = c.shape(x).len();
    if rank < 2 {
        return Err("it needs operands with two dimensions or more".into());
    }
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 1, rank - 2);
    c.transpose(x, &axes)
}

/// Rows times the weights [outputs, inputs] turned around, plus a number for each output.
fn fully_connected(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    if c.operator.option(1, 0i8)? != 0 {
        return Err("shuffled weights are not supported".into());
    }
    let (x, weights) = (c.plain(0)?, c.plain(1)?);
    let (shape, &[outputs, inputs]) = (c.shape(x).to_vec(), c.shape(weights)) else {
        return Err(format!("its weights must have two dimensions, got {:?}", c.shape(weights)));
    };
    let count: usize = shape.iter().product();
    if inputs == 0 || !count.is_multiple_of(inputs) {
        return Err(format!("operand {shape:?} does not fall into rows of {inputs}"));
    }
    let rows = c.reshape(x, &[count / inputs, inputs])?;
    let columns = c.transpose(weights, &[1, 0])?;
    let mut y = c.binary(&matmul::MATMUL, rows, columns)?;
    if c.optional(2).is_some() {
        let bias = c.plain(2)?;
        let bias = c.reshape(bias, &[outputs])?;
        y = c.add(y, bias)?;
    }
    y = activate(c, 0, y)?;
    if let (true, [head @ .., _]) = (c.operator.flag(2)?, shape.as_slice()) {
        let kept: Vec<usize> = head.iter().copied().chain([outputs]).collect();
        y = c.reshape(y, &kept)?;
    }
    Ok(vec![plain(y)])
}
