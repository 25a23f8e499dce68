//! Dense tensors: element types, shapes and their little-endian bytes.
//!
//! A tensor is row-major and owns its elements. Raw bytes (`to_bytes`, `from_bytes`) are what transactions and contracts
//! carry: little-endian, one byte for a bool, every NaN written as the one canonical quiet NaN so that no CPU's choice of
//! payload can be seen.

use crate::error::TensorError;
use crate::limits::{RANK_MAX, TENSOR_BYTES_MAX};

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// Boolean, one byte, 0 or 1.
    Bool,
    /// IEEE 754 binary16: storage only, computed on after an exact cast to f32.
    F16,
    /// bfloat16: storage only, computed on after an exact cast to f32.
    BF16,
}

impl DType {
    /// Every element type, in the order of their codes.
    pub const ALL: [DType; 13] = [
        DType::F32,
        DType::F64,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
        DType::F16,
        DType::BF16,
    ];

    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::I16 | DType::U16 | DType::F16 | DType::BF16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// The name used in output and messages: `f32`, `i64`, `bool`...
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::Bool => "bool",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
        }
    }

    /// The code used by the canonical graph encoding.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The element type with this code, if there is one.
    pub fn from_code(code: u8) -> Option<DType> {
        DType::ALL.get(usize::from(code)).copied()
    }

    /// The element type with this name (`f32`, `i64`, `bool`...), if there is one.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// True for f32, f64, f16 and bf16.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }
}

impl core::fmt::Display for DType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// f32 elements.
    F32(Vec<f32>),
    /// f64 elements.
    F64(Vec<f64>),
    /// i8 elements.
    I8(Vec<i8>),
    /// i16 elements.
    I16(Vec<i16>),
    /// i32 elements.
    I32(Vec<i32>),
    /// i64 elements.
    I64(Vec<i64>),
    /// u8 elements.
    U8(Vec<u8>),
    /// u16 elements.
    U16(Vec<u16>),
    /// u32 elements.
    U32(Vec<u32>),
    /// u64 elements.
    U64(Vec<u64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// binary16 bit patterns.
    F16(Vec<u16>),
    /// bfloat16 bit patterns.
    BF16(Vec<u16>),
}

/// Runs one expression over the typed vector inside a [`Data`], and wraps a produced vector in the same variant.
macro_rules! map_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::tensor::Data::F32($v) => $crate::tensor::Data::F32($body),
            $crate::tensor::Data::F64($v) => $crate::tensor::Data::F64($body),
            $crate::tensor::Data::I8($v) => $crate::tensor::Data::I8($body),
            $crate::tensor::Data::I16($v) => $crate::tensor::Data::I16($body),
            $crate::tensor::Data::I32($v) => $crate::tensor::Data::I32($body),
            $crate::tensor::Data::I64($v) => $crate::tensor::Data::I64($body),
            $crate::tensor::Data::U8($v) => $crate::tensor::Data::U8($body),
            $crate::tensor::Data::U16($v) => $crate::tensor::Data::U16($body),
            $crate::tensor::Data::U32($v) => $crate::tensor::Data::U32($body),
            $crate::tensor::Data::U64($v) => $crate::tensor::Data::U64($body),
            $crate::tensor::Data::Bool($v) => $crate::tensor::Data::Bool($body),
            $crate::tensor::Data::F16($v) => $crate::tensor::Data::F16($body),
            $crate::tensor::Data::BF16($v) => $crate::tensor::Data::BF16($body),
        }
    };
}

/// Runs one expression over the typed vector inside a [`Data`].
macro_rules! each_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::tensor::Data::F32($v) => $body,
            $crate::tensor::Data::F64($v) => $body,
            $crate::tensor::Data::I8($v) => $body,
            $crate::tensor::Data::I16($v) => $body,
            $crate::tensor::Data::I32($v) => $body,
            $crate::tensor::Data::I64($v) => $body,
            $crate::tensor::Data::U8($v) => $body,
            $crate::tensor::Data::U16($v) => $body,
            $crate::tensor::Data::U32($v) => $body,
            $crate::tensor::Data::U64($v) => $body,
            $crate::tensor::Data::Bool($v) => $body,
            $crate::tensor::Data::F16($v) => $body,
            $crate::tensor::Data::BF16($v) => $body,
        }
    };
}

pub(crate) use map_data;

/// Canonical quiet NaN of f32: the only NaN that outputs show.
pub const NAN_F32_BITS: u32 = 0x7fc0_0000;
/// Canonical quiet NaN of f64.
pub const NAN_F64_BITS: u64 = 0x7ff8_0000_0000_0000;
/// Canonical quiet NaN of binary16.
pub const NAN_F16_BITS: u16 = 0x7e00;
/// Canonical quiet NaN of bfloat16.
pub const NAN_BF16_BITS: u16 = 0x7fc0;

impl Data {
    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I8(_) => DType::I8,
            Data::I16(_) => DType::I16,
            Data::I32(_) => DType::I32,
            Data::I64(_) => DType::I64,
            Data::U8(_) => DType::U8,
            Data::U16(_) => DType::U16,
            Data::U32(_) => DType::U32,
            Data::U64(_) => DType::U64,
            Data::Bool(_) => DType::Bool,
            Data::F16(_) => DType::F16,
            Data::BF16(_) => DType::BF16,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each_data!(self, v => v.len())
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` zeros (false for bool) of an element type.
    pub fn zeros(dtype: DType, len: usize) -> Data {
        match dtype {
            DType::F32 => Data::F32(vec![0.0; len]),
            DType::F64 => Data::F64(vec![0.0; len]),
            DType::I8 => Data::I8(vec![0; len]),
            DType::I16 => Data::I16(vec![0; len]),
            DType::I32 => Data::I32(vec![0; len]),
            DType::I64 => Data::I64(vec![0; len]),
            DType::U8 => Data::U8(vec![0; len]),
            DType::U16 => Data::U16(vec![0; len]),
            DType::U32 => Data::U32(vec![0; len]),
            DType::U64 => Data::U64(vec![0; len]),
            DType::Bool => Data::Bool(vec![false; len]),
            DType::F16 => Data::F16(vec![0; len]),
            DType::BF16 => Data::BF16(vec![0; len]),
        }
    }

    /// Reads little-endian elements; `bytes` must hold a whole number of them, and bools must be 0 or 1.
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> Result<Data, TensorError> {
        if !bytes.len().is_multiple_of(dtype.size_bytes()) {
            return Err(TensorError::ByteLength {
                expected: bytes.len().next_multiple_of(dtype.size_bytes()),
                got: bytes.len(),
            });
        }
        macro_rules! read {
            ($t:ty) => {
                bytes
                    .chunks_exact(size_of::<$t>())
                    .map(|c| <$t>::from_le_bytes(c.try_into().expect("chunks_exact gives whole elements")))
                    .collect()
            };
        }
        Ok(match dtype {
            DType::F32 => Data::F32(read!(f32)),
            DType::F64 => Data::F64(read!(f64)),
            DType::I8 => Data::I8(read!(i8)),
            DType::I16 => Data::I16(read!(i16)),
            DType::I32 => Data::I32(read!(i32)),
            DType::I64 => Data::I64(read!(i64)),
            DType::U8 => Data::U8(bytes.to_vec()),
            DType::U16 => Data::U16(read!(u16)),
            DType::U32 => Data::U32(read!(u32)),
            DType::U64 => Data::U64(read!(u64)),
            DType::F16 => Data::F16(read!(u16)),
            DType::BF16 => Data::BF16(read!(u16)),
            DType::Bool => {
                if let Some(index) = bytes.iter().position(|&b| b > 1) {
                    return Err(TensorError::BoolByte { index, value: bytes[index] });
                }
                Data::Bool(bytes.iter().map(|&b| b == 1).collect())
            }
        })
    }

    /// Appends the elements as little-endian bytes, exactly as stored (NaN payloads included).
    pub(crate) fn append_le_bytes(&self, out: &mut Vec<u8>) {
        match self {
            Data::U8(v) => out.extend_from_slice(v),
            Data::Bool(v) => out.extend(v.iter().map(|&b| u8::from(b))),
            Data::F32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::F64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::I8(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::I16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::I32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::I64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::U16(v) | Data::F16(v) | Data::BF16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::U32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Data::U64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        }
    }

    /// Replaces every NaN by the canonical one.
    pub fn canonicalize_nan(&mut self) {
        match self {
            Data::F32(v) => v.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = f32::from_bits(NAN_F32_BITS)),
            Data::F64(v) => v.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = f64::from_bits(NAN_F64_BITS)),
            Data::F16(v) => v.iter_mut().filter(|x| **x & 0x7fff > 0x7c00).for_each(|x| *x = NAN_F16_BITS),
            Data::BF16(v) => v.iter_mut().filter(|x| **x & 0x7fff > 0x7f80).for_each(|x| *x = NAN_BF16_BITS),
            _ => {}
        }
    }
}

/// A dense row-major tensor. A scalar has an empty shape and one element.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

macro_rules! typed {
    ($($variant:ident, $t:ty, $new:ident, $as:ident, $doc:literal;)*) => {$(
        #[doc = concat!("A tensor of ", $doc, " elements. Errors when the element count does not fit the shape.")]
        pub fn $new(shape: impl Into<Vec<usize>>, values: Vec<$t>) -> Result<Tensor, TensorError> {
            Tensor::new(shape, Data::$variant(values))
        }

        #[doc = concat!("The elements, when they are ", $doc, ".")]
        pub fn $as(&self) -> Option<&[$t]> {
            match &self.data {
                Data::$variant(v) => Some(v),
                _ => None,
            }
        }
    )*};
}

impl Tensor {
    /// A tensor from its shape and elements. Errors when the element count does not fit the shape or a limit is passed.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let expected = element_count(data.dtype(), &shape)?;
        if expected != data.len() {
            return Err(TensorError::ElementCount { shape, expected, got: data.len() });
        }
        Ok(Tensor { shape, data })
    }

    typed! {
        F32, f32, from_f32, as_f32, "f32";
        F64, f64, from_f64, as_f64, "f64";
        I8, i8, from_i8, as_i8, "i8";
        I16, i16, from_i16, as_i16, "i16";
        I32, i32, from_i32, as_i32, "i32";
        I64, i64, from_i64, as_i64, "i64";
        U8, u8, from_u8, as_u8, "u8";
        U16, u16, from_u16, as_u16, "u16";
        U32, u32, from_u32, as_u32, "u32";
        U64, u64, from_u64, as_u64, "u64";
        Bool, bool, from_bool, as_bool, "bool";
    }

    /// A tensor of zeros.
    pub fn zeros(dtype: DType, shape: impl Into<Vec<usize>>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let len = element_count(dtype, &shape)?;
        Ok(Tensor { shape, data: Data::zeros(dtype, len) })
    }

    /// A tensor from raw little-endian row-major bytes. Errors name the expected and given byte lengths.
    pub fn from_bytes(dtype: DType, shape: impl Into<Vec<usize>>, bytes: &[u8]) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let expected = element_count(dtype, &shape)? * dtype.size_bytes();
        if expected != bytes.len() {
            return Err(TensorError::ByteLength { expected, got: bytes.len() });
        }
        Ok(Tensor { shape, data: Data::from_le_bytes(dtype, bytes)? })
    }

    /// Raw little-endian row-major bytes, every NaN canonical.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_bytes());
        self.append_bytes(&mut out);
        out
    }

    /// Appends [`Tensor::to_bytes`] to a buffer.
    pub fn append_bytes(&self, out: &mut Vec<u8>) {
        match &self.data {
            Data::F32(v) => out.extend(v.iter().flat_map(|x| {
                let bits = if x.is_nan() { NAN_F32_BITS } else { x.to_bits() };
                bits.to_le_bytes()
            })),
            Data::F64(_) | Data::F16(_) | Data::BF16(_) => {
                let mut data = self.data.clone();
                data.canonicalize_nan();
                data.append_le_bytes(out);
            }
            data => data.append_le_bytes(out),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// True when a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Bytes of all elements.
    pub fn size_bytes(&self) -> usize {
        self.data.len() * self.dtype().size_bytes()
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, to be changed in place (their number and type cannot change through a slice pattern).
    pub(crate) fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    /// Makes every NaN the canonical one.
    pub fn canonicalize_nan(&mut self) {
        self.data.canonicalize_nan();
    }

    /// The elements, by value.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// The same elements under another shape. Errors when the element counts differ.
    pub fn with_shape(self, shape: impl Into<Vec<usize>>) -> Result<Tensor, TensorError> {
        Tensor::new(shape, self.data)
    }

    /// Elements widened to f64, bools as 0 and 1. Exact but for i64 and u64 beyond 2^53: read those with [`Tensor::to_i64s`].
    pub fn to_f64s(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::F64(v) => v.clone(),
            Data::F16(v) => v.iter().map(|&x| f64::from(crate::half::f16_to_f32(x))).collect(),
            Data::BF16(v) => v.iter().map(|&x| f64::from(crate::half::bf16_to_f32(x))).collect(),
            Data::U64(v) => v.iter().map(|&x| x as f64).collect(),
            _ => self.to_i64s().unwrap_or_default().into_iter().map(|x| x as f64).collect(),
        }
    }

    /// Why this tensor is not the wanted one, if it is not: another type or shape, or the first element that is further
    /// away than `absolute + relative * |wanted|`. Every NaN equals every other.
    pub fn difference(&self, wanted: &Tensor, tolerance: Tolerance) -> Option<String> {
        if self.dtype() != wanted.dtype() || self.shape != wanted.shape {
            let (got, shape) = (self.dtype(), &self.shape);
            return Some(format!("got {got}{shape:?}, want {}{:?}", wanted.dtype(), wanted.shape));
        }
        let near = |g: f64, w: f64| {
            let allowed = tolerance.absolute + tolerance.relative * w.abs();
            g == w || g.is_nan() && w.is_nan() || w.is_finite() && (g - w).abs() <= allowed
        };
        let mut pairs = self.to_f64s().into_iter().zip(wanted.to_f64s()).enumerate();
        pairs.find(|&(_, (g, w))| !near(g, w)).map(|(i, (g, w))| format!("element {i}: got {g}, want {w}"))
    }

    /// Integer elements of any integer type (or bool) widened to i64; `None` for floats and for u64 beyond i64.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        Some(match &self.data {
            Data::I8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::I64(v) => v.clone(),
            Data::U8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::U64(v) => v.iter().map(|&x| i64::try_from(x).ok()).collect::<Option<_>>()?,
            Data::Bool(v) => v.iter().map(|&x| i64::from(x)).collect(),
            Data::F32(_) | Data::F64(_) | Data::F16(_) | Data::BF16(_) => return None,
        })
    }
}

/// How far a tensor may be from the one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Allowed at zero.
    pub absolute: f64,
    /// Allowed for each unit of the wanted value's size.
    pub relative: f64,
}

/// Number of elements of a shape, checked against overflow and the limits on rank and bytes.
pub fn element_count(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    if shape.len() > RANK_MAX {
        return Err(TensorError::Rank { got: shape.len(), max: RANK_MAX });
    }
    let too_large = || TensorError::TooLarge { dtype, shape: shape.to_vec(), bytes_max: TENSOR_BYTES_MAX };
    // A zero dimension makes an empty tensor, but the others must still make sense on their own.
    let mut bytes = dtype.size_bytes();
    for &dim in shape.iter().filter(|&&dim| dim != 0) {
        bytes = bytes.checked_mul(dim).filter(|&bytes| bytes <= TENSOR_BYTES_MAX).ok_or_else(too_large)?;
    }
    if shape.contains(&0) { Ok(0) } else { Ok(bytes / dtype.size_bytes()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_round_trip_for_every_dtype() {
        for dtype in DType::ALL {
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
            let bytes: Vec<u8> = (0..6 * dtype.size_bytes()).map(|i| (i % 2) as u8).collect();
            let tensor = Tensor::from_bytes(dtype, [2, 3], &bytes).unwrap();
            assert_eq!(tensor.dtype(), dtype);
            assert_eq!(tensor.to_bytes(), bytes);
        }
        assert_eq!(DType::from_code(13), None);
    }

    #[test]
    fn every_nan_is_written_as_the_canonical_one() {
        let t = Tensor::from_f32([2], vec![f32::from_bits(0xffc0_1234), -0.0]).unwrap();
        assert_eq!(t.to_bytes(), [0, 0, 0xc0, 0x7f, 0, 0, 0, 0x80]);
        let t = Tensor::new([1], Data::F16(vec![0xfe01])).unwrap();
        assert_eq!(t.to_bytes(), [0x00, 0x7e]);
    }

    #[test]
    fn a_difference_is_the_first_element_out_of_tolerance() {
        let t = |v: &[f32]| Tensor::from_f32([v.len()], v.to_vec()).unwrap();
        let tolerance = Tolerance { absolute: 0.5, relative: 0.1 };
        assert_eq!(t(&[0.5, 11.0, f32::NAN]).difference(&t(&[0.0, 10.0, f32::NAN]), tolerance), None);
        let far = t(&[0.0, 12.0, 99.0]).difference(&t(&[0.0, 10.0, 0.0]), tolerance);
        assert_eq!(far.as_deref(), Some("element 1: got 12, want 10"));
        assert!(t(&[f32::NAN]).difference(&t(&[0.0]), tolerance).is_some());
        assert!(t(&[f32::INFINITY]).difference(&t(&[f32::INFINITY]), tolerance).is_none());
        // An infinity that is wanted allows no finite number.
        assert!(t(&[1.0]).difference(&t(&[f32::INFINITY]), tolerance).is_some());
        assert!(t(&[1.0]).difference(&t(&[1.0, 1.0]), tolerance).unwrap().contains("f32[2]"));
    }

    #[test]
    fn wrong_lengths_bools_and_huge_shapes_are_named() {
        assert_eq!(Tensor::from_bytes(DType::F32, [2], &[0; 7]), Err(TensorError::ByteLength { expected: 8, got: 7 }));
        assert_eq!(Tensor::from_bytes(DType::Bool, [2], &[1, 2]), Err(TensorError::BoolByte { index: 1, value: 2 }));
        assert!(matches!(Tensor::from_f32([3], vec![0.0]), Err(TensorError::ElementCount { expected: 3, got: 1, .. })));
        assert!(matches!(element_count(DType::F32, &[usize::MAX, 2]), Err(TensorError::TooLarge { .. })));
        assert!(matches!(element_count(DType::F32, &[0, usize::MAX, 2]), Err(TensorError::TooLarge { .. })));
        assert!(matches!(element_count(DType::F32, &[1; RANK_MAX + 1]), Err(TensorError::Rank { .. })));
        assert_eq!(element_count(DType::F32, &[]), Ok(1));
        assert_eq!(element_count(DType::F32, &[0, 5]), Ok(0));
    }
}
