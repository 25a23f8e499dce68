//! Floor 2: which blocks there are, in which order, and which chain they choose. Pure.
//!
//! The block DAG is ordered by GHOSTDAG (Sompolinsky, Wyborski, Zohar: "PHANTOM GHOSTDAG", 2021) as Kaspa runs it:
//! every block selects its heaviest parent, and of the blocks that it merges those stay *blue* which keep the set of
//! blues a k-cluster. [`Dag`] keeps the blocks, colours new ones and answers questions of ancestry and fork choice.
//!
//! What this room does not know: accounts, the EVM, AI rules, signatures, clocks. A header brings it numbers
//! ([`BlockFacts`]); whether these numbers are true is checked by the chain, and so is which blocks may carry the
//! selected chain: GHOSTDAG itself never filters, only the choice of parents does.

mod dag;
pub mod eligibility;
mod error;
mod facts;
pub mod finality;
mod ghostdag;
mod older;
pub mod reachability;
mod recent;
mod record;

pub use dag::{
    BlockKey, ChainPath, Dag, InvalidPruningProof, Merged, Prepared, Pruned, Residency, check_pruning_proof,
};
pub use error::{CheckError, InvalidHeader, MissingParents};
pub use facts::{BlockFacts, DagParams, TieRule};
pub use ghostdag::GhostdagData;
