//! Runs a chain of elementwise f32 operators tile by tile, so that intermediate values stay in the first-level cache.
//!
//! Each element goes through exactly the operations of the unfused nodes in the same order: fusing changes traffic, not bits.

use super::Isa;
use super::elementwise::{Binary, Unary, binary, unary};
use crate::ops::broadcast::Loops;

/// Elements of a tile.
const TILE: usize = 1024;

/// Where a step reads from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    /// Operand of the whole program.
    Operand(usize),
    /// Result of an earlier step.
    Step(usize),
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Unary(Unary, Source),
    Binary(Binary, Source, Source),
}

/// How an operand lies in the iteration space.
#[derive(Clone, Debug, PartialEq)]
enum Access {
    /// One element for each element of the result, in order.
    Full,
    /// A single element.
    Scalar,
    /// Anything else that broadcasts.
    Strided(Loops),
}

/// A chain of steps over one iteration space.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    len: usize,
    operands: Vec<Access>,
    steps: Vec<Step>,
    /// Steps whose values leave the program, ascending.
    results: Vec<usize>,
    /// Which tile buffer each step writes.
    buffers: Vec<usize>,
    buffer_count: usize,
}

impl Program {
    /// A program over `shape`; every operand shape must broadcast to it, every step must read earlier ones only.
    pub(crate) fn new(shape: &[usize], operand_shapes: &[&[usize]], steps: Vec<Step>, results: Vec<usize>) -> Program {
        let len = shape.iter().product();
        let access = |s: &&[usize]| {
            let elements: usize = s.iter().product();
            if elements == len && s.iter().rev().zip(shape.iter().rev()).all(|(a, b)| a == b) {
                Access::Full
            } else if elements == 1 {
                Access::Scalar
            } else {
                Access::Strided(Loops::new(shape, &[s]))
            }
        };
        let operands = operand_shapes.iter().map(access).collect();
        let (buffers, buffer_count) = assign_buffers(&steps, &results);
        Program { len, operands, steps, results, buffers, buffer_count }
    }

    /// Values of the result steps, in order.
    pub(crate) fn run(&self, isa: Isa, operands: &[&[f32]]) -> Vec<Vec<f32>> {
        let mut outputs: Vec<Vec<f32>> = self.results.iter().map(|_| Vec::with_capacity(self.len)).collect();
        let tile = TILE.min(self.len);
        let mut buffers = vec![0.0f32; self.buffer_count * tile];
        let mut loaded: Vec<Vec<f32>> = Vec::with_capacity(operands.len());
        for (access, values) in self.operands.iter().zip(operands) {
            loaded.push(match access {
                Access::Full => Vec::new(),
                Access::Scalar => vec![values[0]; tile],
                Access::Strided(_) => vec![0.0; tile],
            });
        }
        let mut start = 0;
        while start < self.len {
            let n = tile.min(self.len - start);
            for ((access, values), buffer) in self.operands.iter().zip(operands).zip(&mut loaded) {
                if let Access::Strided(loops) = access {
                    load(loops, values, start, &mut buffer[..n]);
                }
            }
            for (step, &target) in self.steps.iter().zip(&self.buffers) {
                // The target buffer is never one that this step reads, so it can be split off the others.
                let (before, rest) = buffers.split_at_mut(target * tile);
                let (out, after) = rest.split_at_mut(tile);
                let read = |source: Source| -> &[f32] {
                    match source {
                        Source::Operand(i) if matches!(self.operands[i], Access::Full) => {
                            &operands[i][start..start + n]
                        }
                        Source::Operand(i) => &loaded[i][..n],
                        Source::Step(s) => {
                            let at = self.buffers[s];
                            if at < target {
                                &before[at * tile..][..n]
                            } else {
                                &after[(at - target - 1) * tile..][..n]
                            }
                        }
                    }
                };
                match *step {
                    Step::Unary(op, x) => unary(isa, op, read(x), &mut out[..n]),
                    Step::Binary(op, a, b) => binary(isa, op, read(a), read(b), &mut out[..n]),
                }
            }
            for (output, &step) in outputs.iter_mut().zip(&self.results) {
                output.extend_from_slice(&buffers[self.buffers[step] * tile..][..n]);
            }
            start += n;
        }
        outputs
    }
}

/// Gives each step a tile buffer, reusing those whose values are no longer needed; results keep theirs.
fn assign_buffers(steps: &[Step], results: &[usize]) -> (Vec<usize>, usize) {
    let mut last_read = vec![0; steps.len()];
    for (index, step) in steps.iter().enumerate() {
        let mut reads = |source: Source| {
            if let Source::Step(s) = source {
                last_read[s] = index;
            }
        };
        match *step {
            Step::Unary(_, x) => reads(x),
            Step::Binary(_, a, b) => {
                reads(a);
                reads(b);
            }
        }
    }
    results.iter().for_each(|&s| last_read[s] = usize::MAX);
    let mut owner: Vec<Option<usize>> = Vec::new();
    let mut buffers = Vec::with_capacity(steps.len());
    for index in 0..steps.len() {
        // A buffer read by this very step is still taken.
        let free = owner.iter().position(|o| o.is_none_or(|s| last_read[s] < index));
        let slot = free.unwrap_or_else(|| {
            owner.push(None);
            owner.len() - 1
        });
        owner[slot] = Some(index);
        buffers.push(slot);
    }
    (buffers, owner.len())
}

/// Fills `out` with the broadcast elements `start..start + out.len()` of the iteration space.
fn load(loops: &Loops, values: &[f32], start: usize, out: &mut [f32]) {
    let (inner, stride) = (loops.inner(), loops.inner_stride(0));
    let outer = loops.dims.len() - 1;
    let mut done = 0;
    while done < out.len() {
        let position = start + done;
        let (mut row, column) = (position / inner, position % inner);
        let mut at = column * stride;
        for axis in (0..outer).rev() {
            at += row % loops.dims[axis] * loops.strides[0][axis];
            row /= loops.dims[axis];
        }
        let n = (inner - column).min(out.len() - done);
        let run = &mut out[done..done + n];
        match stride {
            0 => run.fill(values[at]),
            1 => run.copy_from_slice(&values[at..at + n]),
            _ => run.iter_mut().enumerate().for_each(|(i, o)| *o = values[at + i * stride]),
        }
        done += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_equals_its_steps() {
        // (x + b) * (x + b) - c, with b a column and c a scalar; longer than a tile.
        let (rows, columns) = (3, 700);
        let x: Vec<f32> = (0..rows * columns).map(|i| i as f32 * 0.25 - 100.0).collect();
        let b = [1.0, -2.0, 0.5];
        let steps = vec![
            Step::Binary(Binary::Add, Source::Operand(0), Source::Operand(1)),
            Step::Binary(Binary::Mul, Source::Step(0), Source::Step(0)),
            Step::Binary(Binary::Sub, Source::Step(1), Source::Operand(2)),
        ];
        let program = Program::new(&[rows, columns], &[&[rows, columns], &[rows, 1], &[]], steps, vec![0, 2]);
        for isa in Isa::all() {
            let got = program.run(isa, &[&x, &b, &[7.0]]);
            for i in 0..x.len() {
                let sum = x[i] + b[i / columns];
                assert_eq!(got[0][i], sum);
                assert_eq!(got[1][i], sum * sum - 7.0);
            }
        }
    }

    #[test]
    fn buffers_are_reused_but_never_read_and_written_at_once() {
        let chain: Vec<Step> = (0..10)
            .map(|i| Step::Unary(Unary::Neg, if i == 0 { Source::Operand(0) } else { Source::Step(i - 1) }))
            .collect();
        let (buffers, count) = assign_buffers(&chain, &[9]);
        assert_eq!(count, 2);
        assert!(buffers.windows(2).all(|w| w[0] != w[1]));
    }
}
