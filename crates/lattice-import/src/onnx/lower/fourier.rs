//! Fourier transforms and the windows before them. Complex tensors have their parts along the last axis.

use super::{Entry, computes, moves};
use crate::onnx::node::NodeContext;
use crate::onnx::tensors::dtype_of;
use crate::patterns::fourier::{Complex, each, fitted, joined, transform};
use core::f64::consts::TAU;
use lattice_inference::ops::{Attributes, OpResult, cast, gather::GATHER};
use lattice_inference::{Data, Tensor, Value};

pub(super) const TABLE: &[Entry] = &[
    computes("DFT", dft),
    computes("STFT", stft),
    moves("HannWindow", |c| window(c, [0.5, 0.5, 0.0])),
    moves("HammingWindow", |c| window(c, [25.0 / 46.0, 21.0 / 46.0, 0.0])),
    moves("BlackmanWindow", |c| window(c, [0.42, 0.5, 0.08])),
];

/// Longest window.
const WINDOW_MAX: i64 = 1 << 20;

/// a - b cos(2πi/n) + c cos(4πi/n), of a period of n = size, or of a symmetric n = size - 1.
fn window(c: &mut NodeContext<'_>, [a, b, d]: [f64; 3]) -> OpResult<Vec<Value>> {
    let size = match c.constant_ints(c.input(0)?, "size")?[..] {
        [size] if (1..=WINDOW_MAX).contains(&size) => size,
        ref other => return Err(format!("its size must be one number from 1 to {WINDOW_MAX}, got {other:?}")),
    };
    let period = if c.flag("periodic", true)? { size } else { size - 1 };
    let value = |i: i64| {
        let angle = TAU * i as f64 / period.max(1) as f64;
        a - b * libm::cos(angle) + d * libm::cos(2.0 * angle)
    };
    let dtype = dtype_of(c.int("output_datatype", 1)?)?;
    let data = cast::cast(&Data::F64((0..size).map(value).collect()), dtype);
    let tensor = Tensor::new([size as usize], data).map_err(|e| e.to_string())?;
    Ok(vec![c.builder.constant("", tensor)])
}

/// The parts of a tensor whose last axis is 1 (real) or 2.
fn parts(c: &mut NodeContext<'_>, x: Value) -> OpResult<Complex> {
    let shape = c.shape(x);
    let (&last, outer) = shape.split_last().ok_or("its operand needs axes")?;
    let part = |c: &mut NodeContext<'_>, at: usize| {
        let one = c.narrow(x, outer.len(), at, 1)?;
        c.reshape(one, outer)
    };
    match last {
        1 => Ok(Complex { re: part(c, 0)?, im: None }),
        2 => Ok(Complex { re: part(c, 0)?, im: Some(part(c, 1)?) }),
        other => Err(format!("the last axis must hold one or two parts, got {other}")),
    }
}

fn length(c: &NodeContext<'_>, v: Value, what: &str) -> OpResult<usize> {
    match c.constant_ints(v, what)?[..] {
        [one] if one > 0 => usize::try_from(one).map_err(|e| e.to_string()),
        ref other => Err(format!("its {what} must be one positive number, got {other:?}")),
    }
}

fn dft(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let rank = c.rank(x);
    let along = match (c.opset >= 20, c.optional(2)) {
        (true, Some(axis)) => c.constant_number(axis, "axis")? as i64,
        (true, None) => -2,
        (false, _) => c.int("axis", 1)?,
    };
    let axis = c.axis(along, rank)?;
    if axis + 1 == rank {
        return Err("it cannot transform the axis of the parts".into());
    }
    let (is_inverse, is_onesided) = (c.flag("inverse", false)?, c.flag("onesided", false)?);
    if is_inverse && is_onesided {
        return Err("a one-sided inverse is not supported".into());
    }
    let mut points = c.shape(x)[axis];
    let mut x = parts(c, x)?;
    if let Some(wanted) = c.optional(1) {
        points = length(c, wanted, "transform length")?;
        x = each(c, x, |b, v| fitted(b, v, axis, points))?;
    }
    // The axis goes last and comes back.
    let mut order: Vec<usize> = (0..rank - 1).filter(|&a| a != axis).collect();
    order.push(axis);
    let moved = each(c, x, |b, v| b.transpose(v, &order))?;
    let mut shape = c.shape(moved.re);
    let rows: usize = shape[..rank - 2].iter().product();
    let flat = each(c, moved, |b, v| b.reshape(v, &[rows, points]))?;
    let kept = if is_onesided { points / 2 + 1 } else { points };
    let mut results = transform(c, flat, is_inverse, kept)?;
    shape[rank - 2] = kept;
    let mut back = vec![0; rank - 1];
    order.iter().enumerate().for_each(|(at, &a)| back[a] = at);
    for part in &mut results {
        if is_inverse {
            let count = c.number(points as f64, *part)?;
            *part = c.div(*part, count)?;
        }
        let whole = c.reshape(*part, &shape)?;
        *part = c.transpose(whole, &back)?;
    }
    let shape = c.shape(results[0]);
    Ok(vec![joined(c, results, &shape)?])
}

fn stft(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (signal, step) = (c.input(0)?, length(c, c.input(1)?, "frame step")?);
    let window = c.optional(2);
    let points = match (c.optional(3), window) {
        (Some(given), _) => length(c, given, "frame length")?,
        (None, Some(window)) => c.shape(window).iter().product(),
        (None, None) => return Err("it needs a window or a frame length".into()),
    };
    // A signal may come without the axis of its parts.
    let signal = match c.shape(signal)[..] {
        [batch, samples] => c.reshape(signal, &[batch, samples, 1])?,
        _ => signal,
    };
    let [batch, samples, _] = c.shape(signal)[..] else {
        return Err("the signal must be [batch, samples, parts]".into());
    };
    let frames = samples.checked_sub(points).ok_or("the signal is shorter than a frame")? / step + 1;
    let places = (0..frames).flat_map(|frame| (0..points).map(move |at| (frame * step + at) as i64)).collect();
    let places = c.i64s(&[frames, points], places)?;
    let whole = parts(c, signal)?;
    let framed = each(c, whole, |b, v| {
        let frames = b.emit1(&GATHER, Attributes::none().int(1), &[v, places])?;
        window.map_or(Ok(frames), |window| b.mul(frames, window))
    })?;
    let flat = each(c, framed, |b, v| b.reshape(v, &[batch * frames, points]))?;
    let kept = if c.flag("onesided", true)? { points / 2 + 1 } else { points };
    let results = transform(c, flat, false, kept)?;
    Ok(vec![joined(c, results, &[batch, frames, kept])?])
}
