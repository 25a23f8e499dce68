//! Arithmetic on each element: functions of one operand and of two, activations, comparison, selection, conversion.

use super::{Entry, activate, clamp, computes, fourier, moves, relu6, unary};
use crate::patterns::{gelu_erf, gelu_tanh};
use crate::tflite::context::{OperatorContext, Placed, plain};
use lattice_inference::Value;
use lattice_inference::ops::{Attributes, OpResult, OpSpec, compare, elementwise as ew};

pub(super) const TABLE: &[Entry] = &[
    computes("ADD", |c| binary(c, &ew::ADD)),
    computes("SUB", |c| binary(c, &ew::SUB)),
    computes("MUL", |c| binary(c, &ew::MUL)),
    computes("DIV", |c| binary(c, &ew::DIV)),
    computes("FLOOR_DIV", |c| {
        floored(c, |c, x, y, rest| {
            // Less the remainder, which has the divisor's sign, the division comes out even.
            let even = c.sub(x, rest)?;
            c.div(even, y)
        })
    }),
    computes("FLOOR_MOD", |c| floored(c, |_, _, _, rest| Ok(rest))),
    computes("MAXIMUM", |c| binary(c, &ew::MAX)),
    computes("MINIMUM", |c| binary(c, &ew::MIN)),
    computes("POW", |c| binary(c, &ew::POW)),
    computes("PRELU", |c| binary(c, &ew::PRELU)),
    computes("SQUARED_DIFFERENCE", |c| {
        let difference = binary(c, &ew::SUB)?[0];
        Ok(vec![Placed { value: c.mul(difference.value, difference.value)?, ..difference }])
    }),
    computes("ADD_N", |c| {
        let operands: Vec<usize> = (0..c.operand_count()).collect();
        let (values, layout) = c.together(&operands)?;
        let (first, rest) = values.split_first().ok_or("it has no operands")?;
        let value = rest.iter().try_fold(*first, |sum, &v| c.add(sum, v))?;
        Ok(vec![Placed { value, layout }])
    }),
    computes("ABS", |c| unary(c, &ew::ABS)),
    computes("NEG", |c| unary(c, &ew::NEG)),
    computes("CEIL", |c| unary(c, &ew::CEIL)),
    computes("FLOOR", |c| unary(c, &ew::FLOOR)),
    computes("ROUND", |c| unary(c, &ew::ROUND)),
    computes("SIGN", |c| unary(c, &ew::SIGN)),
    computes("SQRT", |c| unary(c, &ew::SQRT)),
    computes("EXP", |c| unary(c, &ew::EXP)),
    computes("LOG", |c| unary(c, &ew::LOG)),
    computes("SIN", |c| unary(c, &ew::SIN)),
    computes("COS", |c| unary(c, &ew::COS)),
    computes("TANH", |c| unary(c, &ew::TANH)),
    computes("LOGISTIC", |c| unary(c, &ew::SIGMOID)),
    computes("RELU", |c| unary(c, &ew::RELU)),
    computes("RELU6", |c| mapped(c, relu6)),
    computes("RELU_N1_TO_1", |c| mapped(c, |c, x| clamp(c, x, -1.0, 1.0))),
    computes("RELU_0_TO_1", |c| mapped(c, |c, x| clamp(c, x, 0.0, 1.0))),
    computes("SQUARE", |c| mapped(c, |c, x| c.mul(x, x))),
    computes("RSQRT", |c| {
        mapped(c, |c, x| {
            let root = c.unary(&ew::SQRT, x)?;
            c.unary(&ew::RECIPROCAL, root)
        })
    }),
    // x * relu6(x + 3) / 6.
    computes("HARD_SWISH", |c| {
        mapped(c, |c, x| {
            let (three, sixth) = (c.number(3.0, x)?, c.number(1.0 / 6.0, x)?);
            let shifted = c.add(x, three)?;
            let capped = relu6(c, shifted)?;
            let product = c.mul(x, capped)?;
            c.mul(product, sixth)
        })
    }),
    computes("ELU", |c| parametric(c, &ew::ELU, 1.0)),
    computes("LEAKY_RELU", |c| {
        let alpha = c.operator.option(0, 0.0f32)?;
        parametric(c, &ew::LEAKY_RELU, alpha)
    }),
    computes("GELU", |c| match c.operator.flag(0)? {
        true => mapped(c, |c, x| gelu_tanh(c, x)),
        false => mapped(c, |c, x| gelu_erf(c, x)),
    }),
    computes("EQUAL", |c| binary(c, &compare::EQUAL)),
    computes("NOT_EQUAL", |c| {
        let equal = binary(c, &compare::EQUAL)?[0];
        Ok(vec![Placed { value: c.unary(&compare::NOT, equal.value)?, ..equal }])
    }),
    computes("LESS", |c| binary(c, &compare::LESS)),
    computes("LESS_EQUAL", |c| binary(c, &compare::LESS_OR_EQUAL)),
    computes("GREATER", |c| binary(c, &compare::GREATER)),
    computes("GREATER_EQUAL", |c| binary(c, &compare::GREATER_OR_EQUAL)),
    computes("LOGICAL_AND", |c| binary(c, &compare::AND)),
    computes("LOGICAL_OR", |c| binary(c, &compare::OR)),
    computes("LOGICAL_NOT", |c| unary(c, &compare::NOT)),
    computes("SELECT", select),
    computes("SELECT_V2", select),
    computes("CAST", convert),
    // What is stored as half precision is widened when it is read; quantised integers are real values already.
    computes("DEQUANTIZE", convert),
    computes("QUANTIZE", |c| Ok(vec![c.native(0)?])),
    // Sparse tensors are written out when they are read.
    moves("DENSIFY", |c| Ok(vec![c.native(0)?])),
    moves("ZEROS_LIKE", |c| {
        let x = c.native(0)?;
        let (zero, shape) = (c.number(0.0, x.value)?, c.shape(x.value).to_vec());
        Ok(vec![Placed { value: c.expand(zero, &shape)?, ..x }])
    }),
];

/// An operator of two operands that broadcast, and the activation fused into it.
fn binary(c: &mut OperatorContext<'_>, op: &'static OpSpec) -> OpResult<Vec<Placed>> {
    let (values, layout) = c.together(&[0, 1])?;
    let value = c.binary(op, values[0], values[1])?;
    let has_activation = [&ew::ADD, &ew::SUB, &ew::MUL, &ew::DIV].iter().any(|fused| fused.code == op.code);
    let value = if has_activation { activate(c, 0, value)? } else { value };
    Ok(vec![Placed { value, layout }])
}

/// A function of two operands that broadcast and of the remainder, which has the sign of the second.
fn floored(
    c: &mut OperatorContext<'_>,
    function: impl Fn(&mut OperatorContext<'_>, Value, Value, Value) -> OpResult<Value>,
) -> OpResult<Vec<Placed>> {
    let (values, layout) = c.together(&[0, 1])?;
    let (x, y) = (values[0], values[1]);
    let rest = if c.dtype(x).is_float() {
        let cut = c.binary(&ew::FMOD, x, y)?;
        let zero = c.number(0.0, x)?;
        let (is_below, other_below) = (c.binary(&compare::LESS, cut, zero)?, c.binary(&compare::LESS, y, zero)?);
        let differs = c.binary(&compare::XOR, is_below, other_below)?;
        let is_zero = c.binary(&compare::EQUAL, cut, zero)?;
        let counts = c.unary(&compare::NOT, is_zero)?;
        let wrong = c.binary(&compare::AND, differs, counts)?;
        let moved = c.add(cut, y)?;
        c.emit1(&compare::WHERE, Attributes::none(), &[wrong, moved, cut])?
    } else {
        c.binary(&ew::MOD, x, y)?
    };
    Ok(vec![Placed { value: function(c, x, y, rest)?, layout }])
}

/// A function of one operand that takes several nodes.
fn mapped(
    c: &mut OperatorContext<'_>,
    function: impl Fn(&mut OperatorContext<'_>, Value) -> OpResult<Value>,
) -> OpResult<Vec<Placed>> {
    let x = c.native(0)?;
    Ok(vec![Placed { value: function(c, x.value)?, ..x }])
}

fn parametric(c: &mut OperatorContext<'_>, op: &'static OpSpec, alpha: f32) -> OpResult<Vec<Placed>> {
    let x = c.native(0)?;
    Ok(vec![Placed { value: c.emit1(op, Attributes::none().float(alpha), &[x.value])?, ..x }])
}

fn select(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    let (condition, mut a, mut b) = (c.plain(0)?, c.plain(1)?, c.plain(2)?);
    // The older form may select whole rows by a vector.
    let shape = c.shape(condition).to_vec();
    let rows = c.shape(a).to_vec();
    if let ([size], [first, .., _]) = (shape.as_slice(), rows.as_slice())
        && size == first
        && size != rows.last().unwrap_or(&0)
    {
        let column: Vec<usize> = core::iter::once(*size).chain(rows[1..].iter().map(|_| 1)).collect();
        let condition = c.reshape(condition, &column)?;
        return Ok(vec![plain(c.emit1(&compare::WHERE, Attributes::none(), &[condition, a, b])?)]);
    }
    if c.dtype(a) != c.dtype(b) {
        let dtype = c.result_dtype(0)?;
        (a, b) = (c.cast(a, dtype)?, c.cast(b, dtype)?);
    }
    Ok(vec![plain(c.emit1(&compare::WHERE, Attributes::none(), &[condition, a, b])?)])
}

/// Another element type. Constants are converted here, whatever their size: weights of half precision become f32.
fn convert(c: &mut OperatorContext<'_>) -> OpResult<Vec<Placed>> {
    // Of a complex number the real part.
    let x = if c.is_complex(0) { fourier::part(c, 0)?[0] } else { c.native(0)? };
    let dtype = c.result_dtype(0)?;
    Ok(vec![Placed { value: c.cast_now(x.value, dtype)?, ..x }])
}
