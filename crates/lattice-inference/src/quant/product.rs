//! Products of a matrix of i8 by one of u8 with exact i32 sums (modulo 2^32).
//!
//! Four neighbouring bytes along k make one 32-bit word; the kernels multiply words. The left operand is packed in panels of
//! [`MR`] rows, word by word; the right one tells where [`NR`] neighbouring columns have each word side by side. Every tile of
//! [`MR`] x [`NR`] sums is finished over the whole of k before it is handed on, so nothing wider than a byte is stored between
//! two operators.

use super::bytes::{Bytes, column_sums, row_sums};
use super::isa::{Isa, integer_kernel};
use super::patches::interleave;
use core::ops::Range;

/// Rows of a left panel.
pub(crate) const MR: usize = 8;
/// Columns of a right panel.
pub(crate) const NR: usize = 32;
/// Bytes of a word.
pub(crate) const WORD: usize = 4;

/// The sums of one pair of panels, row by row.
pub(crate) type Tile = [i32; MR * NR];

/// Something that begins with a cache line, so that no vector of it lies in two.
#[repr(align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);

/// Takes the tile of some rows and columns.
pub(crate) type Finish<'a> = dyn FnMut(Range<usize>, Range<usize>, &mut Tile) + 'a;

/// A left operand of `m` rows: `[ceil(m / MR)][words][MR]`, missing rows and bytes zero.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) m: usize,
    pub(crate) words: usize,
    panels: Vec<i32>,
    /// The sum of each row.
    pub(crate) sums: Vec<i32>,
}

impl Left {
    /// Packs a [m, k] matrix whose elements are `at(row, column)`.
    pub(crate) fn new(m: usize, k: usize, at: impl Fn(usize, usize) -> i8) -> Left {
        let words = k.div_ceil(WORD);
        let mut panels = vec![0; m.div_ceil(MR) * words * MR];
        let mut sums = vec![0i32; m];
        for (row, sum) in sums.iter_mut().enumerate() {
            let panel = &mut panels[row / MR * words * MR..][..words * MR];
            for (word, out) in panel.iter_mut().skip(row % MR).step_by(MR).enumerate() {
                let mut bytes = [0i8; WORD];
                for (byte, step) in bytes.iter_mut().zip(word * WORD..k) {
                    *byte = at(row, step);
                    *sum += i32::from(*byte);
                }
                *out = i32::from_le_bytes(bytes.map(|b| b as u8));
            }
        }
        Left { m, words, panels, sums }
    }

    /// Packs the rows of a row-major [m, k] matrix of bytes, moved to i8.
    pub(crate) fn rows(isa: Isa, m: usize, k: usize, x: Bytes<'_>) -> Left {
        let words = k.div_ceil(WORD);
        let mut panels = vec![0; m.div_ceil(MR) * words * MR];
        let mut sums = vec![0; m];
        if k > 0 {
            row_sums(isa, x, k, 128, &mut sums);
            let blocks = x.values.chunks(MR * k).zip(panels.chunks_exact_mut(words * MR));
            blocks.for_each(|(rows, panel)| pack_rows(isa, rows, k, x.flip ^ 0x80, panel));
        }
        Left { m, words, panels, sums }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.panels.len() + self.sums.len()) * 4
    }
}

integer_kernel! {
    /// Packs at most [`MR`] rows of `k` bytes.
    fn pack_rows(x: &[u8], k: usize, flip: u8, panel: &mut [i32]) {
        let mask = i32::from_le_bytes([flip; WORD]);
        let panel = panel.as_chunks_mut::<MR>().0;
        for (row, x) in x.chunks_exact(k).enumerate().take(MR) {
            let (whole, rest) = x.as_chunks::<WORD>();
            for (bytes, out) in whole.iter().zip(panel.iter_mut()) {
                out[row] = i32::from_le_bytes(*bytes) ^ mask;
            }
            for (i, byte) in rest.iter().enumerate() {
                panel[whole.len()][row] |= i32::from(byte ^ flip) << (8 * i as u32);
            }
        }
    }
}

/// A right operand of `n` columns: `[ceil(n / NR)][words][NR]`, missing columns and bytes zero.
#[derive(Clone, Debug)]
pub(crate) struct Right {
    pub(crate) k: usize,
    pub(crate) n: usize,
    panels: Vec<u32>,
    offsets: Vec<usize>,
    /// The sum of each column.
    pub(crate) sums: Vec<i32>,
}

impl Right {
    /// Packs a row-major [k, n] matrix of bytes, moved to u8.
    pub(crate) fn new(isa: Isa, k: usize, n: usize, x: Bytes<'_>) -> Right {
        let words = k.div_ceil(WORD);
        let mut panels = vec![0; n.div_ceil(NR) * words * NR];
        let mut sums = vec![0; n];
        if n > 0 {
            column_sums(isa, x.values, x.flip, &mut sums);
        }
        let flip = u32::from_le_bytes([x.flip; WORD]);
        for (p, panel) in panels.chunks_exact_mut((words * NR).max(1)).enumerate() {
            let columns = p * NR..n.min((p + 1) * NR);
            for (word, out) in panel.as_chunks_mut::<NR>().0.iter_mut().enumerate() {
                // Rows that the last word lacks meet zeros of the left operand.
                let row = |i: usize| &x.values[(word * WORD + i).min(k - 1) * n..][columns.clone()];
                interleave(isa, [row(0), row(1), row(2), row(3)], flip, &mut out[..columns.len()]);
            }
        }
        Right { k, n, panels, offsets: (0..words).map(|word| word * NR).collect(), sums }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.panels.len() + self.sums.len()) * 4 + self.offsets.len() * 8
    }

    /// Its columns.
    pub(crate) fn columns(&self) -> Columns<'_> {
        Columns { words: &self.panels, offsets: &self.offsets, step: self.offsets.len() * NR, count: self.n }
    }
}

/// The columns of a right operand: word w of column c lies at `c / NR * step + c % NR + offsets[w]`.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// At least [`NR`] more words than the last column needs.
    pub(crate) words: &'a [u32],
    pub(crate) offsets: &'a [usize],
    pub(crate) step: usize,
    pub(crate) count: usize,
}

/// Multiplies `left` by columns and hands every tile on: `finish(rows, columns, tile)`.
pub(crate) fn multiply(isa: Isa, left: &Left, right: Columns<'_>, finish: &mut Finish<'_>) {
    let words = left.words;
    assert_eq!(right.offsets.len(), words, "both operands have the same words");
    let furthest = right.offsets.iter().max().copied().unwrap_or(0);
    let wide = if isa.widens() { widen(&left.panels) } else { Vec::new() };
    let Aligned(tile) = &mut Aligned([0; MR * NR]);
    for (p, column) in (0..right.count).step_by(NR).enumerate() {
        let b = &right.words[p * right.step..];
        assert!(words == 0 || furthest + NR <= b.len(), "a panel lies inside its words");
        for (q, row) in (0..left.m).step_by(MR).enumerate() {
            let panel = q * words * MR..(q + 1) * words * MR;
            let wide = if isa.widens() { &wide[panel.clone()] } else { &[] };
            let (a, rows) = (&left.panels[panel], MR.min(left.m - row));
            match rows {
                1 => tile_of::<1>(isa, a, wide, b, right.offsets, tile),
                2 => tile_of::<2>(isa, a, wide, b, right.offsets, tile),
                3 | 4 => tile_of::<4>(isa, a, wide, b, right.offsets, tile),
                _ => tile_of::<MR>(isa, a, wide, b, right.offsets, tile),
            }
            finish(row..row + rows, column..column + NR.min(right.count - column), tile);
        }
    }
}

/// Words with every byte widened to 16 bits.
fn widen(words: &[i32]) -> Vec<i64> {
    let wide = |word: &i32| {
        let [b0, b1, b2, b3] = word.to_le_bytes().map(|b| u64::from(i16::from(b as i8) as u16));
        (b0 | b1 << 16 | b2 << 32 | b3 << 48) as i64
    };
    words.iter().map(wide).collect()
}

/// The sums of the first `R` rows of a left panel by [`NR`] columns, of which the word at `offsets[w]` and its neighbours are
/// word w. The caller has checked that they lie inside `b`.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only AVX2 reads `wide`"))]
fn tile_of<const R: usize>(isa: Isa, a: &[i32], wide: &[i64], b: &[u32], offsets: &[usize], tile: &mut Tile) {
    assert!(R <= MR && a.len() == offsets.len() * MR, "both operands have the same words");
    match isa {
        Isa::Portable => portable::<R>(a, b, offsets, tile),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kind is only made after detection; `wide` has as many words as `a`; the caller checked the offsets.
        Isa::Avx2 => unsafe { x86::avx2::<R>(wide, b, offsets, tile) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kind is only made after detection; the lengths were asserted, the caller checked the offsets.
        Isa::Vnni => unsafe { x86::vnni::<R>(a, b, offsets, tile) },
    }
}

fn portable<const R: usize>(a: &[i32], b: &[u32], offsets: &[usize], tile: &mut Tile) {
    tile.fill(0);
    for (a, &at) in a.as_chunks::<MR>().0.iter().zip(offsets) {
        let b = &b[at..at + NR];
        for (a, sums) in a.iter().zip(tile.as_chunks_mut::<NR>().0.iter_mut()).take(R) {
            let a = a.to_le_bytes().map(|b| i32::from(b as i8));
            for (sum, b) in sums.iter_mut().zip(b) {
                let products = [0, 1, 2, 3].map(|i| a[i].wrapping_mul((b >> (8 * i) & 0xff) as i32));
                *sum = products.into_iter().fold(*sum, i32::wrapping_add);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{MR, NR, Tile};
    use core::arch::x86_64::*;

    /// # Safety
    /// AVX-512 with VNNI; `a` holds [`MR`] words for each offset, `b` [`NR`] words from each of them on.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn vnni<const R: usize>(a: &[i32], b: &[u32], offsets: &[usize], tile: &mut Tile) {
        let mut a_at = a.as_ptr();
        // SAFETY: every pointer stays inside its slice, by what the caller vouches for.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); 2]; R];
            for &offset in offsets {
                let b_at = b.as_ptr().wrapping_add(offset);
                let (low, high) = (_mm512_loadu_si512(b_at.cast()), _mm512_loadu_si512(b_at.add(16).cast()));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let word = _mm512_set1_epi32(*a_at.add(r));
                    sums[0] = _mm512_dpbusd_epi32(sums[0], low, word);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], high, word);
                }
                a_at = a_at.add(MR);
            }
            for (sums, out) in sums.iter().zip(tile.as_chunks_mut::<NR>().0) {
                _mm512_storeu_si512(out.as_mut_ptr().cast(), sums[0]);
                _mm512_storeu_si512(out.as_mut_ptr().add(16).cast(), sums[1]);
            }
        }
    }

    /// # Safety
    /// AVX2; `wide` holds [`MR`] words for each offset, `b` [`NR`] words from each of them on.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2<const R: usize>(wide: &[i64], b: &[u32], offsets: &[usize], tile: &mut Tile) {
        // Four words at a time: as 16-bit numbers they fill a register, and each word's sum lies in two lanes.
        for column in (0..NR).step_by(4) {
            // SAFETY: every pointer stays inside its slice, by what the caller vouches for.
            unsafe {
                let mut a_at = wide.as_ptr();
                let mut sums = [_mm256_setzero_si256(); R];
                for &offset in offsets {
                    let words = _mm256_cvtepu8_epi16(_mm_loadu_si128(b.as_ptr().add(offset + column).cast()));
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let word = _mm256_set1_epi64x(*a_at.add(r));
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, word));
                    }
                    a_at = a_at.add(MR);
                }
                for (r, sum) in sums.iter().enumerate() {
                    let pairs = _mm256_hadd_epi32(*sum, *sum);
                    let both = _mm_unpacklo_epi64(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
                    _mm_storeu_si128(tile.as_mut_ptr().add(r * NR + column).cast(), both);
                }
            }
        }
    }
}
