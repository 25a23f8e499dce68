//! ONNX in, frozen graph out.
//!
//! The file is read as protobuf, its inputs get static shapes, and each node is *lowered*: translated into operators of the
//! frozen graph by the function that the tables in `lower` name for it. Shape arithmetic folds away because every shape is
//! static. What cannot be expressed is refused with the node, the operator and the reason.
//!
//! To add an ONNX operator: write its function in the file of its family under `lower/` and list it in that family's table.
//!
//! The importer runs off the consensus path; anyone can import a file again and compare the ids.

mod declared;
mod import;
mod inputs;
mod lower;
mod node;
mod proto;
mod tensors;

pub use declared::{DeclaredInput, declared_inputs};
pub use import::import_onnx;
pub use lower::supported_operators;

use crate::error::ImportError;
use crate::tensor::Tensor;
use prost::Message;
use std::collections::BTreeMap;

/// How to import a file.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Static shapes for inputs whose dimensions the file leaves open. A leading open dimension without an entry becomes 1.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Inputs to fix to a value; they vanish from the model's inputs.
    pub constants: BTreeMap<String, Tensor>,
    /// Largest file in bytes.
    pub file_bytes_max: usize,
}

impl Default for ImportOptions {
    /// No shapes, no constants, files up to 1 GiB.
    fn default() -> Self {
        ImportOptions { shapes: BTreeMap::new(), constants: BTreeMap::new(), file_bytes_max: 1 << 30 }
    }
}

/// Reads a tensor stored alone as ONNX's TensorProto, as test data sets are (`input_0.pb`): its name and elements.
pub fn read_onnx_tensor(bytes: &[u8]) -> Result<(String, Tensor), ImportError> {
    let proto = proto::TensorProto::decode(bytes).map_err(|e| ImportError::Protobuf(e.to_string()))?;
    let tensor = tensors::tensor_of(&proto);
    let tensor = tensor.map_err(|reason| ImportError::Initializer { name: proto.name.clone(), reason })?;
    Ok((proto.name, tensor))
}
