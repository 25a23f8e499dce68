//! TENSOR_OP: arithmetic on small tensors given as bytes, by the rules of class F and by two's complement integers.
//!
//! An operation is a 16-byte header, parameters where it has some, and raw little-endian row-major operands. Decoding
//! checks the header and the exact length; [`TensorOp::work`] says what the run will cost from the header alone, so a
//! caller can charge before anything is computed. The bytes are specified in `docs/spec/tensor-op.md`.

use crate::float_mode;
use crate::kernels::Isa;
use crate::kernels::gemm::{PackedRight, gemm};
use crate::ops::normalize::{normalize_rows, softmax_rows};
use crate::tensor::NAN_F32_BITS;
use thiserror::Error;

/// Bytes of the header: operation, type, two zeros, m, k, n.
pub const HEADER_BYTES: usize = 16;

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// `a + b` for a, b [m, k].
    Add = 1,
    /// `a * b` element by element for a, b [m, k].
    Mul = 2,
    /// a [m, k] times b [k, n].
    Matmul = 3,
    /// The dot product of each of m pairs of rows of k.
    Dot = 4,
    /// The larger of 0 and x, for x [m, k].
    Relu = 5,
    /// e^(x - max) / sum over each of m rows of k. f32.
    Softmax = 6,
    /// (x - mean) / sqrt(variance + epsilon) over each of m rows of k. f32; parameter epsilon.
    Layernorm = 7,
    /// Position of the largest element of each of m rows of k, the first of equals.
    Argmax = 8,
    /// f32 to i8: round(x / scale) + zero point, saturated. Parameters scale, zero point.
    Quantise = 9,
    /// i8 or i32 to f32: (x - zero point) * scale. Parameters scale, zero point.
    Dequantise = 10,
}

/// Element type of the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Element {
    /// 8-bit two's complement.
    I8 = 1,
    /// 32-bit two's complement.
    I32 = 2,
    /// IEEE 754 binary32.
    F32 = 3,
}

impl Element {
    const fn bytes(self) -> u64 {
        match self {
            Self::I8 => 1,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// Why bytes are no operation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTensorOp {
    /// Too few bytes for a header.
    #[error("the input has {0} bytes, the header alone takes {HEADER_BYTES}")]
    Header(usize),
    /// An operation or type that does not exist.
    #[error("{what} {code} is not known")]
    Unknown {
        /// Operation or element type.
        what: &'static str,
        /// The code found.
        code: u8,
    },
    /// The header's reserved bytes are taken.
    #[error("bytes 2 and 3 of the header must be 0")]
    Reserved,
    /// The operation does not exist for this type.
    #[error("{op:?} is not defined for {element:?}")]
    Type {
        /// The operation.
        op: Operation,
        /// The type.
        element: Element,
    },
    /// A dimension of 0, or n where the operation has none.
    #[error("dimensions [{0}, {1}, {2}] do not fit: none may be 0, and n is 1 for all operations but Matmul")]
    Dimensions(u32, u32, u32),
    /// A parameter that makes no sense.
    #[error("{0}")]
    Parameter(&'static str),
    /// The operands are longer or shorter than the dimensions say.
    #[error("the input has {got} bytes, the header asks for {want}")]
    Length {
        /// Bytes found.
        got: usize,
        /// Bytes that header, parameters and operands take.
        want: u64,
    },
}

/// The machine cannot compute what every other machine computes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("TENSOR_OP cannot run here: {0}")]
pub struct TensorOpFault(String);

/// Work of an operation, known from its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TensorWork {
    /// Multiply-accumulates of integers.
    pub macs: u64,
    /// Weighted element steps: 1 = one vectorised arithmetic operation on one element.
    pub steps: u64,
    /// Bytes of input and output.
    pub bytes: u64,
}

/// A decoded operation: its header is right and its operands have the lengths of their shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorOp<'i> {
    op: Operation,
    element: Element,
    m: usize,
    k: usize,
    n: usize,
    /// Epsilon or scale.
    scale: f32,
    zero_point: i32,
    a: &'i [u8],
    b: &'i [u8],
    input_bytes: u64,
}

impl Operation {
    fn from_code(code: u8) -> Option<Self> {
        use Operation::*;
        [Add, Mul, Matmul, Dot, Relu, Softmax, Layernorm, Argmax, Quantise, Dequantise]
            .into_iter()
            .find(|op| *op as u8 == code)
    }

    const fn parameter_bytes(self) -> usize {
        match self {
            Self::Layernorm => 4,
            Self::Quantise | Self::Dequantise => 8,
            _ => 0,
        }
    }

    const fn is_defined_for(self, element: Element) -> bool {
        match self {
            Self::Softmax | Self::Layernorm | Self::Quantise => matches!(element, Element::F32),
            Self::Dequantise => !matches!(element, Element::F32),
            _ => true,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    word
}

impl<'i> TensorOp<'i> {
    /// Decodes an operation and checks all of its form.
    ///
    /// # Errors
    /// [`InvalidTensorOp`] names what is wrong.
    pub fn decode(input: &'i [u8]) -> Result<Self, InvalidTensorOp> {
        if input.len() < HEADER_BYTES {
            return Err(InvalidTensorOp::Header(input.len()));
        }
        let op =
            Operation::from_code(input[0]).ok_or(InvalidTensorOp::Unknown { what: "operation", code: input[0] })?;
        let element = match input[1] {
            1 => Element::I8,
            2 => Element::I32,
            3 => Element::F32,
            code => return Err(InvalidTensorOp::Unknown { what: "element type", code }),
        };
        if input[2..4] != [0, 0] {
            return Err(InvalidTensorOp::Reserved);
        }
        if !op.is_defined_for(element) {
            return Err(InvalidTensorOp::Type { op, element });
        }
        let [m, k, n] = [4, 8, 12].map(|at| u32::from_le_bytes(word(input, at)));
        if m == 0 || k == 0 || n == 0 || (n != 1 && op != Operation::Matmul) {
            return Err(InvalidTensorOp::Dimensions(m, k, n));
        }
        let operands = HEADER_BYTES + op.parameter_bytes();
        let length = |rows: u32, columns: u32| (u64::from(rows) * u64::from(columns)).saturating_mul(element.bytes());
        let a_bytes = length(m, k);
        let b_bytes = match op {
            Operation::Matmul => length(k, n),
            Operation::Add | Operation::Mul | Operation::Dot => a_bytes,
            _ => 0,
        };
        let want = a_bytes.saturating_add(b_bytes).saturating_add(operands as u64);
        if input.len() as u64 != want {
            return Err(InvalidTensorOp::Length { got: input.len(), want });
        }
        let scale = if operands > HEADER_BYTES { f32::from_le_bytes(word(input, HEADER_BYTES)) } else { 0.0 };
        let zero_point =
            if operands > HEADER_BYTES + 4 { i32::from_le_bytes(word(input, HEADER_BYTES + 4)) } else { 0 };
        check_parameters(op, scale, zero_point)?;
        let (a, b) = input[operands..].split_at(a_bytes as usize);
        let (m, k, n) = (m as usize, k as usize, n as usize);
        Ok(Self { op, element, m, k, n, scale, zero_point, a, b, input_bytes: want })
    }

    /// Bytes of the result.
    pub fn output_bytes(&self) -> u64 {
        let (m, k, n) = (self.m as u64, self.k as u64, self.n as u64);
        let (elements, width) = match self.op {
            Operation::Matmul => (m.saturating_mul(n), 4),
            Operation::Dot | Operation::Argmax => (m, 4),
            Operation::Quantise => (m * k, 1),
            Operation::Relu => (m * k, self.element.bytes()),
            _ => (m * k, 4),
        };
        elements.saturating_mul(width)
    }

    /// What the run will cost. Products of f32 count as steps: where operands are subnormal, a multiply-accumulate takes
    /// many cores a hundred cycles.
    pub fn work(&self) -> TensorWork {
        let (m, k, n) = (self.m as u64, self.k as u64, self.n as u64);
        let elements = m * k;
        let (macs, steps) = match (self.op, self.element) {
            (Operation::Matmul, Element::F32) => (0, elements.saturating_mul(n).saturating_mul(4)),
            (Operation::Matmul, _) => (elements.saturating_mul(n), 0),
            (Operation::Dot, Element::F32) => (0, elements * 4),
            (Operation::Dot, _) => (elements, 0),
            (Operation::Softmax, _) => (0, elements * 12 + m * 16),
            (Operation::Layernorm, _) => (0, elements * 8 + m * 16),
            (Operation::Quantise | Operation::Argmax, _) => (0, elements * 4),
            _ => (0, elements),
        };
        TensorWork { macs, steps, bytes: self.input_bytes.saturating_add(self.output_bytes()) }
    }

    /// Computes the result: raw, little-endian, row-major; every NaN is 0x7fc00000.
    ///
    /// # Errors
    /// When the thread's floating-point mode is not IEEE's default: this machine must not answer.
    pub fn run(&self) -> Result<Vec<u8>, TensorOpFault> {
        if self.element != Element::F32 && self.op != Operation::Dequantise {
            return Ok(self.run_integers());
        }
        float_mode::check().map_err(|error| TensorOpFault(error.to_string()))?;
        Ok(match self.op {
            Operation::Argmax => {
                i32_bytes(argmax_rows(&f32s(self.a), self.k, |v, top| v > top || v.is_nan() && !top.is_nan()))
            }
            Operation::Quantise => {
                let x = f32s(self.a);
                x.iter().map(|v| quantise(*v, self.scale, self.zero_point) as u8).collect()
            }
            _ => f32_bytes(&self.run_floats()),
        })
    }

    fn run_floats(&self) -> Vec<f32> {
        let (m, k, n) = (self.m, self.k, self.n);
        if self.op == Operation::Dequantise {
            // Exact for i8 and small i32; one rounding each for the difference and the product.
            let centred = self.integers(self.a).into_iter().map(|v| v.wrapping_sub(self.zero_point) as f32);
            return centred.map(|v| v * self.scale).collect();
        }
        let (a, b) = (f32s(self.a), f32s(self.b));
        let pairs = || a.iter().zip(&b);
        match self.op {
            Operation::Add => pairs().map(|(a, b)| a + b).collect(),
            Operation::Mul => pairs().map(|(a, b)| a * b).collect(),
            Operation::Relu => a.iter().map(|&v| if v < 0.0 { 0.0 } else { v }).collect(),
            Operation::Matmul => {
                let mut c = vec![0.0; m * n];
                gemm(Isa::detect(), &a, m, &PackedRight::new(&b, k, n), &mut c);
                c
            }
            Operation::Dot => {
                let chain = |(a, b): (&[f32], &[f32])| a.iter().zip(b).fold(0.0f32, |sum, (a, b)| a.mul_add(*b, sum));
                a.chunks_exact(k).zip(b.chunks_exact(k)).map(chain).collect()
            }
            Operation::Softmax => {
                let mut y = vec![0.0; a.len()];
                softmax_rows(Isa::detect(), &a, k, false, &mut y);
                y
            }
            Operation::Layernorm => {
                let mut y = vec![0.0; a.len()];
                normalize_rows(Isa::detect(), &a, k, self.scale, &mut y);
                y
            }
            Operation::Argmax | Operation::Quantise | Operation::Dequantise => Vec::new(),
        }
    }

    /// The operand widened to i32.
    fn integers(&self, bytes: &[u8]) -> Vec<i32> {
        match self.element {
            Element::I8 => bytes.iter().map(|&v| i32::from(v as i8)).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|v| i32::from_le_bytes(*v)).collect(),
        }
    }

    /// Integers wrap modulo 2^32, which the operands of an i8 sum or product never reach.
    fn run_integers(&self) -> Vec<u8> {
        let (k, n) = (self.k, self.n);
        let (a, b) = (self.integers(self.a), self.integers(self.b));
        let pairs = a.iter().zip(&b);
        let fma = |sum: i32, a: i32, b: i32| sum.wrapping_add(a.wrapping_mul(b));
        let result: Vec<i32> = match self.op {
            Operation::Add => pairs.map(|(a, b)| a.wrapping_add(*b)).collect(),
            Operation::Mul => pairs.map(|(a, b)| a.wrapping_mul(*b)).collect(),
            Operation::Dot => {
                let rows = a.chunks_exact(k).zip(b.chunks_exact(k));
                rows.map(|(a, b)| a.iter().zip(b).fold(0, |sum, (a, b)| fma(sum, *a, *b))).collect()
            }
            Operation::Matmul => {
                let mut c = vec![0; self.m * n];
                for (row, out) in a.chunks_exact(k).zip(c.chunks_exact_mut(n)) {
                    for (v, b) in row.iter().zip(b.chunks_exact(n)) {
                        out.iter_mut().zip(b).for_each(|(c, b)| *c = fma(*c, *v, *b));
                    }
                }
                c
            }
            Operation::Argmax => return i32_bytes(argmax_rows(&a, k, |v, top| v > top)),
            _ => a.iter().map(|v| (*v).max(0)).collect(),
        };
        if self.op == Operation::Relu && self.element == Element::I8 {
            return result.into_iter().map(|v| v as u8).collect();
        }
        i32_bytes(result)
    }
}

fn check_parameters(op: Operation, scale: f32, zero_point: i32) -> Result<(), InvalidTensorOp> {
    let refuse = |reason| Err(InvalidTensorOp::Parameter(reason));
    match op {
        Operation::Layernorm if !(scale >= 0.0 && scale.is_finite()) => refuse("epsilon must be 0 or more and finite"),
        Operation::Quantise | Operation::Dequantise if !(scale > 0.0 && scale.is_finite()) => {
            refuse("the scale must be above 0 and finite")
        }
        Operation::Quantise if i8::try_from(zero_point).is_err() => refuse("the zero point must be -128 to 127"),
        _ => Ok(()),
    }
}

/// ONNX's QuantizeLinear to i8: ties to even, then saturation. NaN becomes the zero point.
fn quantise(x: f32, scale: f32, zero_point: i32) -> i8 {
    let rounded = (x / scale).round_ties_even() as i32;
    rounded.saturating_add(zero_point).clamp(-128, 127) as i8
}

/// Position of the element of each row that nothing later beats.
fn argmax_rows<T: Copy>(x: &[T], columns: usize, beats: impl Fn(T, T) -> bool) -> Vec<i32> {
    let best = |row: &[T]| {
        let mut best = 0;
        for (index, v) in row.iter().enumerate() {
            if beats(*v, row[best]) {
                best = index;
            }
        }
        best as i32
    };
    x.chunks_exact(columns).map(best).collect()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    let bits = |v: &f32| if v.is_nan() { NAN_F32_BITS } else { v.to_bits() };
    values.iter().flat_map(|v| bits(v).to_le_bytes()).collect()
}

fn i32_bytes(values: Vec<i32>) -> Vec<u8> {
    values.into_iter().flat_map(i32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn op(code: Operation, element: Element, dims: [u32; 3], parts: &[&[u8]]) -> Vec<u8> {
        let mut input = vec![code as u8, element as u8, 0, 0];
        input.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        input.extend(parts.concat());
        input
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn ints(values: &[i32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn run(input: &[u8]) -> Vec<u8> {
        let op = TensorOp::decode(input).unwrap();
        let output = op.run().unwrap();
        assert_eq!(output.len() as u64, op.output_bytes());
        assert_eq!(op.work().bytes, (input.len() + output.len()) as u64);
        output
    }

    #[test]
    fn floats_by_hand() {
        let a = floats(&[1.0, 2.0, 3.0, 4.0]);
        let b = floats(&[0.5, -2.0, 1.0, 8.0]);
        let two = |code, dims| f32s(&run(&op(code, Element::F32, dims, &[&a, &b])));
        assert_eq!(two(Operation::Add, [2, 2, 1]), [1.5, 0.0, 4.0, 12.0]);
        assert_eq!(two(Operation::Mul, [1, 4, 1]), [0.5, -4.0, 3.0, 32.0]);
        assert_eq!(two(Operation::Dot, [2, 2, 1]), [-3.5, 35.0]);
        assert_eq!(two(Operation::Matmul, [2, 2, 2]), [2.5, 14.0, 5.5, 26.0]);
        let one = |code, parts: &[&[u8]]| f32s(&run(&op(code, Element::F32, [2, 2, 1], parts)));
        assert_eq!(one(Operation::Relu, &[&b]), [0.5, 0.0, 1.0, 8.0]);
        let soft = one(Operation::Softmax, &[&a]);
        assert!((soft[0] - 0.268_941_4).abs() < 1e-6 && (soft[0] + soft[1] - 1.0).abs() < 1e-6);
        assert_eq!(one(Operation::Layernorm, &[&floats(&[0.0]), &a]), [-1.0, 1.0, -1.0, 1.0]);
        assert_eq!(run(&op(Operation::Argmax, Element::F32, [2, 2, 1], &[&b])), ints(&[0, 1]));
    }

    #[test]
    fn integers_by_hand() {
        let a: Vec<u8> = [-128i8, -128, 127, 2].iter().map(|v| *v as u8).collect();
        let i8s = |code, dims| run(&op(code, Element::I8, dims, &[&a, &a]));
        assert_eq!(i8s(Operation::Add, [2, 2, 1]), ints(&[-256, -256, 254, 4]));
        assert_eq!(i8s(Operation::Mul, [2, 2, 1]), ints(&[16384, 16384, 16129, 4]));
        assert_eq!(i8s(Operation::Dot, [2, 2, 1]), ints(&[32768, 16133]));
        assert_eq!(i8s(Operation::Matmul, [2, 2, 2]), ints(&[128, 16128, -16002, -16252]));
        assert_eq!(run(&op(Operation::Relu, Element::I8, [1, 4, 1], &[&a])), [0, 0, 127, 2]);
        assert_eq!(run(&op(Operation::Argmax, Element::I8, [1, 4, 1], &[&a])), ints(&[2]));
        let wide = ints(&[i32::MAX, i32::MIN]);
        let i32s = |code| run(&op(code, Element::I32, [1, 2, 1], &[&wide, &wide]));
        assert_eq!(i32s(Operation::Add), ints(&[-2, 0]), "sums wrap");
        assert_eq!(i32s(Operation::Mul), ints(&[1, 0]), "products wrap");
    }

    #[test]
    fn quantisation_rounds_to_even_and_saturates() {
        let parameters = [floats(&[0.5]), ints(&[1])].concat();
        let x = floats(&[0.25, 0.75, -0.25, 1e9, -1e9, f32::NAN]);
        let q = run(&op(Operation::Quantise, Element::F32, [1, 6, 1], &[&parameters, &x]));
        assert_eq!(q.iter().map(|v| *v as i8).collect::<Vec<_>>(), [1, 3, 1, 127, -128, 1]);
        let back = run(&op(Operation::Dequantise, Element::I8, [1, 6, 1], &[&parameters, &q]));
        assert_eq!(f32s(&back), [0.0, 1.0, 0.0, 63.0, -64.5, 0.0]);
    }

    #[test]
    fn nan_has_one_pattern() {
        let odd = floats(&[f32::from_bits(0xffc0_1234), f32::INFINITY]);
        let minus = floats(&[1.0, f32::NEG_INFINITY]);
        let sum = run(&op(Operation::Add, Element::F32, [1, 2, 1], &[&odd, &minus]));
        assert_eq!(sum, [NAN_F32_BITS.to_le_bytes(), NAN_F32_BITS.to_le_bytes()].concat());
        // NaN is above everything, as in the ArgMax of models.
        assert_eq!(run(&op(Operation::Argmax, Element::F32, [1, 2, 1], &[&odd])), ints(&[0]));
    }

    #[test]
    fn wrong_forms_are_refused_by_name() {
        let refuse = |input: &[u8]| TensorOp::decode(input).unwrap_err().to_string();
        assert!(refuse(&[]).contains("0 bytes"));
        let good = op(Operation::Relu, Element::I32, [1, 1, 1], &[&ints(&[1])]);
        assert!(TensorOp::decode(&good).is_ok());
        let with = |at: usize, value: u8| {
            let mut input = good.clone();
            input[at] = value;
            refuse(&input)
        };
        assert!(with(0, 0).contains("operation 0") && with(0, 11).contains("operation 11"));
        assert!(with(1, 4).contains("element type 4"));
        assert!(with(2, 1).contains("must be 0"));
        assert!(with(4, 0).contains("[0, 1, 1]") && with(12, 2).contains("[1, 1, 2]"));
        assert!(with(4, 2).contains("asks for 24"));
        assert!(with(0, Operation::Softmax as u8).contains("not defined for I32"));
        let huge = op(Operation::Matmul, Element::F32, [u32::MAX; 3], &[]);
        assert!(refuse(&huge).contains("asks for"));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let parameters = [floats(&[scale]), ints(&[0])].concat();
            let input = op(Operation::Quantise, Element::F32, [1, 1, 1], &[&parameters, &floats(&[1.0])]);
            assert!(refuse(&input).contains("scale"), "{scale}");
        }
    }

    #[test]
    fn work_never_wraps() {
        // Three long thin operands: little input, the largest output that lengths allow to name.
        let input = op(Operation::Matmul, Element::I8, [1000, 1, 1000], &[&[1; 1000], &[1; 1000]]);
        let op = TensorOp::decode(&input).unwrap();
        assert_eq!(op.work(), TensorWork { macs: 1_000_000, steps: 0, bytes: 2016 + 4_000_000 });
    }

    proptest! {
        #[test]
        fn a_matrix_product_is_ascending_chains((m, k, n) in (1usize..9, 1usize..40, 1usize..40), seed in any::<u32>()) {
            let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 65536.0 - 100.0;
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i + 7919)).collect();
            let got = f32s(&run(&op(Operation::Matmul, Element::F32, [m as u32, k as u32, n as u32], &[&floats(&a), &floats(&b)])));
            for (i, got) in got.iter().enumerate() {
                let chain = (0..k).fold(0.0f32, |sum, p| a[i / n * k + p].mul_add(b[p * n + i % n], sum));
                prop_assert_eq!(got.to_bits(), chain.to_bits());
            }
        }

        #[test]
        fn any_bytes_are_refused_or_run(mut input in prop::collection::vec(any::<u8>(), 0..200), dims in prop::array::uniform3(0u8..5), code in 0u8..12, element in 0u8..5) {
            if input.len() >= HEADER_BYTES {
                input[..HEADER_BYTES].copy_from_slice(&[code, element, 0, 0, dims[0], 0, 0, 0, dims[1], 0, 0, 0, dims[2], 0, 0, 0]);
            }
            // Cut to the length that the header asks for, if it does.
            if let Err(InvalidTensorOp::Length { want, .. }) = TensorOp::decode(&input) {
                input.resize(want as usize, 0x5a);
            }
            if let Ok(op) = TensorOp::decode(&input) {
                prop_assert_eq!(op.run().unwrap().len() as u64, op.output_bytes());
            }
        }
    }
}
