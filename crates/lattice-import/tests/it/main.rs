//! Integration tests: models from files, hostile bytes, and oracles found through the environment.
#![allow(clippy::unwrap_used)]

mod control;
mod digits;
mod hostile;
mod kernels;
mod magika;
mod model_bits;
mod onnx_file;
mod operators;
mod oracle_models;
mod refusals;
mod support;
mod tflite;
