//! Runs a chain of elementwise f32 operators tile by tile, so that intermediate values stay in the first-level cache.
//!
//! Each element goes through exactly the operations of the unfused nodes in the same order: fusing changes traffic, not bits.

use super::Isa;
use super::elementwise::{Binary, Operand, Unary, binary, gate, scale_shift, unary};
use crate::ops::broadcast::Loops;
use core::ops::Range;

/// Elements of a tile at most.
const TILE: usize = 2048;
/// Shortest row of a broadcast operand that tiles keep to, so that the operand is read in place.
const ROW_MIN: usize = 48;

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

/// What is done in one pass over a tile: a step, or several whose values between nobody else reads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Step(Step),
    /// A product and a sum by operands that are the same along a row: x, scale, shift.
    ScaleShift(Source, usize, usize),
    /// The hard swish: x, and the single elements of the sum, the two bounds and the quotient.
    Gate(Source, [usize; 4]),
    /// Part of a later pass.
    Merged,
}

impl Pass {
    fn reads(self, source: Source) -> bool {
        match self {
            Pass::Step(Step::Unary(_, x)) => x == source,
            Pass::Step(Step::Binary(_, a, b)) => a == source || b == source,
            Pass::ScaleShift(x, ..) | Pass::Gate(x, _) => x == source,
            Pass::Merged => false,
        }
    }
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
    /// The elements that the results replace.
    Replaced,
}

/// Where a step writes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// A tile of its own.
    Tile(usize),
    /// The result of this number.
    Result(usize),
}

/// A chain of steps over one iteration space.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    len: usize,
    operands: Vec<Access>,
    /// One for each step.
    passes: Vec<Pass>,
    /// Where each pass writes.
    places: Vec<Place>,
    tiles: usize,
    /// Elements of the rows that tiles keep to, and of a tile at most.
    row: usize,
    tile: usize,
}

/// Memory that a program works in.
#[derive(Debug, Default)]
pub(crate) struct Tiles {
    steps: Vec<Vec<f32>>,
    operands: Vec<Vec<f32>>,
}

impl Program {
    /// A program over `shape`; every operand shape must broadcast to it, every step must read earlier ones only. `results` are the
    /// steps whose values leave it, ascending.
    pub(crate) fn new(shape: &[usize], operand_shapes: &[&[usize]], steps: Vec<Step>, results: &[usize]) -> Program {
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
        let operands: Vec<Access> = operand_shapes.iter().map(access).collect();
        let strided = || {
            operands.iter().filter_map(|access| if let Access::Strided(loops) = access { Some(loops) } else { None })
        };
        let row =
            strided().filter(|loops| loops.inner_stride(0) <= 1).map(Loops::inner).filter(|&row| row >= ROW_MIN).min();
        // Long rows are cut evenly; several short ones are taken together where all operands are the same along them.
        let tile = match row {
            None => TILE,
            Some(row) if row > TILE / 2 => row.div_ceil(row.div_ceil(TILE)).next_multiple_of(16),
            Some(row) if strided().all(|loops| loops.inner_stride(0) == 0) => TILE / row * row,
            Some(row) => row,
        };
        let passes = merge(&steps, results, &operands);
        let (places, tiles) = assign_places(&passes, results);
        Program { len, operands, passes, places, tiles, row: row.unwrap_or(usize::MAX), tile }
    }

    /// The same program with its only result, that of the last step, in the place of operand 0, which must have the whole shape.
    /// Nothing if that cannot be.
    pub(crate) fn replacing(mut self) -> Option<Program> {
        let [.., last] = self.places[..] else { return None };
        let results = self.places.iter().filter(|place| matches!(place, Place::Result(_))).count();
        if last != Place::Result(0) || results != 1 || self.operands[0] != Access::Full {
            return None;
        }
        self.operands[0] = Access::Replaced;
        if self.passes.last()?.reads(Source::Operand(0)) {
            // What it reads cannot be what it writes, so it writes aside and is copied.
            *self.places.last_mut()? = Place::Tile(self.tiles);
            self.tiles += 1;
        }
        Some(self)
    }

    /// Elements of each result.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Computes the elements from `start` on of the results, or all that follow those that they replace.
    pub(crate) fn run(
        &self,
        isa: Isa,
        start: usize,
        operands: &[&[f32]],
        results: &mut [&mut [f32]],
        memory: &mut Tiles,
    ) {
        let Some(count) = results.first().map(|result| result.len()) else { return };
        memory.steps.resize(memory.steps.len().max(self.tiles), Vec::new());
        memory.operands.resize(memory.operands.len().max(operands.len()), Vec::new());
        memory.steps.iter_mut().take(self.tiles).for_each(|tile| tile.resize(tile.len().max(self.tile), 0.0));
        let mut done = 0;
        while done < count {
            let at = start + done;
            let n = self.next(at, count - done);
            for ((access, values), tile) in self.operands.iter().zip(operands).zip(&mut memory.operands) {
                if let Access::Strided(loops) = access
                    && located(loops, values, at, n).is_none()
                {
                    tile.resize(tile.len().max(n), 0.0);
                    load(loops, values, at, &mut tile[..n]);
                }
            }
            self.tile(isa, at, done..done + n, operands, results, memory);
            done += n;
        }
    }

    /// Elements of the tile from `at` on, of `left`: it ends with a row, or lies inside one.
    fn next(&self, at: usize, left: usize) -> usize {
        if self.row == usize::MAX {
            return self.tile.min(left);
        }
        let inside = self.row - at % self.row;
        match self.tile / self.row {
            0 | 1 => self.tile.min(inside).min(left),
            _ if inside < self.row => inside.min(left),
            rows => rows.min(left / self.row).max(1).saturating_mul(self.row).min(left),
        }
    }

    /// One tile: the elements from `at` on, which are `part` of the results.
    fn tile(
        &self,
        isa: Isa,
        at: usize,
        part: Range<usize>,
        operands: &[&[f32]],
        results: &mut [&mut [f32]],
        memory: &mut Tiles,
    ) {
        let n = part.len();
        for (&pass, &place) in self.passes.iter().zip(&self.places) {
            if pass == Pass::Merged {
                continue;
            }
            // A pass never reads where it writes, so that can be taken out meanwhile.
            match place {
                Place::Tile(i) => {
                    let mut out = core::mem::take(&mut memory.steps[i]);
                    self.pass(isa, pass, at, &part, (operands, results, memory), &mut out[..n]);
                    memory.steps[i] = out;
                }
                Place::Result(i) => {
                    let out = core::mem::take(&mut results[i]);
                    self.pass(isa, pass, at, &part, (operands, results, memory), &mut out[part.clone()]);
                    results[i] = out;
                }
            }
        }
        if let (Some(Access::Replaced), Some(&Place::Tile(last))) = (self.operands.first(), self.places.last()) {
            results[0][part].copy_from_slice(&memory.steps[last][..n]);
        }
    }

    fn pass(
        &self,
        isa: Isa,
        pass: Pass,
        at: usize,
        part: &Range<usize>,
        (operands, results, memory): (&[&[f32]], &[&mut [f32]], &Tiles),
        out: &mut [f32],
    ) {
        let n = part.len();
        let read = |source: Source| match source {
            Source::Operand(i) => match &self.operands[i] {
                Access::Full => Operand::Each(&operands[i][at..at + n]),
                Access::Scalar => Operand::All(operands[i][0]),
                Access::Strided(loops) => {
                    located(loops, operands[i], at, n).unwrap_or_else(|| Operand::Each(&memory.operands[i][..n]))
                }
                Access::Replaced => Operand::Each(&results[0][part.clone()]),
            },
            Source::Step(s) => Operand::Each(match self.places[s] {
                Place::Tile(i) => &memory.steps[i][..n],
                Place::Result(i) => &results[i][part.clone()],
            }),
        };
        match pass {
            Pass::Step(Step::Unary(op, x)) => match read(x) {
                Operand::Each(x) => unary(isa, op, x, out),
                x => {
                    let x: Vec<f32> = (0..n).map(|i| x.at(i)).collect();
                    unary(isa, op, &x, out);
                }
            },
            Pass::Step(Step::Binary(op, a, b)) => binary(isa, op, read(a), read(b), out),
            Pass::ScaleShift(x, scale, shift) => {
                let (scale, shift) = (read(Source::Operand(scale)), read(Source::Operand(shift)));
                let Operand::Each(x) = read(x) else { unreachable!("a step's values are read one by one") };
                let columns = match (scale, shift) {
                    (Operand::All(_), Operand::All(_)) => Some(n),
                    (Operand::All(_), Operand::Rows(_, columns)) | (Operand::Rows(_, columns), Operand::All(_)) => {
                        Some(columns)
                    }
                    (Operand::Rows(_, a), Operand::Rows(_, b)) => (a == b).then_some(a),
                    _ => None,
                };
                if let Some(columns) = columns {
                    scale_shift(isa, x, scale, shift, columns, out);
                } else {
                    let mut product = vec![0.0; n];
                    binary(isa, Binary::Mul, Operand::Each(x), scale, &mut product);
                    binary(isa, Binary::Add, Operand::Each(&product), shift, out);
                }
            }
            Pass::Gate(x, constants) => {
                let [add, low, high, by] = constants.map(|i| operands[i][0]);
                let Operand::Each(x) = read(x) else { unreachable!("a step's values are read one by one") };
                gate(isa, x, add, low, high, by, out);
            }
            Pass::Merged => {}
        }
    }
}

/// Steps as passes: what can go in one does.
fn merge(steps: &[Step], results: &[usize], operands: &[Access]) -> Vec<Pass> {
    let mut passes: Vec<Pass> = steps.iter().map(|&step| Pass::Step(step)).collect();
    let readers = |s: usize| steps.iter().filter(|&&step| Pass::Step(step).reads(Source::Step(s))).count();
    // Whether one other step alone sees the values of a step.
    let private = |s: usize| !results.contains(&s) && readers(s) == 1;
    let each = |source: Source| match source {
        Source::Operand(i) => matches!(operands[i], Access::Full),
        Source::Step(_) => true,
    };
    let single = |source: Source| match source {
        Source::Operand(i) if operands[i] == Access::Scalar => Some(i),
        _ => None,
    };
    let even = |source: Source| match source {
        Source::Operand(i) if operands[i] == Access::Scalar => Some(i),
        Source::Operand(i) => match &operands[i] {
            Access::Strided(loops) if loops.inner_stride(0) == 0 => Some(i),
            _ => None,
        },
        Source::Step(_) => None,
    };
    // The factor or summand beside a value.
    let beside = |step: Step, op: Binary, value: Source| match step {
        Step::Binary(found, a, b) if found == op && a == value && b != value => Some(b),
        Step::Binary(found, a, b) if found == op && b == value && a != value => Some(a),
        _ => None,
    };
    for s in 0..steps.len() {
        if passes[s] == Pass::Merged {
            continue;
        }
        let value = Source::Step(s);
        if let ([Step::Binary(Binary::Mul, a, b), sum, ..], true) = (&steps[s..], private(s)) {
            let (x, scale) = if each(*a) { (*a, *b) } else { (*b, *a) };
            let shift = beside(*sum, Binary::Add, value).and_then(even);
            if let (true, Some(scale), Some(shift)) = (each(x), even(scale), shift) {
                passes[s] = Pass::Merged;
                passes[s + 1] = Pass::ScaleShift(x, scale, shift);
                continue;
            }
        }
        if let [Step::Binary(Binary::Add, a, b), max, min, product, quotient, ..] = steps[s..] {
            let (x, add) = if each(a) { (a, b) } else { (b, a) };
            let (low, high) = match (max, min) {
                (Step::Binary(Binary::Max, a, low), Step::Binary(Binary::Min, b, high))
                    if a == value && b == Source::Step(s + 1) =>
                {
                    (single(low), single(high))
                }
                _ => (None, None),
            };
            let by = match quotient {
                Step::Binary(Binary::Div, a, by) if a == Source::Step(s + 3) => single(by),
                _ => None,
            };
            let gated = beside(product, Binary::Mul, Source::Step(s + 2)) == Some(x);
            if let (true, Some(add), Some(low), Some(high), Some(by)) = (each(x) && gated, single(add), low, high, by)
                && (s..s + 4).all(private)
            {
                passes[s..s + 4].fill(Pass::Merged);
                passes[s + 4] = Pass::Gate(x, [add, low, high, by]);
            }
        }
    }
    passes
}

/// Gives each pass a place: the results their own, the others tiles, reusing those whose values are no longer needed.
fn assign_places(passes: &[Pass], results: &[usize]) -> (Vec<Place>, usize) {
    let last_read = |s: usize| passes.iter().rposition(|pass| pass.reads(Source::Step(s))).unwrap_or(0);
    let mut owner: Vec<usize> = Vec::new();
    let mut places = Vec::with_capacity(passes.len());
    for (index, pass) in passes.iter().enumerate() {
        if let Some(result) = results.iter().position(|&step| step == index) {
            places.push(Place::Result(result));
            continue;
        }
        // A tile read by this very pass is still taken.
        let free = owner.iter().position(|&step| last_read(step) < index);
        let tile = free.unwrap_or(owner.len());
        if *pass != Pass::Merged {
            if tile == owner.len() {
                owner.push(index);
            }
            owner[tile] = index;
        }
        places.push(Place::Tile(tile));
    }
    (places, owner.len())
}

/// Where the element `position` of the iteration space lies in an operand, and how many follow in its row.
fn locate(loops: &Loops, position: usize) -> (usize, usize) {
    let (inner, outer) = (loops.inner(), loops.dims.len() - 1);
    let (mut row, column) = (position / inner, position % inner);
    let mut at = column * loops.inner_stride(0);
    for axis in (0..outer).rev() {
        at += row % loops.dims[axis] * loops.strides[0][axis];
        row /= loops.dims[axis];
    }
    (at, inner - column)
}

/// The broadcast elements `start..start + n` where they lie as they are needed.
fn located<'v>(loops: &Loops, values: &'v [f32], start: usize, n: usize) -> Option<Operand<'v>> {
    let inner = loops.inner();
    let (at, left) = locate(loops, start);
    match loops.inner_stride(0) {
        0 if n <= left => Some(Operand::All(values[at])),
        1 if n <= left => Some(Operand::Each(&values[at..at + n])),
        0 if left == inner && n.is_multiple_of(inner) => {
            let axis = loops.dims.len().checked_sub(2)?;
            let (rows, dim) = (n / inner, loops.dims[axis]);
            let neighbours = loops.strides[0][axis] == 1 && start / inner % dim + rows <= dim;
            neighbours.then(|| Operand::Rows(&values[at..at + rows], inner))
        }
        _ => None,
    }
}

/// Fills `out` with the broadcast elements `start..start + out.len()` of the iteration space.
fn load(loops: &Loops, values: &[f32], start: usize, out: &mut [f32]) {
    let stride = loops.inner_stride(0);
    let mut done = 0;
    while done < out.len() {
        let (at, left) = locate(loops, start + done);
        let n = left.min(out.len() - done);
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Each step over the whole shape, by the scalar kernels.
    fn plain(steps: &[Step], operands: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let mut values: Vec<Vec<f32>> = Vec::new();
        for step in steps {
            let mut y = vec![0.0; operands[0].len()];
            let read = |source| match source {
                Source::Operand(i) => &operands[i],
                Source::Step(s) => &values[s],
            };
            match *step {
                Step::Unary(op, x) => unary(Isa::Portable, op, read(x), &mut y),
                Step::Binary(op, a, b) => {
                    binary(Isa::Portable, op, Operand::Each(read(a)), Operand::Each(read(b)), &mut y);
                }
            }
            values.push(y);
        }
        values
    }

    fn bits(v: &[f32]) -> Vec<u32> {
        v.iter().map(|x| if x.is_nan() { crate::tensor::NAN_F32_BITS } else { x.to_bits() }).collect()
    }

    /// Operand shapes that broadcast to `shape`, the whole one first.
    fn operand_shapes(shape: &[usize; 3]) -> Vec<Vec<usize>> {
        let [a, b, c] = *shape;
        let some = [vec![a, b, c], vec![1, b, 1], vec![c], vec![], vec![a, b, c], vec![a, 1, c], vec![b, 1], vec![1]];
        some.to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn a_chain_equals_its_steps(
            shape in (1usize..4, 1usize..6, prop_oneof![1usize..60, 500usize..2300]),
            picks in proptest::collection::vec((0usize..10, 0usize..40, 0usize..40), 1..12),
            results in proptest::collection::vec(proptest::bool::weighted(0.2), 60),
            seed in any::<u32>(),
        ) {
            let shape = [shape.0, shape.1, shape.2];
            let shapes = operand_shapes(&shape);
            let value = |i: usize| (i as u32 ^ seed).wrapping_mul(0x9e37_79b9) as f32 / 1e9 - 2.0;
            let small: Vec<Vec<f32>> = shapes.iter().enumerate()
                .map(|(o, s)| (0..s.iter().product()).map(|i| value(i * 8 + o)).collect()).collect();
            let full: Vec<Vec<f32>> = small.iter().zip(&shapes)
                .map(|(v, s)| crate::ops::broadcast::expand(v, s, &shape)).collect();
            let source = |pick: usize, step: usize| {
                if pick < 20 && step > 0 { Source::Step(pick % step) } else { Source::Operand(pick % shapes.len()) }
            };
            let mut steps: Vec<Step> = Vec::new();
            for &(op, a, b) in &picks {
                let step = steps.len();
                let (a, b) = (source(a, step), source(b, step));
                let (before, next) = (|n: usize| Source::Step(step + n), Source::Operand(picks.len() % shapes.len()));
                steps.extend(match op {
                    // What goes in one pass, where the operands allow it.
                    8 => vec![Step::Binary(Binary::Mul, a, Source::Operand(1)), Step::Binary(Binary::Add, next, before(0))],
                    9 => vec![
                        Step::Binary(Binary::Add, a, Source::Operand(3)),
                        Step::Binary(Binary::Max, before(0), Source::Operand(3)),
                        Step::Binary(Binary::Min, before(1), Source::Operand(7)),
                        Step::Binary(Binary::Mul, a, before(2)),
                        Step::Binary(Binary::Div, before(3), Source::Operand(7)),
                    ],
                    _ => vec![match op {
                    0 => Step::Unary(Unary::Neg, a),
                    1 => Step::Unary(Unary::Relu, a),
                    2 => Step::Binary(Binary::Max, a, b),
                    3 => Step::Binary(Binary::Div, a, b),
                    4 => Step::Binary(Binary::Mul, a, b),
                    5 => Step::Binary(Binary::Sub, a, b),
                    _ => Step::Binary(Binary::Add, a, b),
                    }],
                });
            }
            let want = plain(&steps, &full);
            let last = steps.len() - 1;
            let results: Vec<usize> = (0..steps.len()).filter(|&s| s == last || results[s]).collect();
            let shape_refs: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            let operands: Vec<&[f32]> = small.iter().map(Vec::as_slice).collect();
            let program = Program::new(&shape, &shape_refs, steps.clone(), &results);
            let replacing = Program::new(&shape, &shape_refs, steps, &[last]).replacing().unwrap();
            for isa in Isa::all() {
                let mut memory = Tiles::default();
                let mut got: Vec<Vec<f32>> = results.iter().map(|_| vec![0.0; program.len()]).collect();
                let mut parts: Vec<&mut [f32]> = got.iter_mut().map(Vec::as_mut_slice).collect();
                program.run(isa, 0, &operands, &mut parts, &mut memory);
                for (got, &step) in got.iter().zip(&results) {
                    prop_assert_eq!(bits(got), bits(&want[step]));
                }
                // The same in place, in two parts.
                let mut replaced = full[0].clone();
                let cut = replaced.len() * 2 / 3;
                let (first, second) = replaced.split_at_mut(cut);
                replacing.run(isa, 0, &operands, &mut [first], &mut memory);
                replacing.run(isa, cut, &operands, &mut [second], &mut memory);
                prop_assert_eq!(bits(&replaced), bits(&want[last]));
            }
        }
    }

    #[test]
    fn tiles_are_reused_but_never_read_and_written_at_once() {
        let chain: Vec<Pass> = (0..10)
            .map(|i| Step::Unary(Unary::Neg, if i == 0 { Source::Operand(0) } else { Source::Step(i - 1) }))
            .map(Pass::Step)
            .collect();
        let (places, count) = assign_places(&chain, &[9]);
        assert_eq!((count, places[9]), (2, Place::Result(0)));
        assert!(places.windows(2).all(|w| w[0] != w[1]));
    }
}
