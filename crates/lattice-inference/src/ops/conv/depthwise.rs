//! Convolutions whose output channels see one input channel each: no patches, the planes themselves are read.
//!
//! A plane is written out with its padding, its columns sorted by their remainder modulo the stride. So a kernel tap reads
//! neighbouring floats for neighbouring outputs, whatever the stride.

use super::Plan;
use crate::kernels::gemm::NR;
use crate::kernels::lanes::{self, Lanes};
use crate::kernels::{FINISH_MIN, Finish, Isa, Line, dual_kernel, grow};

/// Lines of outputs done together, which read most input rows in common.
const LINES: usize = 4;

/// How a plane lies in memory.
pub(crate) struct Layout<'p> {
    plan: &'p Plan,
    /// Floats of the columns with one remainder, and of a row: whole lines.
    phase: usize,
    row: usize,
    /// For each kernel tap how far behind the first one it reads.
    offsets: Vec<usize>,
    /// The largest of them.
    furthest: usize,
}

/// Floats of the columns with one remainder: what whole vectors of outputs reach.
fn phase_len(plan: &Plan) -> usize {
    plan.output[2].next_multiple_of(NR)
        + ((plan.kernel[2] - 1) * plan.dilation[2] / plan.stride[2]).next_multiple_of(NR)
}

/// Bytes of one plane.
pub(super) fn plane_bytes(plan: &Plan) -> u64 {
    let rows = (plan.reach(0) as u64).saturating_mul(plan.reach(1) as u64);
    rows.saturating_mul(plan.stride[2] as u64).saturating_mul(phase_len(plan) as u64 * 4)
}

/// All output planes, one after the other.
pub(super) fn depthwise(
    isa: Isa,
    plan: &Plan,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    (padded, finish): (&mut Vec<Line>, &mut Finish<'_>),
) {
    let (plane, positions) = (plan.input_positions(), plan.positions());
    let (rows, phase) = (plan.reach(0) * plan.reach(1), phase_len(plan));
    let row = phase * plan.stride[2];
    let [_, kh, kw] = plan.kernel;
    let offset = |t: usize| {
        let tap: [usize; 3] = [t / (kh * kw), t / kw % kh, t % kw];
        let [d, h, w] = core::array::from_fn(|i| tap[i] * plan.dilation[i]);
        (d * plan.reach(1) + h) * row + w % plan.stride[2] * phase + w / plan.stride[2]
    };
    let offsets: Vec<usize> = (0..plan.kernel.iter().product()).map(offset).collect();
    let furthest = offsets.iter().copied().max().unwrap_or(0);
    let layout = Layout { plan, phase, row, offsets, furthest };
    let taps = layout.offsets.len();
    let per_channel = plan.outputs / plan.group;
    grow(padded, rows * row / NR);
    let padded = &mut Line::floats_mut(padded)[..rows * row];
    // Padding stays as it is while the planes change.
    padded.fill(0.0);
    let together = FINISH_MIN.div_ceil(positions);
    for (group, y) in y.chunks_mut(together * positions).enumerate() {
        for (i, y) in y.chunks_exact_mut(positions).enumerate() {
            let index = group * together + i;
            let (b, output) = (index / plan.outputs, index % plan.outputs);
            if output % per_channel == 0 {
                let at = (b * plan.channels + output / per_channel) * plane;
                write_plane(isa, &layout, &x[at..at + plane], padded);
            }
            convolve_plane(isa, &layout, padded, &w[output * taps..][..taps], y);
        }
        finish(group * together * positions, y);
    }
}

dual_kernel! {
    /// Writes the inner elements of a plane into its layout.
    fn write_plane(layout: &Layout<'_>, x: &[f32], out: &mut [f32]) {
        let plan = layout.plan;
        let ([id, ih, iw], stride, pad) = (plan.input, plan.stride[2], plan.pad[2]);
        let inside = plan.columns_inside(plan.reach(2));
        for d in 0..id.min(plan.reach(0).saturating_sub(plan.pad[0])) {
            for h in 0..ih.min(plan.reach(1).saturating_sub(plan.pad[1])) {
                let x = &x[(d * ih + h) * iw..][..inside];
                let out = &mut out[((d + plan.pad[0]) * plan.reach(1) + h + plan.pad[1]) * layout.row..][..layout.row];
                // Column c of the input is column c + pad of the padded row.
                for first in 0..stride.min(inside) {
                    let out = &mut out[(first + pad) % stride * layout.phase + (first + pad) / stride..];
                    let x = &x[first..];
                    match stride {
                        1 => out[..x.len()].copy_from_slice(x),
                        // Known steps become plain loads.
                        2 => {
                            let (pairs, rest) = x.as_chunks::<2>();
                            for (o, pair) in out.iter_mut().zip(pairs) {
                                *o = pair[0];
                            }
                            if let [last] = rest {
                                out[pairs.len()] = *last;
                            }
                        }
                        _ => out.iter_mut().zip(x.iter().step_by(stride)).for_each(|(o, v)| *o = *v),
                    }
                }
            }
        }
    }
}

/// One output plane: for each position a chain over the taps.
fn convolve_plane(isa: Isa, layout: &Layout<'_>, x: &[f32], w: &[f32], y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(layout: &Layout<'_>, x: &[f32], w: &[f32], y: &mut [f32]) {
        // SAFETY: this function has the instruction set.
        unsafe { plane_of::<lanes::Avx2>(layout, x, w, y) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq")]
    fn avx512(layout: &Layout<'_>, x: &[f32], w: &[f32], y: &mut [f32]) {
        // SAFETY: this function has the instruction set.
        unsafe { plane_of::<lanes::Avx512>(layout, x, w, y) }
    }
    match isa {
        // SAFETY: plain Rust needs no instruction set.
        Isa::Portable => unsafe { plane_of::<lanes::Plain>(layout, x, w, y) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx2` is only made after both features were detected.
        Isa::Avx2 => unsafe { avx2(layout, x, w, y) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx512` is only made after all five features were detected.
        Isa::Avx512 => unsafe { avx512(layout, x, w, y) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every aarch64 has NEON.
        Isa::Neon => unsafe { plane_of::<lanes::Neon>(layout, x, w, y) },
    }
}

/// # Safety
/// This and those below need the instruction set of `L`.
#[inline(always)]
unsafe fn plane_of<L: Lanes>(layout: &Layout<'_>, x: &[f32], w: &[f32], y: &mut [f32]) {
    let plan = layout.plan;
    let flat = plan.output[0] == 1 && plan.kernel[0] == 1 && plan.dilation[1] == 1;
    // SAFETY: the caller promises the instruction set.
    unsafe {
        match (flat, plan.kernel, plan.stride[1]) {
            (true, [1, 3, 3], 1) => square::<L, 3, 1>(layout, x, w, y),
            (true, [1, 3, 3], 2) => square::<L, 3, 2>(layout, x, w, y),
            (true, [1, 5, 5], 1) => square::<L, 5, 1>(layout, x, w, y),
            (true, [1, 5, 5], 2) => square::<L, 5, 2>(layout, x, w, y),
            _ => general::<L>(layout, x, w, y),
        }
    }
}

/// Writes the outputs of a chain: all sixteen, or as many as the line has left.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn write<L: Lanes>(acc: L, y: &mut [f32]) {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        match y.first_chunk_mut::<NR>() {
            Some(whole) => acc.store(whole),
            None => {
                let mut all = [0.0; NR];
                acc.store(&mut all);
                y.copy_from_slice(&all[..y.len()]);
            }
        }
    }
}

/// Any kernel: sixteen neighbouring outputs at a time.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn general<L: Lanes>(layout: &Layout<'_>, x: &[f32], w: &[f32], y: &mut [f32]) {
    let plan = layout.plan;
    let [_, oh, ow] = plan.output;
    for (line, y) in y.chunks_exact_mut(ow).enumerate() {
        let x = &x[(line / oh * plan.stride[0] * plan.reach(1) + line % oh * plan.stride[1]) * layout.row..];
        for (chunk, y) in y.chunks_mut(NR).enumerate() {
            let x = &x[chunk * NR..];
            assert!(layout.furthest + NR <= x.len(), "a row of a plane is whole vectors");
            // SAFETY: the caller promises the instruction set; no tap reads further.
            unsafe {
                let mut acc = L::zero();
                for (&w, &at) in w.iter().zip(&layout.offsets) {
                    acc = acc.add_product(w, L::load(x.as_ptr().add(at)));
                }
                write(acc, y);
            }
        }
    }
}

/// Square kernels of a known side, moving down by a known step.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn square<L: Lanes, const SIDE: usize, const DOWN: usize>(
    layout: &Layout<'_>,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
) {
    let ow = layout.plan.output[2];
    let w: &[[f32; SIDE]; SIDE] = w.as_chunks().0.first_chunk().expect("a square kernel has as many rows as columns");
    let (mut line, mut y) = (0, y);
    while !y.is_empty() {
        let x = &x[line * DOWN * layout.row..];
        let lines = match y.len() / ow {
            LINES.. => LINES,
            2 | 3 => 2,
            _ => 1,
        };
        let (block, rest) = y.split_at_mut(lines * ow);
        // SAFETY: the caller promises the instruction set.
        unsafe {
            match lines {
                LINES => lines_of::<L, SIDE, DOWN, LINES>(layout, x, w, block),
                2 => lines_of::<L, SIDE, DOWN, 2>(layout, x, w, block),
                _ => lines_of::<L, SIDE, DOWN, 1>(layout, x, w, block),
            }
        }
        y = rest;
        line += lines;
    }
}

/// Writes a block once for each number, known at compile time, so that every accumulator stays in a register.
macro_rules! each_number {
    ($row:ident => $body:block) => {
        each_number!(@ $row $body 0 1 2 3 4 5 6 7 8 9 10)
    };
    (@ $row:ident $body:block $($number:literal)*) => {
        $({
            const $row: usize = $number;
            $body
        })*
    };
}
const _: () = assert!((LINES - 1) * 2 + 5 == 11, "each_number counts the input rows of the tallest block");

/// `COUNT` lines of outputs: each input row is read once for all lines that see it.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn lines_of<L: Lanes, const SIDE: usize, const DOWN: usize, const COUNT: usize>(
    layout: &Layout<'_>,
    x: &[f32],
    w: &[[f32; SIDE]; SIDE],
    y: &mut [f32],
) {
    let ow = layout.plan.output[2];
    let offsets: [usize; SIDE] = core::array::from_fn(|tap| layout.offsets[tap]);
    let inside = offsets.iter().all(|offset| offset + ow.next_multiple_of(NR) <= layout.row);
    assert!(inside && x.len() >= ((COUNT - 1) * DOWN + SIDE) * layout.row, "all taps lie inside the rows of the plane");
    for column in (0..ow).step_by(NR) {
        // SAFETY: the caller promises the instruction set; every row that is read was asserted above, to its end.
        unsafe {
            let mut acc = [L::zero(); COUNT];
            // Input rows ascend, and so do the taps of every line's chain.
            each_number!(ROW => {
                if ROW < (COUNT - 1) * DOWN + SIDE {
                    let x = x.as_ptr().add(ROW * layout.row + column);
                    for tap in 0..SIDE {
                        let x = L::load(x.add(offsets[tap]));
                        for (line, acc) in acc.iter_mut().enumerate() {
                            if (line * DOWN..line * DOWN + SIDE).contains(&ROW) {
                                *acc = acc.add_product(w[ROW - line * DOWN][tap], x);
                            }
                        }
                    }
                }
            });
            for (acc, y) in acc.iter().zip(y.chunks_exact_mut(ow)) {
                write(*acc, &mut y[column..]);
            }
        }
    }
}
