//! What became of the cases.

use std::{collections::BTreeMap, fmt::Display, path::Path, time::Duration};

/// Failures printed in full; the others are counted.
const FAILURES_SHOWN: usize = 200;

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As the vector says.
    Passed,
    /// Not as the vector says, and why.
    Failed(String),
    /// Not run, or not judged, for this reason.
    Skipped(String),
}

/// Counts of a run, failures with their causes, skips by reason.
#[derive(Debug, Default)]
pub struct Report {
    passed: BTreeMap<&'static str, u64>,
    failures: Vec<String>,
    skipped: BTreeMap<String, u64>,
}

impl Report {
    /// Notes a case of a family (`state`, `trie`, ...); `case` says file, name, fork and index.
    pub fn note(&mut self, family: &'static str, case: impl Display, verdict: Verdict) {
        match verdict {
            Verdict::Passed => *self.passed.entry(family).or_default() += 1,
            Verdict::Failed(cause) => self.failures.push(format!("{family}: {case}: {cause}")),
            Verdict::Skipped(reason) => self.skip(format!("{family}: {reason}"), 1),
        }
    }

    /// Notes cases that are not run.
    pub fn skip(&mut self, reason: impl Into<String>, cases: u64) {
        *self.skipped.entry(reason.into()).or_default() += cases;
    }

    /// Both together.
    #[must_use = "the sum is the result"]
    pub fn and(mut self, other: Self) -> Self {
        for (family, count) in other.passed {
            *self.passed.entry(family).or_default() += count;
        }
        self.failures.extend(other.failures);
        for (reason, count) in other.skipped {
            self.skip(reason, count);
        }
        self
    }

    /// Cases that passed.
    pub fn passed(&self) -> u64 {
        self.passed.values().sum()
    }

    /// What failed, one sentence a case.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Cases that were not judged.
    pub fn skipped(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Whether something passed and nothing failed.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.passed() > 0
    }

    /// Prints failures, counts by family, skips by reason and, as the last line, the sums.
    pub fn print(&self, dir: &Path, time: Duration) {
        let mut failures = self.failures.clone();
        failures.sort();
        for failure in failures.iter().take(FAILURES_SHOWN) {
            println!("FAILED {failure}");
        }
        if failures.len() > FAILURES_SHOWN {
            println!("... and {} more failures", failures.len() - FAILURES_SHOWN);
        }
        for (family, count) in &self.passed {
            println!("passed {count:>8}  {family}");
        }
        for (reason, count) in &self.skipped {
            println!("skipped {count:>7}  {reason}");
        }
        if self.passed() == 0 && failures.is_empty() {
            println!("no case that could be run below {}", dir.display());
        }
        println!("{} in {:.1} s", dir.display(), time.as_secs_f64());
        println!("{} passed, {} failed, {} skipped", self.passed(), failures.len(), self.skipped());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_found_is_not_good() {
        let mut report = Report::default();
        assert!(!report.is_good());
        report.skip("why", 2);
        assert!(!report.is_good());
        report.note("trie", "a", Verdict::Passed);
        assert!(report.is_good());
        report.note("trie", "b", Verdict::Failed("root".into()));
        assert!(!report.is_good());
        assert_eq!(report.failures(), ["trie: b: root"]);
    }

    #[test]
    fn sums_keep_reasons_apart() {
        let mut one = Report::default();
        one.skip("a", 1);
        let mut two = Report::default();
        two.skip("a", 2);
        two.skip("b", 3);
        let both = one.and(two);
        assert_eq!(both.skipped(), 6);
        assert_eq!(both.skipped["a"], 3);
    }
}
