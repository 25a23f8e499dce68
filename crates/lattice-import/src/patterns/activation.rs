//! Activations that take several nodes.

use lattice_inference::ops::{OpResult, elementwise as ew};
use lattice_inference::{GraphBuilder, Value};

fn scale(b: &mut GraphBuilder, x: Value, factor: f32) -> OpResult<Value> {
    let factor = b.number(f64::from(factor), x)?;
    b.mul(x, factor)
}

fn shift(b: &mut GraphBuilder, x: Value, offset: f32) -> OpResult<Value> {
    let offset = b.number(f64::from(offset), x)?;
    b.add(x, offset)
}

/// 0.5 x (1 + erf(x / sqrt 2)).
pub(crate) fn gelu_erf(b: &mut GraphBuilder, x: Value) -> OpResult<Value> {
    let scaled = scale(b, x, core::f32::consts::FRAC_1_SQRT_2)?;
    let erf = b.unary(&ew::ERF, scaled)?;
    let gate = shift(b, erf, 1.0)?;
    let half = scale(b, x, 0.5)?;
    b.mul(half, gate)
}

/// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
pub(crate) fn gelu_tanh(b: &mut GraphBuilder, x: Value) -> OpResult<Value> {
    let square = b.mul(x, x)?;
    let cube = b.mul(square, x)?;
    let scaled = scale(b, cube, 0.044_715)?;
    let sum = b.add(x, scaled)?;
    let inner = scale(b, sum, 0.797_884_6)?;
    let tanh = b.unary(&ew::TANH, inner)?;
    let gate = shift(b, tanh, 1.0)?;
    let half = scale(b, x, 0.5)?;
    b.mul(half, gate)
}
