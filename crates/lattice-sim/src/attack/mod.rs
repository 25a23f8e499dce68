//! Attacks on the order alone: an adversary with a share of the stake against GHOSTDAG, without execution or finality.
//!
//! Each attack runs many times, each run from a seed of its own, under four settings: the *baseline* (no AI classes, ties by
//! lot), *class* (the weighted rule, with an adversary whose every block is of the highest class among honest ones of the
//! lowest: selected parents and surplus parents go to it), *ties* (that, and every other tie goes to it too) and *work* (that,
//! and its blocks weigh 17 against 16: the worst of the optional bonus of 1/16).

mod arena;
mod balance;
mod grind;
mod statistics;
mod stuff;
mod view;
mod withhold;

pub use arena::Favour;
pub use balance::{Balance, Disagreement};
pub use statistics::Estimate;
pub use stuff::{Harm, Stuffing};
pub use withhold::{DEPTHS, Race};

use crate::rng::Rng;
use rayon::prelude::*;
use serde::Serialize;

/// Shares of the stake that are tried, in hundredths.
pub const SHARES: [u32; 8] = [10, 15, 20, 25, 30, 33, 40, 45];

/// The settings that are compared, by name.
pub const SETTINGS: [(&str, Favour); 4] = [
    ("baseline", Favour { class: false, vrf: false, work: false }),
    ("class", Favour { class: true, vrf: false, work: false }),
    ("ties", Favour { class: true, vrf: true, work: false }),
    ("work", Favour { class: true, vrf: true, work: true }),
];

/// What is run.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// From which every run's seed is drawn.
    pub seed: u64,
    /// Runs of each race; the longer attacks run a tenth as often.
    pub runs: u64,
    /// Slots (of 250 ms) until a block is seen by everybody.
    pub delay_slots: u64,
    /// Shares of the stake, hundredths.
    pub shares: Vec<u32>,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The attack.
    pub attack: &'static str,
    /// What is estimated.
    pub measure: String,
    /// The adversary's share of the stake, hundredths.
    pub share: u32,
    /// Name of the setting.
    pub setting: &'static str,
    /// The estimate.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// By how much it is above the baseline. The runs of all settings have the same seeds, hence the same wins and delays, so
    /// that the interval is that of paired samples.
    pub difference: Estimate,
}

/// What one attack under one setting gave, one sample a run.
struct Series {
    attack: &'static str,
    measure: String,
    /// Whether the samples are hits (1) and misses (0).
    is_chance: bool,
    samples: Vec<f64>,
}

impl Series {
    fn estimate(&self) -> Estimate {
        if self.is_chance { Estimate::of_chance(&self.samples) } else { Estimate::of_mean(&self.samples) }
    }

    fn above(&self, baseline: &Self) -> Estimate {
        let pairs = self.samples.iter().zip(&baseline.samples);
        let differences: Vec<f64> = pairs.map(|(ours, theirs)| ours - theirs).collect();
        if self.is_chance { Estimate::of_paired_chances(&differences) } else { Estimate::of_mean(&differences) }
    }
}

/// Copies that an equivocating adversary makes of a win: as many as a block may have parents.
const COPIES: u32 = 24;

impl Plan {
    /// Runs everything. On several threads; the figures depend on the plan alone.
    pub fn run(&self) -> Vec<Row> {
        self.shares.iter().flat_map(|&share| self.of_share(share)).collect()
    }

    fn of_share(&self, share: u32) -> Vec<Row> {
        let attack = |favour| [self.races(share, favour), self.balances(share, favour), self.stuffings(share, favour)];
        let all = SETTINGS.map(|(setting, favour)| (setting, attack(favour).into_iter().flatten().collect::<Vec<_>>()));
        let baseline = &all[0].1;
        let rows = |(setting, found): &(&'static str, Vec<Series>)| -> Vec<Row> {
            let row = |(series, baseline): (&Series, &Series)| Row {
                attack: series.attack,
                measure: series.measure.clone(),
                share,
                setting,
                estimate: series.estimate(),
                difference: series.above(baseline),
            };
            found.iter().zip(baseline).map(row).collect()
        };
        all.iter().flat_map(rows).collect()
    }

    fn each<T: Send>(&self, runs: u64, purpose: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
        let seed = |index| Rng::of_purpose(self.seed, purpose.wrapping_mul(1 << 32) + index).next();
        (0..runs).into_par_iter().map(|index| run(seed(index))).collect()
    }

    fn races(&self, share: u32, favour: Favour) -> Vec<Series> {
        let race = Race { share, favour, delay_slots: self.delay_slots, copies: 1, boost_ppm: 0 };
        let mut found = self.race("withhold", race, self.runs);
        found.extend(self.race("duplicate", Race { copies: COPIES, ..race }, self.runs.div_ceil(10)));
        let samples = self.each(self.runs.div_ceil(4), 2, |seed| grind::gain(share, favour, self.delay_slots, seed));
        let measure = "wins in the next epoch over those of its share, less 1".to_string();
        let gain = Series { attack: "grind", measure, is_chance: false, samples };
        let boost_ppm = (gain.estimate().high.max(0.0) * 1e6) as u32;
        found.push(gain);
        found.extend(self.race("grind and withhold", Race { boost_ppm, ..race }, self.runs));
        found
    }

    fn race(&self, attack: &'static str, race: Race, runs: u64) -> Vec<Series> {
        let outcomes = self.each(runs, 1, |seed| race.run(seed));
        let series = |(place, depth): (usize, u64)| Series {
            attack,
            measure: format!("chance to revert {depth} confirmations"),
            is_chance: true,
            samples: outcomes.iter().map(|outcome| f64::from(u8::from(outcome[place]))).collect(),
        };
        DEPTHS.into_iter().enumerate().map(series).collect()
    }

    fn balances(&self, share: u32, favour: Favour) -> Vec<Series> {
        let mut found = Vec::new();
        for (attack, equivocates) in [("balance", false), ("balance and duplicate", true)] {
            let balance = Balance { share, favour, delay_slots: self.delay_slots, equivocates };
            let outcomes = self.each(self.runs.div_ceil(20), 3, |seed| balance.run(seed));
            let split = outcomes.iter().map(|found| found.split as f64 / found.checkpoints as f64).collect();
            let longest = outcomes.iter().map(|found| found.longest as f64).collect();
            found.push(mean(attack, "share of checkpoints that are split", split));
            found.push(mean(attack, "longest row of split checkpoints", longest));
        }
        found
    }

    fn stuffings(&self, share: u32, favour: Favour) -> Vec<Series> {
        let mut found = Vec::new();
        for (attack, copies) in [("stuff", 1), ("stuff and duplicate", 4)] {
            let stuffing = Stuffing { share, favour, delay_slots: self.delay_slots, copies };
            let outcomes = self.each(self.runs.div_ceil(20), 4, |seed| stuffing.run(seed));
            let blue = outcomes.iter().map(|harm| harm.blue).collect();
            let starved = outcomes.iter().map(|harm| harm.starved).collect();
            found.push(mean(attack, "share of honest blocks that are blue", blue));
            found.push(mean(attack, "share of honest blocks not merged after 6 s", starved));
        }
        found
    }
}

fn mean(attack: &'static str, measure: &str, samples: Vec<f64>) -> Series {
    Series { attack, measure: measure.into(), is_chance: false, samples }
}

/// The rows as a Markdown table: a line an attack, measure and setting, a column a share. The baseline's cells are
/// estimates, those of the other settings what they add to it.
pub fn markdown(rows: &[Row], shares: &[u32]) -> String {
    let mut out = String::from("| attack, measure | setting |");
    out.extend(shares.iter().map(|share| format!(" .{share} |")));
    out.push_str(&format!("\n|---|---|{}\n", "---|".repeat(shares.len())));
    let mut lines: Vec<(&str, &str, &str)> = Vec::new();
    for row in rows {
        let line = (row.attack, row.measure.as_str(), row.setting);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.sort_by_key(|&(attack, measure, _)| {
        rows.iter().position(|row| (row.attack, &*row.measure) == (attack, measure))
    });
    for (attack, measure, setting) in lines {
        out.push_str(&format!("| {attack}: {measure} | {setting} |"));
        for share in shares {
            let found = rows.iter().find(|row| {
                (row.attack, row.measure.as_str(), row.setting, row.share) == (attack, measure, setting, *share)
            });
            out.push_str(&found.map_or_else(|| " |".into(), cell));
        }
        out.push('\n');
    }
    out
}

fn cell(row: &Row) -> String {
    if row.setting == SETTINGS[0].0 {
        let Estimate { value, low, high, .. } = row.estimate;
        format!(" {} ({} to {}) |", short(value), short(low), short(high))
    } else {
        let Estimate { value, low, high, .. } = row.difference;
        let value = match short(value) {
            text if text.starts_with(['-', '0']) => text,
            text => format!("+{text}"),
        };
        format!(" {value} ({} to {}) |", short(low), short(high))
    }
}

/// Three decimals without the leading zero, as far as they say something.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    match text.as_str() {
        "0.000" | "-0.000" => "0".into(),
        "1.000" => "1".into(),
        text => text.replacen("0.", ".", usize::from(value.abs() < 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_runs_under_every_setting_and_is_held_against_the_baseline() {
        let rows = Plan { seed: 1, runs: 8, delay_slots: 4, shares: vec![40] }.run();
        assert_eq!(rows.len(), SETTINGS.len() * (3 * DEPTHS.len() + 1 + 4 + 4));
        for row in &rows {
            let Estimate { value, low, high, n } = row.estimate;
            assert!(n > 0 && low <= value && value <= high, "{row:?}");
            assert!(row.setting != "baseline" || row.difference.value == 0.0, "{row:?}");
        }
        let table = markdown(&rows, &[40]);
        assert_eq!(table.lines().count(), 2 + rows.len());
        assert!(table.contains("| withhold: chance to revert 40 confirmations | ties | "), "{table}");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([0.0, 1.0, 0.25, -0.25, 10.5, -0.0001].map(short), ["0", "1", ".250", "-.250", "10.500", "0"]);
    }
}
