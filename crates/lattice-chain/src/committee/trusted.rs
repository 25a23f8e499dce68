//! Weak subjectivity: a checkpoint that an operator trusts, and when it says nothing or something wrong.
//!
//! Whoever held a majority of the stake once may sign another history after its stake is paid back, and nobody can slash
//! it. So a node that has not followed for long starts from a checkpoint that others have told it, and one that is younger
//! than the weak-subjectivity period ([`ChainSpec::weak_subjectivity_slots`]).

use crate::{chain::Chain, error::ChainError};
use lattice_consensus::{Dag, finality::LocalFinality};
use lattice_types::{ChainSpec, Checkpoint};

/// Why a trusted checkpoint is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustRefused {
    /// Its validators may have left with their stake since.
    #[error(
        "the trusted {trusted} is {age_s} s old, and only {max_s} s (the weak-subjectivity period) are safe: get a newer one from \
         somebody you trust (`lattice status` of their node shows it)"
    )]
    Expired {
        /// The checkpoint.
        trusted: Checkpoint,
        /// Its age, seconds.
        age_s: u64,
        /// The period, seconds.
        max_s: u64,
    },
    /// Nobody can have it yet.
    #[error("the trusted {trusted} lies {ahead_s} s in the future: check its index, and this machine's clock")]
    Future {
        /// The checkpoint.
        trusted: Checkpoint,
        /// How far, seconds.
        ahead_s: u64,
    },
    /// This node holds another history.
    #[error(
        "the trusted {trusted} contradicts what this node has finalised, {finalised}: one of them is wrong. Ask others; to follow \
         the trusted one, start with an empty data directory"
    )]
    Contradicts {
        /// The checkpoint.
        trusted: Checkpoint,
        /// What this node holds.
        finalised: Checkpoint,
    },
}

impl Chain {
    /// Whether a checkpoint may be trusted at this time (Unix milliseconds).
    ///
    /// # Errors
    /// [`TrustRefused::Expired`] and [`TrustRefused::Future`].
    pub fn check_trusted_age(spec: &ChainSpec, trusted: Checkpoint, now_ms: u64) -> Result<(), TrustRefused> {
        let slot = trusted.index.saturating_mul(spec.checkpoint_slots);
        let made_ms = (spec.genesis_time_s * 1_000).saturating_add(slot.saturating_mul(spec.slot_ms));
        let (age_s, ahead_s) = (now_ms.saturating_sub(made_ms) / 1_000, made_ms.saturating_sub(now_ms) / 1_000);
        let max_s = spec.weak_subjectivity_slots().saturating_mul(spec.slot_ms) / 1_000;
        if ahead_s > 0 {
            return Err(TrustRefused::Future { trusted, ahead_s });
        }
        if age_s > max_s {
            return Err(TrustRefused::Expired { trusted, age_s, max_s });
        }
        Ok(())
    }
}

/// What a node holds on to that is told to trust a checkpoint: the newer of that and what it has finalised, if they agree.
pub fn trust(dag: &Dag, local: LocalFinality, trusted: Checkpoint) -> Result<LocalFinality, ChainError> {
    let finalised = local.finalised();
    let is_newer = trusted.index > finalised.index;
    let (older, newer) = if is_newer { (finalised, trusted) } else { (trusted, finalised) };
    // A newer one may not have come yet, and what is old may be pruned.
    let can_tell = dag.contains(&trusted.hash)? || (!is_newer && dag.pruning_point() == dag.genesis());
    let contradicts = if older.index == newer.index {
        older != newer
    } else {
        can_tell && !dag.is_chain_ancestor(&older.hash, &newer.hash)?
    };
    if contradicts {
        return Err(TrustRefused::Contradicts { trusted, finalised }.into());
    }
    Ok(if is_newer { LocalFinality::new(trusted) } else { local })
}
