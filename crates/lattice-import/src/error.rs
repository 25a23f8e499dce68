//! Why a model file is refused.

use thiserror::Error;

/// A model file was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// The bytes are not an ONNX protobuf.
    #[error("not a readable ONNX file: {0} (is the file complete?)")]
    Protobuf(String),
    /// The bytes are not a TensorFlow Lite flatbuffer.
    #[error("not a readable TensorFlow Lite file: {0} (is the file complete?)")]
    Flatbuffer(String),
    /// The model as a whole is refused.
    #[error("{0}")]
    Model(String),
    /// An initialiser or constant is malformed.
    #[error("tensor '{name}': {reason}")]
    Initializer {
        /// Name in the file.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A graph input cannot be bound.
    #[error("input '{name}': {reason}")]
    Input {
        /// Name in the file.
        name: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// An operator that this importer does not know.
    #[error("node '{node}': operator {operator} is not supported")]
    UnsupportedOperator {
        /// Name of the node, or its position and first output.
        node: String,
        /// Operator with its domain when it is not the default one.
        operator: String,
    },
    /// A known operator used in a way that is wrong or not supported.
    #[error("node '{node}' ({operator}): {reason}")]
    Node {
        /// Name of the node, or its position and first output.
        node: String,
        /// Operator.
        operator: String,
        /// What is wrong.
        reason: String,
    },
}
