//! Resizing: an axis becomes a weighted sum of gathered rows, with positions and weights known at import.

use lattice_inference::Tensor;
use lattice_inference::ops::gather::GATHER;
use lattice_inference::ops::{Attributes, OpResult};
use lattice_inference::{GraphBuilder, Value};

/// An input position and its weight.
pub(crate) type Tap = (usize, f32);

/// One axis: gather by each tap, weigh, add in tap order. Every output position has equally many taps; a single one is not
/// weighed.
pub(crate) fn resample(b: &mut GraphBuilder, x: Value, axis: usize, taps: &[Vec<Tap>]) -> OpResult<Value> {
    let count = taps.first().map_or(0, Vec::len);
    let mut along = vec![1; b.shape(x).len()];
    along[axis] = taps.len();
    let mut sum = None;
    for t in 0..count {
        let indices = b.i64s(&[taps.len()], taps.iter().map(|tap| tap[t].0 as i64).collect())?;
        let rows = b.emit1(&GATHER, Attributes::none().int(axis as i64), &[x, indices])?;
        if count == 1 {
            return Ok(rows);
        }
        let weights: Vec<f32> = taps.iter().map(|tap| tap[t].1).collect();
        let weights = Tensor::from_f32(along.clone(), weights).map_err(|e| e.to_string())?;
        let weights = b.constant("", weights);
        let part = b.mul(rows, weights)?;
        sum = Some(match sum {
            Some(sum) => b.add(sum, part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| "an axis cannot become empty".into())
}
