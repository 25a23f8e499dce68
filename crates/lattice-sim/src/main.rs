//! `lattice-sim`: whole nodes under one seed, and attacks on the order. `USAGE` tells the commands.

use lattice_sim::{
    DURATION_MS_MIN, NODES_MIN, Report, Setup,
    args::Arguments,
    attack::{self, Plan},
    run,
    scenarios::{self, Scenario},
};
use std::{process::ExitCode, sync::Mutex, time::Instant};

const USAGE: &str = "\
usage: lattice-sim [COMMAND] [OPTIONS]

  run            (the default) whole nodes through a scenario, or all of them; exit code 1 when an invariant broke
    --scenario NAME|all   (all)
    --seed N              (1)
    --seeds N             as many seeds, from --seed on (1)
    --nodes N             validators, one a node (12; at least 4)
    --minutes N           virtual time, may have decimals (3)
    --delay-ms MS         longest delay of a message (500)
    --threads N           runs side by side (2); each is single-threaded, and gives the same with any number
    --budget-s S          begin no more runs after this many seconds of real time
    --json                one JSON object a run, and nothing else, on standard output
  list           the scenarios
  attack [--seed N] [--runs N] [--delay-ms MS] [--share HUNDREDTHS] [--json]
                 an adversary with a share of the stake against the order of blocks alone: withhold, duplicate, grind,
                 balance, stuff; with the highest AI class, with all ties given to it, and with blocks that weigh 17/16;
                 beside the baseline, as what they add to it. Every figure has its 95 % confidence interval. --runs is that
                 of the races (1000), the other attacks run a quarter, a tenth or a twentieth as often

A failed run prints what replays it: scenario, seed and setup, virtual time, number of the event, invariant.
";

/// Length of a slot of the default network.
const SLOT_MS: u64 = 250;
/// Longest delay that makes sense: beyond it finality cannot keep up.
const DELAY_MS_MAX: u64 = 10_000;

fn main() -> ExitCode {
    match command() {
        Ok(code) => code,
        Err(error) => {
            eprint!("lattice-sim: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn command() -> Result<ExitCode, String> {
    let arguments = Arguments::read(std::env::args().skip(1), &["json", "help"])?;
    match arguments.command() {
        Some("attack") => attack(arguments),
        Some("list") => {
            arguments.finish()?;
            scenarios::ALL.iter().for_each(|scenario| println!("{}", scenario.name));
            Ok(ExitCode::SUCCESS)
        }
        None | Some("run") => simulate(arguments),
        Some(other) => Err(format!("{other} is no command")),
    }
}

fn simulate(mut arguments: Arguments) -> Result<ExitCode, String> {
    if arguments.flag("help") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let name: String = arguments.take("scenario", "all".into())?;
    let chosen: Vec<&Scenario> = match name.as_str() {
        "all" => scenarios::ALL.iter().collect(),
        name => {
            vec![scenarios::by_name(name).ok_or_else(|| format!("there is no scenario {name}; see lattice-sim list"))?]
        }
    };
    let minutes: f64 = arguments.take("minutes", 3.0)?;
    let setup = Setup {
        seed: arguments.take("seed", 1)?,
        nodes: arguments.take("nodes", 12)?,
        duration_ms: (minutes * 60_000.0) as u64,
        delay_max_ms: arguments.take("delay-ms", 500)?,
    };
    if setup.nodes < NODES_MIN || setup.nodes > 200 {
        return Err(format!("--nodes must be {NODES_MIN} to 200"));
    }
    if setup.duration_ms < DURATION_MS_MIN {
        return Err(format!("--minutes must be at least {}", DURATION_MS_MIN as f64 / 60_000.0));
    }
    if !(1..=DELAY_MS_MAX).contains(&setup.delay_max_ms) {
        return Err(format!("--delay-ms must be 1 to {DELAY_MS_MAX}"));
    }
    let seeds: u64 = arguments.take("seeds", 1)?;
    let threads: usize = arguments.take("threads", 2)?;
    let budget_s: u64 = arguments.take("budget-s", u64::MAX)?;
    let is_json = arguments.flag("json");
    arguments.finish()?;
    let seeds = setup.seed..setup.seed.saturating_add(seeds);
    let jobs = seeds.flat_map(|seed| chosen.iter().map(move |scenario| (*scenario, Setup { seed, ..setup })));
    Ok(work(jobs.collect(), threads.max(1), budget_s, is_json, minutes))
}

/// Runs all jobs on some threads and prints each report when it is there.
fn work(jobs: Vec<(&Scenario, Setup)>, threads: usize, budget_s: u64, is_json: bool, minutes: f64) -> ExitCode {
    let started = Instant::now();
    let total = jobs.len();
    let queue = Mutex::new(jobs.into_iter());
    let outcome = Mutex::new((0usize, 0usize));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while started.elapsed().as_secs() < budget_s {
                    let Some((scenario, setup)) = queue.lock().ok().and_then(|mut queue| queue.next()) else { break };
                    let began = Instant::now();
                    let is_good = match run(scenario, &setup) {
                        Ok(report) => {
                            print(&report, is_json, minutes, began.elapsed().as_secs_f64());
                            report.violations.is_empty()
                        }
                        Err(error) => {
                            eprintln!("{} with seed {}: {error}", scenario.name, setup.seed);
                            false
                        }
                    };
                    if let Ok(mut outcome) = outcome.lock() {
                        *(if is_good { &mut outcome.0 } else { &mut outcome.1 }) += 1;
                    }
                }
            });
        }
    });
    let (passed, failed) = outcome.into_inner().unwrap_or((0, 1));
    let left = total - passed - failed;
    eprintln!("{:.0} s, {left} runs not begun", started.elapsed().as_secs_f64());
    if !is_json {
        println!("{passed} passed, {failed} failed");
    }
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &Report, is_json: bool, minutes: f64, wall_s: f64) {
    if is_json {
        println!("{}", serde_json::json!(report));
    } else {
        let latency = report.finality_ms;
        println!(
            "{:42} seed {:<5} {:5.2} blocks/s, blue {:.3}, {:.2} EVM blocks/s, final after {:.1}/{:.1}/{:.1} s (n {}), \
             {} slashed of {}, {:.0} s",
            report.scenario,
            report.seed,
            report.blocks_per_s,
            report.blue_ratio,
            report.evm_blocks_per_s,
            f64::from(latency.p50) / 1e3,
            f64::from(latency.p95) / 1e3,
            f64::from(latency.p99) / 1e3,
            latency.n,
            report.slashed,
            report.offenders,
            wall_s,
        );
    }
    for violation in &report.violations {
        eprintln!(
            "VIOLATED: {}\n  {}\n  at {} ms, event {}; again: lattice-sim --scenario {} --seed {} --nodes {} --minutes {minutes} \
             --delay-ms {}",
            violation.invariant,
            violation.detail,
            violation.at_ms,
            violation.event,
            report.scenario,
            report.seed,
            report.nodes,
            report.delay_max_ms,
        );
    }
}

fn attack(mut arguments: Arguments) -> Result<ExitCode, String> {
    let share = arguments.take("share", 0u32)?;
    if share > 90 {
        return Err("--share is in hundredths, at most 90".into());
    }
    let plan = Plan {
        seed: arguments.take("seed", 1)?,
        runs: arguments.take("runs", 1_000)?,
        delay_slots: arguments.take("delay-ms", 1_000u64)?.div_ceil(SLOT_MS).max(1),
        shares: if share == 0 { attack::SHARES.to_vec() } else { vec![share] },
    };
    let json = arguments.flag("json");
    arguments.finish()?;
    let rows = plan.run();
    if json {
        println!("{}", serde_json::json!({ "plan": plan, "rows": rows }));
    } else {
        print!("{}", attack::markdown(&rows, &plan.shares));
    }
    Ok(ExitCode::SUCCESS)
}
