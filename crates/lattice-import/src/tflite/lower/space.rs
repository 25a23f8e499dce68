//! Elements between the axes of images: depth, space and batch.

use super::shape::sizes;
use super::{Entry, moves};
use crate::tflite::context::{OperatorContext, Placed, image, plain};
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, movement};

pub(super) const TABLE: &[Entry] = &[
    moves("DEPTH_TO_SPACE", |c| {
        let (block, x) = (c.size(0, 0, "block size")?, c.image(0)?);
        let [batch, channels, height, width] = c.shape(x)[..] else { return Err("it needs rank 4".into()) };
        if !channels.is_multiple_of(block * block) {
            return Err(format!("{channels} channels do not fall into blocks of {block} x {block}"));
        }
        let depth = channels / (block * block);
        let split = c.reshape(x, &[batch, block, block, depth, height, width])?;
        let moved = c.transpose(split, &[0, 3, 4, 1, 5, 2])?;
        Ok(vec![image(c.reshape(moved, &[batch, depth, height * block, width * block])?)])
    }),
    moves("SPACE_TO_DEPTH", |c| {
        let (block, x) = (c.size(0, 0, "block size")?, c.image(0)?);
        let [batch, channels, height, width] = c.shape(x)[..] else { return Err("it needs rank 4".into()) };
        if !height.is_multiple_of(block) || !width.is_multiple_of(block) {
            return Err(format!("an image of {height} x {width} does not fall into blocks of {block} x {block}"));
        }
        let (rows, columns) = (height / block, width / block);
        let split = c.reshape(x, &[batch, channels, rows, block, columns, block])?;
        let moved = c.transpose(split, &[0, 3, 5, 1, 2, 4])?;
        Ok(vec![image(c.reshape(moved, &[batch, channels * block * block, rows, columns])?)])
    }),
    moves("SPACE_TO_BATCH_ND", space_to_batch),
    moves("BATCH_TO_SPACE_ND", batch_to_space),
];

/// Blocks, and what is added or cut before and after, of each of the axes behind the batch.
fn blocks(c: &mut OperatorContext<'_>, what: &str) -> OpResult<(Value, Vec<usize>, Vec<[usize; 2]>)> {
    let x = c.plain(0)?;
    let blocks = sizes(&c.constant_ints(1, "block shape")?)?;
    let edges = sizes(&c.constant_ints_of(2, what, 2 * blocks.len())?)?;
    if blocks.contains(&0) || c.shape(x).len() <= blocks.len() {
        return Err(format!("blocks of {blocks:?} do not fit shape {:?}", c.shape(x)));
    }
    Ok((x, blocks, edges.as_chunks().0.to_vec()))
}

fn space_to_batch(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let (x, blocks, pads) = blocks(c, "paddings")?;
    let (rank, spatial) = (c.shape(x).len(), blocks.len());
    let edge = |side: usize| {
        let pad = |a: usize| if (1..=spatial).contains(&a) { pads[a - 1][side] } else { 0 };
        (0..rank).map(pad).collect::<Vec<usize>>()
    };
    let fill = c.number(0.0, x)?;
    let x = c.emit1(&movement::PAD, Attributes::none().sizes(&edge(0)).sizes(&edge(1)).int(0), &[x, fill])?;
    let shape = c.shape(x).to_vec();
    if let Some(a) = (0..spatial).find(|&a| !shape[a + 1].is_multiple_of(blocks[a])) {
        return Err(format!("axis {} of {shape:?} does not fall into blocks of {}", a + 1, blocks[a]));
    }
    let mut split = vec![shape[0]];
    split.extend((0..spatial).flat_map(|a| [shape[a + 1] / blocks[a], blocks[a]]));
    split.extend(&shape[spatial + 1..]);
    // Blocks first, then the batch, then what is left of space.
    let mut order: Vec<usize> = (0..spatial).map(|a| 2 * a + 2).collect();
    order.extend(core::iter::once(0).chain((0..spatial).map(|a| 2 * a + 1)).chain(2 * spatial + 1..split.len()));
    let mut wanted = vec![shape[0] * blocks.iter().product::<usize>()];
    wanted.extend((0..spatial).map(|a| shape[a + 1] / blocks[a]));
    wanted.extend(&shape[spatial + 1..]);
    let x = c.reshape(x, &split)?;
    let x = c.transpose(x, &order)?;
    Ok(vec![plain(c.reshape(x, &wanted)?)])
}

fn batch_to_space(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let (x, blocks, crops) = blocks(c, "crops")?;
    let (shape, spatial) = (c.shape(x).to_vec(), blocks.len());
    let count: usize = blocks.iter().product();
    if !shape[0].is_multiple_of(count) {
        return Err(format!("a batch of {} does not fall into {count} blocks", shape[0]));
    }
    let mut split = blocks.clone();
    split.push(shape[0] / count);
    split.extend(&shape[1..]);
    let mut order = vec![spatial];
    order.extend((0..spatial).flat_map(|a| [spatial + 1 + a, a]));
    order.extend(2 * spatial + 1..split.len());
    let mut joined = vec![shape[0] / count];
    joined.extend((0..spatial).map(|a| shape[a + 1] * blocks[a]));
    joined.extend(&shape[spatial + 1..]);
    let x = c.reshape(x, &split)?;
    let x = c.transpose(x, &order)?;
    let mut x = c.reshape(x, &joined)?;
    for (a, [before, after]) in crops.into_iter().enumerate() {
        let size = joined[a + 1];
        let length = before.checked_add(after).and_then(|cut| size.checked_sub(cut));
        x = c.narrow(x, a + 1, before, length.ok_or_else(|| format!("crops take more than axis {}", a + 1))?)?;
    }
    Ok(vec![plain(x)])
}
