//! Activation functions.

use super::arithmetic::unary;
use super::{Entry, computes, moves};
use crate::onnx::node::NodeContext;
use crate::patterns::{gelu_erf, gelu_tanh};
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, OpSpec, elementwise as ew};

pub(super) const TABLE: &[Entry] = &[
    computes("Relu", |c| unary(c, &ew::RELU)),
    computes("Tanh", |c| unary(c, &ew::TANH)),
    computes("Sigmoid", |c| unary(c, &ew::SIGMOID)),
    computes("Softplus", |c| unary(c, &ew::SOFTPLUS)),
    computes("Softsign", |c| unary(c, &ew::SOFTSIGN)),
    computes("LeakyRelu", |c| parametric(c, &ew::LEAKY_RELU, 0.01)),
    computes("Elu", |c| parametric(c, &ew::ELU, 1.0)),
    computes("Celu", |c| parametric(c, &ew::CELU, 1.0)),
    computes("ThresholdedRelu", |c| parametric(c, &ew::THRESHOLDED_RELU, 1.0)),
    computes("Selu", |c| {
        let x = c.input(0)?;
        let attributes = Attributes::none().float(c.float("alpha", 1.673_263_2)?).float(c.float("gamma", 1.050_701)?);
        Ok(vec![c.emit(&ew::SELU, attributes, &[x])?])
    }),
    computes("Shrink", |c| {
        let x = c.input(0)?;
        let attributes = Attributes::none().float(c.float("lambd", 0.5)?).float(c.float("bias", 0.0)?);
        Ok(vec![c.emit(&ew::SHRINK, attributes, &[x])?])
    }),
    computes("PRelu", prelu),
    computes("Clip", clip),
    computes("HardSigmoid", |c| {
        let x = c.input(0)?;
        let (alpha, beta) = (c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
        Ok(vec![hard_sigmoid(c, x, alpha, beta)?])
    }),
    computes("HardSwish", |c| {
        let x = c.input(0)?;
        let gate = hard_sigmoid(c, x, 1.0 / 6.0, 0.5)?;
        Ok(vec![c.mul(x, gate)?])
    }),
    computes("Swish", |c| {
        let x = c.input(0)?;
        let alpha = c.float("alpha", 1.0)?;
        let scaled = scale(c, x, alpha)?;
        let gate = c.unary(&ew::SIGMOID, scaled)?;
        Ok(vec![c.mul(x, gate)?])
    }),
    computes("Mish", |c| {
        let x = c.input(0)?;
        let soft = c.unary(&ew::SOFTPLUS, x)?;
        let gate = c.unary(&ew::TANH, soft)?;
        Ok(vec![c.mul(x, gate)?])
    }),
    computes("Gelu", |c| {
        let x = c.input(0)?;
        match c.text("approximate", "none")?.as_str() {
            "none" => Ok(vec![gelu_erf(c, x)?]),
            "tanh" => Ok(vec![gelu_tanh(c, x)?]),
            other => Err(format!("approximation '{other}' is not known")),
        }
    }),
    moves("Dropout", dropout),
];

pub(super) const MICROSOFT: &[Entry] = &[
    computes("Gelu", |c| {
        let x = c.input(0)?;
        Ok(vec![gelu_erf(c, x)?])
    }),
    computes("BiasGelu", |c| {
        let (x, bias) = (c.input(0)?, c.input(1)?);
        let x = c.add(x, bias)?;
        Ok(vec![gelu_erf(c, x)?])
    }),
    computes("FastGelu", |c| {
        let mut x = c.input(0)?;
        if let Some(bias) = c.optional(1) {
            x = c.add(x, bias)?;
        }
        Ok(vec![gelu_tanh(c, x)?])
    }),
    computes("QuickGelu", |c| {
        let x = c.input(0)?;
        let alpha = c.float("alpha", 1.702)?;
        let scaled = scale(c, x, alpha)?;
        let gate = c.unary(&ew::SIGMOID, scaled)?;
        Ok(vec![c.mul(x, gate)?])
    }),
];

/// Operators with one number, `alpha`.
fn parametric(c: &mut NodeContext<'_>, op: &'static OpSpec, default: f32) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let alpha = c.float("alpha", default)?;
    Ok(vec![c.emit(op, Attributes::none().float(alpha), &[x])?])
}

fn scale(c: &mut NodeContext<'_>, x: Value, factor: f32) -> OpResult<Value> {
    let factor = c.number(f64::from(factor), x)?;
    c.mul(x, factor)
}

fn shift(c: &mut NodeContext<'_>, x: Value, offset: f32) -> OpResult<Value> {
    let offset = c.number(f64::from(offset), x)?;
    c.add(x, offset)
}

/// max(0, min(1, alpha * x + beta)).
pub(super) fn hard_sigmoid(c: &mut NodeContext<'_>, x: Value, alpha: f32, beta: f32) -> OpResult<Value> {
    let scaled = scale(c, x, alpha)?;
    let shifted = shift(c, scaled, beta)?;
    let (zero, one) = (c.number(0.0, x)?, c.number(1.0, x)?);
    let capped = c.binary(&ew::MIN, shifted, one)?;
    c.binary(&ew::MAX, capped, zero)
}

fn prelu(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, mut slope) = (c.input(0)?, c.input(1)?);
    // Some exporters give one slope a channel as a plain vector.
    let (rank, shape) = (c.rank(x), c.shape(slope));
    if let ([channels], true) = (shape.as_slice(), rank > 2)
        && *channels > 1
        && c.shape(x)[1] == *channels
        && c.shape(x)[rank - 1] != *channels
    {
        let mut along = vec![1; rank - 1];
        along[0] = *channels;
        slope = c.reshape(slope, &along)?;
    }
    Ok(vec![c.binary(&ew::PRELU, x, slope)?])
}

fn clip(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let (low, high) = if c.opset < 11 {
        let bound = |c: &mut NodeContext<'_>, name: &str| match c.has(name) {
            true => c.float(name, 0.0).and_then(|v| c.number(f64::from(v), x)).map(Some),
            false => Ok(None),
        };
        (bound(c, "min")?, bound(c, "max")?)
    } else {
        (c.optional(1), c.optional(2))
    };
    let mut result = x;
    if let Some(low) = low {
        let low = c.reshape(low, &[])?;
        result = c.binary(&ew::MAX, result, low)?;
    }
    if let Some(high) = high {
        let high = c.reshape(high, &[])?;
        result = c.binary(&ew::MIN, result, high)?;
    }
    Ok(vec![result])
}

/// At inference nothing is dropped; the mask is all true.
fn dropout(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    c.mark_read(1);
    if let Some(training) = c.optional(2)
        && c.constant_number(training, "training_mode")? != 0.0
    {
        return Err("training mode draws random numbers; export the model for inference".into());
    }
    let mut results = vec![x];
    if c.wants_output(1) {
        let kept = lattice_inference::Tensor::from_bool([], vec![true]).map_err(|e| e.to_string())?;
        let mut mask = c.builder.constant("", kept);
        if c.opset < 10 {
            let dtype = c.dtype(x);
            mask = c.cast(mask, dtype)?;
        }
        let shape = c.shape(x);
        results.push(c.expand(mask, &shape)?);
    }
    Ok(results)
}
