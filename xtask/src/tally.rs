//! Counts of tests, read from what test programs print.

use std::ops::AddAssign;

/// How many tests ran, and how they ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub ignored: usize,
}

impl Tally {
    /// The counts that one line of output reports: libtest's `test result:` line, or the line
    /// `N passed, N failed` or `N passed, N failed, N skipped` with which every program of ours ends.
    pub fn of_line(line: &str) -> Option<Self> {
        if let Some(result) = line.strip_prefix("test result: ") {
            let (_, counts) = result.split_once(". ")?;
            let count = |word| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
            return Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? });
        }
        let (passed, failed) = line.trim_end().split_once(" passed, ")?;
        let (failed, skipped) = failed.split_once(" failed")?;
        let ignored = match skipped {
            "" => 0,
            skipped => skipped.strip_prefix(", ")?.strip_suffix(" skipped")?.parse().ok()?,
        };
        Some(Self { passed: passed.parse().ok()?, failed: failed.parse().ok()?, ignored })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_lines_are_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 0.31s";
        assert_eq!(Tally::of_line(line), Some(Tally { passed: 12, failed: 0, ignored: 3 }));
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s";
        assert_eq!(Tally::of_line(line), Some(Tally { passed: 1, failed: 2, ignored: 0 }));
    }

    #[test]
    fn lines_of_scripts_are_counted() {
        assert_eq!(Tally::of_line("31 passed, 1 failed"), Some(Tally { passed: 31, failed: 1, ignored: 0 }));
        assert_eq!(Tally::of_line("31 passed, 0 failed, 4 skipped"), Some(Tally { passed: 31, failed: 0, ignored: 4 }));
        assert_eq!(Tally::of_line("31 passed, 0 failed, some skipped"), None);
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["", "running 3 tests", "test a ... ok", "all passed, none failed", "test result: odd"] {
            assert_eq!(Tally::of_line(line), None, "{line}");
        }
    }
}
