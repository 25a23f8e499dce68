//! Matrix products of f32: one ascending-k chain of fused multiply-adds, from +0, for each output.
//!
//! Both operands are packed: the left one in panels of [`MR`] rows, the right one in panels of [`NR`] columns, each panel
//! k-major, so that the inner loop reads two short streams. Blocking over k stores the chain's partial value in the result and
//! goes on from it: an f32 in memory is the f32 in the register, so blocking changes no bit.
//! The loop structure follows Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).

use super::{Finish, Isa, Line};

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Rows of a left panel.
pub(crate) const MR: usize = 6;
/// Columns of a right panel.
pub(crate) const NR: usize = 16;
/// Steps of k that a right micro-panel keeps in the first-level cache (16 KiB).
pub(crate) const KC: usize = 256;
/// Rows of a left block at most: it stays in the second-level cache.
const MC: usize = 192;

/// A left operand [m, k] in panels of [`MR`] rows: `[ceil(m / MR)][k][MR]`, missing rows zero.
#[derive(Clone, Debug)]
pub(crate) struct PackedLeft {
    pub(crate) m: usize,
    pub(crate) k: usize,
    panels: Vec<f32>,
}

/// A right operand [k, n] in panels of [`NR`] columns: `[ceil(n / NR)][k][NR]`, missing columns zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedRight {
    pub(crate) k: usize,
    pub(crate) n: usize,
    panels: Vec<Line>,
}

impl PackedLeft {
    /// Packs a row-major [m, k] matrix.
    pub(crate) fn new(a: &[f32], m: usize, k: usize) -> PackedLeft {
        let mut panels = Vec::new();
        pack_left(a, k, 0..m, 0..k, &mut panels);
        PackedLeft { m, k, panels }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.len() * 4
    }
}

impl PackedRight {
    /// Packs a row-major [k, n] matrix.
    pub(crate) fn new(b: &[f32], k: usize, n: usize) -> PackedRight {
        let mut packed = PackedRight::default();
        packed.fill(b, k, n);
        packed
    }

    /// Packs another matrix in the same memory.
    pub(crate) fn fill(&mut self, b: &[f32], k: usize, n: usize) {
        (self.k, self.n) = (k, n);
        self.panels.resize(n.div_ceil(NR) * k, Line::ZERO);
        for (p, panel) in self.panels.chunks_exact_mut(k.max(1)).enumerate() {
            let columns = NR.min(n - p * NR);
            for (row, out) in panel.iter_mut().enumerate() {
                let b = &b[row * n + p * NR..][..columns];
                match b.first_chunk::<NR>() {
                    Some(whole) => out.0 = *whole,
                    None => {
                        *out = Line::ZERO;
                        out.0[..columns].copy_from_slice(b);
                    }
                }
            }
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.len() * size_of::<Line>()
    }
}

/// Packs rows `rows` and steps `steps` of a row-major matrix with `stride` columns into panels of [`MR`] rows.
fn pack_left(
    a: &[f32],
    stride: usize,
    rows: core::ops::Range<usize>,
    steps: core::ops::Range<usize>,
    out: &mut Vec<f32>,
) {
    let k = steps.len();
    out.clear();
    out.resize(rows.len().div_ceil(MR) * k * MR, 0.0);
    for (p, panel) in out.chunks_exact_mut((k * MR).max(1)).enumerate() {
        let first = rows.start + p * MR;
        let row = |r: usize| &a[(first + r) * stride + steps.start..][..k];
        if first + MR <= rows.end {
            let rows: [&[f32]; MR] = core::array::from_fn(row);
            for (step, out) in panel.as_chunks_mut::<MR>().0.iter_mut().enumerate() {
                *out = rows.map(|row| row[step]);
            }
        } else {
            for r in 0..rows.end - first {
                panel.as_chunks_mut::<MR>().0.iter_mut().zip(row(r)).for_each(|(out, v)| out[r] = *v);
            }
        }
    }
}

/// `c = a * b` for a row-major a [m, k] and a packed b; c is [m, n] and is overwritten.
pub(crate) fn gemm(isa: Isa, a: &[f32], m: usize, b: &PackedRight, c: &mut [f32]) {
    gemm_then(isa, a, m, b, c, &mut |_, _| {});
}

/// [`gemm`], whose outputs `finish` takes on while they are in the cache.
pub(crate) fn gemm_then(isa: Isa, a: &[f32], m: usize, b: &PackedRight, c: &mut [f32], finish: &mut Finish<'_>) {
    let (k, n) = (b.k, b.n);
    assert!(a.len() == m * k && c.len() == m * n, "operands of a matrix product have the lengths of their shapes");
    if k == 0 || m == 0 || n == 0 {
        c.fill(0.0);
        finish(0, c);
        return;
    }
    if m <= 2 {
        rows_times_panels(isa, a, b, c);
        finish(0, c);
        return;
    }
    let mut packed = Vec::new();
    let blocks = row_blocks(m);
    for k0 in (0..k).step_by(KC) {
        let kc = KC.min(k - k0);
        for m0 in (0..m).step_by(blocks) {
            let mc = blocks.min(m - m0);
            pack_left(a, k, m0..m0 + mc, k0..k0 + kc, &mut packed);
            let left = Panels { data: &packed, stride: kc * MR, step: MR };
            let right = Panels { data: &Line::floats(&b.panels)[k0 * NR..], stride: k * NR, step: NR };
            block(isa, kc, left, right, &mut c[m0 * n..], (mc, n, n), k0 == 0);
            if k0 + kc == k {
                finish(m0 * n, &mut c[m0 * n..(m0 + mc) * n]);
            }
        }
    }
}

/// Rows of each left block: all alike, and whole tiles.
fn row_blocks(m: usize) -> usize {
    let m = m.max(1);
    m.div_ceil(m.div_ceil(MC)).next_multiple_of(2 * MR)
}

/// Panels of one operand: step k of panel p begins at `p * stride + k * step`. Packed panels have their width as step.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) step: usize,
}

impl Panels<'_> {
    /// Whether `count` panels of `width` and `kc` steps lie inside the data.
    fn hold(&self, count: usize, kc: usize, width: usize) -> bool {
        self.data.len() >= (count - 1) * self.stride + (kc - 1) * self.step + width
    }
}

/// One k-block of `c (+)= a * b`, with a prepared left operand and a right block packed by the caller.
///
/// `right` holds `ceil(n / NR)` panels of `kc` > 0 steps for steps `k0..k0 + kc`; c has row stride `ldc`.
pub(crate) fn gemm_block(
    isa: Isa,
    a: &PackedLeft,
    k0: usize,
    kc: usize,
    right: Panels<'_>,
    c: &mut [f32],
    (n, ldc): (usize, usize),
) {
    let blocks = row_blocks(a.m);
    for m0 in (0..a.m).step_by(blocks) {
        let mc = blocks.min(a.m - m0);
        let left = Panels { data: &a.panels[m0 / MR * a.k * MR + k0 * MR..], stride: a.k * MR, step: MR };
        block(isa, kc, left, right, &mut c[m0 * ldc..], (mc, n, ldc), k0 == 0);
    }
}

/// Panels of both operands that the micro-kernel of an instruction set takes at most at once.
const fn panels_at_once(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => 2,
        _ => 1,
    }
}

/// The two inner loops: every right panel against every left panel of the block.
fn block(
    isa: Isa,
    kc: usize,
    left: Panels<'_>,
    right: Panels<'_>,
    c: &mut [f32],
    (m, n, ldc): (usize, usize, usize),
    first: bool,
) {
    let wide = panels_at_once(isa);
    let mut tile = [0.0f32; 2 * MR * 2 * NR];
    for column in (0..n).step_by(wide * NR) {
        let columns = (wide * NR).min(n - column);
        let across = columns.div_ceil(NR);
        let b = Panels { data: &right.data[column / NR * right.stride..], ..right };
        for row in (0..m).step_by(wide * MR) {
            let rows = (wide * MR).min(m - row);
            let down = rows.div_ceil(MR);
            let a = Panels { data: &left.data[row / MR * left.stride..], ..left };
            let at = row * ldc + column;
            if rows == down * MR && columns == across * NR {
                micro(isa, kc, (a, down), (b, across), &mut c[at..], ldc, first);
                continue;
            }
            // An edge: computed on a whole tile aside, of which the part inside is kept.
            let width = across * NR;
            for r in 0..rows {
                tile[r * width..r * width + columns].copy_from_slice(&c[at + r * ldc..][..columns]);
            }
            micro(isa, kc, (a, down), (b, across), &mut tile, width, first);
            for r in 0..rows {
                c[at + r * ldc..][..columns].copy_from_slice(&tile[r * width..r * width + columns]);
            }
        }
    }
}

/// All outputs of `down` left panels and `across` right ones over `kc` steps; `first` starts the chains at +0, otherwise
/// they go on from `c`.
#[inline(always)]
fn micro(
    isa: Isa,
    kc: usize,
    (a, down): (Panels<'_>, usize),
    (b, across): (Panels<'_>, usize),
    c: &mut [f32],
    ldc: usize,
    first: bool,
) {
    assert!(
        a.hold(down, kc, MR) && b.hold(across, kc, NR) && c.len() >= (down * MR - 1) * ldc + across * NR,
        "a micro tile lies inside its operands"
    );
    match isa {
        Isa::Portable => micro_portable(kc, a, b, c, ldc, first),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx2` is only made after detection, and takes one panel of each; the lengths were asserted above.
        Isa::Avx2 => unsafe { x86::avx2(a.data.as_ptr(), (b.data.as_ptr(), b.step), kc, c.as_mut_ptr(), ldc, first) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx512` is only made after detection; the lengths were asserted above.
        Isa::Avx512 => unsafe {
            let kernel = match (down, across) {
                (1, 1) => x86::avx512::<1, 1>,
                (1, _) => x86::avx512::<1, 2>,
                (_, 1) => x86::avx512::<2, 1>,
                _ => x86::avx512::<2, 2>,
            };
            kernel((a.data.as_ptr(), a.stride), (b.data.as_ptr(), b.stride, b.step), kc, c.as_mut_ptr(), ldc, first);
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every aarch64 has NEON; it takes one panel of each, and the lengths were asserted above.
        Isa::Neon => unsafe { neon::micro(a.data.as_ptr(), (b.data.as_ptr(), b.step), kc, c.as_mut_ptr(), ldc, first) },
    }
}

fn micro_portable(kc: usize, a: Panels<'_>, b: Panels<'_>, c: &mut [f32], ldc: usize, first: bool) {
    let mut acc = [[0.0f32; NR]; MR];
    if !first {
        for (r, acc) in acc.iter_mut().enumerate() {
            acc.copy_from_slice(&c[r * ldc..][..NR]);
        }
    }
    for k in 0..kc {
        let (a, b) = (&a.data[k * a.step..][..MR], &b.data[k * b.step..][..NR]);
        for r in 0..MR {
            for l in 0..NR {
                acc[r][l] = a[r].mul_add(b[l], acc[r][l]);
            }
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        c[r * ldc..][..NR].copy_from_slice(acc);
    }
}

/// Panels taken together by [`rows_times_panels`], enough independent chains to hide the latency of fma.
const ROW_PANELS: usize = 4;

/// Few rows times a packed right operand, which is read from afar once.
fn rows_times_panels(isa: Isa, a: &[f32], b: &PackedRight, c: &mut [f32]) {
    for first in (0..b.n).step_by(ROW_PANELS * NR) {
        let columns = (ROW_PANELS * NR).min(b.n - first);
        for (a, c) in a.chunks_exact(b.k).zip(c.chunks_exact_mut(b.n)) {
            row_times_panels(isa, a, &Line::floats(&b.panels)[first * b.k..], &mut c[first..first + columns]);
        }
    }
}

/// One row times at most [`ROW_PANELS`] panels.
fn row_times_panels(isa: Isa, a: &[f32], panels: &[f32], out: &mut [f32]) {
    let stride = a.len() * NR;
    let count = out.len().div_ceil(NR);
    let panels = &panels[..count * stride];
    let mut tile = [0.0f32; ROW_PANELS * NR];
    match isa {
        Isa::Portable => row_portable(a, panels, &mut tile),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: both are only made after AVX2 and FMA were detected; `panels` holds `count` panels of `a.len()` steps.
        // Wider registers gain nothing where the stream of weights is the limit.
        Isa::Avx2 | Isa::Avx512 => unsafe {
            if count == ROW_PANELS {
                x86::row4(a, panels.as_ptr(), stride, tile.as_mut_ptr());
            } else {
                for p in 0..count {
                    x86::row1(a, panels.as_ptr().add(p * stride), tile.as_mut_ptr().add(p * NR));
                }
            }
        },
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => {
            for p in 0..count {
                // SAFETY: every aarch64 has NEON; `panels` holds `count` panels of `a.len()` steps.
                unsafe { neon::row(a, panels.as_ptr().add(p * stride), tile.as_mut_ptr().add(p * NR)) };
            }
        }
    }
    out.copy_from_slice(&tile[..out.len()]);
}

fn row_portable(a: &[f32], panels: &[f32], tile: &mut [f32]) {
    for (panel, out) in panels.chunks_exact(a.len() * NR).zip(tile.as_chunks_mut::<NR>().0) {
        let mut acc = [0.0f32; NR];
        for (a, b) in a.iter().zip(panel.as_chunks::<NR>().0) {
            for l in 0..NR {
                acc[l] = a.mul_add(b[l], acc[l]);
            }
        }
        *out = acc;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: an ascending chain for each output.
    fn naive(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
        let at = |i: usize| (0..k).fold(0.0f32, |acc, p| a[i / n * k + p].mul_add(b[p * n + i % n], acc));
        (0..m * n).map(at).collect()
    }

    fn bits(v: &[f32]) -> Vec<u32> {
        v.iter().map(|x| if x.is_nan() { crate::tensor::NAN_F32_BITS } else { x.to_bits() }).collect()
    }

    fn value() -> impl Strategy<Value = f32> {
        let special =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, -1e-45, f32::MAX, f32::MIN_POSITIVE];
        prop_oneof![20 => -2.0f32..2.0, 1 => proptest::sample::select(special.to_vec()), 1 => any::<u32>().prop_map(f32::from_bits)]
    }

    fn operands() -> impl Strategy<Value = (usize, usize, usize, Vec<f32>, Vec<f32>)> {
        (0usize..20, prop_oneof![0usize..12, 250usize..530], 0usize..70).prop_flat_map(|(m, k, n)| {
            let a = proptest::collection::vec(value(), m * k);
            let b = proptest::collection::vec(value(), k * n);
            (Just(m), Just(k), Just(n), a, b)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_kernel_gives_the_bits_of_the_definition((m, k, n, a, b) in operands()) {
            let want = bits(&naive(&a, &b, m, k, n));
            let packed = PackedRight::new(&b, k, n);
            for isa in Isa::all() {
                let mut c = vec![f32::NAN; m * n];
                gemm(isa, &a, m, &packed, &mut c);
                prop_assert_eq!(&bits(&c), &want);
            }
        }

        #[test]
        fn a_row_alone_has_the_bits_it_has_in_a_batch((m, k, n, a, b) in operands()) {
            let packed = PackedRight::new(&b, k, n);
            for isa in Isa::all() {
            let mut batch = vec![0.0; m * n];
            gemm(isa, &a, m, &packed, &mut batch);
            for row in 0..m {
                let mut alone = vec![0.0; n];
                gemm(isa, &a[row * k..(row + 1) * k], 1, &packed, &mut alone);
                prop_assert_eq!(bits(&alone), bits(&batch[row * n..(row + 1) * n]));
            }
            }
        }

        #[test]
        fn a_prepared_left_operand_gives_the_same_bits((m, k, n, a, b) in operands()) {
            prop_assume!(n > 0);
            let left = PackedLeft::new(&a, m, k);
            let packed = PackedRight::new(&b, k, n);
            for isa in Isa::all() {
                let mut c = vec![0.0; m * n];
                for k0 in (0..k).step_by(KC) {
                    let right = Panels { data: &Line::floats(&packed.panels)[k0 * NR..], stride: k * NR, step: NR };
                    gemm_block(isa, &left, k0, KC.min(k - k0), right, &mut c, (n, n));
                }
                prop_assert_eq!(bits(&c), bits(&naive(&a, &b, m, k, n)));
            }
        }
    }
}
