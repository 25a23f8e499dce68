//! TensorFlow Lite in, frozen graph out.
//!
//! The file is a FlatBuffer (read by [`flatbuffer`], the schema's tables by [`schema`]); its inputs get static shapes, and each
//! operator is *lowered* by the function that the tables in `lower` name for it. What cannot be expressed is refused with the
//! node, the operator and the reason.
//!
//! To add an operator: write its function in the file of its family under `lower/` and list it in that family's table.

mod context;
mod flatbuffer;
mod import;
mod lower;
mod schema;
mod tensors;

pub(crate) use import::declared_inputs;
pub use import::import_tflite;
pub use lower::supported_operators;

/// Whether bytes say that they are a TensorFlow Lite file.
pub(crate) fn is_tflite(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(schema::IDENTIFIER)
}
