//! The patches of an integer convolution as columns of words.
//!
//! A word holds four neighbouring channels of one place, or, where a group has fewer than four, four neighbouring places of
//! one channel along the last kernel dimension. Images are turned into planes of such words once, padding written out, one
//! plane for each remainder of a stride: so neighbouring outputs read neighbouring words of every plane, and no patch is ever
//! copied together. Between two rows of outputs lie the places where the window would hang over; they are computed and left.

use super::isa::{Isa, integer_kernel};
use super::product::{Columns, Left, MR, NR, WORD};
use crate::ops::conv::Plan;

/// How a group's patches lie in words.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    plan: Plan,
    /// Sizes of the padded image: what the windows reach.
    size: [usize; 3],
    /// Sizes of one remainder of the strides, in outputs.
    step: [usize; 3],
    /// Sets of planes of words of one group.
    planes: usize,
    /// Words along the last kernel dimension instead of the channels.
    along_kernel: bool,
    /// Where each word of a patch lies, counted from its output's place.
    offsets: Vec<usize>,
    /// Where each row of the padded image begins in its set of planes.
    rows: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(plan: &Plan) -> Layout {
        let mut plan = plan.clone();
        if plan.kernel == [1; 3] && plan.stride == [1; 3] && plan.output == plan.input {
            // The image is one long row.
            let row = [1, 1, plan.input_positions()];
            (plan.input, plan.output) = (row, row);
        }
        // A stride that is never taken would only make planes; any other is smaller than the image.
        (0..3).filter(|&i| plan.output[i] <= 1).for_each(|i| plan.stride[i] = 1);
        let reach = |i: usize| match plan.output[i] {
            0 => 0,
            _ => plan.reach(i),
        };
        let size = [reach(0), reach(1), reach(2)];
        let step = [0, 1, 2].map(|i| size[i].div_ceil(plan.stride[i]));
        let along_kernel = plan.depth() < WORD && plan.kernel[2] > 1;
        let planes = if along_kernel { plan.depth() } else { plan.depth().div_ceil(WORD) };
        let mut layout = Layout { plan, size, step, planes, along_kernel, offsets: Vec::new(), rows: Vec::new() };
        let (Plan { kernel, dilation, .. }, words) = (layout.plan.clone(), layout.plane_words());
        let stride = if along_kernel { WORD } else { 1 };
        for d in 0..kernel[0] {
            for h in 0..kernel[1] {
                for w in (0..kernel[2]).step_by(stride) {
                    let at = layout.place([d * dilation[0], h * dilation[1], w * dilation[2]]);
                    layout.offsets.extend((0..planes).map(|plane| plane * words + at));
                }
            }
        }
        let rows = (0..size[0]).flat_map(|d| (0..size[1]).map(move |h| [d, h, 0]));
        layout.rows = rows.map(|row| layout.place(row)).collect();
        layout
    }

    /// Where a place of the padded image lies in its set of planes.
    fn place(&self, at: [usize; 3]) -> usize {
        let stride = self.plan.stride;
        let whole = |list: [usize; 3]| (list[0] * self.step[1] + list[1]) * self.step[2] + list[2];
        let remainder = [0, 1, 2].map(|i| at[i] % stride[i]);
        let index = (remainder[0] * stride[1] + remainder[1]) * stride[2] + remainder[2];
        index * self.step.iter().product::<usize>() + whole([0, 1, 2].map(|i| at[i] / stride[i]))
    }

    /// Words of one set of planes: all remainders of the strides.
    fn plane_words(&self) -> usize {
        self.step.iter().chain(&self.plan.stride).product()
    }

    /// Words that [`Layout::planes`] makes for one group.
    fn group_words(&self) -> usize {
        self.planes * self.plane_words() + self.places() + NR
    }

    /// Bytes that the kernels work on beside operands and results: one group's words, all weights packed and widened.
    pub(crate) fn scratch_bytes(&self) -> u64 {
        let rows = (self.plan.outputs / self.plan.group).next_multiple_of(MR) * self.plan.group;
        let weights = (rows as u64).saturating_mul(self.offsets.len() as u64).saturating_mul(12);
        weights.saturating_add(self.group_words() as u64 * 4)
    }

    /// Places from the first output to the last, those between rows included.
    fn places(&self) -> usize {
        let [depth, height, width] = self.plan.output;
        match self.plan.positions() {
            0 => 0,
            _ => ((depth - 1) * self.step[1] + height - 1) * self.step[2] + width,
        }
    }

    /// The columns of all places.
    pub(crate) fn columns<'a>(&'a self, words: &'a [u32]) -> Columns<'a> {
        Columns { words, offsets: &self.offsets, step: NR, count: self.places() }
    }

    /// The outputs among some places: `visit(first of the places, first output, how many)` for each run of neighbours.
    pub(crate) fn outputs(&self, places: core::ops::Range<usize>, mut visit: impl FnMut(usize, usize, usize)) {
        let [_, height, width] = self.plan.output;
        let mut place = places.start;
        while place < places.end {
            let (row, column) = (place / self.step[2], place % self.step[2]);
            let (d, h) = (row / self.step[1], row % self.step[1]);
            let end = places.end.min((row + 1) * self.step[2]);
            if column < width && h < height {
                let count = (end - place).min(width - column);
                visit(place - places.start, (d * height + h) * width + column, count);
            }
            place = end;
        }
    }

    /// The weights of `rows` outputs as a left operand, from `at(row, channel, kernel position)`.
    pub(crate) fn left(&self, rows: usize, at: impl Fn(usize, usize, usize) -> i8) -> Left {
        let (k, width) = (self.offsets.len() * WORD, self.plan.kernel[2]);
        let per_row = width.div_ceil(WORD);
        // Channel and kernel position of each byte of a patch; nothing where a word is longer than what it holds.
        let source = |step: usize| {
            let (tap, plane, byte) = (step / WORD / self.planes, step / WORD % self.planes, step % WORD);
            let (channel, position) = match self.along_kernel {
                true => {
                    let along = tap % per_row * WORD + byte;
                    (plane, (along < width).then_some(tap / per_row * width + along))
                }
                false => (plane * WORD + byte, Some(tap)),
            };
            position.filter(|_| channel < self.plan.depth()).map(|position| (channel, position))
        };
        let sources: Vec<_> = (0..k).map(source).collect();
        Left::new(rows, k, |row, step| sources[step].map_or(0, |(channel, position)| at(row, channel, position)))
    }

    /// Turns a group's channels into planes of words: every byte xored with `flip`, padding with `zero` before that. In the
    /// place of channels that a word lacks lies whatever the last one has, because their weights are zero.
    pub(crate) fn planes(&self, isa: Isa, x: &[u8], flip: u8, zero: u8, out: &mut Vec<u32>) {
        let ([depth, height, width], stride) = (self.size, self.plan.stride);
        let positions = self.plan.input_positions();
        let dilation = self.plan.dilation[2];
        let flip = u32::from_le_bytes([flip; WORD]);
        // What lies behind the last word is read, but never counts.
        out.resize(out.len().max(self.group_words()), 0);
        let is_direct = !self.along_kernel && stride[2] == 1;
        let tail = if self.along_kernel { (WORD - 1) * dilation } else { 0 };
        let mut rows = [(); WORD].map(|()| if is_direct { Vec::new() } else { vec![0; width + tail] });
        // One word more, so that words come in pairs for a stride of two.
        let mut line = vec![0; if is_direct { 0 } else { width + 1 }];
        for (plane, out) in out[..self.planes * self.plane_words()].chunks_exact_mut(self.plane_words()).enumerate() {
            let channel = |i: usize| {
                let at = if self.along_kernel { plane } else { (plane * WORD + i).min(self.plan.depth() - 1) };
                &x[at * positions..][..positions]
            };
            if is_direct {
                self.interleave_rows(isa, [0, 1, 2, 3].map(channel), zero, flip, out);
                continue;
            }
            let read = if self.along_kernel { 1 } else { WORD };
            for (d, h) in (0..depth).flat_map(|d| (0..height).map(move |h| (d, h))) {
                for (i, row) in rows.iter_mut().enumerate().take(read) {
                    self.row(channel(i), (d, h), zero, &mut row[..width]);
                }
                let sources = match self.along_kernel {
                    true => [0, 1, 2, 3].map(|i| &rows[0][i * dilation..]),
                    false => [&rows[0][..], &rows[1], &rows[2], &rows[3]],
                };
                interleave(isa, sources, flip, &mut line[..width]);
                for remainder in 0..stride[2].min(width) {
                    let at = self.place([d, h, remainder]);
                    every(isa, &line[remainder..], stride[2], &mut out[at..at + self.step[2]]);
                }
            }
        }
    }

    /// A plane of four channels without strides along the last dimension.
    fn interleave_rows(&self, isa: Isa, x: [&[u8]; WORD], zero: u8, flip: u32, out: &mut [u32]) {
        let Plan { input: [depth, height, width], pad, .. } = self.plan;
        let padding = u32::from_le_bytes([zero; WORD]) ^ flip;
        let inside = width.min(self.size[2].saturating_sub(pad[2]));
        let rows = (0..self.size[0]).flat_map(|d| (0..self.size[1]).map(move |h| (d, h)));
        for ((d, h), &at) in rows.zip(&self.rows) {
            let out = &mut out[at..at + self.size[2]];
            let (d, h) = (d.wrapping_sub(pad[0]), h.wrapping_sub(pad[1]));
            if d >= depth || h >= height || inside == 0 {
                out.fill(padding);
                continue;
            }
            let from = (d * height + h) * width;
            out[..pad[2]].fill(padding);
            interleave(isa, x.map(|x| &x[from..from + inside]), flip, &mut out[pad[2]..pad[2] + inside]);
            out[pad[2] + inside..].fill(padding);
        }
    }

    /// One padded row of a channel.
    fn row(&self, x: &[u8], (d, h): (usize, usize), zero: u8, out: &mut [u8]) {
        let Plan { input: [depth, height, width], pad, .. } = self.plan;
        let (d, h) = (d.wrapping_sub(pad[0]), h.wrapping_sub(pad[1]));
        let inside = width.min(out.len().saturating_sub(pad[2]));
        if d >= depth || h >= height || inside == 0 {
            out.fill(zero);
            return;
        }
        out[..pad[2]].fill(zero);
        out[pad[2]..pad[2] + inside].copy_from_slice(&x[(d * height + h) * width..][..inside]);
        out[pad[2] + inside..].fill(zero);
    }
}

/// One word from each place of four rows.
pub(crate) fn interleave(isa: Isa, rows: [&[u8]; WORD], flip: u32, out: &mut [u32]) {
    assert!(rows.iter().all(|row| row.len() >= out.len()), "rows are as long as their words");
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Vnni {
        // SAFETY: the kind is only made after detection; the lengths were asserted.
        return unsafe { x86::interleave(rows, flip, out) };
    }
    interleave_plainly(isa, rows, flip, out);
}

integer_kernel! {
    fn interleave_plainly(rows: [&[u8]; WORD], flip: u32, out: &mut [u32]) {
        let [r0, r1, r2, r3] = rows.map(|row| &row[..out.len()]);
        for ((((out, r0), r1), r2), r3) in out.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
            *out = u32::from_le_bytes([*r0, *r1, *r2, *r3]) ^ flip;
        }
    }
}

integer_kernel! {
    /// Every so many-th word from the first on, as far as there are any.
    fn every(words: &[u32], stride: usize, out: &mut [u32]) {
        match stride {
            2 => out.iter_mut().zip(words.as_chunks::<2>().0).for_each(|(out, words)| *out = words[0]),
            _ => out.iter_mut().zip(words.iter().step_by(stride)).for_each(|(out, word)| *out = *word),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::WORD;
    use core::arch::x86_64::*;

    /// # Safety
    /// AVX-512 with its byte instructions; every row is at least as long as `out`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn interleave(rows: [&[u8]; WORD], flip: u32, out: &mut [u32]) {
        // Unpacking works inside each quarter of a register: quarter q gets four bytes from each quarter of the row, so that
        // the words come out in order.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let flip = _mm512_set1_epi32(flip as i32);
        for (i, out) in out.chunks_mut(64).enumerate() {
            let lanes = u64::MAX >> (64 - out.len());
            let row = |row: &[u8]| {
                // SAFETY: masked lanes are not read, the others lie inside the row.
                let bytes = unsafe { _mm512_maskz_loadu_epi8(lanes, row.as_ptr().add(64 * i).cast()) };
                _mm512_permutexvar_epi32(order, bytes)
            };
            let [r0, r1, r2, r3] = [row(rows[0]), row(rows[1]), row(rows[2]), row(rows[3])];
            let (low, high) = (_mm512_unpacklo_epi8(r0, r1), _mm512_unpackhi_epi8(r0, r1));
            let (low_2, high_2) = (_mm512_unpacklo_epi8(r2, r3), _mm512_unpackhi_epi8(r2, r3));
            let words = [
                _mm512_unpacklo_epi16(low, low_2),
                _mm512_unpackhi_epi16(low, low_2),
                _mm512_unpacklo_epi16(high, high_2),
                _mm512_unpackhi_epi16(high, high_2),
            ];
            for (part, words) in words.into_iter().enumerate() {
                let at = out.as_mut_ptr().wrapping_add(16 * part).cast();
                // SAFETY: masked lanes are not written, the others lie inside `out`.
                unsafe { _mm512_mask_storeu_epi32(at, (lanes >> (16 * part)) as u16, _mm512_xor_si512(words, flip)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_form_interleaves(x in proptest::collection::vec(any::<[u8; WORD]>(), 0..200), flip in any::<u32>()) {
            let want: Vec<u32> = x.iter().map(|&bytes| u32::from_le_bytes(bytes) ^ flip).collect();
            let rows = [0, 1, 2, 3].map(|i| x.iter().map(|bytes| bytes[i]).collect::<Vec<u8>>());
            for isa in Isa::all() {
                let mut out = vec![0; x.len()];
                interleave(isa, [&rows[0], &rows[1], &rows[2], &rows[3]], flip, &mut out);
                prop_assert_eq!(&out, &want);
            }
        }
    }
}
