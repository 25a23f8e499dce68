//! Convolutions as matrix products: weights [outputs, k] times the patches [k, positions], which are packed block by block.

use super::{COLUMNS, Plan, Scratch};
use crate::kernels::gemm::{KC, NR, PackedLeft, Panels, gemm_block};
use crate::kernels::{Finish, Isa, Line, dual_kernel, grow};
use core::ops::Range;

/// Most rows of weights for which a pointwise convolution reads its image in place.
const DIRECT_ROWS: usize = 48;

/// Columns of patches packed at a time, few enough that all their channels stay in the second-level cache.
const BLOCK: usize = 512;
const _: () = assert!(BLOCK <= COLUMNS, "the memory for patches is declared");

/// All images and groups.
pub(super) fn products(
    isa: Isa,
    plan: &Plan,
    x: &[f32],
    groups: &[PackedLeft],
    y: &mut [f32],
    (scratch, finish): (&mut Scratch, &mut Finish<'_>),
) {
    let image = plan.depth() * plan.input_positions();
    let results = plan.outputs / plan.group * plan.positions();
    for (index, y) in y.chunks_exact_mut(results).enumerate() {
        let x = &x[index * image..][..image];
        let weights = &groups[index % plan.group];
        let mut finish = |at: usize, y: &mut [f32]| finish(index * results + at, y);
        group_product(isa, plan, x, weights, y, (scratch, &mut finish));
    }
}

/// One image and one group.
fn group_product(
    isa: Isa,
    plan: &Plan,
    x: &[f32],
    weights: &PackedLeft,
    y: &mut [f32],
    (scratch, finish): (&mut Scratch, &mut Finish<'_>),
) {
    let (k, positions) = (plan.k(), plan.positions());
    let Scratch { patches, padded } = scratch;
    // Where the patches are the image itself, few rows read it once in place sooner than it is packed.
    let in_place = plan.is_pointwise() && weights.m <= DIRECT_ROWS;
    let is_padded = (0..3).any(|i| plan.pad[i] > 0 || plan.reach(i) > plan.input[i]);
    let mut band = Band::default();
    if k == 0 {
        y.fill(0.0);
    }
    for first in (0..positions).step_by(BLOCK) {
        let columns = BLOCK.min(positions - first);
        let direct = if in_place { columns / NR * NR } else { 0 };
        if is_padded {
            band.move_to(plan, x, first..first + columns, padded);
        }
        let (seen, x, moved) = match &band.plan {
            Some(banded) => (banded, Line::floats(padded), first - band.skipped),
            None => (plan, x, first),
        };
        for k0 in (0..k).step_by(KC) {
            let kc = KC.min(k - k0);
            if direct > 0 {
                let right = Panels { data: &x[k0 * positions + first..], stride: NR, step: positions };
                gemm_block(isa, weights, k0, kc, right, &mut y[first..], (direct, positions));
            }
            if direct < columns {
                let packed = (columns - direct).div_ceil(NR) * kc;
                grow(patches, packed);
                pack_patches(isa, seen, x, &(moved + direct..moved + columns), &(k0..k0 + kc), &mut patches[..packed]);
                let right = Panels { data: Line::floats(&patches[..packed]), stride: kc * NR, step: NR };
                let sizes = (columns - direct, positions);
                gemm_block(isa, weights, k0, kc, right, &mut y[first + direct..], sizes);
            }
        }
        if columns == positions {
            finish(0, y);
        } else {
            for (row, y) in y.chunks_exact_mut(positions).enumerate() {
                finish(row * positions + first, &mut y[first..first + columns]);
            }
        }
    }
}

/// The rows of all channels that a block of positions sees, written out with their padding as +0.
#[derive(Default)]
struct Band {
    /// How the rows lie, and how many output positions lie before them.
    plan: Option<Plan>,
    skipped: usize,
    rows: Range<usize>,
}

impl Band {
    /// Writes what `positions` see, unless it is there already.
    fn move_to(&mut self, plan: &Plan, x: &[f32], positions: Range<usize>, out: &mut Vec<Line>) {
        let [_, oh, ow] = plan.output;
        // Output rows; blocks that lie in several slices of a volume see all of them.
        let lines = if plan.output[0] == 1 { positions.start / ow..positions.end.div_ceil(ow) } else { 0..oh };
        let rows = lines.start * plan.stride[1]
            ..(lines.end - 1) * plan.stride[1] + (plan.kernel[1] - 1) * plan.dilation[1] + 1;
        if self.plan.is_some() && self.rows == rows {
            return;
        }
        let [id, ih, iw] = plan.input;
        let (sd, sw) = (plan.reach(0), plan.reach(2));
        let count = plan.depth() * sd * rows.len();
        grow(out, (count * sw).div_ceil(NR));
        let inside = plan.columns_inside(sw);
        for (index, out) in Line::floats_mut(out).chunks_exact_mut(sw).take(count).enumerate() {
            let (channel, d, h) = (index / (sd * rows.len()), index / rows.len() % sd, rows.start + index % rows.len());
            let (d, h) = (d.wrapping_sub(plan.pad[0]), h.wrapping_sub(plan.pad[1]));
            if d >= id || h >= ih || inside == 0 {
                out.fill(0.0);
                continue;
            }
            let (before, rest) = out.split_at_mut(plan.pad[2]);
            let (row, after) = rest.split_at_mut(inside);
            before.fill(0.0);
            row.copy_from_slice(&x[((channel * id + d) * ih + h) * iw..][..inside]);
            after.fill(0.0);
        }
        self.skipped = lines.start * ow;
        self.plan = Some(Plan { input: [sd, rows.len(), sw], pad: [0; 3], ..plan.clone() });
        self.rows = rows;
    }
}

dual_kernel! {
    /// Packs the patches of some output positions for some steps of the chain, in panels of [`NR`] positions.
    fn pack_patches(plan: &Plan, x: &[f32], positions: &Range<usize>, steps: &Range<usize>, out: &mut [Line]) {
        let (depth, plane, kc) = (plan.depth(), plan.input_positions(), steps.len());
        for (panel, mut out) in out.chunks_exact_mut(kc).enumerate() {
            let start = positions.start + panel * NR;
            // Every tap sees the places of the first one, moved on.
            let sources = Sources::new(plan, start, NR.min(positions.end - start));
            let mut step = steps.start;
            while step < steps.end {
                // All channels of one kernel tap read the same places of their planes.
                let (tap, first) = (step / depth, step % depth);
                let channels = (depth - first).min(steps.end - step);
                let rows = out.split_off_mut(..channels).expect("a panel holds all steps");
                sources.read(&x[first * plane + plan.tap_offset(tap)..], plane, rows);
                step += channels;
            }
        }
    }
}

/// Where the positions of a panel read the first tap from, within a (padded) plane.
enum Sources {
    /// Neighbouring elements from here on.
    Run(usize),
    /// Every other element from here on.
    Alternate(usize),
    /// So many neighbouring elements from here on, and the others from there on.
    Two(usize, usize, usize),
    /// One place for each of so many.
    Each([usize; NR], usize),
}

impl Sources {
    /// The places that `count` output positions from `start` on see.
    fn new(plan: &Plan, start: usize, count: usize) -> Sources {
        let [_, oh, ow] = plan.output;
        let [_, ih, iw] = plan.input;
        let [sd, sh, sw] = plan.stride;
        let (mut w, mut h, mut d) = (start % ow, start / ow % oh, start / ow / oh);
        let mut places = [0; NR];
        for place in places.iter_mut().take(count) {
            *place = (d * sd * ih + h * sh) * iw + w * sw;
            w += 1;
            if w == ow {
                (w, h) = (0, h + 1);
                if h == oh {
                    (h, d) = (0, d + 1);
                }
            }
        }
        if count < NR {
            return Sources::Each(places, count);
        }
        if (1..NR).all(|i| places[i] == places[0] + 2 * i) {
            return Sources::Alternate(places[0]);
        }
        let mut breaks = (1..NR).filter(|&i| places[i] != places[i - 1] + 1);
        match (breaks.next(), breaks.next()) {
            (None, _) => Sources::Run(places[0]),
            (Some(at), None) => Sources::Two(places[0], at, places[at]),
            _ => Sources::Each(places, count),
        }
    }

    /// Reads a panel's rows from the planes of as many channels, `plane` apart.
    #[inline(always)]
    fn read(&self, x: &[f32], plane: usize, rows: &mut [Line]) {
        // Plain loops: what a closure does is not sure to be compiled for the instruction set of its caller.
        let planes = rows.iter_mut().enumerate().map(|(channel, row)| (channel * plane, &mut row.0));
        match *self {
            Sources::Run(at) => {
                for (base, row) in planes {
                    row.copy_from_slice(&x[base + at..][..NR]);
                }
            }
            Sources::Alternate(at) => {
                for (base, row) in planes {
                    let x = &x[base + at..][..2 * NR - 1];
                    for (l, v) in row.iter_mut().enumerate() {
                        *v = x[2 * l];
                    }
                }
            }
            Sources::Two(at, n, next) => {
                for (base, row) in planes {
                    // Both runs whole where that stays inside: a choice of lanes is sooner done than short copies.
                    let second = (base + next).checked_sub(n).and_then(|begin| x[begin..].first_chunk::<NR>());
                    if let (Some(one), Some(two)) = (x[base + at..].first_chunk::<NR>(), second) {
                        for (l, v) in row.iter_mut().enumerate() {
                            *v = if l < n { one[l] } else { two[l] };
                        }
                    } else {
                        row[..n].copy_from_slice(&x[base + at..][..n]);
                        row[n..].copy_from_slice(&x[base + next..][..NR - n]);
                    }
                }
            }
            Sources::Each(places, n) => {
                for (base, row) in planes {
                    *row = [0.0; NR];
                    for (v, &at) in row.iter_mut().zip(&places[..n]) {
                        *v = x[base + at];
                    }
                }
            }
        }
    }
}
