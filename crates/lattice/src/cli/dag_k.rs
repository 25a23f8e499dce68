//! `lattice dag k`: how many blues a blue block may have beside it, from block rate and network delay.
//!
//! The only floats of consensus are here, in a tool: a chain specification holds the result.

use super::Output;
use crate::failure::Failure;
use serde_json::json;

/// Largest mean that is computed: it stands for far more blocks than any DAG should have in parallel.
const MEAN_MAX: f64 = 100_000.0;

/// Arguments of `lattice dag k`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Blocks a second, on average
    #[arg(long, value_name = "BLOCKS_PER_SECOND")]
    rate: f64,
    /// Longest time that a block takes to reach everybody, in seconds
    #[arg(long, value_name = "SECONDS")]
    delay: f64,
    /// Chance that more than k blocks are made in parallel to one
    #[arg(long, default_value_t = 0.01)]
    delta: f64,
    /// Length of a slot, in seconds
    #[arg(long, default_value_t = 0.25, value_name = "SECONDS")]
    slot: f64,
}

/// The k of a chain and what it follows from.
#[derive(Debug, PartialEq)]
struct Tuned {
    /// Mean number of blocks made while a block cannot know them nor they it.
    mean: f64,
    /// The smallest k whose tail is below delta.
    k: u16,
    /// Chance of more than k.
    tail: f64,
}

/// `lattice dag k`.
pub fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let tuned = tune(args)?;
    let Tuned { mean, k, tail } = tuned;
    let value = json!({
        "k": k, "mean": mean, "tail": tail,
        "rate": args.rate, "delay": args.delay, "delta": args.delta, "slot": args.slot,
    });
    output.print(&value, || {
        format!(
            "k = {k}\n\
             {mean:.2} blocks are made in parallel to a block on average ({} per second, {} s delay, slots of {} s)\n\
             more than {k} with a chance of {tail:.5}, below delta = {}",
            args.rate, args.delay, args.slot, args.delta
        )
    })
}

/// The smallest k with `1 - sum over j <= k of e^-x x^j / j! < delta`, for x = rate * slot * (2 ceil(delay/slot) + 1):
/// a block cannot know what was made within the delay before it, nor be known within the delay after it.
fn tune(args: &Args) -> Result<Tuned, Failure> {
    for (name, value) in [("--rate", args.rate), ("--delay", args.delay), ("--slot", args.slot)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(Failure::new(format!("{name} is {value}: give a number greater than 0")));
        }
    }
    if !(args.delta > 0.0 && args.delta < 1.0) {
        return Err(Failure::new(format!("--delta is {}: give a chance between 0 and 1", args.delta)));
    }
    // 3 / 0.1 must be 30 slots, not 31 for a rounding error of the division.
    let slots = (args.delay / args.slot * (1.0 - 1e-12)).ceil();
    let mean = args.rate * args.slot * (2.0 * slots + 1.0);
    if mean.is_nan() || mean > MEAN_MAX {
        return Err(Failure::new(format!(
            "{mean:.0} blocks in parallel on average: no DAG works like that; lower --rate or --delay"
        )));
    }
    // The tail is summed from its far end, so that small deltas are not lost in 1 - (nearly 1).
    let terms = (mean + 40.0 * mean.sqrt() + 200.0) as u32;
    let mut log_factorial = 0.0;
    let chances: Vec<f64> = (0..=terms)
        .map(|j| {
            if j > 0 {
                log_factorial += f64::from(j).ln();
            }
            (f64::from(j) * mean.ln() - mean - log_factorial).exp()
        })
        .collect();
    let (mut tail, mut k) = (0.0, terms);
    while k > 0 && tail + chances[k as usize] < args.delta {
        tail += chances[k as usize];
        k -= 1;
    }
    // At k = 0 the chance of more than none is the tail of all other terms, which the loop has summed.
    match u16::try_from(k) {
        Ok(k) => Ok(Tuned { mean, k, tail }),
        Err(_) => {
            Err(Failure::new(format!("k would be {k}, at most {} is possible; lower --rate or --delay", u16::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn k(rate: f64, delay: f64, delta: f64, slot: f64) -> u16 {
        tune(&Args { rate, delay, delta, slot }).unwrap().k
    }

    #[test]
    fn the_default_network_has_k_37() {
        let tuned = tune(&Args { rate: 4.0, delay: 3.0, delta: 0.01, slot: 0.25 }).unwrap();
        assert_eq!((tuned.k, tuned.mean), (37, 25.0));
        assert!(tuned.tail < 0.01 && tuned.tail > 0.005, "{tuned:?}");
    }

    /// Against the formula as it is written, from its near end, where that is exact enough.
    #[test]
    fn the_smallest_k_is_found() {
        for rate in [0.01, 0.5, 1.0, 4.0, 10.0, 32.0] {
            for delay in [0.1, 0.5, 2.0, 5.0] {
                for delta in [0.5, 0.1, 0.01, 0.001] {
                    let args = Args { rate, delay, delta, slot: 0.25 };
                    let mean = tune(&args).unwrap().mean;
                    let (mut term, mut sum, mut expected) = ((-mean).exp(), 0.0, 0u16);
                    loop {
                        sum += term;
                        if 1.0 - sum < delta {
                            break;
                        }
                        expected += 1;
                        term *= mean / f64::from(expected);
                    }
                    assert_eq!(tune(&args).unwrap().k, expected, "{args:?}");
                }
            }
        }
    }

    #[test]
    fn slots_are_counted_in_whole_ones() {
        assert_eq!(k(10.0, 0.3, 0.01, 0.1), k(10.0, 0.3, 0.01, 0.100_000_000_000_01));
        assert!(k(4.0, 3.1, 0.01, 0.25) > 37, "a begun slot counts");
    }

    #[test]
    fn large_means_do_not_underflow() {
        let found = k(1000.0, 5.0, 0.01, 0.25);
        assert!(found > 10_250 && found < 10_600, "{found}");
    }

    #[test]
    fn nonsense_is_refused() {
        for (rate, delay, delta, slot) in [
            (0.0, 1.0, 0.01, 0.25),
            (1.0, -1.0, 0.01, 0.25),
            (1.0, f64::NAN, 0.01, 0.25),
            (1.0, 1.0, 0.0, 0.25),
            (1.0, 1.0, 1.0, 0.25),
            (1.0, 1.0, 0.01, 0.0),
            (1e9, 1e9, 0.01, 0.25),
            (10_000.0, 4.0, 0.01, 0.25),
        ] {
            assert!(tune(&Args { rate, delay, delta, slot }).is_err(), "{rate} {delay} {delta} {slot}");
        }
    }
}
