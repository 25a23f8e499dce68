//! Integration tests of the stores: one conformance suite for every engine, crashes of real processes, artifacts.
// A test of crashes starts processes with an environment; the crate itself may not.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod artifacts;
mod conformance;
mod crash;
mod disk;
mod engines;
