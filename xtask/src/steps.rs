//! Steps of a run: each is announced, timed and counted; a failed step never hides the ones after it.

use crate::{tally::Tally, workspace::typed};
use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// What a check found wrong, one sentence each, and empty when all is well; or why it could not be done.
pub type Findings = Result<Vec<String>, String>;

/// The steps done so far.
#[derive(Default)]
pub struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: String,
    tally: Tally,
    time: Duration,
    skipped: Option<String>,
}

impl Report {
    /// Runs a program to its end. The tests that it reports count one each; a program that reports none is one test.
    pub fn command(&mut self, name: &str, mut command: Command) {
        println!("\n== {name}: {}", typed(&command));
        let started = Instant::now();
        let mut tally = Tally::default();
        let succeeded = match run(&mut command, &mut tally) {
            Ok(succeeded) => succeeded,
            Err(error) => {
                println!("{error}");
                false
            }
        };
        if succeeded && tally == Tally::default() {
            tally.passed = 1;
        }
        if !succeeded && tally.failed == 0 {
            tally.failed = 1;
        }
        self.end(name, tally, started);
    }

    /// Runs a check of ours, which counts as one test.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Findings) {
        println!("\n== {name}");
        let started = Instant::now();
        let findings = check().unwrap_or_else(|fault| vec![fault]);
        for finding in &findings {
            println!("{finding}");
        }
        let failed = usize::from(!findings.is_empty());
        self.end(name, Tally { passed: 1 - failed, failed, ignored: 0 }, started);
    }

    /// Notes that a step was not run, and why.
    pub fn skip(&mut self, name: &str, reason: &str) {
        println!("\n== {name}: skipped: {reason}");
        let step = Step {
            name: name.to_owned(),
            tally: Tally::default(),
            time: Duration::ZERO,
            skipped: Some(reason.to_owned()),
        };
        self.steps.push(step);
    }

    fn end(&mut self, name: &str, tally: Tally, started: Instant) {
        let time = started.elapsed();
        println!("== {name}: {} in {:.1} s", verdict(&tally), time.as_secs_f64());
        self.steps.push(Step { name: name.to_owned(), tally, time, skipped: None });
    }

    /// Prints the table of the steps and, as the last line, the sum of their counts.
    pub fn finish(self) -> ExitCode {
        let mut sum = Tally::default();
        println!();
        for step in &self.steps {
            sum += step.tally;
            match &step.skipped {
                Some(reason) => println!("{:<24} skipped: {reason}", step.name),
                None => println!("{:<24} {:>7.1} s  {}", step.name, step.time.as_secs_f64(), verdict(&step.tally)),
            }
        }
        println!("{} passed, {} failed", sum.passed, sum.failed);
        if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn verdict(tally: &Tally) -> String {
    let Tally { passed, failed, ignored } = tally;
    let ignored = if *ignored == 0 { String::new() } else { format!(", {ignored} ignored") };
    if *failed == 0 {
        format!("ok, {passed} passed{ignored}")
    } else {
        format!("FAILED, {passed} passed, {failed} failed{ignored}")
    }
}

/// Runs a program without input, passes its output on line by line and counts the tests that it reports.
fn run(command: &mut Command, tally: &mut Tally) -> Result<bool, String> {
    let shown = typed(command);
    let fault = |error| format!("{shown}: {error}");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(fault)?;
    let output = child.stdout.take().expect("standard output is piped");
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(fault)?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(counts) = Tally::of_line(&line) {
            *tally += counts;
        }
    }
    Ok(child.wait().map_err(fault)?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(script: &str) -> Tally {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut report = Report::default();
        report.command("script", command);
        report.steps[0].tally
    }

    #[test]
    fn a_program_counts_as_one_test_or_as_those_it_reports() {
        assert_eq!(tally_of("true"), Tally { passed: 1, failed: 0, ignored: 0 });
        assert_eq!(tally_of("false"), Tally { passed: 0, failed: 1, ignored: 0 });
        assert_eq!(tally_of("echo 3 passed, 0 failed"), Tally { passed: 3, failed: 0, ignored: 0 });
    }

    #[test]
    fn a_program_that_dies_after_good_tests_has_failed() {
        assert_eq!(tally_of("echo 3 passed, 0 failed; exit 1"), Tally { passed: 3, failed: 1, ignored: 0 });
        assert_eq!(tally_of("echo 3 passed, 2 failed; exit 1"), Tally { passed: 3, failed: 2, ignored: 0 });
    }

    #[test]
    fn a_program_that_is_not_there_has_failed() {
        let mut report = Report::default();
        report.command("none", Command::new("no-such-program-anywhere"));
        assert_eq!(report.steps[0].tally.failed, 1);
        assert_eq!(report.finish(), ExitCode::FAILURE);
    }

    #[test]
    fn findings_and_faults_fail_a_check() {
        let mut report = Report::default();
        report.check("clean", || Ok(Vec::new()));
        report.check("dirty", || Ok(vec!["a".into(), "b".into()]));
        report.check("broken", || Err("cannot look".into()));
        let failed: Vec<usize> = report.steps.iter().map(|step| step.tally.failed).collect();
        assert_eq!(failed, [0, 1, 1]);
    }
}
