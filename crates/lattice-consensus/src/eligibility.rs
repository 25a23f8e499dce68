//! Who may produce a block in a slot: the stake lottery, epochs with their seeds and stake sets, equivocation.
//!
//! A validator's VRF output for a slot is a uniform number; it may produce when the number is below a threshold that grows
//! with its share of the stake (Ouroboros Praos, David, Gaži, Kiayias, Russell, 2018). Everything is a function of the
//! past of the block that is judged, never of what a node has happened to see: the chain keeps one [`EpochState`] a chain
//! block and folds the next one from it.

mod epoch;
mod equivocation;
mod lottery;
mod stake;

pub use epoch::{EpochParams, EpochState, SetSource};
pub use equivocation::{Copies, EquivocationEvidence, InvalidEquivocation, Relay};
pub use lottery::{InvalidRate, Lottery, PPM};
pub use stake::{Candidate, InvalidBitmap, Member, SetParams, StakeSet};
