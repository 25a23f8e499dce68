//! Arithmetic on each element: functions of one operand, and of two with broadcasting.
//!
//! f32 goes through `kernels`; f64 uses the same definitions in f64; integers wrap, and an integer division by zero
//! is refused.

use super::broadcast::{ROW_STEPS, broadcast_rows, broadcast_shapes, try_zip, zip};
use super::{Attributes, OpResult, OpSpec, operands, tensor};
use crate::cost::Work;
use crate::graph::TensorType;
use crate::kernels::Isa;
use crate::kernels::elementwise::{Binary, Unary};
use crate::kernels::program::{Program, Source, Step, Tiles};
use crate::tensor::{DType, Data, Tensor};

macro_rules! unary_ops {
    ($($name:ident $code:literal $text:literal $steps:literal;)*) => {
        $(#[doc = concat!("`", $text, "` of one operand.")]
        pub static $name: OpSpec = OpSpec {
            code: $code,
            name: $text,
            infer: infer_unary::<$code>,
            work: |_, _, results| unary_work($steps, &results[0]),
            run: run_unary::<$code>,
        };)*
        pub(super) const UNARY: &[&OpSpec] = &[$(&$name),*];
    };
}

// Steps: 1 for an operation that vectorises, more for polynomials, 40 and up for the scalar functions of libm.
unary_ops! {
    NEG 0x0101 "Neg" 1;
    ABS 0x0102 "Abs" 1;
    SQRT 0x0103 "Sqrt" 3;
    RECIPROCAL 0x0104 "Reciprocal" 3;
    FLOOR 0x0105 "Floor" 1;
    CEIL 0x0106 "Ceil" 1;
    ROUND 0x0107 "Round" 1;
    SIGN 0x0108 "Sign" 1;
    RELU 0x0109 "Relu" 1;
    EXP 0x010a "Exp" 5;
    TANH 0x010b "Tanh" 7;
    SIGMOID 0x010c "Sigmoid" 6;
    ERF 0x010d "Erf" 14;
    LOG 0x010e "Log" 70;
    SOFTPLUS 0x010f "Softplus" 150;
    SOFTSIGN 0x0110 "Softsign" 4;
    SIN 0x0111 "Sin" 80;
    COS 0x0112 "Cos" 80;
    TAN 0x0113 "Tan" 190;
    ASIN 0x0114 "Asin" 135;
    ACOS 0x0115 "Acos" 85;
    ATAN 0x0116 "Atan" 330;
    SINH 0x0117 "Sinh" 130;
    COSH 0x0118 "Cosh" 330;
    ASINH 0x0119 "Asinh" 180;
    ACOSH 0x011a "Acosh" 80;
    ATANH 0x011b "Atanh" 155;
    LEAKY_RELU 0x0120 "LeakyRelu" 1;
    ELU 0x0121 "Elu" 60;
    CELU 0x0122 "Celu" 60;
    SELU 0x0123 "Selu" 60;
    THRESHOLDED_RELU 0x0124 "ThresholdedRelu" 1;
    SHRINK 0x0125 "Shrink" 2;
}

macro_rules! binary_ops {
    ($($name:ident $code:literal $text:literal $steps:literal;)*) => {
        $(#[doc = concat!("`", $text, "` of two operands.")]
        pub static $name: OpSpec = OpSpec {
            code: $code,
            name: $text,
            infer: infer_binary::<$code>,
            work: |_, types, results| binary_work($steps, types, &results[0]),
            run: run_binary::<$code>,
        };)*
        pub(super) const BINARY: &[&OpSpec] = &[$(&$name),*];
    };
}

binary_ops! {
    ADD 0x0201 "Add" 4;
    SUB 0x0202 "Sub" 4;
    MUL 0x0203 "Mul" 4;
    DIV 0x0204 "Div" 3;
    MAX 0x0205 "Max" 4;
    MIN 0x0206 "Min" 4;
    POW 0x0207 "Pow" 600;
    PRELU 0x0208 "PRelu" 4;
    MOD 0x0209 "Mod" 600;
    FMOD 0x020a "Fmod" 600;
}

/// f64 has no vector kernels: rounding is a call, and polynomials are libm's functions.
fn unary_work(steps: u64, result: &TensorType) -> Work {
    let more = match (result.dtype, steps) {
        (DType::F64, ..3) => 45,
        (DType::F64, _) => 520,
        _ => 0,
    };
    Work::steps(steps + more, result)
}

/// Integers are divided one by one, and f64 has no vector kernels.
fn binary_work(steps: u64, types: &[&TensorType], result: &TensorType) -> Work {
    let steps = match result.dtype {
        DType::F64 => steps + 40,
        dtype if steps == 3 && !dtype.is_float() => 60,
        _ => steps,
    };
    Work::steps(steps, result).and(ROW_STEPS, broadcast_rows(types, result))
}

/// Whether an operator is one of this file: it computes each element from those at the same place.
pub(crate) fn is_elementwise(op: &OpSpec) -> bool {
    UNARY.iter().chain(BINARY).any(|known| known.code == op.code)
}

/// The kernel's function for an operator code and its attributes.
fn unary_of(code: u16, attributes: &Attributes) -> OpResult<Unary> {
    let (count, function) = match code {
        0x0101 => (0, Unary::Neg),
        0x0102 => (0, Unary::Abs),
        0x0103 => (0, Unary::Sqrt),
        0x0104 => (0, Unary::Reciprocal),
        0x0105 => (0, Unary::Floor),
        0x0106 => (0, Unary::Ceil),
        0x0107 => (0, Unary::Round),
        0x0108 => (0, Unary::Sign),
        0x0109 => (0, Unary::Relu),
        0x010a => (0, Unary::Exp),
        0x010b => (0, Unary::Tanh),
        0x010c => (0, Unary::Sigmoid),
        0x010d => (0, Unary::Erf),
        0x010e => (0, Unary::Log),
        0x010f => (0, Unary::Softplus),
        0x0110 => (0, Unary::Softsign),
        0x0111 => (0, Unary::Sin),
        0x0112 => (0, Unary::Cos),
        0x0113 => (0, Unary::Tan),
        0x0114 => (0, Unary::Asin),
        0x0115 => (0, Unary::Acos),
        0x0116 => (0, Unary::Atan),
        0x0117 => (0, Unary::Sinh),
        0x0118 => (0, Unary::Cosh),
        0x0119 => (0, Unary::Asinh),
        0x011a => (0, Unary::Acosh),
        0x011b => (0, Unary::Atanh),
        0x0120 => (1, Unary::LeakyRelu(attributes.read_float(0)?)),
        0x0121 => (1, Unary::Elu(attributes.read_float(0)?)),
        0x0122 => (1, Unary::Celu(attributes.read_float(0)?)),
        0x0123 => (2, Unary::Selu(attributes.read_float(0)?, attributes.read_float(1)?)),
        0x0124 => (1, Unary::ThresholdedRelu(attributes.read_float(0)?)),
        0x0125 => (2, Unary::Shrink(attributes.read_float(0)?, attributes.read_float(1)?)),
        _ => return Err(format!("{code:#06x} is not a function of one operand")),
    };
    attributes.expect_len(count)?;
    Ok(function)
}

fn binary_of(code: u16) -> Binary {
    match code {
        0x0201 => Binary::Add,
        0x0202 => Binary::Sub,
        0x0203 => Binary::Mul,
        0x0204 => Binary::Div,
        0x0205 => Binary::Max,
        0x0206 => Binary::Min,
        0x0207 => Binary::Pow,
        0x0208 => Binary::PRelu,
        0x0209 => Binary::Mod,
        _ => Binary::Fmod,
    }
}

/// The f32 kernel behind a node, when it has one: what the executor may fuse.
pub(crate) enum Kernel {
    /// A function of one operand.
    Unary(Unary),
    /// A function of two operands.
    Binary(Binary),
}

impl Kernel {
    /// The kernel of an operator on f32 operands.
    pub(crate) fn of(op: &OpSpec, attributes: &Attributes) -> Option<Kernel> {
        match op.code >> 8 {
            1 => unary_of(op.code, attributes).ok().map(Kernel::Unary),
            2 => Some(Kernel::Binary(binary_of(op.code))),
            _ => None,
        }
    }
}

fn infer_unary<const CODE: u16>(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    unary_type(unary_of(CODE, attributes)?, types)
}

fn unary_type(function: Unary, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    let [x] = operands(types)?;
    let signed = matches!(x.dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    let unsigned = matches!(x.dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64);
    let fits = match function {
        Unary::Neg => signed,
        Unary::Abs | Unary::Sign | Unary::Relu => signed || unsigned,
        Unary::Shrink(..) | Unary::Floor | Unary::Ceil | Unary::Round => false,
        _ => false,
    };
    if !fits && !matches!(x.dtype, DType::F32 | DType::F64) {
        return Err(format!("it is not defined for {}", x.dtype));
    }
    Ok(vec![x.clone()])
}

fn run_unary<const CODE: u16>(attributes: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    unary(unary_of(CODE, attributes)?, inputs)
}

/// Not generic: compiled once for all operators.
fn unary(function: Unary, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [x] = operands(inputs)?;
    macro_rules! signed {
        ($variant:ident, $v:ident) => {
            Data::$variant(match function {
                Unary::Neg => $v.iter().map(|x| x.wrapping_neg()).collect(),
                Unary::Abs => $v.iter().map(|x| x.wrapping_abs()).collect(),
                Unary::Sign => $v.iter().map(|x| x.signum()).collect(),
                _ => $v.iter().map(|&x| x.max(0)).collect(),
            })
        };
    }
    macro_rules! unsigned {
        ($variant:ident, $v:ident) => {
            Data::$variant(match function {
                Unary::Sign => $v.iter().map(|&x| x.min(1)).collect(),
                _ => $v.clone(),
            })
        };
    }
    let data = match x.data() {
        Data::F32(v) => evaluate(x.shape(), &[x.shape()], Step::Unary(function, Source::Operand(0)), &[v]),
        Data::F64(v) => Data::F64(v.iter().map(|&x| unary_f64(function, x)).collect()),
        Data::I8(v) => signed!(I8, v),
        Data::I16(v) => signed!(I16, v),
        Data::I32(v) => signed!(I32, v),
        Data::I64(v) => signed!(I64, v),
        Data::U8(v) => unsigned!(U8, v),
        Data::U16(v) => unsigned!(U16, v),
        Data::U32(v) => unsigned!(U32, v),
        Data::U64(v) => unsigned!(U64, v),
        other => return Err(format!("it is not defined for {}", other.dtype())),
    };
    Ok(vec![tensor(x.shape(), data)?])
}

/// One step of f32 over a shape.
fn evaluate(shape: &[usize], operand_shapes: &[&[usize]], step: Step, operands: &[&[f32]]) -> Data {
    let program = Program::new(shape, operand_shapes, vec![step], &[0]);
    let mut values = vec![0.0; program.len()];
    program.run(Isa::detect(), 0, operands, &mut [&mut values], &mut Tiles::default());
    Data::F32(values)
}

fn unary_f64(function: Unary, x: f64) -> f64 {
    let keep_nan = |value: f64| if x.is_nan() { x } else { value };
    match function {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Sign => keep_nan(if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }),
        Unary::Relu => keep_nan(if x > 0.0 { x } else { 0.0 }),
        Unary::Exp => libm::exp(x),
        Unary::Tanh => libm::tanh(x),
        Unary::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
        Unary::Erf => libm::erf(x),
        Unary::Log => libm::log(x),
        Unary::Softplus => keep_nan((if x > 0.0 { x } else { 0.0 }) + libm::log1p(libm::exp(-x.abs()))),
        Unary::Softsign => x / (1.0 + x.abs()),
        Unary::Sin => libm::sin(x),
        Unary::Cos => libm::cos(x),
        Unary::Tan => libm::tan(x),
        Unary::Asin => libm::asin(x),
        Unary::Acos => libm::acos(x),
        Unary::Atan => libm::atan(x),
        Unary::Sinh => libm::sinh(x),
        Unary::Cosh => libm::cosh(x),
        Unary::Asinh => libm::asinh(x),
        Unary::Acosh => libm::acosh(x),
        Unary::Atanh => libm::atanh(x),
        Unary::LeakyRelu(alpha) => {
            if x < 0.0 {
                f64::from(alpha) * x
            } else {
                x
            }
        }
        Unary::Elu(alpha) => {
            if x > 0.0 {
                x
            } else {
                f64::from(alpha) * libm::expm1(x)
            }
        }
        Unary::Celu(alpha) => {
            if x > 0.0 {
                x
            } else {
                f64::from(alpha) * libm::expm1(x / f64::from(alpha))
            }
        }
        Unary::Selu(alpha, gamma) => f64::from(gamma) * if x > 0.0 { x } else { f64::from(alpha) * libm::expm1(x) },
        Unary::ThresholdedRelu(alpha) => keep_nan(if x > f64::from(alpha) { x } else { 0.0 }),
        Unary::Shrink(lambda, bias) => keep_nan(if x < -f64::from(lambda) {
            x + f64::from(bias)
        } else if x > f64::from(lambda) {
            x - f64::from(bias)
        } else {
            0.0
        }),
    }
}

fn infer_binary<const CODE: u16>(attributes: &Attributes, types: &[&TensorType]) -> OpResult<Vec<TensorType>> {
    attributes.expect_len(0)?;
    let [a, b] = operands(types)?;
    if a.dtype != b.dtype {
        return Err(format!("operand types differ: {} and {}", a.dtype, b.dtype));
    }
    if matches!(a.dtype, DType::Bool | DType::F16 | DType::BF16) {
        return Err(format!("it is not defined for {}", a.dtype));
    }
    Ok(vec![TensorType::new(a.dtype, broadcast_shapes(&[&a.shape, &b.shape])?)])
}

fn run_binary<const CODE: u16>(_: &Attributes, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    binary(binary_of(CODE), inputs)
}

/// Not generic: compiled once for all operators.
fn binary(function: Binary, inputs: &[&Tensor]) -> OpResult<Vec<Tensor>> {
    let [a, b] = operands(inputs)?;
    let shape = broadcast_shapes(&[a.shape(), b.shape()])?;
    macro_rules! integers {
        ($variant:ident, $t:ty, $a:ident, $b:ident) => {{
            let (a, b) = (($a.as_slice(), a.shape()), ($b.as_slice(), b.shape()));
            let zero = || "integer division by zero".to_string();
            Data::$variant(match function {
                Binary::Add => zip(a, b, &shape, <$t>::wrapping_add),
                Binary::Sub => zip(a, b, &shape, <$t>::wrapping_sub),
                Binary::Mul => zip(a, b, &shape, <$t>::wrapping_mul),
                Binary::Max => zip(a, b, &shape, <$t>::max),
                Binary::Min => zip(a, b, &shape, <$t>::min),
                Binary::Div => try_zip(a, b, &shape, |x, y| if y == 0 { Err(zero()) } else { Ok(x.wrapping_div(y)) })?,
                Binary::Fmod => try_zip(a, b, &shape, |x, y| if y == 0 { Err(zero()) } else { Ok(x.wrapping_rem(y)) })?,
                Binary::Mod => try_zip(a, b, &shape, |x, y| {
                    if y == 0 {
                        return Err(zero());
                    }
                    let r = x.wrapping_rem(y);
                    #[allow(unused_comparisons)]
                    let other_sign = r != 0 && (r < 0) != (y < 0);
                    Ok(if other_sign { r.wrapping_add(y) } else { r })
                })?,
                Binary::Pow => try_zip(a, b, &shape, |x, y| integer_power(x as i128, y as i128).map(|p| p as $t))?,
                Binary::PRelu => zip(a, b, &shape, |x, y| {
                    #[allow(unused_comparisons)]
                    let negative = x < 0;
                    if negative { x.wrapping_mul(y) } else { x }
                }),
            })
        }};
    }
    let data = match (a.data(), b.data()) {
        (Data::F32(x), Data::F32(y)) => {
            let step = Step::Binary(function, Source::Operand(0), Source::Operand(1));
            evaluate(&shape, &[a.shape(), b.shape()], step, &[x, y])
        }
        (Data::F64(x), Data::F64(y)) => {
            Data::F64(zip((x, a.shape()), (y, b.shape()), &shape, |x, y| binary_f64(function, x, y)))
        }
        (Data::I8(x), Data::I8(y)) => integers!(I8, i8, x, y),
        (Data::I16(x), Data::I16(y)) => integers!(I16, i16, x, y),
        (Data::I32(x), Data::I32(y)) => integers!(I32, i32, x, y),
        (Data::I64(x), Data::I64(y)) => integers!(I64, i64, x, y),
        (Data::U8(x), Data::U8(y)) => integers!(U8, u8, x, y),
        (Data::U16(x), Data::U16(y)) => integers!(U16, u16, x, y),
        (Data::U32(x), Data::U32(y)) => integers!(U32, u32, x, y),
        (Data::U64(x), Data::U64(y)) => integers!(U64, u64, x, y),
        _ => return Err(format!("it is not defined for {} and {}", a.dtype(), b.dtype())),
    };
    Ok(vec![tensor(&shape, data)?])
}

/// x^y modulo 2^128, which the caller cuts to its own width; a negative exponent of an integer is refused.
fn integer_power(x: i128, y: i128) -> OpResult<i128> {
    let mut exponent =
        u128::try_from(y).map_err(|_| format!("an integer to the negative power {y} is not an integer"))?;
    let (mut power, mut base) = (1i128, x);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    Ok(power)
}

fn binary_f64(function: Binary, a: f64, b: f64) -> f64 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => {
            if a.is_nan() || a >= b {
                a
            } else {
                b
            }
        }
        Binary::Min => {
            if a.is_nan() || a <= b {
                a
            } else {
                b
            }
        }
        Binary::Pow => libm::pow(a, b),
        Binary::PRelu => {
            if a < 0.0 {
                b * a
            } else {
                a
            }
        }
        Binary::Fmod => libm::fmod(a, b),
        Binary::Mod => {
            let r = libm::fmod(a, b);
            if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_code_has_its_function() {
        let attributes = [Attributes::none(), Attributes::none().float(1.0), Attributes::none().float(1.0).float(1.0)];
        for op in UNARY {
            assert!(attributes.iter().any(|a| unary_of(op.code, a).is_ok()), "{}", op.name);
        }
    }

    #[test]
    fn integers_wrap_and_refuse_division_by_zero() {
        let a = Tensor::from_i32([3], vec![i32::MIN, -7, 7]).unwrap();
        let b = Tensor::from_i32([3], vec![-1, 3, -3]).unwrap();
        let run = |op: &OpSpec| (op.run)(&Attributes::none(), &[&a, &b]).map(|r| r[0].as_i32().unwrap().to_vec());
        assert_eq!(run(&DIV).unwrap(), [i32::MIN, -2, -2]);
        assert_eq!(run(&MOD).unwrap(), [0, 2, -2]);
        assert_eq!(run(&FMOD).unwrap(), [0, -1, 1]);
        assert!(run(&POW).unwrap_err().contains("negative power"));
        let zero = Tensor::from_i32([], vec![0]).unwrap();
        assert!((DIV.run)(&Attributes::none(), &[&a, &zero]).unwrap_err().contains("division by zero"));
        assert_eq!(integer_power(3, 5).unwrap(), 243);
    }

    #[test]
    fn max_and_min_pass_nan_on() {
        let a = Tensor::from_f32([4], vec![f32::NAN, 1.0, -0.0, 0.0]).unwrap();
        let b = Tensor::from_f32([4], vec![1.0, f32::NAN, 0.0, -0.0]).unwrap();
        for op in [&MAX, &MIN] {
            let r = (op.run)(&Attributes::none(), &[&a, &b]).unwrap().remove(0);
            let r = r.as_f32().unwrap();
            assert!(r[0].is_nan() && r[1].is_nan());
            assert_eq!((r[2].to_bits(), r[3].to_bits()), ((-0.0f32).to_bits(), 0));
        }
    }
}
