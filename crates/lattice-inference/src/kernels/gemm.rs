//! Matrix products of f32: one ascending-k chain of fused multiply-adds, from +0, for each output.
//!
//! Both operands are packed: the left one in panels of [`MR`] rows, the right one in panels of [`NR`] columns, each panel
//! k-major, so that the inner loop reads two short streams. Blocking over k stores the chain's partial value in the result and
//! goes on from it: an f32 in memory is the f32 in the register, so blocking changes no bit.
//! The loop structure follows Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).

use super::Isa;

/// Rows of a left panel.
pub(crate) const MR: usize = 6;
/// Columns of a right panel.
pub(crate) const NR: usize = 16;
/// Steps of k that a right micro-panel keeps in the first-level cache (16 KiB).
pub(crate) const KC: usize = 256;
/// Rows of a left block that stays in the second-level cache.
const MC: usize = 120;

/// A left operand [m, k] in panels of [`MR`] rows: `[ceil(m / MR)][k][MR]`, missing rows zero.
#[derive(Clone, Debug)]
pub(crate) struct PackedLeft {
    pub(crate) m: usize,
    pub(crate) k: usize,
    panels: Vec<f32>,
}

/// A right operand [k, n] in panels of [`NR`] columns: `[ceil(n / NR)][k][NR]`, missing columns zero.
#[derive(Clone, Debug)]
pub(crate) struct PackedRight {
    pub(crate) k: usize,
    pub(crate) n: usize,
    panels: Vec<f32>,
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
        let mut panels = vec![0.0; n.div_ceil(NR) * k * NR];
        for (p, panel) in panels.chunks_exact_mut((k * NR).max(1)).enumerate() {
            let columns = NR.min(n - p * NR);
            for (row, out) in panel.chunks_exact_mut(NR).enumerate() {
                out[..columns].copy_from_slice(&b[row * n + p * NR..][..columns]);
            }
        }
        PackedRight { k, n, panels }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.panels.len() * 4
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
        for r in 0..MR.min(rows.end - first) {
            let row = &a[(first + r) * stride + steps.start..][..k];
            panel.iter_mut().skip(r).step_by(MR).zip(row).for_each(|(out, v)| *out = *v);
        }
    }
}

/// `c = a * b` for a row-major a [m, k] and a packed b; c is [m, n] and is overwritten.
pub(crate) fn gemm(isa: Isa, a: &[f32], m: usize, b: &PackedRight, c: &mut [f32]) {
    let (k, n) = (b.k, b.n);
    assert!(a.len() == m * k && c.len() == m * n, "operands of a matrix product have the lengths of their shapes");
    if k == 0 || m == 0 || n == 0 {
        c.fill(0.0);
        return;
    }
    if m <= 2 {
        for (row, out) in a.chunks_exact(k).zip(c.chunks_exact_mut(n)) {
            row_times_panels(isa, row, b, out);
        }
        return;
    }
    let mut packed = Vec::new();
    for k0 in (0..k).step_by(KC) {
        let kc = KC.min(k - k0);
        for m0 in (0..m).step_by(MC) {
            let mc = MC.min(m - m0);
            pack_left(a, k, m0..m0 + mc, k0..k0 + kc, &mut packed);
            let left = Panels { data: &packed, stride: kc * MR };
            let right = Panels { data: &b.panels[k0 * NR..], stride: k * NR };
            block(isa, kc, left, right, &mut c[m0 * n..], (mc, n, n), k0 == 0);
        }
    }
}

/// Panels of one operand: panel p begins at `p * stride`.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
}

/// One k-block of `c (+)= a * b`, with a prepared left operand and a right block packed by the caller.
///
/// `right` holds `ceil(n / NR)` panels of `kc` steps for steps `k0..k0 + kc`; c has row stride `ldc`.
pub(crate) fn gemm_block(
    isa: Isa,
    a: &PackedLeft,
    k0: usize,
    kc: usize,
    right: Panels<'_>,
    c: &mut [f32],
    (n, ldc): (usize, usize),
) {
    for m0 in (0..a.m).step_by(MC) {
        let mc = MC.min(a.m - m0);
        let left = Panels { data: &a.panels[m0 / MR * a.k * MR + k0 * MR..], stride: a.k * MR };
        block(isa, kc, left, right, &mut c[m0 * ldc..], (mc, n, ldc), k0 == 0);
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
    let mut tile = [0.0f32; MR * NR];
    for (p, column) in (0..n).step_by(NR).enumerate() {
        let b = &right.data[p * right.stride..][..kc * NR];
        let columns = NR.min(n - column);
        for (q, row) in (0..m).step_by(MR).enumerate() {
            let a = &left.data[q * left.stride..][..kc * MR];
            let rows = MR.min(m - row);
            let at = row * ldc + column;
            if rows == MR && columns == NR {
                micro(isa, a, b, &mut c[at..], ldc, first);
                continue;
            }
            // An edge: computed on a whole tile aside, of which the part inside is kept.
            for r in 0..rows {
                tile[r * NR..r * NR + columns].copy_from_slice(&c[at + r * ldc..][..columns]);
            }
            micro(isa, a, b, &mut tile, NR, first);
            for r in 0..rows {
                c[at + r * ldc..][..columns].copy_from_slice(&tile[r * NR..r * NR + columns]);
            }
        }
    }
}

/// `MR` x `NR` outputs over all steps of two panels; `first` starts the chains at +0, otherwise they go on from `c`.
#[inline(always)]
fn micro(isa: Isa, a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, first: bool) {
    assert!(a.len() / MR == b.len() / NR && c.len() >= (MR - 1) * ldc + NR, "a micro tile lies inside its operands");
    match isa {
        Isa::Portable => micro_portable(a, b, c, ldc, first),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx2` is only made after detection; the lengths were asserted above.
        Isa::Avx2 => unsafe { avx2::micro(a.as_ptr(), b.as_ptr(), b.len() / NR, c.as_mut_ptr(), ldc, first) },
    }
}

fn micro_portable(a: &[f32], b: &[f32], c: &mut [f32], ldc: usize, first: bool) {
    let mut acc = [[0.0f32; NR]; MR];
    if !first {
        for (r, acc) in acc.iter_mut().enumerate() {
            acc.copy_from_slice(&c[r * ldc..][..NR]);
        }
    }
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
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

/// Panels taken together by [`row_times_panels`], enough independent chains to hide the latency of fma.
const ROW_PANELS: usize = 4;

/// One row times a packed right operand.
fn row_times_panels(isa: Isa, a: &[f32], b: &PackedRight, c: &mut [f32]) {
    let stride = b.k * NR;
    let mut tile = [0.0f32; ROW_PANELS * NR];
    for (group, out) in c.chunks_mut(ROW_PANELS * NR).enumerate() {
        let panels = &b.panels[group * ROW_PANELS * stride..];
        let count = out.len().div_ceil(NR);
        let panels = &panels[..count * stride];
        match isa {
            Isa::Portable => row_portable(a, panels, &mut tile),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx2` is only made after detection; `panels` holds `count` panels of `a.len()` steps.
            Isa::Avx2 => unsafe {
                if count == ROW_PANELS {
                    avx2::row4(a, panels.as_ptr(), stride, tile.as_mut_ptr());
                } else {
                    for p in 0..count {
                        avx2::row1(a, panels.as_ptr().add(p * stride), tile.as_mut_ptr().add(p * NR));
                    }
                }
            },
        }
        out.copy_from_slice(&tile[..out.len()]);
    }
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

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{MR, NR};
    use core::arch::x86_64::*;

    /// The 6 x 16 micro-kernel: twelve accumulators, two right vectors, two broadcasts.
    ///
    /// # Safety
    /// Needs AVX2 and FMA; `a` holds `kc * MR`, `b` `kc * NR` floats, and `c` six rows of 16 with stride `ldc`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn micro(a: *const f32, b: *const f32, kc: usize, c: *mut f32, ldc: usize, first: bool) {
        // SAFETY: all reads and writes stay inside the lengths that the caller promises.
        unsafe {
            let mut acc = [[_mm256_setzero_ps(); 2]; MR];
            if !first {
                for (r, acc) in acc.iter_mut().enumerate() {
                    acc[0] = _mm256_loadu_ps(c.add(r * ldc));
                    acc[1] = _mm256_loadu_ps(c.add(r * ldc + 8));
                }
            }
            let (mut a, mut b) = (a, b);
            for _ in 0..kc {
                let b0 = _mm256_loadu_ps(b);
                let b1 = _mm256_loadu_ps(b.add(8));
                for (r, acc) in acc.iter_mut().enumerate() {
                    let v = _mm256_broadcast_ss(&*a.add(r));
                    acc[0] = _mm256_fmadd_ps(v, b0, acc[0]);
                    acc[1] = _mm256_fmadd_ps(v, b1, acc[1]);
                }
                a = a.add(MR);
                b = b.add(NR);
            }
            for (r, acc) in acc.iter().enumerate() {
                _mm256_storeu_ps(c.add(r * ldc), acc[0]);
                _mm256_storeu_ps(c.add(r * ldc + 8), acc[1]);
            }
        }
    }

    /// One row against four panels.
    ///
    /// # Safety
    /// Needs AVX2 and FMA; four panels of `a.len() * NR` floats lie `stride` apart at `b`, and `c` holds 64 floats.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn row4(a: &[f32], b: *const f32, stride: usize, c: *mut f32) {
        // SAFETY: all reads and writes stay inside the lengths that the caller promises.
        unsafe {
            let mut acc = [_mm256_setzero_ps(); 8];
            for (k, a) in a.iter().enumerate() {
                let v = _mm256_broadcast_ss(a);
                for (i, acc) in acc.iter_mut().enumerate() {
                    let b = _mm256_loadu_ps(b.add(i / 2 * stride + k * NR + i % 2 * 8));
                    *acc = _mm256_fmadd_ps(v, b, *acc);
                }
            }
            for (i, acc) in acc.iter().enumerate() {
                _mm256_storeu_ps(c.add(i * 8), *acc);
            }
        }
    }

    /// One row against one panel.
    ///
    /// # Safety
    /// Needs AVX2 and FMA; `b` holds `a.len() * NR` floats, `c` 16.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn row1(a: &[f32], b: *const f32, c: *mut f32) {
        // SAFETY: all reads and writes stay inside the lengths that the caller promises.
        unsafe {
            let mut acc = [_mm256_setzero_ps(); 2];
            for (k, a) in a.iter().enumerate() {
                let v = _mm256_broadcast_ss(a);
                acc[0] = _mm256_fmadd_ps(v, _mm256_loadu_ps(b.add(k * NR)), acc[0]);
                acc[1] = _mm256_fmadd_ps(v, _mm256_loadu_ps(b.add(k * NR + 8)), acc[1]);
            }
            _mm256_storeu_ps(c, acc[0]);
            _mm256_storeu_ps(c.add(8), acc[1]);
        }
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
            for isa in [Isa::Portable, Isa::detect()] {
                let mut c = vec![f32::NAN; m * n];
                gemm(isa, &a, m, &packed, &mut c);
                prop_assert_eq!(&bits(&c), &want);
            }
        }

        #[test]
        fn a_row_alone_has_the_bits_it_has_in_a_batch((m, k, n, a, b) in operands()) {
            let packed = PackedRight::new(&b, k, n);
            let isa = Isa::detect();
            let mut batch = vec![0.0; m * n];
            gemm(isa, &a, m, &packed, &mut batch);
            for row in 0..m {
                let mut alone = vec![0.0; n];
                gemm(isa, &a[row * k..(row + 1) * k], 1, &packed, &mut alone);
                prop_assert_eq!(bits(&alone), bits(&batch[row * n..(row + 1) * n]));
            }
        }

        #[test]
        fn a_prepared_left_operand_gives_the_same_bits((m, k, n, a, b) in operands()) {
            prop_assume!(n > 0);
            let left = PackedLeft::new(&a, m, k);
            let packed = PackedRight::new(&b, k, n);
            for isa in [Isa::Portable, Isa::detect()] {
                let mut c = vec![0.0; m * n];
                for k0 in (0..k).step_by(KC) {
                    let right = Panels { data: &packed.panels[k0 * NR..], stride: k * NR };
                    gemm_block(isa, &left, k0, KC.min(k - k0), right, &mut c, (n, n));
                }
                prop_assert_eq!(bits(&c), bits(&naive(&a, &b, m, k, n)));
            }
        }
    }
}
