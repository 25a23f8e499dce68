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
}

/// Copies that an equivocating adversary makes of a win: as many as a block may have parents.
const COPIES: u32 = 24;

impl Plan {
    /// Runs everything. On several threads; the figures depend on the plan alone.
    pub fn run(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for &share in &self.shares {
            for (setting, favour) in SETTINGS {
                rows.extend(self.races(share, setting, favour));
                rows.extend(self.balances(share, setting, favour));
                rows.extend(self.stuffings(share, setting, favour));
            }
        }
        rows
    }

    fn each<T: Send>(&self, runs: u64, purpose: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
        let seed = |index| Rng::of_purpose(self.seed, purpose.wrapping_mul(1 << 32) + index).next();
        (0..runs).into_par_iter().map(|index| run(seed(index))).collect()
    }

    fn races(&self, share: u32, setting: &'static str, favour: Favour) -> Vec<Row> {
        let race = Race { share, favour, delay_slots: self.delay_slots, copies: 1, boost_ppm: 0 };
        let mut rows = self.race("withhold", race, self.runs, setting);
        let duplicating = Race { copies: COPIES, ..race };
        rows.extend(self.race("duplicate", duplicating, self.runs.div_ceil(10), setting));
        let gains = self.each(self.runs.div_ceil(4), 2, |seed| grind::gain(share, favour, self.delay_slots, seed));
        let gain = Estimate::of_mean(&gains);
        let measure = "wins in the next epoch over those of its share, less 1".to_string();
        rows.push(Row { attack: "grind", measure, share, setting, estimate: gain });
        let boost_ppm = (gain.high.max(0.0) * 1e6) as u32;
        rows.extend(self.race("grind and withhold", Race { boost_ppm, ..race }, self.runs, setting));
        rows
    }

    fn race(&self, attack: &'static str, race: Race, runs: u64, setting: &'static str) -> Vec<Row> {
        let outcomes = self.each(runs, 1, |seed| race.run(seed));
        let row = |(place, depth): (usize, u64)| {
            let hits = outcomes.iter().filter(|outcome| outcome[place]).count() as u64;
            let measure = format!("chance to revert {depth} confirmations");
            Row { attack, measure, share: race.share, setting, estimate: Estimate::of_chance(hits, runs) }
        };
        DEPTHS.into_iter().enumerate().map(row).collect()
    }

    fn balances(&self, share: u32, setting: &'static str, favour: Favour) -> Vec<Row> {
        let mut rows = Vec::new();
        for (attack, equivocates) in [("balance", false), ("balance and duplicate", true)] {
            let balance = Balance { share, favour, delay_slots: self.delay_slots, equivocates };
            let outcomes = self.each(self.runs.div_ceil(20), 3, |seed| balance.run(seed));
            let split: Vec<f64> = outcomes.iter().map(|found| found.split as f64 / found.checkpoints as f64).collect();
            let longest: Vec<f64> = outcomes.iter().map(|found| found.longest as f64).collect();
            let measures =
                [("share of checkpoints that are split", split), ("longest row of split checkpoints", longest)];
            rows.extend(measures.map(|(measure, samples)| {
                let estimate = Estimate::of_mean(&samples);
                Row { attack, measure: measure.to_string(), share, setting, estimate }
            }));
        }
        rows
    }

    fn stuffings(&self, share: u32, setting: &'static str, favour: Favour) -> Vec<Row> {
        let mut rows = Vec::new();
        for (attack, copies) in [("stuff", 1), ("stuff and duplicate", 4)] {
            let stuffing = Stuffing { share, favour, delay_slots: self.delay_slots, copies };
            let outcomes = self.each(self.runs.div_ceil(20), 4, |seed| stuffing.run(seed));
            let measures = [
                ("share of honest blocks that are blue", outcomes.iter().map(|harm| harm.blue).collect::<Vec<_>>()),
                ("share of honest blocks not merged after 6 s", outcomes.iter().map(|harm| harm.starved).collect()),
            ];
            rows.extend(measures.map(|(measure, samples)| {
                let estimate = Estimate::of_mean(&samples);
                Row { attack, measure: measure.to_string(), share, setting, estimate }
            }));
        }
        rows
    }
}

/// The rows as a Markdown table: a line an attack, measure and setting, a column a share.
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
            let cell = found.map(|row| {
                format!(" {} ({}-{}) |", short(row.estimate.value), short(row.estimate.low), short(row.estimate.high))
            });
            out.push_str(&cell.unwrap_or_else(|| " |".into()));
        }
        out.push('\n');
    }
    out
}

/// Three decimals without the leading zero, as far as they say something.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    match text.as_str() {
        "0.000" | "-0.000" => "0".into(),
        "1.000" => "1".into(),
        _ => text.strip_prefix("0.").map_or_else(|| text.clone(), |rest| format!(".{rest}")),
    }
}
