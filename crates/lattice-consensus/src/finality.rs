//! Finality: checkpoints of the selected chain that no block may undo.
//!
//! The rules are those of Casper FFG (Buterin, Griffith, 2017). At each checkpoint time every validator votes for a link
//! from a justified checkpoint to the newest one. A link of two thirds of the stake justifies its target, and finalises
//! its source when the two are neighbours. Two conflicting checkpoints cannot both be finalised unless a third of the
//! stake breaks one of two rules, which two signed votes prove: a *double* vote (two votes for one checkpoint index) or
//! a *surround* vote (one link spans another). Nothing is claimed from GHOSTDAG's own theorem, which is about work.
//!
//! Who does what: signatures are checked by the chain before anything comes here. [`check_certificate`] holds a
//! certificate against the stake set and the past of the block that carries it; [`Finality`] is what all certificates in
//! a past say, folded along the selected chain; [`LocalFinality`] is what this node holds on to; [`VotePool`] and
//! [`EvidencePool`] keep what is not in a block yet; [`Watermark`] keeps a signer from ever breaking the rules.

mod certificate;
mod checkpoint;
mod local;
mod pool;
mod state;
mod watermark;

pub use certificate::{InvalidCertificate, TargetFacts, check_certificate};
pub use checkpoint::CheckpointParams;
pub use lattice_types::{Bitmap, Certificate, Checkpoint, Offence, Vote};
pub use local::{FinalityConflict, LocalFinality};
pub use pool::{Added, DuplicateEvidence, EvidencePool, InvalidVote, VotePool};
pub use state::Finality;
pub use watermark::{Refused, Watermark};
