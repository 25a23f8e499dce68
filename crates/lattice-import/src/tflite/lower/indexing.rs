//! Elements picked and placed by indices.

use super::{Entry, axis, computes, moves, shape::one_int, shape::sizes};
use crate::patterns::one_hot;
use crate::tflite::context::plain;
use lattice_inference::DType;
use lattice_inference::ops::Attributes;
use lattice_inference::ops::gather::{GATHER, GATHER_ND, Reduction, SCATTER_ND};

pub(super) const TABLE: &[Entry] = &[
    moves("GATHER", |c| {
        if c.operator.option(1, 0i32)? != 0 {
            return Err("batch dimensions are not supported".into());
        }
        let (x, indices) = (c.plain(0)?, c.plain(1)?);
        let along = axis(i64::from(c.operator.option(0, 0i32)?), c.shape(x).len())?;
        Ok(vec![plain(c.emit1(&GATHER, Attributes::none().int(along as i64), &[x, indices])?)])
    }),
    moves("GATHER_ND", |c| {
        let (x, indices) = (c.plain(0)?, c.plain(1)?);
        Ok(vec![plain(c.emit1(&GATHER_ND, Attributes::none().int(0), &[x, indices])?)])
    }),
    // Updates of one place add up, over zeros.
    computes("SCATTER_ND", |c| {
        let (indices, updates) = (c.plain(0)?, c.plain(1)?);
        let (zero, shape) = (c.number(0.0, updates)?, sizes(&c.constant_ints(2, "shape")?)?);
        let (base, indices) = (c.expand(zero, &shape)?, c.cast(indices, DType::I64)?);
        let attributes = Attributes::none().int(Reduction::Add as i64);
        Ok(vec![plain(c.emit1(&SCATTER_ND, attributes, &[base, indices, updates])?)])
    }),
    computes("ONE_HOT", |c| {
        let (indices, depth) = (c.plain(0)?, one_int(c, 1, "depth")?);
        let along = match c.operator.option(0, 0i32)? {
            -1 => c.shape(indices).len(),
            given => axis(i64::from(given), c.shape(indices).len() + 1)?,
        };
        let indices = c.cast(indices, DType::I64)?;
        let values = [c.plain(3)?, c.plain(2)?];
        Ok(vec![plain(one_hot(c, indices, depth, along, values)?)])
    }),
];
