//! A run from beginning to end, and what came of it.

use crate::{invariants::Violation, metrics::Percentiles, plan::Plan, scenarios::Scenario, world::World};
use lattice_chain::ChainError;
use serde::Serialize;
use std::collections::BTreeSet;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// Nodes, each with one validator.
    pub nodes: usize,
    /// Virtual time, ms.
    pub duration_ms: u64,
    /// Longest delay of a message, ms.
    pub delay_max_ms: u64,
}

/// What came of a run. The same setup gives the same report, to the last digit.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static str,
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Longest delay of a message, ms.
    pub delay_max_ms: u64,
    /// Virtual time, s.
    pub virtual_s: f64,
    /// Events handled.
    pub events: u64,
    /// Messages sent.
    pub messages: u64,
    /// Of them, those that never arrived.
    pub lost: u64,
    /// DAG blocks that an honest node holds in the end, a second.
    pub blocks_per_s: f64,
    /// Share of blues among finalised blocks.
    pub blue_ratio: f64,
    /// EVM blocks a second.
    pub evm_blocks_per_s: f64,
    /// Transactions sent.
    pub transactions: u64,
    /// From the beginning of an honest block's slot to its finality at an honest node, ms.
    pub finality_ms: Percentiles,
    /// Newest finalised checkpoint.
    pub finalised: u64,
    /// EVM blocks that left a selected chain at once, at most.
    pub longest_reorg: u64,
    /// Offences committed, and validators that committed any.
    pub offences: usize,
    /// Validators that committed any.
    pub offenders: usize,
    /// Validators slashed.
    pub slashed: usize,
    /// Blocks with untrue commitments.
    pub lies: u64,
    /// Blocks that honest nodes disqualified, a count a node.
    pub disqualified: u64,
    /// Inputs that were refused.
    pub refused: u64,
    /// Faults of disks.
    pub faults: u64,
    /// Whether two camps have finalised different chains.
    pub is_forked: bool,
    /// Starts that were refused because the checkpoint to trust contradicts what is final.
    pub refused_starts: u64,
    /// Epochs in which the model ran, and in which it did not.
    pub model_epochs: (usize, usize),
    /// Changes of the stake set from one epoch to the next.
    pub set_changes: usize,
    /// Pruning points, without the genesis.
    pub pruning_points: usize,
    /// Broken invariants: none, or the first.
    pub violations: Vec<Violation>,
}

/// Runs a scenario.
///
/// # Errors
/// When a chain cannot be opened at all.
pub fn run(scenario: &Scenario, setup: &Setup) -> Result<Report, ChainError> {
    let mut plan = Plan::calm(setup.seed, setup.nodes, setup.duration_ms, setup.delay_max_ms);
    (scenario.arrange)(&mut plan);
    let mut world = World::new(plan)?;
    world.run();
    Ok(report(scenario.name, setup, world))
}

fn report(scenario: &'static str, setup: &Setup, world: World) -> Report {
    let honest = world.honest_up().first().copied();
    let chain = honest.and_then(|node| world.nodes[node].chain.as_ref());
    let seconds = world.now as f64 / 1_000.0;
    let (blocks, height) = chain.map_or((0, 0), |chain| (chain.dag().len(), chain.head().header.number));
    let offenders: BTreeSet<_> = world.checks.crimes.iter().map(|crime| crime.offender).collect();
    let (blues, merged) = world.metrics.blues;
    let ran = world.checks.model_ran.values().filter(|ran| **ran).count();
    let sets: Vec<_> = world.checks.members.values().collect();
    Report {
        scenario,
        seed: setup.seed,
        nodes: setup.nodes,
        delay_max_ms: setup.delay_max_ms,
        virtual_s: seconds,
        events: world.step,
        messages: world.network.sent,
        lost: world.network.lost,
        blocks_per_s: blocks as f64 / seconds,
        blue_ratio: blues as f64 / merged.max(1) as f64,
        evm_blocks_per_s: height as f64 / seconds,
        transactions: world.load.made,
        finality_ms: Percentiles::of(world.metrics.finality_ms.clone()),
        finalised: world.checks.newest_finalised(),
        longest_reorg: world.metrics.longest_reorg,
        offences: world.checks.crimes.len(),
        offenders: offenders.len(),
        slashed: honest.map_or(0, |node| world.slashed_at(node).len()),
        lies: world.checks.lies,
        disqualified: world.metrics.disqualified,
        refused: world.metrics.refused,
        faults: world.metrics.faults,
        is_forked: world.checks.is_forked,
        refused_starts: world.checks.refused_trust,
        model_epochs: (ran, world.checks.model_ran.len() - ran),
        set_changes: sets.windows(2).filter(|pair| pair[0] != pair[1]).count(),
        pruning_points: world.checks.pruning_points.len().saturating_sub(1),
        violations: world.checks.violations,
    }
}
