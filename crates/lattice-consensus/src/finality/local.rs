//! What a node holds on to.

use crate::finality::{Checkpoint, Finality};

/// Two finalised checkpoints of which neither is an ancestor of the other: a third of the stake is slashable, and an
/// operator must choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "conflicting finality: this node holds {ours}, a block finalises {theirs}; at least a third of the stake has signed \
     conflicting votes. The node keeps its own; to follow the other, start anew from a trusted checkpoint"
)]
pub struct FinalityConflict {
    /// What this node has finalised.
    pub ours: Checkpoint,
    /// What another block's past finalises.
    pub theirs: Checkpoint,
}

/// The newest checkpoints that this node has seen finalised and justified. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalFinality {
    finalised: Checkpoint,
    justified: Checkpoint,
}

impl LocalFinality {
    /// From a trusted checkpoint: genesis, or a weak-subjectivity start.
    pub const fn new(trusted: Checkpoint) -> Self {
        Self { finalised: trusted, justified: trusted }
    }

    /// What was stored.
    pub const fn restore(finalised: Checkpoint, justified: Checkpoint) -> Self {
        Self { finalised, justified }
    }

    /// `finalized` of every RPC.
    pub const fn finalised(&self) -> Checkpoint {
        self.finalised
    }

    /// `safe` of every RPC, and what fork choice asks of a tip.
    pub const fn justified(&self) -> Checkpoint {
        self.justified
    }

    /// Takes in the finality of a newly executed block. `is_chain_ancestor(a, b)` says whether a is b or on the selected
    /// chain below it.
    ///
    /// The inner error is a conflict, which leaves everything as it was; the outer one is that of `is_chain_ancestor`.
    pub fn observe<E>(
        &mut self,
        seen: &Finality,
        is_chain_ancestor: impl Fn(&Checkpoint, &Checkpoint) -> Result<bool, E>,
    ) -> Result<Result<(), FinalityConflict>, E> {
        let (ours, theirs) = (self.finalised, seen.finalised());
        let (lower, higher) = if theirs.index > ours.index { (ours, theirs) } else { (theirs, ours) };
        if lower != higher && !is_chain_ancestor(&lower, &higher)? {
            return Ok(Err(FinalityConflict { ours, theirs }));
        }
        self.finalised = higher;
        // Only with a third of the stake guilty can a justified checkpoint lie beside a finalised one.
        if !is_chain_ancestor(&higher, &self.justified)? {
            self.justified = higher;
        }
        let justified = seen.justified();
        if justified.index > self.justified.index && is_chain_ancestor(&self.finalised, &justified)? {
            self.justified = justified;
        }
        Ok(Ok(()))
    }
}
