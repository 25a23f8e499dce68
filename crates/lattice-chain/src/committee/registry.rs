//! The registry of validators as the chain reads it from a state.

use lattice_consensus::eligibility::Candidate;
use lattice_execution::staking;
use lattice_state::State;
use lattice_types::bls;

/// A validator that is registered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registered {
    /// Place in the registry, stake and whether it was slashed.
    pub candidate: Candidate,
    /// Its key.
    pub public_key: bls::PublicKey,
}

/// The registry of a state, by index.
pub(crate) fn registered(state: &State) -> Vec<Registered> {
    let of = |record: staking::ValidatorRecord| Registered {
        // Supplies are below 2^96 wei.
        candidate: Candidate { index: record.index, stake: record.stake.saturating_to(), is_slashed: record.slashed },
        public_key: record.public_key,
    };
    staking::validators(state).into_iter().map(of).collect()
}
