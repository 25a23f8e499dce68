//! The parts of TensorFlow Lite's schema (tensorflow/lite/schema/schema.fbs, version 3) that the importer reads.
//!
//! Slots are the positions of fields in their tables; the schema never changes the place of one.

use super::flatbuffer::{Number, Read, Table};
use lattice_inference::limits::{NAME_BYTES_MAX, NODES_MAX, OPERANDS_MAX, RANK_MAX};

/// What every file holds at byte 4.
pub(super) const IDENTIFIER: &[u8] = b"TFL3";
/// The schema's version.
const VERSION: u32 = 3;
/// Most tensors of a graph, and most buffers of a file.
const TENSORS_MAX: usize = 1 << 17;
/// Longest list of scales or zero points: one a channel.
const CHANNELS_MAX: usize = 1 << 16;

/// A whole file.
pub(super) struct Model<'a> {
    codes: Vec<OperatorCode<'a>>,
    buffers: Vec<Table<'a>>,
    /// The graph that is run; others are bodies of control flow.
    pub(super) graph: Graph<'a>,
    bytes: &'a [u8],
}

/// Which operator a number stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct OperatorCode<'a> {
    /// BuiltinOperator.
    pub(super) builtin: i32,
    /// The name of an operator that is not built in.
    pub(super) custom: &'a str,
}

/// Tensors and the operators between them, in the order of execution.
pub(super) struct Graph<'a> {
    pub(super) tensors: Vec<TensorInfo<'a>>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    pub(super) operators: Vec<Operator<'a>>,
}

/// A tensor's declaration.
pub(super) struct TensorInfo<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Vec<i32>,
    /// The shape with -1 for open dimensions, where the file says that there are some.
    pub(super) signature: Option<Vec<i32>>,
    /// TensorType.
    pub(super) kind: i8,
    pub(super) buffer: usize,
    pub(super) quantization: Option<Quantization>,
    pub(super) sparsity: Option<Table<'a>>,
}

/// Real values are scale * (stored - zero point), each for the whole tensor or for every index along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantization {
    pub(super) scales: Vec<f32>,
    pub(super) zero_points: Vec<i64>,
    pub(super) axis: i32,
}

/// One operation.
pub(super) struct Operator<'a> {
    code: usize,
    /// Positions in the graph's tensors; none for an operand that is left out.
    pub(super) inputs: Vec<Option<usize>>,
    pub(super) outputs: Vec<usize>,
    options: Option<Table<'a>>,
    /// Bytes of an operator that is not built in.
    pub(super) custom_options: &'a [u8],
}

impl<'a> Model<'a> {
    /// Reads everything but the weights.
    pub(super) fn read(bytes: &'a [u8]) -> Read<Model<'a>> {
        if bytes.get(4..8) != Some(IDENTIFIER) {
            return Err("it does not hold \"TFL3\" at byte 4".into());
        }
        let root = Table::root(bytes)?;
        let version = root.number(0, 0u32)?;
        if version != VERSION {
            return Err(format!("schema version {version} is not known; version {VERSION} is"));
        }
        let codes = root.tables(1, NODES_MAX)?.iter().map(OperatorCode::read).collect::<Read<Vec<_>>>()?;
        let graphs = root.tables(2, NODES_MAX)?;
        let graph = Graph::read(graphs.first().ok_or("it holds no graph")?)?;
        let model = Model { codes, buffers: root.tables(4, TENSORS_MAX)?, graph, bytes };
        for operator in &model.graph.operators {
            if operator.code >= model.codes.len() {
                return Err(format!("an operator has code {} of {}", operator.code, model.codes.len()));
            }
        }
        Ok(model)
    }

    /// Which operator a node is.
    pub(super) fn code(&self, operator: &Operator<'_>) -> OperatorCode<'a> {
        self.codes[operator.code]
    }

    /// The stored bytes of a tensor; none when it is computed.
    pub(super) fn data(&self, tensor: &TensorInfo<'_>) -> Read<Option<&'a [u8]>> {
        let Some(buffer) = self.buffers.get(tensor.buffer) else {
            return Err(format!("tensor '{}' has buffer {} of {}", tensor.name, tensor.buffer, self.buffers.len()));
        };
        // A file past 2 GB keeps its data behind the tables, at an offset.
        let (offset, size) = (buffer.number(1, 0u64)?, buffer.number(2, 0u64)?);
        let far = || {
            let start = usize::try_from(offset).ok()?;
            self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
        };
        match (offset, buffer.bytes(0)?) {
            (0 | 1, data) => Ok(data.filter(|data| !data.is_empty())),
            _ => far().map(Some).ok_or_else(|| format!("buffer {} lies outside the file", tensor.buffer)),
        }
    }
}

impl<'a> OperatorCode<'a> {
    fn read(table: &Table<'a>) -> Read<OperatorCode<'a>> {
        // Codes up to 127 were bytes once; whichever field is larger counts.
        let builtin = i32::from(table.number(0, 0i8)?).max(table.number(3, 0i32)?);
        Ok(OperatorCode { builtin, custom: table.text(1, NAME_BYTES_MAX)? })
    }
}

impl<'a> Graph<'a> {
    fn read(table: &Table<'a>) -> Read<Graph<'a>> {
        let tensors = table.tables(0, TENSORS_MAX)?.iter().map(TensorInfo::read).collect::<Read<Vec<_>>>()?;
        let operators = table.tables(3, NODES_MAX)?;
        let operators = operators.iter().map(|t| Operator::read(t, tensors.len())).collect::<Read<Vec<_>>>()?;
        let positions = |slot, what| {
            let list = table.numbers::<i32>(slot, OPERANDS_MAX)?.unwrap_or_default();
            list.into_iter().map(|i| position(i, tensors.len(), what)).collect::<Read<Vec<_>>>()
        };
        let (inputs, outputs) = (positions(1, "an input")?, positions(2, "an output")?);
        Ok(Graph { inputs, outputs, tensors, operators })
    }
}

fn position(index: i32, count: usize, what: &str) -> Read<usize> {
    let found = usize::try_from(index).ok().filter(|&i| i < count);
    found.ok_or_else(|| format!("{what} is tensor {index} of {count}"))
}

impl<'a> TensorInfo<'a> {
    fn read(table: &Table<'a>) -> Read<TensorInfo<'a>> {
        Ok(TensorInfo {
            name: table.text(3, NAME_BYTES_MAX)?,
            shape: table.numbers(0, RANK_MAX)?.unwrap_or_default(),
            signature: table.numbers(7, RANK_MAX)?.filter(|signature: &Vec<i32>| !signature.is_empty()),
            kind: table.number(1, 0i8)?,
            buffer: table.number(2, 0u32)? as usize,
            quantization: table.table(4)?.map(|t| Quantization::read(&t)).transpose()?.flatten(),
            sparsity: table.table(6)?,
        })
    }
}

impl Quantization {
    /// None when the table only notes a range.
    fn read(table: &Table<'_>) -> Read<Option<Quantization>> {
        let scales: Vec<f32> = table.numbers(2, CHANNELS_MAX)?.unwrap_or_default();
        let mut zero_points: Vec<i64> = table.numbers(3, CHANNELS_MAX)?.unwrap_or_default();
        if scales.is_empty() {
            return Ok(None);
        }
        if zero_points.is_empty() {
            zero_points = vec![0; scales.len()];
        }
        if zero_points.len() != scales.len() {
            return Err(format!("{} scales do not fit {} zero points", scales.len(), zero_points.len()));
        }
        Ok(Some(Quantization { scales, zero_points, axis: table.number(6, 0i32)? }))
    }
}

impl<'a> Operator<'a> {
    fn read(table: &Table<'a>, tensors: usize) -> Read<Operator<'a>> {
        let operand = |i: i32| if i == -1 { Ok(None) } else { position(i, tensors, "an operand").map(Some) };
        let inputs = table.numbers::<i32>(1, OPERANDS_MAX)?.unwrap_or_default();
        let outputs = table.numbers::<i32>(2, OPERANDS_MAX)?.unwrap_or_default();
        Ok(Operator {
            code: table.number(0, 0u32)? as usize,
            inputs: inputs.into_iter().map(operand).collect::<Read<_>>()?,
            outputs: outputs.into_iter().map(|i| position(i, tensors, "a result")).collect::<Read<_>>()?,
            options: table.table(4)?,
            custom_options: table.bytes(5)?.unwrap_or_default(),
        })
    }

    /// An operator that does nothing, to read one tensor.
    pub(super) fn passing(tensor: usize) -> Operator<'a> {
        Operator { code: 0, inputs: vec![Some(tensor)], outputs: Vec::new(), options: None, custom_options: &[] }
    }

    /// A number of the operator's options, or the schema's default.
    pub(super) fn option<T: Number>(&self, slot: usize, default: T) -> Read<T> {
        match &self.options {
            Some(options) => options.number(slot, default),
            None => Ok(default),
        }
    }

    /// A flag of the operator's options.
    pub(super) fn flag(&self, slot: usize) -> Read<bool> {
        Ok(self.option(slot, 0u8)? != 0)
    }

    /// A list of the operator's options.
    pub(super) fn list(&self, slot: usize) -> Read<Option<Vec<i32>>> {
        self.options.map_or(Ok(None), |t| t.numbers(slot, RANK_MAX))
    }
}

/// Names of BuiltinOperator, by number.
#[rustfmt::skip]
pub(super) static OPERATORS: &[&str] = &[
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D", "MUL", "RELU",
    "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH",
    "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB",
    "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2",
    "SPLIT", "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX",
    "MINIMUM", "LESS", "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN",
    "TRANSPOSE_CONV", "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT",
    "SHAPE", "POW", "ARG_MIN", "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT",
    "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL",
    "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS",
    "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU",
    "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE",
    "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM",
    "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE", "BROADCAST_TO", "RFFT2D", "CONV_3D",
    "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "REDUCE_ALL",
    "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL",
    "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU", "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1",
    "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN",
    "BITCAST", "BITWISE_XOR", "RIGHT_SHIFT",
];
