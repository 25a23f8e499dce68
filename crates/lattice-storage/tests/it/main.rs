//! Integration tests of the stores: one conformance suite for every engine, crashes of real processes, artifacts.
#![allow(clippy::unwrap_used)]

mod artifacts;
mod conformance;
mod crash;
mod engines;
