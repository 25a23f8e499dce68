//! Positions marked along a new axis.

use lattice_inference::ops::{Attributes, OpResult, compare};
use lattice_inference::{GraphBuilder, Value};

/// `on` where the position along the new axis `axis` of size `depth` is the index, `off` elsewhere; indices outside mark
/// nothing. `[off, on]` are single numbers.
pub(crate) fn one_hot(
    b: &mut GraphBuilder,
    indices: Value,
    depth: i64,
    axis: usize,
    [off, on]: [Value; 2],
) -> OpResult<Value> {
    let mut column = b.shape(indices).to_vec();
    let mut along = vec![1; column.len() + 1];
    column.insert(axis, 1);
    along[axis] = usize::try_from(depth).map_err(|_| format!("depth {depth} is negative"))?;
    let indices = b.reshape(indices, &column)?;
    let positions = b.i64s(&along, (0..depth).collect())?;
    let hot = b.binary(&compare::EQUAL, indices, positions)?;
    b.emit1(&compare::WHERE, Attributes::none(), &[hot, on, off])
}
