//! Integration tests: models from files, hostile bytes, and oracles found through the environment.
#![allow(clippy::unwrap_used)]

mod magika;
mod nodes;
mod oracle_models;
mod support;
