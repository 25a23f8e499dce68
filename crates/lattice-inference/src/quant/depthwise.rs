//! Convolutions with one input channel for each group: four neighbouring taps of the last dimension make one word, and every
//! row of outputs reads the rows of a padded image in place.

use super::conv::Scratch;
use super::isa::{Isa, integer_kernel};
use crate::ops::conv::Plan;

/// Outputs of a block.
const LANES: usize = 16;
/// Taps of a word.
const WORD: usize = 4;
/// Bytes that are read for a block and a word.
const READ: usize = 64;
/// Sums of one channel that are made before they are stored.
const SUMS: usize = 2048;

/// The weights of all outputs, and how windows move over a padded image.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    plan: Plan,
    /// What the windows reach.
    size: [usize; 3],
    /// Where the first tap of each word lies, counted from its output's place.
    offsets: Vec<usize>,
    /// For each output its words.
    words: Vec<i32>,
    /// The zero point of the input as u8, with which images are padded.
    zero: u8,
    /// For each row of outputs the words that reach the image; those of other kernel rows would read padding only.
    reach: Vec<[usize; 2]>,
    /// For each output and each row what the words add that do not reach the image.
    starts: Vec<i32>,
    /// Which of the bytes from a word's first tap on belong to the words of a block.
    #[cfg(target_arch = "x86_64")]
    index: [u8; LANES * WORD],
}

/// Rows of outputs of one channel: how many, the bytes between their first taps, outputs of each, bytes between those and
/// between taps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    count: usize,
    step: usize,
    width: usize,
    stride: usize,
    dilation: usize,
}

/// The words of one output, and which of them each row takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps<'a> {
    offsets: &'a [usize],
    words: &'a [i32],
    reach: &'a [[usize; 2]],
    starts: &'a [i32],
}

impl<'a> Taps<'a> {
    /// Places and words of a row.
    fn of(&self, row: usize) -> (&'a [usize], &'a [i32]) {
        let [first, end] = self.reach[row];
        (&self.offsets[first..end], &self.words[first..end])
    }
}

impl Depthwise {
    /// Packs weights `at(output, kernel position)` for inputs with a zero point as u8; nothing for other convolutions.
    pub(crate) fn new(plan: &Plan, zero: u8, at: impl Fn(usize, usize) -> i8) -> Option<Depthwise> {
        let Plan { input, kernel, stride, dilation, output, .. } = plan.clone();
        // A file may ask for any stride and dilation.
        let reads = stride[2].saturating_mul(LANES - 1).saturating_add(dilation[2].saturating_mul(WORD - 1));
        if plan.depth() != 1 || stride[2] > 2 || reads >= READ || [input, output].iter().any(|sizes| sizes.contains(&0))
        {
            return None;
        }
        let size = [0, 1, 2].map(|i| plan.reach(i));
        let (mut offsets, mut words) = (Vec::new(), Vec::new());
        let rows = || (0..kernel[0]).flat_map(|d| (0..kernel[1]).map(move |h| (d, h)));
        let starts = || (0..kernel[2]).step_by(WORD);
        for (d, h) in rows() {
            let row = (d * dilation[0] * size[1] + h * dilation[1]) * size[2];
            offsets.extend(starts().map(|w| row + w * dilation[2]));
        }
        for output in 0..plan.outputs {
            for (row, w) in rows().enumerate().flat_map(|(row, _)| starts().map(move |w| (row, w))) {
                let tap = |i: usize| if w + i < kernel[2] { at(output, row * kernel[2] + w + i) as u8 } else { 0 };
                words.push(i32::from_le_bytes([0, 1, 2, 3].map(tap)));
            }
        }
        let per_row = kernel[2].div_ceil(WORD);
        let below = |h: usize, edge: usize| {
            (0..kernel[1]).filter(|tap| h * stride[1] + tap * dilation[1] < edge).count() * per_row
        };
        let reach: Vec<[usize; 2]> = match kernel[0] {
            1 => (0..output[1]).map(|h| [below(h, plan.pad[1]), below(h, plan.pad[1] + input[1])]).collect(),
            _ => vec![[0, offsets.len()]; output[1]],
        };
        let sum = |words: &[i32]| words.iter().flat_map(|w| w.to_le_bytes()).map(|w| i32::from(w as i8)).sum::<i32>();
        let start =
            |words: &[i32], [first, end]: [usize; 2]| i32::from(zero) * (sum(&words[..first]) + sum(&words[end..]));
        let starts = words.chunks_exact(offsets.len()).flat_map(|w| reach.iter().map(move |&reach| start(w, reach)));
        Some(Depthwise {
            plan: plan.clone(),
            size,
            zero,
            starts: starts.collect(),
            reach,
            offsets,
            words,
            #[cfg(target_arch = "x86_64")]
            index: core::array::from_fn(|i| (i / WORD * stride[2] + i % WORD * dilation[2]) as u8),
        })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.words.len() + self.starts.len()) * 4 + (self.offsets.len() + 2 * self.reach.len()) * 8
    }

    /// Bytes of a padded image and behind it, where blocks and words hang over.
    fn padded(&self) -> usize {
        self.size.iter().product::<usize>() + LANES * self.plan.stride[2] + READ
    }

    /// Bytes that the kernels work on beside operands and results.
    pub(crate) fn scratch_bytes(plan: &Plan) -> u64 {
        Depthwise::new(plan, 0, |_, _| 0).map_or(0, |d| (d.padded() + 4 * (SUMS + d.plan.output[2] + LANES)) as u64)
    }

    /// The plain sums of all outputs of one image: `finish(output, first position, sums)` for neighbouring positions. Every
    /// byte is xored with `flip`, which makes it u8.
    pub(crate) fn run(
        &self,
        isa: Isa,
        x: &[u8],
        flip: u8,
        scratch: &mut Scratch,
        mut finish: impl FnMut(usize, usize, &[i32]),
    ) {
        let Plan { input, output, pad, .. } = self.plan;
        let Scratch { padded, sums, .. } = scratch;
        padded.clear();
        padded.resize(self.padded(), self.zero);
        let inside = [0, 1, 2].map(|i| input[i].min(self.size[i].saturating_sub(pad[i])));
        let width = output[2];
        let together = (SUMS / width).clamp(1, output[1]);
        sums.resize(sums.len().max(together * width + LANES), 0);
        let per_channel = self.plan.outputs / self.plan.group;
        for (channel, x) in x.chunks_exact(self.plan.input_positions()).enumerate() {
            for d in (0..inside[0]).filter(|_| inside[1] > 0 && inside[2] > 0) {
                let to = ((d + pad[0]) * self.size[1] + pad[1]) * self.size[2] + pad[2];
                let rows = [input[2], self.size[2], inside[2]];
                copy_rows(isa, &x[d * input[1] * input[2]..][..inside[1] * input[2]], flip, rows, &mut padded[to..]);
            }
            for out in channel * per_channel..(channel + 1) * per_channel {
                for d in 0..output[0] {
                    for first in (0..output[1]).step_by(together) {
                        let count = together.min(output[1] - first);
                        self.rows(isa, padded, out, [d, first], count, sums);
                        finish(out, (d * output[1] + first) * width, &sums[..count * width]);
                    }
                }
            }
        }
    }

    /// The sums of `count` rows of an output from one on, and what the last block hangs over.
    fn rows(&self, isa: Isa, padded: &[u8], out: usize, [d, h]: [usize; 2], count: usize, sums: &mut [i32]) {
        let Plan { output, stride, dilation, .. } = &self.plan;
        let x = &padded[(d * stride[0] * self.size[1] + h * stride[1]) * self.size[2]..];
        let rows =
            Rows { count, step: stride[1] * self.size[2], width: output[2], stride: stride[2], dilation: dilation[2] };
        let taps = Taps {
            offsets: &self.offsets,
            words: &self.words[out * self.offsets.len()..][..self.offsets.len()],
            reach: &self.reach[h..h + count],
            starts: &self.starts[out * output[1] + h..][..count],
        };
        let blocks = rows.width.div_ceil(LANES);
        let last = (count - 1) * rows.step + (blocks - 1) * LANES * rows.stride;
        let furthest = self.offsets.last().copied().unwrap_or(0);
        assert!(furthest + last + READ <= x.len(), "all reads lie in the image");
        assert!((count - 1) * rows.width + blocks * LANES <= sums.len(), "all sums have a place");
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Vnni && is_x86_feature_detected!("avx512vbmi") {
            // SAFETY: `Isa::Vnni` is only made after AVX-512 and VNNI were detected, VBMI just now; the assertions above.
            return unsafe { x86::sums(x, rows, &self.index, taps, sums) };
        }
        match rows.stride {
            1 => sums_by_one(isa, x, rows, taps, sums),
            _ => sums_by_two(isa, x, rows, taps, sums),
        }
    }
}

integer_kernel! {
    /// Copies the first bytes of rows, xored; `rows` are the lengths of rows there and here, and how many are copied.
    fn copy_rows(x: &[u8], flip: u8, rows: [usize; 3], out: &mut [u8]) {
        let [from, to, inside] = rows;
        for (x, out) in x.chunks_exact(from).zip(out.chunks_mut(to)) {
            out[..inside].iter_mut().zip(&x[..inside]).for_each(|(out, x)| *out = x ^ flip);
        }
    }
}

integer_kernel! {
    fn sums_by_one(x: &[u8], rows: Rows, taps: Taps<'_>, sums: &mut [i32]) {
        row_sums::<1>(x, rows, taps, sums);
    }
}

integer_kernel! {
    fn sums_by_two(x: &[u8], rows: Rows, taps: Taps<'_>, sums: &mut [i32]) {
        row_sums::<2>(x, rows, taps, sums);
    }
}

/// The sums of neighbouring outputs that lie `S` bytes apart.
#[inline(always)]
fn row_sums<const S: usize>(x: &[u8], rows: Rows, taps: Taps<'_>, sums: &mut [i32]) {
    for row in 0..rows.count {
        let (offsets, words) = taps.of(row);
        let blocks = sums[row * rows.width..].as_chunks_mut::<LANES>().0;
        for (block, out) in blocks.iter_mut().take(rows.width.div_ceil(LANES)).enumerate() {
            *out = [taps.starts[row]; LANES];
            for (offset, word) in offsets.iter().zip(words) {
                let x = &x[row * rows.step + block * LANES * S + offset..];
                for (tap, weight) in word.to_le_bytes().into_iter().enumerate().filter(|(_, weight)| *weight != 0) {
                    let (x, weight) = (&x[tap * rows.dilation..][..(LANES - 1) * S + 1], i32::from(weight as i8));
                    for (i, sum) in out.iter_mut().enumerate() {
                        *sum = sum.wrapping_add(i32::from(x[i * S]).wrapping_mul(weight));
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Rows, Taps, WORD};
    use core::arch::x86_64::*;

    /// # Safety
    /// AVX-512 with VNNI and VBMI; every block of every row can read 64 bytes from each offset on, and `sums` have room for
    /// whole blocks in the last row.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
    pub(super) unsafe fn sums(x: &[u8], rows: Rows, index: &[u8; LANES * WORD], taps: Taps<'_>, sums: &mut [i32]) {
        // SAFETY: an array of 64 bytes.
        let index = unsafe { _mm512_loadu_si512(index.as_ptr().cast()) };
        let (blocks, step) = (rows.width.div_ceil(LANES), LANES * rows.stride);
        for row in 0..rows.count {
            let (offsets, words) = taps.of(row);
            let row_of = Row { index, offsets, words, start: _mm512_set1_epi32(taps.starts[row]), step };
            let mut x = x.as_ptr().wrapping_add(row * rows.step);
            let mut out = sums.as_mut_ptr().wrapping_add(row * rows.width);
            let mut left = blocks;
            while left > 0 {
                // SAFETY: what the caller vouches for.
                let done = unsafe {
                    match left {
                        1 => row_of.blocks::<1>(x, out),
                        2 | 3 => row_of.blocks::<2>(x, out),
                        _ => row_of.blocks::<4>(x, out),
                    }
                };
                (x, out, left) = (x.wrapping_add(done * step), out.wrapping_add(done * LANES), left - done);
            }
        }
    }

    struct Row<'a> {
        index: __m512i,
        offsets: &'a [usize],
        words: &'a [i32],
        start: __m512i,
        /// Bytes between blocks.
        step: usize,
    }

    impl Row<'_> {
        /// The sums of `B` blocks, and `B`.
        ///
        /// # Safety
        /// As [`sums`].
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
        unsafe fn blocks<const B: usize>(&self, x: *const u8, out: *mut i32) -> usize {
            let starts: [*const u8; B] = core::array::from_fn(|b| x.wrapping_add(b * self.step));
            let mut sums = [self.start; B];
            for (&offset, &word) in self.offsets.iter().zip(self.words) {
                let word = _mm512_set1_epi32(word);
                for (sums, start) in sums.iter_mut().zip(starts) {
                    // SAFETY: what the caller vouches for.
                    let bytes = unsafe { _mm512_loadu_si512(start.wrapping_add(offset).cast()) };
                    *sums = _mm512_dpbusd_epi32(*sums, _mm512_permutexvar_epi8(self.index, bytes), word);
                }
            }
            for (b, sums) in sums.into_iter().enumerate() {
                // SAFETY: what the caller vouches for.
                unsafe { _mm512_storeu_si512(out.wrapping_add(b * LANES).cast(), sums) };
            }
            B
        }
    }
}
