//! The built binary as a user meets it: arguments, stdout, stderr, exit codes, and a real node.

#![allow(clippy::unwrap_used)]

mod asm;
mod bad_input;
mod bench;
mod bench_gas;
mod binary;
mod demo;
mod dev;
mod disputes;
mod engines;
mod lines;
mod local;
mod models;
mod onnx;
mod stake;
mod tflite;
mod train;
