//! Discrete Fourier transforms: products with matrices of roots of unity, in two stages where the length is composite.
//!
//! For n = p·q, with the index of the input j = q·a + b and that of the output k = c + p·d,
//!
//! ```text
//! X[c + p·d] = sum_b  w_q^(b·d) · w_n^(b·c) · sum_a  w_p^(a·c) · x[q·a + b],      w_m = e^(-2πi/m)
//! ```
//!
//! (Cooley and Tukey 1965), so 2,048 points take 96 products an element instead of 2,048. Roots are computed in f64.

use core::f64::consts::FRAC_PI_2;
use lattice_inference::ops::{Attributes, OpResult, matmul::MATMUL, movement};
use lattice_inference::{GraphBuilder, Tensor, Value};

/// Real and imaginary parts; the latter are absent where they are all zero.
#[derive(Clone, Copy)]
pub(crate) struct Complex {
    pub(crate) re: Value,
    pub(crate) im: Option<Value>,
}

/// Up to here one product is as good as two, and what cancels out cancels exactly.
const DIRECT_MAX: usize = 32;
/// Longest transform in one product, where its length cannot be split.
const POINTS_MAX: usize = 1 << 13;

/// The first `keep` frequencies of each row of `x`, [rows, n]; of the inverse transform, without the division by n, where
/// `is_inverse`. Both results are [rows, keep].
pub(crate) fn transform(b: &mut GraphBuilder, x: Complex, is_inverse: bool, keep: usize) -> OpResult<[Value; 2]> {
    let &[rows, n] = b.shape(x.re) else { return Err("a transform needs rows".into()) };
    if n == 0 || rows == 0 {
        return Err("there is nothing to transform".into());
    }
    let p = if n <= DIRECT_MAX { 1 } else { (1..=n.isqrt()).rev().find(|&p| n.is_multiple_of(p)).unwrap_or(1) };
    let q = n / p;
    if q > POINTS_MAX {
        return Err(format!("a transform of {n} points is not supported; its largest factor may be {POINTS_MAX}"));
    }
    if p == 1 {
        return rotated(b, x, is_inverse, n, keep);
    }
    // [rows, a, b] -> [rows * b, a], transformed over a to [rows * b, c].
    let columns = each(b, x, |b, v| turned(b, v, [rows, p, q], [rows * q, p]))?;
    let [re, im] = rotated(b, columns, is_inverse, p, p)?;
    let (re, im) = (b.reshape(re, &[rows, q, p])?, b.reshape(im, &[rows, q, p])?);
    // By w_n^(b·c).
    let [cos, sin] = roots(b, is_inverse, n, [q, p])?;
    let (a, d) = (b.mul(re, cos)?, b.mul(im, sin)?);
    let (e, f) = (b.mul(re, sin)?, b.mul(im, cos)?);
    let twisted = Complex { re: b.sub(a, d)?, im: Some(b.add(e, f)?) };
    // [rows, b, c] -> [rows * c, b], transformed over b to [rows * c, d], in the order of c + p·d.
    let rest = each(b, twisted, |b, v| turned(b, v, [rows, q, p], [rows * p, q]))?;
    let parts = rotated(b, rest, is_inverse, q, q)?;
    let mut results = parts;
    for part in &mut results {
        let whole = turned(b, *part, [rows, p, q], [rows, n])?;
        *part = b.narrow(whole, 1, 0, keep)?;
    }
    Ok(results)
}

/// An axis cut or filled up with zeros to a length.
pub(crate) fn fitted(b: &mut GraphBuilder, x: Value, axis: usize, length: usize) -> OpResult<Value> {
    let shape = b.shape(x).to_vec();
    if length <= shape[axis] {
        return b.narrow(x, axis, 0, length);
    }
    let mut after = vec![0; shape.len()];
    after[axis] = length - shape[axis];
    let fill = b.number(0.0, x)?;
    let attributes = Attributes::none().sizes(&vec![0; shape.len()]).sizes(&after).int(0);
    b.emit1(&movement::PAD, attributes, &[x, fill])
}

/// The last two of three axes in the other order, between two shapes of rows.
pub(crate) fn turned(b: &mut GraphBuilder, v: Value, from: [usize; 3], to: [usize; 2]) -> OpResult<Value> {
    let split = b.reshape(v, &from)?;
    let turned = b.transpose(split, &[0, 2, 1])?;
    b.reshape(turned, &to)
}

/// Real and imaginary part, of a shape, along a new last axis.
pub(crate) fn joined(b: &mut GraphBuilder, parts: [Value; 2], shape: &[usize]) -> OpResult<Value> {
    let shape = [shape, &[1]].concat();
    let parts = [b.reshape(parts[0], &shape)?, b.reshape(parts[1], &shape)?];
    b.concat(shape.len() - 1, &parts)
}

/// A function of both parts.
pub(crate) fn each(
    b: &mut GraphBuilder,
    x: Complex,
    function: impl Fn(&mut GraphBuilder, Value) -> OpResult<Value>,
) -> OpResult<Complex> {
    Ok(Complex { re: function(b, x.re)?, im: x.im.map(|im| function(b, im)).transpose()? })
}

/// The transform of rows of n elements by one product with the matrix of roots.
fn rotated(b: &mut GraphBuilder, x: Complex, is_inverse: bool, n: usize, keep: usize) -> OpResult<[Value; 2]> {
    let [cos, sin] = roots(b, is_inverse, n, [n, keep])?;
    let (re, im) = (b.binary(&MATMUL, x.re, cos)?, b.binary(&MATMUL, x.re, sin)?);
    let Some(imaginary) = x.im else { return Ok([re, im]) };
    let (a, c) = (b.binary(&MATMUL, imaginary, sin)?, b.binary(&MATMUL, imaginary, cos)?);
    Ok([b.sub(re, a)?, b.add(im, c)?])
}

/// Real and imaginary parts of e^(∓2πi·j·k/n) for j and k below the two sizes.
fn roots(b: &mut GraphBuilder, is_inverse: bool, n: usize, [rows, columns]: [usize; 2]) -> OpResult<[Value; 2]> {
    let sign = if is_inverse { 1.0 } else { -1.0 };
    let (mut cosines, mut sines) = (Vec::with_capacity(rows * columns), Vec::with_capacity(rows * columns));
    for (j, k) in (0..rows).flat_map(|j| (0..columns).map(move |k| (j, k))) {
        let (cos, sin) = root(j * k % n, n);
        cosines.push(cos as f32);
        sines.push((sign * sin) as f32);
    }
    let mut table =
        |values| Tensor::from_f32([rows, columns], values).map(|t| b.constant("", t)).map_err(|e| e.to_string());
    Ok([table(cosines)?, table(sines)?])
}

/// cos and sin of 2πk/n, k < n; those of whole quarters are exact.
fn root(k: usize, n: usize) -> (f64, f64) {
    let (quarter, rest) = (4 * k / n, 4 * k % n);
    let angle = FRAC_PI_2 * rest as f64 / n as f64;
    let (cos, sin) = (libm::cos(angle), libm::sin(angle));
    match quarter {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}
