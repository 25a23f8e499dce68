//! The attributes of a frozen node: a short positional list, so that equal nodes have equal bytes.

use super::OpResult;

/// One attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// An integer, a flag (0 or 1) or an element type's code.
    Int(i64),
    /// A number; kept by its bits.
    Float(f32),
    /// A list of integers: axes, a shape, pads.
    Ints(Vec<i64>),
}

/// The attributes of a node, in the order its operator documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(pub(crate) Vec<Attribute>);

impl Attributes {
    /// No attributes.
    pub fn none() -> Attributes {
        Attributes::default()
    }

    /// Adds an integer.
    pub fn int(mut self, value: i64) -> Attributes {
        self.0.push(Attribute::Int(value));
        self
    }

    /// Adds a flag.
    pub fn flag(self, value: bool) -> Attributes {
        self.int(i64::from(value))
    }

    /// Adds a number.
    pub fn float(mut self, value: f32) -> Attributes {
        self.0.push(Attribute::Float(value));
        self
    }

    /// Adds a list of integers.
    pub fn ints(mut self, values: impl IntoIterator<Item = i64>) -> Attributes {
        self.0.push(Attribute::Ints(values.into_iter().collect()));
        self
    }

    /// Adds a list of sizes or axes.
    pub fn sizes(self, values: &[usize]) -> Attributes {
        self.ints(values.iter().map(|&v| v as i64))
    }

    /// The attributes in order.
    pub fn as_slice(&self) -> &[Attribute] {
        &self.0
    }

    pub(crate) fn expect_len(&self, len: usize) -> OpResult<()> {
        if self.0.len() == len { Ok(()) } else { Err(format!("expected {len} attributes, got {}", self.0.len())) }
    }

    pub(crate) fn read_int(&self, at: usize) -> OpResult<i64> {
        match self.0.get(at) {
            Some(Attribute::Int(v)) => Ok(*v),
            _ => Err(format!("attribute {at} must be an integer")),
        }
    }

    pub(crate) fn read_flag(&self, at: usize) -> OpResult<bool> {
        match self.read_int(at)? {
            0 => Ok(false),
            1 => Ok(true),
            v => Err(format!("attribute {at} must be 0 or 1, got {v}")),
        }
    }

    pub(crate) fn read_size(&self, at: usize) -> OpResult<usize> {
        usize::try_from(self.read_int(at)?).map_err(|_| format!("attribute {at} must not be negative"))
    }

    /// An axis below `rank`.
    pub(crate) fn read_axis(&self, at: usize, rank: usize) -> OpResult<usize> {
        let axis = self.read_size(at)?;
        if axis < rank { Ok(axis) } else { Err(format!("axis {axis} is out of range for rank {rank}")) }
    }

    pub(crate) fn read_float(&self, at: usize) -> OpResult<f32> {
        match self.0.get(at) {
            Some(Attribute::Float(v)) => Ok(*v),
            _ => Err(format!("attribute {at} must be a number")),
        }
    }

    pub(crate) fn read_ints(&self, at: usize) -> OpResult<&[i64]> {
        match self.0.get(at) {
            Some(Attribute::Ints(v)) => Ok(v),
            _ => Err(format!("attribute {at} must be a list of integers")),
        }
    }

    /// A list of non-negative integers.
    pub(crate) fn read_sizes(&self, at: usize) -> OpResult<Vec<usize>> {
        let sizes = self.read_ints(at)?.iter().map(|&v| usize::try_from(v));
        sizes.collect::<Result<_, _>>().map_err(|_| format!("attribute {at} must not hold negative values"))
    }

    /// Strictly ascending axes below `rank`.
    pub(crate) fn read_axes(&self, at: usize, rank: usize) -> OpResult<Vec<usize>> {
        let axes = self.read_sizes(at)?;
        if axes.windows(2).any(|w| w[0] >= w[1]) || axes.last().is_some_and(|&a| a >= rank) {
            return Err(format!("axes {axes:?} must ascend and stay below rank {rank}"));
        }
        Ok(axes)
    }
}
