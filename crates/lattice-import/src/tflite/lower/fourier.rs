//! Fourier transforms. Complex tensors have their real and imaginary parts along a last axis of their own.

use super::{Entry, computes, shape::sizes};
use crate::patterns::fourier::{Complex, each, fitted, joined, transform, turned};
use crate::tflite::context::{OperatorContext, Placed, plain};
use lattice_inference::ops::{OpResult, elementwise as ew};

pub(super) const TABLE: &[Entry] = &[
    computes("RFFT2D", rfft2d),
    computes("REAL", |c| part(c, 0)),
    computes("IMAG", |c| part(c, 1)),
    computes("COMPLEX_ABS", |c| {
        let (re, im) = (part(c, 0)?[0], part(c, 1)?[0]);
        let (re, im) = (c.mul(re.value, re.value)?, c.mul(im.value, im.value)?);
        let sum = c.add(re, im)?;
        Ok(vec![plain(c.unary(&ew::SQRT, sum)?)])
    }),
];

/// The real part (0) or the imaginary part (1) of a complex operand.
pub(super) fn part(c: &mut OperatorContext<'_>, which: usize) -> OpResult<Vec<Placed>> {
    let x = c.complex(0)?;
    let shape = c.shape(x).to_vec();
    let rank = shape.len() - 1;
    let one = c.narrow(x, rank, which, 1)?;
    Ok(vec![plain(c.reshape(one, &shape[..rank])?)])
}

/// Rows first, then columns, as real and imaginary parts.
fn rfft2d(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let mut x = c.plain(0)?;
    let lengths = sizes(&c.constant_ints_of(1, "transform lengths", 2)?)?;
    let shape = c.shape(x).to_vec();
    let [outer @ .., _, _] = &shape[..] else { return Err("it needs an operand with two axes".into()) };
    for (axis, &length) in (outer.len()..).zip(&lengths) {
        x = fitted(c, x, axis, length)?;
    }
    let (batch, &[height, width]) = (outer.iter().product::<usize>(), &lengths[..]) else {
        return Err("two axes".into());
    };
    let kept = width / 2 + 1;
    let rows = c.reshape(x, &[batch * height, width])?;
    let mut parts = transform(c, Complex { re: rows, im: None }, false, kept)?;
    if height > 1 {
        let rows = Complex { re: parts[0], im: Some(parts[1]) };
        let columns = each(c, rows, |b, v| turned(b, v, [batch, height, kept], [batch * kept, height]))?;
        parts = transform(c, columns, false, height)?;
        for part in &mut parts {
            *part = turned(c, *part, [batch, kept, height], [batch * height, kept])?;
        }
    }
    Ok(vec![plain(joined(c, parts, &[outer, &[height, kept]].concat())?)])
}
