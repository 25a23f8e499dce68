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

pub(crate) use declared::declared_inputs;
pub use import::import_onnx;
pub use lower::supported_operators;

use crate::error::ImportError;
use lattice_inference::Tensor;
use prost::Message;

/// Reads a tensor stored alone as ONNX's TensorProto, as test data sets are (`input_0.pb`): its name and elements.
pub fn read_onnx_tensor(bytes: &[u8]) -> Result<(String, Tensor), ImportError> {
    let proto = proto::TensorProto::decode(bytes).map_err(|e| ImportError::Protobuf(e.to_string()))?;
    let tensor = tensors::tensor_of(&proto);
    let tensor = tensor.map_err(|reason| ImportError::Initializer { name: proto.name.clone(), reason })?;
    Ok((proto.name, tensor))
}
