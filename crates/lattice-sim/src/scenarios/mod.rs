//! What is done to the nodes: a file a scenario, whose name says what happens.

mod a_minority_is_cut_off;
mod a_model_is_suspended_and_returns;
mod all_is_well;
mod blocks_are_withheld;
mod clocks_are_off;
mod commitments_are_lies;
mod disks_fail;
mod everything_at_once;
mod mergesets_are_stuffed;
mod messages_are_lost;
mod more_than_a_third_are_guilty;
mod nearly_a_third_is_silent;
mod nodes_crash;
mod nodes_start_from_trusted_checkpoints;
mod old_blocks_are_pruned;
mod producers_equivocate;
mod stakes_change;
mod the_network_splits;
mod the_network_splits_beyond_the_merge_depth;
mod two_halves_are_balanced;
mod voters_surround;
mod voters_vote_twice;
mod votes_reach_only_some;

use crate::plan::Plan;

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Turns a calm plan into its own.
    pub arrange: fn(&mut Plan),
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        &[$(Scenario { name: stringify!($name), arrange: $name::arrange }),*]
    };
}

/// All of them.
pub const ALL: &[Scenario] = scenarios![
    all_is_well,
    messages_are_lost,
    the_network_splits,
    the_network_splits_beyond_the_merge_depth,
    a_minority_is_cut_off,
    nodes_crash,
    disks_fail,
    clocks_are_off,
    producers_equivocate,
    voters_vote_twice,
    voters_surround,
    blocks_are_withheld,
    commitments_are_lies,
    mergesets_are_stuffed,
    two_halves_are_balanced,
    votes_reach_only_some,
    nearly_a_third_is_silent,
    more_than_a_third_are_guilty,
    nodes_start_from_trusted_checkpoints,
    a_model_is_suspended_and_returns,
    stakes_change,
    old_blocks_are_pruned,
    everything_at_once,
];

/// The scenario with this name.
pub fn by_name(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
