//! The errors of this crate, one enum a door: tensors, import, decode, load, run, npy.

use crate::tensor::DType;
use thiserror::Error;

/// A tensor cannot be made from what was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The element count does not fit the shape.
    #[error("shape {shape:?} has {expected} elements, got {got}")]
    ElementCount {
        /// The shape asked for.
        shape: Vec<usize>,
        /// Elements of that shape.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// The byte length does not fit the shape and element type.
    #[error("expected {expected} bytes, got {got}")]
    ByteLength {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A bool byte is neither 0 nor 1.
    #[error("bool element {index} is {value}; it must be 0 or 1")]
    BoolByte {
        /// Position of the element.
        index: usize,
        /// The byte found.
        value: u8,
    },
    /// Too many dimensions.
    #[error("{got} dimensions; at most {max} are supported")]
    Rank {
        /// Dimensions asked for.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// The tensor would pass the size limit.
    #[error("a tensor {dtype}{shape:?} passes the limit of {bytes_max} bytes")]
    TooLarge {
        /// Element type.
        dtype: DType,
        /// The shape asked for.
        shape: Vec<usize>,
        /// The limit in bytes.
        bytes_max: usize,
    },
}

/// Bytes are not a canonical frozen graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The magic bytes are absent.
    #[error("not a frozen graph: it must begin with \"LATG\"")]
    Magic,
    /// A version this build does not know.
    #[error("frozen graph version {0} is not known; this build reads version {known}", known = crate::graph::VERSION)]
    Version(u16),
    /// The bytes end too early.
    #[error("truncated at byte {offset}: {wanted} more bytes wanted for {what}")]
    Truncated {
        /// Where reading stopped.
        offset: usize,
        /// Bytes wanted.
        wanted: usize,
        /// The field being read.
        what: &'static str,
    },
    /// Bytes follow the end of the graph.
    #[error("{0} bytes follow the end of the graph")]
    TrailingBytes(usize),
    /// A field has a value that it may not have.
    #[error("{what} at byte {offset}: {reason}")]
    Field {
        /// The field.
        what: &'static str,
        /// Where it ends.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
    /// The parts do not make a valid graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Parts that do not make a valid graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GraphError {
    /// A limit is passed.
    #[error("{what} is {got}; the limit is {max}")]
    Limit {
        /// The quantity.
        what: &'static str,
        /// Its value.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A node is wrong.
    #[error("node {index} ({operator}): {reason}")]
    Node {
        /// Position of the node.
        index: usize,
        /// Operator.
        operator: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Anything else.
    #[error("{0}")]
    Structure(String),
}

/// A frozen graph cannot be prepared for running.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// A node cannot be prepared.
    #[error("node {index} ({operator}) cannot be prepared: {reason}")]
    Node {
        /// Position of the node.
        index: usize,
        /// Operator.
        operator: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// A run was refused or failed; the same on every machine, but for [`RunError::FloatMode`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// The number of inputs is wrong.
    #[error("the model has {expected} inputs, got {got}")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// An input has the wrong type or shape.
    #[error("input '{name}': expected {expected_dtype}{expected_shape:?}, got {got_dtype}{got_shape:?}")]
    InputMismatch {
        /// Name of the input.
        name: String,
        /// Its element type.
        expected_dtype: DType,
        /// Its shape.
        expected_shape: Vec<usize>,
        /// Element type given.
        got_dtype: DType,
        /// Shape given.
        got_shape: Vec<usize>,
    },
    /// Raw input bytes have the wrong length.
    #[error("input bytes: expected {expected} ({layout}), got {got}")]
    InputBytes {
        /// Bytes of all inputs.
        expected: usize,
        /// Bytes given.
        got: usize,
        /// The inputs with their types and shapes.
        layout: String,
    },
    /// Raw input bytes hold an impossible element.
    #[error("input '{name}': {reason}")]
    InputElement {
        /// Name of the input.
        name: String,
        /// What is wrong.
        reason: TensorError,
    },
    /// An operator met data that it must refuse, such as an index out of range or an integer division by zero.
    #[error("node {index} ({operator}): {reason}")]
    Operator {
        /// Position of the node.
        index: usize,
        /// Operator.
        operator: &'static str,
        /// What was met.
        reason: String,
    },
    /// The run needs more memory than the caller allows.
    #[error("the run needs {needed} bytes of memory; the limit is {max}")]
    MemoryLimit {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The run costs more than the caller allows.
    #[error("the run costs {needed} gas; the limit is {max}")]
    CostLimit {
        /// Gas needed.
        needed: u64,
        /// Gas allowed.
        max: u64,
    },
    /// The thread's floating-point mode is not IEEE's default, so results would differ from other nodes'.
    #[error("floating-point mode {0:#x} is not the default (round to nearest, no flush to zero): refusing to compute")]
    FloatMode(u64),
}

/// Bytes are not a readable .npy file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NpyError {
    /// The magic bytes are absent.
    #[error("not a .npy file: it must begin with \\x93NUMPY")]
    Magic,
    /// A version other than 1, 2 or 3.
    #[error(".npy version {0}.{1} is not known")]
    Version(u8, u8),
    /// The header does not parse.
    #[error(".npy header: {0}")]
    Header(String),
    /// An element type that is not supported.
    #[error(
        ".npy element type '{0}' is not supported; convert with numpy's astype to float32, int32, int64, uint8 or bool"
    )]
    DType(String),
    /// The elements do not fit the header.
    #[error(".npy data: {0}")]
    Data(#[from] TensorError),
}
