//! What is counted along the way.

/// Counters and samples of a run.
#[derive(Debug, Default)]
pub struct Metrics {
    /// From the beginning of a block's slot to its finality at an honest node, ms; a sample a block and node. Blocks of
    /// those who broke rules are left out: they choose themselves when to show them.
    pub finality_ms: Vec<u32>,
    /// Blues among the finalised merged blocks, and all of them, at the honest nodes.
    pub blues: (u64, u64),
    /// Inputs that honest and other nodes refused.
    pub refused: u64,
    /// Disqualifications at honest nodes.
    pub disqualified: u64,
    /// Faults of disks.
    pub faults: u64,
    /// EVM blocks that left a selected chain at once, at most.
    pub longest_reorg: u64,
}

/// Percentiles of samples, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Percentiles {
    /// Samples.
    pub n: usize,
    /// Median.
    pub p50: u32,
    /// 95th percentile.
    pub p95: u32,
    /// 99th percentile.
    pub p99: u32,
    /// The largest.
    pub max: u32,
}

impl Percentiles {
    /// Of samples (nearest rank); all zero without any.
    pub fn of(mut samples: Vec<u32>) -> Self {
        samples.sort_unstable();
        let n = samples.len();
        let at = |hundredths: usize| match n {
            0 => 0,
            _ => samples[(n * hundredths).div_ceil(100).clamp(1, n) - 1],
        };
        Self { n, p50: at(50), p95: at(95), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let found = Percentiles::of((1..=200).rev().collect());
        assert_eq!(found, Percentiles { n: 200, p50: 100, p95: 190, p99: 198, max: 200 });
        assert_eq!(Percentiles::of(vec![7]), Percentiles { n: 1, p50: 7, p95: 7, p99: 7, max: 7 });
        assert_eq!(Percentiles::of(vec![]).max, 0);
    }
}
