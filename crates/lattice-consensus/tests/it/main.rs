//! Integration tests of the DAG: Kaspa's vectors, an independent oracle, rules, choice and restart.
#![allow(clippy::unwrap_used)]

mod choice;
mod kaspa;
mod oracle;
mod random;
mod restart;
mod rules;
mod text;
mod vectors;
