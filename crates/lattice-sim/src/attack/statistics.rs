//! Estimates with 95 % confidence intervals.

use serde::Serialize;

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_964;

/// An estimate, with the interval that covers the truth in 95 of 100 such experiments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Sample size.
    pub n: u64,
    /// The estimate.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Of a chance, from a 1 (hit) or 0 (miss) a run: Wilson's interval, which is right for rare events too.
    pub fn of_chance(samples: &[f64]) -> Self {
        let n = samples.len() as u64;
        if n == 0 {
            return Self { n, value: 0.0, low: 0.0, high: 1.0 };
        }
        let (count, p) = (n as f64, samples.iter().sum::<f64>() / n as f64);
        let scale = 1.0 + Z * Z / count;
        let centre = (p + Z * Z / (2.0 * count)) / scale;
        let half = Z * (p * (1.0 - p) / count + Z * Z / (4.0 * count * count)).sqrt() / scale;
        Self { n, value: p, low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
    }

    /// Of the difference of two chances, from one difference (1, 0 or -1) a pair of runs: the interval of Agresti and Min
    /// ("Simple improved confidence intervals for comparing matched proportions", 2005), which adds half a pair of each kind
    /// and so says something even when no pair differs.
    pub fn of_paired_chances(differences: &[f64]) -> Self {
        let n = differences.len() as u64;
        let count = n as f64 + 2.0;
        let unequal = differences.iter().filter(|&&difference| difference != 0.0).count() as f64 + 1.0;
        let sum = differences.iter().sum::<f64>();
        let centre = sum / count;
        let half = Z * (unequal - sum * sum / count).max(0.0).sqrt() / count;
        Self { n, value: sum / (n as f64).max(1.0), low: (centre - half).max(-1.0), high: (centre + half).min(1.0) }
    }

    /// Of a mean, from one number a run: the normal interval.
    pub fn of_mean(samples: &[f64]) -> Self {
        let n = samples.len() as f64;
        if samples.is_empty() {
            return Self { n: 0, value: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY };
        }
        let mean = samples.iter().sum::<f64>() / n;
        let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let half = Z * (variance / n).sqrt();
        Self { n: samples.len() as u64, value: mean, low: mean - half, high: mean + half }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_matches_known_values() {
        // R: binom::binom.confint(10, 100, methods = "wilson") gives 0.05522914 and 0.17436566.
        let samples = |hits, n| (0..n).map(|run| f64::from(u8::from(run < hits))).collect::<Vec<f64>>();
        let estimate = Estimate::of_chance(&samples(10, 100));
        assert!((estimate.low - 0.055_229_14).abs() < 1e-6 && (estimate.high - 0.174_365_66).abs() < 1e-6);
        let none = Estimate::of_chance(&samples(0, 1_000));
        assert!(none.low < 1e-12 && (none.high - 0.003_826_76).abs() < 1e-6, "{none:?}");
    }

    #[test]
    fn the_mean_has_its_interval() {
        let estimate = Estimate::of_mean(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(estimate.value, 2.5);
        assert!((estimate.high - 2.5 - Z * (5.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn paired_chances_have_the_interval_of_the_paper() {
        // Agresti, Min: with 12 pairs of one kind, 2 of the other and 86 equal ones: centre 10/102, half width
        // 1.96 sqrt(15 - 100/102)/102.
        let differences: Vec<f64> =
            (0..100).map(|run| [1.0, -1.0, 0.0][usize::from(run >= 12) + usize::from(run >= 14)]).collect();
        let found = Estimate::of_paired_chances(&differences);
        assert!((found.value - 0.1).abs() < 1e-9, "{found:?}");
        assert!((found.low - 0.026_092).abs() < 1e-5 && (found.high - 0.169_987).abs() < 1e-5, "{found:?}");
        let equal = Estimate::of_paired_chances(&[0.0; 100]);
        assert!(equal.low < 0.0 && equal.high > 0.0 && equal.high < 0.02, "{equal:?}");
    }
}
