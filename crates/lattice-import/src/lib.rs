//! Importers: ONNX or TensorFlow Lite in, a frozen graph with static shapes out, or the reason why not.
//!
//! They run off the consensus path: nothing that validates knows them, and anybody can import a file again and compare the
//! model ids. Whatever a file says is expressed in the operators of [`lattice_inference::ops`]; what cannot be is refused with
//! the node, the operator and the reason.

mod error;
mod onnx;
mod options;
mod patterns;
mod tflite;

pub use error::ImportError;
pub use onnx::{import_onnx, read_onnx_tensor, supported_operators as supported_onnx_operators};
pub use options::{DeclaredInput, ImportOptions};
pub use tflite::{import_tflite, supported_operators as supported_tflite_operators};

use lattice_inference::Graph;

/// Imports a model file, ONNX or TensorFlow Lite by its content: one frozen graph with static shapes, or the reason why not.
pub fn import_model(bytes: &[u8], options: &ImportOptions) -> Result<Graph, ImportError> {
    if tflite::is_tflite(bytes) { import_tflite(bytes, options) } else { import_onnx(bytes, options) }
}

/// The inputs that a model file declares, in order, without those that have an initial value. Weights are stepped over; the
/// importer judges everything else.
pub fn declared_inputs(bytes: &[u8]) -> Result<Vec<DeclaredInput>, ImportError> {
    if tflite::is_tflite(bytes) { tflite::declared_inputs(bytes) } else { onnx::declared_inputs(bytes) }
}
