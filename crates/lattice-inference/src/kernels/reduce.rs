//! Sums in a fixed order.
//!
//! A row (neighbouring elements): lane l adds the elements l, l + 16, l + 32... in ascending order from +0; then lanes 8 apart
//! are added, 4 apart, 2, 1. A column of a matrix: one ascending chain, because there the SIMD lanes lie across the columns.
//! ONNX Runtime orders columns alike, so networks that subtract large sums (a variance as E[x^2] - E[x]^2) stay close to it.

use super::dual_kernel;
use super::elementwise::max;

/// Lanes of a sum.
pub(crate) const LANES: usize = 16;

/// Adds the lanes of a sum by the fixed tree.
#[inline(always)]
pub(crate) fn tree<T: Copy + core::ops::Add<Output = T>>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = lanes[i] + lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

dual_kernel! {
    /// `sums[r]` = sum of the r-th row of `columns` elements.
    fn sum_rows(x: &[f32], columns: usize, sums: &mut [f32]) {
        for (r, sum) in sums.iter_mut().enumerate() {
            let row = &x[r * columns..(r + 1) * columns];
            let mut lanes = [0.0f32; LANES];
            let (whole, rest) = row.as_chunks::<LANES>();
            for chunk in whole {
                for l in 0..LANES {
                    lanes[l] += chunk[l];
                }
            }
            for (lane, v) in lanes.iter_mut().zip(rest) {
                *lane += v;
            }
            *sum = tree(lanes);
        }
    }
}

/// The largest element of a row, by the lanes of [`sum_rows`], which are then compared in order.
#[inline(always)]
pub(crate) fn top(row: &[f32]) -> f32 {
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in whole {
        for l in 0..LANES {
            lanes[l] = max(lanes[l], chunk[l]);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = max(*lane, v);
    }
    lanes.iter().fold(f32::NEG_INFINITY, |m, &v| max(m, v))
}

dual_kernel! {
    /// `tops[r]` = [`top`] of the r-th row of `columns` elements.
    fn max_rows(x: &[f32], columns: usize, tops: &mut [f32]) {
        for (r, out) in tops.iter_mut().enumerate() {
            *out = top(&x[r * columns..(r + 1) * columns]);
        }
    }
}

dual_kernel! {
    /// `sums[c]` = sum of the c-th column of a matrix with `sums.len()` columns: one ascending chain each, from +0.
    fn sum_columns(x: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        for row in x.chunks_exact(sums.len()) {
            for (sum, v) in sums.iter_mut().zip(row) {
                *sum += v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    #[test]
    fn rows_go_by_lanes_and_columns_by_chains() {
        let (rows, columns) = (77, 133);
        let x: Vec<f32> = (0..rows * columns).map(|i| 1.0 / (1.0 + (i * 7919 % 1000) as f32)).collect();
        let lanes = |r: usize| {
            let mut lanes = [0.0f32; LANES];
            (0..columns).for_each(|c| lanes[c % LANES] += x[r * columns + c]);
            tree(lanes)
        };
        let chain = |c: usize| (0..rows).fold(0.0f32, |sum, r| sum + x[r * columns + c]);
        for isa in Isa::all() {
            let (mut a, mut b) = (vec![0.0; rows], vec![0.0; columns]);
            sum_rows(isa, &x, columns, &mut a);
            sum_columns(isa, &x, &mut b);
            assert!((0..rows).all(|r| a[r].to_bits() == lanes(r).to_bits()));
            assert!((0..columns).all(|c| b[c].to_bits() == chain(c).to_bits()));
        }
        assert_eq!(tree([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]), 136);
    }
}
