//! Short runs of whole nodes, and the command line's promise that a seed tells the same story again.
#![allow(clippy::unwrap_used)]

use lattice_sim::{DURATION_MS_MIN, Report, Setup, run, scenarios};

/// Four nodes, so that one of them may be faulty, for as short a time as a run may take.
fn short(scenario: &str, seed: u64) -> Report {
    let setup = Setup { seed, nodes: 4, duration_ms: DURATION_MS_MIN, delay_max_ms: 300 };
    run(scenarios::by_name(scenario).unwrap(), &setup).unwrap()
}

fn good(scenario: &str, seed: u64) -> Report {
    let report = short(scenario, seed);
    assert!(report.violations.is_empty(), "{scenario} with seed {seed}: {:?}", report.violations);
    report
}

#[test]
fn all_is_well_and_final() {
    let report = good("all_is_well", 1);
    assert!(report.finality_ms.n > 100 && report.finality_ms.p99 < 12_000, "{report:?}");
    assert!(report.blocks_per_s > 3.0 && report.evm_blocks_per_s > 1.0, "{report:?}");
    assert_eq!((report.offences, report.slashed, report.lies, report.faults), (0, 0, 0, 0));
}

#[test]
fn a_seed_tells_the_same_story_again_and_another_one_another() {
    let tell = |seed| serde_json::to_string(&short("everything_at_once", seed)).unwrap();
    let first = tell(7);
    assert_eq!(first, tell(7));
    assert_ne!(first, tell(8));
}

#[test]
fn who_votes_twice_is_slashed() {
    let report = good("voters_vote_twice", 2);
    assert_eq!((report.offenders, report.slashed), (1, 1), "{report:?}");
}

#[test]
fn who_lies_about_roots_is_found_out_and_not_slashed() {
    let report = good("commitments_are_lies", 3);
    assert!(report.lies > 0 && report.slashed == 0, "{report:?}");
}

#[test]
fn a_node_whose_disk_fails_goes_on_where_it_was() {
    let report = good("disks_fail", 4);
    assert!(report.faults > 0, "{report:?}");
}

#[test]
fn more_than_a_third_finalise_two_chains_and_pay_for_it() {
    let report = good("more_than_a_third_are_guilty", 5);
    assert!(report.is_forked && report.slashed == report.offenders && report.offenders == 2, "{report:?}");
}

#[test]
fn a_late_node_follows_its_trusted_checkpoint_and_a_false_one_is_refused() {
    let report = good("nodes_start_from_trusted_checkpoints", 7);
    assert_eq!(report.refused_starts, 1, "{report:?}");
}

#[test]
fn a_model_runs_while_its_stake_holds_it() {
    let report = good("a_model_is_suspended_and_returns", 7);
    let (ran, rested) = report.model_epochs;
    assert!(ran >= 3 && rested >= 2, "{report:?}");
}

#[test]
fn stakes_move_and_the_sets_follow() {
    let report = good("stakes_change", 8);
    assert!(report.set_changes >= 1, "{report:?}");
}

/// Long enough that something lies below the pruning point: a chain block needs 256 others above it.
#[test]
fn what_is_old_is_forgotten_and_a_late_node_still_comes() {
    let setup = Setup { seed: 9, nodes: 4, duration_ms: 120_000, delay_max_ms: 300 };
    let report = run(scenarios::by_name("old_blocks_are_pruned").unwrap(), &setup).unwrap();
    assert!(report.violations.is_empty() && report.pruning_points > 0, "{report:?}");
}

/// Every scenario, other seeds, more nodes: minutes in release mode.
#[test]
#[ignore = "minutes"]
fn every_scenario_holds_with_seven_nodes() {
    for scenario in scenarios::ALL {
        let setup = Setup { seed: 11, nodes: 7, duration_ms: 60_000, delay_max_ms: 500 };
        let report = run(scenario, &setup).unwrap();
        assert!(report.violations.is_empty(), "{}: {:?}", scenario.name, report.violations);
    }
}
