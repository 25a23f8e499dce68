//! Integration tests: models from files, hostile bytes, and oracles found through the environment.
#![allow(clippy::unwrap_used)]

mod digits;
mod hostile;
mod magika;
mod onnx_file;
mod operators;
mod oracle_models;
mod refusals;
mod support;
mod tflite;
