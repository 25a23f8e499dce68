//! Sums in a fixed order.
//!
//! Lane l adds the elements l, l + 16, l + 32... in ascending order from +0; then lanes 8 apart are added, 4 apart, 2, 1.
//! The same for a row (neighbouring elements, the SIMD lanes are the lanes) and for a column of a matrix (the SIMD lanes
//! lie across the columns). One ascending chain would be as deterministic, but over 512 elements its rounding error is
//! ten times that of the tree, and a variance computed as E[x^2] - E[x]^2 shows it.

use super::dual_kernel;

/// Lanes of a sum.
pub(crate) const LANES: usize = 16;

/// Columns whose lanes are kept at a time: 4 KiB.
const COLUMNS: usize = 64;

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

dual_kernel! {
    /// `sums[c]` = sum of the c-th column of a matrix with `sums.len()` columns.
    fn sum_columns(x: &[f32], sums: &mut [f32]) {
        let columns = sums.len();
        for (block, sums) in sums.chunks_mut(COLUMNS).enumerate() {
            let mut lanes = [[0.0f32; COLUMNS]; LANES];
            for (r, row) in x.chunks_exact(columns).enumerate() {
                let row = &row[block * COLUMNS..][..sums.len()];
                for (sum, v) in lanes[r % LANES].iter_mut().zip(row) {
                    *sum += v;
                }
            }
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum = tree(lanes.map(|lane| lane[c]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    #[test]
    fn rows_and_columns_go_by_lanes() {
        let (rows, columns) = (77, 133);
        let x: Vec<f32> = (0..rows * columns).map(|i| 1.0 / (1.0 + (i * 7919 % 1000) as f32)).collect();
        let lanes = |r: usize| {
            let mut lanes = [0.0f32; LANES];
            (0..columns).for_each(|c| lanes[c % LANES] += x[r * columns + c]);
            tree(lanes)
        };
        let column = |c: usize| {
            let mut lanes = [0.0f32; LANES];
            (0..rows).for_each(|r| lanes[r % LANES] += x[r * columns + c]);
            tree(lanes)
        };
        for isa in [Isa::Portable, Isa::detect()] {
            let (mut a, mut b) = (vec![0.0; rows], vec![0.0; columns]);
            sum_rows(isa, &x, columns, &mut a);
            sum_columns(isa, &x, &mut b);
            assert!((0..rows).all(|r| a[r].to_bits() == lanes(r).to_bits()));
            assert!((0..columns).all(|c| b[c].to_bits() == column(c).to_bits()));
        }
        assert_eq!(tree([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]), 136);
    }
}
