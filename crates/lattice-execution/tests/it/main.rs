//! Blocks executed end to end, on states made from genesis.
#![allow(clippy::unwrap_used)]

mod access;
mod ai;
mod conservation;
mod containers;
mod contracts;
mod disputes;
mod doors;
mod fees;
mod garbage;
mod lab;
mod lane;
mod money;
mod operations;
mod readiness;
mod reputation;
mod requests;
mod simulation;
mod skips;
mod solidity;
mod stake_balance;
mod staking;
mod system;
mod traced;
mod tracing;
mod versions;
