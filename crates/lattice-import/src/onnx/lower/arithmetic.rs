//! Elementwise arithmetic, comparison, logic and selection.

use super::{Entry, computes, moves};
use crate::onnx::node::NodeContext;
use crate::onnx::tensors::dtype_of;
use lattice_inference::DType;
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, OpSpec, cast, compare, elementwise as ew};

pub(super) const TABLE: &[Entry] = &[
    computes("Abs", |c| unary(c, &ew::ABS)),
    computes("Neg", |c| unary(c, &ew::NEG)),
    computes("Sqrt", |c| unary(c, &ew::SQRT)),
    computes("Reciprocal", |c| unary(c, &ew::RECIPROCAL)),
    computes("Floor", |c| unary(c, &ew::FLOOR)),
    computes("Ceil", |c| unary(c, &ew::CEIL)),
    computes("Round", |c| unary(c, &ew::ROUND)),
    computes("Sign", |c| unary(c, &ew::SIGN)),
    computes("Exp", |c| unary(c, &ew::EXP)),
    computes("Log", |c| unary(c, &ew::LOG)),
    computes("Erf", |c| unary(c, &ew::ERF)),
    computes("Sin", |c| unary(c, &ew::SIN)),
    computes("Cos", |c| unary(c, &ew::COS)),
    computes("Tan", |c| unary(c, &ew::TAN)),
    computes("Asin", |c| unary(c, &ew::ASIN)),
    computes("Acos", |c| unary(c, &ew::ACOS)),
    computes("Atan", |c| unary(c, &ew::ATAN)),
    computes("Sinh", |c| unary(c, &ew::SINH)),
    computes("Cosh", |c| unary(c, &ew::COSH)),
    computes("Asinh", |c| unary(c, &ew::ASINH)),
    computes("Acosh", |c| unary(c, &ew::ACOSH)),
    computes("Atanh", |c| unary(c, &ew::ATANH)),
    computes("Add", |c| binary(c, &ew::ADD)),
    computes("Sub", |c| binary(c, &ew::SUB)),
    computes("Mul", |c| binary(c, &ew::MUL)),
    computes("Div", |c| binary(c, &ew::DIV)),
    computes("Pow", pow),
    computes("Mod", modulo),
    computes("Max", |c| variadic(c, &ew::MAX)),
    computes("Min", |c| variadic(c, &ew::MIN)),
    computes("Sum", |c| variadic(c, &ew::ADD)),
    computes("Mean", mean),
    computes("Equal", |c| binary(c, &compare::EQUAL)),
    computes("Less", |c| binary(c, &compare::LESS)),
    computes("LessOrEqual", |c| binary(c, &compare::LESS_OR_EQUAL)),
    computes("Greater", |c| binary(c, &compare::GREATER)),
    computes("GreaterOrEqual", |c| binary(c, &compare::GREATER_OR_EQUAL)),
    computes("And", |c| binary(c, &compare::AND)),
    computes("Or", |c| binary(c, &compare::OR)),
    computes("Xor", |c| binary(c, &compare::XOR)),
    computes("Not", |c| unary(c, &compare::NOT)),
    computes("IsNaN", |c| unary(c, &compare::IS_NAN)),
    computes("IsInf", is_inf),
    computes("BitwiseAnd", |c| binary(c, &compare::BITWISE_AND)),
    computes("BitwiseOr", |c| binary(c, &compare::BITWISE_OR)),
    computes("BitwiseXor", |c| binary(c, &compare::BITWISE_XOR)),
    computes("BitwiseNot", |c| unary(c, &compare::BITWISE_NOT)),
    computes("BitShift", bit_shift),
    moves("Where", |c| {
        let (condition, a, b) = (c.input(0)?, c.input(1)?, c.input(2)?);
        Ok(vec![c.emit(&compare::WHERE, Attributes::none(), &[condition, a, b])?])
    }),
    moves("Cast", cast_to),
    moves("CastLike", |c| {
        let (x, like) = (c.input(0)?, c.input(1)?);
        let dtype = c.dtype(like);
        Ok(vec![c.cast(x, dtype)?])
    }),
];

pub(super) fn unary(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    Ok(vec![c.unary(op, x)?])
}

fn binary(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let b = old_broadcast(c, a, b)?;
    Ok(vec![c.binary(op, a, b)?])
}

/// Before operator set 7, broadcasting was asked for by attributes: `b` lies along the axes of `a` from `axis` on.
fn old_broadcast(c: &mut NodeContext<'_>, a: Value, b: Value) -> OpResult<Value> {
    if c.opset >= 7 || !c.flag("broadcast", false)? {
        return Ok(b);
    }
    let (rank, mut shape) = (c.rank(a), c.shape(b));
    let axis = match c.int_or_none("axis")? {
        Some(axis) => c.axis(axis, rank)?,
        None => return Ok(b),
    };
    if axis + shape.len() > rank {
        return Err(format!("operand of shape {shape:?} does not lie along axis {axis} of rank {rank}"));
    }
    shape.resize(rank - axis, 1);
    c.reshape(b, &shape)
}

/// Operators of any number of operands, folded from the left.
fn variadic(c: &mut NodeContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Value>> {
    let inputs = c.all_inputs()?;
    let (&first, rest) = inputs.split_first().ok_or("it needs at least one operand")?;
    let mut result = first;
    for &x in rest {
        result = c.binary(op, result, x)?;
    }
    Ok(vec![result])
}

fn mean(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let sum = variadic(c, &ew::ADD)?[0];
    let count = c.inputs.len();
    let count = c.number(count as f64, sum)?;
    Ok(vec![c.div(sum, count)?])
}

fn pow(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (x, y) = (c.input(0)?, c.input(1)?);
    let dtype = c.dtype(x);
    // Small whole exponents are products: exact where pow is, and much faster.
    let exponent = c.builder.tensor(y).filter(|t| t.len() == 1 && t.rank() <= c.rank(x)).map(|t| t.to_f64s()[0]);
    match exponent {
        Some(1.0) => return Ok(vec![x]),
        Some(2.0) => return Ok(vec![c.mul(x, x)?]),
        Some(3.0) => {
            let square = c.mul(x, x)?;
            return Ok(vec![c.mul(square, x)?]);
        }
        _ => {}
    }
    // The result has the base's type; mixed types are computed in a float wide enough for both.
    if c.dtype(y) == dtype {
        return Ok(vec![c.binary(&ew::POW, x, y)?]);
    }
    let wide = if dtype == DType::F32 && c.dtype(y) != DType::F64 { DType::F32 } else { DType::F64 };
    let (a, b) = (c.cast(x, wide)?, c.cast(y, wide)?);
    let power = c.binary(&ew::POW, a, b)?;
    Ok(vec![c.cast(power, dtype)?])
}

fn modulo(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let fmod = c.flag("fmod", false)?;
    let (a, b) = (c.input(0)?, c.input(1)?);
    if !fmod && c.dtype(a).is_float() {
        return Err("floats need fmod = 1".into());
    }
    Ok(vec![c.binary(if fmod { &ew::FMOD } else { &ew::MOD }, a, b)?])
}

fn is_inf(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let attributes = Attributes::none().flag(c.flag("detect_negative", true)?).flag(c.flag("detect_positive", true)?);
    Ok(vec![c.emit(&compare::IS_INF, attributes, &[x])?])
}

fn bit_shift(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let op = match c.text("direction", "")?.as_str() {
        "LEFT" => &compare::SHIFT_LEFT,
        "RIGHT" => &compare::SHIFT_RIGHT,
        other => return Err(format!("direction must be LEFT or RIGHT, got '{other}'")),
    };
    Ok(vec![c.binary(op, a, b)?])
}

fn cast_to(c: &mut NodeContext<'_>) -> OpResult<Vec<Value>> {
    let x = c.input(0)?;
    let to = if c.opset < 6 && c.text("to", "").is_ok() {
        let name = c.text("to", "")?;
        match name.as_str() {
            "FLOAT" => DType::F32,
            "DOUBLE" => DType::F64,
            "INT32" => DType::I32,
            "INT64" => DType::I64,
            "UINT8" => DType::U8,
            "INT8" => DType::I8,
            "BOOL" => DType::Bool,
            _ => return Err(format!("cast to '{name}' is not supported")),
        }
    } else {
        dtype_of(c.int("to", 0)?)?
    };
    Ok(vec![c.emit(&cast::CAST, cast::to(to), &[x])?])
}
