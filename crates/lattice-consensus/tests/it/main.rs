//! Integration tests of the DAG: an independent oracle, rules, choice, restart. Vectors: `lattice-vectors`.
// Tests read vectors and the environment; the crate itself may not.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod accountable;
mod choice;
mod depth;
mod finality;
mod million;
mod oracle;
mod prune;
mod random;
mod restart;
mod rules;
mod stored;
mod text;
