//! Blocks executed end to end, on states made from genesis.
#![allow(clippy::unwrap_used)]

mod access;
mod ai;
mod conservation;
mod contracts;
mod fees;
mod garbage;
mod lab;
mod lane;
mod money;
mod operations;
mod simulation;
mod skips;
mod system;
mod versions;
